//! What a chunk has in storage, as files: pictures, its manifest, its list.
//!
//! The bytes of a picture are a stranger's. What they are says our own check, and a browser is told to
//! believe it and to run nothing of them.

use super::{chunk_of, manifests, shard};
use crate::dashboard::{answer, asked::Asked, room::Place, world::World};
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use chunk_handler::{
    chunk::{ChunkId, Manifest, Status, hex},
    jobs::list_of,
    redact::cause_chain,
    state::Error,
};
use imagecheck::Format;
use sha2::{Digest as _, Sha256};
use std::{io::Cursor, ops::Range, sync::Arc};

/// Headers of what strangers wrote: nothing of it runs, and no other site may show it.
const STRANGERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The place of what is saved, whose length is known when it is made: few are larger.
const SAVED_BYTES: u64 = 16 * 1024 * 1024;

/// Why there is no such file.
type Refusal = (StatusCode, String);

/// `/jobs/{job}/chunks/{chunk}/images/{idx}`; `?download=1` saves it.
pub(in crate::dashboard) async fn image(
    State(world): State<Arc<World>>,
    Path((job, chunk, idx)): Path<(String, String, String)>,
    asked: Asked,
) -> Response {
    let read = async {
        let manifest = manifest_of(&world, &job, &chunk).await?;
        let idx = idx.parse().unwrap_or(usize::MAX);
        let bytes = Box::pin(picture(&world, &manifest, idx)).await?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let format = imagecheck::identify(&mut Cursor::new(&bytes[..]), length);
        let format =
            format.map_err(|refusal| gone(format!("By our check it is no picture: {refusal}.")))?;
        // What no browser shows is saved.
        let saved = (asked.filter("download").is_some() || format == Format::Tiff)
            .then(|| format!("attachment; filename=\"image.{}\"", format.extension()));
        Ok(file(media_type(format), saved.as_deref(), bytes))
    };
    read.await.unwrap_or_else(refused)
}

/// `/jobs/{job}/chunks/{chunk}/manifest.json`, with URLs as they may be shown.
pub(in crate::dashboard) async fn manifest(
    State(world): State<Arc<World>>,
    Path((job, chunk)): Path<(String, String)>,
) -> Response {
    let read = async {
        let place = place(&world, SAVED_BYTES).await?;
        let manifest = manifest_of(&world, &job, &chunk).await?;
        let mut document = serde_json::to_value(&*manifest).unwrap_or_default();
        if let Some(items) = document.get_mut("items").and_then(serde_json::Value::as_array_mut) {
            items.iter_mut().for_each(|item| world.hide(item));
        }
        let bytes = serde_json::to_vec(&document).unwrap_or_default();
        Ok(file(
            "application/json",
            Some("attachment; filename=\"manifest.json\""),
            place.hold(bytes),
        ))
    };
    read.await.unwrap_or_else(refused)
}

/// `/jobs/{job}/chunks/{chunk}/list.jsonl`: what the chunk was asked for, an item a line.
pub(in crate::dashboard) async fn list(
    State(world): State<Arc<World>>,
    Path((job, chunk)): Path<(String, String)>,
) -> Response {
    let read = async {
        let id = chunk_of(&job, &chunk).ok_or_else(|| no_chunk(&job, &chunk))?;
        let place = place(&world, SAVED_BYTES).await?;
        let row = world.read.message_of_page(id).await.map_err(|error| no_database(&error))?;
        let row = row.ok_or_else(|| no_chunk(&job, &chunk))?;
        let items = Box::pin(list_of(&world.session.storage, &row)).await;
        let items = items.map_err(|error| (StatusCode::BAD_GATEWAY, cause_chain(&error)))?;
        let items = items.ok_or_else(|| gone("The list is not there any more.".to_owned()))?;
        let mut text = String::new();
        for item in items {
            let mut item = serde_json::to_value(&item).unwrap_or_default();
            world.hide(&mut item);
            text.push_str(&item.to_string());
            text.push('\n');
        }
        let saved = Some("attachment; filename=\"list.jsonl\"");
        Ok(file("application/jsonl", saved, place.hold(text.into_bytes())))
    };
    read.await.unwrap_or_else(refused)
}

async fn manifest_of(world: &World, job: &str, chunk: &str) -> Result<Arc<Manifest>, Refusal> {
    let id = chunk_of(job, chunk).ok_or_else(|| no_chunk(job, chunk))?;
    let row = world.read.chunk(id).await.map_err(|error| no_database(&error))?;
    let row = row.ok_or_else(|| no_chunk(job, chunk))?;
    Box::pin(manifests::of(world, &row)).await.map_err(gone)
}

