//! Before the documents of a job: is what its rows name in storage?
//!
//! Storage may forget what it acknowledged: an account that failed over to its copy, a container that
//! was restored or cleaned up. Then the chunk runs again; `dataset.json` lists only what was seen.

use super::duplicates;
use crate::{
    chunk::{ChunkId, ClaimToken, Manifest, job_folder},
    process::Error,
    state::{CompletedShard, Database, OverJob},
    storage::{self, BlobHead, ListedBlob, Storage},
    wake::top_up,
};
use std::collections::HashMap;

/// A completed chunk, and what of it was seen.
struct Wanted {
    row: CompletedShard,
    shard: bool,
    manifest: bool,
}

/// What a listing showed of a job.
struct Seen {
    /// Completed chunks without their shard or manifest.
    lost: Vec<CompletedShard>,
    /// Completed chunks that ran again since, and did not complete.
    ran_in_vain: Vec<CompletedShard>,
    /// Manifests of chunks that are not completed.
    stray_manifests: Vec<ListedBlob>,
    /// Whether there are tars that are no shard of a completed chunk.
    has_stray_tars: bool,
}

/// A job of which everything is in storage that its rows name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    /// Whether its folder has tars that are none of its shards: an earlier job of its number left them, or
    /// a chunk that did not complete.
    pub(super) has_stray_tars: bool,
}

/// A job that is over, if its documents can be written: everything that its rows name is there. What is
/// not runs again, and the job is not over any more.
pub(super) async fn whole(
    database: &Database,
    storage: &Storage,
    job: &OverJob,
) -> Result<Option<Whole>, Error> {
    let is_cancelled = job.ends_as == "cancelled";
    let seen = look(database, storage, job.job_id, is_cancelled).await?;
    if !seen.lost.is_empty() {
        run_again(database, storage, job.job_id, &seen.lost).await?;
        return Ok(None);
    }
    for row in &seen.ran_in_vain {
        // If not, it is looked at again, like every job that is over and does not end.
        if !Box::pin(seal(storage, job.job_id, row)).await? {
            return Ok(None);
        }
    }
    if is_cancelled {
        for blob in seen.stray_manifests {
            // That of a newer claim stays. What cannot be removed does not hold up the end.
            let removed = storage.remove_dataset(&blob.name, blob.head.etag).await;
            tracing::debug!(name = blob.name, ?removed, "the manifest of a cancelled chunk");
        }
    }
    duplicates::name_lost(database, storage, job).await?;
    Ok(Some(Whole { has_stray_tars: seen.has_stray_tars }))
}

/// Lists what a job has in storage, once. Of 10,000 chunks that is four calls, 0.2 s of CPU time and
/// 30 MB while it lasts; how long the calls take is up to the service.
async fn look(
    database: &Database,
    storage: &Storage,
    job_id: i64,
    is_cancelled: bool,
) -> Result<Seen, Error> {
    // Rows first: blobs are written before the row that names them.
    let rows = database.completed_shards(job_id).await?;
    let mut wanted: HashMap<i32, Wanted> = rows
        .into_iter()
        .map(|row| (row.chunk_index, Wanted { row, shard: false, manifest: false }))
        .collect();
    let (mut stray_manifests, mut has_stray_tars) = (Vec::new(), false);
    if !wanted.is_empty() || is_cancelled {
        let prefix = format!("{}/chunks/", job_folder(job_id));
        let note = |blob: ListedBlob| {
            let id = chunk_of(job_id, &blob.name);
            let is_shard =
                |id: &ChunkId| blob.name == id.shard_blob() && wanted.contains_key(&id.chunk_index);
            has_stray_tars |= blob.name.ends_with(".tar") && !id.as_ref().is_some_and(is_shard);
            let Some(id) = id else { return };
            let is_manifest = blob.name == id.manifest_blob();
            match wanted.get_mut(&id.chunk_index) {
                Some(wanted) if is_manifest => wanted.manifest = wanted.row.is_manifest(&blob.head),
                Some(wanted) if blob.name == id.shard_blob() => {
                    wanted.shard = wanted.row.is_shard(&blob.head);
                }
                None if is_manifest => stray_manifests.push(blob),
                _ => {}
            }
        };
        storage.list_dataset(prefix, note).await?;
    }
    let (there, lost): (Vec<_>, Vec<_>) =
        wanted.into_values().partition(|wanted| wanted.shard && wanted.manifest);
    Ok(Seen {
        lost: lost.into_iter().map(|wanted| wanted.row).collect(),
        ran_in_vain: there.into_iter().map(|w| w.row).filter(|row| row.ran_in_vain).collect(),
        stray_manifests,
        has_stray_tars,
    })
}

