//! What people read: capacity, chunks, jobs, gauges, the database itself.

mod of_job;
mod rows;

pub use of_job::{Failures, Page};
pub use rows::{
    AttemptRow, Capacity, ChunkStatus, JobProgress, JobReason, LiveProcess, RejectedMessage,
};

use super::{Database, Error, patiently};
use crate::chunk::{ErrorCode, Reason};
use serde::Serialize;
use time::{OffsetDateTime, macros::datetime};

/// A completed chunk with images that were never asked for, since their host was busy.
#[derive(Debug, Clone, Copy, Serialize, sqlx::FromRow)]
pub struct HostBusy {
    /// Its job.
    pub job_id: i64,
    /// Its place in it.
    pub chunk_index: i32,
    /// How many.
    pub images: i64,
}

/// What the health check reads in one statement.
#[derive(Debug, Clone, Copy, Serialize, sqlx::FromRow)]
pub struct Gauges {
    /// Occupied slots.
    pub active_chunks: i32,
    /// The limit in force.
    pub max_chunks: i32,
    /// Chunks that wait, counted up to `MOST_COUNTED`.
    pub pending_chunks: i64,
    /// Seconds since the oldest of those counted was registered; null: none waits.
    pub oldest_pending_seconds: Option<f64>,
    /// Processes that start no chunk because of their environment.
    pub degraded_processes: i64,
}

/// The database as `doctor` shows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Description {
    /// Of the server.
    pub version: String,
    /// Of the whole database.
    pub bytes: i64,
    /// Its clock when it was asked.
    pub clock: OffsetDateTime,
    /// Whether nothing can be written: a standby, or a server that was switched so.
    pub is_read_only: bool,
}

/// A pause that somebody wrote by hand to last for good (infinity) ends then, as far as it is read: no later
/// time can be.
const FOR_GOOD: OffsetDateTime = datetime!(9999-12-31 00:00 UTC);

/// The most pending chunks that are counted: six million took longer than a call may.
const MOST_COUNTED: i64 = 100_000;

impl Database {
    /// Capacity of the fleet.
    pub async fn capacity(&self) -> Result<Capacity, Error> {
        let statement = sqlx::query_as(
            "-- capacity
            select active_chunks, max_chunks, available, utilization, environment, chunk_size,
                storage_limit_mb, case when paused_until > $1 then $1 else paused_until end as paused_until,
                paused_since, storage, now() as now
            from capacity",
        )
        .bind(FOR_GOOD);
        ask!(self.pool, self.cap, "capacity", statement.fetch_one)
    }

    /// The processes that are there.
    pub async fn processes(&self) -> Result<Vec<LiveProcess>, Error> {
        let statement = sqlx::query_as("-- processes\nselect * from process order by owner");
        ask!(self.pool, self.cap, "processes", statement.fetch_all)
    }

    /// Failed chunks of a job, the first `limit`.
    pub async fn failed_chunks(&self, job_id: i64, limit: i64) -> Result<Vec<ChunkStatus>, Error> {
        let statement = sqlx::query_as(
            "-- failed_chunks
            select * from chunk_status where job_id = $1 and status = 'failed'
            order by chunk_index limit $2",
        )
        .bind(job_id)
        .bind(limit);
        ask!(self.pool, self.cap, "failed_chunks", statement.fetch_all)
    }

