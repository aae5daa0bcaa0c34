//! The fleet as a whole: slots, processes, speed, verdicts, health.

use crate::state::{
    Database, Error,
    view::{AttemptRow, JobReason},
};
use time::OffsetDateTime;

/// Chunks that wait.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Waiting {
    /// How many, counted up to the limit that was asked for.
    pub chunks: i64,
    /// Seconds since the first of them became pending or, if it was claimed in this run, since the first claim; null: none waits.
    pub oldest_seconds: Option<f64>,
}

/// What became of URLs.
#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub struct Verdicts {
    /// Chunks that they are of.
    pub chunks: i64,
    /// Kept.
    pub valid: i64,
    /// Removed as duplicates.
    pub duplicates: i64,
    /// Not what was asked for.
    pub invalid: i64,
    /// Not downloaded.
    pub failed: i64,
}

/// The temp space of a process, by its chunks.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ProcessTemp {
    /// The process.
    pub owner: String,
    /// Chunks that it works on.
    pub running_chunks: i64,
    /// What these held at their last renewal, in bytes.
    pub temp_bytes: i64,
}

/// A row of view `health` without its report.
#[derive(Debug, Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct HealthReading {
    pub checked_at: OffsetDateTime,
    pub active_chunks: i32,
    pub pending_chunks: i64,
    pub queue_depth: Option<i32>,
    pub azure_state: String,
    pub azure_cpu: Option<f64>,
    pub azure_memory: Option<f64>,
}

/// Rejected messages of one queue.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct QueueCount {
    /// The queue.
    pub queue: String,
    /// How many came within a day, counted up to the limit that was asked for.
    pub messages: i64,
}

