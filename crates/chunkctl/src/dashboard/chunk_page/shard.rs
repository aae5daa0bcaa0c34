//! Whether the shard in storage is the one of the manifest, as far as its properties show.

use crate::dashboard::{show, world::World};
use chunk_handler::{
    chunk::{ChunkId, Manifest},
    jobs::{again_command, is_shard_of},
    state::ChunkStatus,
    storage::BlobHead,
};
use maud::{Markup, html};

/// The shard of a completed chunk, and whether there is one. What cannot be read says nothing.
pub(super) async fn head(world: &World, row: &ChunkStatus) -> Option<Option<BlobHead>> {
    if row.status != "completed" {
        return None;
    }
    let id = ChunkId { job_id: row.job_id, chunk_index: row.chunk_index };
    Box::pin(world.session.storage.head_dataset(&id.shard_blob())).await.ok()
}

/// That it is lost, or another one than the manifest's.
pub(super) fn banner(manifest: &Manifest, head: Option<&BlobHead>) -> Markup {
    let is_right = head.is_some_and(|head| is_shard_of(manifest, head));
    html! { @if !is_right { p.banner.away { (show::prose(&text(manifest, head))) } } }
}

/// What is wrong with one that is not right, and what to do.
pub(super) fn text(manifest: &Manifest, head: Option<&BlobHead>) -> String {
    let said = manifest.shard.bytes;
    let what = match head {
        None => "Storage has lost the shard.".to_owned(),
        Some(BlobHead { bytes, .. }) if *bytes != said => format!(
            "The shard in storage is not the one of the manifest: it has {bytes} bytes, and the manifest says {said}."
        ),
        Some(_) => {
            "The shard in storage is not the one of the manifest: its metadata name another \
                    claim or another hash."
                .to_owned()
        }
    };
    format!("{what} {}", advice(manifest.id))
}

/// How to learn more, and how to have the shard again.
pub(super) fn advice(id: ChunkId) -> String {
    let (job_id, again) = (id.job_id, again_command(id));
    format!(
        "`chunkctl verify --job-id {job_id}` says more. `chunkctl control retry --job-id {job_id}` makes \
         again what storage lost of the job; where that is refused, `{again}` does for this chunk."
    )
}
