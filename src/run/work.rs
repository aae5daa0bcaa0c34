//! The effects of a claimed chunk, in order: source, images, commit, manifest.

use super::{Fault, Worker};
use crate::{
    chunk::{
        BlobSource, ChunkMessage, Item, ItemReport, ListFormat, MANIFEST_SCHEMA, Manifest, Reason,
        Source, Totals, hex,
    },
    pipeline::{
        self, Outcome, Work,
        upload::{self, Written},
    },
    spool::Allowance,
    state::{self, Claim},
    storage::{self, BlobHead, Condition},
    telemetry::refusal,
};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;
use tracing::Instrument as _;

/// The most URLs of a chunk: the upper bound of `PIXCRAWLER_CHUNK_SIZE_IMAGES`.
const MAX_ITEMS: usize = 10_000;

/// What stood in the dataset container when the chunk was claimed.
struct Seen {
    shard: Option<BlobHead>,
    manifest: Option<(Condition, Option<Manifest>)>,
}

impl Worker {
    /// Does the chunk's work up to the manifest; the claim's holder completes the row.
    pub(super) async fn work(
        &self,
        claim: &Claim,
        allowance: &Allowance,
        deadline: Instant,
    ) -> Result<Manifest, Fault> {
        let started_at = OffsetDateTime::now_utc();
        let started = Instant::now();
        let message: ChunkMessage =
            serde_json::from_str(&claim.message).map_err(|e| Fault::Unreadable(refusal(&e)))?;
        let (items, source_sha256) = self.load_source(&message).await?;
        let seen = self.look(&message).await?;
        if let Some(manifest) = adoptable(&seen, &source_sha256) {
            tracing::info!(shard_fence = %manifest.fence, "adopting the shard of an earlier claim");
            return Ok(manifest.clone());
        }
        let fence = claim.lease.fence;
        let work = Work {
            message: &message,
            items: items.into(),
            fence,
            allowance: allowance.clone(),
            // What is left of the deadline is for the commit.
            deadline: started + deadline.saturating_duration_since(started) * 8 / 10,
        };
        let images = pipeline::run(&self.stages, &self.storage, &self.database, work);
        let outcome = images.instrument(tracing::info_span!("images")).await?;
        if is_nothing_reachable(&outcome) {
            return Err(Fault::NothingReachable);
        }
        self.assert_held(claim).await?;
        let cap = self.settings.lease / 8;
        let (id, staged) = (message.id(), &outcome.staged);
        let commit = staged.commit(&self.storage, id, fence, &source_sha256, seen.shard, cap);
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
            totals: Totals { errors: count_reasons(&outcome.items), ..outcome.totals },
            shard: outcome.staged.shard,
            items: outcome.items,
        };
        let name = id.manifest_blob(&message.prefix());
        let condition = seen.manifest.map(|(condition, _)| condition);
        superseded(upload::put_manifest(&self.storage, &name, &manifest, condition).await?)?;
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
                let bytes = self.storage.read_source(blob).await.map_err(|error| match error {
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

    async fn look(&self, message: &ChunkMessage) -> Result<Seen, Fault> {
        let (id, prefix) = (message.id(), message.prefix());
        let shard = self.storage.head_dataset(&id.shard_blob(&prefix)).await?;
        let manifest = self.storage.read_dataset(&id.manifest_blob(&prefix)).await?;
        let manifest = manifest
            .map(|(etag, bytes)| (Condition::Unchanged(etag), serde_json::from_slice(&bytes).ok()));
        Ok(Seen { shard, manifest })
    }

    /// The last look before the commit: the database, not our clock, says whose the chunk is.
    async fn assert_held(&self, claim: &Claim) -> Result<(), Fault> {
        // The lease ends the wait.
        Ok(state::until_back(|| self.database.assert_held(&claim.lease)).await?)
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

/// A process without network must not complete a chunk of nothing. URLs that were refused, or whose
/// turn never came, say nothing about the network.
fn is_nothing_reachable(outcome: &Outcome) -> bool {
    let silent = [Reason::UrlRefused.to_string(), Reason::Deadline.to_string()];
    let failed_to_reach =
        |item: &ItemReport| item.reason.as_ref().is_some_and(|reason| !silent.contains(reason));
    !outcome.was_answered && outcome.items.iter().any(failed_to_reach)
}

fn superseded(written: Written) -> Result<(), Fault> {
    match written {
        Written::Done => Ok(()),
        Written::Superseded => Err(Fault::Superseded),
    }
}

fn count_reasons(items: &[ItemReport]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for reason in items.iter().filter_map(|item| item.reason.clone()) {
        *counts.entry(reason).or_default() += 1;
    }
    counts
}
