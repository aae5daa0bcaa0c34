//! The bytes of an answer, within limits of size, rate and time, and whether they are all of it.
//!
//! A body is whole when HTTP proves it: its length arrived, or its last chunk. One that ends with the
//! connection is handed on, for the picture's own container to say so. Where a body breaks off (before
//! its length, with a reset, in silence, over TLS without a word) and the container is whole
//! nevertheless, it is taken, as curl and browsers take it; else it is asked for again.

mod text;

pub(super) use text::{receive_start, text_of};

use super::{ChunkFetch, Refused, Rules, TryError, answer::Doubts, client, failure};
use crate::{
    chunk::{Detail, Reason, Rejection},
    pipeline::filters::Filters,
    settings::DownloadSettings,
    spool::{Body, BodyReader, BodyWriter},
    stall::{Alarm, WATCH},
    turns::Seat,
};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use imagecheck::{Level, Refusal, identify, inspect};
use std::{io::Cursor, sync::atomic::Ordering, time::Duration};

/// A body that is whole, as far as can be said without its picture.
pub(super) struct Received {
    pub body: Body,
    pub sha256: Vec<u8>,
    /// HTTP does not prove that it is whole.
    pub is_end_open: bool,
}

/// How a body ended.
enum End {
    /// With its length or its last chunk.
    Proven,
    /// With the connection, as far as HTTP can tell.
    Open,
    /// Too early or without any sense, for this reason.
    Early(TryError),
}

/// Over which the minimum rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// By so many bytes a picture is known from what is none.
const SIGNATURE_BYTES: usize = 64;

/// Reads a body to its end.
pub(super) async fn receive(
    response: client::Response,
    doubts: Doubts,
    chunk: &ChunkFetch,
    settings: &DownloadSettings,
    remaining: Duration,
) -> Result<Received, TryError> {
    let framing = failure::framing(&response);
    let expected = response.body().size_hint().exact();
    let is_proven = framing != Detail::Close && !doubts.may_be_part;
    let mut writer = BodyWriter::new(&chunk.allowance, expected);
    let mut start = Start::new(doubts);
    let rate = Rate::new(settings.min_rate_bytes_per_second);
    let mut frames = Frames { body: response.into_body(), framing, rate, remaining };
    let mut alarm = Alarm::after(frames.left());
    let mut header = Header::new(expected, &chunk.rules);
    let end = loop {
        let frame = match frames.next(&mut alarm).await {
            Ok(Some(frame)) => frame,
            Ok(None) if is_proven => break End::Proven,
            Ok(None) if doubts.has_no_length => {
                break End::Early(TryError::Final(Reason::BadResponse.into()));
            }
            Ok(None) => break End::Open,
            // An answer that breaks off may be whole; one that goes wrong is not read on.
            Err(failure @ TryError::Final(Rejection { reason: Reason::BadResponse, .. })) => {
                return Err(failure);
            }
            Err(failure) => break End::Early(failure),
        };
        let n = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        chunk.bytes_in.fetch_add(n, Ordering::Relaxed);
        if writer.len() + n > chunk.rules.max_bytes {
            return Err(TryError::Final(Reason::TooLarge.because(Detail::Bytes)));
        }
        start.check(&frame)?;
        writer.push(frame).await.map_err(TryError::Spool)?;
        header.check(&writer)?;
    };
    if !matches!(end, End::Early(_)) {
        start.end()?;
    }
    let received = concluded(writer, end, &chunk.walkers).await?;
    match chunk.rules.blocked.has_hash(&received.sha256) {
        true => Err(blocked(received.body, &chunk.rules, &chunk.walkers).await),
        false => Ok(received),
    }
}

/// The verdict of a whole body that is blocked, which goes with it, from memory or disk. A header that is not
/// wanted is said first, as when there was memory to look at it on the way.
async fn blocked(body: Body, rules: &Rules, walkers: &Seat) -> TryError {
    let file_size = Some(body.len());
    let filters = rules.filters.clone();
    let of_header = move |reader: &mut BodyReader<'_>, len| {
        if let Some(Ok(Some(refused))) = filters.map(|filters| filters.judge(reader, len)) {
            return refused;
        }
        let format = identify(reader, len).ok();
        let size = inspect(reader, len, Level::Fast).map(|info| (info.width, info.height));
        let (width, height) = size.ok().unzip();
        Refused { format, width, height, ..Reason::BlockedHash.into() }
    };
    match examined(body, walkers, of_header).await {
        Ok((_, refused)) => TryError::Unwanted(Refused { file_size, ..refused }),
        Err(failure) => failure,
    }
}

/// Examines a body, a long one when it is its chunk's turn.
async fn examined<T: Send + 'static>(
    body: Body,
    walkers: &Seat,
    examine: impl FnOnce(&mut BodyReader<'_>, u64) -> T + Send + 'static,
) -> Result<(Body, T), TryError> {
    let turn = if body.takes_long() { Some(walkers.turn().await) } else { None };
    let is_on_thread = turn.is_some();
    // The thread owns the turn: a walk goes on, and counts, although its chunk is dropped.
    let walk = body.examine(is_on_thread, move |reader, len| {
        let _turn = turn;
        examine(reader, len)
    });
    walk.await.map_err(TryError::Spool)
}

