//! `status`: the fleet and its jobs, one job, its chunks; once, or again and again.

mod account;
mod chunks;
mod failures;
mod lines;
mod watch;

use super::{Session, few_valid, host_busy, object::add, out};
use crate::{
    failure::{bail_as, tell_wrong},
    next::is_waiting,
    words::count,
};
use chunk_handler::{
    chunk::ChunkId,
    state::{self, Failures, JobProgress, LiveProcess, LostDuplicates, Page, until_answered},
};
use clap::{ArgGroup, Args, ValueEnum};
use lines::{capacity_line, degraded_line, end_error_line, job_line, lost_line, missing_line};
use serde_json::{Value, json};
use std::{future::Future, process::ExitCode, time::Duration};

/// Between two frames of a watch.
const PERIOD: Duration = Duration::from_millis(500);
/// Failed chunks that are shown, and of the others that want a command.
const SHOWN_FAILURES: i64 = 10;
/// Missing chunks that are shown.
const SHOWN_MISSING: i64 = 5;

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chunkctl status --state failed --limit 100
  chunkctl status 7
  chunkctl status 7 --watch
  chunkctl status 7 --chunks --state failed
  chunkctl status 7 --chunk-index 4
  chunkctl status --rejected --json")]
#[command(group(ArgGroup::new("the_job").args(["job", "job_id"])))]
pub(crate) struct Status {
    /// Only this job, 0 to 2^63 - 1; with --watch, end when it does.
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    job: Option<i64>,
    /// The same, 0 to 2^63 - 1.
    #[arg(long, value_name = "JOB", value_parser = clap::value_parser!(i64).range(0..))]
    job_id: Option<i64>,
    /// Go on: with a progress bar, or with a line now and then where there is no terminal.
    #[arg(long)]
    watch: bool,
    /// Only jobs, or with --chunks chunks, of this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// How many jobs, chunks or messages at most, 1 to 100000.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
    /// The chunks of the job.
    #[arg(long, requires = "the_job", conflicts_with_all = ["watch", "chunk_index"])]
    chunks: bool,
    /// One chunk of the job, 0 to 99999, with its attempts.
    #[arg(long, requires = "the_job", conflicts_with = "watch", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..=99_999))]
    chunk_index: Option<i32>,
    /// Messages that could never work, the newest first.
    #[arg(long, conflicts_with_all = ["the_job", "watch", "state"])]
    rejected: bool,
}

