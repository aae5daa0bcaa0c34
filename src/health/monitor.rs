//! Azure Monitor: CPU and memory of the app and of its database, for the health check only.
//!
//! A call takes 1 to 5 s (B2) and its figures are minutes old: nothing is decided by them (PR6).

mod answer;
mod history;

pub use history::{Hours, MonitorHistory};

use crate::{
    identity,
    redact::cause_chain,
    settings::{MIB, Settings},
};
use answer::MetricsResponse;
use azure_core::credentials::TokenCredential;
use futures_util::future::join_all;
use reqwest::{StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, timeout};

/// The metrics API: <https://learn.microsoft.com/rest/api/monitor/metrics/list>.
const API_VERSION: &str = "2024-02-01";
/// How far back is asked, and how old a point may be.
const SPAN: Duration = Duration::from_secs(600);
/// What the health check asks: the newest minutes.
const NEWEST: Question = Question { span: SPAN, interval: "PT1M", aggregation: "Average" };
/// One call with its token.
const CALL_LIMIT: Duration = Duration::from_secs(12);
/// B3: our own ceiling, far above the 24 calls an hour that a check every 5 min makes.
const CALLS_AN_HOUR: u32 = 1500;
const HOUR: Duration = Duration::from_secs(3600);
/// Until the next call after a 429 that names no wait.
const THROTTLED_WAIT: Duration = Duration::from_secs(60);

/// How far Azure Monitor can be believed; the later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AzureState {
    /// No resource is named in the settings.
    NotConfigured,
    /// Every metric has a point of the last ten minutes.
    Ok,
    /// A metric has none.
    Stale,
    /// Too many calls, by Azure's count or ours.
    Throttled,
    /// A call failed, or a metric in it.
    Error,
}

impl AzureState {
    /// The word of the health row.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Throttled => "throttled",
            Self::Error => "error",
        }
    }
}

/// What Azure said, as far as it said anything.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// The worst of all resources.
    pub state: AzureState,
    /// CPU of the app in percent.
    pub cpu: Option<f64>,
    /// Memory of the app in percent of an instance's.
    pub memory: Option<f64>,
    /// Every resource by name, for people.
    pub report: Value,
}

impl Reading {
    /// What is known where nothing can be asked (X16).
    pub(super) fn not_configured() -> Self {
        Self { state: AzureState::NotConfigured, cpu: None, memory: None, report: Value::Null }
    }
}

/// A resource that is asked about, with all its metrics in one call.
#[derive(Debug)]
struct Resource {
    name: &'static str,
    id: String,
    cpu: &'static str,
    memory: &'static str,
    /// What the memory metric counts up to.
    memory_full: f64,
}

/// Which points are asked for.
#[derive(Debug, Clone, Copy)]
struct Question {
    /// How far back.
    span: Duration,
    /// Of a point, as ISO 8601 has it.
    interval: &'static str,
    aggregation: &'static str,
}

/// The client; it keeps within its own limits.
#[derive(Debug)]
pub(super) struct Monitor {
    http: reqwest::Client,
    credential: Result<Arc<dyn TokenCredential>, String>,
    endpoint: String,
    resources: Vec<Resource>,
    calls: Mutex<Calls>,
}

#[derive(Debug)]
struct Calls {
    hour_began: Instant,
    n: u32,
    throttled_until: Option<Instant>,
}

/// A metric's newest point.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Point {
    value: f64,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// Why a call or a metric has no point.
#[derive(Debug, Clone, PartialEq)]
struct Unavailable {
    state: AzureState,
    cause: String,
}

impl Unavailable {
    fn error(cause: impl Into<String>) -> Self {
        Self { state: AzureState::Error, cause: cause.into() }
    }
}

