//! The right to work on a chunk: its arithmetic, and how long its holder may believe in it.

use super::{Error, Progress, wait::LONGEST_PAUSE};
use crate::{
    chunk::{ChunkId, ClaimToken, Fence},
    stall::{Deadline, Mark},
};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The times around a lease, as parts of its length L.
///
/// A process trusts its lease until `trusted()` after it *sent* the last good renewal. A commit to
/// storage that it makes in that moment ends `longest_call()` later, and its clock may run slower
/// than the database's by `allowed_skew()` over the time. All of it must be over before another
/// process may have the chunk, which is L after the database *received* that renewal (statements may
/// take longer: the fence guards them):
///
/// trusted + longest call + allowed skew < L, that is 3/4 + 1/8 + 1/16 < 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms(Duration);

impl LeaseTerms {
    /// The terms of leases of this length.
    pub fn new(length: Duration) -> Self {
        Self(length)
    }

    /// L: how long a claim holds without renewal.
    pub fn length(self) -> Duration {
        self.0
    }

    /// Between two renewals: one may run into its time limits before work stops.
    pub(crate) fn renewal_period(self) -> Duration {
        self.0 / 4
    }

    /// Before the next try when a renewal failed.
    pub(crate) fn renewal_retry(self) -> Duration {
        self.0 / 16
    }

    /// How long work goes on after the last good renewal was sent.
    pub fn trusted(self) -> Duration {
        self.0 * 3 / 4
    }

    /// How long a commit to storage may take; a statement has it for its connection and once more for
    /// itself, at most 5 s each.
    pub(crate) fn longest_call(self) -> Duration {
        self.0 / 8
    }

    /// How much time a process's clock may lose against the database's during a lease.
    pub fn allowed_skew(self) -> Duration {
        self.0 / 16
    }
}

/// The right to work on one chunk, until its lease runs out.
///
/// Not `Clone`; ending it takes it by value, so a chunk cannot be finished twice in code. `Drop`
/// does nothing: letting a lease run out is the recovery path.
#[derive(Debug)]
pub struct Lease {
    /// The chunk.
    pub id: ChunkId,
    /// The claim's number.
    pub fence: Fence,
    /// The claim's token: every effect names it.
    pub token: ClaimToken,
    /// Before it was asked for.
    pub(super) claimed: Mark,
    trust: Arc<Trust>,
    progress: Arc<Progress>,
}

/// How long the holder may believe in its lease; shared with the keeper that renews it.
#[derive(Debug)]
struct Trust {
    term: watch::Sender<Term>,
    lost: CancellationToken,
    /// Milliseconds for which the environment held the work up.
    hindered: AtomicU64,
    terms: LeaseTerms,
}

#[derive(Debug, Clone, Copy)]
struct Term {
    /// Work stops at this moment, and goes on when a renewal moves it.
    stop_at: Instant,
    /// What was sent before says nothing any more.
    counts_from: Instant,
}

/// Waits that are shorter in all are those of any day.
const HINDRANCE: Duration = Duration::from_secs(10);

impl Lease {
    pub(crate) fn granted(
        id: ChunkId,
        fence: Fence,
        token: ClaimToken,
        (claimed, sent_at): (Mark, Instant),
        terms: LeaseTerms,
    ) -> Self {
        let term = Term { stop_at: sent_at + terms.trusted(), counts_from: sent_at };
        let (term, _) = watch::channel(term);
        let (lost, hindered) = (CancellationToken::new(), AtomicU64::new(0));
        let trust = Arc::new(Trust { term, lost, hindered, terms });
        Self { id, fence, token, claimed, trust, progress: Arc::default() }
    }

    /// What the keeper needs to renew it.
    pub(super) fn renewal(&self) -> Renewal {
        Renewal {
            id: self.id,
            token: self.token.clone(),
            trust: Arc::clone(&self.trust),
            progress: Arc::clone(&self.progress),
        }
    }

    /// How far the work is: renewals say it.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Waits until the database says that the chunk is no longer this claim's.
    ///
    /// # Cancel safety
    ///
    /// Holds no state of its own.
    pub async fn lost(&self) {
        self.trust.lost.cancelled().await;
    }

