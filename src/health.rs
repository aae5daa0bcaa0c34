//! The timer: the duties of the upkeep, gauges, Azure Monitor, and a row in view `health`.
//!
//! Each step fails alone. On Flex Consumption the timer runs on machines of its own, so what it says
//! of temp space is about its own process.

mod monitor;

pub use monitor::{Hours, MonitorHistory};

use crate::{
    process::{Error, Process},
    redact::cause_chain,
    settings::MIB,
    state::{self, Gauges, HealthRow, until_answered},
    storage::Queue,
    telemetry::Export,
    upkeep::{Duty, Upkeep},
};
use monitor::{Monitor, Reading};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// All steps together; a timer that hangs would have the host kill every chunk (rule H5).
const LIMIT: Duration = Duration::from_secs(22);
/// One step, so that one that hangs leaves time for the others.
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// Within a step, how long the database is asked again: the last answer may take its time.
const AGAIN_LIMIT: Duration = Duration::from_secs(3);
/// How long an invocation waits for its metrics to arrive.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The health check with what it asks.
#[derive(Debug, Clone)]
pub struct Health {
    process: Arc<Process>,
    upkeep: Arc<Upkeep>,
    monitor: Option<Arc<Monitor>>,
    export: Option<Export>,
}

impl Health {
    /// Prepares what is asked.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn open(
        process: Arc<Process>,
        upkeep: Arc<Upkeep>,
        export: Option<Export>,
    ) -> reqwest::Result<Self> {
        let monitor = Monitor::open(&process.settings)?.map(Arc::new);
        Ok(Self { process, upkeep, monitor, export })
    }

    /// Runs a health check; returns a line for the host. Never fails: a dependency that is away is
    /// an answer, and so is the database.
    pub async fn check(&self) -> String {
        let azure = async {
            match &self.monitor {
                Some(monitor) => monitor.read().await,
                None => Reading::not_configured(),
            }
        };
        // Side by side: Azure may be slow, and the row waits for all of it.
        let (own, azure) = tokio::join!(self.own_steps(), azure);
        let summary = self.record(own, azure).await;
        if let Some(export) = &self.export {
            // What alerts wait for must not wait for the next minute: the host may end us before. No
            // answer in time is an answer: the upload goes on.
            timeout(FLUSH_LIMIT, export.flush_metrics()).await.unwrap_or_default();
        }
        summary
    }

    /// Duties and gauges: nothing here waits for Azure.
    async fn own_steps(&self) -> Own {
        let Process { database, storage, .. } = &*self.process;
        let mut steps = Steps { results: Map::new(), until: Instant::now() + LIMIT };
        let (mut gauges, mut queue_depth) = (None, None);
        for duty in Duty::ALL {
            steps.run(duty.name(), self.upkeep.run(duty)).await;
            if duty == Duty::Reclaim {
                // Counted when reclaimed chunks are pending again. Without an answer the database
                // is away, and no other duty can be done.
                let ask = || database.gauges();
                gauges = steps.run("gauges", async { Ok(asked_again(ask).await?) }).await;
                if gauges.is_none() {
                    break;
                }
            }
        }
        if gauges.is_some() {
            let depth = async { Ok(storage.depth(Queue::Chunks).await?) };
            queue_depth = steps.run("queue_depth", depth).await;
        }
        let mut results = steps.results;
        results.extend(self.own_gauges());
        Own { results, gauges, queue_depth }
    }

    /// What only this process knows of itself.
    fn own_gauges(&self) -> Map<String, Value> {
        let Process { budget, settings, owner, circuits, .. } = &*self.process;
        let free = budget.directory().free_bytes().map(|bytes| bytes / MIB);
        let gauges = [
            ("owner", json!(owner)),
            ("degraded", json!(circuits.degraded())),
            ("temp_used_bytes", json!(budget.temp_used_bytes())),
            ("temp_high_water_bytes", json!(budget.temp_peak_bytes())),
            ("temp_walked_bytes", json!(budget.directory().walk_bytes())),
            ("memory_used_bytes", json!(budget.memory_used_bytes())),
            ("temp_limit_mb", json!(settings.limits.temp_storage_mb)),
            // F16: what the platform gives. No SDK can be asked for it, and nothing decides by it.
            ("temp_quota_mb", json!(settings.profile.quota_mb())),
            ("temp_free_mb", json!(free)),
        ];
        gauges.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Writes the health row and the fleet's metrics.
    async fn record(&self, own: Own, azure: Reading) -> String {
        let Own { mut results, gauges, queue_depth } = own;
        let Some(gauges) = gauges else {
            let cause = results.get("gauges").map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "Health check: database away");
            return "database: away".to_owned();
        };
        let summary = format!(
            "active_chunks {}, pending_chunks {}, queue_depth {}, azure {}",
            gauges.active_chunks,
            gauges.pending_chunks,
            queue_depth.map_or("unknown".into(), |n| n.to_string()),
            azure.state.as_str(),
        );
        results.insert("azure".into(), azure.report);
        let row = HealthRow {
            gauges,
            queue_depth,
            azure_state: azure.state.as_str(),
            azure_cpu: azure.cpu,
            azure_memory: azure.memory,
            report: Value::Object(results),
        };
        self.process.metrics.fleet(&row);
        tracing::info!(report = %row.report, "Health check: {summary}");
        let record = asked_again(|| self.process.database.record_health(&row));
        match timeout(STEP_LIMIT, record).await {
            Ok(Ok(())) => summary,
            Ok(Err(error)) => format!("{summary}; not recorded: {}", cause_chain(&error)),
            Err(_) => format!("{summary}; not recorded: no answer in time"),
        }
    }
}

/// Asks the database again for a while: a connection that broke while it was idle, or one token that was
/// refused, would cost what is seen of five minutes.
async fn asked_again<T, F>(ask: impl FnMut() -> F) -> Result<T, state::Error>
where
    F: Future<Output = Result<T, state::Error>>,
{
    until_answered(sleep(AGAIN_LIMIT), state::Error::is_away, ask).await
}

/// What the process's own steps said.
struct Own {
    results: Map<String, Value>,
    /// None: the database is away.
    gauges: Option<Gauges>,
    queue_depth: Option<i32>,
}

/// Runs steps, each within its time, and collects what they said.
struct Steps {
    results: Map<String, Value>,
    until: Instant,
}

impl Steps {
    /// Runs a step; its failure is its result.
    async fn run<T: Serialize>(
        &mut self,
        name: &str,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Option<T> {
        let until = self.until.min(Instant::now() + STEP_LIMIT);
        let (shown, value) = match timeout_at(until, step).await {
            Ok(Ok(value)) => (json!(value), Some(value)),
            Ok(Err(error)) => (json!({ "error": cause_chain(&error) }), None),
            Err(_) => (json!({ "error": "no answer in time" }), None),
        };
        self.results.insert(name.to_owned(), shown);
        value
    }
}
