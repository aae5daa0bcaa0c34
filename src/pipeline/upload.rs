//! Shard bytes to staged blocks to a committed block list, guarded by the fence.

use crate::{
    chunk::{ChunkId, Fence, Manifest, ShardRef, hex},
    storage::{BlobHead, Condition, Error, Storage},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, time::Duration};

/// A shard being written: one block buffer, staged each time it is full.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    storage: &'a Storage,
    blob: String,
    fence: Fence,
    block_bytes: usize,
    buffer: Vec<u8>,
    block_ids: Vec<String>,
    position: u64,
    sha256: Sha256,
}

/// The name of a block. All ids of a blob have one width, which the service demands
/// (<https://learn.microsoft.com/rest/api/storageservices/put-block>); the fence keeps the blocks of
/// two claims apart.
fn block_id(fence: Fence, n: usize) -> String {
    format!("{:016x}{n:08x}", fence.0)
}

/// A shard whose blocks are all staged: invisible until it is committed.
#[derive(Debug)]
pub struct StagedShard {
    /// What it will be.
    pub shard: ShardRef,
    block_ids: Vec<String>,
}

impl<'a> Upload<'a> {
    /// A new shard of the claim with this fence.
    pub(crate) fn new(storage: &'a Storage, blob: String, fence: Fence, block_bytes: u64) -> Self {
        let block_bytes = usize::try_from(block_bytes).unwrap_or(usize::MAX);
        Self {
            storage,
            blob,
            fence,
            block_bytes,
            buffer: Vec::with_capacity(block_bytes),
            block_ids: Vec::new(),
            position: 0,
            sha256: Sha256::new(),
        }
    }

    /// Bytes written so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Appends bytes; stages a block each time the buffer is full.
    ///
    /// # Errors
    ///
    /// When a block cannot be staged.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sha256.update(bytes);
        self.position += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (self.block_bytes - self.buffer.len()).min(rest.len());
            let (now, later) = rest.split_at(room);
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == self.block_bytes {
                self.stage().await?;
            }
        }
        Ok(())
    }

    async fn stage(&mut self) -> Result<(), Error> {
        let id = block_id(self.fence, self.block_ids.len());
        let block = Bytes::from(std::mem::take(&mut self.buffer));
        self.storage.stage(&self.blob, &id, block.clone()).await?;
        self.block_ids.push(id);
        // The buffer comes back unless the client still holds a handle to it.
        self.buffer = match block.try_into_mut() {
            Ok(mut buffer) => {
                buffer.clear();
                Vec::from(buffer)
            }
            Err(_) => Vec::with_capacity(self.block_bytes),
        };
        Ok(())
    }

    /// Stages what is left.
    ///
    /// # Errors
    ///
    /// When the last block cannot be staged.
    pub(crate) async fn finish(mut self, samples: u64) -> Result<StagedShard, Error> {
        if !self.buffer.is_empty() {
            self.stage().await?;
        }
        let shard = ShardRef {
            blob: self.blob,
            bytes: self.position,
            sha256: hex(&self.sha256.finalize()),
            samples,
        };
        Ok(StagedShard { shard, block_ids: self.block_ids })
    }
}

/// Whose an existing blob is, against the fence of this claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// A newer claim: this worker is the zombie.
    Newer,
    /// This claim: the reply was lost.
    Ours,
    /// An older claim: a zombie got there first.
    Older,
}

/// How a conditional write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// The blob is ours.
    Done,
    /// A newer claim wrote it: stop.
    Superseded,
}

/// Names of the shard's metadata.
mod key {
    pub(super) const FENCE: &str = "fence";
    pub(super) const SHA256: &str = "sha256";
    pub(super) const SOURCE: &str = "source_sha256";
}

/// The fence and hash that a shard's metadata names.
pub(crate) fn written_by(head: &BlobHead) -> Option<(Fence, &str)> {
    let fence = head.metadata.get(key::FENCE)?.parse().ok()?;
    Some((Fence(fence), head.metadata.get(key::SHA256)?))
}

