//! The right to work on a chunk: renewal, and the three ways to end it.

use super::{AWAY_PAUSE, Database, Error};
use crate::chunk::{ChunkId, Failure, Fence, Report};
use serde::Serialize;
use sqlx::PgPool;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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
    term: Arc<Term>,
}

/// The part of a lease that the heartbeat shares.
#[derive(Debug)]
struct Term {
    /// Work stops at this moment, 3L/4 after the last good renewal was *sent*.
    stop_at: Mutex<Instant>,
    lost: CancellationToken,
    /// 3L/4: the rest is room for clocks that run apart and for the last call to end.
    safe: Duration,
}

impl Lease {
    pub(super) fn granted(id: ChunkId, fence: Fence, sent_at: Instant, lease: Duration) -> Self {
        let safe = lease * 3 / 4;
        let stop_at = Mutex::new(sent_at + safe);
        Self { id, fence, term: Arc::new(Term { stop_at, lost: CancellationToken::new(), safe }) }
    }

    /// The part that the heartbeat renews.
    pub fn renewal(&self) -> Renewal {
        Renewal { id: self.id, fence: self.fence, term: Arc::clone(&self.term) }
    }

    /// Waits until the lease is lost or can no longer be trusted.
    ///
    /// # Cancel safety
    ///
    /// Holds no state of its own.
    pub async fn expired(&self) {
        loop {
            let stop_at = self.term.stop_at();
            tokio::select! {
                () = self.term.lost.cancelled() => return,
                () = tokio::time::sleep_until(stop_at) => {}
            }
            if self.term.stop_at() <= Instant::now() {
                return;
            }
        }
    }
}

impl Lease {
    /// Pauses while the database is away; false when the lease, or the time, ends before.
    async fn outlasts_pause(&self, until: Instant) -> bool {
        if Instant::now() + AWAY_PAUSE > until {
            return false;
        }
        tokio::select! {
            () = self.expired() => false,
            () = tokio::time::sleep(AWAY_PAUSE) => true,
        }
    }
}

