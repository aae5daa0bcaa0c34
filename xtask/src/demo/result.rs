//! What a job left behind: its folder, fetched and verified, and the summary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::BUDGET_MB;
use super::sample::{Job, mb};

/// A job that has ended, and what was measured.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) job_id: i64,
    pub(super) job: Job,
    pub(super) most_active: i64,
    pub(super) took: Duration,
    pub(super) ledger: Result<u64>,
    pub(super) walk: u64,
    pub(super) fetched: Fetched,
}

/// The job's folder on this machine, and its sums.
#[derive(Debug)]
pub(super) struct Fetched {
    directory: PathBuf,
    report: PathBuf,
    shards: u64,
    shard_bytes: u64,
    bytes_in: u64,
    images: u64,
    verdicts: BTreeMap<String, u64>,
    reasons: BTreeMap<String, u64>,
}

impl Outcome {
    pub(super) fn is_good(&self) -> bool {
        self.job.status == "completed" && self.fetched.shards == self.job.completed.unsigned_abs()
    }

    pub(super) fn print(&self, restarts: u32) {
        let (job, fetched, seconds) = (&self.job, &self.fetched, self.took.as_secs_f64());
        println!("\njob {}: {} in {seconds:.1} s", self.job_id, job.status);
        println!(
            "  chunks   {} of {} completed, {} failed; at most {} at once",
            job.completed, job.total, job.failed, self.most_active
        );
        println!("  images   {}: {}", fetched.images, counts(&fetched.verdicts));
        println!("  refused  {}", counts(&fetched.reasons));
        println!(
            "  speed    {:.0} images/s, {:.1} MB/s, with a debug build (`cargo xtask bench` measures a release)",
            fetched.images as f64 / seconds,
            mb(fetched.bytes_in) / seconds
        );
        let ledger = match &self.ledger {
            Ok(bytes) => format!("{:.1} MB", mb(*bytes)),
            Err(error) => format!("unknown ({error:#})"),
        };
        println!(
            "  temp     peak {ledger} by the ledger, {:.1} MB by walking, of {BUDGET_MB} MB",
            mb(self.walk)
        );
        println!(
            "  shards   {} with {:.1} MB, fetched and verified: {}",
            fetched.shards,
            mb(fetched.shard_bytes),
            fetched.directory.display()
        );
        println!("  report   for a browser: {}", fetched.report.display());
        if restarts > 0 {
            println!("  the host stopped by itself {restarts} times");
        }
    }
}

/// Fetches the job's folder and verifies it, there and in storage, as anybody would, and writes its report;
/// what its documents say. Fails when something is not whole.
pub(super) fn fetch(
    chunkctl: impl Fn(&[&str]) -> Command,
    job_id: i64,
    to: &Path,
) -> Result<Fetched> {
    let (directory, job) = (to.join(format!("job_{job_id}")), job_id.to_string());
    let report = to.join("report.html");
    let [path, written] = [&directory, &report].map(|path| path.to_str());
    let (path, written) = path.zip(written).context("a path that is no text")?;
    for arguments in [
        &["fetch", "--job-id", &job, "--to", path][..],
        &["verify", "--from", path],
        &["verify", "--job-id", &job],
        &["dashboard", "--write", written, "--job-id", &job],
    ] {
        let output = chunkctl(arguments).output().context("running chunkctl")?;
        let said = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned());
        eprint!(
            "chunkctl {}:\n  {}",
            arguments.join(" "),
            said.concat().replace('\n', "\n  ").trim_end_matches(' ')
        );
        ensure!(
            output.status.success(),
            "chunkctl {} failed: {}",
            arguments.join(" "),
            output.status
        );
    }
    Fetched::read(directory, report)
}

impl Fetched {
    fn read(directory: PathBuf, report: PathBuf) -> Result<Self> {
        let document = |name: &str| -> Result<Value> {
            let text = fs::read(directory.join(name)).with_context(|| format!("reading {name}"))?;
            serde_json::from_slice(&text).with_context(|| format!("reading {name}"))
        };
        let (totals, stats) = (document("dataset.json")?["totals"].take(), document("stats.json")?);
        let total = |name: &str| totals[name].as_u64().unwrap_or(0);
        let verdicts = [
            ("valid", "images_valid"),
            ("duplicate", "duplicates_removed"),
            ("invalid", "images_invalid"),
            ("failed", "images_failed"),
        ];
        let verdicts = verdicts.map(|(verdict, name)| (verdict.to_owned(), total(name)));
        let reasons = stats["status_dict"].as_object().context("no status_dict")?.iter();
        let reasons = reasons.filter(|(reason, _)| *reason != "success");
        Ok(Self {
            shards: total("chunks_completed"),
            shard_bytes: total("bytes_out"),
            bytes_in: total("bytes_in"),
            images: total("images_total"),
            verdicts: verdicts.into_iter().filter(|(_, n)| *n > 0).collect(),
            reasons: reasons.map(|(name, n)| (name.clone(), n.as_u64().unwrap_or(0))).collect(),
            directory,
            report,
        })
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words: Vec<_> = sorted.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}
