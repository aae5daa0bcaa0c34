//! Where a job's folder is: in storage, or in a directory.

use crate::{
    fetch::place::Beside,
    folder::{Interrupted, Listing, Member, read_blob},
};
use anyhow::Context as _;
use chunk_handler::storage::{ListedBlob, Storage};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Bytes that are read of a file at once.
const PIECE: usize = 1024 * 1024;

/// A file of the folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bytes: u64,
    /// In storage.
    pub(super) blob: Option<ListedBlob>,
}

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) members: BTreeMap<Member, Found>,
    /// Names that are none of the folder.
    pub(super) others: Vec<String>,
    /// What a fetch that did not end left in a directory.
    pub(super) begun: Vec<String>,
    /// Documents that are newer than those that somebody changed.
    pub(super) newer: Vec<String>,
}

/// Where it is.
pub(super) enum Place<'a> {
    Storage { storage: &'a Storage, job_id: i64 },
    Directory(PathBuf),
}

impl Place<'_> {
    pub(super) async fn list(&self) -> anyhow::Result<Folder> {
        match self {
            Self::Storage { storage, job_id } => {
                Ok(of_listing(Listing::read(storage, *job_id, "").await?))
            }
            Self::Directory(path) => of_directory(path),
        }
    }

    /// Reads a file from start to end, in pieces.
    pub(super) async fn read(
        &self,
        member: Member,
        found: &Found,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Interrupted> {
        match (self, &found.blob) {
            (Self::Storage { storage, .. }, Some(blob)) => {
                let take = |piece: &[u8]| -> io::Result<()> {
                    take(piece);
                    Ok(())
                };
                read_blob(storage, blob, 0, take).await
            }
            (Self::Directory(path), _) => Ok(read_file(&path.join(member.name()), take)?),
            (Self::Storage { .. }, None) => Ok(()),
        }
    }

    /// The bytes of a manifest or document.
    pub(super) async fn read_all(
        &self,
        member: Member,
        found: &Found,
    ) -> Result<Vec<u8>, Interrupted> {
        let mut bytes = Vec::new();
        self.read(member, found, |piece| bytes.extend_from_slice(piece)).await?;
        Ok(bytes)
    }
}

fn of_listing(listing: Listing) -> Folder {
    let mut folder = Folder { others: listing.others, ..Folder::default() };
    let shards = listing.shards.into_iter().map(|(i, blob)| (Member::Shard(i), blob));
    let manifests = listing.manifests.into_iter().map(|(i, blob)| (Member::Manifest(i), blob));
    let documents =
        listing.documents.into_iter().map(|(name, blob)| (Member::Document(name), blob));
    for (member, blob) in shards.chain(manifests).chain(documents) {
        folder.members.insert(member, Found { bytes: blob.head.bytes, blob: Some(blob) });
    }
    folder
}

impl Folder {
    /// Notes a file of a directory that is none of the job's.
    fn note_other(&mut self, name: String) {
        match Beside::of(&name) {
            Beside::Mark => {}
            Beside::Newer => self.newer.push(name),
            Beside::Begun => self.begun.push(name),
            Beside::Stranger => self.others.push(name),
        }
    }
}

fn of_directory(root: &Path) -> anyhow::Result<Folder> {
    let mut folder = Folder::default();
    for below in ["", "chunks/"] {
        let path = root.join(below);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !below.is_empty() => continue,
            entries => entries.with_context(|| format!("reading {}", path.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            let data = fs::metadata(entry.path()).ok();
            match (Member::of(&name), data) {
                (Some(member), Some(data)) if data.is_file() => {
                    folder.members.insert(member, Found { bytes: data.len(), blob: None });
                }
                (None, Some(data)) if name == "chunks" && data.is_dir() => {}
                (None, Some(data)) if data.is_file() => folder.note_other(name),
                _ => folder.others.push(name),
            }
        }
    }
    folder.others.sort();
    Ok(folder)
}

fn read_file(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; PIECE]);
    loop {
        let n = file.read(&mut buffer)?;
        match buffer.get(..n) {
            Some(piece) if !piece.is_empty() => take(piece),
            _ => return Ok(()),
        }
    }
}
