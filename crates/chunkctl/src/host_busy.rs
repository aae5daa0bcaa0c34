//! Images that were never asked for, since their host wanted to be left alone to the end: nobody knows
//! whether they are good, and a command asks again.

use super::Session;
use chunk_handler::{
    chunk::ChunkId,
    jobs::again_command,
    state::{Error, HostBusy, JobProgress},
};

/// Chunks of a job that are shown.
const SHOWN: i64 = 10;

impl Session {
    /// Chunks of these jobs with such images, the first of each job.
    pub(crate) async fn host_busy(&self, jobs: &[JobProgress]) -> Result<Vec<HostBusy>, Error> {
        let mut chunks = Vec::new();
        for job in jobs.iter().filter(|job| job.completed_chunks > 0) {
            chunks.extend(self.database.host_busy(job.job_id, SHOWN).await?);
        }
        Ok(chunks)
    }
}

pub(crate) fn line(chunk: HostBusy) -> String {
    let HostBusy { job_id, chunk_index, images } = chunk;
    let id = ChunkId { job_id, chunk_index };
    let command = again_command(id);
    format!(
        "  {images} images of chunk {id} were never asked for: their host was busy\n    `{command}` asks \
         again"
    )
}
