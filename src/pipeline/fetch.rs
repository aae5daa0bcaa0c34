//! URL to bounded body: redirects in our own loop, limits of time, size and rate, retries.

mod address;
mod answer;
mod name_servers;
mod names;
mod origin;
mod rate;
mod reach;

use crate::{
    chunk::Reason,
    settings::{DownloadSettings, Settings},
    spool::{Allowance, Body, BodyWriter},
};
use address::Guard;
use names::Names;
use origin::{OriginPermit, Origins};
use rate::Rate;
use reach::ReachableOrigins;
use reqwest::{Response, StatusCode, header};
use std::{
    io,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, Sleep, sleep, timeout},
};
use url::{Host, Url};

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The image is bad: data for the report.
    #[error("rejected: {0}")]
    Rejected(Reason),
    /// The chunk cannot go on: its temporary files cannot be written.
    #[error("the spool failed")]
    Spool(#[source] io::Error),
    /// The chunk cannot go on: nobody tells the addresses of its names.
    #[error("no name server answers")]
    NamesAway,
}

/// A whole body.
#[derive(Debug)]
pub(super) struct Fetched<'a> {
    /// Its bytes.
    pub body: Body,
    /// Of its bytes.
    pub sha256: Vec<u8>,
    /// Held until the body is in the shard's queue: else bodies would pile up before a slow shard.
    pub download: SemaphorePermit<'a>,
}

/// Downloads for the whole process: one client, one set of origins.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: reqwest::Client,
    guard: Guard,
    names: Names,
    origins: Origins,
    settings: DownloadSettings,
}

/// What the downloads of one chunk share.
#[derive(Debug)]
pub(super) struct ChunkFetch {
    allowance: Allowance,
    max_bytes: u64,
    /// No retry waits beyond it.
    deadline: Instant,
    /// Its share of the look-ups of the process.
    lookups: Semaphore,
    downloads: Semaphore,
    origins: ReachableOrigins,
    answered: AtomicBool,
    bytes_in: AtomicU64,
}

impl ChunkFetch {
    /// Shared state of a chunk whose retries end at `deadline`.
    pub(super) fn new(
        allowance: Allowance,
        max_bytes: u64,
        deadline: Instant,
        settings: &Settings,
    ) -> Self {
        Self {
            allowance,
            max_bytes,
            deadline,
            lookups: names::share(&settings.limits),
            downloads: Semaphore::new(settings.download.concurrency),
            origins: ReachableOrigins::default(),
            answered: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
        }
    }

    /// True when any URL got any HTTP answer.
    pub(super) fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Body bytes received.
    pub(super) fn bytes_in(&self) -> u64 {
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
    /// The origin asks for a wait, of its own choice or ours.
    Throttled(Reason, Option<Duration>),
    /// No name server answers anything, which is not the image's fault.
    NamesAway,
    Spool(io::Error),
}

impl TryError {
    /// How long the origin wants to be left alone.
    fn asked(&self) -> Option<Duration> {
        match self {
            Self::Throttled(_, asked) => *asked,
            Self::Final(_) | Self::Transient(_) | Self::NamesAway | Self::Spool(_) => None,
        }
    }
}

/// One hop's end.
enum Hop {
    Body(Body, Vec<u8>),
    Redirect(Url),
}

/// Tries for each URL, the first included.
const MAX_TRIES: u32 = 4;
const MAX_REDIRECTS: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

impl Fetcher {
    /// Builds the client, once for each process.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub(super) fn new(settings: &Settings) -> reqwest::Result<Self> {
        let accept = "image/jpeg,image/png,image/gif,image/webp,image/bmp,image/tiff,*/*;q=0.5";
        let mut headers = header::HeaderMap::new();
        headers.insert(header::ACCEPT, header::HeaderValue::from_static(accept));
        let identity = header::HeaderValue::from_static("identity");
        headers.insert(header::ACCEPT_ENCODING, identity);
        let names = Names::new(&settings.download.name_servers);
        let client = reqwest::Client::builder()
            .user_agent(&settings.download.user_agent)
            .default_headers(headers)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(names.clone())
            // Streams of one HTTP/2 connection share a window: one body that waits for room would
            // starve the others, and what the window holds is in no ledger.
            .http1_only()
            .connect_timeout(settings.download.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self {
            client,
            guard: Guard::new(settings),
            names,
            origins: Origins::new(settings.download.per_host_concurrency),
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
    pub(super) async fn fetch<'a>(
        &self,
        text: &str,
        chunk: &'a ChunkFetch,
    ) -> Result<Fetched<'a>, Error> {
        let url = self.guard.parse(text).map_err(Error::Rejected)?;
        let mut tries = 1;
        loop {
            match self.one_try(url.clone(), chunk).await {
                Ok(fetched) => return Ok(fetched),
                Err(TryError::Spool(error)) => return Err(Error::Spool(error)),
                Err(TryError::NamesAway) => return Err(Error::NamesAway),
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
                    sleep(pause).await;
                    tries += 1;
                }
            }
        }
    }

