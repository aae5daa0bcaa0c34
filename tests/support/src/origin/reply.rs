//! What the origin answers, and how slowly.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

/// What is sent at once when nothing limits the rate.
const PIECE: u64 = 64 * 1024;

/// What has been asked for, and how answers are slowed down.
#[derive(Debug, Default)]
pub(super) struct Counters {
    paths: Mutex<HashMap<String, u64>>,
    total: AtomicU64,
    open: AtomicUsize,
    peak: AtomicUsize,
    pub(super) bytes: AtomicU64,
    pub(super) delay_ms: AtomicU64,
    /// Bytes a second for each answer; 0: no limit.
    pub(super) rate: AtomicU64,
}

impl Counters {
    /// Counts a request and returns how often its path has been asked for before.
    pub(super) fn arrive(self: &Arc<Self>, path: &str) -> (u64, Open) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(open, Ordering::Relaxed);
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let count = paths.entry(path.to_owned()).or_default();
        *count += 1;
        (*count - 1, Open(Arc::clone(self)))
    }

    pub(super) fn requests(&self, path: &str) -> u64 {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied().unwrap_or(0)
    }

    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// A request that is being answered; it ends with the last byte of the answer.
#[derive(Debug)]
pub(super) struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer: `start`, then `filler` over and over until `length` bytes are sent.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) start: Bytes,
    pub(super) filler: Bytes,
    /// How many bytes are sent.
    pub(super) length: u64,
    /// What Content-Length says; none: the answer is chunked.
    pub(super) announced: Option<u64>,
    /// Bytes a second; none: what the origin is set to.
    pub(super) rate: Option<u64>,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let start = body.into();
        let length = start.len() as u64;
        let headers = vec![("content-type", content_type.to_owned())];
        Self {
            status,
            headers,
            start,
            filler: Bytes::new(),
            length,
            announced: Some(length),
            rate: None,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    /// Goes on with a filler until so many bytes are sent.
    pub(super) fn filled(mut self, filler: impl Into<Bytes>, length: u64) -> Self {
        self.filler = filler.into();
        self.length = length;
        self.announced = Some(length);
        self
    }

    pub(super) fn send(self, open: Open) -> Response {
        let mut response = Response::builder()
            .status(StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        if let Some(length) = self.announced {
            response = response.header(header::CONTENT_LENGTH, length);
        }
        let body = Body::from_stream(stream::unfold((self, open, 0), next_piece));
        response.body(body).expect("names and values of headers are plain")
    }

    /// At most `limit` bytes from `sent` on.
    fn piece(&self, sent: u64, limit: u64) -> Bytes {
        let left = limit.min(self.length - sent);
        let start = self.start.len() as u64;
        let (source, at) = match sent < start {
            true => (&self.start, sent),
            false => (&self.filler, (sent - start) % (self.filler.len() as u64).max(1)),
        };
        let end = (at + left).min(source.len() as u64);
        source.slice(usize::try_from(at).unwrap_or(0)..usize::try_from(end).unwrap_or(0))
    }
}

type Progress = (Reply, Open, u64);

async fn next_piece((reply, open, sent): Progress) -> Option<(std::io::Result<Bytes>, Progress)> {
    if sent >= reply.length {
        if reply.announced.is_some_and(|announced| announced > sent) {
            // The server breaks off without sending what it still holds: let it send that first.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        return None;
    }
    let rate = reply.rate.unwrap_or_else(|| open.0.rate.load(Ordering::Relaxed));
    // Ten pieces a second, or one byte at a time.
    let limit = if rate == 0 { PIECE } else { (rate / 10).max(1) };
    let piece = reply.piece(sent, limit);
    if rate > 0 {
        tokio::time::sleep(Duration::from_secs_f64(piece.len() as f64 / rate as f64)).await;
    }
    open.0.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
    let sent = sent + piece.len() as u64;
    Some((Ok(piece), (reply, open, sent)))
}
