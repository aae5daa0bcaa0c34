//! What a control command did, for programs: keys that stay, and no sentences.

use crate::failure::bail_as;
use chunk_handler::jobs::Applied;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The document of a command that was done.
pub(crate) fn as_json(applied: &Applied, paused_until: Option<OffsetDateTime>) -> Value {
    match applied {
        Applied::Paused { minutes } => {
            let until = paused_until.and_then(|until| until.format(&Rfc3339).ok());
            json!({"action": "pause", "minutes_left": minutes, "paused_until": until})
        }
        Applied::Resumed { sent } => json!({"action": "resume", "messages_sent": sent}),
        Applied::SweepAsked => json!({"action": "sweep"}),
        Applied::Cancelled { job_id } => {
            json!({"action": "cancel", "job_id": job_id, "was_over": false})
        }
        Applied::WasOver { job_id } => {
            json!({"action": "cancel", "job_id": job_id, "was_over": true})
        }
        Applied::Closed { job_id } => json!({"action": "close", "job_id": job_id}),
        Applied::Retried { job_id, chunks, failed } => json!({
            "action": "retry", "job_id": job_id, "chunks": chunks, "still_failed": failed,
            "ends_anew": false,
        }),
        Applied::EndsAnew { job_id } => json!({
            "action": "retry", "job_id": job_id, "chunks": 0, "still_failed": 0, "ends_anew": true,
        }),
        Applied::RunsAgain { id, others, failed } => json!({
            "action": "retry", "job_id": id.job_id, "chunk_index": id.chunk_index,
            "chunks": others.len() + 1, "with_chunks": others, "still_failed": failed,
            "ends_anew": false,
        }),
        Applied::NotFailed { .. }
        | Applied::NoneFailedWith { .. }
        | Applied::NotOver { .. }
        | Applied::NotReopened { .. }
        | Applied::UnknownJob { .. } => Value::Null,
    }
}

/// What was not done is an error, with what to do.
pub(crate) fn refuse(applied: &Applied) -> anyhow::Result<()> {
    match applied {
        Applied::UnknownJob { .. } => {
            bail_as!(JobUnknown, "no such job; `chunkctl status` lists the jobs")
        }
        Applied::NotReopened { .. } => bail_as!(
            NothingChanged,
            "nothing was changed; run the chunk again as it says, put the blob back, or submit the list \
             under a new number"
        ),
        Applied::NotOver { .. } | Applied::NotFailed { .. } | Applied::NoneFailedWith { .. } => {
            bail_as!(NothingChanged, "nothing was changed; `chunkctl status` shows what is known")
        }
        Applied::Paused { .. }
        | Applied::Resumed { .. }
        | Applied::SweepAsked
        | Applied::Cancelled { .. }
        | Applied::WasOver { .. }
        | Applied::Closed { .. }
        | Applied::Retried { .. }
        | Applied::EndsAnew { .. }
        | Applied::RunsAgain { .. } => Ok(()),
    }
}
