//! Just enough of HTTP/1.1 and of the Postgres protocol to tell where a call begins and ends.

use std::collections::HashMap;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1 without TLS.
    Http,
    /// Postgres, protocol 3 without TLS, which the proxy refuses in the server's name.
    Postgres,
}

/// One side of a connection, with what was read and not used.
pub(super) struct Side {
    pub(super) stream: TcpStream,
    pub(super) buffer: BytesMut,
}

impl Side {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    /// Reads some more; false at the end. Nothing is lost when it is cancelled.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(64 * 1024);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Waits until the other end is gone.
    pub(super) async fn gone(&mut self) {
        while matches!(self.fill().await, Ok(true)) {}
    }
}

/// A whole request.
pub(super) struct Request {
    pub(super) bytes: Bytes,
    pub(super) what: String,
}

/// What the prepared statements of a Postgres connection are.
pub(super) type Names = HashMap<Vec<u8>, String>;

impl Wire {
    /// Takes the first request out of what a client sent, once it is whole.
    pub(super) fn request(self, buffer: &mut BytesMut, names: &mut Names) -> Option<Request> {
        let (len, what) = match self {
            Self::Http => {
                let head = Head::read(buffer)?;
                let len = head.end_of_message(buffer).filter(|len| *len <= buffer.len())?;
                (len, head.what())
            }
            Self::Postgres => {
                let len = messages(buffer).find(|m| matches!(m.kind, b'S' | b'Q'))?.end;
                (len, what(&buffer[..len], names))
            }
        };
        Some(Request { bytes: buffer.split_to(len).freeze(), what })
    }

    /// Whether these bytes are the whole reply: none while more must come, false when it is and the
    /// connection ends with it.
    pub(super) fn is_reply(self, request: &Request, bytes: &[u8]) -> Option<bool> {
        match self {
            Self::Postgres => messages(bytes).find(|m| m.kind == b'Z').map(|_| true),
            Self::Http => {
                let head = Head::read(bytes)?;
                let status = head.first.split(' ').nth(1).unwrap_or_default();
                if status.starts_with('1') {
                    return self.is_reply(request, &bytes[head.end..]);
                }
                let is_bare =
                    request.bytes.starts_with(b"HEAD ") || matches!(status, "204" | "304");
                if is_bare {
                    return Some(true);
                }
                // Without a length the body ends with the connection.
                let has_length = head.length.is_some() || head.is_chunked;
                (has_length && head.end_of_message(bytes)? <= bytes.len()).then_some(true)
            }
        }
    }
}

struct Head {
    first: String,
    end: usize,
    length: Option<usize>,
    is_chunked: bool,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = find(bytes, b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let first = lines.next()?.to_owned();
        let mut head = Self { first, end, length: None, is_chunked: false };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.trim().parse().ok(),
                "transfer-encoding" => head.is_chunked = value.contains("chunked"),
                _ => {}
            }
        }
        Some(head)
    }

    /// Where the message ends, as far as that can be seen yet.
    fn end_of_message(&self, bytes: &[u8]) -> Option<usize> {
        if !self.is_chunked {
            return Some(self.end + self.length.unwrap_or(0));
        }
        let mut at = self.end;
        loop {
            let line = at + find(bytes.get(at..)?, b"\r\n")?;
            let size = String::from_utf8_lossy(&bytes[at..line]);
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).ok()?;
            if size == 0 {
                // Trailers, if any, then an empty line.
                return Some(line + find(&bytes[line..], b"\r\n\r\n")? + 4);
            }
            at = line + 2 + size + 2;
        }
    }

    /// Method, last part of the path, and `comp`: no job, account or signature.
    fn what(&self) -> String {
        let mut words = self.first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let name = path.rsplit('/').next().unwrap_or_default();
        let comp = query.split('&').find(|pair| pair.starts_with("comp="));
        [Some(method), Some(name), comp].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A Postgres message: kind, body, and where it ends.
struct Message<'a> {
    kind: u8,
    body: &'a [u8],
    end: usize,
}

/// The whole messages that bytes begin with.
fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let kind = *bytes.get(at)?;
        let len = bytes.get(at + 1..at + 5)?;
        let end = at + 1 + number(len);
        let body = bytes.get(at + 5..end)?;
        at = end;
        Some(Message { kind, body, end })
    })
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

