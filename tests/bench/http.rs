//! Just enough of HTTP/1.1 for servers that cost little: blocking, a thread a connection.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// What is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The head of a request.
#[derive(Debug)]
pub struct Head {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn body_len(&self) -> u64 {
        self.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Both directions of a connection, plain or under TLS.
pub trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// A connection of a client.
pub struct Connection {
    stream: BufReader<Box<dyn Duplex>>,
    /// Bytes of the body that nobody has read yet.
    body_left: u64,
}

impl Connection {
    pub fn new(stream: Box<dyn Duplex>) -> Self {
        Self { stream: BufReader::with_capacity(BUFFER_BYTES, stream), body_left: 0 }
    }

    /// The next request; none at the end of the connection.
    fn next(&mut self) -> io::Result<Option<Head>> {
        self.take_body(|_| ())?;
        let Some(first) = self.line()? else { return Ok(None) };
        let mut words = first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        while let Some(line) = self.line()?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let head = Head { method, target, headers };
        self.body_left = head.body_len();
        Ok(Some(head))
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let n = self.stream.read_line(&mut line)?;
        Ok((n > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Hands the request's body over, piece by piece.
    pub fn take_body(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        while self.body_left > 0 {
            let piece = self.stream.fill_buf()?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let n = piece.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
            take(&piece[..n]);
            self.stream.consume(n);
            self.body_left -= n as u64;
        }
        Ok(())
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// An answer with its whole body; `headers` end each with a line break.
    pub fn answer(&mut self, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.send(&[head.as_bytes(), body].concat())
    }

    /// The head of an answer to HEAD.
    pub fn answer_head(&mut self, status: &str, headers: &str) -> io::Result<()> {
        self.send(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes())
    }
}

/// Wraps what was accepted.
pub type Below = dyn Fn(TcpStream) -> io::Result<Box<dyn Duplex>> + Send + Sync;

/// HTTP on the bare connection.
pub fn plain(stream: TcpStream) -> io::Result<Box<dyn Duplex>> {
    Ok(Box::new(stream))
}

/// Serves on a free port of loopback until the process ends; false ends a connection.
pub fn serve(
    below: Arc<Below>,
    answer: impl Fn(&Head, &mut Connection) -> io::Result<bool> + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    serve_at((Ipv4Addr::LOCALHOST, 0), below, answer)
}

/// Serves at this address.
pub fn serve_at(
    address: (Ipv4Addr, u16),
    below: Arc<Below>,
    answer: impl Fn(&Head, &mut Connection) -> io::Result<bool> + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (below, answer) = (Arc::clone(&below), Arc::clone(&answer));
            // A connection that breaks is over: its client sees it too.
            thread::spawn(move || drop(converse(stream, &*below, &*answer)));
        }
    });
    Ok(address)
}

fn converse(
    stream: TcpStream,
    below: &Below,
    answer: &dyn Fn(&Head, &mut Connection) -> io::Result<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::new(below(stream)?);
    while let Some(head) = connection.next()? {
        if !answer(&head, &mut connection)? {
            break;
        }
    }
    Ok(())
}
