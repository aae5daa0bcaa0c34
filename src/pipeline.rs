//! One chunk's images: fetch, inspect, dedupe, shard, upload, wired with a bounded queue.
//!
//! Downloads go on while the shard waits for storage; the queue between them and the byte ledger
//! hold them back. What is spawned ends with the future that waits for it.

mod collect;
mod dedupe;
mod fetch;
mod filters;
mod refused;
mod shard;
pub(crate) mod upload;

use crate::{
    blocklist::Blocklist,
    chunk::{
        ChunkMessage, Detail, Item, ItemReport, Mode, Reason, Rejection, Totals, Traffic,
        Validation,
    },
    settings::Settings,
    spool::{Allowance, Body, BodyReader},
    stall::Deadline,
    state::{self, Database, Lease},
    storage::{self, Storage},
    turns::{Seat, Turns},
};
use collect::Collector;
pub use fetch::SetupError;
use fetch::{ChunkFetch, Download, Fetcher, Rules, Standing, all_hosts_busy};
use filters::{Filters, violations};
use futures_util::{StreamExt as _, TryStreamExt as _, future::ready, stream};
use imagecheck::{ImageInfo, Level};
use refused::{Refused, examine};
use std::{
    future::pending,
    io,
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tracing::Instrument as _;
pub(crate) use upload::StagedShard;
use upload::Upload;

/// Why a chunk's images could not be brought into a shard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Temporary files cannot be written or read.
    #[error("the spool failed")]
    Spool(#[from] io::Error),
    /// Blocks cannot be staged.
    #[error("the shard cannot be staged")]
    Storage(#[from] storage::Error),
    /// Known hashes cannot be asked for.
    #[error("known images cannot be looked up")]
    State(#[from] state::Error),
    /// A process without network must not complete a chunk of nothing.
    #[error("no URL got any HTTP answer")]
    NothingReachable,
    /// A process without name servers must not reject a chunk's names.
    #[error("no name server answers")]
    NamesAway,
    /// Nothing of the chunk can be done for this long, and nothing was: others may have its place.
    #[error("no URL was asked for, since their hosts want to be left alone for {0:?}")]
    HostsBusy(Duration),
}

/// What all chunks of the process share.
#[derive(Debug)]
pub struct Stages {
    fetcher: Fetcher,
    /// Decodes at once: each may hold a whole picture, of every format but JPEG.
    decoders: Turns,
    /// Walks through long bodies at once, each on a thread.
    walkers: Turns,
    keep_query: bool,
    settings: Settings,
}

impl Stages {
    /// Builds the download client.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            fetcher: Fetcher::new(settings)?,
            decoders: Turns::new(cores),
            // One may wait for the disk while another has the core.
            walkers: Turns::new(2 * cores),
            keep_query: settings.keep_query,
            settings: settings.clone(),
        })
    }
}

/// One chunk's work.
#[derive(Debug, Clone)]
pub struct Work<'a> {
    /// What to do.
    pub message: &'a ChunkMessage,
    /// The URLs.
    pub items: Arc<[Item]>,
    /// The claim.
    pub lease: &'a Lease,
    /// The chunk's part of the budget.
    pub allowance: Allowance,
    /// URLs that are not done by then fail with `deadline`; those that wait for a busy host with
    /// `host_busy`.
    pub deadline: Deadline,
    /// Whether it waits until then for hosts that are all busy; else [`Error::HostsBusy`] ends it before it
    /// has done anything.
    pub waits_for_hosts: bool,
    /// What is not fetched, and not kept.
    pub blocked: Arc<Blocklist>,
}

/// What the pipeline made of a chunk.
#[derive(Debug)]
pub struct Outcome {
    /// The shard, staged, not committed.
    pub staged: StagedShard,
    /// One verdict for each URL, by index.
    pub items: Vec<ItemReport>,
    /// The sums.
    pub totals: Totals,
    /// The chunk's time was over before all of its URLs had ended by themselves.
    pub is_cut: bool,
}

/// A body that passed inspection.
#[derive(Debug)]
struct Inspected {
    body: Body,
    sha256: Vec<u8>,
    info: ImageInfo,
    violations: Vec<Reason>,
}

/// One URL's end, on its way to the shard.
#[derive(Debug)]
struct Arrived {
    idx: usize,
    /// True when a whole body arrived.
    downloaded: bool,
    /// The chunk's time was over before the URL had ended by itself.
    is_cut: bool,
    result: Result<Inspected, Refused>,
}

impl Arrived {
    /// Of a URL that has no whole body.
    fn bodiless(idx: usize, why: Rejection, is_cut: bool) -> Self {
        Self { idx, downloaded: false, is_cut, result: Err(why.into()) }
    }
}

