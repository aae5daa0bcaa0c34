//! Other jobs whose images count as known, too: what their completed chunks hold, and that retention
//! leaves it there.

use super::{Database, Error, Hashes};
use std::collections::{BTreeSet, HashMap};

/// A job among those that a chunk is deduplicated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
struct Row {
    job_id: i64,
    is_kept: bool,
    is_going: bool,
}

impl Database {
    /// Whether these jobs have the hashes of their images, and that retention leaves them all they have
    /// for a day less an hour at least: longer than any chunk takes. A job that is not answered is unknown.
    ///
    /// A job that was asked about within the hour is not written again: the chunks of a job ask one by one.
    pub(crate) async fn use_hashes(
        &self,
        jobs: &BTreeSet<i64>,
    ) -> Result<HashMap<i64, Hashes>, Error> {
        let jobs: Vec<i64> = jobs.iter().copied().collect();
        // In the order of jobs, or two chunks would deadlock. A batch that removes hashes holds the
        // row: what is returned is what the batch left.
        let statement = sqlx::query_as(
            "-- use_hashes
            with stale as materialized (
                select job_id from job where job_id = any($1) and ended_at is not null
                    and updated_at < clock_timestamp() - interval '1 hour'
                order by job_id for no key update
            ), used as (
                update job set updated_at = clock_timestamp()
                where job_id in (select job_id from stale)
                returning job_id, hashes, going_at
            )
            select job_id, hashes = 'kept' as is_kept, going_at is not null as is_going from used
            union all
            select job_id, hashes = 'kept', going_at is not null from job
            where job_id = any($1) and job_id not in (select job_id from used)",
        )
        .bind(jobs);
        let rows: Vec<Row> = ask!(self.pool, self.cap, "use_hashes", statement.fetch_all)?;
        let state = |row: &Row| match (row.is_kept, row.is_going) {
            (_, true) => Hashes::JobGoing,
            (true, false) => Hashes::Kept,
            (false, false) => Hashes::Going,
        };
        Ok(rows.iter().map(|row| (row.job_id, state(row))).collect())
    }

    /// Which of the hashes completed chunks of these jobs hold: the sample's job and key, of the lowest
    /// job that has it. A chunk that runs again counts for nobody elsewhere until it is complete: two
    /// that look at each other would both leave the picture out.
    pub(crate) async fn hashes_of_other_jobs(
        &self,
        jobs: &BTreeSet<i64>,
        hashes: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, String>, Error> {
        let jobs: Vec<i64> = jobs.iter().copied().collect();
        let statement = sqlx::query_as(
            "-- hashes_of_other_jobs
            select distinct on (h.sha256) h.sha256, h.job_id || '/' || h.key
            from image_hash h join chunk c using (job_id, chunk_index) join job j using (job_id)
            where h.job_id = any($1) and h.sha256 = any($2) and c.state = 'completed'
                and j.going_at is null
            order by h.sha256, h.job_id",
        )
        .bind(jobs)
        .bind(hashes);
        let rows: Vec<(Vec<u8>, String)> =
            ask!(self.pool, self.cap, "hashes_of_other_jobs", statement.fetch_all)?;
        Ok(rows.into_iter().collect())
    }
}
