//! What a job adds up to: the totals of its chunks, kept as they change, and of an ended job everything, counted
//! once and kept in its row.

use super::{Database, Error, patiently};

/// Changes that are added to the sums by one statement.
pub(crate) const CHANGES_AT_ONCE: i64 = 1000;

impl Database {
    /// Adds changes of chunks to the sums of their jobs, at most [`CHANGES_AT_ONCE`]; how many.
    pub(crate) async fn fold_sums(&self) -> Result<i64, Error> {
        let statement =
            sqlx::query_scalar("-- fold_sums\nselect fold_sums($1)").bind(CHANGES_AT_ONCE);
        ask!(self.pool, self.cap, "fold_sums", statement.fetch_one)
    }

    /// Counts a job that has ended and keeps what it adds up to; without a number the one that ended last
    /// of those that are not counted. None: there is none, or somebody is changing it.
    pub async fn keep_sums(&self, only: Option<i64>) -> Result<Option<i64>, Error> {
        let mut connection = self.patient("keep_sums").await?;
        let statement = sqlx::query_scalar("-- keep_sums\nselect keep_sums($1)").bind(only);
        patiently("keep_sums", statement.fetch_one(&mut connection)).await
    }
}
