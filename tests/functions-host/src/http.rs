//! HTTP/1.1 to the handler, with the header order and the framing of the real host.
//!
//! Written by hand because no client library sends bodies in 1024-byte chunks and headers in a
//! chosen order. It speaks to one loopback port and does what .NET's client does there: one
//! connection for each concurrent call, reused, closed after 75 s without use.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const IDLE: Duration = Duration::from_secs(75);
const CHUNK: usize = 1024;
const REDIRECTS: usize = 50;
/// No answer of a handler comes near this; it bounds what a broken one can make us hold.
const LARGEST_BODY: u64 = 256 << 20;

/// How a request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`, as the host does in Azure.
    Chunked,
    /// `Content-Length`, as under Core Tools.
    Length,
}

/// An answer, read to its end.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The connections to one handler port.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<(BufReader<TcpStream>, Instant)>>,
}

impl Client {
    /// A client of a loopback port, without a connection yet.
    pub fn new(port: u16) -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), idle: Mutex::default() }
    }

    /// The address as `Host` names it.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Sends a request and follows redirects as .NET does: with GET, except for 307 and 308.
    pub async fn call(&self, head: &Head, body: &[u8]) -> io::Result<Response> {
        let mut head = head.clone();
        let mut body = Some(body);
        for _ in 0..REDIRECTS {
            let response = self.send(&head.encode(body)).await?;
            let Some(location) = redirect(&response) else { return Ok(response) };
            head.path = self.path_of(location)?;
            if !matches!(response.status, 307 | 308) {
                body = None;
            }
        }
        Err(io::Error::other("too many redirects"))
    }

    /// Asks once, on a connection of its own, whether anything answers HTTP.
    pub async fn probe(&self, head: &Head) -> io::Result<Response> {
        let mut stream = self.connect().await?;
        exchange(&mut stream, &head.encode(None)).await.map(|(response, _)| response)
    }

    /// Closes what was not used for 75 s.
    pub fn close_idle(&self) {
        self.idle().retain(|(_, since)| since.elapsed() < IDLE);
    }

    /// Closes every connection not in use: the process behind them is gone.
    pub fn forget(&self) {
        self.idle().clear();
    }

    async fn send(&self, request: &[u8]) -> io::Result<Response> {
        let mut stream = match self.reusable() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let (response, keep) = exchange(&mut stream, request).await?;
        if keep {
            self.idle().push((stream, Instant::now()));
        }
        Ok(response)
    }

    async fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    /// The connection used last that the handler has not closed meanwhile.
    fn reusable(&self) -> Option<BufReader<TcpStream>> {
        let mut idle = self.idle();
        while let Some((stream, since)) = idle.pop() {
            let unread = stream.get_ref().try_read(&mut [0]);
            let quiet = unread.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            if quiet && stream.buffer().is_empty() && since.elapsed() < IDLE {
                return Some(stream);
            }
        }
        None
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(BufReader<TcpStream>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The real host follows a redirect anywhere; this follows it to the handler itself.
    fn path_of(&self, location: &str) -> io::Result<String> {
        let own = [
            format!("http://{}", self.address),
            format!("http://localhost:{}", self.address.port()),
        ];
        let path = own.iter().find_map(|own| location.strip_prefix(own)).unwrap_or(location);
        match path {
            "" => Ok("/".into()),
            path if path.starts_with('/') => Ok(path.into()),
            _ => Err(io::Error::other(format!(
                "the stand-in does not follow a redirect to {location}"
            ))),
        }
    }
}

/// A request without its body.
#[derive(Debug, Clone)]
pub struct Head {
    pub path: String,
    /// Everything before the body's own headers, in order, `Host` first.
    pub headers: Vec<(&'static str, String)>,
    pub traceparent: Option<String>,
    pub framing: Framing,
}

impl Head {
    /// The request as it goes over the wire: POST with a body, GET without.
    pub fn encode(&self, body: Option<&[u8]>) -> Vec<u8> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut text = format!("{method} {} HTTP/1.1\r\n", self.path);
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
        for (name, value) in &self.headers {
            line(name, value);
        }
        let chunked = body.is_some() && self.framing == Framing::Chunked;
        if chunked {
            line("Transfer-Encoding", "chunked");
        }
        if let Some(traceparent) = &self.traceparent {
            line("traceparent", traceparent);
        }
        if let Some(body) = body {
            line("Content-Type", "application/json; charset=utf-8");
            if !chunked {
                line("Content-Length", &body.len().to_string());
            }
        }
        let mut request = text.into_bytes();
        request.extend_from_slice(b"\r\n");
        match body {
            Some(body) if chunked => encode_chunks(body, &mut request),
            Some(body) => request.extend_from_slice(body),
            None => {}
        }
        request
    }
}

fn encode_chunks(body: &[u8], request: &mut Vec<u8>) {
    for chunk in body.chunks(CHUNK) {
        request.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
}

fn redirect(response: &Response) -> Option<&str> {
    match response.status {
        300..=303 | 307 | 308 => response.header("Location"),
        _ => None,
    }
}

/// One request and its answer; true when the connection can take another.
async fn exchange(
    stream: &mut BufReader<TcpStream>,
    request: &[u8],
) -> io::Result<(Response, bool)> {
    stream.get_mut().write_all(request).await?;
    let mut response = Response::default();
    let mut newer = true;
    // Answers below 200 only announce another.
    while response.status < 200 {
        newer = read_head(stream, &mut response).await?;
    }
    let to_the_end = read_body(stream, &mut response).await?;
    let closes =
        response.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((response, newer && !closes && !to_the_end))
}

/// Reads status line and headers; true for HTTP/1.1.
async fn read_head(stream: &mut BufReader<TcpStream>, response: &mut Response) -> io::Result<bool> {
    let status_line = read_line(stream).await?;
    let mut words = status_line.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    if !version.starts_with("HTTP/1.") {
        return Err(io::Error::other("the answer is not HTTP/1.1"));
    }
    let status = words.next().and_then(|word| word.parse().ok());
    response.status = status.ok_or_else(|| io::Error::other("the answer has no status"))?;
    response.reason = words.next().unwrap_or_default().into();
    response.headers.clear();
    loop {
        let line = read_line(stream).await?;
        if line.is_empty() {
            return Ok(version == "HTTP/1.1");
        }
        if let Some((name, value)) = line.split_once(':') {
            response.headers.push((name.trim().into(), value.trim().into()));
        }
    }
}

/// Reads the body; true when its end was the end of the connection.
async fn read_body(stream: &mut BufReader<TcpStream>, response: &mut Response) -> io::Result<bool> {
    if matches!(response.status, 204 | 304) {
        return Ok(false);
    }
    if response
        .header("Transfer-Encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        read_chunks(stream, &mut response.body).await?;
        return Ok(false);
    }
    let length = response.header("Content-Length").map(|value| value.parse::<u64>());
    match length.transpose().map_err(io::Error::other)? {
        Some(length) => read_part(stream, length, &mut response.body).await.map(|()| false),
        None => stream.take(LARGEST_BODY).read_to_end(&mut response.body).await.map(|_| true),
    }
}

async fn read_chunks(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(stream).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        if size == 0 {
            while !read_line(stream).await?.is_empty() {}
            return Ok(());
        }
        read_part(stream, size, body).await?;
        read_line(stream).await?;
    }
}

async fn read_part(
    stream: &mut BufReader<TcpStream>,
    length: u64,
    body: &mut Vec<u8>,
) -> io::Result<()> {
    if length + body.len() as u64 > LARGEST_BODY {
        return Err(io::Error::other("the answer is too large"));
    }
    let read = stream.take(length).read_to_end(body).await?;
    if (read as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(1 << 16).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = String::from_utf8_lossy(&line);
    Ok(text.trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(framing: Framing) -> Head {
        let headers = vec![("Host", "127.0.0.1:1".to_owned()), ("User-Agent", "x".to_owned())];
        Head { path: "/f".into(), headers, traceparent: Some("00-1".into()), framing }
    }

    #[test]
    fn bodies_go_out_in_chunks_of_1024() {
        let mut request = Vec::new();
        encode_chunks(&vec![b'x'; 98_741], &mut request);
        let text = String::from_utf8(request).unwrap();
        let sizes: Vec<_> = text.split("\r\n").filter(|line| !line.starts_with('x')).collect();
        assert_eq!(sizes[..96], ["400"; 96]);
        assert_eq!(sizes[96..], ["1B5", "0", "", ""]);
    }

    #[test]
    fn headers_keep_the_order_of_the_host() {
        let chunked = String::from_utf8(head(Framing::Chunked).encode(Some(b"{}"))).unwrap();
        assert_eq!(
            chunked,
            "POST /f HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUser-Agent: x\r\nTransfer-Encoding: chunked\r\n\
             traceparent: 00-1\r\nContent-Type: application/json; charset=utf-8\r\n\r\n\
             2\r\n{}\r\n0\r\n\r\n"
        );
        let length = String::from_utf8(head(Framing::Length).encode(Some(b"{}"))).unwrap();
        assert!(length.ends_with("charset=utf-8\r\nContent-Length: 2\r\n\r\n{}"), "{length}");
    }
}
