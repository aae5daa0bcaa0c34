//! A job, or the fleet, shown again and again: one reading a frame.

use super::{
    PERIOD, again,
    lines::{END_ERROR_HELP, capacity_line, degraded_line, job_line},
};
use crate::{
    Session, few_valid,
    next::is_waiting,
    object::add,
    out,
    words::{count, moment, pause_end, span},
};
use anyhow::bail;
use chunk_handler::state::{Capacity, JobProgress, LiveProcess};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{IsTerminal as _, stderr, stdout},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Without a terminal a line is said so often at most, when something changed.
const QUIET: Duration = Duration::from_secs(5);
/// Without a terminal a line is said so often at least.
const LOUD: Duration = Duration::from_secs(60);
/// What the speed is measured over: renewals say in steps how far a chunk is.
const WINDOW: Duration = Duration::from_secs(60);

/// What one frame shows.
struct Reading {
    job: JobProgress,
    capacity: Capacity,
    degraded: Vec<LiveProcess>,
}

impl Session {
    /// Shows a job's progress until it ends; the exit code says how.
    pub(crate) async fn watch_job(&self, job_id: i64) -> anyhow::Result<ExitCode> {
        let mut screen = Screen::new(self.json)?;
        let mut speed = Speed::default();
        let mut said = Vec::new();
        loop {
            let began = Instant::now();
            let Some(reading) = self.read(job_id).await? else { bail!("job {job_id} is gone") };
            let took = began.elapsed();
            let job = &reading.job;
            if job.active_chunks == 0 || job.end_error.is_some() {
                self.say_what_stops(job, &mut said).await?;
            }
            speed.note(job, began);
            screen.show(&reading, &speed);
            if few_valid::is_over(job) {
                screen.end();
                if !self.json {
                    self.show_job(job).await?;
                }
                if let Some(line) = few_valid::line(job) {
                    eprintln!("warning: {line}");
                }
                return Ok(ExitCode::from(u8::from(job.status != "completed")));
            }
            // What a look costs the server goes by how large the job is.
            tokio::time::sleep(PERIOD.max(took * 4)).await;
        }
    }

    async fn read(&self, job_id: i64) -> anyhow::Result<Option<Reading>> {
        let Some(job) = again(|| self.database.job_progress(job_id)).await? else {
            return Ok(None);
        };
        let capacity = again(|| self.database.capacity()).await?;
        let degraded = again(|| self.degraded()).await?;
        Ok(Some(Reading { job, capacity, degraded }))
    }

    /// Shows the fleet and its newest jobs until interrupted.
    pub(super) async fn watch_fleet(
        &self,
        state: Option<&str>,
        limit: i64,
    ) -> anyhow::Result<ExitCode> {
        let is_terminal = stdout().is_terminal() && !self.json;
        let mut pace = Pace::default();
        loop {
            let jobs = again(|| self.database.jobs(state, limit)).await?;
            let capacity = again(|| self.database.capacity()).await?;
            let degraded = again(|| self.degraded()).await?;
            let frame = if self.json {
                let degraded: Vec<_> = degraded.iter().map(named).collect();
                json!({"capacity": capacity, "degraded_processes": degraded, "jobs": jobs.rows,
                    "jobs_total": jobs.total})
                .to_string()
            } else {
                let head = [capacity_line(&capacity)];
                let degraded = degraded.iter().map(degraded_line);
                let lines = head.into_iter().chain(degraded).chain(jobs.rows.iter().map(job_line));
                lines.collect::<Vec<_>>().join("\n")
            };
            if is_terminal {
                // From the top of an empty screen.
                out(format_args!("\u{1b}[H\u{1b}[2J{frame}"));
            } else if pace.is_due(&frame, self.json, Instant::now()) {
                out(format_args!("{frame}"));
            }
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                () = tokio::time::sleep(PERIOD * 4) => {}
            }
        }
    }
}

/// A bar on a terminal, lines elsewhere, objects for programs.
enum Screen {
    Bar(ProgressBar),
    Lines(Pace),
    Objects(Pace),
}

impl Screen {
    fn new(is_json: bool) -> anyhow::Result<Self> {
        if is_json {
            return Ok(Self::Objects(Pace::default()));
        }
        if !stderr().is_terminal() {
            return Ok(Self::Lines(Pace::default()));
        }
        let style = ProgressStyle::with_template("{bar:30} {msg}")?;
        Ok(Self::Bar(ProgressBar::new(1000).with_style(style)))
    }

    fn show(&mut self, reading: &Reading, speed: &Speed) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(permille(&reading.job));
                bar.set_message(reading.text(speed));
            }
            Self::Lines(pace) => {
                if pace.is_due(&reading.news(), false, Instant::now()) {
                    let id = reading.job.job_id;
                    eprintln!("job {id}: {}", reading.text(speed));
                }
            }
            Self::Objects(pace) => {
                let object = reading.as_json();
                if pace.is_due(&object.to_string(), true, Instant::now()) {
                    out(format_args!("{object}"));
                }
            }
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// When what is to be said is said.
#[derive(Debug, Default)]
struct Pace {
    last: Option<(String, Instant)>,
}

