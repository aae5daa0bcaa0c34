//! What is old goes, in small batches; the hashes of a job that is reopened come back.
//!
//! A batch locks its job, and a job that has ended is the only kind it takes: a retry waits for the
//! batch, and finds the job without its hashes.

use super::{Database, Error, patiently};
use crate::chunk::{ChunkId, Fence};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

/// What is removed when it is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Hashes of a job's images, so long after its end.
    Hashes,
    /// Attempts of a job's chunks, so long after its end.
    Attempts,
    /// Rows of the health check.
    HealthRows,
    /// Messages that could never work.
    Rejected,
    /// Jobs with their chunks and all of the above, so long after their end.
    Jobs,
}

/// A chunk whose shard has samples: what must be known again of it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KeptShard {
    /// Its place in the job.
    pub chunk_index: i32,
    /// The claim that wrote shard and manifest.
    pub shard_fence: i64,
    /// Of the shard, in hex.
    pub shard_sha256: String,
    /// Samples that another chunk completed first: that one's hash counts.
    pub late_keys: Vec<String>,
}

/// A completed chunk whose pictures other chunks have, as far as its manifest says.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ReferringChunk {
    /// Its place in the job.
    pub chunk_index: i32,
    /// Samples that another chunk completed first.
    pub late: Json<Vec<LateDuplicate>>,
}

/// A sample that another chunk has too.
#[derive(Debug, Deserialize)]
pub(crate) struct LateDuplicate {
    /// Its key.
    pub key: String,
    /// The key of the one that counts.
    pub duplicate_of: String,
}

/// Whether a job has the hashes of its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashes {
    /// All of them, for a day at least.
    Kept,
    /// Some or all are gone.
    Going,
    /// The job itself is being removed.
    JobGoing,
}

/// A table that grows, for `doctor`.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct TableSize {
    /// Its name.
    pub name: String,
    /// As the server last counted them.
    pub rows: i64,
    /// With its indexes.
    pub bytes: i64,
}

/// How long no other process removes anything: once a minute is enough for the fleet.
const REMOVAL_PERIOD_SECONDS: f64 = 60.0;
/// Rows of each table in a batch: some tens of milliseconds.
const BATCH_ROWS: i64 = 2000;

impl Database {
    /// Takes the turn to remove what is old; false when somebody has had it within the minute.
    pub(crate) async fn take_removal(&self, owner: &str) -> Result<bool, Error> {
        let statement = sqlx::query(
            "-- take_removal
            update removal set holder = $1, until = clock_timestamp() + make_interval(secs => $2)
            where (select until < clock_timestamp() from removal for update skip locked)",
        )
        .bind(owner)
        .bind(REMOVAL_PERIOD_SECONDS);
        let done = ask!(self.pool, self.cap, "take_removal", statement.execute)?;
        Ok(done.rows_affected() == 1)
    }

    /// Removes a batch of what is older than so many days: how many rows; none when nothing is left.
    pub async fn remove(&self, what: Kept, days: i32) -> Result<Option<i64>, Error> {
        match what {
            Kept::Hashes => self.remove_hashes(days).await,
            Kept::Attempts => self.remove_attempts(days).await,
            Kept::HealthRows => self.remove_health_rows(days).await,
            Kept::Rejected => self.remove_rejected(days).await,
            Kept::Jobs => self.remove_jobs(days).await,
        }
    }

    async fn remove_hashes(&self, days: i32) -> Result<Option<i64>, Error> {
        // The first batch says that the job's hashes are going: from then on it cannot be reopened
        // without them. A job that changed since its end is about to be.
        let statement = sqlx::query_scalar(
            "-- remove_hashes
            with old as (
                select clock_timestamp() - make_interval(days => $1) as at
            ), over as materialized (
                select job_id from job
                where ended_at < (select at from old) and updated_at < (select at from old)
                    and hashes <> 'gone'
                order by ended_at limit 1 for no key update skip locked
            ), removed as (
                delete from image_hash where ctid = any (array(
                    select h.ctid from image_hash h
                    where h.job_id = (select job_id from over) limit $2))
                returning 1
            ), noted as (
                update job
                set hashes = case when (select count(*) from removed) < $2
                    then 'gone' else 'going' end
                where job_id = (select job_id from over)
            )
            select (select count(*) from removed) from over",
        )
        .bind(days)
        .bind(BATCH_ROWS);
        ask!(self.pool, self.cap, "remove_hashes", statement.fetch_optional)
    }

