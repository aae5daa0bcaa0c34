//! Shard bytes to staged blocks to a committed block list, guarded by the claim's token.

use crate::{
    chunk::{ChunkId, ClaimToken, ShardRef, hex},
    stall::WATCH,
    state::{self, Database, Lease, until_answered},
    storage::{BlobHead, Condition, Error, Storage},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    future::{Future, pending},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// A shard being written: one block buffer, staged each time it is full.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    storage: &'a Storage,
    blob: String,
    lease: &'a Lease,
    block_bytes: usize,
    buffer: Vec<u8>,
    block_ids: Vec<String>,
    position: u64,
    sha256: Sha256,
}

/// The name of a block. All ids of a blob have one width, which the service demands
/// (<https://learn.microsoft.com/rest/api/storageservices/put-block>); the token keeps the blocks of
/// two claims apart.
fn block_id(token: &ClaimToken, n: usize) -> String {
    format!("{token}{n:08x}")
}

/// How long a blob that somebody keeps from being written is waited for: the images are there
/// already, and what its properties do not show is found only now.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries.
const BLOCKED_PAUSE: Duration = Duration::from_secs(5);

/// Writes to a blob once nobody keeps it from being written. A connection that did not outlive a
/// standstill of this process says nothing about storage: every write may be made again.
async fn unblocked<F>(lease: &Lease, write: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let since = Instant::now();
    loop {
        let mark = WATCH.mark();
        match write().await {
            Err(error @ Error::Blocked { .. }) if since.elapsed() < BLOCKED_PATIENCE => {
                tracing::warn!(cause = %error, "a blob is in the way, trying again");
                lease.hinder(BLOCKED_PAUSE);
                sleep(BLOCKED_PAUSE).await;
            }
            Err(Error::Away { .. }) if WATCH.stood_still_since(mark) => {}
            end => return end,
        }
    }
}

/// A shard whose blocks are all staged: invisible until it is committed.
#[derive(Debug)]
pub struct StagedShard {
    /// What it will be.
    pub shard: ShardRef,
    block_ids: Vec<String>,
}