    /// Does `work` while the lease is trusted. When it no longer is, because the database does not
    /// answer, the work stands still with all it has. It goes on once a renewal says that the chunk is
    /// still this claim's: then nobody else ever had it.
    ///
    /// # Errors
    ///
    /// [`NotHeld::Lost`] when the chunk is somebody else's; [`NotHeld::Unknown`] when `until` came
    /// while the work stood still.
    pub async fn while_trusted<T>(
        &self,
        work: impl Future<Output = T>,
        until: Deadline,
    ) -> Result<T, NotHeld> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                // In this order: a process that was stopped for a while must not take one step more
                // before it knows.
                biased;
                () = self.lost() => return Err(NotHeld::Lost),
                () = self.trust.ended() => {}
                done = &mut work => return Ok(done),
            }
            tracing::warn!("the lease is not renewed: the chunk stands still");
            let since = Instant::now();
            tokio::select! {
                () = self.lost() => return Err(NotHeld::Lost),
                () = self.trust.regained() => tracing::info!("the lease is renewed: the chunk goes on"),
                () = until.passed() => return Err(NotHeld::Unknown),
            }
            self.hinder(since.elapsed());
        }
    }

    /// Notes that the environment held the work up for this long.
    pub(crate) fn hinder(&self, wait: Duration) {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.trust.hindered.fetch_add(ms, Ordering::Relaxed);
    }

    /// Whether the environment held the work up so long that what does not fit the chunk's deadline is
    /// not the chunk's fault.
    pub(crate) fn is_hindered(&self) -> bool {
        Duration::from_millis(self.trust.hindered.load(Ordering::Relaxed)) >= HINDRANCE
    }

    /// Whether an error of the database will pass; it holds the work up.
    pub(crate) fn waits_for(&self, error: &Error) -> bool {
        if error.is_away() {
            self.hinder(LONGEST_PAUSE);
        }
        error.is_away()
    }

    /// Whether the database said that the chunk is no longer this claim's.
    pub(super) fn is_lost(&self) -> bool {
        self.trust.lost.is_cancelled()
    }

    /// Waits until the lease is lost or the time is over: no call about this chunk makes sense after
    /// it.
    pub(super) async fn lost_or(&self, until: Instant) {
        tokio::select! {
            () = self.lost() => {}
            () = sleep_until(until) => {}
        }
    }
}

/// Why work on a chunk ended before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotHeld {
    /// The chunk is not this claim's any more.
    Lost,
    /// The database did not say whose it is.
    Unknown,
}

impl Trust {
    /// Waits until the lease can no longer be trusted.
    async fn ended(&self) {
        let mut term = self.term.subscribe();
        loop {
            let until = term.borrow_and_update().stop_at;
            if until <= Instant::now() {
                return;
            }
            // A renewal makes it later, a doubt earlier.
            tokio::select! {
                () = sleep_until(until) => {}
                _ = term.changed() => {}
            }
        }
    }

    /// Waits until a renewal restores the trust.
    async fn regained(&self) {
        let mut term = self.term.subscribe();
        let is_later = term.wait_for(|term| term.stop_at > Instant::now()).await;
        // The sender is `self`.
        drop(is_later);
    }
}

/// A lease as the keeper sees it.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    pub(super) id: ChunkId,
    pub(super) token: ClaimToken,
    pub(super) progress: Arc<Progress>,
    trust: Arc<Trust>,
}

impl Renewal {
    /// The chunk is somebody else's: its holder learns it.
    pub(super) fn lose(&self) {
        self.trust.lost.cancel();
    }

    /// The process stood still until now: how long nobody knows for certain, so only the database can say
    /// whose the chunk is.
    pub(super) fn doubt(&self) {
        let now = Instant::now();
        self.trust.term.send_modify(|term| {
            *term = Term { stop_at: term.stop_at.min(now), counts_from: now };
        });
    }

