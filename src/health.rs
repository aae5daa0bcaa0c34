//! The timer: reclaim, re-enqueue, end jobs, empty the poison queues, write a health row.
//!
//! Each part fails alone. On Flex Consumption the timer runs on machines of its own, so it never
//! looks at temp space but its own process's.

use crate::{jobs, run::Worker, state::HealthRow, storage::CHUNKS, telemetry::cause_chain};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, timeout_at};

/// All parts together; a hanging timer would have the host kill every chunk (rule H5).
const LIMIT: Duration = Duration::from_secs(25);
/// One part, so that what hangs leaves time for the others.
const PART_LIMIT: Duration = Duration::from_secs(5);

/// Collects what the parts said.
struct Report {
    parts: Map<String, Value>,
    until: Instant,
}

impl Report {
    /// Runs a part within its time; its failure is its result.
    async fn part<T: Serialize>(
        &mut self,
        name: &str,
        run: impl Future<Output = Result<T, jobs::Error>>,
    ) -> Option<T> {
        let until = self.until.min(Instant::now() + PART_LIMIT);
        let (shown, value) = match timeout_at(until, run).await {
            Ok(Ok(value)) => (json!(value), Some(value)),
            Ok(Err(error)) => (json!({ "error": cause_chain(&error) }), None),
            Err(_) => (json!({ "error": "no answer in time" }), None),
        };
        self.parts.insert(name.to_owned(), shown);
        value
    }
}

/// Runs a health check; returns a line for the host. Never fails: a part that is away is an
/// answer, and so is the database.
pub async fn check(worker: &Worker) -> String {
    let mut report = Report { parts: Map::new(), until: Instant::now() + LIMIT };
    let (database, storage) = (&worker.database, &worker.storage);
    report.part("reclaimed", async { Ok(database.reclaim().await?) }).await;
    let Some(gauges) = report.part("gauges", async { Ok(database.gauges().await?) }).await else {
        let cause = report.parts.get("gauges").map(ToString::to_string).unwrap_or_default();
        tracing::warn!(cause, "Health check: database away");
        return "database: away".to_owned();
    };
    report.part("poison_messages", Box::pin(jobs::drain_poison(database, storage))).await;
    report.part("jobs_ended", Box::pin(jobs::end_jobs(database, storage, None))).await;
    report.part("woken", Box::pin(jobs::wake_pass(database, storage, &worker.owner))).await;
    let depth = async { Ok(storage.depth(CHUNKS).await?) };
    let queue_depth = report.part("queue_depth", depth).await;
    add_own_gauges(worker, &mut report.parts);
    let summary = format!(
        "active_chunks {}, pending_chunks {}, queue_depth {}",
        gauges.active_chunks,
        gauges.pending_chunks,
        queue_depth.map_or("unknown".into(), |n| n.to_string())
    );
    let row = HealthRow { gauges, queue_depth, report: Value::Object(report.parts) };
    tracing::info!(report = %row.report, "Health check: {summary}");
    match database.record_health(&row).await {
        Ok(()) => summary,
        Err(error) => format!("{summary}; not recorded: {}", cause_chain(&error)),
    }
}

/// What only this process knows of itself.
fn add_own_gauges(worker: &Worker, parts: &mut Map<String, Value>) {
    let budget = &worker.budget;
    parts.insert("owner".into(), json!(worker.owner));
    parts.insert("temp_used_bytes".into(), json!(budget.temp_used_bytes()));
    parts.insert("temp_high_water_bytes".into(), json!(budget.temp_peak_bytes()));
    parts.insert("temp_walked_bytes".into(), json!(budget.directory().walk_bytes()));
    parts.insert("memory_used_bytes".into(), json!(budget.memory_used_bytes()));
    let limit = worker.settings.limits.temp_storage_mb;
    parts.insert("temp_limit_mb".into(), json!(limit));
}
