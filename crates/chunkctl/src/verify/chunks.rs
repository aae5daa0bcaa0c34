//! The chunks of a folder, each by its manifest and its shard.

use super::{
    Run,
    documents::Dataset,
    faults::Kind,
    manifest::Manifest,
    place::{Folder, Found, Place},
    shard::Shard,
};
use crate::{
    folder::{Interrupted, Member},
    progress::Progress,
};
use chunk_handler::chunk::{ChunkId, ShardRef};
use std::collections::{BTreeMap, BTreeSet};

/// Sums that `dataset.json` has of the manifests.
pub(super) const SUMS: [&str; 8] = [
    "images_total",
    "images_downloaded",
    "images_valid",
    "images_invalid",
    "images_failed",
    "duplicates_removed",
    "bytes_in",
    "bytes_out",
];

/// What the manifests say together, in the words of `dataset.json`.
#[derive(Debug, Default)]
pub(super) struct Sums {
    totals: BTreeMap<&'static str, u64>,
    /// How often each reason occurred.
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) shards: BTreeMap<i32, ShardRef>,
}

impl Sums {
    /// A sum by its name.
    pub(super) fn of(&self, name: &str) -> u64 {
        self.totals.get(name).copied().unwrap_or(0)
    }

    fn add(&mut self, index: i32, manifest: Manifest) {
        let numbers = [
            manifest.images_total,
            manifest.images_downloaded,
            manifest.images_valid,
            manifest.images_invalid,
            manifest.images_failed,
            manifest.duplicates_removed,
            manifest.bytes_in,
            manifest.shard.bytes,
        ];
        for (name, n) in SUMS.into_iter().zip(numbers) {
            *self.totals.entry(name).or_default() += n;
        }
        for (reason, n) in manifest.errors {
            *self.reasons.entry(reason).or_default() += n;
        }
        self.shards.insert(index, manifest.shard);
    }
}

/// Whether a shard and a manifest in storage are of different claims.
fn differ(shard: &Found, manifest: &Found) -> bool {
    let claim = |found: &Found| Some(found.blob.as_ref()?.head.metadata.get("claim")?.clone());
    claim(manifest).is_some_and(|of| claim(shard) != Some(of))
}