impl Term {
    fn stop_at(&self) -> Instant {
        *self.stop_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease as the heartbeat sees it.
#[derive(Debug, Clone)]
pub struct Renewal {
    id: ChunkId,
    fence: Fence,
    term: Arc<Term>,
}

impl Renewal {
    fn renewed(&self, sent_at: Instant) {
        let mut stop_at = self.term.stop_at.lock().unwrap_or_else(PoisonError::into_inner);
        *stop_at = (*stop_at).max(sent_at + self.term.safe);
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

/// How giving up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
pub struct Released<'a> {
    /// How.
    pub how: GiveUp,
    /// The word of the row.
    pub code: Failure,
    /// A sentence.
    pub message: &'a str,
    /// The most temp bytes held at once.
    pub temp_peak_bytes: u64,
}

/// What a reclaim found.
#[derive(Debug, Clone, Copy, Serialize, sqlx::FromRow)]
pub struct Reclaimed {
    /// Leases that had run out.
    pub reclaimed: i32,
    /// Those of them whose chunk failed with it (`worker_lost`).
    pub failed: i32,
}

/// The first back-off of a released or retried chunk; it doubles up to 300 s.
const FIRST_BACKOFF_SECONDS: f64 = 5.0;

impl Database {
    /// Renews the leases of this process in one statement; those it lost are told so. A row that
    /// somebody is changing is left for the next time: it must not cost the others their leases.
    ///
    /// # Errors
    ///
    /// When the database is away: nothing is renewed, and nothing is lost yet.
    pub async fn heartbeat(&self, leases: &[Renewal]) -> Result<(), Error> {
        self.renew(&self.heartbeat, leases).await.map(drop)
    }

    /// Renews leases; true when every one of them was.
    async fn renew(&self, pool: &PgPool, leases: &[Renewal]) -> Result<bool, Error> {
        if leases.is_empty() {
            return Ok(true);
        }
        let sent_at = Instant::now();
        let statement = sqlx::query_as(
            "-- heartbeat
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
        .bind(self.lease.as_secs_f64());
        let rows: Vec<(bool, bool)> = ask!(pool, self.cap, "heartbeat", statement.fetch_all)?;
        for (lease, (is_renewed, is_held)) in leases.iter().zip(&rows) {
            if *is_renewed {
                lease.renewed(sent_at);
            } else if !is_held {
                lease.term.lost.cancel();
            }
        }
        Ok(rows.iter().all(|(is_renewed, _)| *is_renewed))
    }

    /// Renews one lease now: the last look before an effect.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when the fence no longer holds the chunk.
    pub async fn assert_held(&self, lease: &Lease) -> Result<(), Error> {
        let is_renewed = self.renew(&self.pool, &[lease.renewal()]).await?;
        if lease.term.lost.is_cancelled() {
            Err(Error::LeaseLost(lease.id))
        } else if is_renewed {
            Ok(())
        } else {
            Err(Error::Away { doing: "heartbeat", source: None })
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
        report: &Report,
        manifest_blob: &str,
        until: Instant,
    ) -> Result<(), Error> {
        loop {
            let result = self.try_complete(&lease, report, manifest_blob).await;
            if !matches!(result, Err(Error::Away { .. })) || !lease.outlasts_pause(until).await {
                return result;
            }
        }
    }

    async fn try_complete(
        &self,
        lease: &Lease,
        report: &Report,
        manifest_blob: &str,
    ) -> Result<(), Error> {
        let (hashes, keys): (Vec<&[u8]>, Vec<&str>) =
            report.hashes.iter().map(|(hash, key)| (hash.as_slice(), key.as_str())).unzip();
        let statement =
            sqlx::query_scalar("-- complete\nselect complete($1, $2, $3, $4, $5, $6, $7, $8, $9)")
                .bind(lease.id.job_id)
                .bind(lease.id.chunk_index)
                .bind(lease.fence.0)
                .bind(report.shard_fence.0)
                .bind(sqlx::types::Json(&report.totals))
                .bind(sqlx::types::Json(&report.shard))
                .bind(manifest_blob)
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
        why: &Released<'_>,
        until: Instant,
    ) -> Result<GivenUp, Error> {
        loop {
            let result = self.try_give_up(&lease, why).await;
            if !matches!(result, Err(Error::Away { .. })) || !lease.outlasts_pause(until).await {
                return result;
            }
        }
    }

    async fn try_give_up(&self, lease: &Lease, why: &Released<'_>) -> Result<GivenUp, Error> {
        let (outcome, max_attempts, first) = match why.how {
            GiveUp::Release { backoff: true } => ("released", 0, FIRST_BACKOFF_SECONDS),
            GiveUp::Release { backoff: false } => ("released", 0, 0.0),
            GiveUp::Retry { max_attempts } => ("retried", max_attempts, FIRST_BACKOFF_SECONDS),
            GiveUp::Fail => ("failed", 0, 0.0),
        };
        let statement =
            sqlx::query_scalar("-- give_up\nselect give_up($1, $2, $3, $4, $5, $6, $7, $8, $9)")
                .bind(lease.id.job_id)
                .bind(lease.id.chunk_index)
                .bind(lease.fence.0)
                .bind(outcome)
                .bind(why.code.to_string())
                .bind(why.message.replace('\0', "\u{fffd}"))
                .bind(max_attempts)
                .bind(first)
                .bind(i64::try_from(why.temp_peak_bytes).unwrap_or(i64::MAX));
        let outcome: Option<String> = ask!(self.pool, self.cap, "give_up", statement.fetch_one)?;
        match outcome.as_deref() {
            Some("released") => Ok(GivenUp::Released),
            Some("retried") => Ok(GivenUp::Retried),
            Some("failed") => Ok(GivenUp::Failed),
            Some(_) | None => Err(Error::LeaseLost(lease.id)),
        }
    }

    /// Reclaims every lease that ran out.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn reclaim(&self) -> Result<Reclaimed, Error> {
        let statement = sqlx::query_as("-- reclaim\nselect * from reclaim()");
        ask!(self.pool, self.cap, "reclaim", statement.fetch_one)
    }
}
