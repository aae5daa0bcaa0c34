//! One chunk: its claims, and what it is to do.

use crate::{
    chunk::{ChunkId, ChunkMessage},
    state::{Database, Error, JobChunk, view::AttemptRow},
};

impl Database {
    /// The last claims of a chunk, the newest first.
    ///
    /// # Errors
    ///
    /// [`Error`] when the database is away or the statement takes too long.
    pub async fn attempts_of_page(
        &self,
        id: ChunkId,
        limit: i64,
    ) -> Result<Vec<AttemptRow>, Error> {
        let statement = sqlx::query_as(
            "-- attempts_of_page
            select * from attempt_log where job_id = $1 and chunk_index = $2
            order by fence desc limit $3",
        )
        .bind(id.job_id)
        .bind(id.chunk_index)
        .bind(limit);
        ask!(self.pool, self.cap, "attempts_of_page", statement.fetch_all)
    }

    /// What a chunk is to do, for who reads its list; none: nobody knows it. Whether it is complete is
    /// not asked here.
    ///
    /// # Errors
    ///
    /// As [`Self::attempts_of_page`].
    pub async fn message_of_page(&self, id: ChunkId) -> Result<Option<JobChunk>, Error> {
        let statement = sqlx::query_scalar(
            "-- message_of_page
            select message::text from chunk_message where job_id = $1 and chunk_index = $2",
        )
        .bind(id.job_id)
        .bind(id.chunk_index);
        let text: Option<String> =
            ask!(self.pool, self.cap, "message_of_page", statement.fetch_optional)?;
        Ok(text.map(|text| {
            let message = ChunkMessage::from_json(&text);
            JobChunk {
                id,
                is_complete: false,
                is_open: false,
                message: message.map_err(|error| error.to_string()),
            }
        }))
    }
}
