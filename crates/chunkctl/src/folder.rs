//! A job's folder, as it stands in storage and as `fetch` brings it: what may lie in it, and how its
//! blobs are read.

use chunk_handler::{
    chunk::{ChunkId, job_folder},
    jobs::DOCUMENTS,
    storage::{self, ListedBlob, Storage},
};
use std::{collections::BTreeMap, io, time::Duration};

/// Bytes that are asked for at once.
pub(crate) const BLOCK: u64 = 8 * 1024 * 1024;
/// How often in a row storage may be asked without bringing a byte.
const TRIES: u32 = 5;

/// A file of a job's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    /// The tar of a chunk.
    Shard(i32),
    /// Its verdicts.
    Manifest(i32),
    /// One of [`DOCUMENTS`].
    Document(&'static str),
}

impl Member {
    /// Its name in the folder, made of nothing that anybody else said.
    pub(crate) fn name(self) -> String {
        let id = |chunk_index| ChunkId { job_id: 0, chunk_index };
        let blob = match self {
            Self::Shard(index) => id(index).shard_blob(),
            Self::Manifest(index) => id(index).manifest_blob(),
            Self::Document(name) => return name.to_owned(),
        };
        blob.trim_start_matches(&format!("{}/", job_folder(0))).to_owned()
    }

    /// What a name in the folder stands for; none: the folder has no such file.
    pub(crate) fn of(name: &str) -> Option<Self> {
        if let Some(document) = DOCUMENTS.iter().find(|document| **document == name) {
            return Some(Self::Document(document));
        }
        let (index, kind) = name.strip_prefix("chunks/chunk_")?.split_once('.')?;
        let index = index.parse().ok().filter(|index| (0..=ChunkId::MAX_INDEX).contains(index))?;
        let member = match kind {
            "tar" => Self::Shard(index),
            "manifest.json" => Self::Manifest(index),
            _ => return None,
        };
        // "+1" is a number, too.
        (member.name() == name).then_some(member)
    }
}

/// Shard and manifest of one claim.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) index: i32,
    pub(crate) shard: ListedBlob,
    pub(crate) manifest: ListedBlob,
}

/// What storage has of a job.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) shards: BTreeMap<i32, ListedBlob>,
    pub(crate) manifests: BTreeMap<i32, ListedBlob>,
    pub(crate) documents: BTreeMap<&'static str, ListedBlob>,
    /// Names in the folder that are not ours.
    pub(crate) others: Vec<String>,
}

impl Listing {
    /// Lists the blobs of a job whose names in its folder begin with a prefix.
    pub(crate) async fn read(
        storage: &Storage,
        job_id: i64,
        prefix: &str,
    ) -> Result<Self, storage::Error> {
        let folder = format!("{}/", job_folder(job_id));
        let mut listing = Self::default();
        let note = |blob: ListedBlob| {
            let Some(name) = blob.name.strip_prefix(&folder) else { return };
            match Member::of(name) {
                Some(Member::Shard(index)) => drop(listing.shards.insert(index, blob)),
                Some(Member::Manifest(index)) => drop(listing.manifests.insert(index, blob)),
                Some(Member::Document(name)) => drop(listing.documents.insert(name, blob)),
                None => listing.others.push(name.to_owned()),
            }
        };
        storage.list_dataset(format!("{folder}{prefix}"), note).await?;
        Ok(listing)
    }

    /// The complete chunks.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = Pair> + '_ {
        self.manifests.keys().filter_map(|index| self.pair(*index))
    }

    /// Shard and manifest of a complete chunk. While a chunk runs again its new shard stands beside the
    /// old manifest; a manifest of an early release does not say whose it is.
    pub(crate) fn pair(&self, index: i32) -> Option<Pair> {
        let (shard, manifest) = (self.shards.get(&index)?, self.manifests.get(&index)?);
        let claim = |blob: &ListedBlob| blob.head.metadata.get("claim").cloned();
        let is_one = claim(manifest).is_none_or(|of| claim(shard) == Some(of));
        is_one.then(|| Pair { index, shard: shard.clone(), manifest: manifest.clone() })
    }
}

/// Why a blob was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    /// Another version is there now, or none.
    #[error("another version is there now")]
    Changed,
    #[error(transparent)]
    Storage(storage::Error),
    /// What was read could not be kept.
    #[error(transparent)]
    File(#[from] io::Error),
}

impl From<storage::Error> for Interrupted {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Conflict { .. } | storage::Error::Missing { .. } => Self::Changed,
            error => Self::Storage(error),
        }
    }
}

/// Reads a blob from a byte on, block by block. A connection that ends is no end: it goes on with the
/// next byte.
pub(crate) async fn read_blob(
    storage: &Storage,
    blob: &ListedBlob,
    from: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Interrupted> {
    let (mut position, mut tries) = (from, 0);
    while position < blob.head.bytes {
        let before = position;
        let range = position..blob.head.bytes.min(position.saturating_add(BLOCK));
        let mut each = |piece: &[u8]| {
            position += u64::try_from(piece.len()).unwrap_or(0);
            take(piece)
        };
        // Boxed: the SDK's futures are large.
        let done = Box::pin(read_block(storage, blob, range, &mut each)).await;
        match done {
            Ok(()) if position > before => tries = 0,
            Err(Interrupted::Storage(storage::Error::Away { .. })) | Ok(()) if tries < TRIES => {
                tries = if position > before { 0 } else { tries + 1 };
                tokio::time::sleep(Duration::from_millis(250) * 2u32.pow(tries)).await;
            }
            Ok(()) => {
                let (doing, cause) = ("read blob", "it answers without a byte".to_owned());
                return Err(Interrupted::Storage(storage::Error::Away { doing, cause }));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn read_block(
    storage: &Storage,
    blob: &ListedBlob,
    range: std::ops::Range<u64>,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Interrupted> {
    let mut left = range.end - range.start;
    let mut reader = storage.read_range(&blob.name, &blob.head.etag, range).await?;
    while let Some(mut piece) = reader.next().await? {
        // No more than was asked for, whatever comes.
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= u64::try_from(piece.len()).unwrap_or(left);
        take(&piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names lead to files of the folder, and nowhere else.
    #[test]
    fn only_our_own_names_are_members() {
        for member in [Member::Shard(0), Member::Manifest(99_999), Member::Document("README.md")] {
            assert_eq!(Member::of(&member.name()), Some(member));
        }
        for name in [
            "chunks/../../x.tar",
            "../README.md",
            "/etc/passwd",
            "chunks/chunk_+0001.tar",
            "chunks/chunk_1.tar",
            "chunks/chunk_100000.tar",
            "chunks/chunk_00001.tar.0123456789abcdef.part",
            "chunks/chunk_-0001.tar",
            "chunks/",
            "chunks/chunk_00001.TAR",
            "notes.txt",
        ] {
            assert_eq!(Member::of(name), None, "{name}");
        }
    }
}