    /// Chunks of one job, or of all, that wait for one blob which somebody keeps; the first `limit`.
    pub async fn blocked_chunks(
        &self,
        only: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ChunkStatus>, Error> {
        let mut connection = self.patient("blocked_chunks").await?;
        let statement = sqlx::query_as(
            "-- blocked_chunks
            select * from chunk_status
            where status = 'pending' and error_code = 'storage_blocked'
                and ($1::bigint is null or job_id = $1)
            order by job_id, chunk_index limit $2",
        )
        .bind(only)
        .bind(limit);
        patiently("blocked_chunks", statement.fetch_all(&mut connection)).await
    }

    /// How many chunks of a job wait for hosts that want to be left alone, and when the first goes on.
    pub async fn waiting_for_hosts(
        &self,
        job_id: i64,
    ) -> Result<(i64, Option<OffsetDateTime>), Error> {
        let mut connection = self.patient("waiting_for_hosts").await?;
        let statement = sqlx::query_as(
            "-- waiting_for_hosts
            select count(*), min(not_before) from chunk_status
            where job_id = $1 and status = 'pending' and error_code = $2
                and not_before > clock_timestamp()",
        )
        .bind(job_id)
        .bind(ErrorCode::HostBusy.to_string());
        patiently("waiting_for_hosts", statement.fetch_one(&mut connection)).await
    }

    /// Completed chunks of a job with images that were never asked for, since their host was busy; the
    /// first `limit`.
    pub async fn host_busy(&self, job_id: i64, limit: i64) -> Result<Vec<HostBusy>, Error> {
        let mut connection = self.patient("host_busy").await?;
        let statement = sqlx::query_as(
            "-- host_busy
            select job_id, chunk_index, (r.totals -> 'errors' ->> $3)::bigint as images
            from chunk_result r
            where job_id = $1 and r.totals -> 'errors' ->> $3 is not null
                and (select s.status from chunk_status s where s.job_id = r.job_id
                    and s.chunk_index = r.chunk_index) = 'completed'
            order by chunk_index limit $2",
        )
        .bind(job_id)
        .bind(limit)
        .bind(Reason::HostBusy.to_string());
        patiently("host_busy", statement.fetch_all(&mut connection)).await
    }

    /// Progress of one job; none: nobody knows it.
    pub async fn job_progress(&self, job_id: i64) -> Result<Option<JobProgress>, Error> {
        let mut connection = self.patient("job_progress").await?;
        let statement = sqlx::query_as(
            "-- job_progress
            select * from job_progress where job_id = $1",
        )
        .bind(job_id);
        patiently("job_progress", statement.fetch_optional(&mut connection)).await
    }

    /// Indexes below a job's total that nobody sent, the first `limit`.
    pub async fn missing_chunks(&self, job_id: i64, limit: i64) -> Result<Vec<i32>, Error> {
        let mut connection = self.patient("missing_chunks").await?;
        let statement = sqlx::query_scalar(
            "-- missing_chunks
            select i from job_progress j cross join generate_series(0, j.total_chunks - 1) i
            where j.job_id = $1 and not exists (
                select from chunk_status c where c.job_id = $1 and c.chunk_index = i)
            -- What is missing above the total was never told of.
            order by i limit least($2, (select missing_chunks from job_progress where job_id = $1))",
        )
        .bind(job_id)
        .bind(limit);
        patiently("missing_chunks", statement.fetch_all(&mut connection)).await
    }

    /// The gauges of the health check.
    pub async fn gauges(&self) -> Result<Gauges, Error> {
        let statement = sqlx::query_as(
            "-- gauges
            select (select count(job_id)::integer from slot) as active_chunks,
                (select max_chunks from fleet) as max_chunks,
                (select count(degraded) from process) as degraded_processes,
                count(*) as pending_chunks,
                extract(epoch from clock_timestamp() - min(created_at))::double precision
                    as oldest_pending_seconds
            from (select created_at from chunk where state = 'pending' limit $1) waiting",
        )
        .bind(MOST_COUNTED);
        ask!(self.pool, self.cap, "gauges", statement.fetch_one)
    }

    /// Version, size and clock of the database, for `doctor`.
    pub async fn describe(&self) -> Result<Description, Error> {
        let statement = sqlx::query_as(
            "-- describe
            select current_setting('server_version') as version,
                pg_database_size(current_database()) as bytes, clock_timestamp() as clock,
                pg_is_in_recovery() or current_setting('transaction_read_only')::boolean
                    as is_read_only",
        );
        ask!(self.pool, self.cap, "describe", statement.fetch_one)
    }

    /// The newest migration that was applied; none: there is no schema yet.
    pub async fn schema_version(&self) -> Result<Option<i64>, Error> {
        let statement = sqlx::query_scalar(
            "-- schema_version
            select max(version) from _sqlx_migrations where success",
        );
        ask!(self.pool, self.cap, "schema_version", statement.fetch_one)
    }
}
