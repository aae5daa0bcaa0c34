//! The metrics: the one place that knows their names.
//!
//! The guide's names (`active_chunks`, `temp_storage_mb`, `failed_chunks`, `azure_cpu`,
//! `azure_memory`), and ours in the same style. Counters are exported as deltas. Without telemetry
//! every instrument is a no-op.

use crate::{
    chunk::{Reason, Totals},
    settings::MIB,
    spool::Budget,
    state::HealthRow,
};
use opentelemetry::{
    global,
    metrics::{Counter, Gauge, Histogram, ObservableGauge},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Chunks that ended as failed, for good until somebody retries them; cancelled ones do not count. Not
/// a process's own: it is derived from the database and sent by itself.
pub(crate) const FAILED_CHUNKS: &str = "failed_chunks";

/// What a process records.
#[derive(Debug)]
pub struct Metrics {
    claim_ms: Histogram<f64>,
    chunk_seconds: Histogram<f64>,
    started_chunks: Counter<u64>,
    completed_chunks: Counter<u64>,
    released_chunks: Counter<u64>,
    reclaimed_chunks: Counter<u64>,
    images_downloaded: Counter<u64>,
    images_valid: Counter<u64>,
    images_host_busy: Counter<u64>,
    bytes_in: Counter<u64>,
    bytes_out: Counter<u64>,
    rejected_messages: Counter<u64>,
    fleet: Fleet,
    /// Something was counted; whoever sends metrics early waits for it.
    pub(crate) counted: Notify,
    /// Read when they are exported, by the thread of the export: it may walk directories.
    _instance: [ObservableGauge<f64>; 4],
}

/// What only the timer says, so that it is said once for all instances.
#[derive(Debug)]
struct Fleet {
    active_chunks: Gauge<f64>,
    max_chunks: Gauge<f64>,
    pending_chunks: Gauge<f64>,
    oldest_pending_seconds: Gauge<f64>,
    degraded_processes: Gauge<f64>,
    queue_depth: Gauge<f64>,
    azure_cpu: Gauge<f64>,
    azure_memory: Gauge<f64>,
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "gauges are approximate")]
fn float(n: u64) -> f64 {
    n as f64
}

impl Metrics {
    /// The instruments of this process; its budget and its temp root are read at each export.
    pub fn new(budget: &Arc<Budget>) -> Self {
        let meter = global::meter("chunk_handler");
        let counter = |name, unit| meter.u64_counter(name).with_unit(unit).build();
        let gauge = |name, unit| meter.f64_gauge(name).with_unit(unit).build();
        let read = |name, unit, read: fn(&Budget) -> f64| {
            let budget = Arc::clone(budget);
            let gauge = meter.f64_observable_gauge(name).with_unit(unit);
            gauge.with_callback(move |observer| observer.observe(read(&budget), &[])).build()
        };
        Self {
            claim_ms: meter.f64_histogram("claim_ms").with_unit("ms").build(),
            chunk_seconds: meter.f64_histogram("chunk_seconds").with_unit("s").build(),
            started_chunks: counter("started_chunks", "{chunk}"),
            completed_chunks: counter("completed_chunks", "{chunk}"),
            released_chunks: counter("released_chunks", "{chunk}"),
            reclaimed_chunks: counter("reclaimed_chunks", "{chunk}"),
            images_downloaded: counter("images_downloaded", "{image}"),
            images_valid: counter("images_valid", "{image}"),
            images_host_busy: counter("images_host_busy", "{image}"),
            bytes_in: counter("bytes_in", "By"),
            bytes_out: counter("bytes_out", "By"),
            rejected_messages: counter("rejected_messages", "{message}"),
            fleet: Fleet {
                active_chunks: gauge("active_chunks", "{chunk}"),
                max_chunks: gauge("max_chunks", "{chunk}"),
                pending_chunks: gauge("pending_chunks", "{chunk}"),
                oldest_pending_seconds: gauge("oldest_pending_seconds", "s"),
                degraded_processes: gauge("degraded_processes", "{process}"),
                queue_depth: gauge("queue_depth", "{message}"),
                azure_cpu: gauge("azure_cpu", "%"),
                azure_memory: gauge("azure_memory", "%"),
            },
            counted: Notify::new(),
            _instance: [
                read("instance_active_chunks", "{chunk}", |b| float(b.n_admitted())),
                read("temp_storage_mb", "MB", |b| float(b.temp_on_disk_bytes()) / float(MIB)),
                read("temp_high_water_mb", "MB", |b| float(b.temp_peak_bytes()) / float(MIB)),
                read("body_memory_mb", "MB", |b| float(b.memory_used_bytes()) / float(MIB)),
            ],
        }
    }

    fn add(&self, counter: &Counter<u64>, n: u64) {
        counter.add(n, &[]);
        self.counted.notify_one();
    }

    /// A claim was answered.
    pub fn claimed(&self, took: Duration) {
        self.claim_ms.record(took.as_secs_f64() * 1000.0, &[]);
        self.counted.notify_one();
    }

    /// A chunk began here.
    pub fn started(&self) {
        self.add(&self.started_chunks, 1);
    }

    /// A chunk completed here.
    pub fn completed(&self, totals: &Totals, took: Duration) {
        self.add(&self.completed_chunks, 1);
        self.chunk_seconds.record(took.as_secs_f64(), &[]);
        self.add(&self.images_downloaded, totals.images_downloaded);
        self.add(&self.images_valid, totals.images_valid);
        self.add(&self.images_host_busy, totals.count(Reason::HostBusy));
        self.add(&self.bytes_in, totals.bytes_in);
        self.add(&self.bytes_out, totals.bytes_out);
    }

    /// A chunk was given back and will run again.
    pub fn released(&self) {
        self.add(&self.released_chunks, 1);
    }

    /// Leases ran out and were reclaimed.
    pub fn reclaimed(&self, n: i32) {
        self.add(&self.reclaimed_chunks, u64::try_from(n).unwrap_or(0));
    }

    /// A message was recorded that can never work.
    pub fn rejected(&self) {
        self.add(&self.rejected_messages, 1);
    }

    /// A health check saw the fleet.
    pub fn fleet(&self, seen: &HealthRow) {
        let Fleet {
            active_chunks,
            max_chunks,
            pending_chunks,
            oldest_pending_seconds,
            degraded_processes,
            queue_depth,
            azure_cpu,
            azure_memory,
        } = &self.fleet;
        let known = |gauge: &Gauge<f64>, value: Option<f64>| {
            if let Some(value) = value {
                gauge.record(value, &[]);
            }
        };
        known(active_chunks, Some(seen.gauges.active_chunks.into()));
        known(max_chunks, Some(seen.gauges.max_chunks.into()));
        known(pending_chunks, u64::try_from(seen.gauges.pending_chunks).ok().map(float));
        known(oldest_pending_seconds, seen.gauges.oldest_pending_seconds);
        known(degraded_processes, u64::try_from(seen.gauges.degraded_processes).ok().map(float));
        known(queue_depth, seen.queue_depth.map(f64::from));
        known(azure_cpu, seen.azure_cpu);
        known(azure_memory, seen.azure_memory);
    }
}
