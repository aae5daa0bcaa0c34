//! The right to work on a chunk: its arithmetic, its renewal, and the ways to end it.

use super::{Database, Error, until_answered};
use crate::chunk::{ChunkId, Completion, ErrorCode, Fence};
use sqlx::PgPool;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};
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
    trust: Arc<Trust>,
}

/// How long the holder may believe in its lease; shared with the keeper that renews it.
#[derive(Debug)]
struct Trust {
    /// Work stops at this moment.
    stop_at: Mutex<Instant>,
    lost: CancellationToken,
    terms: LeaseTerms,
}

impl Lease {
    pub(super) fn granted(id: ChunkId, fence: Fence, sent_at: Instant, terms: LeaseTerms) -> Self {
        let stop_at = Mutex::new(sent_at + terms.trusted());
        Self {
            id,
            fence,
            trust: Arc::new(Trust { stop_at, lost: CancellationToken::new(), terms }),
        }
    }

    /// What the keeper needs to renew it.
    pub(super) fn renewal(&self) -> Renewal {
        Renewal { id: self.id, fence: self.fence, trust: Arc::clone(&self.trust) }
    }

    /// Waits until the lease is lost or can no longer be trusted.
    ///
    /// # Cancel safety
    ///
    /// Holds no state of its own.
    pub async fn expired(&self) {
        loop {
            let stop_at = self.trust.stop_at();
            tokio::select! {
                () = self.trust.lost.cancelled() => return,
                () = sleep_until(stop_at) => {}
            }
            // A renewal may have come meanwhile: then there is a later moment to wait for.
            if self.trust.stop_at() <= Instant::now() {
                return;
            }
        }
    }

    /// Waits until the lease or the time is over: no call about this chunk makes sense after it.
    async fn over_or(&self, until: Instant) {
        tokio::select! {
            () = self.expired() => {}
            () = sleep_until(until) => {}
        }
    }
}

impl Trust {
    fn stop_at(&self) -> Instant {
        *self.stop_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease as the keeper sees it.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    pub(super) id: ChunkId,
    pub(super) fence: Fence,
    trust: Arc<Trust>,
}

impl Renewal {
    /// Counts from the moment of sending, not of the answer: the database may have started the new
    /// term at any moment in between, and the earliest one is the safe one. Two renewals may be
    /// answered in the wrong order, so the later moment wins.
    fn renewed(&self, sent_at: Instant) {
        let mut stop_at = self.trust.stop_at.lock().unwrap_or_else(PoisonError::into_inner);
        *stop_at = (*stop_at).max(sent_at + self.trust.terms.trusted());
    }
}

/// How a chunk is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiveUp {
    /// Not charged: infrastructure, or a drain (which has no back-off).
    Release {
        /// Whether `not_before` is set.
        backoff: bool,
    },
    /// Charged; fails the chunk at the given number of attempts.
    Retry {
        /// Attempts after which the chunk fails.
        max_attempts: i32,
    },
    /// For good.
    Fail,
}

/// How giving up ended: the words of SQL type `attempt_outcome` that it may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum GivenUp {
    /// Pending again, not charged.
    Released,
    /// Pending again, charged.
    Retried,
    /// Over.
    Failed,
}

/// Why a chunk was given up, for its row and attempt.
#[derive(Debug, Clone)]
pub struct WhyGivenUp<'a> {
    /// How.
    pub how: GiveUp,
    /// The word of the row.
    pub code: ErrorCode,
    /// A sentence.
    pub message: &'a str,
    /// The most temp bytes held at once.
    pub temp_peak_bytes: u64,
}

/// What a reclaim found.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Reclaimed {
    /// Leases that had run out.
    pub reclaimed: i32,
    /// Those of them whose chunk failed with it (`worker_lost`).
    pub failed: i32,
}

/// The first back-off of a released or retried chunk; it doubles up to 300 s.
const FIRST_BACKOFF_SECONDS: f64 = 5.0;

impl Database {
    /// Renews the leases of this process in one statement, on a connection for it; those that are
    /// lost learn it. A row that somebody is changing is left for the next time: it must not cost
    /// the others their leases.
    pub(super) async fn renew_all(&self, leases: &[Renewal]) -> Result<(), Error> {
        self.renew(&self.renewals, leases).await.map(drop)
    }

    /// Renews leases; true when every one of them was.
    async fn renew(&self, pool: &PgPool, leases: &[Renewal]) -> Result<bool, Error> {
        if leases.is_empty() {
            return Ok(true);
        }
        let sent_at = Instant::now();
        let statement = sqlx::query_as(
            "-- renew
            with mine as (
                select * from unnest($1::bigint[], $2::integer[], $3::bigint[])
                    with ordinality as t (job_id, chunk_index, fence, n)
            ), free as (
                select c.job_id, c.chunk_index from mine
                join chunk c using (job_id, chunk_index, fence)
                where c.state = 'processing'
                order by 1, 2 for no key update of c skip locked
            ), renewed as (
                update chunk c set lease_until = clock_timestamp() + make_interval(secs => $4)
                from free f where c.job_id = f.job_id and c.chunk_index = f.chunk_index
                returning c.job_id, c.chunk_index
            )
            select r.job_id is not null, c.job_id is not null from mine m
            left join renewed r using (job_id, chunk_index)
            left join chunk c on c.job_id = m.job_id and c.chunk_index = m.chunk_index
                and c.fence = m.fence and c.state = 'processing'
            order by m.n",
        )
        .bind(leases.iter().map(|l| l.id.job_id).collect::<Vec<_>>())
        .bind(leases.iter().map(|l| l.id.chunk_index).collect::<Vec<_>>())
        .bind(leases.iter().map(|l| l.fence.0).collect::<Vec<_>>())
        .bind(self.terms.length().as_secs_f64());
        let rows: Vec<(bool, bool)> = ask!(pool, self.cap, "renew", statement.fetch_all)?;
        for (lease, (is_renewed, is_held)) in leases.iter().zip(&rows) {
            if *is_renewed {
                lease.renewed(sent_at);
            } else if !is_held {
                lease.trust.lost.cancel();
            }
        }
        Ok(rows.iter().all(|(is_renewed, _)| *is_renewed))
    }

