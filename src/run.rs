//! One chunk from admitted to a terminal state; the only place that picks a [`Disposition`].
#![deny(clippy::wildcard_enum_match_arm)]

mod work;

use crate::{
    admission::{self, Admitted, Asker, Decision, Deferral},
    chunk::{ChunkId, ChunkMessage, Failure, Fence, Manifest, Report},
    jobs,
    pipeline::{self, Stages},
    settings::{MIB, Settings},
    spool::Budget,
    state::{self, Database, GiveUp, GivenUp, Lease, Refusal, Released, Renewal},
    storage::{self, Storage},
    telemetry::{self, Metrics, cause_chain},
};
use futures_util::FutureExt as _;
use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Everything a chunk needs, once for each process.
#[derive(Debug)]
pub struct Worker {
    /// What the environment decided.
    pub settings: Settings,
    /// State.
    pub database: Database,
    /// Blob and queue.
    pub storage: Storage,
    /// Bytes and places.
    pub budget: Arc<Budget>,
    /// The pipeline's shared parts.
    pub stages: Arc<Stages>,
    /// What is counted.
    pub metrics: Metrics,
    /// Who owns this process's leases.
    pub owner: String,
    /// Cancelled when nothing new may start.
    pub intake_stopped: CancellationToken,
    /// Cancelled when running chunks must be released.
    pub drain_over: CancellationToken,
    leases: Mutex<HashMap<(ChunkId, Fence), Renewal>>,
}

/// A lease in the heartbeat's care, until it is dropped.
struct InCare<'a> {
    worker: &'a Worker,
    key: (ChunkId, Fence),
}

impl Drop for InCare<'_> {
    fn drop(&mut self) {
        self.worker.with_leases(|leases| leases.remove(&self.key));
    }
}

/// What the host should do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Delete it: the chunk is over, or will be woken when it can run.
    Done(String),
    /// Delete it: the chunk is released and will be woken.
    Retry {
        /// Whether the attempt counts.
        charged: bool,
        /// Why, for people.
        summary: String,
    },
    /// Delete it, once it is recorded: it can never work.
    Rejected {
        /// Why.
        reason: String,
    },
    /// Deliver it again: the database stayed away.
    DatabaseAway,
}

/// One delivery of a message.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The host's id for it.
    pub id: String,
    /// When it arrived.
    pub arrived: Instant,
}

/// Why a chunk's run ended without a report.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the lease is lost")]
    LeaseLost,
    #[error("a newer claim wrote the shard")]
    Superseded,
    #[error("the process drains")]
    Drained,
    #[error("the chunk overran its deadline")]
    Overran,
    #[error("no URL got any HTTP answer")]
    NothingReachable,
    #[error("the source blob is missing")]
    SourceMissing,
    #[error("the source has more than 10000 URLs")]
    SourceTooLarge,
    #[error("the chunk panicked: {0}")]
    Panicked(String),
    #[error("the registered message cannot be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    State(#[from] state::Error),
    #[error("the spool failed")]
    Spool(#[source] io::Error),
}

impl From<pipeline::Error> for Fault {
    fn from(error: pipeline::Error) -> Self {
        match error {
            pipeline::Error::Spool(error) => Self::Spool(error),
            pipeline::Error::Storage(error) => Self::Storage(error),
            pipeline::Error::State(error) => Self::State(error),
        }
    }
}

/// Work ends this long after its invocation arrived at the latest. The host's own limit is 1200 s,
/// ours 1140 s: in between lie a last call that waits for the database and the next wake-up.
const WORK_LIMIT: Duration = Duration::from_secs(1080);
/// The database is asked to complete or give up a chunk until then, counted from the arrival.
const LAST_CALL: Duration = Duration::from_secs(1125);
/// The next wake-up and the job's end, before the answer.
const AFTER_LIMIT: Duration = Duration::from_secs(10);

impl Worker {
    /// Puts the parts together.
    pub fn new(
        settings: Settings,
        database: Database,
        storage: Storage,
        budget: Arc<Budget>,
        stages: Stages,
    ) -> Self {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let short = unique.get(..8).unwrap_or_default();
        let owner = format!("{}/{}/{short}", settings.host.instance, std::process::id());
        Self {
            settings,
            database,
            storage,
            metrics: Metrics::new(&budget),
            budget,
            stages: Arc::new(stages),
            owner,
            intake_stopped: CancellationToken::new(),
            drain_over: CancellationToken::new(),
            leases: Mutex::default(),
        }
    }

