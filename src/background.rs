//! What runs beside the invocations: connect, heartbeat, passes, sweep, signals, parent watch.

mod shutdown;

pub use shutdown::{Ending, until_shutdown};

use crate::{
    jobs,
    run::Worker,
    spool::{Swept, TempDir},
    state::{self, Reclaimed},
    telemetry::{Export, FAILED_CHUNKS, cause_chain},
};
use futures_util::future::OptionFuture;
use std::{collections::BTreeSet, future::Future, io, sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio::{task::JoinSet, time::sleep};

/// Between two looks at what should be woken, reclaimed or ended.
const PASS_PERIOD: Duration = Duration::from_secs(5);
/// Between two sweeps of the temp root.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Between two tries to prepare database and storage.
const PREPARE_PAUSE: Duration = Duration::from_secs(1);

/// Starts everything; dropping the set stops it, but for the heartbeat, which ends when the drain
/// is over.
///
/// # Errors
///
/// When the heartbeat's thread cannot be started.
pub fn start(worker: &Arc<Worker>, export: Option<Export>) -> io::Result<JoinSet<()>> {
    heartbeat_thread(Arc::clone(worker))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(sweep(Arc::clone(worker)));
    if let Some(export) = export.clone() {
        let (intake_stopped, drain_over) = (&worker.intake_stopped, &worker.drain_over);
        tasks.spawn(export.flush_at_drain(intake_stopped.clone(), drain_over.clone()));
    }
    let worker = Arc::clone(worker);
    tasks.spawn(async move {
        prepare(&worker).await;
        tracing::info!("ready");
        // Without telemetry they wait for a process that has it.
        let failures = OptionFuture::from(export.map(|export| failures(&worker, export)));
        tokio::join!(passes(&worker), failures);
    });
    Ok(tasks)
}

/// The heartbeat has a thread of its own: an origin that keeps every worker thread busy, with an
/// endless row of interim answers for one, must not cost the leases.
fn heartbeat_thread(worker: Arc<Worker>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("heartbeat".into());
    thread.spawn(move || runtime.block_on(heartbeat(worker)))?;
    Ok(())
}

/// Brings schema, fleet row, containers and queues up to date; invocations wait meanwhile.
async fn prepare(worker: &Worker) {
    until_done("migrate", || async { Ok(worker.database.migrate().await?) }).await;
    until_done("announce", || async { Ok(worker.database.announce(&worker.settings).await?) })
        .await;
    until_done("containers and queues", || async { Ok(worker.storage.create_places().await?) })
        .await;
}

async fn until_done<F>(what: &'static str, run: impl Fn() -> F)
where
    F: Future<Output = Result<(), jobs::Error>>,
{
    let mut noted = false;
    while let Err(error) = run().await {
        if !noted {
            let cause = cause_chain(&error);
            tracing::warn!(what, cause, "not ready yet, trying on");
            noted = true;
        }
        sleep(PREPARE_PAUSE).await;
    }
}

/// Renews all leases of this process in one statement every L/4, sooner after a failure.
async fn heartbeat(worker: Arc<Worker>) {
    let lease = worker.database.lease();
    let mut is_away = false;
    while !worker.drain_over.is_cancelled() {
        let pause = if is_away { lease / 16 } else { lease / 4 };
        sleep(pause).await;
        let result = worker.database.heartbeat(&worker.leases()).await;
        if let Err(error) = &result
            && !is_away
        {
            tracing::warn!(cause = cause_chain(error), "heartbeat failed, trying on");
        }
        is_away = result.is_err();
    }
}

/// Every few seconds: reclaim, sweep when asked to, end jobs, top the queue up, take what the host
/// gave up on. Each part fails alone.
async fn passes(worker: &Worker) {
    let mut parts = Parts::default();
    let mut swept_at = None;
    while !worker.intake_stopped.is_cancelled() {
        parts.pass(worker, &mut swept_at).await;
        tokio::select! {
            () = worker.intake_stopped.cancelled() => {}
            () = sleep(PASS_PERIOD) => {}
        }
    }
}

/// The parts of a pass that failed last time: a failure is told once.
#[derive(Default)]
struct Parts {
    failing: BTreeSet<&'static str>,
}

impl Parts {
    async fn pass(&mut self, worker: &Worker, swept_at: &mut Option<OffsetDateTime>) {
        let (database, storage) = (&worker.database, &worker.storage);
        worker.budget.look_beside();
        let reclaim = async { Ok(database.reclaim().await?) };
        if let Some(Reclaimed { reclaimed: reclaimed @ 1.., failed }) =
            self.part(worker, "reclaim", reclaim).await
        {
            tracing::warn!(reclaimed, failed, "reclaimed expired leases");
            worker.metrics.reclaimed(reclaimed);
        }
        let asked = async { Ok(database.sweep_asked_at().await?) };
        let asked = self.part(worker, "sweep", asked).await.flatten();
        if asked > *swept_at {
            *swept_at = asked;
            sweep_once(worker).await;
        }
        self.part(worker, "end jobs", jobs::end_jobs(database, storage, None)).await;
        self.part(worker, "wake", jobs::wake_pass(database, storage, &worker.owner)).await;
        self.part(worker, "poison", jobs::drain_poison(database, storage)).await;
    }

    /// Runs a part, unless the process drains: a draining process wakes nobody.
    async fn part<T>(
        &mut self,
        worker: &Worker,
        name: &'static str,
        run: impl Future<Output = Result<T, jobs::Error>>,
    ) -> Option<T> {
        if worker.intake_stopped.is_cancelled() {
            return None;
        }
        // Boxed: the storage client's futures are large.
        match Box::pin(run).await {
            Ok(value) => {
                self.failing.remove(name);
                Some(value)
            }
            Err(error) => {
                if self.failing.insert(name) {
                    let cause = cause_chain(&error);
                    tracing::warn!(part = name, cause, "a background pass failed, trying on");
                }
                None
            }
        }
    }
}

/// M3: tells telemetry of failed chunks, and again until it confirms: at least once. No part of the
/// passes: an endpoint that hangs takes its time.
async fn failures(worker: &Worker, export: Export) {
    let mut is_failing = false;
    while !worker.intake_stopped.is_cancelled() {
        let result = tell_failures(worker, &export).await;
        if let Err(error) = &result
            && !is_failing
        {
            let cause = cause_chain(error);
            tracing::warn!(cause, "telemetry is not told of failed chunks, trying on");
        }
        is_failing = result.is_err();
        tokio::select! {
            () = worker.intake_stopped.cancelled() => {}
            () = sleep(PASS_PERIOD) => {}
        }
    }
}

async fn tell_failures(worker: &Worker, export: &Export) -> Result<(), state::Error> {
    let Some(taken) = worker.database.take_failures(&worker.owner).await? else { return Ok(()) };
    if taken.again {
        tracing::warn!(n = taken.n, "telling of failed chunks again: nobody confirmed it");
    }
    let n = u64::try_from(taken.n).unwrap_or(0);
    if export.send_counter(FAILED_CHUNKS, n).await.is_err() {
        // The upload said why. Whoever takes them next tells all of them once more.
        return Ok(());
    }
    state::until_back(|| worker.database.failures_exported(&worker.owner, taken)).await
}

/// Never in the timer: that may run on another machine.
async fn sweep(worker: Arc<Worker>) {
    while !worker.intake_stopped.is_cancelled() {
        sweep_once(&worker).await;
        sleep(SWEEP_PERIOD).await;
    }
}

async fn sweep_once(worker: &Worker) {
    let root = worker.settings.temp_root.clone();
    match tokio::task::spawn_blocking(move || TempDir::sweep(&root)).await {
        Ok(Ok(swept)) if swept.directories > 0 => {
            let Swept { directories, bytes } = swept;
            tracing::info!(directories, bytes, "swept temp space of dead processes");
        }
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(cause = %error, "temp space cannot be swept"),
        Err(error) => tracing::warn!(cause = %error, "the sweep broke"),
    }
}
