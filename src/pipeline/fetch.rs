//! URL to bounded body: redirects in our own loop, limits of time, size and rate, retries.

mod address;
mod answer;
mod body;
mod chunk_fetch;
mod client;
mod consent;
mod downloads;
mod failure;
mod head;
mod hop;
mod hosts_file;
mod name_servers;
mod names;
mod origin;
mod pace;
mod reach;
mod robots;
mod rules;
mod standing;
mod tries;

use super::refused::Refused;
use crate::{
    chunk::{Detail, Reason, Rejection},
    descriptors::{self, Parts},
    settings::{DownloadSettings, Limits, Settings},
    spool::{Allowance, Body},
    stall::{Deadline, WATCH},
    turns::Seat,
};
use address::Guard;
use body::Received;
pub(super) use chunk_fetch::ChunkFetch;
use client::Client;
pub use client::SetupError;
pub(super) use downloads::Download;
use downloads::Downloads;
use failure::TryError;
use hop::Hop;
use names::Names;
use origin::{Origin, Origins};
use reach::ReachableOrigins;
use robots::Memory;
pub(super) use rules::Rules;
pub(super) use standing::{Standing, all_hosts_busy};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tries::Tries;
use url::{Host, Url};

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The image is bad: data for the report.
    #[error("rejected: {0}")]
    Rejected(Rejection),
    /// The image is not wanted: by its header, so that the rest was not downloaded, or by its bytes.
    #[error("not wanted: {}", .0.rejection)]
    Unwanted(Refused),
    /// The image is bad as far as the chunk's time went: it would be asked for again.
    #[error("rejected, for want of time: {0}")]
    Cut(Rejection),
    /// The chunk cannot go on: its temporary files cannot be written.
    #[error("the spool failed")]
    Spool(#[source] io::Error),
    /// The chunk cannot go on: nobody tells the addresses of its names.
    #[error("no name server answers")]
    NamesAway,
}

/// A body that is whole, as far as can be said without its picture.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Its bytes.
    pub body: Body,
    /// Of its bytes.
    pub sha256: Vec<u8>,
    /// HTTP does not prove that it is whole: the picture's own container has to.
    pub is_end_open: bool,
    /// Held until the body is in the shard's queue: else bodies would pile up before a slow shard.
    pub download: Download,
}

/// Downloads for the whole process: one client, one set of origins.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    guard: Guard,
    names: Names,
    origins: Origins,
    robots: Memory,
    settings: DownloadSettings,
    limits: Limits,
    /// Of the descriptors of the process.
    parts: Parts,
}

/// What a URL is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Picture,
    /// The robots.txt of an origin.
    Robots,
}

/// What a URL is asked for, and for whom.
#[derive(Debug, Clone, Copy)]
struct Errand<'a> {
    want: Want,
    chunk: &'a ChunkFetch,
    /// Of the picture.
    standing: &'a Standing,
}

const MAX_REDIRECTS: usize = 5;

