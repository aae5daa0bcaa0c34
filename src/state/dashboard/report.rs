//! What the report of a job has beside its page.

use crate::state::{
    Database, Error,
    view::{AttemptRow, ChunkStatus},
};

impl Database {
    /// Claims of a job, the newest first, `limit` at most.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn attempts_of_job(&self, job_id: i64, limit: i64) -> Result<Vec<AttemptRow>, Error> {
        let statement = sqlx::query_as(
            "-- attempts_of_job
            select * from attempt_log where job_id = $1 order by claimed_at desc limit $2",
        )
        .bind(job_id)
        .bind(limit);
        ask!(self.pool, self.cap, "attempts_of_job", statement.fetch_all)
    }

    /// Completed chunks of a job that have pictures, `n` at most, spread over all of them.
    ///
    /// # Errors
    ///
    /// When the database is away, slow, or refuses.
    pub async fn chunks_with_pictures(
        &self,
        job_id: i64,
        n: i64,
    ) -> Result<Vec<ChunkStatus>, Error> {
        let statement = sqlx::query_as(
            "-- chunks_with_pictures
            select c.* from chunk_status c join (select chunk_index,
                    row_number() over (order by chunk_index) - 1 as i, count(*) over () as all_of_them
                from chunk_status where job_id = $1 and status = 'completed' and images_valid > 0) p
                on p.chunk_index = c.chunk_index
            where c.job_id = $1 and (i = 0 or i * $2 / all_of_them > (i - 1) * $2 / all_of_them)
            order by chunk_index",
        )
        .bind(job_id)
        .bind(n);
        ask!(self.pool, self.cap, "chunks_with_pictures", statement.fetch_all)
    }
}