/// Keeps the shard of a chunk that ran again in vain from a writer that does not know of its end yet, as
/// after a cancel: it commits over the version that it saw. False: another one is there now.
async fn seal(storage: &Storage, job_id: i64, row: &CompletedShard) -> Result<bool, Error> {
    let name = ChunkId { job_id, chunk_index: row.chunk_index }.shard_blob();
    let head = storage.head_dataset(&name).await?;
    let Some(head) = head.filter(|head| row.is_of_claim(head)) else { return Ok(false) };
    match storage.seal_dataset(&name, &head).await {
        // What cannot be changed needs no seal.
        Ok(()) | Err(storage::Error::Blocked { .. }) => Ok(true),
        Err(storage::Error::Conflict { .. } | storage::Error::Missing { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The chunk that a blob of its job seems to belong to.
fn chunk_of(job_id: i64, name: &str) -> Option<ChunkId> {
    let (_, rest) = name.rsplit_once("/chunk_")?;
    let chunk_index = rest.split('.').next()?.parse().ok()?;
    Some(ChunkId { job_id, chunk_index })
}

impl CompletedShard {
    /// Whether a blob's metadata names the claim that the row names.
    fn is_of_claim(&self, head: &BlobHead) -> bool {
        match &self.shard_claim {
            Some(claim) => head.metadata.get("claim") == Some(claim),
            None => head.metadata.get("fence") == Some(&self.shard_fence.to_string()),
        }
    }

    /// One without a word of its claim was written by a release that did not say it.
    fn is_manifest(&self, head: &BlobHead) -> bool {
        !head.metadata.contains_key("claim") || self.is_of_claim(head)
    }

    fn is_shard(&self, head: &BlobHead) -> bool {
        let has_sha256 = head.metadata.get("sha256") == Some(&self.shard_sha256);
        let has_length = i64::try_from(head.bytes).is_ok_and(|bytes| bytes == self.shard_bytes);
        has_length && has_sha256 && self.is_of_claim(head)
    }
}

/// Whether a blob is the shard that a manifest describes: by length, hash and claim, as that of a row.
pub fn is_shard_of(manifest: &Manifest, head: &BlobHead) -> bool {
    let (shard, claim) = (&manifest.shard, manifest.claim.as_str());
    let row = CompletedShard {
        chunk_index: manifest.id.chunk_index,
        shard_fence: manifest.fence.0,
        // A release without tokens wrote none.
        shard_claim: Some(claim.to_owned()).filter(|claim| !claim.is_empty()),
        shard_bytes: i64::try_from(shard.bytes).unwrap_or(i64::MAX),
        shard_sha256: shard.sha256.clone(),
        ran_in_vain: false,
    };
    row.is_shard(head)
}

async fn run_again(
    database: &Database,
    storage: &Storage,
    job_id: i64,
    lost: &[CompletedShard],
) -> Result<(), Error> {
    let chunks = database.run_lost_again(job_id, lost).await?;
    // None: another process found the same, and has said so.
    if chunks > 0 {
        let first = lost.iter().map(|shard| shard.chunk_index).min();
        tracing::warn!(
            job_id,
            chunks,
            first,
            "storage has lost shards or manifests of completed chunks, which run again"
        );
        top_up(database, storage).await?;
    }
    Ok(())
}

/// Removes the manifest of a claim that was cancelled before it could complete the row: its presence
/// would say that the chunk is complete.
///
/// # Errors
///
/// When database or storage is away: the manifest stays, and no `dataset.json` lists it.
pub(crate) async fn withdraw_manifest(
    database: &Database,
    storage: &Storage,
    id: ChunkId,
    claim: &ClaimToken,
) -> Result<(), Error> {
    let name = id.manifest_blob();
    // Looked at first: what is there before nobody has claimed the chunk again is not theirs.
    let Some(head) = storage.head_dataset(&name).await? else { return Ok(()) };
    if database.is_cancelled(id, claim).await? {
        storage.remove_dataset(&name, head.etag).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: u64, metadata: &[(&str, &str)]) -> BlobHead {
        let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        BlobHead { etag: "e".into(), bytes, metadata: pairs.collect(), blocked: None }
    }

    /// I2: a blob under the right name is the row's only with its length, its claim and its hash.
    #[test]
    fn a_blob_is_the_rows_by_length_claim_and_hash() {
        let row = CompletedShard {
            chunk_index: 0,
            shard_fence: 7,
            shard_claim: Some("c7".into()),
            shard_bytes: 1024,
            shard_sha256: "aa".into(),
            ran_in_vain: false,
        };
        let ours = [("claim", "c7"), ("sha256", "aa")];
        assert!(row.is_shard(&head(1024, &ours)));
        assert!(!row.is_shard(&head(1023, &ours)));
        assert!(!row.is_shard(&head(1024, &[("claim", "c6"), ("sha256", "aa")])));
        assert!(!row.is_shard(&head(1024, &[("claim", "c7"), ("sha256", "bb")])));
        assert!(!row.is_shard(&head(1024, &[("fence", "7"), ("sha256", "aa")])));
        assert!(row.is_manifest(&head(9, &[("claim", "c7")])));
        assert!(row.is_manifest(&head(9, &[])));
        assert!(!row.is_manifest(&head(9, &[("claim", "c6")])));
        let older = CompletedShard { shard_claim: None, ..row };
        assert!(older.is_shard(&head(1024, &[("fence", "7"), ("sha256", "aa")])));
        assert!(!older.is_shard(&head(1024, &[("fence", "6"), ("sha256", "aa")])));
    }

    #[test]
    fn the_chunk_of_a_blob_is_read_from_its_name() {
        let index = |name| chunk_of(7, name).map(|id| id.chunk_index);
        assert_eq!(index("job_7/chunks/chunk_00012.tar"), Some(12));
        assert_eq!(index("job_7/chunks/chunk_00012.manifest.json"), Some(12));
        assert_eq!(index("job_7/chunks/notes.txt"), None);
        assert_eq!(index("job_7/chunks/chunk_x.tar"), None);
    }
}
