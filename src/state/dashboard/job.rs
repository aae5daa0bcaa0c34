//! Jobs as a list, one job with its chunks, and messages that were rejected.

use crate::state::{
    Database, Error,
    view::{JobProgress, JobReason, RejectedMessage},
};
use time::OffsetDateTime;

/// A cell of the grid of a job's chunks: some chunks that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct ChunkCell {
    /// Its place, from 0.
    pub cell: i32,
    /// What wants attention most among its chunks: 4 failed, 3 running, 2 pending, 1 completed.
    pub rank: i32,
}

/// A chunk that is not completed, or ran again in vain.
#[derive(Debug, Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct OpenChunk {
    pub chunk_index: i32,
    pub status: String,
    pub attempt: i32,
    pub owner: Option<String>,
    pub not_before: Option<OffsetDateTime>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub images_total: Option<i64>,
    pub items_done: Option<i64>,
    pub updated_at: OffsetDateTime,
}

/// Failed chunks of a job with one error code.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct FailureCode {
    /// Why they failed.
    pub error_code: String,
    /// How many.
    pub chunks: i64,
}

/// A chunk with images that were not downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct FailedImages {
    /// Its place in the job.
    pub chunk_index: i32,
    /// The claim that wrote its manifest.
    pub shard_fence: i64,
    /// How many.
    pub images_failed: i64,
}

impl Database {
    /// A page of jobs, the newest first, of one status or of all.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn jobs_page(
        &self,
        status: Option<&str>,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<JobProgress>, Error> {
        let Some(status) = status else {
            let statement = sqlx::query_as(
                "-- jobs_page
                select * from job_progress order by created_at desc, job_id desc offset $1 limit $2",
            )
            .bind(offset)
            .bind(limit);
            return ask!(self.pool, self.cap, "jobs_page", statement.fetch_all);
        };
        // Those that ended as it, and those that are it and not over: few, whose chunks are counted.
        let statement = sqlx::query_as(
            "-- jobs_of_status
            select * from (
                (select * from job_progress where ended_as = $1
                    order by created_at desc, job_id desc limit $2 + $3)
                union all
                (select * from job_progress where ended_at is null and status = $1
                    order by created_at desc, job_id desc limit $2 + $3)) j
            order by created_at desc, job_id desc offset $2 limit $3",
        )
        .bind(status)
        .bind(offset)
        .bind(limit);
        ask!(self.pool, self.cap, "jobs_of_status", statement.fetch_all)
    }

    /// One job; none: nobody knows it.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn job_of_page(&self, job_id: i64) -> Result<Option<JobProgress>, Error> {
        let statement = sqlx::query_as(
            "-- job_of_page
            select * from job_progress where job_id = $1",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "job_of_page", statement.fetch_optional)
    }

    /// Why URLs of a job are not in its dataset, the most frequent reason first.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn reasons_of_page(&self, job_id: i64, limit: i64) -> Result<Vec<JobReason>, Error> {
        let statement = sqlx::query_as(
            "-- reasons_of_page
            select * from job_reasons where job_id = $1 order by images desc, reason limit $2",
        )
        .bind(job_id)
        .bind(limit);
        ask!(self.pool, self.cap, "reasons_of_page", statement.fetch_all)
    }

    /// The grid of a job's chunks, `per_cell` in a cell, 10,000 cells at most. A cell without any chunk is
    /// left out.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn chunk_cells(&self, job_id: i64, per_cell: i32) -> Result<Vec<ChunkCell>, Error> {
        let statement = sqlx::query_as(
            "-- chunk_cells
            select chunk_index / $2 as cell, max(case status when 'failed' then 4
                when 'processing' then 3 when 'pending' then 2 else 1 end) as rank
            from chunk_status where job_id = $1 group by 1 order by 1 limit 10000",
        )
        .bind(job_id)
        .bind(per_cell);
        ask!(self.pool, self.cap, "chunk_cells", statement.fetch_all)
    }

    /// Chunks of a job that are not completed, or whose last run was in vain: of one status, of one
    /// error code, or all; the first `limit`. Failed ones come first, then those that run.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn open_chunks(
        &self,
        job_id: i64,
        status: Option<&str>,
        error_code: Option<&str>,
        limit: i64,
    ) -> Result<Vec<OpenChunk>, Error> {
        let statement = sqlx::query_as(
            "-- open_chunks
            select chunk_index, status, attempt, owner, not_before, error_code,
                left(error_message, 1000) as error_message, images_total, items_done, updated_at
            from chunk_status
            where job_id = $1 and (is_open or error_code is not null)
                and ($2::text is null or status = $2) and ($3::text is null or error_code = $3)
            order by case status when 'failed' then 0 when 'processing' then 1 else 2 end, chunk_index
            limit $4",
        )
        .bind(job_id)
        .bind(status)
        .bind(error_code)
        .bind(limit);
        ask!(self.pool, self.cap, "open_chunks", statement.fetch_all)
    }

    /// Failed chunks of a job by error code, the most frequent first.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn failure_codes(&self, job_id: i64, limit: i64) -> Result<Vec<FailureCode>, Error> {
        let statement = sqlx::query_as(
            "-- failure_codes
            select error_code, count(*) as chunks from chunk_status
            where job_id = $1 and status = 'failed' and error_code is not null
            group by 1 order by 2 desc, 1 limit $2",
        )
        .bind(job_id)
        .bind(limit);
        ask!(self.pool, self.cap, "failure_codes", statement.fetch_all)
    }

    /// The chunks of a job with the most images that were not downloaded, the first `limit`.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn most_failed_images(
        &self,
        job_id: i64,
        limit: i64,
    ) -> Result<Vec<FailedImages>, Error> {
        let statement = sqlx::query_as(
            "-- most_failed_images
            select chunk_index, shard_fence, images_failed from chunk_status
            where job_id = $1 and images_failed > 0 and shard_fence is not null
            order by images_failed desc, chunk_index limit $2",
        )
        .bind(job_id)
        .bind(limit);
        ask!(self.pool, self.cap, "most_failed_images", statement.fetch_all)
    }

    /// Messages that could never work, the newest first, with the first `characters` of each.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn rejected_page(
        &self,
        queue: Option<&str>,
        offset: i64,
        limit: i64,
        characters: i32,
    ) -> Result<Vec<RejectedMessage>, Error> {
        let statement = sqlx::query_as(
            "-- rejected_page
            select received_at, queue, left(body, $4) as body, left(reason, $4) as reason
            from rejected_message where $1::text is null or queue = $1
            order by received_at desc, reason offset $2 limit $3",
        )
        .bind(queue)
        .bind(offset)
        .bind(limit)
        .bind(characters);
        ask!(self.pool, self.cap, "rejected_page", statement.fetch_all)
    }
}