impl Monitor {
    /// Prepares the client, which connects on first use; none when no resource is named.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "MB below 2^53 bytes")]
    pub(super) fn open(settings: &Settings) -> reqwest::Result<Option<Self>> {
        let monitor = &settings.monitor;
        // On Flex there is no MemoryPercentage of an app (X23).
        let app = monitor.resource_id.clone().map(|id| Resource {
            name: "app",
            id,
            cpu: "CpuPercentage",
            memory: "MemoryWorkingSet",
            memory_full: (monitor.instance_memory_mb * MIB) as f64,
        });
        let postgres = monitor.postgres_resource_id.clone().map(|id| Resource {
            name: "postgres",
            id,
            cpu: "cpu_percent",
            memory: "memory_percent",
            memory_full: 100.0,
        });
        let resources: Vec<Resource> = app.into_iter().chain(postgres).collect();
        if resources.is_empty() {
            return Ok(None);
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(CALL_LIMIT)
            .build()?;
        let calls = Calls { hour_began: Instant::now(), n: 0, throttled_until: None };
        Ok(Some(Self {
            http,
            credential: identity::credential(&settings.host, identity::storage_client_id(settings))
                .map_err(|error| cause_chain(&error)),
            endpoint: monitor.endpoint.trim_end_matches('/').to_owned(),
            resources,
            calls: Mutex::new(calls),
        }))
    }

    /// Asks about every resource, each in one call, side by side. Never fails.
    pub(super) async fn read(&self) -> Reading {
        let mut reading = Reading::not_configured();
        let answers =
            join_all(self.resources.iter().map(|resource| self.ask(resource, NEWEST))).await;
        let mut report = serde_json::Map::new();
        for (resource, answer) in self.resources.iter().zip(answers) {
            let (state, cpu, memory, shown) = resource.judge(answer);
            reading.state = reading.state.max(state);
            if resource.name == "app" {
                (reading.cpu, reading.memory) = (cpu, memory);
            }
            report.insert(resource.name.to_owned(), shown);
        }
        reading.report = Value::Object(report);
        reading
    }

    async fn ask(
        &self,
        resource: &Resource,
        question: Question,
    ) -> Result<MetricsResponse, Unavailable> {
        self.may_call()?;
        match timeout(CALL_LIMIT, self.call(resource, question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Unavailable::error(format!("no answer within {CALL_LIMIT:?}"))),
        }
    }

    async fn call(
        &self,
        resource: &Resource,
        question: Question,
    ) -> Result<MetricsResponse, Unavailable> {
        let credential =
            self.credential.as_ref().map_err(|cause| Unavailable::error(cause.clone()))?;
        let scope = format!("{}/.default", self.endpoint);
        let token = credential.get_token(&[scope.as_str()], None).await;
        let token = token
            .map_err(|error| Unavailable::error(format!("no token: {}", cause_chain(&error))))?;
        let now = OffsetDateTime::now_utc();
        let span = format!("{}/{}", shown(now - question.span), shown(now));
        let metrics = format!("{},{}", resource.cpu, resource.memory);
        let url = format!("{}{}/providers/Microsoft.Insights/metrics", self.endpoint, resource.id);
        let query = [
            ("api-version", API_VERSION),
            ("metricnames", metrics.as_str()),
            ("timespan", span.as_str()),
            ("interval", question.interval),
            ("aggregation", question.aggregation),
        ];
        let url = reqwest::Url::parse_with_params(&url, query)
            .map_err(|error| Unavailable::error(error.to_string()))?;
        let request = self.http.get(url).bearer_auth(token.token.secret());
        let answer =
            request.send().await.map_err(|e| Unavailable::error(e.without_url().to_string()))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => return Err(self.throttled(&answer)),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let remedy = "the app's identity needs the role Monitoring Reader";
                return Err(Unavailable::error(format!("{status}: {remedy}")));
            }
            status => return Err(Unavailable::error(status.to_string())),
        }
        let text =
            answer.text().await.map_err(|e| Unavailable::error(e.without_url().to_string()))?;
        serde_json::from_str(&text).map_err(|error| {
            Unavailable::error(format!("not an answer of the metrics API: {error}"))
        })
    }

    /// B3: whether a call fits our own ceiling and the wait that Azure asked for.
    fn may_call(&self) -> Result<(), Unavailable> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if calls.hour_began.elapsed() >= HOUR {
            (calls.hour_began, calls.n) = (now, 0);
        }
        let cause = if calls.throttled_until.is_some_and(|until| until > now) {
            "waiting as long as Azure asked"
        } else if calls.n >= CALLS_AN_HOUR {
            "our own ceiling of calls an hour"
        } else {
            calls.n += 1;
            return Ok(());
        };
        Err(Unavailable { state: AzureState::Throttled, cause: cause.into() })
    }

    /// Calling before the wait is over is refused and renews it.
    fn throttled(&self, answer: &reqwest::Response) -> Unavailable {
        let asked = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
        let seconds = asked.and_then(|text| text.trim().parse().ok());
        let wait = seconds.map_or(THROTTLED_WAIT, Duration::from_secs).min(HOUR);
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.throttled_until = calls.throttled_until.max(Some(Instant::now() + wait));
        let cause = format!("429, to be asked again in {} s", wait.as_secs());
        Unavailable { state: AzureState::Throttled, cause }
    }
}

fn shown(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

impl Resource {
    /// State, CPU and memory in percent, and what people see. One bad metric does not lose the rest.
    fn judge(
        &self,
        answer: Result<MetricsResponse, Unavailable>,
    ) -> (AzureState, Option<f64>, Option<f64>, Value) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(Unavailable { state, cause }) => {
                return (state, None, None, json!({"state": state, "cause": cause}));
            }
        };
        let now = OffsetDateTime::now_utc();
        let cpu = answer.newest(self.cpu, now);
        let mut memory = answer.newest(self.memory, now);
        if let Ok(point) = &mut memory {
            point.value = 100.0 * point.value / self.memory_full;
        }
        let state_of = |metric: &Result<Point, Unavailable>| {
            metric.as_ref().map_or_else(|unavailable| unavailable.state, |_| AzureState::Ok)
        };
        let state = state_of(&cpu).max(state_of(&memory));
        let shown = |metric: &Result<Point, Unavailable>| match metric {
            Ok(point) => json!(point),
            Err(Unavailable { state, cause }) => json!({"state": state, "cause": cause}),
        };
        let report = json!({
            "state": state, "cpu_percent": shown(&cpu), "memory_percent": shown(&memory),
        });
        let value = |metric: &Result<Point, Unavailable>| metric.as_ref().ok().map(|p| p.value);
        (state, value(&cpu), value(&memory), report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Program;

    /// B3 X24: never more than 1500 calls an hour, whoever asks.
    #[tokio::test(start_paused = true)]
    async fn calls_end_at_our_own_ceiling() {
        let variables = [
            ("DATABASE_URL", "postgres://u:p@localhost/d"),
            ("ChunkStorage", "UseDevelopmentStorage=true"),
            ("PIXCRAWLER_MONITOR_RESOURCE_ID", "/subscriptions/s/providers/Microsoft.Web/sites/a"),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::parse(Program::Chunkctl, environment.into(), [].into()).unwrap();
        let monitor = Monitor::open(&settings).unwrap().unwrap();
        let granted = (0..2000).filter(|_| monitor.may_call().is_ok()).count();
        assert_eq!(granted, 1500);
        let refused = monitor.may_call().unwrap_err();
        assert_eq!(refused.state, AzureState::Throttled);
        tokio::time::advance(HOUR).await;
        assert!(monitor.may_call().is_ok());
    }
}
