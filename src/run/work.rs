//! The effects of a claimed chunk, in order: source, images, commit, manifest.

use super::{Fault, Runner};
use crate::{
    chunk::{
        BlobSource, ChunkId, ChunkMessage, Fence, Item, ListFormat, MANIFEST_SCHEMA, MAX_ITEMS,
        Manifest, Source, hex,
    },
    pipeline::{
        self, Work,
        upload::{self, Written},
    },
    spool::Allowance,
    state::{self, Claim, until_answered},
    storage::{self, BlobHead, Condition},
};
use sha2::{Digest as _, Sha256};
use std::future::pending;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;
use tracing::Instrument as _;

/// What stood in the dataset container when the chunk was claimed.
struct Seen {
    shard: Option<BlobHead>,
    manifest: Option<(Condition, Option<Manifest>)>,
}

impl Runner {
    /// Does the chunk's work up to the manifest; the claim's holder completes the row.
    pub(super) async fn work(
        &self,
        claim: &Claim,
        allowance: &Allowance,
        deadline: Instant,
    ) -> Result<Manifest, Fault> {
        let started_at = OffsetDateTime::now_utc();
        let started = Instant::now();
        let message = claim.message.as_ref().map_err(|why| Fault::Unreadable(why.clone()))?;
        let (items, source_sha256) = self.load_source(message).await?;
        let seen = self.seen(message).await?;
        if let Some(manifest) = adoptable(&seen, &source_sha256)
            && self.may_adopt(message.id(), manifest.fence).await?
        {
            tracing::info!(shard_fence = %manifest.fence, "adopting the shard of an earlier claim");
            return Ok(manifest.clone());
        }
        let fence = claim.lease.fence;
        let work = Work {
            message,
            items: items.into(),
            fence,
            allowance: allowance.clone(),
            // What is left of the deadline is for the commit.
            deadline: started + deadline.saturating_duration_since(started) * 8 / 10,
        };
        let (database, storage) = (&self.process.database, &self.process.storage);
        let images = pipeline::run(&self.stages, storage, database, work);
        let outcome = images.instrument(tracing::info_span!("images")).await?;
        // The last question before the commit: the database, not our clock, says whose the chunk
        // is. The end of the lease ends the wait, and with it this whole work.
        let held = || database.assert_held(&claim.lease);
        until_answered(pending(), state::Error::is_away, held).await?;
        let (id, staged, cap) = (message.id(), &outcome.staged, database.terms().longest_call());
        let commit = staged.commit(storage, id, fence, &source_sha256, seen.shard, cap);
        let span = tracing::info_span!("commit", otel.kind = "client", rpc.system = "blob");
        superseded(commit.instrument(span).await?)?;
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            id,
            source_sha256,
            image_range: message.image_range,
            attempt: claim.attempt,
            fence,
            started_at: started_at.format(&Rfc3339).unwrap_or_default(),
            completed_at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            duration_sec: started.elapsed().as_secs_f64(),
            totals: outcome.totals,
            shard: outcome.staged.shard,
            items: outcome.items,
        };
        let condition = seen.manifest.map(|(condition, _)| condition);
        superseded(
            upload::put_manifest(storage, &id.manifest_blob(), &manifest, condition).await?,
        )?;
        Ok(manifest)
    }

    /// The URLs, and the hash of everything that decides the shard's content.
    async fn load_source(&self, message: &ChunkMessage) -> Result<(Vec<Item>, String), Fault> {
        let mut hasher = Sha256::new();
        let items = match &message.source {
            Some(Source::Inline(items)) => {
                hasher.update(serde_json::to_vec(items).unwrap_or_default());
                items.clone()
            }
            Some(Source::Blob(BlobSource { blob })) => {
                let bytes =
                    self.process.storage.read_source(blob).await.map_err(|error| match error {
                        storage::Error::Missing { .. } => Fault::SourceMissing,
                        other @ (storage::Error::Away { .. }
                        | storage::Error::Conflict { .. }
                        | storage::Error::Refused { .. }) => Fault::Storage(other),
                    })?;
                hasher.update(&bytes);
                let items = ListFormat::of(blob).parse_at_most(&bytes, MAX_ITEMS + 1);
                if items.len() > MAX_ITEMS {
                    return Err(Fault::SourceTooLarge);
                }
                items
            }
            None => return Err(Fault::Unreadable("it has no source".into())),
        };
        for part in [
            serde_json::to_vec(&message.validation),
            serde_json::to_vec(&message.dedupe),
            serde_json::to_vec(&message.output),
        ] {
            hasher.update([0]);
            hasher.update(part.unwrap_or_default());
        }
        Ok((items, hex(&hasher.finalize())))
    }

    /// Whether nobody has asked for the chunk to run again since this claim.
    async fn may_adopt(&self, id: ChunkId, fence: Fence) -> Result<bool, Fault> {
        let ask = || self.process.database.may_adopt(id, fence);
        Ok(until_answered(pending(), state::Error::is_away, ask).await?)
    }

    async fn seen(&self, message: &ChunkMessage) -> Result<Seen, Fault> {
        let (id, storage) = (message.id(), &self.process.storage);
        let shard = storage.head_dataset(&id.shard_blob()).await?;
        let manifest = storage.read_dataset(&id.manifest_blob()).await?;
        let manifest = manifest
            .map(|(etag, bytes)| (Condition::Unchanged(etag), serde_json::from_slice(&bytes).ok()));
        Ok(Seen { shard, manifest })
    }
}

/// A manifest that an earlier claim of the same work left, with its own shard in place: the crash
/// came between manifest and row.
fn adoptable<'a>(seen: &'a Seen, source_sha256: &str) -> Option<&'a Manifest> {
    let manifest = seen.manifest.as_ref()?.1.as_ref()?;
    let (fence, sha256) = upload::written_by(seen.shard.as_ref()?)?;
    let same = manifest.schema == MANIFEST_SCHEMA
        && manifest.source_sha256 == source_sha256
        && manifest.fence == fence
        && manifest.shard.sha256 == sha256;
    same.then_some(manifest)
}

fn superseded(written: Written) -> Result<(), Fault> {
    match written {
        Written::Done => Ok(()),
        Written::Superseded => Err(Fault::Superseded),
    }
}
