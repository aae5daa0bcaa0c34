//! The keeper: which leases this process holds, and their renewal.

use super::{Database, Lease, lease::Renewal};
use crate::{
    chunk::{ChunkId, Fence},
    redact::cause_chain,
};
use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    pin::pin,
    sync::{Mutex, PoisonError},
};
use tokio::time::sleep;

type Key = (ChunkId, Fence);

/// The leases of this process, renewed together in one statement.
#[derive(Debug)]
pub struct Keeper {
    database: Database,
    leases: Mutex<HashMap<Key, Renewal>>,
}

/// A lease that is renewed until this is dropped.
#[derive(Debug)]
pub struct Kept<'a> {
    keeper: &'a Keeper,
    key: Key,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.keeper.with_leases(|leases| leases.remove(&self.key));
    }
}

impl Keeper {
    /// A keeper of no leases yet.
    pub fn new(database: Database) -> Self {
        Self { database, leases: Mutex::default() }
    }

    fn with_leases<T>(&self, act: impl FnOnce(&mut HashMap<Key, Renewal>) -> T) -> T {
        act(&mut self.leases.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Renews a lease from now on; none when this very claim is kept already: the host delivered
    /// one invocation twice, and two pipelines of one fence would mix their blocks.
    pub fn keep(&self, lease: &Lease) -> Option<Kept<'_>> {
        let key = (lease.id, lease.fence);
        let is_new = self.with_leases(|leases| match leases.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(lease.renewal());
                true
            }
            Entry::Occupied(_) => false,
        });
        is_new.then_some(Kept { keeper: self, key })
    }

    /// Renews all leases every L/4, after a failure every L/16, until `end`.
    pub(crate) async fn renew_until(&self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        let terms = self.database.terms();
        let mut is_failing = false;
        loop {
            let pause = if is_failing { terms.renewal_retry() } else { terms.renewal_period() };
            tokio::select! {
                () = &mut end => return,
                () = sleep(pause) => {}
            }
            let leases: Vec<Renewal> =
                self.with_leases(|leases| leases.values().cloned().collect());
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
