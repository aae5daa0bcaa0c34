//! The contract with the Functions host: routes, envelope in, envelope out.
//!
//! Facts and rules (H1-H15) were observed on the real host; each is named where it matters.

mod envelope;

use crate::{
    admission::{Held, hold},
    chunk::ChunkMessage,
    health::Health,
    jobs::{self, Command},
    run::{Disposition, Invocation, Worker},
    storage::{CHUNKS, CONTROL},
    telemetry::{self, cause_chain, refusal},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use envelope::{Answer, queue_text};
use std::{future::Future, sync::Arc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

/// The largest request: 64 KiB of quotes, doubled twice and copied into Metadata, is 393 kB.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;

/// The handler's side of the host: the worker, and the invocations under way.
#[derive(Debug, Clone)]
pub struct Handler {
    worker: Arc<Worker>,
    health: Health,
    /// Invocations outlive their connection: the host may go away, the work is then released.
    invocations: TaskTracker,
}

impl Handler {
    /// Serves the given worker and its health check.
    pub fn new(worker: Arc<Worker>, health: Health) -> Self {
        Self { worker, health, invocations: TaskTracker::new() }
    }

    /// The invocations under way.
    pub fn invocations(&self) -> &TaskTracker {
        &self.invocations
    }

    /// One route a function folder; `GET /` is the host's probe.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/", get(describe))
            .route("/process_chunk", post(process_chunk))
            .route("/control", post(control))
            .route("/health_check", post(health_check))
            .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
            .with_state(self.clone())
    }

    /// Runs an invocation to its end, whatever becomes of its connection. While the process
    /// drains nothing new is answered (rule H2).
    async fn invoke<F>(&self, span: Span, work: impl FnOnce(Arc<Worker>) -> F) -> Response
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        if self.worker.intake_stopped.is_cancelled() {
            return std::future::pending().await;
        }
        let task = self.invocations.spawn(work(Arc::clone(&self.worker)).instrument(span));
        match task.await {
            Ok(answer) => answer.into_response(),
            // A defect outside a chunk's own guard: the host delivers the message again.
            Err(error) => Answer::Failed(format!("the invocation broke: {error}")).into_response(),
        }
    }
}

async fn describe(State(handler): State<Handler>) -> Response {
    Json(serde_json::json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "profile": handler.worker.settings.profile.to_string(),
    }))
    .into_response()
}

async fn process_chunk(
    State(handler): State<Handler>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refuse_type(&headers) {
        return refusal;
    }
    let invocation = invocation(&headers);
    let span = span("process_chunk", &invocation, &headers);
    handler.invoke(span, move |worker| chunk_answer(worker, invocation, body)).await
}

async fn control(State(handler): State<Handler>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refuse_type(&headers) {
        return refusal;
    }
    let invocation = invocation(&headers);
    let span = span("control", &invocation, &headers);
    handler.invoke(span, move |worker| control_answer(worker, invocation, body)).await
}

/// The body says nothing that is needed; it is read, so that its limit holds here too.
async fn health_check(
    State(handler): State<Handler>,
    headers: HeaderMap,
    _body: Bytes,
) -> Response {
    if let Some(refusal) = refuse_type(&headers) {
        return refusal;
    }
    let health = handler.health.clone();
    let check = async move |worker: Arc<Worker>| Answer::Done(health.check(&worker).await);
    handler.invoke(span("health_check", &invocation(&headers), &headers), check).await
}

/// Only JSON comes from a host.
fn refuse_type(headers: &HeaderMap) -> Option<Response> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = media.eq_ignore_ascii_case("application/json");
    (!is_json).then(|| StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response())
}

/// Identified by the host's header: Metadata can be replaced by the message itself (rule H10).
fn invocation(headers: &HeaderMap) -> Invocation {
    let id = text(headers, "x-azure-functions-invocationid");
    let id = id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    Invocation { id, arrived: Instant::now() }
}

fn span(function: &'static str, invocation: &Invocation, headers: &HeaderMap) -> Span {
    telemetry::invocation(function, &invocation.id, text(headers, "traceparent"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn chunk_answer(worker: Arc<Worker>, invocation: Invocation, body: Bytes) -> Answer {
    let text = match queue_text(&body) {
        Ok(text) => text,
        Err(reason) => return reject(&worker, CHUNKS, &invocation, &lossy(&body), &reason).await,
    };
    let disposition = match ChunkMessage::parse(&text) {
        Ok(message) => worker.process(&message, &invocation).await,
        Err(error) => Disposition::Rejected { reason: refusal(&error) },
    };
    match disposition {
        Disposition::Done(summary) | Disposition::Retry { summary, .. } => Answer::Done(summary),
        Disposition::Rejected { reason } => {
            reject(&worker, CHUNKS, &invocation, &text, &reason).await
        }
        Disposition::DatabaseAway => Answer::DatabaseAway,
    }
}

async fn control_answer(worker: Arc<Worker>, invocation: Invocation, body: Bytes) -> Answer {
    let text = match queue_text(&body) {
        Ok(text) => text,
        Err(reason) => {
            return reject(&worker, CONTROL, &invocation, &lossy(&body), &reason).await;
        }
    };
    let command = match Command::parse(&text) {
        Ok(command) => command,
        Err(error) => {
            return reject(&worker, CONTROL, &invocation, &text, &refusal(&error)).await;
        }
    };
    // Queue or blob being away does not undo a command that the database took.
    let apply = || async {
        match command.apply(&worker.database, &worker.storage).await {
            Ok(summary) => Ok(summary),
            Err(jobs::Error::State(error)) => Err(error),
            Err(error @ jobs::Error::Storage(_)) => {
                Ok(format!("done; the rest follows in the background: {error}"))
            }
        }
    };
    match hold(invocation.arrived, &worker.intake_stopped, apply).await {
        Held::Answered(summary) => {
            tracing::info!(task_id = %invocation.id, summary, "Control command");
            Answer::Done(summary)
        }
        Held::Refused(error) => Answer::Failed(cause_chain(&error)),
        Held::Away => Answer::DatabaseAway,
    }
}

/// Records a message that can never work; only then is it answered with success.
async fn reject(
    worker: &Worker,
    queue: &str,
    invocation: &Invocation,
    body: &str,
    reason: &str,
) -> Answer {
    tracing::warn!(task_id = %invocation.id, queue, reason, "Message rejected");
    worker.metrics.rejected();
    let source_key = format!("invocation:{}", invocation.id);
    let record = || worker.database.reject(&source_key, queue, body, reason);
    match hold(invocation.arrived, &worker.intake_stopped, record).await {
        Held::Answered(()) => Answer::Done(format!("rejected and recorded: {reason}")),
        Held::Refused(error) => Answer::Failed(cause_chain(&error)),
        Held::Away => Answer::DatabaseAway,
    }
}

fn lossy(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
