//! Completed chunks that run again: asked for by hand, or because storage lost their shard.

use super::{Database, Error, OverJob, patiently};
use crate::chunk::{ChunkId, ClaimToken};

/// A completed chunk's row: what must be in storage.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct CompletedShard {
    /// Its place in the job.
    pub chunk_index: i32,
    /// The number of the claim that wrote shard and manifest.
    pub shard_fence: i64,
    /// Its token; none: of a release without tokens.
    pub shard_claim: Option<String>,
    /// The shard's length.
    pub shard_bytes: i64,
    /// Of the shard, in hex.
    pub shard_sha256: String,
    /// Whether it has run again since, and did not complete: that claim may not know it yet.
    pub ran_in_vain: bool,
}

/// A chunk, and how many pictures it dropped as duplicates of samples that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct LostDuplicates {
    /// Its place in the job.
    pub chunk_index: i32,
    /// How many.
    pub n: i32,
}

impl Database {
    /// Whether a chunk is there and over; none when there is no such job.
    pub async fn is_over(&self, id: ChunkId) -> Result<Option<bool>, Error> {
        let statement = sqlx::query_scalar(
            "-- is_over
            select exists (select from chunk where job_id = j.job_id and chunk_index = $2
                and state in ('completed', 'failed'))
            from job j where job_id = $1",
        )
        .bind(id.job_id)
        .bind(id.chunk_index);
        ask!(self.pool, self.cap, "is_over", statement.fetch_optional)
    }

    /// Runs chunks that are over again, although they completed, and reopens their job; how many were
    /// over. None when there is no such job. What they completed with counts until they do so again.
    pub async fn run_again(&self, job_id: i64, indexes: &[i32]) -> Result<Option<i32>, Error> {
        self.ask_run_again(job_id, indexes, None).await
    }

    /// Runs chunks again whose shards are gone, unless they changed meanwhile; returns how many.
    pub(crate) async fn run_lost_again(
        &self,
        job_id: i64,
        lost: &[CompletedShard],
    ) -> Result<i32, Error> {
        let (indexes, fences): (Vec<i32>, Vec<i64>) =
            lost.iter().map(|shard| (shard.chunk_index, shard.shard_fence)).unzip();
        let n = self.ask_run_again(job_id, &indexes, Some(&fences)).await?;
        Ok(n.unwrap_or(0))
    }

    async fn ask_run_again(
        &self,
        job_id: i64,
        indexes: &[i32],
        fences: Option<&[i64]>,
    ) -> Result<Option<i32>, Error> {
        let mut connection = self.patient("run_again").await?;
        let statement = sqlx::query_scalar("-- run_again\nselect run_again($1, $2, $3)");
        let statement = statement.bind(job_id).bind(indexes).bind(fences);
        patiently("run_again", statement.fetch_one(&mut connection)).await
    }

    /// Whether what this claim left may be adopted: the chunk was not asked to run again since.
    pub(crate) async fn may_adopt(&self, id: ChunkId, claim: &ClaimToken) -> Result<bool, Error> {
        let statement = sqlx::query_scalar(
            "-- may_adopt
            select again_fence = 0 or exists (select from attempt a
                where a.job_id = c.job_id and a.chunk_index = c.chunk_index
                    and a.token = $3 and a.fence > c.again_fence)
            from chunk c where job_id = $1 and chunk_index = $2",
        )
        .bind(id.job_id)
        .bind(id.chunk_index)
        .bind(claim.as_str());
        let may = ask!(self.pool, self.cap, "may_adopt", statement.fetch_optional)?;
        Ok(may.unwrap_or(false))
    }

    /// Whether this claim of the chunk was cancelled, and nobody has claimed it since.
    pub(crate) async fn is_cancelled(
        &self,
        id: ChunkId,
        claim: &ClaimToken,
    ) -> Result<bool, Error> {
        let statement = sqlx::query_scalar(
            "-- is_cancelled
            select exists (select from attempt a
                join chunk c using (job_id, chunk_index, fence)
                where job_id = $1 and chunk_index = $2 and a.token = $3
                    and c.state = 'failed' and c.error_code = 'cancelled')",
        )
        .bind(id.job_id)
        .bind(id.chunk_index)
        .bind(claim.as_str());
        ask!(self.pool, self.cap, "is_cancelled", statement.fetch_one)
    }