/// Bodies between downloads and shard; each is paid for in the ledger.
const QUEUE_LENGTH: usize = 8;
/// A shorter wait for busy hosts costs less than to give the chunk back and to claim it again.
const SHORT_WAIT: Duration = Duration::from_secs(2);
/// How often a chunk that has asked nothing yet looks whether all of its hosts are busy.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs a chunk's images through all stages.
///
/// # Errors
///
/// [`Error::NothingReachable`] when URLs were tried and none got any HTTP answer;
/// [`Error::HostsBusy`] when none could be tried; else faults of spool, storage or database. A bad image
/// is none.
///
/// # Cancel safety
///
/// Dropping it frees all bytes; staged blocks stay invisible.
pub async fn run(
    stages: &Arc<Stages>,
    storage: &Storage,
    database: &Database,
    work: Work<'_>,
) -> Result<Outcome, Error> {
    let settings = &stages.settings;
    let walkers = stages.walkers.seat();
    let allowance = work.allowance.clone();
    let rules = Rules::of(work.message, settings, Arc::clone(&work.blocked));
    let filters = rules.filters.clone();
    let chunk = stages.fetcher.chunk(allowance, rules, work.deadline, walkers.clone());
    let downloads = Downloads {
        decoders: stages.decoders.seat(),
        walkers,
        stages: Arc::clone(stages),
        chunk: Arc::new(chunk),
        validation: work.message.validation.clone(),
        filters,
        items: Arc::clone(&work.items),
        standings: work.items.iter().map(|_| Standing::default()).collect(),
        deadline: work.deadline,
        waits_for_hosts: work.waits_for_hosts,
    };
    let chunk = Arc::clone(&downloads.chunk);
    let blob = work.message.id().shard_blob();
    let upload = Upload::new(storage, blob, work.lease, work.allowance.block_bytes());
    let mut collector = Collector::new(database, &work, upload, stages.keep_query);
    let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
    // A task of its own: images are hashed on one core while the shard is on another. It ends with
    // the set.
    let mut task = JoinSet::new();
    task.spawn(downloads.run(sender).in_current_span());
    tokio::try_join!(joined(&mut task), collector.collect_all(receiver))?;
    let outcome = collector
        .finish(Traffic {
            bytes_in: chunk.bytes_in(),
            temp_peak_bytes: work.allowance.temp_peak_bytes(),
            ..Traffic::default()
        })
        .await?;
    if !chunk.was_answered() && is_without_network(&outcome.items) {
        return Err(Error::NothingReachable);
    }
    Ok(outcome)
}

/// Whether items of which none got an answer may be for want of a network. A busy host has answered this
/// process before.
fn is_without_network(items: &[ItemReport]) -> bool {
    let is_busy = |item: &ItemReport| item.reason == Some(Reason::HostBusy);
    items.iter().any(was_tried) && !items.iter().any(is_busy)
}

/// Whether the URL was asked for on the network. One that was refused, that TLS has no name for, or
/// whose turn never came, says nothing about the network; nor does what a robots.txt said, perhaps
/// yesterday.
fn was_tried(item: &ItemReport) -> bool {
    !matches!(item.detail, Some(Detail::BadName | Detail::Disallowed))
        && item.reason.is_some_and(|reason| {
            let untried =
                [Reason::UrlRefused, Reason::BlockedHost, Reason::Deadline, Reason::HostBusy];
            !untried.contains(&reason)
        })
}

/// The task's end; its panic is ours.
async fn joined(task: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    match task.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(cancelled) => Err(Error::Spool(io::Error::other(cancelled))),
        },
        None => Ok(()),
    }
}

/// The first half of a chunk's work: every URL to a verdict or an inspected body.
struct Downloads {
    stages: Arc<Stages>,
    decoders: Seat,
    walkers: Seat,
    chunk: Arc<ChunkFetch>,
    validation: Validation,
    filters: Option<Arc<Filters>>,
    items: Arc<[Item]>,
    /// One for each of the items.
    standings: Vec<Standing>,
    deadline: Deadline,
    waits_for_hosts: bool,
}

impl Downloads {
    /// Downloads and inspects every URL; order is that of arrival.
    async fn run(self, sender: mpsc::Sender<Arrived>) -> Result<(), Error> {
        let one = async |(idx, (item, standing)): (usize, (&Item, &Standing))| {
            let (arrived, download) = tokio::select! {
                image = self.one_image(idx, item, standing) => image?,
                () = self.deadline.passed() => {
                    (Arrived::bodiless(idx, standing.at_deadline(), true), None)
                }
            };
            standing.over();
            let sent = sender.send(arrived).await;
            drop(download);
            // The receiver only goes away with the whole chunk.
            sent.map_err(|_| Error::Spool(io::ErrorKind::BrokenPipe.into()))
        };
        // All at once: the download semaphore and the host gates decide who goes on.
        let items = self.items.iter().zip(&self.standings).enumerate();
        let ends = stream::iter(items).map(one).buffer_unordered(usize::MAX);
        let done = ends.try_for_each(|()| ready(Ok(())));
        tokio::select! {
            done = done => done,
            wait = self.nothing_can_be_done() => Err(Error::HostsBusy(wait)),
        }
    }

