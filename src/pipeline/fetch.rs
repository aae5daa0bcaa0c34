//! URL to bounded body: redirects in our own loop, limits of time, size and rate, retries.

mod answer;
mod host;

pub use host::{ChunkHosts, Hosts};

use super::address::{Guard, Resolver};
use crate::{
    chunk::Reason,
    settings::{DownloadSettings, Settings},
    spool::{Allowance, Body, BodyWriter},
};
use reqwest::{Response, StatusCode, header};
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};
use url::Url;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image is bad: data for the report.
    #[error("rejected: {0}")]
    Rejected(Reason),
    /// The chunk cannot go on: its temporary files cannot be written.
    #[error("the spool failed")]
    Spool(#[source] io::Error),
}

/// A whole body.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes.
    pub body: Body,
    /// Of its bytes.
    pub sha256: Vec<u8>,
}

/// Downloads for the whole process: one client, one set of gates.
#[derive(Debug)]
pub struct Fetcher {
    client: reqwest::Client,
    guard: Guard,
    hosts: Hosts,
    settings: DownloadSettings,
}

/// What the downloads of one chunk share.
#[derive(Debug)]
pub struct ChunkFetch {
    allowance: Allowance,
    max_bytes: u64,
    /// No retry waits beyond it.
    deadline: Instant,
    downloads: Semaphore,
    hosts: ChunkHosts,
    answered: AtomicBool,
    bytes_in: AtomicU64,
}

impl ChunkFetch {
    /// Shared state of a chunk whose retries end at `deadline`.
    pub fn new(
        allowance: Allowance,
        max_bytes: u64,
        deadline: Instant,
        settings: &DownloadSettings,
    ) -> Self {
        Self {
            allowance,
            max_bytes,
            deadline,
            downloads: Semaphore::new(settings.concurrency),
            hosts: ChunkHosts::default(),
            answered: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
        }
    }

    /// True when any URL got any HTTP answer.
    pub fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Body bytes received.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }
}

/// How one try failed.
#[derive(Debug)]
enum TryError {
    /// No further try helps.
    Final(Reason),
    /// Another try may help.
    Transient(Reason),
    /// The host asks for a wait, of its own choice or ours.
    Throttled(Reason, Option<Duration>),
    Spool(io::Error),
}

impl TryError {
    /// How long the host wants to be left alone.
    fn asked(&self) -> Option<Duration> {
        match self {
            Self::Throttled(_, asked) => *asked,
            Self::Final(_) | Self::Transient(_) | Self::Spool(_) => None,
        }
    }
}

/// One hop's end.
enum Hop {
    Body(Fetched),
    Redirect(Url),
}

/// Tries for each URL, the first included.
const MAX_TRIES: u32 = 4;
const MAX_REDIRECTS: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Over which the minimum rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);