    /// The shards that a job's rows name.
    pub(crate) async fn completed_shards(&self, job_id: i64) -> Result<Vec<CompletedShard>, Error> {
        let statement = sqlx::query_as(
            "-- completed_shards
            select chunk_index, shard_fence, shard_claim, shard_bytes, shard_sha256,
                again_fence >= shard_fence as ran_in_vain
            from chunk where job_id = $1 and state = 'completed'",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "completed_shards", statement.fetch_all)
    }

    /// Whether chunks of a job ran again, so that samples may be gone.
    pub(crate) async fn has_earlier_samples(&self, job_id: i64) -> Result<bool, Error> {
        let statement = sqlx::query_scalar(
            "-- has_earlier_samples
            select exists (select from earlier_sample where job_id = $1)
                or exists (select from chunk where job_id = $1 and lost_duplicates > 0)",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "has_earlier_samples", statement.fetch_one)
    }

    /// Takes the hashes of chunks away that were lost and failed when they ran again; those of images
    /// that a chunk had before it ran again and that the job has no more.
    pub(crate) async fn settle_samples(&self, job_id: i64) -> Result<Vec<Vec<u8>>, Error> {
        let mut connection = self.patient("settle_samples").await?;
        let statement =
            sqlx::query_scalar("-- settle_samples\nselect sha256 from settle_samples($1)")
                .bind(job_id);
        patiently("settle_samples", statement.fetch_all(&mut connection)).await
    }

    /// The completed chunks of a job that dropped a picture as a duplicate.
    pub(crate) async fn chunks_with_duplicates(&self, job_id: i64) -> Result<Vec<i32>, Error> {
        let mut connection = self.patient("chunks_with_duplicates").await?;
        let statement = sqlx::query_scalar(
            "-- chunks_with_duplicates
            select chunk_index from chunk where job_id = $1 and state = 'completed'
                and (totals ->> 'duplicates_removed')::bigint > 0 order by chunk_index",
        )
        .bind(job_id);
        patiently("chunks_with_duplicates", statement.fetch_all(&mut connection)).await
    }

    /// Notes which chunks dropped pictures as duplicates of samples that are gone; those of which it
    /// was not known. Nothing happens when the job changed meanwhile.
    pub(crate) async fn note_lost_duplicates(
        &self,
        job: &OverJob,
        lost: &[LostDuplicates],
    ) -> Result<Vec<LostDuplicates>, Error> {
        let mut connection = self.patient("note_lost_duplicates").await?;
        let statement = sqlx::query_as(
            "-- note_lost_duplicates
            select index as chunk_index, n from note_lost_duplicates($1, $2, $3, $4)
            where n > 0 order by index",
        )
        .bind(job.job_id)
        .bind(job.generation)
        .bind(lost.iter().map(|chunk| chunk.chunk_index).collect::<Vec<_>>())
        .bind(lost.iter().map(|chunk| chunk.n).collect::<Vec<_>>());
        patiently("note_lost_duplicates", statement.fetch_all(&mut connection)).await
    }

    /// Chunks of a job that dropped pictures as duplicates of samples that are gone, the first `limit`.
    pub async fn lost_duplicates(
        &self,
        job_id: i64,
        limit: i64,
    ) -> Result<Vec<LostDuplicates>, Error> {
        let statement = sqlx::query_as(
            "-- lost_duplicates
            select chunk_index, lost_duplicates as n from chunk_status
            where job_id = $1 and lost_duplicates > 0 order by chunk_index limit $2",
        )
        .bind(job_id)
        .bind(limit);
        ask!(self.pool, self.cap, "lost_duplicates", statement.fetch_all)
    }
}
