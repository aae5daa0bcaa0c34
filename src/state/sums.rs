//! What a job adds up to: the totals of its chunks, kept as they change, and of an ended job everything, counted
//! once and kept in its row.

use super::{Database, Error, patiently};

/// Changes that are added to the others by one statement: those of some 700 chunks.
const AT_ONCE: i64 = 10_000;

impl Database {
    /// Adds changes of chunks to the sums of their jobs, a batch of them; how many.
    pub(crate) async fn fold_sums(&self) -> Result<u64, Error> {
        let statement = sqlx::query_scalar("-- fold_sums\nselect fold_sums($1)").bind(AT_ONCE);
        let n: i64 = ask!(self.pool, self.cap, "fold_sums", statement.fetch_one)?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    /// Counts a job that has ended and keeps what it adds up to; without a number the one that ended last
    /// of those that are not counted. None: there is none, or somebody is changing it.
    pub async fn keep_sums(&self, only: Option<i64>) -> Result<Option<i64>, Error> {
        let mut connection = self.patient("keep_sums").await?;
        let statement = sqlx::query_scalar("-- keep_sums\nselect keep_sums($1)").bind(only);
        patiently("keep_sums", statement.fetch_one(&mut connection)).await
    }
}
