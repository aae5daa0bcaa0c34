//! One chunk's images: fetch, inspect, dedupe, shard, upload, wired with a bounded queue.
//!
//! Downloads go on while the shard waits for storage; the queue between them and the byte ledger
//! hold them back. What is spawned ends with the future that waits for it.

mod collect;
mod dedupe;
mod fetch;
mod shard;
pub(crate) mod upload;

use crate::{
    chunk::{
        ChunkMessage, Detail, Item, ItemReport, Mode, Reason, Rejection, Totals, Traffic,
        Validation,
    },
    settings::Settings,
    spool::{Allowance, Body, BodyReader},
    state::{self, Database, Lease},
    storage::{self, Storage},
    turns::{Seat, Turns},
};
use collect::Collector;
pub use fetch::SetupError;
use fetch::{ChunkFetch, Fetcher};
use futures_util::{StreamExt as _, stream};
use imagecheck::{ImageInfo, Level, inspect};
use std::{io, panic::resume_unwind, sync::Arc, time::Instant as StdInstant};
use tokio::{
    sync::{SemaphorePermit, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};
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
#[derive(Debug)]
pub struct Work<'a> {
    /// What to do.
    pub message: &'a ChunkMessage,
    /// The URLs.
    pub items: Arc<[Item]>,
    /// The claim.
    pub lease: &'a Lease,
    /// The chunk's part of the budget.
    pub allowance: Allowance,
    /// URLs that are not done by then fail with `deadline`.
    pub deadline: Instant,
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
    result: Result<Inspected, Rejection>,
}

/// Bodies between downloads and shard; each is paid for in the ledger.
const QUEUE_LENGTH: usize = 8;

/// Runs a chunk's images through all stages.
///
/// # Errors
///
/// [`Error::NothingReachable`] when URLs were tried and none got any HTTP answer; else faults of
/// spool, storage or database. A bad image is none.
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
    let max_bytes = work.message.validation.max_bytes(settings.limits.max_image_bytes);
    let chunk = stages.fetcher.chunk(work.allowance.clone(), max_bytes, work.deadline);
    let downloads = Downloads {
        decoders: stages.decoders.seat(),
        walkers: stages.walkers.seat(),
        stages: Arc::clone(stages),
        chunk: Arc::new(chunk),
        validation: work.message.validation.clone(),
        items: Arc::clone(&work.items),
        deadline: work.deadline,
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
    if !chunk.was_answered() && outcome.items.iter().any(was_tried) {
        return Err(Error::NothingReachable);
    }
    Ok(outcome)
}

/// Whether the URL was asked for on the network. One that was refused, that TLS has no name for, or
/// whose turn never came, says nothing about the network.
fn was_tried(item: &ItemReport) -> bool {
    item.detail != Some(Detail::BadName)
        && item
            .reason
            .is_some_and(|reason| !matches!(reason, Reason::UrlRefused | Reason::Deadline))
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
    items: Arc<[Item]>,
    deadline: Instant,
}

impl Downloads {
    /// Downloads and inspects every URL; order is that of arrival.
    async fn run(self, sender: mpsc::Sender<Arrived>) -> Result<(), Error> {
        let one = async |(idx, item): (usize, &Item)| {
            let (arrived, download) = tokio::select! {
                image = self.one_image(idx, item) => image?,
                () = sleep_until(self.deadline) => {
                    (Arrived { idx, downloaded: false, result: Err(Reason::Deadline.into()) }, None)
                }
            };
            let sent = sender.send(arrived).await;
            drop(download);
            // The receiver only goes away with the whole chunk.
            sent.map_err(|_| Error::Spool(io::ErrorKind::BrokenPipe.into()))
        };
        // All at once: the download semaphore and the host gates decide who goes on.
        let mut ends =
            stream::iter(self.items.iter().enumerate()).map(one).buffer_unordered(usize::MAX);
        while let Some(end) = ends.next().await {
            end?;
        }
        Ok(())
    }

    async fn one_image(
        &self,
        idx: usize,
        item: &Item,
    ) -> Result<(Arrived, Option<SemaphorePermit<'_>>), Error> {
        let stages = &self.stages;
        let fetched = match stages.fetcher.fetch(&item.url, &self.chunk).await {
            Ok(fetched) => fetched,
            Err(fetch::Error::Rejected(rejection)) => {
                return Ok((Arrived { idx, downloaded: false, result: Err(rejection) }, None));
            }
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
        let check = move |r: &mut BodyReader<'_>, len| {
            let _turn = turn;
            inspect(r, len, level)
        };
        let (body, checked) = fetched.body.examine(is_on_thread, check).await?;
        tracing::trace!(idx, took_ms = since.elapsed().as_millis(), "inspected");
        let result = checked.map_err(Rejection::from).and_then(|info| {
            let violations = violations(validation, &info, body.len());
            match violations.first() {
                Some(reason) if validation.mode != Mode::ReportOnly => {
                    Err(Rejection::from(*reason))
                }
                _ => Ok(Inspected { body, sha256: fetched.sha256, info, violations }),
            }
        });
        Ok((Arrived { idx, downloaded: true, result }, Some(fetched.download)))
    }
}

/// Which of the minimum sizes an image does not reach.
fn violations(validation: &Validation, info: &ImageInfo, file_size: u64) -> Vec<Reason> {
    let (width, height) = validation.min_dimensions();
    let too_small =
        file_size < validation.min_bytes() || info.width < width || info.height < height;
    if too_small { vec![Reason::TooSmall] } else { Vec::new() }
}
