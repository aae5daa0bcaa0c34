//! The effects of a claimed chunk, in order: source, images, commit, manifest.

use super::{Fault, Runner};
use crate::{
    chunk::{
        BlobSource, ChunkId, ChunkMessage, ClaimToken, Item, ListFormat, MANIFEST_SCHEMA, Manifest,
        Source, hex,
    },
    jobs::NotReady,
    pipeline::{
        self, Outcome, StagedShard, Work,
        upload::{self, Writer},
    },
    process::Process,
    spool::Allowance,
    stall::{Deadline, WATCH},
    state::{Claim, Lease, until_answered},
    storage::{self, BlobHead, Condition, DOCUMENT_LIMIT, SOURCE_LIMIT},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::{future::pending, panic::resume_unwind};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    task::{JoinError, spawn_blocking},
    time::Instant,
};
use tracing::Instrument as _;

/// What stood in the dataset container when the chunk was claimed.
struct Seen {
    shard: Option<BlobHead>,
    manifest: Option<Condition>,
    manifest_blocked: Option<&'static str>,
}

/// The manifest that stood there. It may be long: it goes before the images are fetched.
struct Left {
    condition: Condition,
    bytes: Bytes,
    manifest: Manifest,
}

impl Runner {
    /// Does the chunk's work up to the manifest; the claim's holder completes the row.
    pub(super) async fn work(
        &self,
        claim: &Claim,
        allowance: &Allowance,
        deadline: Deadline,
    ) -> Result<Manifest, Fault> {
        let started_at = OffsetDateTime::now_utc();
        let started = Instant::now();
        let message = claim.message.as_ref().map_err(|why| Fault::Unreadable(why.clone()))?;
        let (items, source_sha256) = self.load_source(message).await?;
        let (seen, left) = self.seen(message).await?;
        if let Some(left) = left.filter(|left| is_adoptable(&seen, &left.manifest, &source_sha256))
            && self.may_adopt(&claim.lease, &left.manifest.claim).await?
        {
            let shard_fence = left.manifest.fence;
            tracing::info!(%shard_fence, "adopting the shard of an earlier claim");
            return self.adopt(claim, left).await;
        }
        seen.refuse_blocked(message.id())?;
        self.others_ready(message, &claim.lease).await?;
        let work = Work {
            message,
            items: items.into(),
            lease: &claim.lease,
            allowance: allowance.clone(),
            // What is left of the deadline is for the commit.
            deadline: deadline.leaving_tenths(2),
            waits_for_hosts: false,
            // As they are now, whatever becomes of the lists while it runs.
            blocked: self.process.blocklists.current().ok_or_else(unread)?,
        };
        let mark = WATCH.mark();
        let outcome = match self.images(work).await {
            Err(Fault::NothingReachable) if WATCH.stood_still_since(mark) => {
                return Err(Fault::StoodStill);
            }
            outcome => outcome?,
        };
        let is_hindered = claim.lease.is_hindered() || deadline.is_cut();
        if is_hindered && outcome.is_cut {
            // Without the wait all URLs may have been in time: the chunk is done again.
            return Err(Fault::Hindered);
        }
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            id: message.id(),
            source_sha256,
            image_range: message.image_range,
            attempt: claim.attempt,
            fence: claim.lease.fence,
            claim: claim.lease.token.clone(),
            started_at: started_at.format(&Rfc3339).unwrap_or_default(),
            completed_at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            duration_sec: started.elapsed().as_secs_f64(),
            totals: outcome.totals,
            shard: outcome.staged.shard.clone(),
            items: outcome.items,
        };
        self.commit(claim, &outcome.staged, &manifest, seen).await?;
        Ok(manifest)
    }

    /// Whether the jobs that the chunk is deduplicated with have their hashes.
    async fn others_ready(&self, message: &ChunkMessage, lease: &Lease) -> Result<(), Fault> {
        let Process { database, storage, .. } = &*self.process;
        let ask = || self.returning.ready(database, storage, &message.dedupe.with_jobs);
        let is_passing = |error: &NotReady| match error {
            NotReady::State(error) => lease.waits_for(error),
            NotReady::Away(_) | NotReady::Lost(..) => false,
        };
        Ok(until_answered(pending(), is_passing, ask).await?)
    }

    /// Runs the images through the pipeline. A chunk that can do nothing, since its hosts are busy, leaves
    /// its place to others so often; then it waits for them here, to its deadline.
    async fn images(&self, work: Work<'_>) -> Result<Outcome, Fault> {
        let (database, storage) = (&self.process.database, &self.process.storage);
        let run = async |work| {
            let images = pipeline::run(&self.stages, storage, database, work);
            images.instrument(tracing::info_span!("images")).await
        };
        let outcome = run(work.clone()).await;
        if let Err(pipeline::Error::HostsBusy(_)) = &outcome {
            let ask = || database.host_busy_rounds(work.lease);
            let rounds =
                until_answered(pending(), |error| work.lease.waits_for(error), ask).await?;
            if rounds >= i64::from(self.process.settings.host_busy_rounds) {
                return Ok(run(Work { waits_for_hosts: true, ..work }).await?);
            }
        }
        Ok(outcome?)
    }

    /// Shard, then manifest: both become visible here, and are what the row will say.
    async fn commit(
        &self,
        claim: &Claim,
        staged: &StagedShard,
        manifest: &Manifest,
        seen: Seen,
    ) -> Result<(), Fault> {
        let (database, storage) = (&self.process.database, &self.process.storage);
        let (id, lease) = (manifest.id, &claim.lease);
        let writer = Writer { lease, database };
        writer.confirm().await?;
        let (source, cap) = (&manifest.source_sha256, database.terms().longest_call());
        let commit = staged.commit(storage, id, writer, source, seen.shard, cap);
        let span = tracing::info_span!("commit", otel.kind = "client", rpc.system = "blob");
        commit.instrument(span).await?;
        let name = id.manifest_blob();
        let bytes = manifest.to_json(DOCUMENT_LIMIT).into();
        upload::put_manifest(storage, &name, bytes, &lease.token, seen.manifest, writer).await?;
        // I16: what the row will name is what is there.
        let there = storage.head_dataset(&id.shard_blob()).await?;
        if there.is_some_and(|head| staged.is_written_by(&lease.token, &head)) {
            return Ok(());
        }
        let cause = "another shard stands where this one was written".to_owned();
        Err(Fault::Storage(storage::Error::Conflict { doing: "check shard", cause }))
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
                let pieces =
                    self.process.storage.read_source(blob).await.map_err(|error| match error {
                        storage::Error::Missing { .. } => Fault::SourceMissing,
                        storage::Error::TooLarge { .. } => Fault::SourceTooLarge,
                        other @ (storage::Error::Away { .. }
                        | storage::Error::NoContainer { .. }
                        | storage::Error::Blocked { .. }
                        | storage::Error::Conflict { .. }
                        | storage::Error::Refused { .. }) => Fault::Storage(other),
                    })?;
                let (items, read) = read_list(ListFormat::of(blob), pieces, hasher).await?;
                hasher = read;
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
    async fn may_adopt(&self, lease: &Lease, claim: &ClaimToken) -> Result<bool, Fault> {
        let ask = || self.process.database.may_adopt(lease.id, claim);
        Ok(until_answered(pending(), |error| lease.waits_for(error), ask).await?)
    }

    /// Writes an adopted manifest anew: whoever saw it before and removes it, since its claim was
    /// cancelled, must not remove the one that the row will name. It keeps its bytes: another release may
    /// have written in it what this one does not know.
    async fn adopt(&self, claim: &Claim, left: Left) -> Result<Manifest, Fault> {
        let (database, storage) = (&self.process.database, &self.process.storage);
        let writer = Writer { lease: &claim.lease, database };
        let name = claim.lease.id.manifest_blob();
        let Left { condition, bytes, manifest } = left;
        let of = &manifest.claim;
        upload::put_manifest(storage, &name, bytes, of, Some(condition), writer).await?;
        Ok(manifest)
    }

    /// What is there, and the manifest if it can be read.
    async fn seen(&self, message: &ChunkMessage) -> Result<(Seen, Option<Left>), Fault> {
        let (id, storage) = (message.id(), &self.process.storage);
        let shard = storage.head_dataset(&id.shard_blob()).await?;
        let head = storage.head_dataset(&id.manifest_blob()).await?;
        let manifest_blocked = head.as_ref().and_then(|head| head.blocked);
        let there = match head {
            Some(_) => storage.read_dataset(&id.manifest_blob()).await?,
            None => None,
        };
        let Some((etag, bytes)) = there else {
            return Ok((Seen { shard, manifest: None, manifest_blocked }, None));
        };
        let condition = Condition::Unchanged(etag);
        let seen = Seen { shard, manifest: Some(condition.clone()), manifest_blocked };
        let manifest = serde_json::from_slice(&bytes).ok();
        Ok((seen, manifest.map(|manifest| Left { condition, bytes: bytes.into(), manifest })))
    }
}