    async fn one_try<'a>(
        &self,
        mut url: Url,
        chunk: &'a ChunkFetch,
    ) -> Result<Fetched<'a>, TryError> {
        let mut remaining = self.settings.total_timeout;
        for _ in 0..=MAX_REDIRECTS {
            // Before a permit is held: a dead name costs no other download its turn. The address that
            // is connected to is checked again by the client's resolver.
            if let Some(Host::Domain(name)) = url.host() {
                self.names.look_up(name, &chunk.lookups).await?;
            }
            let origin = origin::key(&url);
            let entered = self.origins.enter_with(&origin, &chunk.downloads, chunk.deadline).await;
            let (permit, download) = entered.map_err(TryError::Final)?;
            if chunk.origins.is_unreachable(&origin) {
                return Err(TryError::Final(Reason::HostUnreachable));
            }
            // Boxed only now, so that a URL that waits costs little.
            let hop = Box::pin(self.hop(&url, &origin, &permit, chunk, &mut remaining)).await?;
            match hop {
                Hop::Body(body, sha256) => return Ok(Fetched { body, sha256, download }),
                Hop::Redirect(next) => url = next,
            }
        }
        Err(TryError::Final(Reason::TooManyRedirects))
    }

    async fn hop(
        &self,
        url: &Url,
        origin: &str,
        permit: &OriginPermit,
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
                    chunk.origins.failed(origin);
                }
                return Err(failure);
            }
            // An origin that never answered costs one timeout: the next try would wait as long again.
            Err(_) if chunk.origins.is_silent(origin) => {
                chunk.origins.failed(origin);
                return Err(TryError::Final(Reason::Timeout));
            }
            Err(_) => return Err(TryError::Transient(Reason::Timeout)),
        };
        chunk.answered.store(true, Ordering::Relaxed);
        chunk.origins.answered(origin);
        let checked = answer::check_head(&response, &self.settings, chunk.max_bytes);
        match checked {
            Err(TryError::Throttled(_, asked)) => permit.throttled(asked),
            Ok(()) | Err(_) => permit.answered(),
        }
        let next = answer::redirect(url, &response)?;
        if let Some(next) = next {
            self.guard.check(&next).map_err(TryError::Final)?;
            return Ok(Hop::Redirect(next));
        }
        checked?;
        self.body(response, chunk, *remaining).await
    }

    /// Reads the body frame by frame. Time in which we make it wait counts against nothing.
    async fn body(
        &self,
        mut response: Response,
        chunk: &ChunkFetch,
        mut remaining: Duration,
    ) -> Result<Hop, TryError> {
        let expected = response.content_length();
        let mut writer = BodyWriter::new(&chunk.allowance, expected);
        let mut rate = Rate::new(self.settings.min_rate_bytes_per_second);
        // One timer for all frames: a new one for each would cost more than the frame.
        let mut alarm = pin!(sleep(remaining.min(rate.remaining())));
        loop {
            let since = Instant::now();
            let due = since + remaining.min(rate.remaining());
            let frame = next_frame(&mut response, alarm.as_mut(), due).await;
            let spent = since.elapsed();
            remaining = remaining.saturating_sub(spent);
            let frame = match frame {
                Some(Ok(Some(frame))) => frame,
                Some(Ok(None)) => break,
                Some(Err(error)) => return Err(answer::classify_body(&error)),
                None if remaining.is_zero() => {
                    return Err(TryError::Transient(Reason::Timeout));
                }
                None => bytes::Bytes::new(),
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
                Ok(Hop::Body(body, sha256))
            }
        }
    }
}

/// The next frame; none when it is not there when it is due.
///
/// The timer may be older than `due`: it was set for an earlier frame, and since then we may have
/// made the origin wait for room, which counts against nothing. Only when `due` itself has passed
/// is the frame late. The frame is asked first: one that is there is never late.
async fn next_frame(
    response: &mut Response,
    mut alarm: Pin<&mut Sleep>,
    due: Instant,
) -> Option<reqwest::Result<Option<bytes::Bytes>>> {
    loop {
        tokio::select! {
            biased;
            frame = response.chunk() => return Some(frame),
            () = &mut alarm => {
                if Instant::now() >= due {
                    return None;
                }
                alarm.as_mut().reset(due);
            }
        }
    }
}

/// True for answers that another try may mend.
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