/// The bytes of a sample, which are those that the manifest describes.
pub(in crate::dashboard) async fn picture(
    world: &World,
    manifest: &Manifest,
    idx: usize,
) -> Result<Bytes, Refusal> {
    let item = manifest.items.iter().find(|item| item.idx == idx);
    let item = item.filter(|item| item.status == Status::Valid);
    let (Some(offset), Some(length), Some(sha256)) = (
        item.and_then(|item| item.offset),
        item.and_then(|item| item.length),
        item.and_then(|item| item.sha256.as_ref()),
    ) else {
        return Err(gone("The shard has no picture of this URL.".to_owned()));
    };
    let most = world.session.settings.limits.max_image_bytes;
    let range = range(offset, length, manifest.shard.bytes, most).map_err(gone)?;
    let place = place(world, length).await?;
    let id: ChunkId = manifest.id;
    let storage = &world.session.storage;
    let away = |error: &dyn std::error::Error| {
        (StatusCode::BAD_GATEWAY, format!("Storage does not give it: {}", cause_chain(error)))
    };
    let head = Box::pin(storage.head_dataset(&id.shard_blob())).await.map_err(|e| away(&e))?;
    // A picture may be right in a shard that is not: its hash decides.
    let found = head.as_ref().filter(|head| head.bytes == manifest.shard.bytes);
    let head = found.ok_or_else(|| gone(shard::text(manifest, head.as_ref())))?;
    let part = Box::pin(storage.read_range(&id.shard_blob(), &head.etag, range)).await;
    let mut part = part.map_err(|error| away(&error))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(length);
    while let Some(piece) = part.next().await.map_err(|error| away(&error))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > length {
            break;
        }
    }
    if hex(&Sha256::digest(&bytes)) != *sha256 {
        let advice = shard::advice(id);
        return Err(gone(format!(
            "The shard has other bytes here than its manifest says. {advice}"
        )));
    }
    Ok(place.hold(bytes))
}

/// A place for a file, which is taken before anything of it is read.
async fn place(world: &World, bytes: u64) -> Result<Place, Refusal> {
    world.room.place(bytes).await.ok_or_else(|| {
        let text = "Others wait for their pictures or take them slowly, and there is no room for more; reload it in a minute.";
        (StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
    })
}

/// Where a picture is, within its shard and no larger than a picture may be.
fn range(offset: u64, length: u64, shard: u64, most: u64) -> Result<Range<u64>, String> {
    if length > most {
        return Err(format!(
            "It is larger ({length} bytes) than a picture may be here ({most}): \
             PIXCRAWLER_MAX_IMAGE_SIZE_MB of this command decides."
        ));
    }
    match offset.checked_add(length) {
        Some(end) if length > 0 && end <= shard => Ok(offset..end),
        _ => Err("The manifest names a place that is not in the shard.".to_owned()),
    }
}

/// What a browser is told. It shows all but TIFF.
fn media_type(format: Format) -> &'static str {
    match format {
        Format::Jpeg => "image/jpeg",
        Format::Png => "image/png",
        Format::Gif => "image/gif",
        Format::Bmp => "image/bmp",
        Format::Webp => "image/webp",
        Format::Tiff => "image/tiff",
    }
}

fn no_chunk(job: &str, chunk: &str) -> Refusal {
    gone(format!("There is no chunk {chunk} of job {job}."))
}

fn gone(text: String) -> Refusal {
    (StatusCode::NOT_FOUND, text)
}

fn no_database(error: &Error) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, cause_chain(error))
}

fn refused((status, text): Refusal) -> Response {
    answer::plain(status, &text)
}

fn file(kind: &'static str, saved: Option<&str>, bytes: Bytes) -> Response {
    let mut answer = Response::new(Body::from(bytes));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in STRANGERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(value) = saved.and_then(|saved| HeaderValue::from_str(saved).ok()) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing outside of the shard is read, and nothing that is larger than a picture.
    #[test]
    fn a_picture_is_within_its_shard() {
        assert_eq!(range(512, 100, 612, 100), Ok(512..612));
        for (offset, length, shard, most) in
            [(512, 100, 611, 100), (512, 101, 9999, 100), (0, 0, 9, 9), (u64::MAX, 1, u64::MAX, 9)]
        {
            assert!(range(offset, length, shard, most).is_err(), "{offset} {length}");
        }
    }
}