    /// Counts from the moment of sending, not of the answer: the database may have started the new
    /// term at any moment in between, and the earliest one is the safe one. Two renewals may be
    /// answered in the wrong order, so the later moment wins.
    pub(super) fn renewed(&self, sent_at: Instant) {
        let until = sent_at + self.trust.terms.trusted();
        self.trust.term.send_if_modified(|term| {
            let is_news = sent_at >= term.counts_from && until > term.stop_at;
            term.stop_at = if is_news { until } else { term.stop_at };
            is_news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::WATCH;

    /// I5: whatever the length, a worker is done before another one may start.
    #[test]
    fn a_worker_is_done_before_its_lease_ends() {
        for seconds in [4, 60, 600] {
            let terms = LeaseTerms::new(Duration::from_secs(seconds));
            let done = terms.trusted() + terms.longest_call() + terms.allowed_skew();
            assert!(done < terms.length(), "{seconds} s: {done:?}");
            // A renewal may fail at both its limits, of connecting and of asking: the next counts.
            let next = terms.renewal_period() + 2 * terms.longest_call() + terms.renewal_retry();
            assert!(next < terms.trusted(), "{seconds} s: {next:?}");
        }
    }

    fn lease(began: Instant) -> Lease {
        let id = ChunkId { job_id: 1, chunk_index: 0 };
        let terms = LeaseTerms::new(Duration::from_secs(60));
        Lease::granted(id, Fence(1), ClaimToken::new(), (WATCH.mark(), began), terms)
    }

    /// I5: trust runs from the sending of the last renewal, whichever answer comes last.
    #[tokio::test(start_paused = true)]
    async fn a_lease_is_trusted_for_three_quarters_after_its_last_renewal_was_sent() {
        let began = Instant::now();
        let lease = lease(began);
        let renewal = lease.renewal();
        renewal.renewed(began + Duration::from_secs(20));
        renewal.renewed(began + Duration::from_secs(10));
        lease.trust.ended().await;
        assert_eq!(began.elapsed(), Duration::from_secs(20 + 45));
    }

    /// I5: work stands still while nobody knows whose the chunk is, and goes on when it is known.
    #[tokio::test(start_paused = true)]
    async fn work_stands_still_without_trust() {
        let began = Instant::now();
        let lease = lease(began);
        let renewal = lease.renewal();
        let steps = std::cell::Cell::new(0);
        let work = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                steps.set(steps.get() + 1);
            }
        };
        let renew = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            assert!((44..46).contains(&steps.get()), "{}", steps.get());
            renewal.renewed(Instant::now());
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert!((54..57).contains(&steps.get()), "{}", steps.get());
            renewal.trust.lost.cancel();
        };
        let until = Deadline::after(Duration::from_secs(1000), began + Duration::from_secs(1000));
        let (end, ()) = tokio::join!(lease.while_trusted(work, until), renew);
        assert_eq!(end, Err::<(), _>(NotHeld::Lost));
        assert_eq!(began.elapsed(), Duration::from_secs(110));
    }

    /// I5: after a standstill the lease is trusted again when a renewal that was sent since is answered.
    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_doubted_needs_a_renewal_sent_since() {
        let began = Instant::now();
        let lease = lease(began);
        let renewal = lease.renewal();
        let doubt = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            renewal.doubt();
        };
        tokio::join!(lease.trust.ended(), doubt);
        assert_eq!(began.elapsed(), Duration::from_secs(3), "work stops at once");
        renewal.renewed(began + Duration::from_secs(2));
        let regained = tokio::time::timeout(Duration::from_secs(1), lease.trust.regained());
        assert!(regained.await.is_err(), "it was on its way before the standstill");
        renewal.renewed(began + Duration::from_secs(4));
        lease.trust.regained().await;
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }

    /// I5: without an answer the wait ends when the work would have had to end.
    #[tokio::test(start_paused = true)]
    async fn work_without_trust_ends_with_its_deadline() {
        let began = Instant::now();
        let lease = lease(began);
        let until = Deadline::after(Duration::from_secs(300), began + Duration::from_secs(300));
        let end = lease.while_trusted(std::future::pending::<()>(), until).await;
        assert_eq!((end, began.elapsed().as_secs()), (Err(NotHeld::Unknown), 300));
    }
}
