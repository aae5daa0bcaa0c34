//! Images that were never asked for, since their host wanted to be left alone to the end: nobody knows
//! whether they are good, and a command asks again.

use super::{Session, out, words::count};
use chunk_handler::{
    chunk::ChunkId,
    jobs::again_command,
    state::{Error, HostBusy, JobProgress},
};
use time::OffsetDateTime;

/// Chunks of a job that are shown.
const SHOWN: i64 = 10;

impl Session {
    /// Chunks of these jobs with such images, the first of each job.
    pub(crate) async fn host_busy(&self, jobs: &[JobProgress]) -> Result<Vec<HostBusy>, Error> {
        let mut chunks = Vec::new();
        for job in jobs.iter().filter(|job| job.completed_chunks > 0 && job.images_failed > 0) {
            chunks.extend(self.database.host_busy(job.job_id, SHOWN).await?);
        }
        Ok(chunks)
    }
}

impl Session {
    /// Says of jobs that are shown which chunks wait for hosts, and until when.
    pub(crate) async fn show_waiting_for_hosts(&self, jobs: &[JobProgress]) -> Result<(), Error> {
        for job in jobs.iter().filter(|job| job.pending_chunks > 0) {
            if let (n @ 1.., Some(at)) = self.database.waiting_for_hosts(job.job_id).await? {
                let seconds = (at - OffsetDateTime::now_utc()).whole_seconds().max(0);
                let waits = if n == 1 { "waits" } else { "wait" };
                out(format_args!(
                    "  {} {waits} for busy hosts; the first goes on in {seconds} s",
                    count(n, "chunk")
                ));
            }
        }
        Ok(())
    }
}

pub(crate) fn line(chunk: HostBusy) -> String {
    let HostBusy { job_id, chunk_index, images } = chunk;
    let id = ChunkId { job_id, chunk_index };
    let command = again_command(id);
    let were = if images == 1 { "was" } else { "were" };
    format!(
        "  {} of chunk {id} {were} never asked for: their host was busy\n    `{command}` asks again",
        count(images, "image")
    )
}
