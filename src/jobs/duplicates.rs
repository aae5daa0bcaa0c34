//! Pictures that were dropped as duplicates of samples that are gone since: their chunks are named,
//! with the command that runs them again.

use super::again_command;
use crate::{
    chunk::{ChunkId, hex},
    process::Error,
    state::{Database, LostDuplicates, OverJob},
    storage::{self, Storage},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use std::collections::HashSet;

/// Hashes, in hex, of images that the job has no more, under whatever key.
type Gone = HashSet<String>;

/// What is read of a manifest: another release may have written the rest in words of its own.
#[derive(Deserialize)]
struct Dropped {
    items: Vec<DroppedItem>,
}

/// An item of a manifest, as far as it says which sample has a picture.
#[derive(Deserialize)]
pub(super) struct DroppedItem {
    pub(super) key: Option<String>,
    pub(super) duplicate_of: Option<String>,
    pub(super) sha256: Option<String>,
}

/// Manifests that are read at once.
const READS_AT_ONCE: usize = 4;
/// Chunks that are named in the log; `chunkctl status` has them too.
const NAMED: usize = 20;

/// Names the chunks that dropped pictures for samples that are gone, once. Manifests are read only
/// when a chunk ran again and has lost a sample.
pub(super) async fn name_lost(
    database: &Database,
    storage: &Storage,
    job: &OverJob,
) -> Result<(), Error> {
    if !database.has_earlier_samples(job.job_id).await? {
        return Ok(());
    }
    let gone = database.settle_samples(job.job_id).await?;
    if gone.is_empty() {
        return Ok(());
    }
    let gone: Gone = gone.iter().map(|sha256| hex(sha256)).collect();
    let chunks = database.chunks_with_duplicates(job.job_id).await?;
    let lost: Vec<LostDuplicates> = stream::iter(chunks)
        .map(|chunk_index| lost_of(storage, ChunkId { job_id: job.job_id, chunk_index }, &gone))
        .buffer_unordered(READS_AT_ONCE)
        .try_filter(|lost| std::future::ready(lost.n > 0))
        .try_collect()
        .await?;
    let named = database.note_lost_duplicates(job, &lost).await?;
    for LostDuplicates { chunk_index, n } in named.iter().take(NAMED) {
        let id = ChunkId { job_id: job.job_id, chunk_index: *chunk_index };
        let command = again_command(id);
        tracing::warn!(chunk = %id, pictures = n, command, "dropped duplicates of samples that are gone");
    }
    if named.len() > NAMED {
        let chunks = named.len();
        tracing::warn!(
            chunks,
            "dropped duplicates of samples that are gone: see `chunkctl status`"
        );
    }
    Ok(())
}

/// How many pictures a chunk dropped for samples that are gone.
async fn lost_of(storage: &Storage, id: ChunkId, gone: &Gone) -> Result<LostDuplicates, Error> {
    let items = items_of(storage, id).await?;
    let dropped = items.into_iter().filter(|item| item.duplicate_of.is_some());
    let n = dropped.filter_map(|item| item.sha256).filter(|sha256| gone.contains(sha256)).count();
    let n = i32::try_from(n).unwrap_or(i32::MAX);
    Ok(LostDuplicates { chunk_index: id.chunk_index, n })
}

/// The items of a chunk's manifest; none when it is not there or cannot be understood.
pub(super) async fn items_of(
    storage: &Storage,
    id: ChunkId,
) -> Result<Vec<DroppedItem>, storage::Error> {
    // Boxed: the SDK's futures are large.
    let read = Box::pin(storage.read_dataset(&id.manifest_blob())).await?;
    let manifest = read.and_then(|(_, bytes)| serde_json::from_slice::<Dropped>(&bytes).ok());
    Ok(manifest.map(|manifest| manifest.items).unwrap_or_default())
}
