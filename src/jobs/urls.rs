//! What a job was asked for and what became of it, chunk by chunk.

use crate::{
    chunk::{BlobSource, ChunkId, Item, ListFormat, Manifest, Source},
    process::Error,
    state::JobChunk,
    storage::{self, SOURCE_LIMIT, Storage},
};
use azure_core::http::Etag;

/// The list of a chunk, as it was given; none: its list is not there any more, or cannot be read.
///
/// # Errors
///
/// When storage is away or refuses.
pub async fn list_of(storage: &Storage, chunk: &JobChunk) -> Result<Option<Vec<Item>>, Error> {
    let Ok(message) = &chunk.message else { return Ok(None) };
    match &message.source {
        Some(Source::Inline(items)) => Ok(Some(items.clone())),
        // Boxed: the SDK's futures are large.
        Some(Source::Blob(BlobSource { blob })) => {
            match Box::pin(storage.read_source(blob)).await {
                Ok(pieces) => Ok(ListFormat::of(blob).read(pieces, SOURCE_LIMIT).ok()),
                Err(storage::Error::Missing { .. } | storage::Error::TooLarge { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        None => Ok(None),
    }
}

/// The manifest of a chunk; none: it is not complete, or storage has lost it.
///
/// # Errors
///
/// When storage is away or refuses; [`storage::Error::Refused`] also for a manifest that this release
/// cannot read.
pub async fn manifest_of(storage: &Storage, chunk: &JobChunk) -> Result<Option<Manifest>, Error> {
    if chunk.is_complete { manifest_there(storage, chunk.id).await } else { Ok(None) }
}

/// The manifest of a chunk that is known to be complete; none: storage has lost it.
///
/// # Errors
///
/// As [`manifest_of`].
pub async fn manifest_there(storage: &Storage, id: ChunkId) -> Result<Option<Manifest>, Error> {
    let Some((_, bytes)) = manifest_bytes(storage, id).await? else { return Ok(None) };
    let manifest = serde_json::from_slice(&bytes).map_err(|error| storage::Error::Refused {
        doing: "read manifest",
        cause: format!("{} is not one of this release: {error}", id.manifest_blob()),
    })?;
    Ok(Some(manifest))
}

/// The manifest of a chunk as it is stored, at most 64 MiB, with its version; none: there is none.
///
/// # Errors
///
/// When storage is away or refuses.
pub async fn manifest_bytes(
    storage: &Storage,
    id: ChunkId,
) -> Result<Option<(Etag, Vec<u8>)>, Error> {
    Ok(Box::pin(storage.read_dataset(&id.manifest_blob())).await?)
}
