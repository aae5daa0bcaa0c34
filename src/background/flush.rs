//! The flush: metrics leave while the process is there. A host kills an idle process without a signal,
//! and what waits for the next minute goes with it.

use crate::{
    process::{Invocations, Shutdown},
    telemetry::Export,
};
use std::{convert::Infallible, time::Duration};
use tokio::time::{sleep, timeout};

/// A pause between two messages of a job is shorter: the flush is for the last of them.
const QUIET: Duration = Duration::from_secs(1);
/// From the end of one flush to the next; what ends meanwhile is in that one.
const PERIOD: Duration = Duration::from_secs(10);

/// Sends metrics whenever the process falls idle, and at each moment of its shutdown.
pub(super) async fn flush_until_drained(
    shutdown: Shutdown,
    invocations: Invocations,
    export: Export,
) {
    tokio::select! {
        () = shutdown.intake_stopped() => {}
        never = flush_when_idle(&invocations, &export) => match never {},
    }
    // A host kills a drained process soon, and an interval of metrics with it.
    export.flush();
    shutdown.drain_over().await;
    export.flush();
}

async fn flush_when_idle(invocations: &Invocations, export: &Export) -> Infallible {
    loop {
        fall_idle(invocations).await;
        export.flush_metrics().await;
        sleep(PERIOD).await;
    }
}

/// Waits until an invocation has ended, none is open, and none has ended for a moment.
async fn fall_idle(invocations: &Invocations) {
    invocations.ended.notified().await;
    loop {
        let has_more_ended = timeout(QUIET, invocations.ended.notified()).await.is_ok();
        if !has_more_ended && invocations.open.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last end of a burst is what counts, and no end is forgotten that comes while nobody waits.
    #[tokio::test]
    async fn a_process_falls_idle_after_its_last_end_and_once() {
        let invocations = Invocations::default();
        let Invocations { open, ended } = invocations.clone();
        let second = open.token();
        ended.notify_one();
        let waits = async { fall_idle(&invocations).await };
        let early = tokio::select! {
            () = waits => true,
            () = sleep(QUIET * 3) => false,
        };
        assert!(!early, "one is still open");
        ended.notify_one();
        drop(second);
        fall_idle(&invocations).await;
        let again = timeout(QUIET * 3, fall_idle(&invocations)).await;
        assert!(again.is_err(), "each end is told once");
    }
}
