//! A server that says byte for byte what a test wants, also against the rules of HTTP and TLS.

use crate::checkout::root;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What the server does with a request.
pub enum Act {
    /// Sends it and waits for the next request.
    Send(Vec<u8>),
    /// Sends it and closes the connection.
    Close(Vec<u8>),
    /// Sends it and resets the connection.
    Reset(Vec<u8>),
    /// Sends it and nothing more.
    Hang(Vec<u8>),
    /// Sends the first, then the second over and over.
    Endless(Vec<u8>, Vec<u8>),
}

/// A path and how often it was asked for before.
type Answer = Box<dyn Fn(&str, u64) -> Act + Send + Sync>;

/// What lies under HTTP.
enum Below {
    Nothing,
    Tls(Arc<ServerConfig>),
    /// Connections are taken, and never a byte is sent.
    Silence,
}

struct Shared {
    answer: Answer,
    below: Below,
    connections: AtomicU64,
    heads: Mutex<Vec<String>>,
    requests: Mutex<HashMap<String, u64>>,
    stopped: AtomicBool,
}

/// A server on a free port of loopback.
pub struct Raw {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Raw {
    pub fn start(answer: impl Fn(&str, u64) -> Act + Send + Sync + 'static) -> Self {
        Self::listen(Below::Nothing, Box::new(answer))
    }

    /// A server with a certificate of the fixtures.
    pub fn tls(
        certificate: &str,
        answer: impl Fn(&str, u64) -> Act + Send + Sync + 'static,
    ) -> Self {
        let chain = vec![CertificateDer::from_pem_file(tls_fixture(certificate)).unwrap()];
        let key = PrivateKeyDer::from_pem_file(tls_fixture("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::listen(Below::Tls(Arc::new(config)), Box::new(answer))
    }

    /// A server that takes connections and never says a word.
    pub fn silent() -> Self {
        Self::listen(Below::Silence, Box::new(|_, _| Act::Hang(Vec::new())))
    }

    fn listen(below: Below, answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answer,
            below,
            connections: AtomicU64::new(0),
            heads: Mutex::default(),
            requests: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&accepting);
                // It ends with the connection, which ends with the client at the latest.
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = if matches!(self.shared.below, Below::Nothing) { "http" } else { "https" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// How often a path (without its query) has been asked for.
    pub fn requests(&self, path: &str) -> u64 {
        self.shared.requests.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The head of every request, as it came.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// A certificate or key of the fixtures.
pub fn tls_fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/tls").join(name)
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match &shared.below {
        Below::Nothing => talk(stream, shared),
        Below::Tls(config) => {
            let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            talk(StreamOwned::new(connection, stream), shared)
        }
        Below::Silence => wait_for_end(stream),
    }
}

fn talk(mut stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    loop {
        let act = shared.act(read_head(&mut stream)?);
        if let Act::Reset(bytes) = act {
            stream.write_all(&bytes)?;
            thread::sleep(Duration::from_millis(50));
            // The last byte of the request is unread, so that the kernel resets the connection.
            return Ok(());
        }
        stream.read_exact(&mut [0])?;
        match act {
            Act::Send(bytes) => stream.write_all(&bytes)?,
            Act::Close(bytes) | Act::Reset(bytes) => {
                stream.write_all(&bytes)?;
                return stream.flush();
            }
            Act::Hang(bytes) => {
                stream.write_all(&bytes)?;
                stream.flush()?;
                return wait_for_end(stream);
            }
            Act::Endless(start, filler) => {
                stream.write_all(&start)?;
                loop {
                    stream.write_all(&filler)?;
                    // Without end, not without measure: the machine has other things to do.
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
        stream.flush()?;
    }
}

impl Shared {
    fn act(&self, head: String) -> Act {
        let target = head.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        self.heads.lock().unwrap().push(head);
        let earlier = {
            let mut requests = self.requests.lock().unwrap();
            let count = requests.entry(path.clone()).or_default();
            *count += 1;
            *count - 1
        };
        (self.answer)(&path, earlier)
    }
}

/// Reads a request up to the last byte of its head, which stays unread.
fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn wait_for_end(mut stream: impl Read) -> io::Result<()> {
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

/// An answer with its length.
pub fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    head(status, &format!("Content-Length: {length}\r\n{headers}"), body)
}

/// An answer with exactly these headers, each ending with a line end.
pub fn head(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} So\r\n{headers}\r\n").into_bytes();
    bytes.extend(body);
    bytes
}
