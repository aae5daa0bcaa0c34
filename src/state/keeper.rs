//! The keeper: which leases this process holds, and their renewal.

use super::{Database, Lease, lease::Renewal};
use crate::{chunk::ClaimToken, redact::cause_chain, stall::WATCH};
use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Mutex, PoisonError},
};
use tokio::time::sleep;

/// The leases of this process, renewed together in one statement.
#[derive(Debug)]
pub struct Keeper {
    database: Database,
    leases: Mutex<HashMap<ClaimToken, Renewal>>,
}

/// A lease that is renewed until this is dropped.
#[derive(Debug)]
pub struct Kept<'a> {
    keeper: &'a Keeper,
    token: ClaimToken,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.keeper.with_leases(|leases| leases.remove(&self.token));
    }
}

impl Keeper {
    /// A keeper of no leases yet.
    pub fn new(database: Database) -> Self {
        Self { database, leases: Mutex::default() }
    }

    fn with_leases<T>(&self, act: impl FnOnce(&mut HashMap<ClaimToken, Renewal>) -> T) -> T {
        act(&mut self.leases.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Renews a lease from now on.
    pub fn keep(&self, lease: &Lease) -> Kept<'_> {
        let token = lease.token.clone();
        self.with_leases(|leases| leases.insert(token.clone(), lease.renewal()));
        Kept { keeper: self, token }
    }

    /// Renews all leases every L/4, after a failure every L/16, until `end`. After a standstill of the
    /// process none is believed until the database has renewed it, which it is asked for at once.
    pub(crate) async fn renew_until(&self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        let terms = self.database.terms();
        let mut is_failing = false;
        let mut mark = WATCH.mark();
        self.database.open_renewals().await;
        loop {
            let pause = if is_failing { terms.renewal_retry() } else { terms.renewal_period() };
            tokio::select! {
                () = &mut end => return,
                () = sleep(pause) => {}
                () = WATCH.standstill_since(mark) => {}
            }
            let leases: Vec<Renewal> =
                self.with_leases(|leases| leases.values().cloned().collect());
            if WATCH.stood_still_since(mark) {
                mark = WATCH.mark();
                leases.iter().for_each(Renewal::doubt);
            }
            if leases.is_empty() {
                self.database.open_renewals().await;
            }
            let result = self.database.renew_all(&leases).await;
            if let Err(error) = &result
                && !is_failing
            {
                tracing::warn!(cause = cause_chain(error), "leases are not renewed, trying again");
            }
            is_failing = result.is_err();
        }
    }
}