impl Fetcher {
    /// Builds the client, once for each process.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let download = &settings.download;
        let parts = Parts::of(descriptors::limit(), settings.limits.max_concurrent_chunks);
        let names = Names::new(&download.name_servers, parts.lookups);
        let client =
            Client::new(&download.user_agent, download.connect_timeout, parts.connections)?;
        Ok(Self {
            client,
            guard: Guard::new(settings),
            names,
            origins: Origins::new(settings.download.per_host_concurrency),
            robots: Memory::new(),
            settings: settings.download.clone(),
            limits: settings.limits.clone(),
            parts,
        })
    }

    /// Shared state of a chunk whose retries end at `deadline`.
    pub(super) fn chunk(
        &self,
        allowance: Allowance,
        rules: Rules,
        deadline: Deadline,
        walkers: Seat,
    ) -> ChunkFetch {
        ChunkFetch {
            allowance,
            rules,
            deadline,
            lookups: names::share(self.parts.lookups, &self.limits),
            connections: self.client.seat(),
            walkers,
            downloads: Downloads::new(self.settings.concurrency),
            party: self.origins.join(),
            origins: ReachableOrigins::default(),
            asked: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
        }
    }

    /// Fetches a URL with its redirects and retries, waiting for its turn as long as it takes:
    /// `standing` says meanwhile what it would end as.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Cancel safety
    ///
    /// Everything it holds is freed when it is dropped.
    pub(super) async fn fetch(
        &self,
        text: &str,
        chunk: &ChunkFetch,
        standing: &Standing,
    ) -> Result<Fetched, Error> {
        let url = self.guard.parse(text).map_err(Error::Rejected)?;
        self.fetch_url(&url, Errand { want: Want::Picture, chunk, standing }).await
    }

    async fn fetch_url(&self, url: &Url, errand: Errand<'_>) -> Result<Fetched, Error> {
        let Errand { want, chunk, standing } = errand;
        let mut tries = Tries::default();
        loop {
            let end = self.whole_try(url, errand, &mut tries).await;
            let (why, asked) = match end {
                Ok(fetched) => return Ok(fetched),
                Err(TryError::Spool(error)) => return Err(Error::Spool(error)),
                Err(TryError::NamesAway) => return Err(Error::NamesAway),
                Err(TryError::Final(why)) => return Err(Error::Rejected(why)),
                Err(TryError::Unwanted(refused)) => return Err(Error::Unwanted(refused)),
                Err(TryError::Cut(why)) => return Err(Error::Cut(why)),
                Err(TryError::Transient(why)) => (why, None),
                Err(TryError::Throttled(why, asked)) => (why, asked),
            };
            let left = chunk.deadline.at().saturating_duration_since(Instant::now());
            let pause = tries.next(why, asked, WATCH.awake(), left)?;
            standing.failed(want.verdict(why));
            sleep(pause).await;
        }
    }

    /// A try that counts. One that failed while the process stood still says nothing about the image or
    /// its origin: the answer may have come and not been read, and the other side may have given up on us.
    async fn whole_try(
        &self,
        url: &Url,
        errand: Errand<'_>,
        tries: &mut Tries,
    ) -> Result<Fetched, TryError> {
        loop {
            let mark = WATCH.mark();
            match self.one_try(url.clone(), errand, tries).await {
                Err(why @ (TryError::Final(_) | TryError::Transient(_) | TryError::NamesAway))
                    if WATCH.stood_still_since(mark) && tries.may_be_interrupted() =>
                {
                    tracing::debug!(?why, "no try: the process stood still");
                }
                end => return end,
            }
        }
    }

    async fn one_try(
        &self,
        mut url: Url,
        errand: Errand<'_>,
        tries: &mut Tries,
    ) -> Result<Fetched, TryError> {
        let Errand { want, chunk, standing } = errand;
        let mut remaining = self.settings.total_timeout;
        for _ in 0..=MAX_REDIRECTS {
            // Each hop, before anybody is asked for anything, its name included.
            if chunk.rules.blocked.has_host(&url) {
                return Err(TryError::Final(Reason::BlockedHost.into()));
            }
            // Before a permit is held: a dead name costs no other download its turn. A name that is
            // forgotten until it is connected to is asked for, and checked, again.
            if let Some(Host::Domain(name)) = url.host() {
                if url.scheme() == "https" && !client::can_be_named(name) {
                    return Err(TryError::Final(Reason::Tls.because(Detail::BadName)));
                }
                self.names.look_up(name, &chunk.lookups).await?;
            }
            if want == Want::Picture && chunk.rules.respects_robots {
                self.ask_robots(&url, chunk, standing).await?;
            }
            let origin = self.origins.get(&origin::key(&url));
            let asked = self.ask(&url, &origin, errand, tries, &mut remaining);
            let (hop, download) = asked.await?;
            match hop {
                Hop::Body(Received { body, sha256, is_end_open }) => {
                    return Ok(Fetched { body, sha256, is_end_open, download });
                }
                Hop::Redirect(next) => url = next,
            }
        }
        Err(TryError::Final(Reason::TooManyRedirects.into()))
    }

    /// Waits for the chunk's turn at an origin and asks it.
    async fn ask(
        &self,
        url: &Url,
        origin: &Arc<Origin>,
        errand: Errand<'_>,
        tries: &mut Tries,
        remaining: &mut Duration,
    ) -> Result<(Hop, Download), TryError> {
        let Errand { chunk, standing, .. } = errand;
        loop {
            standing.waits(origin, chunk.party);
            let (mut permit, download) = tokio::select! {
                biased;
                entered = origin.enter(chunk.party, tries.failed(), &chunk.downloads) => {
                    entered.map_err(|reason| TryError::Final(reason.into()))?
                }
                () = origin.outlasts(chunk.party, tries.patience_with(&origin.key)) => {
                    return Err(TryError::Final(Reason::RateLimited.into()));
                }
            };
            if chunk.origins.is_unreachable(&origin.key) {
                return Err(TryError::Final(Reason::HostUnreachable.into()));
            }
            let note_asked = || {
                standing.asked();
                chunk.asked.store(true, Ordering::Relaxed);
            };
            if !permit.is_trial() {
                note_asked();
            }
            // Boxed only now, so that a URL that waits costs little.
            let has_failed = tries.failed() > 0;
            let hop = self.hop(url, &mut permit, errand, note_asked, has_failed, remaining);
            match Box::pin(hop).await {
                // The origin refused others before this URL was asked for, which says nothing about it.
                Err(TryError::Throttled(..)) if permit.is_refused_trial() => {}
                Err(why) => {
                    note_asked();
                    if matches!(why, TryError::Throttled(..)) {
                        tries.told_to_wait(origin.key.clone());
                    }
                    return Err(why);
                }
                Ok(hop) => return Ok((hop, download)),
            }
        }
    }
}
