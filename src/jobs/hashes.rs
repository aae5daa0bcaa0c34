//! The hashes of a job that is reopened, or that another one is deduplicated with: they may be gone, and
//! its manifests have them.

use super::{again_command, duplicates};
use crate::{
    chunk::{ChunkId, Completion, Manifest, sha256_of_hex},
    state::{self, Database, Hashes, KeptShard, ReferringChunk},
    storage::{self, Storage},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::HashMap;

/// Manifests that are read at once; one may have 64 MiB.
const READS_AT_ONCE: usize = 2;

/// Why the hashes of a job cannot be had again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The job's rows are being removed.
    #[error("it is being removed, since it ended longer ago than PIXCRAWLER_KEEP_JOBS_DAYS")]
    JobGoing,
    /// Without it nobody knows the samples of the shard.
    #[error("the manifest {} is not there; `{}` makes it again", .0.manifest_blob(), again_command(*.0))]
    Missing(ChunkId),
    /// Its samples may be others.
    #[error(
        "the manifest {} is not that of the shard that the chunk's row names; `{}` makes both again",
        .0.manifest_blob(),
        again_command(*.0)
    )]
    Other(ChunkId),
    /// It cannot be read now.
    #[error("the manifest {0} cannot be read: {1}")]
    Unread(String, storage::Error),
    /// The database.
    #[error(transparent)]
    State(#[from] state::Error),
}

/// Makes sure that a job has the hashes of its completed chunks, before one of its chunks runs again, or
/// another job is deduplicated with it: without them pictures would be kept that the job has. With `may_miss` it answers the chunks whose
/// manifests are gone: they are to run again.
///
/// # Errors
///
/// When they cannot be had; what was found is kept, and a repetition goes on.
pub(super) async fn bring_back(
    database: &Database,
    storage: &Storage,
    job_id: i64,
    may_miss: bool,
) -> Result<Vec<i32>, Error> {
    match database.want_hashes(job_id).await? {
        None | Some(Hashes::Kept) => return Ok(Vec::new()),
        Some(Hashes::JobGoing) => return Err(Error::JobGoing),
        Some(Hashes::Going) => {}
    }
    let shards = database.kept_shards(job_id).await?;
    let n = shards.len();
    let lost: Vec<Option<i32>> = stream::iter(shards)
        .map(|shard| async {
            let index = shard.chunk_index;
            match bring_back_chunk(database, storage, job_id, shard).await {
                Err(Error::Missing(_) | Error::Other(_)) if may_miss => Ok(Some(index)),
                done => done.map(|()| None),
            }
        })
        .buffer_unordered(READS_AT_ONCE)
        .try_collect()
        .await?;
    let mut lost: Vec<i32> = lost.into_iter().flatten().collect();
    lost.sort_unstable();
    if !lost.is_empty() {
        let referring = database.referring_chunks(job_id, &lost).await?;
        stream::iter(referring.into_iter().map(Ok))
            .try_for_each_concurrent(READS_AT_ONCE, |chunk| {
                bring_back_referred(database, storage, job_id, &lost, chunk)
            })
            .await?;
    }
    database.hashes_are_back(job_id).await?;
    tracing::info!(job_id, manifests = n, "the hashes of a job are back");
    Ok(lost)
}

/// Brings hashes of chunks without manifest back as far as another manifest names their samples: who
/// dropped a picture for one of them is to be named if it is gone afterwards.
async fn bring_back_referred(
    database: &Database,
    storage: &Storage,
    job_id: i64,
    lost: &[i32],
    chunk: ReferringChunk,
) -> Result<(), Error> {
    let id = ChunkId { job_id, chunk_index: chunk.chunk_index };
    let read = duplicates::items_of(storage, id).await;
    let items = read.map_err(|error| Error::Unread(id.manifest_blob(), error))?;
    let mut late: HashMap<String, String> =
        chunk.late.0.into_iter().map(|late| (late.key, late.duplicate_of)).collect();
    let mut found: HashMap<i32, Vec<(Vec<u8>, String)>> = HashMap::new();
    for item in items {
        let sample = item.duplicate_of.or_else(|| late.remove(item.key.as_deref()?));
        let Some((sample, sha256)) = sample.zip(item.sha256.and_then(|hex| sha256_of_hex(&hex)))
        else {
            continue;
        };
        if let Some(index) = chunk_of(&sample).filter(|index| lost.contains(index)) {
            found.entry(index).or_default().push((sha256.to_vec(), sample));
        }
    }
    for (chunk_index, hashes) in found {
        database.return_hashes(ChunkId { job_id, chunk_index }, &hashes).await?;
    }
    Ok(())
}

/// The chunk whose sample has this key.
fn chunk_of(key: &str) -> Option<i32> {
    key.split_once('_')?.0.parse().ok()
}

async fn bring_back_chunk(
    database: &Database,
    storage: &Storage,
    job_id: i64,
    shard: KeptShard,
) -> Result<(), Error> {
    let id = ChunkId { job_id, chunk_index: shard.chunk_index };
    let name = id.manifest_blob();
    // Boxed: the SDK's futures are large.
    let read = Box::pin(storage.read_dataset(&name)).await;
    let bytes = match read {
        Ok(Some((_, bytes))) => bytes,
        Ok(None) => return Err(Error::Missing(id)),
        Err(error) => return Err(Error::Unread(name, error)),
    };
    let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
    let is_its_own = |m: &Manifest| {
        m.id == id && m.fence == shard.fence() && m.shard.sha256 == shard.shard_sha256
    };
    let Some(manifest) = manifest.filter(is_its_own) else { return Err(Error::Other(id)) };
    let mut hashes = Completion::from_manifest(&manifest).hashes;
    hashes.retain(|(_, key)| !shard.late_keys.contains(key));
    Ok(database.return_hashes(id, &hashes).await?)
}