    /// The leases of this process, for the heartbeat.
    pub fn leases(&self) -> Vec<Renewal> {
        self.with_leases(|leases| leases.values().cloned().collect())
    }

    fn with_leases<T>(&self, act: impl FnOnce(&mut HashMap<(ChunkId, Fence), Renewal>) -> T) -> T {
        act(&mut self.leases.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a lease into the heartbeat's care; none when this very claim is in it already: the
    /// same invocation came twice, and two pipelines of one fence would mix their blocks.
    fn take_care(&self, lease: &Lease) -> Option<InCare<'_>> {
        let key = (lease.id, lease.fence);
        let is_new = self.with_leases(|leases| match leases.entry(key) {
            Entry::Vacant(place) => {
                place.insert(lease.renewal());
                true
            }
            Entry::Occupied(_) => false,
        });
        is_new.then_some(InCare { worker: self, key })
    }

    /// Runs the chunk of a message, if it may run here and now.
    pub async fn process(&self, message: &ChunkMessage, invocation: &Invocation) -> Disposition {
        let asker = Asker {
            owner: &self.owner,
            invocation: &invocation.id,
            arrived: invocation.arrived,
            drain: &self.intake_stopped,
            metrics: &self.metrics,
        };
        match admission::admit(&self.database, &self.budget, message, asker).await {
            Decision::Admitted(admitted) => self.run(admitted, invocation).await,
            Decision::Deferred(deferral) => {
                Disposition::Done(format!("chunk {}: {}", message.id(), explain(deferral)))
            }
            Decision::Rejected(reason) => Disposition::Rejected { reason },
            Decision::DatabaseAway => Disposition::DatabaseAway,
        }
    }

    async fn run(&self, admitted: Admitted, invocation: &Invocation) -> Disposition {
        let Admitted { claim, allowance } = admitted;
        let id = claim.lease.id;
        let Some(in_care) = self.take_care(&claim.lease) else {
            let running = explain(Deferral::Refused(Refusal::Running));
            return Disposition::Done(format!("chunk {id}: {running}"));
        };
        let started = Instant::now();
        telemetry::chunk_started(&claim, self.budget.temp_used_bytes() / MIB);
        self.metrics.started();
        let deadline = self.deadline(invocation);
        let result = tokio::select! {
            result = AssertUnwindSafe(self.work(&claim, &allowance, deadline)).catch_unwind() => {
                result.unwrap_or_else(|panic| Err(Fault::Panicked(panic_text(panic.as_ref()))))
            }
            () = claim.lease.expired() => Err(Fault::LeaseLost),
            () = self.drain_over.cancelled() => Err(Fault::Drained),
            () = sleep_until(deadline) => Err(Fault::Overran),
        };
        let temp_peak = allowance.temp_peak_bytes();
        let until = invocation.arrived + LAST_CALL;
        let disposition = match result {
            Ok(manifest) => self.complete(claim.lease, &manifest, started, until).await,
            Err(fault) => self.give_up(claim.lease, fault, temp_peak, until).await,
        };
        // The place goes after the slot: else the next chunk would be claimed beside this one.
        drop((allowance, in_care));
        self.wake_next(id).await;
        disposition
    }

    fn deadline(&self, invocation: &Invocation) -> Instant {
        let chunk = Instant::now() + self.settings.chunk_deadline;
        chunk.min(invocation.arrived + WORK_LIMIT)
    }

    async fn complete(
        &self,
        lease: Lease,
        manifest: &Manifest,
        started: Instant,
        until: Instant,
    ) -> Disposition {
        let id = lease.id;
        let report = Report::from_manifest(manifest);
        let name = id.manifest_blob(&format!("job_{}", id.job_id));
        let complete = self.database.complete(lease, &report, &name, until);
        let span = tracing::info_span!("complete", otel.kind = "client", db.system = "postgresql");
        let completed = complete.instrument(span).await;
        let totals = &report.totals;
        match completed {
            Ok(()) => {
                tracing::info!(
                    images_downloaded = totals.images_downloaded,
                    images_valid = totals.images_valid,
                    duration_sec = started.elapsed().as_secs_f64(),
                    "Chunk completed"
                );
                self.metrics.completed(totals, started.elapsed());
                Disposition::Done(format!(
                    "chunk {id}: completed, {} of {} images valid",
                    totals.images_valid, totals.images_total
                ))
            }
            Err(error) => {
                let cause = cause_chain(&error);
                tracing::warn!(cause, "lease lost before the chunk was completed");
                Disposition::Retry { charged: false, summary: format!("chunk {id}: {cause}") }
            }
        }
    }

    /// The one judge of faults: charged or not, and what the row says.
    async fn give_up(
        &self,
        lease: Lease,
        fault: Fault,
        temp_peak: u64,
        until: Instant,
    ) -> Disposition {
        let id = lease.id;
        let release = GiveUp::Release { backoff: true };
        let retry = GiveUp::Retry { max_attempts: self.settings.max_attempts };
        let (how, code) = match &fault {
            Fault::LeaseLost | Fault::Superseded => (release, Failure::LeaseLost),
            Fault::Drained => (GiveUp::Release { backoff: false }, Failure::Drained),
            Fault::Storage(storage::Error::Away { .. }) => (release, Failure::StorageUnreachable),
            Fault::Storage(storage::Error::Conflict { .. }) => (release, Failure::StorageConflict),
            Fault::Storage(storage::Error::Missing { .. }) => (retry, Failure::StorageMissing),
            Fault::Storage(storage::Error::Refused { .. }) => (retry, Failure::StorageRefused),
            Fault::State(state::Error::Away { .. }) => (release, Failure::DatabaseAway),
            Fault::State(state::Error::LeaseLost(_)) => (release, Failure::LeaseLost),
            Fault::State(state::Error::Refused { .. } | state::Error::Migrate(_)) => {
                (retry, Failure::DatabaseRefused)
            }
            Fault::Spool(error) if is_disk_full(error) => (release, Failure::DiskFull),
            Fault::Spool(_) => (retry, Failure::SpoolFailed),
            Fault::Overran => (retry, Failure::DeadlineOverrun),
            Fault::NothingReachable => (GiveUp::Fail, Failure::NothingReachable),
            Fault::SourceMissing => (retry, Failure::SourceMissing),
            Fault::SourceTooLarge => (GiveUp::Fail, Failure::SourceTooLarge),
            Fault::Panicked(_) => (retry, Failure::Panic),
            Fault::Unreadable(_) => (GiveUp::Fail, Failure::MessageUnreadable),
        };
        let cause = cause_chain(&fault);
        let why = Released { how, code, message: &cause, temp_peak_bytes: temp_peak };
        let given_up = self.database.give_up(lease, &why, until).await;
        let (outcome, charged) = match given_up {
            Ok(GivenUp::Released) => ("released", false),
            Ok(GivenUp::Retried) => ("will be retried", true),
            Ok(GivenUp::Failed) => ("failed", true),
            Err(_) => ("left to reclaim", false),
        };
        if let Ok(GivenUp::Released | GivenUp::Retried) = given_up {
            self.metrics.released();
        }
        // What a library panicked with may quote what it worked on.
        let told = if matches!(fault, Fault::Panicked(_)) { "" } else { cause.as_str() };
        telemetry::exception(&code.to_string(), told);
        tracing::warn!(%code, cause, outcome, "Chunk not completed");
        Disposition::Retry { charged, summary: format!("chunk {id}: {outcome} ({code}: {cause})") }
    }

    /// Whoever ends or releases a chunk wakes exactly one, and ends its job if that was the last.
    async fn wake_next(&self, id: ChunkId) {
        if self.intake_stopped.is_cancelled() {
            return;
        }
        let after = async {
            jobs::wake(&self.database, &self.storage, 1).await?;
            jobs::end_jobs(&self.database, &self.storage, Some(id.job_id)).await
        };
        // What does not happen here the background pass does within seconds.
        match timeout(AFTER_LIMIT, after).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(cause = cause_chain(&error), "left to the next pass"),
            Err(_) => tracing::debug!("no time left, left to the next pass"),
        }
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn explain(deferral: Deferral) -> &'static str {
    match deferral {
        Deferral::InstanceFull => "this instance is full, the chunk waits",
        Deferral::Refused(Refusal::Completed) => "completed already",
        Deferral::Refused(Refusal::Failed) => "failed already",
        Deferral::Refused(Refusal::WorkerLost) => {
            "failed: it lost its worker twenty times in a row"
        }
        Deferral::Refused(Refusal::Cancelled) => "cancelled",
        Deferral::Refused(Refusal::Running) => "running already",
        Deferral::Refused(Refusal::Later) => "not due yet, the chunk waits",
        Deferral::Refused(Refusal::Full) => "all slots are taken, the chunk waits",
        Deferral::Refused(Refusal::Paused) => "intake is paused, the chunk waits",
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