    /// Waits until nothing was asked for and nothing can be for a while: how long. It ends only then.
    async fn nothing_can_be_done(&self) -> Duration {
        while !self.waits_for_hosts && !self.chunk.was_asked() {
            sleep(LOOK_EVERY).await;
            let wait = all_hosts_busy(&self.standings).filter(|wait| *wait >= SHORT_WAIT);
            if let (Some(wait), false) = (wait, self.chunk.was_asked()) {
                return wait;
            }
        }
        pending().await
    }

    async fn one_image(
        &self,
        idx: usize,
        item: &Item,
        standing: &Standing,
    ) -> Result<(Arrived, Option<Download>), Error> {
        let stages = &self.stages;
        if let Some(detail) = item.refused {
            let why = Reason::UrlRefused.because(detail);
            return Ok((Arrived::bodiless(idx, why, false), None));
        }
        let fetched = match stages.fetcher.fetch(&item.url, &self.chunk, standing).await {
            Ok(fetched) => fetched,
            Err(fetch::Error::Rejected(why)) => {
                return Ok((Arrived::bodiless(idx, why, false), None));
            }
            Err(fetch::Error::Unwanted(refused)) => {
                let (downloaded, result) = (refused.file_size.is_some(), Err(refused));
                return Ok((Arrived { idx, downloaded, is_cut: false, result }, None));
            }
            Err(fetch::Error::Cut(why)) => return Ok((Arrived::bodiless(idx, why, true), None)),
            Err(fetch::Error::Spool(error)) => return Err(Error::Spool(error)),
            Err(fetch::Error::NamesAway) => return Err(Error::NamesAway),
        };
        let validation = &self.validation;
        // Where HTTP does not prove that the body is whole, the picture has to, also at level fast.
        let level = match validation.level {
            Level::Fast if fetched.is_end_open => Level::Medium,
            level => level,
        };
        let since = StdInstant::now();
        let turn = match level {
            Level::Slow => Some(self.decoders.turn().await),
            Level::Fast | Level::Medium if fetched.body.takes_long() => {
                Some(self.walkers.turn().await)
            }
            Level::Fast | Level::Medium => None,
        };
        let is_on_thread = turn.is_some();
        // The thread owns the turn: a decode goes on, and counts, although its chunk is dropped.
        let filters = self.filters.clone();
        let check = move |r: &mut BodyReader<'_>, len| {
            let _turn = turn;
            match filters.map(|filters| filters.judge(r, len)) {
                Some(Ok(Some(refused))) => Err(Refused { file_size: Some(len), ..refused }),
                Some(Ok(None) | Err(_)) | None => examine(r, len, level),
            }
        };
        let (body, checked) = fetched.body.examine(is_on_thread, check).await?;
        tracing::trace!(idx, took_ms = since.elapsed().as_millis(), "inspected");
        let result = checked.and_then(|info| {
            let file_size = body.len();
            let violations = violations(validation, &info, file_size);
            match violations.first() {
                Some(rejection) if validation.mode != Mode::ReportOnly => {
                    Err(Refused::picture(*rejection, &info, file_size))
                }
                Some(_) | None => {
                    let violations = violations.iter().map(|rejection| rejection.reason).collect();
                    Ok(Inspected { body, sha256: fetched.sha256, info, violations })
                }
            }
        });
        Ok((Arrived { idx, downloaded: true, is_cut: false, result }, Some(fetched.download)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 237: a URL that was never asked for says nothing about the network, and one whose host is busy
    /// says that there is one.
    #[test]
    fn what_was_never_asked_for_does_not_mean_that_nothing_is_reachable() {
        let is_without_network = |reasons: &[Reason]| {
            let item = |reason: &Reason| ItemReport::rejected(0, String::new(), None, *reason);
            is_without_network(&reasons.iter().map(item).collect::<Vec<_>>())
        };
        assert!(!is_without_network(&[]));
        assert!(!is_without_network(&[Reason::Deadline, Reason::UrlRefused, Reason::HostBusy]));
        assert!(is_without_network(&[Reason::Deadline, Reason::ConnectFailed]));
        assert!(!is_without_network(&[Reason::HostBusy, Reason::NameNotResolved]));
    }
}
