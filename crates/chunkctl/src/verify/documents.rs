//! The documents of a job, against the sums of its manifests and the rows of the database.

use super::{Run, card, chunks::SUMS, faults::Kind, manifest::as_u64, place::Folder};
use crate::folder::Member;
use chunk_handler::{
    chunk::{hex, job_folder},
    jobs::DOCUMENTS,
    state::DatasetRows,
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Shards that `dataset.json` lists.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Listed {
    blob: String,
    file: String,
    bytes: u64,
    sha256: String,
    samples: u64,
}

/// `dataset.json`, and what the rows say it should be.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Dataset {
    totals: BTreeMap<String, u64>,
    shards: Vec<Listed>,
    /// Only how many: they take no memory.
    late_duplicates: Vec<IgnoredAny>,
}

impl Dataset {
    pub(super) fn lists(&self, file: &str) -> bool {
        self.shards.iter().any(|listed| listed.file == file)
    }
}

/// Numbers of `stats.json`.
#[derive(Debug, Deserialize)]
struct Stats {
    count: u64,
    successes: u64,
    failed_to_download: u64,
    failed_to_resize: u64,
    status_dict: BTreeMap<String, u64>,
}

/// The documents that are there and can be read.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) dataset: Option<Dataset>,
    stats: Option<Stats>,
    sizes: Option<BTreeMap<String, u64>>,
    card: Option<String>,
}

impl Documents {
    /// Reads them; all are to be there.
    pub(super) async fn read(run: &mut Run<'_>, folder: &Folder) -> anyhow::Result<Self> {
        let mut documents = Self::default();
        for name in DOCUMENTS {
            let member = Member::Document(name);
            let Some(found) = folder.members.get(&member) else {
                run.faults.note(Kind::Missing, name, "the job is over, and it is not there");
                continue;
            };
            let read = run.place.read_all(member, found).await;
            let Some(bytes) = run.readable(name, read)? else { continue };
            let said = found.blob.as_ref().and_then(|blob| blob.head.metadata.get("sha256"));
            let sha256 = hex(&Sha256::digest(&bytes));
            if let Some(said) = said.filter(|said| **said != sha256) {
                let what = format!("its sha256 is {sha256}, its metadata say {said}");
                run.faults.note(Kind::Metadata, name, what);
            }
            match name {
                "dataset.json" => documents.dataset = run.parse(name, &bytes),
                "stats.json" => documents.stats = run.parse(name, &bytes),
                "chunks/sizes.json" => documents.sizes = run.parse(name, &bytes),
                _ => documents.card = Some(String::from_utf8_lossy(&bytes).into_owned()),
            }
        }
        Ok(documents)
    }

    /// Compares them with the manifests.
    pub(super) fn compare(&self, run: &mut Run<'_>) {
        if let Some(dataset) = &self.dataset {
            run.compare_shards(dataset);
        }
        self.compare_card(run);
        // Sums without a chunk that is missing would only say so again.
        let dataset = self.dataset.as_ref().filter(|dataset| run.has_all_of(dataset));
        if let Some(dataset) = dataset {
            run.compare_totals(dataset);
        }
        if let (Some(_), Some(stats)) = (dataset, &self.stats) {
            run.compare_stats(stats);
        }
        if let (Some(sizes), Some(dataset)) = (&self.sizes, &self.dataset) {
            let name = |listed: &Listed| listed.file.trim_start_matches("chunks/").to_owned();
            let listed: BTreeMap<String, u64> =
                dataset.shards.iter().map(|listed| (name(listed), listed.samples)).collect();
            if *sizes != listed {
                let what = "its names or numbers are not those of dataset.json";
                run.faults.note(Kind::Document, "chunks/sizes.json", what);
            }
        }
    }

    /// How many chunks the job has by `dataset.json`, and how many of them completed.
    pub(super) fn chunks(&self) -> Option<(u64, u64)> {
        let totals = &self.dataset.as_ref()?.totals;
        Some((*totals.get("chunks")?, *totals.get("chunks_completed")?))
    }

    fn compare_card(&self, run: &mut Run<'_>) {
        let (Some(card), Some(dataset)) = (&self.card, &self.dataset) else { return };
        let with_samples: Vec<&str> =
            dataset.shards.iter().filter(|s| s.samples > 0).map(|s| s.file.as_str()).collect();
        let are_complete = self.chunks().is_some_and(|(chunks, completed)| chunks == completed);
        let are_all = are_complete && with_samples.len() == dataset.shards.len();
        if let Some(what) = card::fault(card, &with_samples, are_all) {
            run.faults.note(Kind::Document, "README.md", what);
        }
    }

