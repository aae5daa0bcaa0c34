//! What people read of the fleet and its jobs, line by line.

use super::watch;
use crate::words::count;
use chunk_handler::{
    chunk::ChunkId,
    jobs::again_command,
    state::{Capacity, JobProgress, LiveProcess, LostDuplicates},
};

pub(super) fn capacity_line(capacity: &Capacity) -> String {
    let paused = match watch::paused(capacity) {
        Some(paused) => format!(", {paused}; `chunkctl control resume` lifts it"),
        None => String::new(),
    };
    format!(
        "fleet: {} of {} taken, profile {}{paused}",
        capacity.active_chunks,
        count(capacity.max_chunks, "slot"),
        capacity.environment
    )
}

/// Why a process starts no chunk.
pub(super) fn degraded_line(process: &LiveProcess) -> String {
    let why = process.degraded.as_deref().unwrap_or_default();
    format!("handler {} starts no chunk: {why}", process.owner)
}

pub(super) fn job_line(job: &JobProgress) -> String {
    let again = match job.images_asked_again {
        0 => String::new(),
        n => format!(" ({n} of them asked for again)"),
    };
    format!(
        "job {}: {} {:.0}%, chunks {} pending {} running {} completed {} failed of {}, \
         images {}{again} of which {} valid, {} duplicates removed, {} late duplicates, {} invalid, {} \
         failed",
        job.job_id,
        job.status,
        job.progress.floor(),
        job.pending_chunks,
        job.active_chunks,
        job.completed_chunks,
        job.failed_chunks,
        job.total_chunks,
        job.images_total,
        job.images_valid,
        job.duplicates_removed,
        job.late_duplicates,
        job.images_invalid,
        job.images_failed,
    )
}

pub(super) fn missing_line(job: &JobProgress, first: &[i32]) -> String {
    let JobProgress { job_id, missing_chunks, .. } = job;
    let mut indexes = first.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    if usize::try_from(*missing_chunks).is_ok_and(|n| n > first.len()) {
        indexes += ", ...";
    }
    format!(
        "  waits for {} that nobody sent: {indexes}\n    send them, or end the job without them: \
         `chunkctl control close --job-id {job_id}`",
        count(*missing_chunks, "chunk")
    )
}

/// What to do about a job that cannot end.
pub(super) const END_ERROR_HELP: &str =
    "free the named blob, or run `chunkctl doctor`; it ends by itself then";

/// Why a job whose chunks are all over does not end.
pub(super) fn end_error_line(cause: &str) -> String {
    format!("  cannot end: {cause}\n    {END_ERROR_HELP}")
}

/// Pictures that nobody has any more, and what brings them back.
pub(super) fn lost_line(job_id: i64, LostDuplicates { chunk_index, n }: LostDuplicates) -> String {
    let id = ChunkId { job_id, chunk_index };
    let command = again_command(id);
    format!(
        "  chunk {id} dropped {} of samples that are gone\n    `{command}`",
        count(n, "duplicate")
    )
}