    async fn remove_attempts(&self, days: i32) -> Result<Option<i64>, Error> {
        let statement = sqlx::query_scalar(
            "-- remove_attempts
            with old as (
                select clock_timestamp() - make_interval(days => $1) as at
            ), over as materialized (
                select job_id from job
                where ended_at < (select at from old)
                    and (attempts_gone_at is null or attempts_gone_at < ended_at)
                order by ended_at limit 1 for no key update skip locked
            ), removed as (
                delete from attempt where ctid = any (array(
                    select a.ctid from attempt a
                    where a.job_id = (select job_id from over) limit $2))
                returning 1
            ), noted as (
                update job set attempts_gone_at = clock_timestamp()
                where job_id = (select job_id from over) and (select count(*) from removed) < $2
            )
            select (select count(*) from removed) from over",
        )
        .bind(days)
        .bind(BATCH_ROWS);
        ask!(self.pool, self.cap, "remove_attempts", statement.fetch_optional)
    }

    async fn remove_health_rows(&self, days: i32) -> Result<Option<i64>, Error> {
        let statement = sqlx::query_scalar(
            "-- remove_health_rows
            with removed as (
                delete from health_check where ctid = any (array(
                    select ctid from health_check
                    where checked_at < (select clock_timestamp() - make_interval(days => $1))
                    order by checked_at limit $2))
                returning 1
            )
            select nullif(count(*), 0) from removed",
        )
        .bind(days)
        .bind(BATCH_ROWS);
        ask!(self.pool, self.cap, "remove_health_rows", statement.fetch_one)
    }

    async fn remove_rejected(&self, days: i32) -> Result<Option<i64>, Error> {
        let statement = sqlx::query_scalar(
            "-- remove_rejected
            with removed as (
                delete from rejected where ctid = any (array(
                    select ctid from rejected
                    where received_at < (select clock_timestamp() - make_interval(days => $1))
                    order by received_at limit $2))
                returning 1
            )
            select nullif(count(*), 0) from removed",
        )
        .bind(days)
        .bind(BATCH_ROWS);
        ask!(self.pool, self.cap, "remove_rejected", statement.fetch_one)
    }

    async fn remove_jobs(&self, days: i32) -> Result<Option<i64>, Error> {
        // From the first batch on the job cannot be reopened; with the last one it goes itself.
        let statement = sqlx::query_scalar(
            "-- remove_jobs
            with old as (
                select clock_timestamp() - make_interval(days => $1) as at
            ), over as materialized (
                select job_id from job
                where ended_at < (select at from old) and updated_at < (select at from old)
                order by ended_at limit 1 for update skip locked
            ), hashes as (
                delete from image_hash where ctid = any (array(
                    select h.ctid from image_hash h
                    where h.job_id = (select job_id from over) limit $2))
                returning 1
            ), attempts as (
                delete from attempt where ctid = any (array(
                    select a.ctid from attempt a
                    where a.job_id = (select job_id from over) limit $2))
                returning 1
            ), chunks as (
                delete from chunk where ctid = any (array(
                    select c.ctid from chunk c
                    where c.job_id = (select job_id from over) limit $2))
                returning 1
            ), n as materialized (
                select (select count(*) from hashes) as hashes,
                    (select count(*) from attempts) as attempts,
                    (select count(*) from chunks) as chunks
            ), noted as (
                update job set hashes = 'going', going_at = coalesce(going_at, clock_timestamp())
                where job_id = (select job_id from over)
                    and (select greatest(hashes, attempts, chunks) = $2 from n)
            ), gone as (
                delete from job where job_id = (select job_id from over)
                    and (select greatest(hashes, attempts, chunks) < $2 from n)
                returning 1
            )
            select n.hashes + n.attempts + n.chunks + (select count(*) from gone)
            from n cross join over",
        )
        .bind(days)
        .bind(BATCH_ROWS);
        ask!(self.pool, self.cap, "remove_jobs", statement.fetch_optional)
    }

