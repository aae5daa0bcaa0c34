//! Jobs as lists, and what is known of one: reasons, failures, chunks, attempts, time.

use super::{AttemptRow, ChunkStatus, JobProgress, JobReason, RejectedMessage};
use crate::{
    chunk::ChunkId,
    state::{Database, Error, patiently},
};
use serde::Serialize;
use sqlx::FromRow;

/// The first rows of a list, and how long the list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// As many as were asked for, at most.
    pub rows: Vec<T>,
    /// All of them, shown or not.
    pub total: i64,
}

/// Failed chunks of a job with one error code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct Failures {
    /// The job.
    pub job_id: i64,
    /// Why they failed.
    pub error_code: String,
    /// How many.
    pub chunks: i64,
    /// The first of them.
    pub first_chunk: i32,
    /// What that one said.
    pub error_message: Option<String>,
}

#[derive(FromRow)]
struct Counted<T> {
    #[sqlx(flatten)]
    row: T,
    n_rows: i64,
}

impl<T> Page<T> {
    fn of(rows: Vec<Counted<T>>) -> Self {
        let total = rows.first().map_or(0, |first| first.n_rows);
        Self { rows: rows.into_iter().map(|counted| counted.row).collect(), total }
    }
}

impl Database {
    /// The newest jobs, of one status or of all.
    pub async fn jobs(&self, status: Option<&str>, limit: i64) -> Result<Page<JobProgress>, Error> {
        let mut connection = self.patient("jobs").await?;
        let statement = sqlx::query_as(
            "-- jobs
            select *, count(*) over () as n_rows from job_progress
            where $1::text is null or status = $1
            order by created_at desc, job_id desc limit $2",
        )
        .bind(status)
        .bind(limit);
        patiently("jobs", statement.fetch_all(&mut connection)).await.map(Page::of)
    }

    /// Why URLs of a job are not in its dataset, the most frequent reason first.
    pub async fn job_reasons(&self, job_id: i64) -> Result<Vec<JobReason>, Error> {
        let mut connection = self.patient("job_reasons").await?;
        let statement = sqlx::query_as(
            "-- job_reasons
            select * from job_reasons where job_id = $1 order by images desc, reason",
        )
        .bind(job_id);
        patiently("job_reasons", statement.fetch_all(&mut connection)).await
    }

    /// Failed chunks of a job by error code, the most frequent first.
    pub async fn failures(&self, job_id: i64) -> Result<Vec<Failures>, Error> {
        let mut connection = self.patient("failures").await?;
        let statement = sqlx::query_as(
            "-- failures
            select job_id, coalesce(error_code, 'unknown') as error_code, count(*) as chunks,
                min(chunk_index) as first_chunk,
                (array_agg(error_message order by chunk_index))[1] as error_message
            from chunk_status where job_id = $1 and status = 'failed'
            group by 1, 2 order by 3 desc, 2",
        )
        .bind(job_id);
        patiently("failures", statement.fetch_all(&mut connection)).await
    }

    /// The first chunks of a job, of one status or of all.
    pub async fn chunks(
        &self,
        job_id: i64,
        status: Option<&str>,
        limit: i64,
    ) -> Result<Page<ChunkStatus>, Error> {
        let mut connection = self.patient("chunks").await?;
        let statement = sqlx::query_as(
            "-- chunks
            select *, count(*) over () as n_rows from chunk_status
            where job_id = $1 and ($2::text is null or status = $2)
            order by chunk_index limit $3",
        )
        .bind(job_id)
        .bind(status)
        .bind(limit);
        patiently("chunks", statement.fetch_all(&mut connection)).await.map(Page::of)
    }

    /// One chunk; none: nobody knows it.
    pub async fn chunk(&self, id: ChunkId) -> Result<Option<ChunkStatus>, Error> {
        let statement = sqlx::query_as(
            "-- chunk
            select * from chunk_status where job_id = $1 and chunk_index = $2",
        )
        .bind(id.job_id)
        .bind(id.chunk_index);
        ask!(self.pool, self.cap, "chunk", statement.fetch_optional)
    }

    /// The claims of a chunk, in order.
    pub async fn attempts(&self, id: ChunkId) -> Result<Vec<AttemptRow>, Error> {
        let statement = sqlx::query_as(
            "-- attempts
            select * from attempt_log where job_id = $1 and chunk_index = $2 order by fence",
        )
        .bind(id.job_id)
        .bind(id.chunk_index);
        ask!(self.pool, self.cap, "attempts", statement.fetch_all)
    }

    /// Messages that could never work, the newest first.
    pub async fn rejected_messages(&self, limit: i64) -> Result<Page<RejectedMessage>, Error> {
        let mut connection = self.patient("rejected_messages").await?;
        let statement = sqlx::query_as(
            "-- rejected_messages
            select *, count(*) over () as n_rows from rejected_message
            order by received_at desc limit $1",
        )
        .bind(limit);
        patiently("rejected_messages", statement.fetch_all(&mut connection)).await.map(Page::of)
    }

    /// Seconds in which at least one chunk of a job was claimed, of the claims whose history is there:
    /// pauses, and the time before it grew, are none.
    pub async fn running_seconds(&self, job_id: i64) -> Result<f64, Error> {
        let mut connection = self.patient("running_seconds").await?;
        let statement = sqlx::query_scalar(
            "-- running_seconds
            select coalesce(extract(epoch from sum(upper(span) - lower(span))), 0)::double precision
            from (
                select unnest(range_agg(tstzrange(claimed_at,
                    greatest(claimed_at, finished_at, case when finished_at is null
                        then clock_timestamp() end)))) as span
                from attempt_log where job_id = $1) spans",
        )
        .bind(job_id);
        patiently("running_seconds", statement.fetch_one(&mut connection)).await
    }
}
