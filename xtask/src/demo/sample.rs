//! What is watched while a job runs: the database's views, the temp directory, the handler's ledger.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use support::origin::Origin;

/// A row of the view `job_progress`.
#[derive(Debug, Clone, Default, PartialEq, sqlx::FromRow)]
pub(super) struct Job {
    pub(super) status: String,
    pub(super) total: i64,
    pub(super) active: i64,
    pub(super) completed: i64,
    pub(super) failed: i64,
    pub(super) downloaded: i64,
}

impl Job {
    fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }
}

/// The view of one job.
#[derive(Debug)]
pub(super) struct Watch {
    pool: PgPool,
    job_id: i64,
}

impl Watch {
    pub(super) async fn connect(database: &str, job_id: i64) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(2).connect(database).await?;
        Ok(Self { pool, job_id })
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Waits until the handler has made its schema and said in it how many chunks it takes: a job that is
    /// submitted earlier starts slowly.
    pub(super) async fn wait_for_the_handler(&self, environment: &str) -> Result<()> {
        let query = "select exists (select from chunk_handler.capacity where environment = $1)";
        for _ in 0..300 {
            if let Ok(true) =
                sqlx::query_scalar(query).bind(environment).fetch_one(&self.pool).await
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the handler has not made its schema within 30 s")
    }

    /// Shows progress until the job has ended; returns its last row and the most chunks active at once.
    pub(super) async fn until_the_end(
        &self,
        origin: &Origin,
        limit: Duration,
    ) -> Result<(Job, i64)> {
        let display = Display::new(limit);
        let mut most_active = 0;
        loop {
            most_active = most_active.max(self.active().await?);
            let job = self.job().await?;
            display.show(&job, origin);
            if job.has_ended() {
                display.bar.finish_and_clear();
                return Ok((job, most_active));
            }
            if display.started.elapsed() > limit {
                bail!("the job has not ended within {limit:?}: {job:?}");
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    async fn active(&self) -> Result<i64> {
        let query = sqlx::query_scalar("select active_chunks::bigint from chunk_handler.capacity");
        query.fetch_one(&self.pool).await.context("reading the view capacity")
    }

    async fn job(&self) -> Result<Job> {
        let query = sqlx::query_as(
            "select status::text, total_chunks::bigint as total, active_chunks::bigint as active, \
             completed_chunks::bigint as completed, failed_chunks::bigint as failed, \
             coalesce(images_downloaded, 0)::bigint as downloaded \
             from chunk_handler.job_progress where job_id = $1",
        );
        query.bind(self.job_id).fetch_one(&self.pool).await.context("reading the view job_progress")
    }
}

/// A bar on a terminal, a line now and then elsewhere.
struct Display {
    bar: ProgressBar,
    started: Instant,
    lines: bool,
    last_line: std::cell::Cell<Duration>,
}

impl Display {
    fn new(limit: Duration) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} chunks, {msg}");
        let bar =
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let lines = bar.is_hidden();
        bar.enable_steady_tick(limit.min(Duration::from_millis(200)));
        Self { bar, started: Instant::now(), lines, last_line: Duration::ZERO.into() }
    }

    fn show(&self, job: &Job, origin: &Origin) {
        let seconds = self.started.elapsed().as_secs_f64();
        let message = format!(
            "{} active, {} images, {:.0} images/s, {:.1} MB/s from the origin",
            job.active,
            job.downloaded,
            job.downloaded as f64 / seconds,
            mb(origin.bytes_sent()) / seconds
        );
        let done = job.completed + job.failed;
        self.bar.set_length(job.total.unsigned_abs());
        self.bar.set_position(done.unsigned_abs());
        if self.lines && self.started.elapsed() > self.last_line.get() + Duration::from_secs(2) {
            self.last_line.set(self.started.elapsed());
            eprintln!("{done}/{} chunks, {message}", job.total);
        }
        self.bar.set_message(message);
    }
}

/// The most bytes that were in a directory at once, by walking it every 20 ms.
#[derive(Debug)]
pub(super) struct Peak {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Peak {
    pub(super) fn watch(directory: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = 0;
            while !stopped.load(Ordering::Relaxed) {
                peak = peak.max(bytes_in(&directory));
                thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        Self { stop, thread: Some(thread) }
    }

    pub(super) fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(0)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Asks for a health report and returns the high-water mark of the handler's own ledger, in bytes.
pub(super) async fn ledger_peak(pool: &PgPool, port: u16) -> Result<u64> {
    let before: Option<String> =
        sqlx::query_scalar("select max(checked_at)::text from chunk_handler.health")
            .fetch_one(pool)
            .await?;
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let request = client.post(format!("http://127.0.0.1:{port}/admin/functions/health_check"));
    request
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await?
        .error_for_status()?;
    for _ in 0..100 {
        let report: Option<(String, Option<i64>)> = sqlx::query_as(
            "select checked_at::text, (report->>'temp_high_water_bytes')::bigint \
             from chunk_handler.health order by checked_at desc limit 1",
        )
        .fetch_optional(pool)
        .await?;
        if let Some((checked_at, bytes)) = report.filter(|(at, _)| Some(at) != before.as_ref()) {
            let bytes = bytes.with_context(|| {
                format!("the report of {checked_at} has no temp_high_water_bytes")
            })?;
            return Ok(bytes.unsigned_abs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("no health report came within 10 s")
}

/// Bytes in MB of 1024 * 1024.
pub(super) fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let data = entry.metadata().ok()?;
        Some(if data.is_dir() { bytes_in(&entry.path()) } else { data.len() })
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use support::workdir::WorkDir;

    #[test]
    fn the_peak_outlives_the_file_that_made_it() {
        let directory = WorkDir::create("peak").unwrap();
        let peak = Peak::watch(directory.path().to_path_buf());
        fs::create_dir(directory.join("inner")).unwrap();
        fs::write(directory.join("inner/file"), vec![0; 1000]).unwrap();
        thread::sleep(Duration::from_millis(100));
        fs::remove_file(directory.join("inner/file")).unwrap();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(peak.finish(), 1000);
    }
}
