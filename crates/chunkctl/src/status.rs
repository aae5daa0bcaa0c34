//! `status`: the fleet and its jobs, once or with a progress bar.

use super::{Session, few_valid, host_busy, out};
use anyhow::bail;
use chunk_handler::{
    chunk::{ChunkId, ErrorCode},
    jobs::again_command,
    state::{
        self, Capacity, ChunkStatus, JobProgress, LiveProcess, LostDuplicates, until_answered,
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::{
    future::Future,
    process::ExitCode,
    time::{Duration, Instant},
};

const PERIOD: Duration = Duration::from_millis(500);
/// Failed chunks that are shown, and of the others that want a command.
const SHOWN_FAILURES: i64 = 10;
/// Jobs that are shown.
const SHOWN_JOBS: i64 = 20;
/// Missing chunks that are shown.
const SHOWN_MISSING: i64 = 5;

impl Session {
    pub(super) async fn status(
        &self,
        job_id: Option<i64>,
        watch: bool,
    ) -> anyhow::Result<ExitCode> {
        let jobs = match job_id {
            Some(job_id) => self.database.job_progress(job_id).await?.into_iter().collect(),
            None => self.database.jobs(None, SHOWN_JOBS).await?.rows,
        };
        if let (Some(job_id), true) = (job_id, jobs.is_empty()) {
            bail!("job {job_id} is unknown; submit it, or see `chunkctl status`");
        }
        match (job_id, watch) {
            (Some(job_id), true) => self.watch_job(job_id).await,
            (None, true) => self.watch_fleet().await,
            (_, false) => {
                let lines: Vec<String> = jobs.iter().filter_map(few_valid::line).collect();
                self.show(jobs).await?;
                if !self.json {
                    lines.iter().for_each(|line| out(format_args!("{line}")));
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    async fn show(&self, jobs: Vec<JobProgress>) -> anyhow::Result<()> {
        let capacity = self.database.capacity().await?;
        let mut degraded = self.database.processes().await?;
        degraded.retain(|process| process.degraded.is_some());
        let mut failed = Vec::new();
        for job in jobs.iter().filter(|job| job.failed_chunks > 0) {
            failed.extend(self.database.failed_chunks(job.job_id, SHOWN_FAILURES).await?);
        }
        let mut lost = Vec::new();
        for job in &jobs {
            let chunks = self.database.lost_duplicates(job.job_id, SHOWN_FAILURES).await?;
            lost.extend(chunks.into_iter().map(|chunk| (job.job_id, chunk)));
        }
        let busy = self.host_busy(&jobs).await?;
        if self.json {
            let lost: Vec<_> = lost
                .iter()
                .map(|(job_id, LostDuplicates { chunk_index, n })| {
                    json!({"job_id": job_id, "chunk_index": chunk_index, "duplicates": n})
                })
                .collect();
            out(format_args!(
                "{}",
                json!({"capacity": capacity, "degraded_processes": degraded, "jobs": jobs,
                    "failed_chunks": failed, "lost_duplicates": lost, "host_busy": busy,
                    "few_valid": few_valid::as_json(&jobs)})
            ));
            return Ok(());
        }
        out(format_args!("{}", capacity_line(&capacity)));
        for process in &degraded {
            out(format_args!("{}", degraded_line(process)));
        }
        for job in &jobs {
            out(format_args!("{}", job_line(job)));
            if let Some(cause) = &job.end_error {
                out(format_args!("{}", end_error_line(cause)));
            }
            if is_waiting(job) {
                let missing = self.database.missing_chunks(job.job_id, SHOWN_MISSING).await?;
                out(format_args!("{}", missing_line(job, &missing)));
            }
        }
        self.show_blocked(&jobs).await?;
        self.show_waiting_for_hosts(&jobs).await?;
        for chunk in &failed {
            out(format_args!("{}", failure_line(chunk)));
        }
        for job in jobs.iter().filter(|job| i64::from(job.failed_chunks) > SHOWN_FAILURES) {
            out(format_args!("{}", more_failures_line(job)));
        }
        for (job_id, chunk) in lost {
            out(format_args!("{}", lost_line(job_id, chunk)));
        }
        for chunk in busy {
            out(format_args!("{}", host_busy::line(chunk)));
        }
        Ok(())
    }

    /// Shows a job's progress until it ends; the exit code says how.
    async fn watch_job(&self, job_id: i64) -> anyhow::Result<ExitCode> {
        let bar = self.progress_bar()?;
        let since = Instant::now();
        let mut start = None;
        let mut said = Vec::new();
        loop {
            let Some(job) = again(|| self.database.job_progress(job_id)).await? else {
                bail!("job {job_id} is gone");
            };
            let (images, bytes) = *start.get_or_insert((job.images_total, job.bytes_out));
            let speed = Speed {
                images: job.images_total - images,
                bytes: job.bytes_out - bytes,
                seconds: since.elapsed().as_secs_f64().max(0.001),
            };
            if job.active_chunks == 0 || job.end_error.is_some() {
                self.say_what_stops(&job, &mut said).await?;
            }
            let over = job.completed_chunks + job.failed_chunks;
            bar.set_length(u64::try_from(job.total_chunks).unwrap_or(0));
            bar.set_position(u64::try_from(over).unwrap_or(0));
            bar.set_message(speed.text(&job));
            if self.json {
                out(format_args!("{}", serde_json::to_value(&job)?));
            }
            if few_valid::is_over(&job) {
                bar.finish_and_clear();
                if !self.json {
                    self.show(vec![job.clone()]).await?;
                }
                if let Some(line) = few_valid::line(&job) {
                    eprintln!("warning: {line}");
                }
                let code = u8::from(job.status != "completed");
                return Ok(ExitCode::from(code));
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Shows the fleet until interrupted.
    async fn watch_fleet(&self) -> anyhow::Result<ExitCode> {
        loop {
            self.show(self.database.jobs(None, SHOWN_JOBS).await?.rows).await?;
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                () = tokio::time::sleep(PERIOD * 4) => out(format_args!("")),
            }
        }
    }

    fn progress_bar(&self) -> anyhow::Result<ProgressBar> {
        if self.json {
            return Ok(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} chunks  {msg}  ETA {eta}")?;
        Ok(ProgressBar::no_length().with_style(style))
    }
}

/// How long a watch waits for a database that is away: a restart must not end it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn again<T, F>(ask: impl Fn() -> F) -> Result<T, state::Error>
where
    F: Future<Output = Result<T, state::Error>>,
{
    until_answered(tokio::time::sleep(PATIENCE), state::Error::is_away, ask).await
}

/// What happened since the watch began.
struct Speed {
    images: i64,
    bytes: i64,
    seconds: f64,
}

impl Speed {
    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "shown with one digit")]
    fn text(&self, job: &JobProgress) -> String {
        let waits = if is_waiting(job) { ", waits for chunks that nobody sent" } else { "" };
        format!(
            "{}{waits}, {} running, {} images ({} valid), {:.1} images/s, {:.1} MB/s",
            job.status,
            job.active_chunks,
            job.images_total,
            job.images_valid,
            self.images as f64 / self.seconds,
            self.bytes as f64 / self.seconds / 1_048_576.0,
        )
    }
}

fn capacity_line(capacity: &Capacity) -> String {
    let paused = match capacity.paused_until {
        Some(until) => format!(", paused until {until} (chunkctl control resume)"),
        None => String::new(),
    };
    format!(
        "fleet: {} of {} slots taken, profile {}{paused}",
        capacity.active_chunks, capacity.max_chunks, capacity.environment
    )
}

/// Why a process starts no chunk.
fn degraded_line(process: &LiveProcess) -> String {
    let why = process.degraded.as_deref().unwrap_or_default();
    format!("handler {} starts no chunk: {why}", process.owner)
}

fn job_line(job: &JobProgress) -> String {
    let again = match job.images_asked_again {
        0 => String::new(),
        n => format!(" ({n} of them asked for again)"),
    };
    format!(
        "job {}: {} {:.0}%, chunks {} pending {} running {} completed {} failed of {}, \
         images {}{again} of which {} valid, {} duplicates removed, {} late duplicates",
        job.job_id,
        job.status,
        job.progress,
        job.pending_chunks,
        job.active_chunks,
        job.completed_chunks,
        job.failed_chunks,
        job.total_chunks,
        job.images_total,
        job.images_valid,
        job.duplicates_removed,
        job.late_duplicates,
    )
}

/// Nothing of it is left to be done but what nobody sent.
fn is_waiting(job: &JobProgress) -> bool {
    job.missing_chunks > 0 && job.pending_chunks + job.active_chunks == 0
}

fn missing_line(job: &JobProgress, first: &[i32]) -> String {
    let JobProgress { job_id, missing_chunks, .. } = job;
    let mut indexes = first.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    if usize::try_from(*missing_chunks).is_ok_and(|n| n > first.len()) {
        indexes += ", ...";
    }
    format!(
        "  waits for {missing_chunks} chunks that nobody sent: {indexes}\n    send them, or end the \
         job without them: `chunkctl control close --job-id {job_id}`"
    )
}

/// Why a job whose chunks are all over does not end.
fn end_error_line(cause: &str) -> String {
    format!(
        "  cannot end: {cause}\n    free the named blob, or run `chunkctl doctor`; it ends by itself then"
    )
}

/// What becomes of failed chunks that are not shown.
fn more_failures_line(job: &JobProgress) -> String {
    let JobProgress { job_id, failed_chunks, .. } = job;
    format!(
        "  job {job_id}: {failed_chunks} failed chunks, of which {SHOWN_FAILURES} are shown\n    all of \
         them run again with `chunkctl control retry --job-id {job_id}`"
    )
}

fn failure_line(chunk: &ChunkStatus) -> String {
    let code = chunk.error_code.as_deref().unwrap_or("unknown");
    let advice = ErrorCode::parse(code).map_or("see the message, then `retry`", ErrorCode::advice);
    let advice = advice.replace("`retry`", &retry_command(chunk));
    let message = chunk.error_message.as_deref().unwrap_or("");
    format!(
        "  chunk {}/{} failed: {code}: {message}\n    {advice}",
        chunk.job_id, chunk.chunk_index
    )
}

/// Pictures that nobody has any more, and what brings them back.
fn lost_line(job_id: i64, LostDuplicates { chunk_index, n }: LostDuplicates) -> String {
    let id = ChunkId { job_id, chunk_index };
    let command = again_command(id);
    format!("  chunk {id} dropped {n} duplicates of samples that are gone\n    `{command}`")
}

/// What runs a failed chunk again.
fn retry_command(chunk: &ChunkStatus) -> String {
    format!(
        "`chunkctl control retry --job-id {} --chunk-index {}`",
        chunk.job_id, chunk.chunk_index
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use chunk_handler::state::HostBusy;
    use time::macros::datetime;

    fn capacity() -> Capacity {
        Capacity {
            active_chunks: 3,
            max_chunks: 10,
            available: 7,
            utilization: 0.3,
            environment: "azure_functions".into(),
            chunk_size: 500,
            storage_limit_mb: 400,
            paused_until: Some(datetime!(2026-11-26 12:00 UTC)),
            paused_since: Some(datetime!(2026-11-26 10:30 UTC)),
            storage: None,
        }
    }

    pub(crate) fn job() -> JobProgress {
        JobProgress {
            job_id: 7,
            status: "running".into(),
            total_chunks: 4,
            pending_chunks: 1,
            active_chunks: 1,
            completed_chunks: 1,
            failed_chunks: 1,
            images_total: 500,
            images_downloaded: 480,
            images_valid: 450,
            duplicates_removed: 20,
            late_duplicates: 2,
            progress: 50.0,
            created_at: datetime!(2026-11-26 10:00 UTC),
            updated_at: datetime!(2026-11-26 11:00 UTC),
            missing_chunks: 0,
            end_error: None,
            images_asked_again: 0,
            images_failed: 20,
            images_invalid: 10,
            bytes_in: 50_000_000,
            bytes_out: 45_000_000,
            items_done: 620,
            images_submitted: Some(2000),
            ended_at: None,
        }
    }

    fn failed(code: &str) -> ChunkStatus {
        ChunkStatus {
            job_id: 7,
            chunk_index: 3,
            status: "failed".into(),
            attempt: 5,
            expiries: 0,
            fence: 5,
            shard_fence: None,
            owner: None,
            lease_until: None,
            not_before: None,
            priority: 5,
            images_valid: None,
            duplicates_removed: None,
            late_duplicates: 0,
            shard_blob: None,
            manifest_blob: None,
            error_code: Some(code.into()),
            error_message: Some("the source blob is missing".into()),
            updated_at: datetime!(2026-11-26 11:00 UTC),
            images_total: None,
            images_failed: None,
            images_invalid: None,
            bytes_in: None,
            bytes_out: None,
            items_done: None,
            temp_bytes: None,
            lost_duplicates: 0,
        }
    }

    /// What people read, to the letter: fleet, job, a failure with its advice.
    #[test]
    fn status_is_shown_in_lines() {
        let waiting = JobProgress { missing_chunks: 7, ..job() };
        let lines = [
            capacity_line(&capacity()),
            job_line(&job()),
            missing_line(&waiting, &[1, 4]),
            end_error_line("job_7/dataset.json cannot be overwritten"),
            more_failures_line(&JobProgress { failed_chunks: 14, ..job() }),
            failure_line(&failed("source_missing")),
            failure_line(&failed("a_word_of_another_release")),
            lost_line(7, LostDuplicates { chunk_index: 3, n: 2 }),
            host_busy::line(HostBusy { job_id: 7, chunk_index: 3, images: 120 }),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }

    /// What programs read: the columns of the views under their own names.
    #[test]
    fn status_in_json_has_the_columns_of_the_views() {
        let chunk = failed("source_missing");
        insta::assert_json_snapshot!(
            json!({"capacity": capacity(), "jobs": [job()], "failed_chunks": [chunk]})
        );
    }
}
