//! Known images: the hashes that completed chunks of a job hold.

use super::{Database, Error};
use crate::chunk::ChunkId;
use std::collections::HashMap;

impl Database {
    /// Which of the hashes other completed chunks of the job hold, with the kept sample's key. A chunk
    /// that runs again has hashes of its own from the last time, which count for the others only.
    pub(crate) async fn known_hashes(
        &self,
        id: ChunkId,
        hashes: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, String>, Error> {
        let statement = sqlx::query_as(
            "-- known_hashes
            select sha256, key from image_hash
            where job_id = $1 and sha256 = any($2) and chunk_index <> $3",
        )
        .bind(id.job_id)
        .bind(hashes)
        .bind(id.chunk_index);
        let rows: Vec<(Vec<u8>, String)> =
            ask!(self.pool, self.cap, "known_hashes", statement.fetch_all)?;
        Ok(rows.into_iter().collect())
    }
}