impl<'a> Upload<'a> {
    /// A new shard of this claim.
    pub(crate) fn new(
        storage: &'a Storage,
        blob: String,
        lease: &'a Lease,
        block_bytes: u64,
    ) -> Self {
        let block_bytes = usize::try_from(block_bytes).unwrap_or(usize::MAX);
        Self {
            storage,
            blob,
            lease,
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
        let id = block_id(&self.lease.token, self.block_ids.len());
        let block = Bytes::from(std::mem::take(&mut self.buffer));
        unblocked(self.lease, || self.storage.stage(&self.blob, &id, block.clone())).await?;
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

/// Names of the shard's metadata.
mod key {
    pub(super) const FENCE: &str = "fence";
    pub(super) const CLAIM: &str = "claim";
    pub(super) const SHA256: &str = "sha256";
    pub(super) const SOURCE: &str = "source_sha256";
}

/// The claim's token and the hash that a shard's metadata names.
pub(crate) fn written_by(head: &BlobHead) -> Option<(&str, &str)> {
    Some((head.metadata.get(key::CLAIM)?, head.metadata.get(key::SHA256)?))
}

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    /// Number and token of its claim go into what is written.
    pub lease: &'a Lease,
    /// Says whose the chunk is.
    pub database: &'a Database,
}

impl Writer<'_> {
    /// The last question before an effect: the database, not our clock, says whose the chunk is. The
    /// chunk's deadline ends the wait, and with it the whole work.
    pub(crate) async fn confirm(&self) -> Result<(), state::Error> {
        let held = || self.database.assert_held(self.lease);
        until_answered(pending(), |error| self.lease.waits_for(error), held).await
    }
}

/// Why a blob was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// Storage did not do it.
    #[error(transparent)]
    Storage(#[from] Error),
    /// The database does not say that the chunk is still this claim's.
    #[error(transparent)]
    State(#[from] state::Error),
}

impl StagedShard {
    /// Commits the shard over what was seen at the claim. Where another writer was meanwhile, the
    /// database decides, whatever fence that writer had: a restored database gives fences again. When
    /// it confirms this very claim, the other blob is overwritten; else this worker is the zombie.
    pub(crate) async fn commit(
        &self,
        storage: &Storage,
        id: ChunkId,
        writer: Writer<'_>,
        source_sha256: &str,
        seen: Option<BlobHead>,
        deadline: Duration,
    ) -> Result<(), CommitError> {
        let metadata = HashMap::from(
            [
                ("job_id", id.job_id.to_string()),
                ("chunk_index", id.chunk_index.to_string()),
                (key::FENCE, writer.lease.fence.to_string()),
                (key::CLAIM, writer.lease.token.to_string()),
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
                || storage.commit(name, &self.block_ids, metadata.clone(), &condition, deadline);
            let failure = match unblocked(writer.lease, commit).await {
                Ok(()) => return Ok(()),
                // Away: the commit may have taken effect, and only its reply is lost.
                Err(failure @ (Error::Conflict { .. } | Error::Away { .. })) => failure,
                Err(other) => return Err(other.into()),
            };
            let Some(head) = storage.head_dataset(name).await? else { return Err(failure.into()) };
            if self.is_written_by(&writer.lease.token, &head) {
                return Ok(());
            }
            let newer = Condition::Unchanged(head.etag);
            // The condition held, so our blocks are gone: the chunk must be done again.
            if newer == condition || matches!(failure, Error::Away { .. }) {
                return Err(failure.into());
            }
            writer.confirm().await?;
            condition = newer;
        }
    }

    /// Whether the blob is this very shard of this claim.
    pub(crate) fn is_written_by(&self, token: &ClaimToken, head: &BlobHead) -> bool {
        written_by(head) == Some((token.as_str(), &self.shard.sha256))
    }
}

/// Writes the bytes of a manifest, of this claim, over what was seen at the claim that writes, in the same
/// style.
pub(crate) async fn put_manifest(
    storage: &Storage,
    name: &str,
    bytes: Bytes,
    claim: &ClaimToken,
    seen: Option<Condition>,
    writer: Writer<'_>,
) -> Result<(), CommitError> {
    let mut condition = seen.unwrap_or(Condition::Absent);
    loop {
        let metadata = || ("claim", claim.to_string());
        let put = || storage.put_dataset(name, bytes.clone(), metadata(), &condition);
        let failure = match unblocked(writer.lease, put).await {
            Ok(()) => return Ok(()),
            Err(failure @ (Error::Conflict { .. } | Error::Away { .. })) => failure,
            Err(other) => return Err(other.into()),
        };
        let Some((etag, there)) = storage.read_dataset(name).await? else {
            return Err(failure.into());
        };
        let newer = Condition::Unchanged(etag);
        // The same version: nothing was written, also where an adopted manifest has these very bytes.
        if newer == condition {
            return Err(failure.into());
        }
        if there == bytes {
            return Ok(());
        }
        if matches!(failure, Error::Away { .. }) {
            return Err(failure.into());
        }
        writer.confirm().await?;
        condition = newer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chunk::Fence, state::LeaseTerms, storage::fake};

    fn head(metadata: &[(&str, &str)]) -> BlobHead {
        let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        BlobHead { etag: "e".into(), bytes: 0, metadata: pairs.collect(), blocked: None }
    }

    /// I5 I16: a blob is ours by token and hash, whatever fence it names.
    #[test]
    fn the_writer_of_a_blob_is_known_by_token_and_hash() {
        let shard = ShardRef { blob: "b".into(), bytes: 0, sha256: "aa".into(), samples: 0 };
        let ours = StagedShard { shard, block_ids: Vec::new() };
        let (token, other) = (ClaimToken::new(), ClaimToken::new());
        let is_ours = |metadata: &[(&str, &str)]| ours.is_written_by(&token, &head(metadata));
        assert!(is_ours(&[("fence", "5"), ("claim", token.as_str()), ("sha256", "aa")]));
        // The same claim, other bytes: an earlier try of it, which no row describes.
        assert!(!is_ours(&[("fence", "5"), ("claim", token.as_str()), ("sha256", "bb")]));
        // The same fence, given twice by a restored database.
        assert!(!is_ours(&[("fence", "5"), ("claim", other.as_str()), ("sha256", "aa")]));
        // Somebody else's blob, or one without a word of who wrote it.
        assert!(!is_ours(&[]));
        assert!(!is_ours(&[("fence", "5"), ("sha256", "aa")]));
    }

    /// I2 I16: a manifest is written anew when another version of it is there, and not when these bytes were
    /// there before: whoever saw that version may remove it.
    #[tokio::test]
    async fn a_manifest_that_is_adopted_is_written_anew_or_not_at_all() {
        let terms = LeaseTerms::new(Duration::from_secs(60));
        let database = Database::open("postgres://nobody@127.0.0.1:1/none", terms).unwrap();
        let id = ChunkId { job_id: 1, chunk_index: 0 };
        let token = ClaimToken::new();
        let sent = (WATCH.mark(), Instant::now());
        let lease = Lease::granted(id, Fence(2), token.clone(), sent, terms);
        let writer = Writer { lease: &lease, database: &database };
        for (etag, is_written) in [("old", false), ("new", true)] {
            // No answer to a write.
            let (_, storage) = fake::serve(move |head| {
                let answer = format!(
                    "HTTP/1.1 206 Partial Content\r\nETag: \"{etag}\"\r\nContent-Range: bytes 0-1/2\r\n\
                     Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
                );
                head.starts_with("GET").then_some(answer)
            });
            let seen = Some(Condition::Unchanged("\"old\"".into()));
            let put = put_manifest(&storage, "m", "{}".into(), &token, seen, writer).await;
            assert_eq!(put.is_ok(), is_written, "{etag}: {put:?}");
        }
    }

    /// The service refuses ids of different widths, and two claims must not share one.
    #[test]
    fn block_ids_have_one_width_and_sort_as_they_are_written() {
        let token = ClaimToken::new();
        let ids = [block_id(&token, 0), block_id(&token, 1), block_id(&token, 49_999)];
        assert!(ids.iter().all(|id| id.len() == 40), "{ids:?}");
        assert!(ids.is_sorted(), "{ids:?}");
        assert_ne!(block_id(&ClaimToken::new(), 0), block_id(&token, 0));
    }
}
