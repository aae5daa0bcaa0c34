//! What runs while invocations come and go: preparation, renewal of leases, upkeep, sweep.

mod shutdown;

pub use shutdown::{Ending, until_shutdown};

use crate::{
    process::{Error, Process},
    redact::cause_chain,
    state::{Keeper, until_answered},
    telemetry::Export,
    upkeep::{self, Duty, Upkeep},
};
use futures_util::future::OptionFuture;
use std::{
    collections::BTreeSet,
    future::{Future, pending},
    io,
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// Between two rounds of the upkeep.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);
/// Between two sweeps of the temp root.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// Starts everything; dropping the set stops it, but for the renewal of leases, which ends when the
/// drain is over.
///
/// # Errors
///
/// When the thread that renews leases cannot be started.
pub fn start(
    process: &Arc<Process>,
    keeper: Arc<Keeper>,
    upkeep: Arc<Upkeep>,
    export: Option<Export>,
) -> io::Result<JoinSet<()>> {
    start_keeper(keeper, Arc::clone(process))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(sweep(Arc::clone(process)));
    if let Some(export) = export.clone() {
        let shutdown = process.shutdown.clone();
        tasks.spawn(async move {
            // A host kills a drained process soon, and an interval of metrics with it.
            shutdown.intake_stopped().await;
            export.flush();
            shutdown.drain_over().await;
            export.flush();
        });
    }
    let process = Arc::clone(process);
    tasks.spawn(async move {
        prepare(&process).await;
        tracing::info!("ready");
        // Without telemetry they wait for a process that has it.
        let failures = export.map(|e| upkeep::export_failures(&process, e, UPKEEP_PERIOD));
        tokio::join!(rounds(&process, &upkeep), OptionFuture::from(failures));
    });
    Ok(tasks)
}

/// The keeper has a thread of its own: an origin that keeps every worker thread busy, for example
/// with an endless row of interim answers, must not cost the leases.
fn start_keeper(keeper: Arc<Keeper>, process: Arc<Process>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("keeper".into());
    thread.spawn(move || runtime.block_on(keeper.renew_until(process.shutdown.drain_over())))?;
    Ok(())
}

/// Brings schema, fleet row, containers and queues up to date; invocations wait meanwhile.
async fn prepare(process: &Process) {
    let Process { database, storage, settings, .. } = process;
    until_done(|| async { Ok(database.migrate().await?) }).await;
    // Once: the process that starts last decides, not the one that waits longest.
    until_done(|| async { Ok(database.announce(settings).await?) }).await;
    until_done(|| async { Ok(storage.create_containers_and_queues().await?) }).await;
}

/// Does a step of the preparation, whatever its errors are: nothing can go on without it.
async fn until_done<F: Future<Output = Result<(), Error>>>(step: impl Fn() -> F) {
    until_answered(pending(), |_| true, step).await.unwrap_or_default();
}

/// Does every duty, again and again, until intake stops: a draining process wakes nobody.
async fn rounds(process: &Process, upkeep: &Upkeep) {
    // The duties that failed last time: a failure is logged once.
    let mut failing = BTreeSet::new();
    while !process.shutdown.is_intake_stopped() {
        process.budget.recount_others();
        for duty in Duty::ALL {
            if process.shutdown.is_intake_stopped() {
                return;
            }
            match upkeep.run(duty).await {
                Ok(_) => {
                    failing.remove(&duty);
                }
                Err(error) => {
                    if failing.insert(duty) {
                        let cause = cause_chain(&error);
                        tracing::warn!(duty = duty.name(), cause, "a duty failed, trying again");
                    }
                }
            }
        }
        tokio::select! {
            () = process.shutdown.intake_stopped() => {}
            () = sleep(UPKEEP_PERIOD) => {}
        }
    }
}

/// The sweep that nobody asks for. Not a duty: it goes on although the database is away.
async fn sweep(process: Arc<Process>) {
    while !process.shutdown.is_intake_stopped() {
        upkeep::sweep(&process).await;
        sleep(SWEEP_PERIOD).await;
    }
}
