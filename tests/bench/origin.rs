//! The origin: pictures over HTTP and HTTPS, at once, slowly or rudely. A process of its own.

use crate::{
    http::{self, Below, Connection, Duplex, Head},
    photo::{self, BYTES_PER_SECOND, FIRST_BYTE_SECONDS, Pictures, Way},
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

/// Ports of each scheme, so that a limit for each host can be more than one host wide.
pub const HOSTS: usize = 10;
/// What is sent at once when the rate is limited.
const PIECE_BYTES: usize = 32 * 1024;

/// Serves; the addresses over HTTP, then those over HTTPS.
pub fn start() -> io::Result<Vec<SocketAddr>> {
    let pictures = Arc::new(Pictures::open());
    let schemes: [Arc<Below>; 2] = [Arc::new(http::plain), tls()];
    let mut addresses = Vec::new();
    for below in schemes {
        for _ in 0..HOSTS {
            let pictures = Arc::clone(&pictures);
            let answer = move |head: &Head, to: &mut Connection| answer(&pictures, head, to);
            addresses.push(http::serve(Arc::clone(&below), answer)?);
        }
    }
    Ok(addresses)
}

/// Serves over HTTP at every address of the machine.
pub fn start_on_port_80() -> io::Result<()> {
    let pictures = Pictures::open();
    let answer = move |head: &Head, to: &mut Connection| answer(&pictures, head, to);
    http::serve_at((Ipv4Addr::UNSPECIFIED, 80), Arc::new(http::plain), answer).map(drop)
}

/// The certificate of the fixtures; clients trust its authority by `SSL_CERT_FILE`.
fn tls() -> Arc<Below> {
    let chain = vec![CertificateDer::from_pem_file(certificate("good.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(certificate("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let config = builder.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    Arc::new(move |stream: TcpStream| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, stream)) as Box<dyn Duplex>)
    })
}

pub fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn answer(pictures: &Pictures, head: &Head, to: &mut Connection) -> io::Result<bool> {
    let Some((way, mean_bytes, n)) = photo::parse(head.path()) else {
        to.answer("404 Not Found", "", b"")?;
        return Ok(true);
    };
    match (way, n % 100) {
        (Way::Rude, 33) => drip(pictures, to, n),
        (Way::Rude, 66) => endless(pictures, to),
        (Way::Rude, 99) => {
            to.answer("503 Service Unavailable", "", b"")?;
            Ok(true)
        }
        (Way::Fast, _) => whole(pictures, to, mean_bytes, n, false),
        (Way::Slow | Way::Rude, _) => whole(pictures, to, mean_bytes, n, true),
    }
}

fn whole(
    pictures: &Pictures,
    to: &mut Connection,
    mean_bytes: u64,
    n: u64,
    is_slow: bool,
) -> io::Result<bool> {
    let start = pictures.start(n);
    let rest = pictures.rest(mean_bytes, n);
    let length = start.len() + rest.iter().map(|part| part.len()).sum::<usize>();
    let mut pace = Pace::new(is_slow);
    to.send(&[head(&format!("Content-Length: {length}\r\n")).as_bytes(), &start].concat())?;
    for part in rest {
        pace.send(to, part)?;
    }
    Ok(true)
}

fn drip(pictures: &Pictures, to: &mut Connection, n: u64) -> io::Result<bool> {
    to.send(head("Content-Length: 100000\r\n").as_bytes())?;
    for byte in pictures.start(n).chunks(1).chain(pictures.endless().chunks(1)) {
        to.send(byte)?;
        sleep(Duration::from_secs(1));
    }
    Ok(false)
}

fn endless(pictures: &Pictures, to: &mut Connection) -> io::Result<bool> {
    let mut pace = Pace::new(true);
    to.send(head("Connection: close\r\n").as_bytes())?;
    to.send(&pictures.start(0))?;
    loop {
        pace.send(to, pictures.endless())?;
    }
}

fn head(header: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n{header}\r\n")
}

/// Holds an answer to its rate.
struct Pace {
    since: Option<Instant>,
    sent: usize,
}

impl Pace {
    fn new(is_slow: bool) -> Self {
        let since = is_slow.then(|| {
            sleep(Duration::from_secs_f64(FIRST_BYTE_SECONDS));
            Instant::now()
        });
        Self { since, sent: 0 }
    }

    fn send(&mut self, to: &mut Connection, bytes: &[u8]) -> io::Result<()> {
        let Some(since) = self.since else { return to.send(bytes) };
        for piece in bytes.chunks(PIECE_BYTES) {
            self.sent += piece.len();
            let due = Duration::from_secs_f64(self.sent as f64 / BYTES_PER_SECOND);
            sleep((since + due).saturating_duration_since(Instant::now()));
            to.send(piece)?;
        }
        Ok(())
    }
}
