//! What the rest of the project says, which the infrastructure must agree with.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use regex_lite::Regex;
use serde_json::Value;
use support::checkout::root;

/// What a metric is, which decides the columns it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `valueSum` alone.
    Counter,
    /// `valueSum` of one measurement.
    Gauge,
    /// All columns.
    Histogram,
}

/// Read from the checkout.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// `host.json`.
    pub(super) host: Value,
    /// The queues that have a function.
    pub(super) queues: Vec<String>,
    /// Minutes between two health checks.
    pub(super) timer_minutes: u32,
    /// The names in `src/telemetry/metric.rs`.
    pub(super) metrics: BTreeMap<String, Kind>,
}

impl Facts {
    /// Reads them.
    pub(super) fn read() -> Result<Self> {
        let json = |path: &str| -> Result<Value> {
            let text =
                fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"))?;
            serde_json::from_str(&text).with_context(|| path.to_owned())
        };
        let mut queues = Vec::new();
        for function in ["process_chunk", "control"] {
            let binding = json(&format!("{function}/function.json"))?;
            let queue = binding.pointer("/bindings/0/queueName").and_then(Value::as_str);
            queues.push(queue.with_context(|| format!("{function} has a queue"))?.to_owned());
        }
        let timer = json("health_check/function.json")?;
        let schedule =
            timer.pointer("/bindings/0/schedule").and_then(Value::as_str).unwrap_or_default();
        let minutes = schedule.strip_prefix("0 */").and_then(|rest| rest.split(' ').next());
        let minutes = minutes.and_then(|minutes| minutes.parse().ok());
        Ok(Self {
            host: json("host.json")?,
            queues,
            timer_minutes: minutes
                .with_context(|| format!("the period of the schedule {schedule}"))?,
            metrics: metrics(&fs::read_to_string(root().join("src/telemetry/metric.rs"))?)?,
        })
    }
}

/// The instruments that a source makes, and the constant that names one that is sent by itself.
fn metrics(source: &str) -> Result<BTreeMap<String, Kind>> {
    let made = Regex::new(r#"\b(counter|gauge|read|f64_histogram)\(\s*"([a-z_]+)""#)?;
    let named = Regex::new(r#"const [A-Z_]+: &str = "([a-z_]+)""#)?;
    let kind = |maker: &str| match maker {
        "counter" => Kind::Counter,
        "f64_histogram" => Kind::Histogram,
        _ => Kind::Gauge,
    };
    let made = made.captures_iter(source).map(|found| (found[2].to_owned(), kind(&found[1])));
    let named = named.captures_iter(source).map(|found| (found[1].to_owned(), Kind::Counter));
    Ok(made.chain(named).collect())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn metrics_are_found_in_their_source() -> Result<()> {
        let metrics = Facts::read()?.metrics;
        assert_eq!(metrics.get("failed_chunks"), Some(&Kind::Counter));
        assert_eq!(metrics.get("rejected_messages"), Some(&Kind::Counter));
        assert_eq!(metrics.get("temp_storage_mb"), Some(&Kind::Gauge));
        assert_eq!(metrics.get("active_chunks"), Some(&Kind::Gauge));
        assert_eq!(metrics.get("claim_ms"), Some(&Kind::Histogram));
        assert!(metrics.len() >= 20, "{metrics:?}");
        Ok(())
    }
}
