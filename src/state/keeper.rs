//! The keeper: which leases this process holds, and their renewal.

use super::{Database, Lease, lease::Renewal};
use crate::{chunk::ClaimToken, redact::cause_chain, stall::WATCH};
use parking_lot::Mutex;
use std::{collections::HashMap, future::Future, pin::pin};
use tokio::{sync::Notify, time::sleep};

/// The leases of this process, renewed together in one statement.
#[derive(Debug)]
pub struct Keeper {
    database: Database,
    leases: Mutex<HashMap<ClaimToken, Renewal>>,
    /// A lease was doubted from the beginning.
    doubted: Notify,
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
        Self { database, leases: Mutex::default(), doubted: Notify::new() }
    }

    fn with_leases<T>(&self, act: impl FnOnce(&mut HashMap<ClaimToken, Renewal>) -> T) -> T {
        act(&mut self.leases.lock())
    }

    /// Renews a lease from now on. One that was claimed across a standstill may have run out meanwhile by
    /// the database's clock, and not by that of this process: it is not believed until it is renewed.
    pub fn keep(&self, lease: &Lease) -> Kept<'_> {
        let token = lease.token.clone();
        self.with_leases(|leases| leases.insert(token.clone(), lease.renewal()));
        if WATCH.stood_still_since(lease.claimed) {
            lease.renewal().doubt();
            self.doubted.notify_one();
        }
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
                () = self.doubted.notified() => {}
            }
            // First: a lease that comes between the two is not missed by a standstill after it.
            let now = WATCH.mark();
            let leases: Vec<Renewal> =
                self.with_leases(|leases| leases.values().cloned().collect());
            if now != mark {
                mark = now;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chunk::{ChunkId, Fence},
        stall::{Deadline, Mark},
        state::{LeaseTerms, NotHeld},
    };
    use std::time::Duration;
    use tokio::time::Instant;

    /// I5: a lease that was claimed across a standstill, whose length the clock of timers may not know, is
    /// not believed before it is renewed; any other is.
    #[tokio::test(start_paused = true)]
    async fn a_lease_claimed_across_a_standstill_is_doubted() {
        let minute = Duration::from_secs(60);
        let terms = LeaseTerms::new(minute);
        let database = Database::open("postgres://nobody@127.0.0.1:1/none", terms).unwrap();
        let keeper = Keeper::new(database);
        for (claimed, goes_on) in [(WATCH.mark(), true), (Mark::of_another_time(), false)] {
            let id = ChunkId { job_id: 1, chunk_index: 0 };
            let sent = (claimed, Instant::now());
            let lease = Lease::granted(id, Fence(1), ClaimToken::new(), sent, terms);
            let _kept = keeper.keep(&lease);
            let until = Deadline::after(minute, Instant::now() + minute);
            let work = lease.while_trusted(async { "done" }, until).await;
            assert_eq!(work, if goes_on { Ok("done") } else { Err(NotHeld::Unknown) });
        }
    }
}
