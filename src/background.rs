//! What runs beside the invocations: connect, heartbeat, passes, sweep, signals, parent watch.

mod shutdown;

pub use shutdown::{Ending, until_shutdown};

use crate::{
    jobs,
    run::Worker,
    spool::{Swept, TempDir},
    telemetry::cause_chain,
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Between two looks at what should be woken, reclaimed or ended.
const PASS_PERIOD: Duration = Duration::from_secs(5);
/// Between two sweeps of the temp root.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Between two tries to prepare database and storage.
const PREPARE_PAUSE: Duration = Duration::from_secs(1);

/// Starts everything; dropping the set stops it.
pub fn start(worker: &Arc<Worker>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(heartbeat(Arc::clone(worker)));
    tasks.spawn(sweep(Arc::clone(worker)));
    let worker = Arc::clone(worker);
    tasks.spawn(async move {
        prepare(&worker).await;
        tracing::info!("ready");
        passes(&worker).await;
    });
    tasks
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

/// Every few seconds: reclaim, end jobs, top the queue up, take what the host gave up on.
async fn passes(worker: &Worker) {
    let mut is_away = false;
    let mut swept_at = None;
    loop {
        if worker.intake_stopped.is_cancelled() {
            return;
        }
        let result = pass(worker, &mut swept_at).await;
        if let Err(error) = &result
            && !is_away
        {
            let cause = cause_chain(error);
            tracing::warn!(cause, "a background pass failed, trying on");
        }
        is_away = result.is_err();
        tokio::select! {
            () = worker.intake_stopped.cancelled() => return,
            () = sleep(PASS_PERIOD) => {}
        }
    }
}

async fn pass(
    worker: &Worker,
    swept_at: &mut Option<time::OffsetDateTime>,
) -> Result<(), jobs::Error> {
    let (database, storage) = (&worker.database, &worker.storage);
    let reclaimed = database.reclaim().await?;
    if reclaimed > 0 {
        tracing::warn!(reclaimed, "reclaimed expired leases");
    }
    let asked = database.sweep_asked_at().await?;
    if asked > *swept_at {
        *swept_at = asked;
        sweep_once(worker).await;
    }
    jobs::end_jobs(database, storage, None).await?;
    jobs::wake_pass(database, storage, &worker.owner).await?;
    jobs::drain_poison(database, storage).await?;
    Ok(())
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
