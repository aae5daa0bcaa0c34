//! What a job left behind: its blobs, checked against each other, and the summary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::blob::Blobs;
use support::checkout::hex;

use super::BUDGET_MB;
use super::sample::{Job, mb};

const CONTAINER: &str = "pixcrawler-datasets";

/// A job that has ended, and what was measured.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) job_id: i64,
    pub(super) job: Job,
    pub(super) most_active: i64,
    pub(super) took: Duration,
    pub(super) ledger: Result<u64>,
    pub(super) walk: u64,
    pub(super) copied: Copied,
}

/// The job's blobs on this machine, and their sums.
#[derive(Debug, Default)]
pub(super) struct Copied {
    directory: PathBuf,
    shards: u64,
    shard_bytes: u64,
    bytes_in: u64,
    images: u64,
    verdicts: BTreeMap<String, u64>,
    reasons: BTreeMap<String, u64>,
}

impl Outcome {
    pub(super) fn is_good(&self) -> bool {
        self.job.status == "completed" && self.copied.shards == self.job.completed.unsigned_abs()
    }

    pub(super) fn print(&self, restarts: u32) {
        let (job, copied, seconds) = (&self.job, &self.copied, self.took.as_secs_f64());
        println!("\njob {}: {} in {seconds:.1} s", self.job_id, job.status);
        println!(
            "  chunks   {} of {} completed, {} failed; at most {} at once",
            job.completed, job.total, job.failed, self.most_active
        );
        println!("  images   {}: {}", copied.images, counts(&copied.verdicts));
        println!("  refused  {}", counts(&copied.reasons));
        println!(
            "  speed    {:.0} images/s, {:.1} MB/s, with a debug build (`cargo xtask bench` measures a release)",
            copied.images as f64 / seconds,
            mb(copied.bytes_in) / seconds
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
            "  shards   {} with {:.1} MB, each one as its manifest says: {}",
            copied.shards,
            mb(copied.shard_bytes),
            copied.directory.join("chunks").display()
        );
        if restarts > 0 {
            println!("  the host stopped by itself {restarts} times");
        }
    }
}

/// Copies the job's blobs, and fails when a shard is not what its manifest says.
pub(super) async fn copy(blobs: &Blobs, job_id: i64, to: &Path) -> Result<Copied> {
    let prefix = format!("job_{job_id}/");
    let mut copied = Copied { directory: to.join(&prefix), ..Copied::default() };
    wait_for_the_last(blobs, &prefix).await?;
    for name in blobs.list(CONTAINER, &prefix).await? {
        let content = blobs.read(CONTAINER, &name).await?;
        let file = to.join(&name);
        fs::create_dir_all(file.parent().context("a blob without a folder")?)?;
        fs::write(&file, &content)?;
        if name.ends_with(".manifest.json") {
            let manifest: Value =
                serde_json::from_slice(&content).with_context(|| format!("reading {name}"))?;
            let shard = blobs.read(CONTAINER, text(&manifest["shard"]["blob"])?).await?;
            check(&manifest, &shard).with_context(|| format!("checking {name}"))?;
            copied.add(&manifest, shard.len() as u64);
        }
    }
    Ok(copied)
}

/// `dataset.json` is written when the job has ended; without it there is still something to show.
async fn wait_for_the_last(blobs: &Blobs, prefix: &str) -> Result<()> {
    let dataset = format!("{prefix}dataset.json");
    for _ in 0..100 {
        if blobs.list(CONTAINER, &dataset).await?.contains(&dataset) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("{dataset} did not appear within 10 s");
    Ok(())
}

/// A shard is the bytes that its manifest speaks of, and so is each image in it.
fn check(manifest: &Value, shard: &[u8]) -> Result<()> {
    let sha256 = |bytes: &[u8]| hex(&Sha256::digest(bytes));
    ensure!(sha256(shard) == text(&manifest["shard"]["sha256"])?, "the shard's sha256 differs");
    let items = manifest["items"].as_array().context("no items")?;
    ensure!(
        items.len() as u64 == number(&manifest["images_total"])?,
        "not one item for each image"
    );
    let mut valid = 0;
    for (position, item) in items.iter().enumerate() {
        ensure!(number(&item["idx"])? == position as u64, "item {position} is out of order");
        if item["status"] != "valid" {
            continue;
        }
        valid += 1;
        let (offset, length) = (
            usize::try_from(number(&item["offset"])?)?,
            usize::try_from(number(&item["length"])?)?,
        );
        let image = offset.checked_add(length).and_then(|end| shard.get(offset..end));
        let image = image.with_context(|| format!("item {position} lies outside the shard"))?;
        ensure!(
            sha256(image) == text(&item["sha256"])?,
            "item {position} is not at its place in the shard"
        );
    }
    ensure!(
        valid == number(&manifest["shard"]["samples"])?,
        "{valid} valid items, but another number of samples"
    );
    Ok(())
}

impl Copied {
    fn add(&mut self, manifest: &Value, shard_bytes: u64) {
        self.shards += 1;
        self.shard_bytes += shard_bytes;
        self.bytes_in += manifest["bytes_in"].as_u64().unwrap_or(0);
        for item in manifest["items"].as_array().into_iter().flatten() {
            self.images += 1;
            let add = |counts: &mut BTreeMap<String, u64>, value: &Value| {
                if let Some(name) = value.as_str() {
                    *counts.entry(name.to_owned()).or_default() += 1;
                }
            };
            add(&mut self.verdicts, &item["status"]);
            add(&mut self.reasons, &item["reason"]);
        }
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words: Vec<_> = sorted.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} where a text belongs"))
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("{value} where a number belongs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(shard: &[u8], item: Value) -> Value {
        json!({
            "images_total": 2,
            "shard": { "sha256": hex(&Sha256::digest(shard)), "samples": 1 },
            "items": [item, { "idx": 1, "status": "failed", "reason": "http_404" }],
        })
    }

    #[test]
    fn a_shard_is_what_its_manifest_says() {
        let sha256 = hex(&Sha256::digest(b"image"));
        let item =
            json!({ "idx": 0, "status": "valid", "offset": 3, "length": 5, "sha256": sha256 });
        check(&manifest(b"...image...", item.clone()), b"...image...").unwrap();
        assert!(check(&manifest(b"...image...", item.clone()), b"...imagf...").is_err());
        assert!(check(&manifest(b"....image..", item), b"....image..").is_err());
    }

    #[test]
    fn a_place_outside_the_shard_is_an_error() {
        let item =
            json!({ "idx": 0, "status": "valid", "offset": u64::MAX, "length": 5, "sha256": "" });
        assert!(check(&manifest(b"shard", item), b"shard").is_err());
    }
}