impl Database {
    /// Claims that were under way within the last half hour, the newest first: `limit` that completed at
    /// most, and as many others. Of a busy half hour those are the ones that tell of trouble.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn recent_attempts(&self, limit: i64) -> Result<Vec<AttemptRow>, Error> {
        // Nothing runs for longer than an hour; the index is on claimed_at.
        let statement = sqlx::query_as(
            "-- recent_attempts
            (select * from attempt_log
                where claimed_at > now() - interval '1 hour'
                    and finished_at > now() - interval '30 minutes' and outcome = 'completed'
                order by claimed_at desc limit $1)
            union all
            (select * from attempt_log
                where claimed_at > now() - interval '1 hour'
                    and (finished_at is null or finished_at > now() - interval '30 minutes'
                        and outcome is distinct from 'completed')
                order by claimed_at desc limit $1)
            order by claimed_at desc",
        )
        .bind(limit);
        ask!(self.pool, self.cap, "recent_attempts", statement.fetch_all)
    }

    /// Images a second over the last five minutes: those of a chunk count evenly over its time.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn images_per_second(&self) -> Result<f64, Error> {
        let statement = sqlx::query_scalar(
            "-- images_per_second
            select coalesce(sum(n.images * n.seconds_inside / greatest(n.seconds, 0.001)), 0)
                ::double precision / 300
            from (select case when a.finished_at is null then c.items_done else c.images_total end
                    as images,
                extract(epoch from coalesce(a.finished_at, w.until)
                    - greatest(a.claimed_at, w.since)) as seconds_inside,
                extract(epoch from coalesce(a.finished_at, w.until) - a.claimed_at) as seconds
                from (select now() as until,
                    now() - interval '5 minutes' as since) w
                cross join lateral (select * from attempt_log l
                    where l.claimed_at > w.until - interval '1 hour'
                        and (l.finished_at is null or l.finished_at > w.since)
                        and (l.outcome is null or l.outcome = 'completed')
                    limit 5000) a
                join chunk_status c on c.job_id = a.job_id and c.chunk_index = a.chunk_index
                    and c.fence = a.fence) n",
        );
        ask!(self.pool, self.cap, "images_per_second", statement.fetch_one)
    }

    /// Chunks that wait, counted up to `most`. Of a thousand that were given back the last hundred claims
    /// tell since when: a chunk that goes to and fro waits as long as one that nobody touches.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn waiting_chunks(&self, most: i64) -> Result<Waiting, Error> {
        let statement = sqlx::query_as(
            "-- waiting_chunks
            select (select count(*) from (select from chunk_status
                    where is_open and status = 'pending' limit $1) c) as chunks,
                extract(epoch from now() - least(
                    (select min(updated_at) from chunk_status where is_open and status = 'pending'),
                    (select min(a.claimed_at)
                        from (select job_id, chunk_index, reset_fence from chunk_status
                            where is_open and status = 'pending' and fence > reset_fence
                            limit 1000) c
                        cross join lateral (select l.claimed_at from attempt_log l
                            where l.job_id = c.job_id and l.chunk_index = c.chunk_index
                                and l.fence > c.reset_fence
                            order by l.fence limit 1) a)))::double precision as oldest_seconds",
        )
        .bind(most);
        ask!(self.pool, self.cap, "waiting_chunks", statement.fetch_one)
    }

    /// Verdicts of the chunks that completed within the last half hour, of the newest `most` of them.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn recent_verdicts(&self, most: i64) -> Result<Verdicts, Error> {
        let statement = sqlx::query_as(
            "-- recent_verdicts
            select count(*) as chunks, coalesce(sum(c.images_valid), 0)::bigint as valid,
                coalesce(sum(c.duplicates_removed), 0)::bigint as duplicates,
                coalesce(sum(c.images_invalid), 0)::bigint as invalid,
                coalesce(sum(c.images_failed), 0)::bigint as failed
            from (select distinct job_id, chunk_index from (
                    select job_id, chunk_index from attempt_log
                    where claimed_at > now() - interval '1 hour'
                        and finished_at > now() - interval '30 minutes'
                        and outcome = 'completed'
                    order by claimed_at desc limit $1) l) a
            join chunk_status c on c.job_id = a.job_id and c.chunk_index = a.chunk_index",
        )
        .bind(most);
        ask!(self.pool, self.cap, "recent_verdicts", statement.fetch_one)
    }

    /// Why URLs of those chunks are not in their datasets, the most frequent reason first. The job of a
    /// row says nothing: it is 0.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn recent_reasons(&self, most: i64, limit: i64) -> Result<Vec<JobReason>, Error> {
        let statement = sqlx::query_as(
            "-- recent_reasons
            select 0::bigint as job_id, k.key as reason, sum(k.value::bigint)::bigint as images
            from (select distinct job_id, chunk_index from (
                    select job_id, chunk_index from attempt_log
                    where claimed_at > now() - interval '1 hour'
                        and finished_at > now() - interval '30 minutes'
                        and outcome = 'completed'
                    order by claimed_at desc limit $1) l) a
            join chunk_result r on r.job_id = a.job_id and r.chunk_index = a.chunk_index
            cross join lateral jsonb_each_text(r.totals -> 'errors') k
            group by 2 order by 3 desc, 2 limit $2",
        )
        .bind(most)
        .bind(limit);
        ask!(self.pool, self.cap, "recent_reasons", statement.fetch_all)
    }

    /// What each process holds in its temp space now, by what its chunks said; the first `limit`.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn process_temp(&self, limit: i64) -> Result<Vec<ProcessTemp>, Error> {
        let statement = sqlx::query_as(
            "-- process_temp
            select a.owner, count(*) as running_chunks,
                coalesce(sum(c.temp_bytes), 0)::bigint as temp_bytes
            from attempt_log a
            join chunk_status c on c.job_id = a.job_id and c.chunk_index = a.chunk_index
                and c.fence = a.fence
            where a.claimed_at > now() - interval '1 hour' and a.finished_at is null
            group by a.owner order by a.owner limit $1",
        )
        .bind(limit);
        ask!(self.pool, self.cap, "process_temp", statement.fetch_all)
    }

    /// The newest health checks, the newest first.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn health_readings(&self, limit: i64) -> Result<Vec<HealthReading>, Error> {
        let statement = sqlx::query_as(
            "-- health_readings
            select checked_at, active_chunks, pending_chunks::bigint as pending_chunks, queue_depth,
                azure_state, azure_cpu::double precision as azure_cpu,
                azure_memory::double precision as azure_memory
            from health order by checked_at desc limit $1",
        )
        .bind(limit);
        ask!(self.pool, self.cap, "health_readings", statement.fetch_all)
    }

    /// Messages that were rejected within a day, by queue; of `most` at most.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn rejected_today(&self, most: i64) -> Result<Vec<QueueCount>, Error> {
        let statement = sqlx::query_as(
            "-- rejected_today
            select queue, count(*) as messages
            from (select queue from rejected_message
                where received_at > now() - interval '1 day' limit $1) r
            group by queue order by queue",
        )
        .bind(most);
        ask!(self.pool, self.cap, "rejected_today", statement.fetch_all)
    }
}