/// `prepare claim`, `run claim`, or `sync`: statements of the product begin with their name.
fn what(bytes: &[u8], names: &mut Names) -> String {
    let mut what = "sync".to_owned();
    for message in messages(bytes) {
        let mut texts = message.body.split(|byte| *byte == 0);
        let (first, second) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
        match message.kind {
            b'P' => {
                let name = title(second);
                what = format!("prepare {name}");
                names.insert(first.to_vec(), name);
            }
            b'B' => {
                let name = names.get(second).map_or("a statement", String::as_str);
                what = format!("run {name}");
            }
            b'Q' => what = format!("run {}", title(first)),
            _ => {}
        }
    }
    what
}

fn title(sql: &[u8]) -> String {
    let sql = String::from_utf8_lossy(sql);
    let first = sql.trim_start().lines().next().unwrap_or_default();
    first.strip_prefix("-- ").unwrap_or(first).chars().take(40).collect()
}

const TLS: usize = 80_877_103;
const GSS: usize = 80_877_104;

/// Passes startup and authentication on, until the server is ready; false: a side is gone.
pub(super) async fn start(client: &mut Side, server: &mut Side) -> io::Result<bool> {
    let first = loop {
        let len = client.buffer.get(..4).map(number).filter(|len| client.buffer.len() >= *len);
        match (len, client.buffer.get(4..8).map(number)) {
            (Some(8), Some(TLS | GSS)) => {
                drop(client.buffer.split_to(8));
                client.stream.write_all(b"N").await?;
            }
            (Some(len), Some(_)) => break client.buffer.split_to(len),
            _ if !client.fill().await? => return Ok(false),
            _ => {}
        }
    };
    server.stream.write_all(&first).await?;
    loop {
        let ready = messages(&server.buffer).find(|m| m.kind == b'Z').map(|m| m.end);
        let len = ready.or_else(|| messages(&server.buffer).last().map(|m| m.end)).unwrap_or(0);
        client.stream.write_all(&server.buffer.split_to(len)).await?;
        if ready.is_some() {
            return Ok(true);
        }
        let is_there = tokio::select! {
            is_there = client.fill() => is_there?,
            is_there = server.fill() => is_there?,
        };
        server.stream.write_all(&client.buffer.split()).await?;
        if !is_there {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(wire: Wire, bytes: &[u8]) -> Option<(String, usize)> {
        let mut buffer = BytesMut::from(bytes);
        let request = wire.request(&mut buffer, &mut Names::new())?;
        Some((request.what, request.bytes.len()))
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind], &len[..], body].concat()
    }

    #[test]
    fn a_request_ends_with_its_length() {
        let bytes = b"PUT /a/c/x.tar?comp=block&sig=S HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET";
        let whole = ("PUT x.tar comp=block".to_owned(), bytes.len() - 3);
        assert_eq!(request(Wire::Http, bytes), Some(whole));
        assert_eq!(request(Wire::Http, &bytes[..bytes.len() - 4]), None);
    }

    #[test]
    fn a_chunked_reply_ends_with_its_last_chunk() {
        let get = Request { bytes: Bytes::from_static(b"GET / HTTP/1.1"), what: String::new() };
        let reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n";
        assert_eq!(Wire::Http.is_reply(&get, reply), Some(true));
        assert_eq!(Wire::Http.is_reply(&get, &reply[..reply.len() - 1]), None);
    }

    #[test]
    fn a_reply_to_head_has_no_body() {
        let head = Request { bytes: Bytes::from_static(b"HEAD / HTTP/1.1"), what: String::new() };
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(Wire::Http.is_reply(&head, reply), Some(true));
        let get = Request { bytes: Bytes::from_static(b"GET / HTTP/1.1"), what: String::new() };
        assert_eq!(Wire::Http.is_reply(&get, reply), None);
    }

    #[test]
    fn a_postgres_call_ends_with_sync_or_a_simple_query() {
        let prepare =
            [message(b'P', b"s1\0-- claim\nselect 1\0\0\0"), message(b'D', b"Ss1\0")].concat();
        assert_eq!(request(Wire::Postgres, &prepare), None);
        let whole = [prepare, message(b'S', b"")].concat();
        let expected = Some(("prepare claim".to_owned(), whole.len()));
        assert_eq!(request(Wire::Postgres, &whole), expected);
        let simple = message(b'Q', b"-- patient\nset x = 1\0");
        assert_eq!(request(Wire::Postgres, &simple).unwrap().0, "run patient");
        assert_eq!(request(Wire::Postgres, &message(b'S', b"")).unwrap().0, "sync");
    }
}
