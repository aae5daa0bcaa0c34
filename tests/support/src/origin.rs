//! A web server with pictures on loopback that misbehaves on request.
//!
//! | path | answer |
//! | --- | --- |
//! | `/img/{n}` | picture number `n`; no two numbers have the same bytes; `?kb=` pads a JPEG |
//! | `/same/{k}`, `/same/{k}/{any}` | the same bytes for the same `k` |
//! | `/noai/{n}`, `/wrongtype/{n}?type=` | a picture with `X-Robots-Tag: noai`, with another Content-Type |
//! | `/404`, `/500`, `/status/{code}` | that status, always |
//! | `/flaky/{n}?times=`, `/429`, `/retry-after/{value}?times=` | 500 twice, 429 once, 503 once for each path, then a picture |
//! | `/html`, `/empty`, `/cut/{n}`, `/short/{n}`, `/gzip/{n}` | no picture, nothing, half of one, half of what is announced, a compressed one |
//! | `/redirect/{n}`, `/loop`, `/to-private` | 302 to `/img/{n}`, to itself, to a link-local address |
//! | `/to/{n}?url=` | 302 to that URL, in which `%26` is `&` |
//! | `/slow/{n}?ms=`, `/drip/{n}`, `/hang` | late, one byte a second, never |
//! | `/endless`, `/huge`, `/big/{n}?mb=&kb=&cl=0` | without end, 20 GB announced, a bitmap of so many MB or KB (with `cl=0` without its length) |
//!
//! The same number is the same picture, bytes included, under every path that serves one whole, except
//! `/same`. Each takes a further segment (`/404/7`), so that a list can have many different URLs of a kind.

mod path;
pub mod picture;
mod reply;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::serve::ListenerExt;
use tokio_util::sync::CancellationToken;

use path::{Answer, Request};
use reply::Counters;

/// How an origin behaves from the start.
#[derive(Debug, Clone, Default)]
pub struct OriginOptions {
    /// The wait before each answer.
    pub delay: Duration,
    /// Bytes a second for each connection; 0: no limit.
    pub rate: u64,
    /// The least and the most bytes of a JPEG, reached by padding; 0: as it is.
    pub padding: (usize, usize),
}

/// A running origin; dropping it stops it. It has a thread of its own, so that a busy test does not slow it.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone)]
struct Shared {
    counters: Arc<Counters>,
    padding: (usize, usize),
}

impl Origin {
    /// Starts an origin on a free port of 127.0.0.1.
    pub fn start(options: OriginOptions) -> Result<Self> {
        let listener =
            std::net::TcpListener::bind(("127.0.0.1", 0)).context("opening the origin's port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let shared = Shared { counters: Arc::clone(&counters), padding: options.padding };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("origin".into()).spawn(move || {
            runtime.block_on(async { tokio::select! { () = serve(listener, shared) => {}, () = stopped.cancelled() => {} } });
            runtime.shutdown_background();
        })?;
        let origin = Self { address, counters, stop, thread: Some(thread) };
        origin.set_delay(options.delay);
        origin.set_rate(options.rate);
        Ok(origin)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Changes the wait before each answer.
    pub fn set_delay(&self, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.counters.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// Changes the bytes a second of each connection; 0: no limit.
    pub fn set_rate(&self, rate: u64) {
        self.counters.rate.store(rate, Ordering::Relaxed);
    }

    /// How often a path (without its query) has been asked for.
    pub fn requests(&self, path: &str) -> u64 {
        self.counters.requests(path)
    }

    /// How many requests have arrived.
    pub fn total(&self) -> u64 {
        self.counters.total()
    }

    /// The most requests that were being answered at once.
    pub fn peak(&self) -> usize {
        self.counters.peak()
    }

    /// How many bytes of bodies have been sent.
    pub fn bytes_sent(&self) -> u64 {
        self.counters.bytes.load(Ordering::Relaxed)
    }

    /// URLs for a demonstration: mostly good pictures, some repeated, a few of each thing that goes wrong
    /// quickly. The first `n` of an endless list.
    pub fn urls(&self, n: u64) -> Vec<String> {
        (0..n).map(|i| self.url(&nth_path(i))).collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn nth_path(i: u64) -> String {
    // What takes retries is rarer than what fails at once.
    let hundred = i / 100 % 3;
    match i % 100 {
        // Nowhere near each other in chunks that run side by side: one URL is refused, not all.
        _ if i % 271 == 67 => format!("/429/{i}"),
        3 => format!("/404/{i}"),
        11 => format!("/cut/{i}"),
        19 => format!("/html/{i}"),
        23 | 61 | 87 => format!("/same/{}/{i}", i % 7),
        31 => format!("/redirect/{}", i + 1_000_000),
        37 if hundred == 0 => format!("/flaky/{i}"),
        43 => format!("/noai/{i}"),
        53 => format!("/wrongtype/{i}"),
        59 => format!("/empty/{i}"),
        73 if hundred == 2 => format!("/short/{i}"),
        79 => format!("/to-private/{i}"),
        83 => format!("/loop/{i}"),
        _ => format!("/img/{i}"),
    }
}

async fn serve(listener: std::net::TcpListener, shared: Shared) {
    let app = Router::new().fallback(answer).with_state(shared);
    let listener =
        tokio::net::TcpListener::from_std(listener).expect("the listener is not blocking");
    // Without it small answers wait for the acknowledgement of the piece before.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await.expect("serving never ends by itself");
}

async fn answer(State(shared): State<Shared>, uri: Uri) -> Response {
    let (earlier, open) = shared.counters.arrive(uri.path());
    let request =
        Request::new(uri.path(), uri.query().unwrap_or_default(), earlier, shared.padding);
    let delay = shared.counters.delay_ms.load(Ordering::Relaxed);
    let (wait, reply) = match request.answer() {
        Answer::Now(reply) => (delay, reply),
        Answer::After(wait, reply) => (delay + wait, reply),
        Answer::Never => std::future::pending().await,
    };
    if wait > 0 {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    reply.send(open)
}
