//! OpenTelemetry to Application Insights: batched, bounded and lossy. No chunk waits for it; the background
//! waits for counters that must arrive, a health check for its metrics, for a moment.
//!
//! The exporter's threads have no runtime: each upload hops onto the process's own. What does not
//! fit the queues while the endpoint is away is dropped.

use crate::{identity, settings::Settings};
use axum::http::{Request, Response, Uri, header};
use azure_core::credentials::TokenCredential;
use bytes::Bytes;
use opentelemetry::{KeyValue, metrics::MeterProvider as _};
use opentelemetry_application_insights::{Exporter, HttpClient};
use opentelemetry_http::HttpError;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{Sampler, SdkTracerProvider},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, oneshot},
};

/// One upload; the exporter tries again, with pauses of half a minute in all. What took longer may have
/// arrived and comes once more, so a slow endpoint gets its time.
const UPLOAD_LIMIT: Duration = Duration::from_secs(60);
/// How long `doctor` waits for an upload.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// What a provider may take to send what is left when the process ends.
const LAST_EXPORT: Duration = Duration::from_secs(2);
/// An interval that no upload outlasts: what is to be confirmed must not go with it.
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// The token that `Authorization=AAD` asks for.
const SCOPE: &str = "https://monitor.azure.com/.default";

/// The two providers; without a connection string there are none.
#[derive(Debug, Clone)]
pub struct Export {
    pub(super) traces: SdkTracerProvider,
    pub(super) metrics: SdkMeterProvider,
    /// For what is sent by itself.
    exporter: Exporter<Upload>,
    resource: Resource,
    /// Held by the flush of metrics that is under way.
    flushing: Arc<Mutex<()>>,
}

/// Why telemetry stays off although it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("telemetry is off: {0}")]
pub struct Unusable(String);

impl Export {
    /// Prepares the export; none when no connection string is set (S12). Connects on first use.
    ///
    /// # Errors
    ///
    /// When connection string or identity cannot be used.
    pub fn open(settings: &Settings, runtime: &Handle) -> Result<Option<Self>, Unusable> {
        let Some(connection) = &settings.monitor.telemetry else { return Ok(None) };
        let unusable = |error: &dyn std::fmt::Display| Unusable(error.to_string());
        let upload = Upload::new(settings, runtime).map_err(|e| unusable(&e))?;
        let exporter = Exporter::new_from_connection_string(connection.expose(), upload)
            .map_err(|e| unusable(&e))?;
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
        Ok(Some(Self { traces, metrics, exporter, resource, flushing: Arc::default() }))
    }

    /// Sends one metric now, for `doctor`.
    ///
    /// # Errors
    ///
    /// The endpoint's refusal, or why it could not be reached.
    pub async fn probe(self) -> Result<(), String> {
        match tokio::time::timeout(PROBE_LIMIT, self.send_counter("doctor_runs", 1)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no good answer within {PROBE_LIMIT:?}")),
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

/// Uploads batches.
#[derive(Debug, Clone)]
struct Upload {
    http: reqwest::Client,
    runtime: Handle,
    credential: Option<Arc<dyn TokenCredential>>,
    /// The exporter makes every endpoint https; one on this machine may be plain.
    is_plain: bool,
    is_away: Arc<AtomicBool>,
}

impl Upload {
    fn new(settings: &Settings, runtime: &Handle) -> Result<Self, HttpError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(UPLOAD_LIMIT)
            .build()?;
        let authentication = settings.monitor.telemetry_authentication.as_deref();
        let credential = match authentication.map(authentication_client_id) {
            None | Some(None) => None,
            Some(Some(client_id)) => Some(identity::credential(&settings.host, client_id)?),
        };
        let connection = settings.monitor.telemetry.as_ref().map_or("", |c| c.expose());
        let is_plain = connection.to_ascii_lowercase().contains("ingestionendpoint=http://");
        let is_away = Arc::new(AtomicBool::new(false));
        Ok(Self { http, runtime: runtime.clone(), credential, is_plain, is_away })
    }

    fn url(&self, uri: &Uri) -> String {
        let is_local = matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
        match uri.to_string() {
            text if self.is_plain && is_local => text.replacen("https://", "http://", 1),
            text => text,
        }
    }
}

/// The client id of `ClientId=…;Authorization=AAD`, empty for the system's identity; none when no
/// token is asked for.
fn authentication_client_id(text: &str) -> Option<Option<String>> {
    let value = |name: &str| {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    let is_entra = value("Authorization").is_some_and(|v| v.eq_ignore_ascii_case("AAD"));
    is_entra.then(|| value("ClientId"))
}

#[async_trait::async_trait]
impl HttpClient for Upload {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let call = self.http.post(self.url(&parts.uri)).headers(parts.headers);
        let credential = self.credential.clone();
        let answer = self.runtime.spawn(async move {
            let mut call = call.body(body);
            if let Some(credential) = credential {
                let token = credential.get_token(&[SCOPE], None).await?;
                call =
                    call.header(header::AUTHORIZATION, format!("Bearer {}", token.token.secret()));
            }
            let answer = call.send().await?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.body_mut() = answer.bytes().await?;
            Ok::<_, HttpError>(response)
        });
        let answer = answer.await.map_err(HttpError::from).flatten();
        let is_good = answer.as_ref().is_ok_and(|response| response.status().is_success());
        if !self.is_away.swap(!is_good, Ordering::Relaxed) && !is_good {
            let cause = match &answer {
                Ok(response) => response.status().to_string(),
                // The error's own text may name the URL.
                Err(_) => "no answer".to_owned(),
            };
            tracing::warn!(
                cause,
                "telemetry cannot be sent; what its buffers cannot hold is dropped"
            );
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_only_when_the_setting_says_so() {
        assert_eq!(authentication_client_id("Authorization=AAD"), Some(None));
        let named = authentication_client_id("ClientId=abc; authorization=aad");
        assert_eq!(named, Some(Some("abc".into())));
        assert_eq!(authentication_client_id("ClientId=abc"), None);
    }
}
