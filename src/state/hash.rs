//! Known images: the hashes that completed chunks of a job hold.

use super::{Database, Error};
use std::collections::HashMap;

impl Database {
    /// Which of the hashes completed chunks of the job hold, with the kept sample's key.
    pub(crate) async fn known_hashes(
        &self,
        job_id: i64,
        hashes: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, String>, Error> {
        let statement = sqlx::query_as(
            "-- known_hashes
            select sha256, key from image_hash where job_id = $1 and sha256 = any($2)",
        )
        .bind(job_id)
        .bind(hashes);
        let rows: Vec<(Vec<u8>, String)> =
            ask!(self.pool, self.cap, "known_hashes", statement.fetch_all)?;
        Ok(rows.into_iter().collect())
    }
}