    /// Compares storage and `dataset.json` with the database.
    pub(super) fn compare_rows(&self, run: &mut Run<'_>, rows: DatasetRows) {
        let rows = json!({"totals": rows.totals.0, "shards": rows.shards.0,
            "late_duplicates": rows.late_duplicates.0});
        let rows: Dataset = match serde_json::from_value(rows) {
            Ok(rows) => rows,
            Err(error) => {
                run.faults.note(Kind::Database, "the database", error.to_string());
                return;
            }
        };
        for row in &rows.shards {
            let Some(Member::Shard(index)) = Member::of(&row.file) else { continue };
            // While the job runs a chunk may have more than its row says, and never less.
            let is_ahead = run.left_out.contains(&index) || run.sums.shards.contains_key(&index);
            if !run.is_over && is_ahead {
                continue;
            }
            let is =
                run.sums.shards.get(&index).map(|is| (is.bytes, is.sha256.as_str(), is.samples));
            if is != Some((row.bytes, row.sha256.as_str(), row.samples)) {
                let what = format!(
                    "the chunk's row says {} bytes, sha256 {} and {} samples, and its manifest does not",
                    row.bytes, row.sha256, row.samples
                );
                run.faults.note(Kind::Database, &row.file, what);
            }
        }
        if self.dataset.as_ref().is_some_and(|dataset| *dataset != rows) {
            let what = "the database's rows say something else than it";
            run.faults.note(Kind::Database, "dataset.json", what);
        }
    }
}

impl Run<'_> {
    fn parse<T: DeserializeOwned>(&mut self, name: &str, bytes: &[u8]) -> Option<T> {
        let parsed = serde_json::from_slice(bytes);
        parsed.map_err(|e| self.faults.note(Kind::Unreadable, name, e.to_string())).ok()
    }

    /// `dataset.json` lists each complete chunk, as its manifest says, and no other.
    fn compare_shards(&mut self, dataset: &Dataset) {
        let mut listed_here = BTreeSet::new();
        for listed in &dataset.shards {
            let folder = self.job_id.map(job_folder);
            let is_named =
                folder.is_none_or(|folder| listed.blob == format!("{folder}/{}", listed.file));
            let Some(Member::Shard(index)) = Member::of(&listed.file).filter(|_| is_named) else {
                let what = format!("it lists {:?} as {:?}", listed.blob, listed.file);
                self.faults.note(Kind::Document, "dataset.json", what);
                continue;
            };
            if !listed_here.insert(index) {
                let what = format!("it lists {} twice", listed.file);
                self.faults.note(Kind::Document, "dataset.json", what);
            }
            let Some(is) = self.sums.shards.get(&index) else {
                let what = "dataset.json lists it, and it is not there with a manifest";
                self.faults.note(Kind::Missing, &listed.file, what);
                continue;
            };
            if (is.bytes, &is.sha256, is.samples) != (listed.bytes, &listed.sha256, listed.samples)
            {
                let what = format!("it lists {} otherwise than its manifest", listed.file);
                self.faults.note(Kind::Document, "dataset.json", what);
            }
        }
        let unlisted: Vec<i32> =
            self.sums.shards.keys().filter(|index| !listed_here.contains(index)).copied().collect();
        for index in unlisted {
            let name = Member::Shard(index).name();
            self.faults.note(
                Kind::Stray,
                &name,
                "it is complete, and dataset.json does not list it",
            );
        }
    }

    /// Whether each shard that is listed has a manifest.
    fn has_all_of(&self, dataset: &Dataset) -> bool {
        let has = |index| self.sums.shards.contains_key(&index);
        dataset.shards.iter().all(|listed| match Member::of(&listed.file) {
            Some(Member::Shard(index)) => has(index),
            _ => true,
        })
    }

    fn compare_totals(&mut self, dataset: &Dataset) {
        let completed = as_u64(dataset.shards.len());
        let late = as_u64(dataset.late_duplicates.len());
        let own = [("chunks_completed", completed), ("late_duplicates", late)];
        let sums = SUMS.iter().map(|name| (*name, self.sums.of(name))).chain(own);
        let differ: Vec<String> = sums
            .filter(|(name, n)| dataset.totals.get(*name) != Some(n))
            .map(|(name, n)| {
                let said = dataset.totals.get(name).map_or("none".to_owned(), u64::to_string);
                format!("its {name} is {said}, the chunks say {n}")
            })
            .collect();
        for what in differ {
            self.faults.note(Kind::Document, "dataset.json", what);
        }
    }

    fn compare_stats(&mut self, stats: &Stats) {
        let of = |name| self.sums.of(name);
        let numbers = [
            ("count", stats.count, of("images_total")),
            ("successes", stats.successes, of("images_valid")),
            ("failed_to_download", stats.failed_to_download, of("images_failed")),
            (
                "failed_to_resize",
                stats.failed_to_resize,
                of("images_invalid") + of("duplicates_removed"),
            ),
        ];
        for (name, said, is) in numbers {
            if said != is {
                let what = format!("its {name} is {said}, the chunks say {is}");
                self.faults.note(Kind::Document, "stats.json", what);
            }
        }
        let mut reasons = self.sums.reasons.clone();
        reasons.insert("success".to_owned(), of("images_valid"));
        if stats.status_dict != reasons {
            let what = "its status_dict has other reasons or numbers than the chunks";
            self.faults.note(Kind::Document, "stats.json", what);
        }
    }
}
