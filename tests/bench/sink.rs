//! A blob and queue service that throws shards away. A process of its own.
//!
//! It keeps names, versions and metadata, answers conditions as the service does, and stores small
//! blobs. Queues swallow messages and are always empty.

use crate::http::{self, Connection, Head};
use std::{
    collections::HashMap,
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

/// Committed blobs by their path.
#[derive(Debug, Default)]
struct Sink {
    blobs: Mutex<HashMap<String, Blob>>,
    versions: AtomicU64,
    /// Bytes a second for each block; 0: as they come.
    rate: u64,
}

#[derive(Debug, Clone, Default)]
struct Blob {
    version: u64,
    /// Headers of the metadata, as they are sent back.
    metadata: String,
    bytes: Vec<u8>,
}

/// Serves; the addresses of blobs and queues.
pub fn start(rate: u64) -> io::Result<[SocketAddr; 2]> {
    let sink = Arc::new(Sink { rate, ..Sink::default() });
    let blobs = move |head: &Head, to: &mut Connection| sink.blob(head, to).map(|()| true);
    let queues = |head: &Head, to: &mut Connection| queue(head, to).map(|()| true);
    Ok([http::serve(Arc::new(http::plain), blobs)?, http::serve(Arc::new(http::plain), queues)?])
}

const CREATED: &str = "201 Created";
const MISSING: &str = "404 Not Found";
const CONFLICT: &str = "409 Conflict";
const UNCHANGED: &str = "412 Precondition Failed";

impl Sink {
    fn blob(&self, head: &Head, to: &mut Connection) -> io::Result<()> {
        match (head.method.as_str(), head.query("comp")) {
            ("PUT", Some("block")) => self.block(to),
            ("PUT", _) if head.query("restype").is_some() => to.answer(CREATED, "", b""),
            ("PUT", comp) => self.put(head, to, comp == Some("blocklist")),
            (method @ ("GET" | "HEAD"), _) => self.get(head, to, method == "HEAD"),
            _ => to.answer("400 Bad Request", "", b""),
        }
    }

    /// The bytes of a block go nowhere.
    fn block(&self, to: &mut Connection) -> io::Result<()> {
        let (since, mut n) = (Instant::now(), 0);
        to.take_body(|piece| n += piece.len())?;
        if self.rate > 0 {
            let due = Duration::from_secs_f64(n as f64 / self.rate as f64);
            sleep(due.saturating_sub(since.elapsed()));
        }
        to.answer(CREATED, "", b"")
    }

    fn put(&self, head: &Head, to: &mut Connection, is_list: bool) -> io::Result<()> {
        let mut bytes = Vec::new();
        to.take_body(|piece| bytes.extend_from_slice(piece))?;
        if is_list {
            bytes.clear();
        }
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        let mut metadata = String::new();
        for (name, value) in head.headers().filter(|(name, _)| name.starts_with("x-ms-meta-")) {
            write!(metadata, "{name}: {value}\r\n").unwrap();
        }
        let refusal = {
            let mut blobs = self.blobs.lock().unwrap();
            let seen = blobs.get(head.path()).map(|blob| blob.version);
            let refusal = refusal(head, seen);
            if refusal.is_none() {
                let blob = Blob { version, metadata, bytes };
                blobs.insert(head.path().to_owned(), blob);
            }
            refusal
        };
        match refusal {
            Some(status) => to.answer(status, "", b""),
            None => to.answer(CREATED, &etag(version), b""),
        }
    }

    fn get(&self, head: &Head, to: &mut Connection, is_head: bool) -> io::Result<()> {
        let found = self.blobs.lock().unwrap().get(head.path()).cloned();
        let Some(blob) = found else {
            return match is_head {
                true => to.answer_head(MISSING, ""),
                false => to.answer(MISSING, "", b""),
            };
        };
        let mut headers = etag(blob.version) + &blob.metadata;
        if is_head {
            return to.answer_head("200 OK", &headers);
        }
        let len = blob.bytes.len();
        write!(headers, "Content-Range: bytes 0-{}/{len}\r\n", len.saturating_sub(1)).unwrap();
        to.answer("206 Partial Content", &headers, &blob.bytes)
    }
}

fn etag(version: u64) -> String {
    format!("ETag: \"{version}\"\r\n")
}

/// Why a conditional write does not take effect.
fn refusal(head: &Head, seen: Option<u64>) -> Option<&'static str> {
    if head.header("if-none-match") == Some("*") && seen.is_some() {
        return Some(CONFLICT);
    }
    let wanted = head.header("if-match")?;
    let seen = seen.map(|version| format!("\"{version}\""));
    (seen.as_deref() != Some(wanted)).then_some(UNCHANGED)
}

fn queue(head: &Head, to: &mut Connection) -> io::Result<()> {
    const LIST: &[u8] =
        b"<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList></QueueMessagesList>";
    let xml = "Content-Type: application/xml\r\n";
    match head.method.as_str() {
        "PUT" => to.answer(CREATED, "", b""),
        "POST" => to.answer(CREATED, xml, LIST),
        "DELETE" => to.answer("204 No Content", "", b""),
        _ => to.answer("200 OK", &format!("{xml}x-ms-approximate-messages-count: 0\r\n"), LIST),
    }
}