    /// Says that a job that has ended is about to be reopened: for a day at least nothing more of it
    /// goes. None: there is no such job, or it has not ended and has everything.
    pub(crate) async fn want_hashes(&self, job_id: i64) -> Result<Option<Hashes>, Error> {
        let statement = sqlx::query_as(
            "-- want_hashes
            update job set updated_at = clock_timestamp(),
                hashes = case hashes when 'kept' then 'kept' else 'going' end
            where job_id = $1 and ended_at is not null
            returning hashes = 'kept', going_at is not null",
        )
        .bind(job_id);
        let row: Option<(bool, bool)> =
            ask!(self.pool, self.cap, "want_hashes", statement.fetch_optional)?;
        Ok(row.map(|(is_kept, is_going)| match (is_kept, is_going) {
            (_, true) => Hashes::JobGoing,
            (true, false) => Hashes::Kept,
            (false, false) => Hashes::Going,
        }))
    }

    /// The completed chunks of a job that have samples.
    pub(crate) async fn kept_shards(&self, job_id: i64) -> Result<Vec<KeptShard>, Error> {
        let mut connection = self.patient("kept_shards").await?;
        let statement = sqlx::query_as(
            "-- kept_shards
            select chunk_index, shard_fence, shard_sha256,
                array(select l ->> 'key' from jsonb_array_elements(late_duplicates) l) as late_keys
            from chunk where job_id = $1 and state = 'completed' and shard_samples > 0
            order by chunk_index",
        )
        .bind(job_id);
        patiently("kept_shards", statement.fetch_all(&mut connection)).await
    }

    /// The completed chunks of a job that dropped pictures, or have some that others have; without some.
    pub(crate) async fn referring_chunks(
        &self,
        job_id: i64,
        without: &[i32],
    ) -> Result<Vec<ReferringChunk>, Error> {
        let mut connection = self.patient("referring_chunks").await?;
        let statement = sqlx::query_as(
            "-- referring_chunks
            select chunk_index, late_duplicates as late from chunk
            where job_id = $1 and state = 'completed' and chunk_index <> all($2)
                and (late_duplicates <> '[]' or (totals ->> 'duplicates_removed')::bigint > 0)
            order by chunk_index",
        )
        .bind(job_id)
        .bind(without);
        patiently("referring_chunks", statement.fetch_all(&mut connection)).await
    }

    /// Puts the hashes of a completed chunk back. Nothing happens once the job has all of its own: it
    /// may be open again, and the chunk another one.
    pub(crate) async fn return_hashes(
        &self,
        id: ChunkId,
        hashes: &[(Vec<u8>, String)],
    ) -> Result<(), Error> {
        let (hashes, keys): (Vec<&[u8]>, Vec<&str>) =
            hashes.iter().map(|(hash, key)| (hash.as_slice(), key.as_str())).unzip();
        let statement = sqlx::query(
            "-- return_hashes
            insert into image_hash (job_id, sha256, chunk_index, key)
            select j.job_id, h.sha256, $2, h.key
            from (select job_id from job where job_id = $1 and hashes = 'going' for share) j
            cross join unnest($3::bytea[], $4::text[]) as h (sha256, key)
            order by h.sha256 on conflict do nothing",
        )
        .bind(id.job_id)
        .bind(id.chunk_index)
        .bind(hashes)
        .bind(keys);
        ask!(self.pool, self.cap, "return_hashes", statement.execute).map(drop)
    }

    /// Says that a job has all its hashes again; from now on it can be reopened.
    pub(crate) async fn hashes_are_back(&self, job_id: i64) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- hashes_are_back
            update job set hashes = 'kept', updated_at = clock_timestamp()
            where job_id = $1 and hashes = 'going' and going_at is null",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "hashes_are_back", statement.execute).map(drop)
    }

    /// The tables that grow, by name.
    pub async fn table_sizes(&self) -> Result<Vec<TableSize>, Error> {
        let statement = sqlx::query_as(
            "-- table_sizes
            select relname::text as name, greatest(reltuples, 0)::bigint as rows,
                pg_total_relation_size(oid) as bytes
            from pg_class
            where oid = any (array['image_hash', 'attempt', 'health_check', 'rejected', 'job',
                'chunk']::regclass[])
            order by name",
        );
        ask!(self.pool, self.cap, "table_sizes", statement.fetch_all)
    }
}

impl KeptShard {
    /// The fence of the claim that wrote it.
    pub(crate) fn fence(&self) -> Fence {
        Fence(self.shard_fence)
    }
}