/// What the end says about the body.
async fn concluded(writer: BodyWriter, end: End, walkers: &Seat) -> Result<Received, TryError> {
    match end {
        End::Early(failure) if writer.is_empty() => return Err(failure),
        End::Proven | End::Open if writer.is_empty() => {
            return Err(TryError::Final(Reason::Empty.into()));
        }
        End::Proven | End::Open | End::Early(_) => {}
    }
    let (body, sha256) = writer.finish().await.map_err(TryError::Spool)?;
    let End::Early(failure) = end else {
        return Ok(Received { body, sha256, is_end_open: matches!(end, End::Open) });
    };
    let walk = |reader: &mut BodyReader<'_>, len| inspect(reader, len, Level::Medium);
    let (body, walked) = examined(body, walkers, walk).await?;
    walked.map(|_| Received { body, sha256, is_end_open: true }).map_err(|_| failure)
}

/// The first bytes of a body that is said to be no picture as it stands: many a server says so of a plain one.
struct Start {
    bytes: Vec<u8>,
    unless_picture: Option<Reason>,
}

impl Start {
    fn new(doubts: Doubts) -> Self {
        Self { bytes: Vec::new(), unless_picture: doubts.unless_picture }
    }

    fn check(&mut self, frame: &[u8]) -> Result<(), TryError> {
        if self.unless_picture.is_none() {
            return Ok(());
        }
        let missing = SIGNATURE_BYTES - self.bytes.len().min(SIGNATURE_BYTES);
        self.bytes.extend(frame.iter().take(missing));
        if self.bytes.len() < SIGNATURE_BYTES { Ok(()) } else { self.end() }
    }

    /// Refuses what does not begin as a picture.
    fn end(&mut self) -> Result<(), TryError> {
        let Some(reason) = self.unless_picture.take() else { return Ok(()) };
        let len = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        match inspect(&mut Cursor::new(&self.bytes), len, Level::Fast) {
            Err(Refusal::NotImage) => Err(TryError::Final(reason.into())),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The header of a picture, which may say before the rest is there that it is not wanted. Of a body for
/// which there was no memory it is judged at the end.
struct Header<'a> {
    filters: Option<&'a Filters>,
    /// Of the whole body, or the most that it may have.
    len: u64,
    /// Bytes that must be there before it is looked at again.
    due: u64,
}

impl<'a> Header<'a> {
    fn new(expected: Option<u64>, rules: &'a Rules) -> Self {
        Self { filters: rules.filters.as_deref(), len: expected.unwrap_or(rules.max_bytes), due: 0 }
    }

    fn check(&mut self, writer: &BodyWriter) -> Result<(), TryError> {
        let Some(filters) = self.filters.filter(|_| writer.len() >= self.due) else {
            return Ok(());
        };
        let Some(mut reader) = writer.reader() else {
            self.filters = None;
            return Ok(());
        };
        // Twice as many bytes: all looks together cost no more than two at the end.
        self.due = writer.len().saturating_mul(2).min(HEADER_BYTES);
        match filters.judge(&mut reader, self.len) {
            Ok(Some(refused)) => return Err(TryError::Unwanted(refused)),
            Err(Refusal::Truncated) if writer.len() < HEADER_BYTES => {}
            Ok(None) | Err(_) => self.filters = None,
        }
        Ok(())
    }
}

/// A header that comes later is judged with the whole body: a walk through more is for a thread of its own.
const HEADER_BYTES: u64 = 1024 * 1024;

/// The frames of a body. Time in which we make it wait, or stand still, counts against nothing.
struct Frames {
    body: client::Body,
    /// How its end is known.
    framing: Detail,
    rate: Rate,
    /// Of the limit for the whole image.
    remaining: Duration,
}

impl Frames {
    /// Until the next frame is late.
    fn left(&self) -> Duration {
        self.remaining.min(self.rate.remaining())
    }

    /// The next bytes; none at the end.
    async fn next(&mut self, alarm: &mut Alarm) -> Result<Option<Bytes>, TryError> {
        loop {
            let since = WATCH.awake();
            let due = since + self.left();
            // The frame is asked first: one that is there is never late.
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => Some(frame),
                () = alarm.rings(due) => None,
            };
            let spent = WATCH.awake().saturating_duration_since(since);
            self.remaining = self.remaining.saturating_sub(spent);
            let bytes = match frame {
                Some(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Some(None) => return Ok(None),
                Some(Some(Err(error))) => {
                    return Err(failure::classify_interrupted(&error, self.framing));
                }
                None if self.remaining.is_zero() => {
                    return Err(TryError::Transient(Reason::Timeout.because(Detail::Total)));
                }
                None => Bytes::new(),
            };
            self.rate.check(u64::try_from(bytes.len()).unwrap_or(u64::MAX), spent)?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

/// The minimum rate over windows of [`RATE_WINDOW`].
struct Rate {
    min_bytes: u64,
    bytes: u64,
    spent: Duration,
}

impl Rate {
    fn new(min_bytes_per_second: u64) -> Self {
        Self {
            min_bytes: min_bytes_per_second.saturating_mul(RATE_WINDOW.as_secs()),
            bytes: 0,
            spent: Duration::ZERO,
        }
    }

    fn remaining(&self) -> Duration {
        RATE_WINDOW.saturating_sub(self.spent)
    }

    fn check(&mut self, bytes: u64, spent: Duration) -> Result<(), TryError> {
        self.bytes += bytes;
        self.spent += spent;
        if self.spent < RATE_WINDOW {
            return Ok(());
        }
        if self.bytes < self.min_bytes {
            // No further try helps against an origin that drips.
            return Err(TryError::Final(Reason::Timeout.because(Detail::Rate)));
        }
        (self.bytes, self.spent) = (0, Duration::ZERO);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