impl Pace {
    /// Whether it is time: for programs when something changed, for people not too often and not too
    /// seldom.
    fn is_due(&mut self, news: &str, for_programs: bool, now: Instant) -> bool {
        let is_due = match &self.last {
            None => true,
            Some((last, _)) if for_programs => last != news,
            Some((last, at)) => {
                let since = now.saturating_duration_since(*at);
                since >= LOUD || (since >= QUIET && last != news)
            }
        };
        if is_due {
            self.last = Some((news.to_owned(), now));
        }
        is_due
    }
}

/// Who starts no chunk, and why; without the moments, which change by themselves.
fn named(process: &LiveProcess) -> Value {
    json!({"owner": process.owner, "degraded": process.degraded})
}

impl Reading {
    fn as_json(&self) -> Value {
        let mut object = serde_json::to_value(&self.job).unwrap_or_default();
        let capacity = serde_json::to_value(&self.capacity).unwrap_or_default();
        for name in ["paused_since", "paused_until"] {
            add(&mut object, name, capacity.get(name).cloned().unwrap_or_default());
        }
        add(&mut object, "degraded_processes", self.degraded.iter().map(named).collect::<Value>());
        object
    }

    /// What is new when it differs.
    fn news(&self) -> String {
        let JobProgress { status, active_chunks, items_done, images_valid, end_error, .. } =
            &self.job;
        let degraded: Vec<_> = self.degraded.iter().map(named).collect();
        format!(
            "{status} {} {active_chunks} {items_done} {images_valid} {end_error:?} {:?} {degraded:?}",
            over(&self.job),
            self.capacity.paused_until
        )
    }

    fn text(&self, speed: &Speed) -> String {
        let job = &self.job;
        let chunks = format!("{} of {}", over(job), count(job.total_chunks, "chunk"));
        let mut parts = vec![job.status.clone(), chunks];
        parts.extend(paused(&self.capacity).filter(|_| !few_valid::is_over(job)));
        if is_waiting(job) {
            parts.push("waits for chunks that nobody sent".to_owned());
        }
        if let Some(cause) = &job.end_error {
            parts.push(format!("cannot end: {cause}; {END_ERROR_HELP}"));
        }
        parts.push(format!("{} running", job.active_chunks));
        parts.push(format!("{} done ({} valid)", count(job.items_done, "image"), job.images_valid));
        parts.extend(speed.text(job));
        for process in &self.degraded {
            parts.push(degraded_line(process));
        }
        parts.join(", ")
    }
}

/// Why nothing starts, if somebody paused the intake.
pub(super) fn paused(capacity: &Capacity) -> Option<String> {
    let until = pause_end(capacity)?;
    let since = capacity.paused_since.map(|at| format!(" since {}", moment(at, capacity.now)));
    Some(format!("paused{} {until}", since.unwrap_or_default()))
}

fn over(job: &JobProgress) -> i32 {
    job.completed_chunks + job.failed_chunks
}

/// How much of a job is done, in thousandths of its chunks; those that run count in part.
fn permille(job: &JobProgress) -> u64 {
    let total = i64::from(job.total_chunks.max(1));
    let running = (job.items_done - job.images_total).max(0);
    let part = average(job).map_or(0, |average| running * 1000 / average);
    let most = 1000 * i64::from(job.active_chunks);
    let done = 1000 * i64::from(over(job)) + part.min(most);
    u64::try_from(done / total).unwrap_or(0)
}

/// URLs of a chunk, on the average; none: nobody knows.
fn average(job: &JobProgress) -> Option<i64> {
    let submitted = job.images_submitted.map(|all| all / i64::from(job.total_chunks.max(1)));
    let completed = i64::from(job.completed_chunks);
    submitted.or_else(|| job.images_total.checked_div(completed)).filter(|average| *average > 0)
}

/// What happened of late.
#[derive(Debug, Default)]
struct Speed {
    seen: VecDeque<(Instant, i64, i64)>,
}

impl Speed {
    fn note(&mut self, job: &JobProgress, at: Instant) {
        self.seen.push_back((at, job.items_done, job.bytes_in));
        while self.seen.len() > 2
            && self.seen.get(1).is_some_and(|(then, ..)| at.duration_since(*then) >= WINDOW)
        {
            self.seen.pop_front();
        }
    }

    /// Images and bytes a second; none: nothing was done while somebody looked.
    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "shown with one digit")]
    fn rates(&self) -> Option<(f64, f64)> {
        let (from, to) = (self.seen.front()?, self.seen.back()?);
        let seconds = to.0.duration_since(from.0).as_secs_f64();
        let images = (to.1 - from.1) as f64 / seconds;
        let bytes = (to.2 - from.2) as f64 / seconds;
        (seconds > 0.0 && images > 0.0).then_some((images, bytes))
    }

    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a guess in minutes")]
    fn text(&self, job: &JobProgress) -> Option<String> {
        let (images, bytes) = self.rates()?;
        let text = format!("{images:.1} images/s, {:.1} MB/s", bytes / 1_048_576.0);
        let open = i64::from(job.pending_chunks + job.active_chunks + job.missing_chunks);
        let Some(left) = average(job)
            .map(|average| open * average - (job.items_done - job.images_total).max(0))
            .filter(|left| *left > 0 && !is_waiting(job))
        else {
            return Some(text);
        };
        let eta = Duration::try_from_secs_f64(left as f64 / images).ok()?;
        Some(format!("{text}, ETA {}", span(eta.as_secs())))
    }
}

#[cfg(test)]
mod tests;
