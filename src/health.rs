//! The timer: reclaim, re-enqueue, end jobs, empty the poison queues, write a health row.
//!
//! Each part fails alone. On Flex Consumption the timer runs on machines of its own, so it never
//! looks at temp space but its own process's.

use crate::{
    jobs,
    monitor::{Monitor, Reading},
    run::Worker,
    settings::{MIB, Settings},
    state::{Gauges, HealthRow, Reclaimed},
    storage::CHUNKS,
    telemetry::{FleetGauges, cause_chain},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// All parts together; a hanging timer would have the host kill every chunk (rule H5).
const LIMIT: Duration = Duration::from_secs(22);
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

/// The health check with what it asks.
#[derive(Debug, Clone)]
pub struct Health {
    monitor: Option<Arc<Monitor>>,
}

impl Health {
    /// Prepares what is asked beside the worker's own parts.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn open(settings: &Settings) -> reqwest::Result<Self> {
        Ok(Self { monitor: Monitor::open(settings)?.map(Arc::new) })
    }

    /// Runs a health check; returns a line for the host. Never fails: a part that is away is an
    /// answer, and so is the database.
    pub async fn check(&self, worker: &Worker) -> String {
        let azure = async {
            match &self.monitor {
                Some(monitor) => monitor.read().await,
                None => Reading::not_configured(),
            }
        };
        // Side by side: Azure may be slow, and the row waits for all of it.
        let (own, azure) = tokio::join!(own_parts(worker), azure);
        own.finish(worker, azure).await
    }
}

/// What the worker's own parts said.
struct Own {
    parts: Map<String, Value>,
    /// None: the database is away.
    gauges: Option<Gauges>,
    queue_depth: Option<i32>,
}

/// Reclaim, poison, job ends, wake-ups and gauges: nothing here waits for Azure.
async fn own_parts(worker: &Worker) -> Own {
    let mut report = Report { parts: Map::new(), until: Instant::now() + LIMIT };
    let (database, storage) = (&worker.database, &worker.storage);
    if let Some(Reclaimed { reclaimed, .. }) =
        report.part("reclaimed", async { Ok(database.reclaim().await?) }).await
    {
        worker.metrics.reclaimed(reclaimed);
    }
    let gauges = report.part("gauges", async { Ok(database.gauges().await?) }).await;
    let mut queue_depth = None;
    if gauges.is_some() {
        report.part("poison_messages", Box::pin(jobs::drain_poison(database, storage))).await;
        report.part("jobs_ended", Box::pin(jobs::end_jobs(database, storage, None))).await;
        report.part("woken", Box::pin(jobs::wake_pass(database, storage, &worker.owner))).await;
        let depth = async { Ok(storage.depth(CHUNKS).await?) };
        queue_depth = report.part("queue_depth", depth).await;
    }
    add_own_gauges(worker, &mut report.parts);
    Own { parts: report.parts, gauges, queue_depth }
}

impl Own {
    /// Writes the health row.
    async fn finish(mut self, worker: &Worker, azure: Reading) -> String {
        let Some(gauges) = self.gauges else {
            let cause = self.parts.get("gauges").map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "Health check: database away");
            return "database: away".to_owned();
        };
        let summary = format!(
            "active_chunks {}, pending_chunks {}, queue_depth {}, azure {}",
            gauges.active_chunks,
            gauges.pending_chunks,
            self.queue_depth.map_or("unknown".into(), |n| n.to_string()),
            azure.state.as_str(),
        );
        worker.metrics.fleet(&FleetGauges {
            active_chunks: gauges.active_chunks,
            max_chunks: gauges.max_chunks,
            pending_chunks: gauges.pending_chunks,
            oldest_pending_seconds: gauges.oldest_pending_seconds,
            queue_depth: self.queue_depth,
            azure_cpu: azure.cpu,
            azure_memory: azure.memory,
        });
        self.parts.insert("azure".into(), azure.report);
        let row = HealthRow {
            gauges,
            queue_depth: self.queue_depth,
            azure_state: azure.state.as_str(),
            azure_cpu: azure.cpu,
            azure_memory: azure.memory,
            report: Value::Object(self.parts),
        };
        tracing::info!(report = %row.report, "Health check: {summary}");
        match timeout(PART_LIMIT, worker.database.record_health(&row)).await {
            Ok(Ok(())) => summary,
            Ok(Err(error)) => format!("{summary}; not recorded: {}", cause_chain(&error)),
            Err(_) => format!("{summary}; not recorded: no answer in time"),
        }
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
    // F16: what the platform gives; no SDK tells, and nothing decides by it.
    parts.insert("temp_quota_mb".into(), json!(worker.settings.profile.quota_mb()));
    let free = budget.directory().free_bytes().map(|bytes| bytes / MIB);
    parts.insert("temp_free_mb".into(), json!(free));
}
