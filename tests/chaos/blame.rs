//! I13: what the environment did is nobody's fault, and costs nobody anything.

use crate::jobs::{FAILING, MIXED};
use serde_json::Value;
use support::rig::Rig;

/// More claims than a chunk of a round can need.
const HOT: i64 = 40;

/// Claims that were charged although only the environment was at fault.
pub async fn charged(rig: &Rig) -> Vec<String> {
    let sql = "select format('I13: claim %s of chunk %s/%s was charged, %s of %s', fence, job_id,
            chunk_index, outcome, error_code)
        from chunk_handler.attempt where outcome in ('retried', 'failed')
            and not (error_code = 'nothing_reachable' and job_id = $1)";
    sqlx::query_scalar(sql).bind(FAILING).fetch_all(&rig.pool).await.unwrap()
}

/// Chunks that were claimed again and again.
pub async fn hot(rig: &Rig) -> Vec<String> {
    let sql =
        "select format('I13: chunk %s/%s was claimed %s times', job_id, chunk_index, count(*))
        from chunk_handler.attempt group by job_id, chunk_index having count(*) > $1";
    sqlx::query_scalar(sql).bind(HOT).fetch_all(&rig.pool).await.unwrap()
}

/// Messages that were recorded although nothing is wrong with them. Where the database forgot chunks,
/// nobody knows what to do with a wake-up for one of them.
pub async fn rejected(rig: &Rig, unreadable: &[String], has_forgotten: bool) -> Vec<String> {
    let sql = "select body, reason from chunk_handler.rejected_message";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&rig.pool).await.unwrap();
    let good = rows.iter().filter(|(body, _)| {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let is_forgotten = has_forgotten && message.get("source").is_none();
        !unreadable.contains(body) && !is_forgotten && !is_too_late(&message)
    });
    good.map(|(body, reason)| {
        let start: String = body.chars().take(60).collect();
        format!("I13: a good message was recorded: {reason}: {start}")
    })
    .collect()
}

/// Commands that the host gave up on, or that came too late, and chunks of the job that commands end:
/// those are recorded on purpose.
fn is_too_late(message: &Value) -> bool {
    message.get("action").is_some() || message["job_id"] == MIXED
}