impl Fetcher {
    /// Builds the client, once for each process.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new(settings: &Settings) -> reqwest::Result<Self> {
        let accept = "image/jpeg,image/png,image/gif,image/webp,image/bmp,image/tiff,*/*;q=0.5";
        let mut headers = header::HeaderMap::new();
        headers.insert(header::ACCEPT, header::HeaderValue::from_static(accept));
        let identity = header::HeaderValue::from_static("identity");
        headers.insert(header::ACCEPT_ENCODING, identity);
        let client = reqwest::Client::builder()
            .user_agent(&settings.download.user_agent)
            .default_headers(headers)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Resolver::default())
            // Streams of one HTTP/2 connection share a window: one body that waits for room would
            // starve the others, and what the window holds is in no ledger.
            .http1_only()
            .connect_timeout(settings.download.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self {
            client,
            guard: Guard::new(settings),
            hosts: Hosts::new(settings.download.per_host_concurrency),
            settings: settings.download.clone(),
        })
    }

    /// Fetches a URL with its redirects and retries.
    ///
    /// # Errors
    ///
    /// A rejection of the image, or a fault of the spool.
    ///
    /// # Cancel safety
    ///
    /// Everything it holds is freed when it is dropped.
    pub async fn fetch(&self, text: &str, chunk: &ChunkFetch) -> Result<Fetched, Error> {
        let url = self.guard.parse(text).map_err(Error::Rejected)?;
        let mut tries = 1;
        loop {
            match self.one_try(url.clone(), chunk).await {
                Ok(fetched) => return Ok(fetched),
                Err(TryError::Spool(error)) => return Err(Error::Spool(error)),
                Err(TryError::Final(reason)) => return Err(Error::Rejected(reason)),
                Err(TryError::Transient(reason) | TryError::Throttled(reason, _))
                    if tries == MAX_TRIES =>
                {
                    return Err(Error::Rejected(reason));
                }
                Err(failure @ (TryError::Transient(reason) | TryError::Throttled(reason, _))) => {
                    let asked = failure.asked();
                    let pause = asked.unwrap_or(FIRST_PAUSE * 2_u32.pow(tries - 1));
                    if chunk.deadline.saturating_duration_since(Instant::now()) <= pause {
                        let asked_too_long = asked.is_some();
                        let reason = if asked_too_long { Reason::RateLimited } else { reason };
                        return Err(Error::Rejected(reason));
                    }
                    tokio::time::sleep(pause).await;
                    tries += 1;
                }
            }
        }
    }

    async fn one_try(&self, mut url: Url, chunk: &ChunkFetch) -> Result<Fetched, TryError> {
        let mut remaining = self.settings.total_timeout;
        for _ in 0..=MAX_REDIRECTS {
            // Host first, then download: whoever holds a download never waits for a host.
            let host = host::key(&url);
            let place = self.hosts.enter(&host, chunk.deadline).await.map_err(TryError::Final)?;
            let _download = enter(&chunk.downloads).await?;
            if chunk.hosts.is_unreachable(&host) {
                return Err(TryError::Final(Reason::HostUnreachable));
            }
            // Boxed only now, so that a URL that waits costs little.
            match Box::pin(self.hop(&url, &host, chunk, &mut remaining)).await {
                Ok(hop) => {
                    place.answered();
                    match hop {
                        Hop::Body(fetched) => return Ok(fetched),
                        Hop::Redirect(next) => url = next,
                    }
                }
                Err(failure) => {
                    if let TryError::Throttled(_, asked) = failure {
                        place.throttled(asked);
                    }
                    return Err(failure);
                }
            }
        }
        Err(TryError::Final(Reason::TooManyRedirects))
    }

    async fn hop(
        &self,
        url: &Url,
        host: &str,
        chunk: &ChunkFetch,
        remaining: &mut Duration,
    ) -> Result<Hop, TryError> {
        let limit = self.settings.first_byte_timeout;
        let since = Instant::now();
        let answer = timeout(limit.min(*remaining), self.client.get(url.clone()).send()).await;
        *remaining = remaining.saturating_sub(since.elapsed());
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let (failure, never_connected) = answer::classify_request(&error);
                if never_connected {
                    chunk.hosts.failed(host);
                }
                return Err(failure);
            }
            // A host that never answered costs one timeout: the next try would wait as long again.
            Err(_) if chunk.hosts.failed(host) => return Err(TryError::Final(Reason::Timeout)),
            Err(_) => return Err(TryError::Transient(Reason::Timeout)),
        };
        chunk.answered.store(true, Ordering::Relaxed);
        chunk.hosts.answered(host);
        let next = answer::redirect(url, &response)?;
        if let Some(next) = next {
            self.guard.check(&next).map_err(TryError::Final)?;
            return Ok(Hop::Redirect(next));
        }
        answer::check_head(&response, &self.settings, chunk.max_bytes)?;
        self.body(response, chunk, *remaining).await.map(Hop::Body)
    }

    /// Reads the body frame by frame. Time in which we make it wait counts against nothing.
    async fn body(
        &self,
        mut response: Response,
        chunk: &ChunkFetch,
        mut remaining: Duration,
    ) -> Result<Fetched, TryError> {
        let expected = response.content_length();
        let mut writer = BodyWriter::new(&chunk.allowance, expected);
        let mut rate = Rate::new(self.settings.min_rate_bytes_per_second);
        loop {
            let since = Instant::now();
            let frame = timeout(remaining.min(rate.remaining()), response.chunk()).await;
            let spent = since.elapsed();
            remaining = remaining.saturating_sub(spent);
            let frame = match frame {
                Ok(Ok(Some(frame))) => frame,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(answer::classify_body(&error)),
                Err(_) if remaining.is_zero() => {
                    return Err(TryError::Transient(Reason::Timeout));
                }
                Err(_) => bytes::Bytes::new(),
            };
            let n = u64::try_from(frame.len()).unwrap_or(u64::MAX);
            rate.check(n, spent)?;
            chunk.bytes_in.fetch_add(n, Ordering::Relaxed);
            if writer.len() + n > chunk.max_bytes {
                return Err(TryError::Final(Reason::TooLarge));
            }
            writer.push(frame).await.map_err(TryError::Spool)?;
        }
        match expected {
            Some(expected) if writer.len() < expected => {
                Err(TryError::Transient(Reason::BodyTruncated))
            }
            _ if writer.is_empty() => Err(TryError::Final(Reason::Empty)),
            _ => {
                let (body, sha256) = writer.finish();
                Ok(Fetched { body, sha256 })
            }
        }
    }
}

async fn enter(downloads: &Semaphore) -> Result<SemaphorePermit<'_>, TryError> {
    downloads.acquire().await.map_err(|e| TryError::Spool(io::Error::other(e)))
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
            return Err(TryError::Final(Reason::Timeout));
        }
        (self.bytes, self.spent) = (0, Duration::ZERO);
        Ok(())
    }
}

/// True for answers that another try may mend (`requirements`, section 4).
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
