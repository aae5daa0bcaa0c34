//! What a claim does to its chunk: renew, complete, give up; and the reclaim of what nobody renews.

use super::login::Pool;
use super::{Database, Error, Lease, lease::Renewal, until_answered};
use crate::chunk::{Completion, ErrorCode};
use std::time::Duration;
use tokio::time::Instant;

/// How long a chunk that was given up waits at least; it doubles with each time in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Another process may go on at once.
    None,
    /// 2 to 4 s: the circuit keeps this process from trying while nothing works.
    Short,
    /// 5 to 30 s: one blob is in the way, and somebody has to take it away.
    Blob,
    /// 5 to 300 s.
    Long,
    /// As long as others asked for, however often.
    Exactly(Duration),
}

impl Backoff {
    /// The first one and the longest one.
    fn seconds(self) -> (f64, f64) {
        match self {
            Self::None => (0.0, 0.0),
            Self::Short => (2.0, 4.0),
            Self::Blob => (5.0, 30.0),
            Self::Long => (5.0, 300.0),
            Self::Exactly(wait) => (wait.as_secs_f64(), wait.as_secs_f64()),
        }
    }
}

/// How a chunk is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiveUp {
    /// Not charged: the environment, or a drain.
    Release {
        /// How long the chunk waits.
        backoff: Backoff,
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

impl Database {
    /// Renews the leases of this process in one statement, on a connection for it; those that are
    /// lost learn it. A row that somebody is changing is left for the next time: it must not cost
    /// the others their leases.
    pub(super) async fn renew_all(&self, leases: &[Renewal]) -> Result<(), Error> {
        self.renew(&self.renewals, leases).await.map(drop)
    }

    /// Opens the connection for renewals before it is needed: where a login may have few, the work could
    /// have taken all of them by then. What keeps it from that is told by who needs it.
    pub(super) async fn open_renewals(&self) {
        drop(self.renewals.acquire().await);
    }

    /// Renews leases; true when every one of them was.
    async fn renew(&self, pool: &Pool, leases: &[Renewal]) -> Result<bool, Error> {
        if leases.is_empty() {
            return Ok(true);
        }
        let sent_at = Instant::now();
        let said: Vec<_> = leases.iter().map(|lease| lease.progress.said()).collect();
        let statement = sqlx::query_as(
            "-- renew
            with mine as (
                select * from unnest($1::bigint[], $2::integer[], $3::text[], $5::integer[],
                        $6::integer[], $7::bigint[]) with ordinality
                    as t (job_id, chunk_index, token, items_done, items_total, temp_bytes, n)
            ), free as (
                select c.job_id, c.chunk_index, mine.items_done, mine.items_total, mine.temp_bytes
                from mine
                join chunk c using (job_id, chunk_index, token)
                where c.state = 'processing'
                order by 1, 2 for no key update of c skip locked
            ), renewed as (
                update chunk c set lease_until = clock_timestamp() + make_interval(secs => $4),
                    progress_fence = c.fence, items_done = f.items_done,
                    items_total = f.items_total, temp_bytes = f.temp_bytes
                from free f where c.job_id = f.job_id and c.chunk_index = f.chunk_index
                returning c.job_id, c.chunk_index, c.token
            )
            select r.job_id is not null, c.job_id is not null from mine m
            left join renewed r using (job_id, chunk_index, token)
            left join chunk c on c.job_id = m.job_id and c.chunk_index = m.chunk_index
                and c.token = m.token and c.state = 'processing'
            order by m.n",
        )
        .bind(leases.iter().map(|l| l.id.job_id).collect::<Vec<_>>())
        .bind(leases.iter().map(|l| l.id.chunk_index).collect::<Vec<_>>())
        .bind(leases.iter().map(|l| l.token.as_str()).collect::<Vec<_>>())
        .bind(self.terms.length().as_secs_f64())
        .bind(said.iter().map(|said| said.items_done).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.items_total).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.temp_bytes).collect::<Vec<_>>());
        let rows: Vec<(bool, bool)> = ask!(pool, self.cap, "renew", statement.fetch_all)?;
        for (lease, (is_renewed, is_held)) in leases.iter().zip(&rows) {
            if *is_renewed {
                lease.renewed(sent_at);
            } else if !is_held {
                lease.lose();
            }
        }
        Ok(rows.iter().all(|(is_renewed, _)| *is_renewed))
    }

    /// Renews one lease now: the last question before an effect.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when the claim no longer holds the chunk.
    pub(crate) async fn assert_held(&self, lease: &Lease) -> Result<(), Error> {
        let is_renewed = self.renew(&self.pool, &[lease.renewal()]).await?;
        if lease.is_lost() {
            Err(Error::LeaseLost(lease.id))
        } else if is_renewed {
            Ok(())
        } else {
            Err(Error::Away { doing: "renew", source: None })
        }
    }

    /// Completes the chunk: row, hashes and slot in one transaction. Asks again while `is_passing`, as
    /// long as nobody else has the chunk: the statement knows a repetition, and all the work is done.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when the claim no longer holds the chunk.
    pub async fn complete(
        &self,
        lease: Lease,
        completion: &Completion,
        until: Instant,
        is_passing: impl Fn(&Error) -> bool,
    ) -> Result<(), Error> {
        until_answered(lease.lost_or(until), is_passing, || self.try_complete(&lease, completion))
            .await
    }

    async fn try_complete(&self, lease: &Lease, completion: &Completion) -> Result<(), Error> {
        let (hashes, keys): (Vec<&[u8]>, Vec<&str>) =
            completion.hashes.iter().map(|(hash, key)| (hash.as_slice(), key.as_str())).unzip();
        let statement = sqlx::query_scalar(
            "-- complete\nselect complete($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(lease.id.job_id)
        .bind(lease.id.chunk_index)
        .bind(lease.token.as_str())
        .bind(completion.shard_fence.0)
        .bind(completion.shard_claim.as_str())
        .bind(sqlx::types::Json(&completion.totals))
        .bind(sqlx::types::Json(&completion.shard))
        .bind(lease.id.manifest_blob())
        .bind(hashes)
        .bind(keys);
        let held: bool = ask!(self.pool, self.cap, "complete", statement.fetch_one)?;
        if held { Ok(()) } else { Err(Error::LeaseLost(lease.id)) }
    }

    /// Gives the chunk up. Asks again while `is_passing`, as long as nobody else has the chunk.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when the claim no longer holds the chunk.
    pub async fn give_up(
        &self,
        lease: Lease,
        why: &WhyGivenUp<'_>,
        until: Instant,
        is_passing: impl Fn(&Error) -> bool,
    ) -> Result<GivenUp, Error> {
        let ask = || self.try_give_up(&lease, why);
        until_answered(lease.lost_or(until), is_passing, ask).await
    }

    async fn try_give_up(&self, lease: &Lease, why: &WhyGivenUp<'_>) -> Result<GivenUp, Error> {
        let (outcome, max_attempts, backoff) = match why.how {
            GiveUp::Release { backoff } => (GivenUp::Released, 0, backoff),
            GiveUp::Retry { max_attempts } => (GivenUp::Retried, max_attempts, Backoff::Long),
            GiveUp::Fail => (GivenUp::Failed, 0, Backoff::None),
        };
        let (first, cap) = backoff.seconds();
        let statement = sqlx::query_scalar(
            "-- give_up
            select give_up($1, $2, $3, $4::text::attempt_outcome, $5, $6, $7, $8, $9, $10)::text",
        )
        .bind(lease.id.job_id)
        .bind(lease.id.chunk_index)
        .bind(lease.token.as_str())
        .bind(outcome)
        .bind(why.code.to_string())
        .bind(why.message.replace('\0', "\u{fffd}"))
        .bind(max_attempts)
        .bind(first)
        .bind(cap)
        .bind(i64::try_from(why.temp_peak_bytes).unwrap_or(i64::MAX));
        let outcome: Option<GivenUp> = ask!(self.pool, self.cap, "give_up", statement.fetch_one)?;
        outcome.ok_or(Error::LeaseLost(lease.id))
    }

    /// How often the chunk was released because its hosts were busy, since somebody last asked it to run:
    /// its attempts say so, whichever process made them.
    pub(crate) async fn host_busy_rounds(&self, lease: &Lease) -> Result<i64, Error> {
        let statement = sqlx::query_scalar(
            "-- host_busy_rounds
            select count(*) from chunk c join attempt a using (job_id, chunk_index)
            where c.job_id = $1 and c.chunk_index = $2
                and a.fence > c.reset_fence and a.outcome = 'released' and a.error_code = $3",
        )
        .bind(lease.id.job_id)
        .bind(lease.id.chunk_index)
        .bind(ErrorCode::HostBusy.to_string());
        ask!(self.pool, self.cap, "host_busy_rounds", statement.fetch_one)
    }

    /// Reclaims every lease that ran out, or every lease of a process that is known to be dead: the end
    /// of its owner's name.
    pub async fn reclaim(&self, dead_process: Option<&str>) -> Result<Reclaimed, Error> {
        let statement = sqlx::query_as("-- reclaim\nselect * from reclaim($1)").bind(dead_process);
        ask!(self.pool, self.cap, "reclaim", statement.fetch_one)
    }
}
