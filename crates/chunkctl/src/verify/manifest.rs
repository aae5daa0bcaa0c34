//! A manifest as it is verified: only what is needed, so that one of 10,000 items takes little memory.

use super::faults::{Faults, Kind};
use chunk_handler::chunk::{ChunkId, MANIFEST_SCHEMA, ShardRef};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a manifest says, without what only people read.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    schema: String,
    pub(super) job_id: i64,
    chunk_index: i32,
    #[serde(default)]
    pub(super) claim: String,
    pub(super) images_total: u64,
    pub(super) images_downloaded: u64,
    pub(super) images_valid: u64,
    pub(super) images_invalid: u64,
    pub(super) images_failed: u64,
    pub(super) duplicates_removed: u64,
    pub(super) bytes_in: u64,
    bytes_out: u64,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) shard: ShardRef,
    pub(super) items: Vec<Item>,
}

/// What became of a URL.
#[derive(Debug, Deserialize)]
pub(super) struct Item {
    idx: u64,
    #[serde(default)]
    pub(super) url: String,
    pub(super) label: Option<String>,
    pub(super) caption: Option<String>,
    pub(super) class: Option<i64>,
    status: String,
    reason: Option<String>,
    key: Option<String>,
    pub(super) format: Option<String>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) file_size: Option<u64>,
    pub(super) sha256: Option<String>,
    duplicate_of: Option<String>,
    pub(super) offset: Option<u64>,
    pub(super) length: Option<u64>,
}

impl Item {
    /// The key of its sample; none: it has no sample.
    pub(super) fn sample(&self) -> Option<&str> {
        self.key.as_deref().filter(|_| self.status == "valid")
    }
}

impl Manifest {
    /// Whether it is the manifest of this chunk, and agrees with itself: one item for each URL, in order,
    /// each with a verdict; keys that no other chunk of the job has.
    pub(super) fn check(&self, id: ChunkId, file: &str, faults: &mut Faults) {
        let mut note = |what: String| faults.note(Kind::Manifest, file, what);
        if self.schema != MANIFEST_SCHEMA {
            note(format!("its schema is {:?}, not {MANIFEST_SCHEMA}", self.schema));
        }
        if (self.job_id, self.chunk_index) != (id.job_id, id.chunk_index) {
            note(format!("it is the manifest of chunk {}/{}", self.job_id, self.chunk_index));
        }
        if self.shard.blob != id.shard_blob() {
            note(format!("it names shard {:?}", self.shard.blob));
        }
        for (position, item) in (0..).zip(&self.items) {
            if let Some(what) = item.contradiction(position, id) {
                note(format!("item {position} {what}"));
            }
        }
        for (name, said, is) in self.sums() {
            if said != is {
                note(format!("{name} is {said}, its items and its shard say {is}"));
            }
        }
        let mut reasons = BTreeMap::<&str, u64>::new();
        for reason in self.items.iter().filter_map(|item| item.reason.as_deref()) {
            *reasons.entry(reason).or_default() += 1;
        }
        if !self
            .errors
            .iter()
            .map(|(reason, n)| (reason.as_str(), n))
            .eq(reasons.iter().map(|(r, n)| (*r, n)))
        {
            note("errors are others than the reasons of its items".to_owned());
        }
    }

    /// Numbers that it says twice.
    fn sums(&self) -> [(&'static str, u64, u64); 7] {
        let count = |status| as_u64(self.items.iter().filter(|item| item.status == status).count());
        [
            ("images_total", self.images_total, as_u64(self.items.len())),
            ("images_valid", self.images_valid, count("valid")),
            ("images_invalid", self.images_invalid, count("invalid")),
            ("images_failed", self.images_failed, count("failed")),
            ("duplicates_removed", self.duplicates_removed, count("duplicate")),
            ("shard.samples", self.shard.samples, count("valid")),
            ("bytes_out", self.bytes_out, self.shard.bytes),
        ]
    }
}

impl Item {
    /// What of an item cannot be.
    fn contradiction(&self, position: u64, id: ChunkId) -> Option<String> {
        if self.idx != position {
            return Some(format!("has idx {}", self.idx));
        }
        if !["valid", "duplicate", "invalid", "failed"].contains(&self.status.as_str()) {
            return Some(format!("has verdict {:?}", self.status));
        }
        let is_valid = self.status == "valid";
        if is_valid != self.reason.is_none() {
            return Some(format!("is {} with reason {:?}", self.status, self.reason));
        }
        match self.duplicate_of.as_deref() {
            Some(of) if self.status == "duplicate" && !is_sample(of, id.job_id) => {
                return Some(format!("is a duplicate of {of:?}, which is no KEY or JOB/KEY"));
            }
            None if self.status == "duplicate" => {
                return Some("is a duplicate and does not say of what".to_owned());
            }
            Some(_) | None => {}
        }
        if !is_valid {
            return None;
        }
        let key = format!("{:05}_{position:05}", id.chunk_index);
        if self.key.as_ref() != Some(&key) {
            return Some(format!("has key {:?}, not {key}", self.key.as_deref().unwrap_or("none")));
        }
        let is_placed = self.sha256.is_some() && self.offset.is_some() && self.length.is_some();
        (!is_placed).then(|| "is valid without sha256, offset or length".to_owned())
    }
}

/// Whether this names a sample: of the job by its key, of another one by that job's number and the key.
/// Whether it is there is not asked: its chunk may have run again since, and another sample may have the
/// picture.
fn is_sample(of: &str, job_id: i64) -> bool {
    let (job, key) = of.split_once('/').map_or((None, of), |(job, key)| (Some(job), key));
    let is_job =
        job.is_none_or(|job| job.parse::<i64>().is_ok_and(|job| job >= 0 && job != job_id));
    let is_number = |digits: &str| digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
    is_job && key.split_once('_').is_some_and(|(chunk, idx)| is_number(chunk) && is_number(idx))
}

pub(super) fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::is_sample;

    /// Case 410: a duplicate names a sample of its own job, or of another one.
    #[test]
    fn a_duplicate_names_a_sample() {
        for of in ["00004_00017", "5/00004_00017", "0/00000_00000"] {
            assert!(is_sample(of, 7), "{of}");
        }
        for of in
            ["", "4_17", "00004_000017", "7/00004_00017", "-5/00004_00017", "/00004_00017", "5/"]
        {
            assert!(!is_sample(of, 7), "{of}");
        }
    }
}
