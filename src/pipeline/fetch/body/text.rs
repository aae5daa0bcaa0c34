//! The start of a text, of which the rest does not count, within the same limits as a picture.

use super::{ChunkFetch, Frames, Rate, Received, TryError, client, examined, failure};
use crate::{
    settings::DownloadSettings,
    spool::{BodyReader, BodyWriter},
    stall::Alarm,
    turns::Seat,
};
use flate2::bufread::MultiGzDecoder;
use hyper::body::Body as _;
use std::{
    io::{BufRead as _, Read},
    sync::atomic::Ordering,
    time::Duration,
};

/// With these bytes a text begins that is compressed, whatever the head says of it.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads a body up to `limit` bytes and one, which says that there are more.
pub(in super::super) async fn receive_start(
    response: client::Response,
    limit: u64,
    chunk: &ChunkFetch,
    settings: &DownloadSettings,
    remaining: Duration,
) -> Result<Received, TryError> {
    let framing = failure::framing(&response);
    let mut writer = BodyWriter::new(&chunk.allowance, response.body().size_hint().exact());
    let rate = Rate::new(settings.min_rate_bytes_per_second);
    let mut frames = Frames { body: response.into_body(), framing, rate, remaining };
    let mut alarm = Alarm::after(frames.left());
    while writer.len() <= limit {
        let Some(mut frame) = frames.next(&mut alarm).await? else { break };
        let n = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        chunk.bytes_in.fetch_add(n, Ordering::Relaxed);
        let room = usize::try_from(limit + 1 - writer.len()).unwrap_or(usize::MAX);
        frame.truncate(room);
        writer.push(frame).await.map_err(TryError::Spool)?;
    }
    let (body, sha256) = writer.finish().await.map_err(TryError::Spool)?;
    Ok(Received { body, sha256, is_end_open: false })
}

/// Reads such a body as a text of the same `limit`, one that is gzip-compressed unpacked.
pub(in super::super) async fn text_of<T: Send + 'static>(
    body: crate::spool::Body,
    limit: u64,
    walkers: &Seat,
    read: impl FnOnce(&[u8]) -> T + Send + 'static,
) -> Result<T, TryError> {
    let of_bytes = move |reader: &mut BodyReader<'_>, _| read(&unpacked(reader, limit));
    examined(body, walkers, of_bytes).await.map(|(_, text)| text)
}

/// A pack that is damaged, or cut, is read as far as it goes. What the temporary file cannot give is said
/// by whoever opened it.
fn unpacked(reader: &mut BodyReader<'_>, limit: u64) -> Vec<u8> {
    let is_packed = reader.fill_buf().is_ok_and(|start| start.starts_with(&GZIP));
    let mut text = Vec::new();
    let end = match is_packed {
        true => MultiGzDecoder::new(reader).take(limit + 1).read_to_end(&mut text),
        false => reader.take(limit + 1).read_to_end(&mut text),
    };
    if let Err(error) = end {
        tracing::debug!(%error, "a text ends early");
    }
    text
}
