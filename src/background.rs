//! What runs while invocations come and go: renewal of leases, rounds of the upkeep, probes, sweep,
//! flush of metrics.

mod blocklists;
mod check_in;
mod flush;
mod probe;
mod rounds;
mod shutdown;

pub use shutdown::{Ending, until_shutdown};

use crate::{
    process::Process,
    stall::WATCH,
    state::Keeper,
    telemetry::Export,
    upkeep::{self, Upkeep},
};
use blocklists::look_until_stopped;
use check_in::check_in_until_stopped;
use flush::flush_until_drained;
use futures_util::future::OptionFuture;
use probe::probe_until_stopped;
use rounds::{Rounds, UPKEEP_PERIOD};
use std::{io, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::task::TaskTracker;

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
    invocations: &TaskTracker,
    export: Option<Export>,
) -> io::Result<JoinSet<()>> {
    start_keeper(keeper, Arc::clone(process))?;
    let mut tasks = JoinSet::new();
    let drained = process.shutdown.clone();
    tasks.spawn(async move { WATCH.tick_until(drained.drain_over()).await });
    tasks.spawn(sweep(Arc::clone(process), Arc::clone(&upkeep)));
    if let Some(export) = export.clone() {
        tasks.spawn(flush_until_drained(Arc::clone(process), invocations.clone(), export));
    }
    tasks.spawn(probe_until_stopped(Arc::clone(process)));
    if process.blocklists.are_any() {
        tasks.spawn(look_until_stopped(Arc::clone(process)));
    }
    tasks.spawn(check_in_until_stopped(Arc::clone(process), Arc::clone(&upkeep)));
    let process = Arc::clone(process);
    tasks.spawn(async move {
        // Without telemetry they wait for a process that has it.
        let failures = export.map(|e| upkeep::export_failures(&process, e, UPKEEP_PERIOD));
        tokio::join!(Rounds::new(&process, &upkeep).run(), OptionFuture::from(failures));
    });
    Ok(tasks)
}

/// The keeper has a thread of its own: an origin that keeps every worker thread busy, for example
/// with an endless row of interim answers, must not cost the leases.
fn start_keeper(keeper: Arc<Keeper>, process: Arc<Process>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("keeper".into());
    thread.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = keeper.renew_until(process.shutdown.drain_over()) => {}
                // A renewal may need a new connection, and that one a login.
                never = process.database.keep_login() => match never {},
            }
        });
    })?;
    Ok(())
}

/// The sweep that nobody asks for. Not a duty: it goes on although the database is away.
async fn sweep(process: Arc<Process>, upkeep: Arc<Upkeep>) {
    loop {
        sleep(SWEEP_PERIOD).await;
        if process.shutdown.is_intake_stopped() {
            return;
        }
        upkeep.sweep().await;
    }
}