impl Status {
    /// What a watch ends with that nobody reads any more; none: it is no watch.
    pub(crate) fn unread(&self) -> Option<ExitCode> {
        let is_of_job = self.job.or(self.job_id).is_some();
        self.watch.then_some(if is_of_job { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Pending,
    #[value(alias = "processing")]
    Running,
    Completed,
    Failed,
    /// Of jobs.
    Cancelled,
}

impl State {
    fn of_job(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// None: a chunk is never that.
    fn of_chunk(self) -> Option<&'static str> {
        match self {
            Self::Running => Some("processing"),
            Self::Cancelled => None,
            Self::Pending | Self::Completed | Self::Failed => Some(self.of_job()),
        }
    }
}

impl Session {
    pub(super) async fn status(&self, status: Status) -> anyhow::Result<ExitCode> {
        let Status { watch, state, limit, chunks, chunk_index, rejected, .. } = status;
        // Behind one it may succeed, while no handler works.
        if let Err(error @ state::Error::TransactionPooler) =
            self.database.refuse_transaction_pooler().await
        {
            return Err(error.into());
        }
        if rejected {
            self.show_rejected(limit).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let Some(job_id) = status.job.or(status.job_id) else {
            let state = state.map(State::of_job);
            if watch {
                return self.watch_fleet(state, limit).await;
            }
            return self.show_jobs(state, limit).await.map(|()| ExitCode::SUCCESS);
        };
        let chunk_state = state.map(State::of_chunk);
        if chunk_state == Some(None) || (chunk_state.is_some() && !chunks) {
            let message = "of one job --state goes with --chunks".to_owned();
            let hint = "say pending, running, completed or failed".to_owned();
            return Ok(tell_wrong(message, hint, self.json));
        }
        let Some(job) = self.database.job_progress(job_id).await? else {
            bail_as!(JobUnknown, "job {job_id} is unknown; submit it, or see `chunkctl status`");
        };
        if watch {
            return self.watch_job(job_id).await;
        }
        match chunk_index {
            Some(chunk_index) => self.show_chunk(ChunkId { job_id, chunk_index }).await?,
            None if chunks => self.show_chunks(job_id, chunk_state.flatten(), limit).await?,
            None => self.show_job(&job).await?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The fleet and its newest jobs.
    async fn show_jobs(&self, state: Option<&str>, limit: i64) -> anyhow::Result<()> {
        let Page { rows, total } = self.database.jobs(state, limit).await?;
        let shown = rows.len();
        if self.json {
            let mut object = self.jobs_as_json(&rows).await?;
            add(&mut object, "jobs_total", total);
            out(format_args!("{object}"));
            return Ok(());
        }
        self.show(&rows).await?;
        if i64::try_from(shown).is_ok_and(|shown| shown < total) {
            out(format_args!(
                "{shown} of {} shown, the newest; --limit N shows more, --state S those of a state",
                count(total, "job")
            ));
        }
        Ok(())
    }

    /// The fleet and one job, with every URL accounted for.
    async fn show_job(&self, job: &JobProgress) -> anyhow::Result<()> {
        let account = self.account(job).await?;
        let jobs = std::slice::from_ref(job);
        if self.json {
            let mut object = self.jobs_as_json(jobs).await?;
            add(&mut object, "account", account.as_json(job));
            out(format_args!("{object}"));
            return Ok(());
        }
        self.show(jobs).await?;
        account.lines(job).iter().for_each(|line| out(format_args!("{line}")));
        Ok(())
    }

    async fn jobs_as_json(&self, jobs: &[JobProgress]) -> anyhow::Result<Value> {
        let capacity = self.database.capacity().await?;
        let mut failed = Vec::new();
        for job in jobs.iter().filter(|job| job.failed_chunks > 0) {
            failed.extend(self.database.failed_chunks(job.job_id, SHOWN_FAILURES).await?);
        }
        let failures = self.failures(jobs).await?;
        let lost: Vec<_> = self
            .lost(jobs)
            .await?
            .into_iter()
            .map(|(job_id, LostDuplicates { chunk_index, n })| {
                json!({"job_id": job_id, "chunk_index": chunk_index, "duplicates": n})
            })
            .collect();
        Ok(json!({"capacity": capacity, "degraded_processes": self.degraded().await?,
            "jobs": jobs, "failed_chunks": failed,
            "failures": failures.iter().map(failures::as_json).collect::<Vec<_>>(),
            "lost_duplicates": lost, "host_busy": self.host_busy(jobs).await?,
            "few_valid": few_valid::as_json(jobs)}))
    }

    async fn show(&self, jobs: &[JobProgress]) -> anyhow::Result<()> {
        let capacity = self.database.capacity().await?;
        out(format_args!("{}", capacity_line(&capacity)));
        for process in &self.degraded().await? {
            out(format_args!("{}", degraded_line(process)));
        }
        for job in jobs {
            out(format_args!("{}", job_line(job)));
            if let Some(cause) = &job.end_error {
                out(format_args!("{}", end_error_line(cause)));
            }
            if is_waiting(job) {
                let missing = self.database.missing_chunks(job.job_id, SHOWN_MISSING).await?;
                out(format_args!("{}", missing_line(job, &missing)));
            }
        }
        self.show_blocked(jobs).await?;
        self.show_waiting_for_hosts(jobs).await?;
        for line in self.failures(jobs).await?.iter().flat_map(failures::lines) {
            out(format_args!("{line}"));
        }
        for (job_id, chunk) in self.lost(jobs).await? {
            out(format_args!("{}", lost_line(job_id, chunk)));
        }
        for chunk in self.host_busy(jobs).await? {
            out(format_args!("{}", host_busy::line(chunk)));
        }
        for line in jobs.iter().filter_map(few_valid::line) {
            out(format_args!("{line}"));
        }
        Ok(())
    }

    /// Processes that start no chunk.
    async fn degraded(&self) -> Result<Vec<LiveProcess>, state::Error> {
        let mut processes = self.database.processes().await?;
        processes.retain(|process| process.degraded.is_some());
        Ok(processes)
    }

    async fn failures(&self, jobs: &[JobProgress]) -> Result<Vec<Failures>, state::Error> {
        let mut failures = Vec::new();
        for job in jobs.iter().filter(|job| job.failed_chunks > 0) {
            failures.extend(self.database.failures(job.job_id).await?);
        }
        Ok(failures)
    }

    async fn lost(&self, jobs: &[JobProgress]) -> Result<Vec<(i64, LostDuplicates)>, state::Error> {
        let mut lost = Vec::new();
        for job in jobs {
            let chunks = self.database.lost_duplicates(job.job_id, SHOWN_FAILURES).await?;
            lost.extend(chunks.into_iter().map(|chunk| (job.job_id, chunk)));
        }
        Ok(lost)
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

#[cfg(test)]
pub(super) mod tests;
