//! Chunks of a job as a list, one chunk with its attempts, and messages that were rejected.

use crate::{
    Session, out,
    words::{count, moment, span},
};
use anyhow::bail;
use chunk_handler::{
    chunk::ChunkId,
    state::{AttemptRow, ChunkStatus, Page, RejectedMessage},
};
use serde_json::json;
use time::OffsetDateTime;

/// Characters of a rejected message that are shown.
const SHOWN: usize = 200;

impl Session {
    /// The chunks of a job, of one state or of all.
    pub(super) async fn show_chunks(
        &self,
        job_id: i64,
        state: Option<&str>,
        limit: i64,
    ) -> anyhow::Result<()> {
        let Page { rows, total } = self.database.chunks(job_id, state, limit).await?;
        if self.json {
            out(format_args!("{}", json!({"chunks": rows, "chunks_total": total})));
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        for chunk in &rows {
            out(format_args!("{}", line(chunk, now)));
        }
        out(format_args!("{} of {} shown", rows.len(), count(total, "chunk")));
        Ok(())
    }

    /// One chunk with its claims.
    pub(super) async fn show_chunk(&self, id: ChunkId) -> anyhow::Result<()> {
        let Some(chunk) = self.database.chunk(id).await? else {
            bail!("job {} has no chunk {}", id.job_id, id.chunk_index);
        };
        let attempts = self.database.attempts(id).await?;
        if self.json {
            out(format_args!("{}", json!({"chunk": chunk, "attempts": attempts})));
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        out(format_args!("{}", line(&chunk, now)));
        for attempt in &attempts {
            out(format_args!("  {}", attempt_line(attempt, now)));
        }
        if attempts.is_empty() {
            let why =
                if chunk.fence == 0 { "nobody has claimed it" } else { "its history is gone" };
            out(format_args!("  {why}"));
        }
        Ok(())
    }

    /// Messages that could never work.
    pub(super) async fn show_rejected(&self, limit: i64) -> anyhow::Result<()> {
        let Page { rows, total } = self.database.rejected_messages(limit).await?;
        if self.json {
            out(format_args!("{}", json!({"rejected": rows, "rejected_total": total})));
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        for message in &rows {
            for line in rejected_lines(message, now) {
                out(format_args!("{line}"));
            }
        }
        out(format_args!("{} of {} shown", rows.len(), count(total, "rejected message")));
        Ok(())
    }
}

fn line(chunk: &ChunkStatus, now: OffsetDateTime) -> String {
    let ChunkStatus { job_id, chunk_index, status, attempt, .. } = chunk;
    let mut parts = vec![format!("chunk {job_id}/{chunk_index} {status}, attempt {attempt}")];
    if let (Some(done), Some(total), "processing") =
        (chunk.items_done, chunk.images_total, status.as_str())
    {
        parts.push(format!("{done} of {} done", count(total, "URL")));
    } else if let (Some(total), Some(valid)) = (chunk.images_total, chunk.images_valid) {
        parts.push(format!("{}, {valid} valid", count(total, "URL")));
    }
    parts.extend(chunk.owner.as_ref().map(|owner| format!("by {owner}")));
    parts.extend(chunk.lease_until.map(|at| format!("its lease ends {}", moment(at, now))));
    let waits = chunk.not_before.filter(|at| *at > now);
    parts.extend(waits.map(|at| format!("waits until {}", moment(at, now))));
    let message = chunk.error_message.as_deref().unwrap_or("");
    parts.extend(chunk.error_code.as_ref().map(|code| format!("{code}: {message}")));
    parts.join(", ")
}

fn attempt_line(attempt: &AttemptRow, now: OffsetDateTime) -> String {
    let AttemptRow { fence, owner, claimed_at, .. } = attempt;
    let slot = attempt.slot_no.map(|n| format!(", slot {n}")).unwrap_or_default();
    let end = match (attempt.finished_at, attempt.outcome.as_deref()) {
        (Some(at), Some(outcome)) => {
            let length = (at - *claimed_at).whole_seconds().max(0).unsigned_abs();
            let code = attempt.error_code.as_deref();
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            format!("{outcome}{code} after {}", span(length))
        }
        _ => "under way".to_owned(),
    };
    format!("claim {fence} by {owner}{slot}, at {}: {end}", moment(*claimed_at, now))
}

fn rejected_lines(message: &RejectedMessage, now: OffsetDateTime) -> [String; 2] {
    let RejectedMessage { received_at, queue, body, reason } = message;
    // One line, whatever somebody sent.
    let start: String = body.chars().take(SHOWN).collect();
    let more = if start.len() < body.len() { "..." } else { "" };
    [
        format!("{} in {queue}: {reason}", moment(*received_at, now)),
        format!("  {}{more}", start.escape_debug()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::failed;
    use time::macros::datetime;

    /// What people read of chunks, attempts and messages, to the letter.
    #[test]
    fn chunks_and_their_attempts_are_shown_in_lines() {
        let now = datetime!(2026-11-26 12:00 UTC);
        let running = ChunkStatus {
            status: "processing".into(),
            owner: Some("vm/1-ab".into()),
            lease_until: Some(datetime!(2026-11-26 12:00:45 UTC)),
            items_done: Some(120),
            images_total: Some(500),
            error_code: None,
            error_message: None,
            ..failed("source_missing")
        };
        let attempt = AttemptRow {
            job_id: 7,
            chunk_index: 3,
            fence: 2,
            owner: "vm/1-ab".into(),
            invocation_id: "i".into(),
            claimed_at: datetime!(2026-11-26 11:50 UTC),
            finished_at: Some(datetime!(2026-11-26 11:51 UTC)),
            outcome: Some("released".into()),
            error_code: Some("drained".into()),
            temp_peak_bytes: None,
            slot_no: Some(4),
        };
        let under_way = AttemptRow { outcome: None, finished_at: None, ..attempt.clone() };
        let message = RejectedMessage {
            received_at: datetime!(2026-11-26 11:59:50 UTC),
            queue: "chunks".into(),
            body: "{\n\u{1b}[2J".into(),
            reason: "neither JSON nor Base64 of it".into(),
        };
        let mut lines = vec![
            line(&failed("source_missing"), now),
            line(&running, now),
            attempt_line(&attempt, now),
            attempt_line(&under_way, now),
        ];
        lines.extend(rejected_lines(&message, now));
        assert_eq!(
            lines,
            [
                "chunk 7/3 failed, attempt 5, source_missing: the source blob is missing",
                "chunk 7/3 processing, attempt 5, 120 of 500 URLs done, by vm/1-ab, its lease ends \
                 2026-11-26T12:00:45Z (in 45 s)",
                "claim 2 by vm/1-ab, slot 4, at 2026-11-26T11:50:00Z (10 min ago): released (drained) \
                 after 60 s",
                "claim 2 by vm/1-ab, slot 4, at 2026-11-26T11:50:00Z (10 min ago): under way",
                "2026-11-26T11:59:50Z (10 s ago) in chunks: neither JSON nor Base64 of it",
                "  {\\n\\u{1b}[2J",
            ]
        );
    }
}
