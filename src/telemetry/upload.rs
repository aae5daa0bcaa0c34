//! One upload of the exporter: over redirects, not before the endpoint wants it, and with words for what
//! went wrong.
//!
//! The exporter's threads have no runtime: each upload hops onto the process's own.

use super::{Unusable, answer::Problem, connection::Connection, redirect};
use crate::{
    identity,
    redact::{cause_chain, client_error, without_queries},
    settings::{Secret, Settings},
};
use axum::http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use azure_core::credentials::TokenCredential;
use bytes::Bytes;
use opentelemetry_application_insights::HttpClient;
use opentelemetry_http::HttpError;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{runtime::Handle, time::Instant};
use url::Url;

/// One upload; the exporter tries again, with pauses of half a minute in all. What took longer may have
/// arrived and comes once more, so a slow endpoint gets its time.
const LIMIT: Duration = Duration::from_secs(60);
/// As long as the exporter tries again: a longer pause is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause that an endpoint may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// The token that `Authorization=AAD` asks for.
const SCOPE: &str = "https://monitor.azure.com/.default";
/// A status that the exporter takes for final. No endpoint sends it.
const DROPPED: StatusCode = StatusCode::TOO_EARLY;

/// Uploads batches.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    http: reqwest::Client,
    runtime: Handle,
    credential: Option<Arc<dyn TokenCredential>>,
    /// The exporter makes every endpoint https; one on this machine may be plain.
    is_plain: bool,
    known: Arc<Mutex<Known>>,
}

/// What earlier uploads found.
#[derive(Debug, Default)]
struct Known {
    /// Where redirects led to.
    target: Option<Url>,
    /// The endpoint asked not to be asked before.
    not_before: Option<Instant>,
    /// What was wrong with the last one.
    problem: Option<Problem>,
}

impl Upload {
    /// Prepares uploads; connects on first use.
    ///
    /// # Errors
    ///
    /// [`Unusable`]: no TLS client, or no credential, can be made.
    pub(super) fn new(
        settings: &Settings,
        connection: &Connection,
        runtime: &Handle,
    ) -> Result<Self, Unusable> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LIMIT)
            .build()
            .map_err(|error| Unusable(client_error(&error)))?;
        let authentication = settings.monitor.telemetry_authentication.as_ref().map(Secret::expose);
        let credential = match authentication.map(authentication_client_id) {
            None => None,
            Some(None) => {
                let problem = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING must be Authorization=AAD, \
                               with ClientId=...; before it for a user-assigned identity";
                return Err(Unusable(problem.into()));
            }
            Some(Some(client_id)) => Some(
                identity::credential(&settings.host, client_id)
                    .map_err(|error| Unusable(cause_chain(&error)))?,
            ),
        };
        let is_plain = connection.is_plain();
        Ok(Self { http, runtime: runtime.clone(), credential, is_plain, known: Arc::default() })
    }

    /// What was wrong with the last upload; none: nothing.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.known().problem.clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the exporter was configured with.
    fn configured(&self, uri: &Uri) -> Result<Url, HttpError> {
        let text = uri.to_string();
        let text = if self.is_plain { text.replacen("https://", "http://", 1) } else { text };
        Ok(Url::parse(&text)?)
    }

    async fn upload(
        &self,
        configured: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, HttpError> {
        if let Some(status) = self.waits() {
            return Ok(response(status, Bytes::new()));
        }
        let mut target = self.known().target.clone().unwrap_or_else(|| configured.clone());
        for _ in 0..=redirect::MOST {
            let answer = match self.post(&target, headers.clone(), body.clone()).await {
                Ok(answer) => answer,
                Err(error) => {
                    // Where a redirect led to may be gone: the next one asks the first again.
                    self.known().target = None;
                    self.note(Some(Problem::no_answer(&without_queries(&cause_chain(&*error)))));
                    return Err(error);
                }
            };
            if !matches!(answer.status().as_u16(), 307 | 308) {
                return Ok(self.judge(answer, target, &configured));
            }
            let location = answer.headers().get(header::LOCATION).map(|value| value.as_bytes());
            match redirect::follow(&target, location) {
                Ok(next) => target = next,
                Err(why) => {
                    self.note(Some(Problem::redirect(answer.status(), &why)));
                    return Ok(answer);
                }
            }
        }
        self.known().target = None;
        let why = format!("comes {} times in a row", redirect::MOST + 1);
        self.note(Some(Problem::redirect(StatusCode::PERMANENT_REDIRECT, &why)));
        Ok(response(DROPPED, Bytes::new()))
    }

    /// What the exporter is told while the endpoint wants no question: to try again, or that it is over.
    fn waits(&self) -> Option<StatusCode> {
        let left = self.known().not_before?.checked_duration_since(Instant::now())?;
        if left.is_zero() {
            return None;
        }
        Some(if left <= PATIENCE { StatusCode::TOO_MANY_REQUESTS } else { DROPPED })
    }

    async fn post(
        &self,
        target: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, HttpError> {
        let mut call = self.http.post(target.clone()).headers(headers).body(body);
        if let Some(credential) = &self.credential {
            let token = credential.get_token(&[SCOPE], None).await?;
            call = call.header(header::AUTHORIZATION, format!("Bearer {}", token.token.secret()));
        }
        let answer = call.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = response(status, answer.bytes().await?);
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Keeps what a final answer says.
    fn judge(&self, answer: Response<Bytes>, target: Url, configured: &Url) -> Response<Bytes> {
        let status = answer.status();
        let wait =
            answer.headers().get(header::RETRY_AFTER).and_then(|v| retry_after(v.as_bytes()));
        let wait = wait.filter(|_| !status.is_success()).map(|wait| wait.min(LONGEST_PAUSE));
        let wait_s = wait.map(|wait| wait.as_secs());
        {
            let mut known = self.known();
            known.not_before = wait.and_then(|wait| Instant::now().checked_add(wait));
            let is_throttled = matches!(status.as_u16(), 402 | 429 | 439);
            let is_right = status.is_success() || is_throttled;
            known.target = (is_right && target != *configured).then_some(target);
        }
        self.note(Problem::of(status, answer.body(), wait_s, self.credential.is_some()));
        answer
    }

    /// Says what is wrong once, until something else is.
    fn note(&self, problem: Option<Problem>) {
        let before = std::mem::replace(&mut self.known().problem, problem.clone());
        let Some(Problem { status, what, remedy }) = problem else { return };
        if before.is_none_or(|before| before.status != status) {
            tracing::warn!(
                cause = what,
                advice = remedy,
                "telemetry cannot be sent; what its buffers cannot hold is dropped"
            );
        }
    }
}

fn response(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Seconds, or a date
/// (<https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>).
fn retry_after(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
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
        let configured = self.configured(&parts.uri)?;
        let upload = self.clone();
        let run = async move { upload.upload(configured, parts.headers, body).await };
        self.runtime.spawn(run).await.map_err(HttpError::from).flatten()
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

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        assert_eq!(retry_after(b" 7 "), Some(Duration::from_secs(7)));
        for nonsense in [&b"soon"[..], b"-1", b"1.5", b"\xff"] {
            assert_eq!(retry_after(nonsense), None);
        }
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(retry_after(date.as_bytes()).is_some_and(|wait| wait.as_secs() > 90));
        assert_eq!(retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT"), None);
    }
}
