//! OpenTelemetry to Application Insights: batched, bounded and lossy. No chunk waits for it; the background
//! waits for counters that must arrive, a health check for its metrics, for a moment.
//!
//! What does not fit the queues while the endpoint is away is dropped.

use super::{answer::Problem, connection::Connection, upload::Upload};
use crate::settings::Settings;
use opentelemetry::{KeyValue, metrics::MeterProvider as _};
use opentelemetry_application_insights::Exporter;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{Sampler, SdkTracerProvider},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{Mutex, oneshot},
};

/// How long `doctor` waits for an upload.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// What a provider may take to send what is left when the process ends.
const LAST_EXPORT: Duration = Duration::from_secs(2);
/// An interval that no upload outlasts: what is to be confirmed must not go with it.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// The two providers; without a connection string there are none.
#[derive(Debug, Clone)]
pub struct Export {
    pub(super) traces: SdkTracerProvider,
    pub(super) metrics: SdkMeterProvider,
    /// For what is sent by itself.
    exporter: Exporter<Upload>,
    /// What the exporter uploads with, for what it says of the endpoint.
    upload: Upload,
    resource: Resource,
    /// Held by the flush of metrics that is under way.
    flushing: Arc<Mutex<()>>,
}

/// Why telemetry stays off although it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("telemetry is off: {0}")]
pub struct Unusable(pub(super) String);

impl Export {
    /// Prepares the export; none when no connection string is set (S12). Connects on first use.
    ///
    /// # Errors
    ///
    /// When connection string or identity cannot be used.
    pub fn open(settings: &Settings, runtime: &Handle) -> Result<Option<Self>, Unusable> {
        let Some(connection) = &settings.monitor.telemetry else { return Ok(None) };
        let connection = Connection::parse(connection.expose())?;
        let upload = Upload::new(settings, &connection, runtime)?;
        let exporter =
            Exporter::new_from_connection_string(connection.for_exporter(), upload.clone())
                .map_err(|error| Unusable(error.to_string()))?;
        // As tags of Application Insights: other attributes would come again with every item.
        let resource = Resource::builder_empty()
            .with_attribute(KeyValue::new("ai.cloud.role", settings.host.app_name.clone()))
            .with_attribute(KeyValue::new("ai.cloud.roleInstance", settings.host.instance.clone()))
            .with_attribute(KeyValue::new("ai.application.ver", env!("CARGO_PKG_VERSION")))
            .build();
        // H11: the host's flags say "not sampled" to us while it samples itself.
        let traces = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource.clone())
            .with_batch_exporter(exporter.clone())
            .build();
        let metrics = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_periodic_exporter(exporter.clone())
            .build();
        Ok(Some(Self { traces, metrics, exporter, upload, resource, flushing: Arc::default() }))
    }

    /// Sends one metric now, for `doctor`.
    ///
    /// # Errors
    ///
    /// What the endpoint said or why it could not be reached, and what to do.
    pub async fn probe(self) -> Result<(), Problem> {
        let sent = tokio::time::timeout(PROBE_LIMIT, self.send_counter("doctor_runs", 1)).await;
        // The exporter takes an answer for good that refuses items for ever.
        if let Some(problem) = self.upload.problem() {
            return Err(problem);
        }
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Problem::no_answer(&error)),
            Err(_) => {
                let cause = format!("nothing within {} s", PROBE_LIMIT.as_secs());
                Err(Problem::no_answer(&cause))
            }
        }
    }

    /// Sends one counter by itself, and waits until it has arrived. In a batch the retry of another
    /// item would send this one twice, and the periodic export could send it too.
    ///
    /// # Errors
    ///
    /// The endpoint's refusal, or why it could not be reached, after some minutes at most.
    pub(crate) async fn send_counter(&self, name: &'static str, n: u64) -> Result<(), String> {
        let reader = PeriodicReader::builder(self.exporter.clone()).with_interval(NEVER).build();
        let provider = SdkMeterProvider::builder()
            .with_resource(self.resource.clone())
            .with_reader(reader)
            .build();
        let (sender, receiver) = oneshot::channel();
        // A thread that is never joined: the exporter has no time limit, and waiting for it would block.
        std::thread::spawn(move || {
            provider.meter("chunk_handler").u64_counter(name).build().add(n, &[]);
            sender.send(provider.force_flush())
        });
        let flushed = receiver.await.map_err(|error| error.to_string())?;
        flushed.map_err(|error| error.to_string())
    }

    /// Sends the metrics of this moment, and waits until they arrived or were given up, some minutes at
    /// most.
    ///
    /// The thread of the reader does it, as it does the export of each minute: what it has taken is in
    /// no later export. A delta goes twice only where its upload was not confirmed in time.
    ///
    /// # Cancel safety
    ///
    /// Whoever stops waiting stops nothing that has begun.
    pub(crate) async fn flush_metrics(&self) {
        // One after the other: each is an upload, and while the endpoint hangs they would stand in a
        // line before the last one of the process.
        let turn = Arc::clone(&self.flushing).lock_owned().await;
        let metrics = self.metrics.clone();
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || {
            // The upload logs why it failed.
            drop(metrics.force_flush());
            drop(turn);
            sender.send(())
        });
        receiver.await.unwrap_or_default();
    }

    /// Sends what there is now; waits for nothing.
    pub fn flush(&self) {
        let Self { traces, metrics, .. } = self.clone();
        std::thread::spawn(move || (traces.force_flush(), metrics.force_flush()));
    }

    /// Sends what is left, both providers side by side, for 2 s at most.
    pub async fn finish(self) {
        let Self { traces, metrics, .. } = self;
        let traces = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(LAST_EXPORT));
        let metrics =
            tokio::task::spawn_blocking(move || metrics.shutdown_with_timeout(LAST_EXPORT));
        let both = futures_util::future::join(traces, metrics);
        if tokio::time::timeout(LAST_EXPORT, both).await.is_err() {
            tracing::debug!("telemetry was not sent to its end");
        }
    }
}