impl StagedShard {
    /// Commits the shard over what was seen at the claim. A conflict with an older claim is
    /// overwritten; one with a newer claim stops this one.
    ///
    /// # Errors
    ///
    /// When storage is away, or our staged blocks are gone.
    pub async fn commit(
        &self,
        storage: &Storage,
        id: ChunkId,
        fence: Fence,
        source_sha256: &str,
        seen: Option<BlobHead>,
        deadline: Duration,
    ) -> Result<Written, Error> {
        let metadata = HashMap::from(
            [
                ("job_id", id.job_id.to_string()),
                ("chunk_index", id.chunk_index.to_string()),
                (key::FENCE, fence.to_string()),
                (key::SHA256, self.shard.sha256.clone()),
                ("samples", self.shard.samples.to_string()),
                (key::SOURCE, source_sha256.to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let name = &self.shard.blob;
        let mut condition = seen.map_or(Condition::Absent, |head| Condition::Unchanged(head.etag));
        loop {
            let commit =
                storage.commit(name, &self.block_ids, metadata.clone(), &condition, deadline);
            let failure = match commit.await {
                Ok(()) => return Ok(Written::Done),
                // Away: the commit may have taken effect, and only its reply is lost.
                Err(failure @ (Error::Conflict { .. } | Error::Away { .. })) => failure,
                Err(other) => return Err(other),
            };
            let Some(head) = storage.head_dataset(name).await? else { return Err(failure) };
            match self.writer(&head, fence) {
                Writer::Newer => return Ok(Written::Superseded),
                Writer::Ours => return Ok(Written::Done),
                Writer::Older if matches!(failure, Error::Away { .. }) => return Err(failure),
                Writer::Older => {
                    let newer = Condition::Unchanged(head.etag);
                    // The condition held, so our blocks are gone: the chunk must be done again.
                    if newer == condition {
                        return Err(failure);
                    }
                    condition = newer;
                }
            }
        }
    }

    fn writer(&self, head: &BlobHead, fence: Fence) -> Writer {
        match written_by(head) {
            Some((writer, _)) if writer > fence => Writer::Newer,
            Some((writer, sha256)) if writer == fence && sha256 == self.shard.sha256 => {
                Writer::Ours
            }
            _ => Writer::Older,
        }
    }
}

/// The one field of a manifest that says whose it is: another release may have written the others in
/// words that this one does not know.
#[derive(serde::Deserialize)]
struct Writing {
    fence: Fence,
}

/// Writes the manifest over what was seen at the claim, in the same style.
///
/// # Errors
///
/// When storage is away.
pub(crate) async fn put_manifest(
    storage: &Storage,
    name: &str,
    manifest: &Manifest,
    seen: Option<Condition>,
) -> Result<Written, Error> {
    let bytes = serde_json::to_vec(manifest).unwrap_or_default();
    let mut condition = seen.unwrap_or(Condition::Absent);
    loop {
        let fence = manifest.fence.to_string();
        let failure = match storage.put_manifest(name, bytes.clone(), fence, &condition).await {
            Ok(()) => return Ok(Written::Done),
            Err(failure @ (Error::Conflict { .. } | Error::Away { .. })) => failure,
            Err(other) => return Err(other),
        };
        let Some((etag, there)) = storage.read_dataset(name).await? else { return Err(failure) };
        if there == bytes {
            return Ok(Written::Done);
        }
        let writer = serde_json::from_slice::<Writing>(&there);
        if writer.is_ok_and(|writing| writing.fence > manifest.fence) {
            return Ok(Written::Superseded);
        }
        let newer = Condition::Unchanged(etag);
        if newer == condition || matches!(failure, Error::Away { .. }) {
            return Err(failure);
        }
        condition = newer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(sha256: &str) -> StagedShard {
        let shard = ShardRef { blob: "b".into(), bytes: 0, sha256: sha256.into(), samples: 0 };
        StagedShard { shard, block_ids: Vec::new() }
    }

    fn head(metadata: &[(&str, &str)]) -> BlobHead {
        let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        BlobHead { etag: "e".into(), metadata: pairs.collect() }
    }

    /// I5: whose a blob is decides whether it is overwritten, kept, or ends this worker.
    #[test]
    fn the_writer_of_a_blob_is_known_by_fence_and_hash() {
        let ours = staged("aa");
        let writer = |metadata: &[(&str, &str)]| ours.writer(&head(metadata), Fence(5));
        assert_eq!(writer(&[("fence", "6"), ("sha256", "aa")]), Writer::Newer);
        assert_eq!(writer(&[("fence", "5"), ("sha256", "aa")]), Writer::Ours);
        // The same claim, other bytes: an earlier try of it, which no row describes.
        assert_eq!(writer(&[("fence", "5"), ("sha256", "bb")]), Writer::Older);
        assert_eq!(writer(&[("fence", "4"), ("sha256", "aa")]), Writer::Older);
        // Somebody else's blob, or one without a word of who wrote it.
        assert_eq!(writer(&[]), Writer::Older);
        assert_eq!(writer(&[("fence", "six"), ("sha256", "aa")]), Writer::Older);
        assert_eq!(writer(&[("fence", "6")]), Writer::Older);
    }

    /// I5: a newer release's manifest is known to be newer, whatever its words are.
    #[test]
    fn the_fence_of_a_manifest_is_read_although_its_words_are_unknown() {
        let text = r#"{"schema": "x", "fence": 7, "items": [{"reason": "gremlins"}]}"#;
        assert_eq!(serde_json::from_str::<Writing>(text).unwrap().fence, Fence(7));
    }

    /// The service refuses ids of different widths, and two claims must not share one.
    #[test]
    fn block_ids_have_one_width_and_sort_as_they_are_written() {
        let ids = [
            block_id(Fence(1), 0),
            block_id(Fence(1), 49_999),
            block_id(Fence(2), 0),
            block_id(Fence(i64::MAX), 49_999),
        ];
        assert!(ids.iter().all(|id| id.len() == 24), "{ids:?}");
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
