//! Chunks, and ends of jobs, that wait for a blob which somebody keeps: they go on by themselves, but not
//! before that.

use super::{Session, out, status::again};
use chunk_handler::{
    chunk::ErrorCode,
    state::{ChunkStatus, Error, JobProgress},
};

/// Waiting chunks that are shown.
const SHOWN: i64 = 5;

impl Session {
    /// What keeps chunks of one job, or of all, waiting: a line for each.
    pub(crate) async fn blocked(&self, only: Option<i64>) -> Result<Vec<String>, Error> {
        let chunks = self.database.blocked_chunks(only, SHOWN).await?;
        Ok(chunks.iter().map(line).collect())
    }

    /// The same of jobs that are shown, with what to do.
    pub(crate) async fn show_blocked(&self, jobs: &[JobProgress]) -> Result<(), Error> {
        for job in jobs.iter().filter(|job| job.pending_chunks > 0) {
            let lines = self.blocked(Some(job.job_id)).await?;
            for line in &lines {
                out(format_args!("  {line}"));
            }
            if !lines.is_empty() {
                out(format_args!("    {}", ErrorCode::StorageBlocked.advice()));
            }
        }
        Ok(())
    }

    /// Says once on stderr what keeps a job from going on: without it a watch would wait in silence.
    pub(crate) async fn say_what_stops(
        &self,
        job: &JobProgress,
        said: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        let mut lines = again(|| self.blocked(Some(job.job_id))).await?;
        lines.extend(job.end_error.iter().map(|cause| format!("it cannot end: {cause}")));
        for line in lines {
            // The id of a request makes a cause no other one.
            let kind = line.split(", request id ").next().unwrap_or_default().to_owned();
            if !said.contains(&kind) {
                eprintln!("warning: job {}: {line}", job.job_id);
                said.push(kind);
            }
        }
        Ok(())
    }
}

fn line(chunk: &ChunkStatus) -> String {
    let message = chunk.error_message.as_deref().unwrap_or("its blob is kept");
    format!("chunk {}/{} waits: {message}", chunk.job_id, chunk.chunk_index)
}