    /// Renews one lease now: the last question before an effect.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when the fence no longer holds the chunk.
    pub(crate) async fn assert_held(&self, lease: &Lease) -> Result<(), Error> {
        let is_renewed = self.renew(&self.pool, &[lease.renewal()]).await?;
        if lease.trust.lost.is_cancelled() {
            Err(Error::LeaseLost(lease.id))
        } else if is_renewed {
            Ok(())
        } else {
            Err(Error::Away { doing: "renew", source: None })
        }
    }

    /// Completes the chunk: row, hashes and slot in one transaction. Asks again while the database
    /// is away and the lease lasts: the statement knows a repetition.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when the fence no longer holds the chunk.
    pub async fn complete(
        &self,
        lease: Lease,
        completion: &Completion,
        until: Instant,
    ) -> Result<(), Error> {
        until_answered(lease.over_or(until), Error::is_away, || {
            self.try_complete(&lease, completion)
        })
        .await
    }

    async fn try_complete(&self, lease: &Lease, completion: &Completion) -> Result<(), Error> {
        let (hashes, keys): (Vec<&[u8]>, Vec<&str>) =
            completion.hashes.iter().map(|(hash, key)| (hash.as_slice(), key.as_str())).unzip();
        let statement =
            sqlx::query_scalar("-- complete\nselect complete($1, $2, $3, $4, $5, $6, $7, $8, $9)")
                .bind(lease.id.job_id)
                .bind(lease.id.chunk_index)
                .bind(lease.fence.0)
                .bind(completion.shard_fence.0)
                .bind(sqlx::types::Json(&completion.totals))
                .bind(sqlx::types::Json(&completion.shard))
                .bind(lease.id.manifest_blob())
                .bind(hashes)
                .bind(keys);
        let held: bool = ask!(self.pool, self.cap, "complete", statement.fetch_one)?;
        if held { Ok(()) } else { Err(Error::LeaseLost(lease.id)) }
    }

    /// Gives the chunk up. Asks again while the database is away and the lease lasts.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when the fence no longer holds the chunk.
    pub async fn give_up(
        &self,
        lease: Lease,
        why: &WhyGivenUp<'_>,
        until: Instant,
    ) -> Result<GivenUp, Error> {
        let ask = || self.try_give_up(&lease, why);
        until_answered(lease.over_or(until), Error::is_away, ask).await
    }

    async fn try_give_up(&self, lease: &Lease, why: &WhyGivenUp<'_>) -> Result<GivenUp, Error> {
        let (outcome, max_attempts, first) = match why.how {
            GiveUp::Release { backoff: true } => (GivenUp::Released, 0, FIRST_BACKOFF_SECONDS),
            GiveUp::Release { backoff: false } => (GivenUp::Released, 0, 0.0),
            GiveUp::Retry { max_attempts } => {
                (GivenUp::Retried, max_attempts, FIRST_BACKOFF_SECONDS)
            }
            GiveUp::Fail => (GivenUp::Failed, 0, 0.0),
        };
        let statement = sqlx::query_scalar(
            "-- give_up
            select give_up($1, $2, $3, $4::text::attempt_outcome, $5, $6, $7, $8, $9)::text",
        )
        .bind(lease.id.job_id)
        .bind(lease.id.chunk_index)
        .bind(lease.fence.0)
        .bind(outcome)
        .bind(why.code.to_string())
        .bind(why.message.replace('\0', "\u{fffd}"))
        .bind(max_attempts)
        .bind(first)
        .bind(i64::try_from(why.temp_peak_bytes).unwrap_or(i64::MAX));
        let outcome: Option<GivenUp> = ask!(self.pool, self.cap, "give_up", statement.fetch_one)?;
        outcome.ok_or(Error::LeaseLost(lease.id))
    }

    /// Reclaims every lease that ran out.
    pub async fn reclaim(&self) -> Result<Reclaimed, Error> {
        let statement = sqlx::query_as("-- reclaim\nselect * from reclaim()");
        ask!(self.pool, self.cap, "reclaim", statement.fetch_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// I5: trust runs from the sending of the last renewal, whichever answer comes last.
    #[tokio::test(start_paused = true)]
    async fn a_lease_is_trusted_for_three_quarters_after_its_last_renewal_was_sent() {
        let terms = LeaseTerms::new(Duration::from_secs(60));
        let began = Instant::now();
        let id = ChunkId { job_id: 1, chunk_index: 0 };
        let lease = Lease::granted(id, Fence(1), began, terms);
        let renewal = lease.renewal();
        renewal.renewed(began + Duration::from_secs(20));
        renewal.renewed(began + Duration::from_secs(10));
        lease.expired().await;
        assert_eq!(began.elapsed(), Duration::from_secs(20 + 45));
        renewal.renewed(Instant::now());
        renewal.trust.lost.cancel();
        lease.expired().await;
        assert_eq!(began.elapsed(), Duration::from_secs(65), "a lost lease ends at once");
    }
}
