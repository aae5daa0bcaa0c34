//! M3: failed chunks reach telemetry at least once, whatever becomes of the process that failed them.

use crate::{
    process::Process,
    redact::cause_chain,
    state::{self, until_answered},
    telemetry::{Export, FAILED_CHUNKS},
};
use std::{future::pending, time::Duration};
use tokio::time::sleep;

/// Sends failures that telemetry has not confirmed, every `period`, until intake stops. Not one of
/// the duties: an endpoint that hangs takes its time.
pub(crate) async fn export_failures(process: &Process, export: Export, period: Duration) {
    let mut is_failing = false;
    while !process.shutdown.is_intake_stopped() {
        let result = export_once(process, &export).await;
        if let Err(error) = &result
            && !is_failing
        {
            let cause = cause_chain(error);
            tracing::warn!(cause, "failed chunks are not sent to telemetry, trying again");
        }
        is_failing = result.is_err();
        tokio::select! {
            () = process.shutdown.intake_stopped() => {}
            () = sleep(period) => {}
        }
    }
}

async fn export_once(process: &Process, export: &Export) -> Result<(), state::Error> {
    let Process { database, owner, .. } = process;
    let Some(taken) = database.take_failures(owner).await? else { return Ok(()) };
    if taken.again {
        tracing::warn!(n = taken.n, "sending failed chunks again: no process confirmed them");
    }
    let n = u64::try_from(taken.n).unwrap_or(0);
    if export.send_counter(FAILED_CHUNKS, n).await.is_err() {
        // The upload logged why. The process that takes them next sends all of them once more.
        return Ok(());
    }
    // Confirmed by the endpoint: this must be written down, or they are counted twice.
    let confirm = || database.failures_exported(owner, taken);
    until_answered(pending(), state::Error::is_away, confirm).await
}
