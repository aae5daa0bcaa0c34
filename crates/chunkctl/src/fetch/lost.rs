//! What storage lacks of a job that is over, by the rows of the database.

use super::{
    digest::sha256_of,
    plan::Plan,
    transfer::{Transfer, place},
};
use crate::folder::{Listing, Member, read_blob};
use anyhow::Context as _;
use chunk_handler::{jobs::DOCUMENTS, storage::Storage};
use serde::Deserialize;
use std::{collections::BTreeSet, fs::File, io::BufReader, path::Path};

/// A shard that must be there.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    file: String,
    bytes: u64,
    sha256: String,
}

/// The shards that rows, or `dataset.json`, name.
pub(super) fn rows(shards: serde_json::Value) -> anyhow::Result<Vec<Row>> {
    serde_json::from_value(shards).context("reading the rows of the job's chunks")
}

impl Row {
    fn index(&self) -> Option<i32> {
        match Member::of(&self.file) {
            Some(Member::Shard(index)) => Some(index),
            _ => None,
        }
    }

    /// Its shard and its manifest.
    pub(super) fn members(&self) -> Vec<Member> {
        let both = |index| [Member::Shard(index), Member::Manifest(index)];
        self.index().map(both).into_iter().flatten().collect()
    }

    /// Whether a file here is what the row names.
    fn is_here(&self, directory: &Path, member: Member) -> bool {
        #[derive(Deserialize)]
        struct Manifest {
            shard: Shard,
        }
        #[derive(Deserialize)]
        struct Shard {
            sha256: String,
        }
        let path = place(directory, member);
        if matches!(member, Member::Shard(_)) {
            return sha256_of(&path).is_ok_and(|sha256| sha256 == self.sha256);
        }
        let Ok(file) = File::open(path) else { return false };
        serde_json::from_reader::<_, Manifest>(BufReader::new(file))
            .is_ok_and(|manifest| manifest.shard.sha256 == self.sha256)
    }
}

/// The chunks that rows name.
pub(super) fn indexes(rows: &[Row]) -> BTreeSet<i32> {
    rows.iter().filter_map(Row::index).collect()
}

/// What is lost, each with its file; nothing of a job that is not over. Without rows, of a job that the
/// database forgot, `dataset.json` says what there was.
pub(super) fn find(plan: &Plan, transfer: &Transfer<'_>, rows: Option<&[Row]>) -> Vec<String> {
    if !plan.is_over {
        return Vec::new();
    }
    let directory = transfer.directory;
    let forgotten;
    let (rows, mut lost) = match rows {
        Some(rows) => (rows, Vec::new()),
        None => match listed(directory) {
            Ok(rows) => {
                forgotten = rows;
                (&forgotten[..], Vec::new())
            }
            Err(error) => (&[][..], vec![format!("dataset.json: {error:#}")]),
        },
    };
    for row in rows {
        lost.extend(of_row(plan, directory, row));
    }
    for name in DOCUMENTS {
        if !plan.documents.iter().any(|(there, _)| *there == name) {
            let came = transfer.mark.borrow().documents.get(name).cloned();
            let is_here = came.is_some() && came == sha256_of(&directory.join(name)).ok();
            lost.push(format!("{name}: {}", words(is_here)));
        }
    }
    lost
}

/// A `dataset.json`.
#[derive(Deserialize)]
struct Dataset {
    shards: serde_json::Value,
}

/// The shards that the `dataset.json` of storage lists.
pub(super) async fn listed_there(
    storage: &Storage,
    listing: &Listing,
) -> anyhow::Result<Option<Vec<Row>>> {
    let Some(blob) = listing.documents.get("dataset.json") else { return Ok(None) };
    let mut bytes = Vec::new();
    let take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    read_blob(storage, blob, 0, take).await?;
    // That it cannot be read is said when it came.
    let dataset = serde_json::from_slice(&bytes).ok();
    Ok(dataset.and_then(|dataset: Dataset| rows(dataset.shards).ok()))
}

fn listed(directory: &Path) -> anyhow::Result<Vec<Row>> {
    let path = directory.join("dataset.json");
    // That it is not there is said of it as of every document.
    let Ok(file) = File::open(path) else { return Ok(Vec::new()) };
    let dataset: Dataset = serde_json::from_reader(BufReader::new(file))
        .context("it came as it is in storage, and cannot be read")?;
    rows(dataset.shards)
}

fn of_row(plan: &Plan, directory: &Path, row: &Row) -> Vec<String> {
    let pair = row.index().and_then(|index| plan.pairs.iter().find(|pair| pair.index == index));
    if let Some(pair) = pair {
        let said = pair.shard.head.metadata.get("sha256");
        let is_other = said.map_or(pair.shard.head.bytes != row.bytes, |said| *said != row.sha256);
        let what = format!("{}: storage has another version than the database names", row.file);
        return is_other.then_some(what).into_iter().collect();
    }
    let mut lost: Vec<String> = row
        .members()
        .into_iter()
        .filter(|member| !plan.there.contains(member))
        .map(|member| format!("{}: {}", member.name(), words(row.is_here(directory, member))))
        .collect();
    if lost.is_empty() {
        lost.push(format!("{}: storage has the manifest of another version", row.file));
    }
    lost
}

fn words(is_here: bool) -> &'static str {
    match is_here {
        true => "storage lost it; the copy here is right, and stays",
        false => "storage lost it",
    }
}