impl Run<'_> {
    /// Verifies every chunk; returns the shards without a manifest.
    pub(super) async fn verify_chunks(
        &mut self,
        folder: &Folder,
        progress: &Progress,
    ) -> anyhow::Result<Vec<i32>> {
        let index = |member: &Member| match member {
            Member::Shard(index) | Member::Manifest(index) => Some(*index),
            Member::Document(_) => None,
        };
        let indexes: BTreeSet<i32> = folder.members.keys().filter_map(index).collect();
        let mut shards_alone = Vec::new();
        for index in indexes {
            let found = |member| folder.members.get(&member);
            match (found(Member::Shard(index)), found(Member::Manifest(index))) {
                (Some(shard), Some(manifest)) if !self.is_over && differ(shard, manifest) => {
                    self.left_out.insert(index);
                }
                (Some(shard), Some(manifest)) => {
                    self.verify_chunk(index, shard, manifest, progress).await?;
                }
                (None, Some(_)) => {
                    let name = Member::Shard(index).name();
                    self.faults.note(Kind::Missing, &name, "its manifest is there, it is not");
                }
                (Some(_), None) => shards_alone.push(index),
                (None, None) => {}
            }
        }
        let unfinished = self.left_out.len();
        if unfinished > 0 {
            self.notes.push(format!("{unfinished} chunks are being written, and were left out"));
        }
        Ok(shards_alone)
    }

    async fn verify_chunk(
        &mut self,
        index: i32,
        shard: &Found,
        found: &Found,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let member = Member::Manifest(index);
        let read = self.place.read_all(member, found).await;
        let Some(bytes) = self.readable(&member.name(), read)? else { return Ok(()) };
        progress.add(found.bytes);
        let manifest: Manifest = match serde_json::from_slice(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                let what = format!("it is no manifest: {error}");
                self.faults.note(Kind::Unreadable, &member.name(), what);
                return Ok(());
            }
        };
        drop(bytes);
        let job_id = *self.job_id.get_or_insert(manifest.job_id);
        manifest.check(ChunkId { job_id, chunk_index: index }, &member.name(), &mut self.faults);
        if let Some(sha256) = self.verify_shard(index, shard, &manifest, progress).await? {
            self.compare_metadata(index, shard, found, &manifest, &sha256);
        }
        self.sums.add(index, manifest);
        Ok(())
    }

    /// Streams a shard; returns its hash.
    async fn verify_shard(
        &mut self,
        index: i32,
        found: &Found,
        manifest: &Manifest,
        progress: &Progress,
    ) -> anyhow::Result<Option<String>> {
        let member = Member::Shard(index);
        let name = member.name();
        let mut shard = Shard::new(&name, manifest, &mut self.faults);
        let read = self.place.read(member, found, |piece| {
            shard.feed(piece);
            progress.add(u64::try_from(piece.len()).unwrap_or(0));
        });
        match read.await {
            Ok(()) => Ok(Some(shard.finish(manifest))),
            Err(error) => self.readable(&name, Err(error)),
        }
    }

    /// What was read; none: it cannot be, which is noted.
    ///
    /// # Errors
    ///
    /// When storage cannot be asked: nothing is known of it then.
    pub(super) fn readable<T>(
        &mut self,
        name: &str,
        read: Result<T, Interrupted>,
    ) -> anyhow::Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Interrupted::Storage(error)) => Err(error.into()),
            Err(Interrupted::Changed) if !self.is_over => {
                self.notes.push(format!("{name} was written again meanwhile, and was left out"));
                if let Some(Member::Shard(index) | Member::Manifest(index)) = Member::of(name) {
                    self.left_out.insert(index);
                }
                Ok(None)
            }
            Err(error @ (Interrupted::Changed | Interrupted::File(_))) => {
                self.faults.note(Kind::Unreadable, name, error.to_string());
                Ok(None)
            }
        }
    }

    /// Whether the metadata of shard and manifest say what they are.
    fn compare_metadata(
        &mut self,
        index: i32,
        shard: &Found,
        manifest_found: &Found,
        manifest: &Manifest,
        sha256: &str,
    ) {
        let (Some(shard), Some(of_manifest)) = (&shard.blob, &manifest_found.blob) else { return };
        let samples = manifest.shard.samples.to_string();
        let mut expected = vec![
            (Member::Shard(index), shard, "sha256", sha256),
            (Member::Shard(index), shard, "samples", &samples),
        ];
        // Early releases knew no tokens.
        if !manifest.claim.is_empty() {
            expected.push((Member::Shard(index), shard, "claim", &manifest.claim));
        }
        if of_manifest.head.metadata.contains_key("claim") {
            expected.push((Member::Manifest(index), of_manifest, "claim", &manifest.claim));
        }
        for (member, blob, word, is) in expected {
            let said = blob.head.metadata.get(word).map_or("none", String::as_str);
            if said != is {
                let what = format!("its metadata say {word} {said}, and it is {is}");
                self.faults.note(Kind::Metadata, &member.name(), what);
            }
        }
    }

    /// A shard without its manifest is missed by `dataset.json`, or is what a cancelled or a running
    /// chunk left, which counts for nothing. In a directory there is no such thing.
    pub(super) fn judge_shards_alone(&mut self, indexes: &[i32], dataset: Option<&Dataset>) {
        let mut left = 0;
        for index in indexes {
            let name = Member::Shard(*index).name();
            let is_listed = dataset.is_some_and(|dataset| dataset.lists(&name));
            if is_listed || matches!(self.place, Place::Directory(_)) {
                let manifest = Member::Manifest(*index).name();
                self.faults.note(Kind::Missing, &manifest, "its shard is there, it is not");
            } else {
                left += 1;
            }
        }
        if left > 0 {
            self.notes.push(format!(
                "{left} shards without a manifest count for nothing: their chunks run, failed or were cancelled"
            ));
        }
    }
}
