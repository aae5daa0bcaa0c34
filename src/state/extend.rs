//! A job that grows by another list, and the chunks of a job one after the other.

use super::{Database, Error, patiently};
use crate::chunk::{ChunkId, ChunkMessage};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

/// Chunks to be added to a job.
#[derive(Debug)]
pub struct NewExtension {
    /// The job.
    pub job_id: i64,
    /// Of the submitted list, in hex.
    pub source_sha256: String,
    /// How it is submitted.
    pub options: ExtensionOptions,
    /// How many URLs.
    pub images: usize,
    /// Those of them that an earlier chunk of the job has, too.
    pub asked_again: usize,
    /// One for each chunk; index and positions count from 0.
    pub messages: Vec<ChunkMessage>,
    /// Where they must begin, when what they are depends on the chunks before them.
    pub first_chunk: Option<i32>,
}

/// How a list was added to a job. Kept with it: the same again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionOptions {
    /// How the list was read.
    pub format: String,
    /// URLs of a chunk.
    pub chunk_size: usize,
    /// 0 to 10.
    pub priority: i16,
    /// Of URLs that have none of their own.
    pub label: Option<String>,
    /// Whether URLs that the job had were left out.
    pub new_only: bool,
}

/// A list by which a job grew.
#[derive(Debug, sqlx::FromRow)]
pub struct Extension {
    /// The index of its first chunk.
    pub first_chunk: i32,
    /// How many chunks.
    pub chunks: i32,
    /// How many URLs.
    pub images: i64,
    /// Those of them that an earlier chunk has, too.
    pub images_asked_again: i64,
    /// How it was submitted.
    pub options: Json<ExtensionOptions>,
}

/// What became of an extension: the words of SQL type `extend_outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ExtendOutcome {
    /// The chunks are there.
    Extended,
    /// The job grew by this list before.
    Known,
    /// No such job.
    Unknown,
    /// The job was cancelled.
    Cancelled,
    /// It was said that no more chunks come.
    Closed,
    /// Messages made the job, and none said how many chunks it has.
    NoTotal,
    /// The job would have more chunks than there are indices.
    TooMany,
    /// The chunks would begin elsewhere than they must.
    Changed,
}

/// A chunk of a job, as far as its URLs go.
#[derive(Debug)]
pub struct JobChunk {
    /// Which.
    pub id: ChunkId,
    /// Whether it has a shard and a manifest that count.
    pub is_complete: bool,
    /// Whether it waits for a run, or runs.
    pub is_open: bool,
    /// What it was to do; else why the registered text cannot be read.
    pub message: Result<ChunkMessage, String>,
}

impl Database {
    /// Adds chunks to a job in one transaction. An ended job is open again until they are over; it must
    /// have its hashes ([`crate::jobs::extend`]).
    pub(crate) async fn extend(&self, extension: &NewExtension) -> Result<ExtendOutcome, Error> {
        let texts = extension.messages.iter().map(|m| serde_json::to_string(m).unwrap_or_default());
        let messages: Vec<String> = texts.collect();
        let mut connection = self.patient("extend").await?;
        // Another extension of the job, however large, is waited for: it decides.
        let wait = sqlx::query("-- extend_waits\nselect set_config('lock_timeout', '0', false)");
        patiently("extend", wait.execute(&mut connection)).await?;
        let statement = sqlx::query_scalar(
            "-- extend
            select answer::text from extend($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(extension.job_id)
        .bind(&extension.source_sha256)
        .bind(Json(&extension.options))
        .bind(i64::try_from(extension.images).unwrap_or(i64::MAX))
        .bind(i64::try_from(extension.asked_again).unwrap_or(i64::MAX))
        .bind(&messages)
        .bind(extension.first_chunk);
        patiently("extend", statement.fetch_one(&mut connection)).await
    }

    /// The list of this hash by which a job grew; none: it did not.
    pub async fn extension(
        &self,
        job_id: i64,
        source_sha256: &str,
    ) -> Result<Option<Extension>, Error> {
        let statement = sqlx::query_as(
            "-- extension
            select first_chunk, chunks, images, images_asked_again, options
            from extension where job_id = $1 and source_sha256 = $2",
        )
        .bind(job_id)
        .bind(source_sha256);
        ask!(self.pool, self.cap, "extension", statement.fetch_optional)
    }

    /// Where the next chunk of a job would be, and whether an extension would be taken, but for its
    /// size; nothing is changed.
    pub async fn next_index(&self, job_id: i64) -> Result<(ExtendOutcome, i32), Error> {
        let statement = sqlx::query_as(
            "-- next_index
            select case when j.job_id is null then 'unknown'
                    when j.cancelled_at is not null or j.ended_as = 'cancelled' then 'cancelled'
                    when j.closed_at is not null then 'closed'
                    when j.total_chunks is null then 'no_total'
                    else 'extended' end,
                greatest(j.total_chunks, 0, (select max(c.chunk_index) + 1 from chunk c
                    where c.job_id = $1))
            from (values ($1::bigint)) as asked (job_id) left join job j using (job_id)",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "next_index", statement.fetch_one)
    }

    /// The chunk of a job that follows an index, -1 for the first; none: there is no further one.
    pub async fn chunk_after(&self, job_id: i64, index: i32) -> Result<Option<JobChunk>, Error> {
        let statement = sqlx::query_as(
            "-- chunk_after
            select chunk_index, s.shard_blob is not null, s.status in ('pending', 'processing'), m.message
            from chunk_message m join chunk_status s using (job_id, chunk_index)
            where job_id = $1 and chunk_index > $2 order by chunk_index limit 1",
        )
        .bind(job_id)
        .bind(index);
        let row: Option<(i32, bool, bool, String)> =
            ask!(self.pool, self.cap, "chunk_after", statement.fetch_optional)?;
        Ok(row.map(|(chunk_index, is_complete, is_open, message)| JobChunk {
            id: ChunkId { job_id, chunk_index },
            is_complete,
            is_open,
            message: ChunkMessage::from_json(&message).map_err(|error| error.to_string()),
        }))
    }

    /// The first and the last chunk of each extension of a job that asked again for URLs, in order.
    pub async fn chunks_that_ask_again(&self, job_id: i64) -> Result<Vec<(i32, i32)>, Error> {
        let statement = sqlx::query_as(
            "-- chunks_that_ask_again
            select first_chunk, first_chunk + chunks - 1 from job_extension
            where job_id = $1 and images_asked_again > 0 order by first_chunk",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "chunks_that_ask_again", statement.fetch_all)
    }
}
