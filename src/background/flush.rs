//! The flush: metrics leave while the process is there. A host kills an idle process without a signal,
//! and what waits for the next minute goes with it.

use crate::{process::Process, telemetry::Export};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

/// A pause between two messages of a job is mostly shorter: the flush is for the last of them.
const QUIET: Duration = Duration::from_secs(1);
/// From the end of one flush to the next; what is counted meanwhile is in that one.
const PERIOD: Duration = Duration::from_secs(10);
/// Longer than chunks have for their release when the drain is over.
const RELEASED: Duration = Duration::from_secs(2);

/// Sends metrics whenever the process falls idle, and at each moment of its shutdown.
pub(super) async fn flush_until_drained(
    process: Arc<Process>,
    invocations: TaskTracker,
    export: Export,
) {
    let Process { metrics, shutdown, .. } = &*process;
    while !shutdown.is_intake_stopped() {
        tokio::select! {
            () = shutdown.intake_stopped() => {}
            () = flush_when_idle(&metrics.counted, &invocations, &export) => {}
        }
    }
    // A host kills a drained process soon, and an interval of metrics with it.
    export.flush();
    shutdown.drain_over().await;
    // What still ran is released now, and counted.
    timeout(RELEASED, invocations.wait()).await.unwrap_or_default();
    export.flush();
}

async fn flush_when_idle(counted: &Notify, invocations: &TaskTracker, export: &Export) {
    fall_idle(counted, invocations).await;
    export.flush_metrics().await;
    sleep(PERIOD).await;
}

/// Waits until something was counted, nothing more is for a moment, and no invocation is open.
async fn fall_idle(counted: &Notify, invocations: &TaskTracker) {
    counted.notified().await;
    loop {
        let is_quiet = timeout(QUIET, counted.notified()).await.is_err();
        if is_quiet && invocations.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of the last invocation is what counts, and nothing is forgotten that is counted while
    /// nobody waits.
    #[tokio::test]
    async fn a_process_falls_idle_when_its_last_invocation_has_ended_and_once() {
        let (counted, invocations) = (Notify::new(), TaskTracker::new());
        counted.notify_one();
        let second = invocations.token();
        let is_early = tokio::select! {
            () = fall_idle(&counted, &invocations) => true,
            () = sleep(QUIET * 3) => false,
        };
        assert!(!is_early, "one is still open");
        counted.notify_one();
        drop(second);
        fall_idle(&counted, &invocations).await;
        let again = timeout(QUIET * 3, fall_idle(&counted, &invocations)).await;
        assert!(again.is_err(), "nothing new was counted");
    }
}
