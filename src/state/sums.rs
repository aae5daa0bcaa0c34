//! What an ended job adds up to: counted once, and kept in its row.

use super::{Database, Error, patiently};

impl Database {
    /// Counts a job that has ended and keeps what it adds up to; without a number the one that ended last
    /// of those that are not counted. None: there is none, or somebody is changing it.
    pub async fn keep_sums(&self, only: Option<i64>) -> Result<Option<i64>, Error> {
        let mut connection = self.patient("keep_sums").await?;
        let statement = sqlx::query_scalar("-- keep_sums\nselect keep_sums($1)").bind(only);
        patiently("keep_sums", statement.fetch_one(&mut connection)).await
    }
}
