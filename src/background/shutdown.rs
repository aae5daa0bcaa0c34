//! The end of the process: signals, a parent that is gone, and what each asks for (H1-H3).

use crate::{process::Process, stall::WATCH};
use std::{os::unix::process::parent_id, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

/// How the process must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Code 0: nobody watches.
    Clean,
    /// Code 200: a host starts the next process and counts nothing (rule H1).
    Deliberate,
    /// Code 1, at once: a second signal.
    Abrupt,
}

/// How often the parent process is checked.
const PARENT_PERIOD: Duration = Duration::from_millis(500);
/// Releasing leases and answering what is open, after the grace period.
const RELEASE_TIME: Duration = Duration::from_millis(1500);
/// How long a drained process stays for its host to end it.
const STAY: Duration = Duration::from_secs(12);

/// A host asks every 28 ms from the start and gives up after 37 s; who was not asked by then has none.
const ASKED_WITHIN: Duration = Duration::from_secs(60);

/// Waits for a reason to stop, drains, and says how to end.
///
/// `parent` is the process that started this one, read before anything else: a host that dies
/// meanwhile is noticed as one that dies later. `asked` ends when the host has asked for the first
/// time.
///
/// # Errors
///
/// When signals cannot be listened for.
pub async fn until_shutdown(
    process: &Process,
    invocations: &TaskTracker,
    parent: u32,
    asked: impl Future<Output = ()>,
) -> std::io::Result<Ending> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let has_host = process.settings.host.has_parent_host;
    let never_asked = async {
        if WATCH.timeout(ASKED_WITHIN, asked).await.is_some() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = next(&mut terminate, &mut interrupt) => {}
        () = gone(parent, never_asked), if has_host => {
            tracing::warn!("the host is gone, releasing leases");
            drain(process, invocations, Duration::ZERO).await;
            return Ok(Ending::Clean);
        }
    }
    tracing::info!("draining: no new chunk starts");
    let settled = async {
        drain(process, invocations, process.settings.drain).await;
        if has_host {
            // An early exit would make the host start another process; code 0 would stop it from
            // ever noticing.
            tokio::select! {
                () = sleep(STAY) => Ending::Deliberate,
                () = orphaned(parent) => Ending::Clean,
            }
        } else {
            Ending::Clean
        }
    };
    tokio::select! {
        ending = settled => Ok(ending),
        () = next(&mut terminate, &mut interrupt) => Ok(Ending::Abrupt),
        () = orphaned_while_draining(process, parent), if has_host => {
            drain(process, invocations, Duration::ZERO).await;
            Ok(Ending::Clean)
        }
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// `PR_SET_PDEATHSIG` is no substitute: it fires when the parent *thread* ends, and a .NET host
/// starts children from pool threads.
async fn orphaned(parent: u32) {
    while parent_id() == parent {
        sleep(PARENT_PERIOD).await;
    }
}

/// Waits until there is no host, or there never was one.
async fn gone(parent: u32, never_asked: impl Future<Output = ()>) {
    tokio::select! {
        () = orphaned(parent) => {}
        () = never_asked => {}
    }
}

/// A host that is gone waits for no chunk: what still runs is released at once.
async fn orphaned_while_draining(process: &Process, parent: u32) {
    orphaned(parent).await;
    process.shutdown.end_drain();
}

/// Stops intake, lets chunks finish within `grace`, releases the rest.
async fn drain(process: &Process, invocations: &TaskTracker, grace: Duration) {
    process.shutdown.stop_intake();
    invocations.close();
    if timeout(grace, invocations.wait()).await.is_err() {
        process.shutdown.end_drain();
        if timeout(RELEASE_TIME, invocations.wait()).await.is_err() {
            tracing::warn!("some leases are left to run out");
        }
    }
    // Nothing runs any more: what waits for the end of the drain may go on.
    process.shutdown.end_drain();
}