/// No chunk is claimed before the blocklists were read.
fn unread() -> Fault {
    let cause = "the blocklists were not read yet".to_owned();
    Fault::Storage(storage::Error::Missing { doing: "start", cause })
}

/// The items of a list, and the hash with its bytes. A stranger's list may cost a second: not one of
/// the threads that serve all chunks.
async fn read_list(
    format: ListFormat,
    pieces: Vec<Bytes>,
    mut hasher: Sha256,
) -> Result<(Vec<Item>, Sha256), Fault> {
    let reading = spawn_blocking(move || {
        let hashed = pieces.into_iter().inspect(|piece| hasher.update(piece));
        Ok((format.read(hashed, SOURCE_LIMIT)?, hasher))
    });
    match reading.await.map_err(JoinError::try_into_panic) {
        Ok(read) => read,
        Err(Ok(panic)) => resume_unwind(panic),
        // The process ends.
        Err(Err(_)) => Err(Fault::Drained),
    }
}

impl Seen {
    /// What cannot be committed is not downloaded.
    fn refuse_blocked(&self, id: ChunkId) -> Result<(), Fault> {
        let shard_blocked = self.shard.as_ref().and_then(|head| head.blocked);
        let (blob, cause) = match (shard_blocked, self.manifest_blocked) {
            (Some(cause), _) => (id.shard_blob(), cause),
            (None, Some(cause)) => (id.manifest_blob(), cause),
            (None, None) => return Ok(()),
        };
        let cause = cause.to_owned();
        Err(Fault::Storage(storage::Error::Blocked { doing: "start", blob, cause }))
    }
}

/// Whether an earlier claim of the same work left this manifest, with its own shard in place: the crash
/// came between manifest and row.
fn is_adoptable(seen: &Seen, manifest: &Manifest, source_sha256: &str) -> bool {
    let written_by = seen.shard.as_ref().and_then(upload::written_by);
    manifest.schema == MANIFEST_SCHEMA
        && manifest.source_sha256 == source_sha256
        && written_by == Some((manifest.claim.as_str(), manifest.shard.sha256.as_str()))
}
