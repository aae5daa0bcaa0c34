//! Manifests, read once for each version.

use crate::dashboard::world::World;
use chunk_handler::{
    chunk::{ChunkId, Manifest},
    jobs::manifest_bytes,
    redact::cause_chain,
    state::ChunkStatus,
};
use std::{collections::VecDeque, sync::Arc};

/// Manifests that are kept, and their bytes in storage together.
const MOST_KEPT: usize = 4;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Those that were read last.
#[derive(Default)]
pub(crate) struct Manifests(VecDeque<Kept>);

struct Kept {
    id: ChunkId,
    etag: String,
    bytes: usize,
    manifest: Arc<Manifest>,
}

impl Manifests {
    fn get(&self, id: ChunkId, etag: &str) -> Option<Arc<Manifest>> {
        let found = self.0.iter().find(|kept| kept.id == id && kept.etag == etag);
        found.map(|kept| Arc::clone(&kept.manifest))
    }

    /// The oldest go, so that a few stay; one that is larger than all may be is not kept.
    fn keep(&mut self, new: Kept) {
        self.0.retain(|kept| kept.id != new.id);
        self.0.push_back(new);
        let sum = |kept: &VecDeque<Kept>| kept.iter().map(|kept| kept.bytes).sum::<usize>();
        while self.0.len() > MOST_KEPT || sum(&self.0) > MOST_BYTES {
            self.0.pop_front();
        }
    }
}

/// The manifest that the row of a chunk counts on; else why there is none to show.
pub(in crate::dashboard) async fn of(
    world: &World,
    row: &ChunkStatus,
) -> Result<Arc<Manifest>, String> {
    let Some(fence) = row.shard_fence else {
        return Err(match row.status.as_str() {
            "processing" | "running" => {
                "The chunk is running: its manifest comes when it completes.".to_owned()
            }
            "failed" => "The chunk failed and has no manifest: see its error and attempts.".into(),
            status => format!("The chunk is {status} and has no manifest."),
        });
    };
    let id = ChunkId { job_id: row.job_id, chunk_index: row.chunk_index };
    let storage = &world.session.storage;
    let away = |error: &dyn std::error::Error| {
        format!("Storage does not give the manifest: {}", cause_chain(error))
    };
    let lost = || "Storage has lost the manifest; `chunkctl verify` says more.".to_owned();
    let head = Box::pin(storage.head_dataset(&id.manifest_blob())).await;
    let head = head.map_err(|error| away(&error))?.ok_or_else(lost)?;
    let known = world.manifests.lock().get(id, head.etag.as_ref());
    let manifest = match known {
        Some(manifest) => manifest,
        None => {
            let read = manifest_bytes(storage, id).await.map_err(|error| away(&error))?;
            let (etag, bytes) = read.ok_or_else(lost)?;
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|error| format!("The manifest is not one of this release: {error}"))?;
            let manifest = Arc::new(manifest);
            let etag = AsRef::<str>::as_ref(&etag).to_owned();
            let kept = Kept { id, etag, bytes: bytes.len(), manifest: Arc::clone(&manifest) };
            world.manifests.lock().keep(kept);
            manifest
        }
    };
    if manifest.id != id || manifest.fence.0 != fence {
        return Err(format!(
            "The manifest in storage is of claim {}, the row counts on claim {fence}: another one is \
             being written, or `chunkctl verify` says what is wrong.",
            manifest.fence.0
        ));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_handler::chunk::{ClaimToken, Fence, ShardRef, Totals};

    fn kept(chunk_index: i32, etag: &str, bytes: usize) -> Kept {
        let id = ChunkId { job_id: 7, chunk_index };
        let shard = ShardRef { blob: "b".into(), bytes: 0, sha256: String::new(), samples: 0 };
        let manifest = Manifest {
            schema: String::new(),
            id,
            source_sha256: String::new(),
            image_range: None,
            attempt: 1,
            fence: Fence(1),
            claim: ClaimToken::new(),
            started_at: String::new(),
            completed_at: String::new(),
            duration_sec: 0.0,
            totals: Totals::default(),
            shard,
            items: Vec::new(),
        };
        Kept { id, etag: etag.into(), bytes, manifest: Arc::new(manifest) }
    }

    /// Few are kept, of few bytes, and of each chunk one version.
    #[test]
    fn what_is_kept_is_bounded() {
        let mut manifests = Manifests::default();
        (0..9).for_each(|n| manifests.keep(kept(n, "a", 10)));
        assert_eq!(manifests.0.len(), MOST_KEPT);
        manifests.keep(kept(8, "b", 10));
        let id = ChunkId { job_id: 7, chunk_index: 8 };
        assert!(manifests.get(id, "b").is_some() && manifests.get(id, "a").is_none());
        manifests.keep(kept(9, "a", MOST_BYTES));
        assert_eq!(manifests.0.len(), 1);
        manifests.keep(kept(10, "a", MOST_BYTES + 1));
        assert!(manifests.0.is_empty());
    }
}
