//! URL to bounded body: redirects in our own loop, limits of time, size and rate, retries.

mod address;
mod answer;
mod body;
mod client;
mod consent;
mod failure;
mod head;
mod name_servers;
mod names;
mod origin;
mod reach;

use crate::{
    chunk::{Detail, Reason, Rejection},
    descriptors::{self, Parts},
    settings::{DownloadSettings, Limits, Settings},
    spool::{Allowance, Body},
    turns::Seat,
};
use address::Guard;
use body::Received;
use client::Client;
pub use client::SetupError;
use names::Names;
use origin::{OriginPermit, Origins};
use reach::ReachableOrigins;
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout},
};
use url::{Host, Url};

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The image is bad: data for the report.
    #[error("rejected: {0}")]
    Rejected(Rejection),
    /// The chunk cannot go on: its temporary files cannot be written.
    #[error("the spool failed")]
    Spool(#[source] io::Error),
    /// The chunk cannot go on: nobody tells the addresses of its names.
    #[error("no name server answers")]
    NamesAway,
}

/// A body that is whole, as far as can be said without its picture.
#[derive(Debug)]
pub(super) struct Fetched<'a> {
    /// Its bytes.
    pub body: Body,
    /// Of its bytes.
    pub sha256: Vec<u8>,
    /// HTTP does not prove that it is whole: the picture's own container has to.
    pub is_end_open: bool,
    /// Held until the body is in the shard's queue: else bodies would pile up before a slow shard.
    pub download: SemaphorePermit<'a>,
}

/// Downloads for the whole process: one client, one set of origins.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    guard: Guard,
    names: Names,
    origins: Origins,
    settings: DownloadSettings,
    limits: Limits,
    /// Of the descriptors of the process.
    parts: Parts,
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
    /// Its place among those who take turns at connections.
    connections: Seat,
    downloads: Semaphore,
    origins: ReachableOrigins,
    answered: AtomicBool,
    bytes_in: AtomicU64,
}

impl ChunkFetch {
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
    Final(Rejection),
    /// Another try may help.
    Transient(Rejection),
    /// The origin asks for a wait, of its own choice or ours.
    Throttled(Rejection, Option<Duration>),
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
    Body(Received),
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
    /// [`SetupError`].
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let download = &settings.download;
        let names = Names::new(&download.name_servers);
        let parts = Parts::of(descriptors::limit(), settings.limits.max_concurrent_chunks);
        let client =
            Client::new(&download.user_agent, download.connect_timeout, parts.connections)?;
        Ok(Self {
            client,
            guard: Guard::new(settings),
            names,
            origins: Origins::new(settings.download.per_host_concurrency),
            settings: settings.download.clone(),
            limits: settings.limits.clone(),
            parts,
        })
    }

    /// Shared state of a chunk whose retries end at `deadline`.
    pub(super) fn chunk(
        &self,
        allowance: Allowance,
        max_bytes: u64,
        deadline: Instant,
    ) -> ChunkFetch {
        ChunkFetch {
            allowance,
            max_bytes,
            deadline,
            lookups: names::share(self.parts.lookups, &self.limits),
            connections: self.client.seat(),
            downloads: Semaphore::new(self.settings.concurrency),
            origins: ReachableOrigins::default(),
            answered: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
        }
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
                Err(TryError::Final(why)) => return Err(Error::Rejected(why)),
                Err(TryError::Transient(why) | TryError::Throttled(why, _))
                    if tries == MAX_TRIES =>
                {
                    return Err(Error::Rejected(why));
                }
                Err(failure @ (TryError::Transient(why) | TryError::Throttled(why, _))) => {
                    let asked = failure.asked();
                    let pause = asked.unwrap_or(FIRST_PAUSE * 2_u32.pow(tries - 1));
                    if chunk.deadline.saturating_duration_since(Instant::now()) <= pause {
                        let asked_too_long = asked.is_some();
                        let why = if asked_too_long { Reason::RateLimited.into() } else { why };
                        return Err(Error::Rejected(why));
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
            // Before a permit is held: a dead name costs no other download its turn. A name that is
            // forgotten until it is connected to is asked for, and checked, again.
            if let Some(Host::Domain(name)) = url.host() {
                if url.scheme() == "https" && !client::can_be_named(name) {
                    return Err(TryError::Final(Reason::Tls.because(Detail::BadName)));
                }
                self.names.look_up(name, &chunk.lookups).await?;
            }
            let origin = origin::key(&url);
            let entered = self.origins.enter_with(&origin, &chunk.downloads, chunk.deadline).await;
            let (permit, download) = entered.map_err(|reason| TryError::Final(reason.into()))?;
            if chunk.origins.is_unreachable(&origin) {
                return Err(TryError::Final(Reason::HostUnreachable.into()));
            }
            // Boxed only now, so that a URL that waits costs little.
            let hop = Box::pin(self.hop(&url, &origin, &permit, chunk, &mut remaining)).await?;
            match hop {
                Hop::Body(Received { body, sha256, is_end_open }) => {
                    return Ok(Fetched { body, sha256, is_end_open, download });
                }
                Hop::Redirect(next) => url = next,
            }
        }
        Err(TryError::Final(Reason::TooManyRedirects.into()))
    }

    async fn hop(
        &self,
        url: &Url,
        origin: &str,
        permit: &OriginPermit,
        chunk: &ChunkFetch,
        remaining: &mut Duration,
    ) -> Result<Hop, TryError> {
        let (limit, why) = match self.settings.first_byte_timeout {
            limit if limit < *remaining => (limit, Detail::FirstByte),
            _ => (*remaining, Detail::Total),
        };
        let why = Reason::Timeout.because(why);
        let (answer, since) = loop {
            let look_up = async |name: &str| self.names.look_up(name, &chunk.lookups).await;
            let place = self.client.place(url, &chunk.connections, look_up).await?;
            // Time in which we had no connection to give is no time of the origin.
            let since = Instant::now();
            let answer = timeout(limit, self.client.get(url, place)).await;
            if !matches!(answer, Ok(Err(client::Error::Stale))) {
                break (answer, since);
            }
        };
        *remaining = remaining.saturating_sub(since.elapsed());
        let response = match answer {
            Ok(Ok(response)) => response,
            // What the parser of URLs takes and the client does not: no try changes it.
            Ok(Err(client::Error::Url)) => {
                return Err(TryError::Final(Reason::UrlRefused.because(Detail::NotAUrl)));
            }
            Ok(Err(error)) => {
                let is_connect = matches!(error, client::Error::Connect(_));
                let (failure, never_connected) = failure::classify_request(&error, is_connect);
                if never_connected {
                    chunk.origins.failed(origin);
                }
                return Err(failure);
            }
            // An origin that never answered costs one timeout: the next try would wait as long again.
            Err(_) if chunk.origins.is_silent(origin) => {
                chunk.origins.failed(origin);
                return Err(TryError::Final(why));
            }
            Err(_) => return Err(TryError::Transient(why)),
        };
        chunk.answered.store(true, Ordering::Relaxed);
        chunk.origins.answered(origin);
        let checked = answer::check_head(&response, &self.settings, chunk.max_bytes);
        match checked {
            Err(TryError::Throttled(_, asked)) => permit.throttled(asked),
            Ok(_) | Err(_) => permit.answered(),
        }
        let next = answer::redirect(url, &response)?;
        if let Some(next) = next {
            self.guard.check(&next).map_err(TryError::Final)?;
            return Ok(Hop::Redirect(next));
        }
        let doubts = checked?;
        body::receive(response, doubts, chunk, &self.settings, *remaining).await.map(Hop::Body)
    }
}
