//! The contract with the Functions host: routes, envelope in, envelope out.
//!
//! Facts and rules (H1-H15) were observed on the real host; each is named where it matters.

mod envelope;
mod port;

pub use port::serve;

use crate::{
    admission::Invocation,
    chunk::{ChunkMessage, ClaimToken},
    health::Health,
    jobs::{Applied, Command},
    process::{self, Process},
    redact::{cause_chain, refusal},
    run::{Disposition, Runner},
    state,
    storage::Queue,
    telemetry,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use envelope::{Reply, queue_text};
use port::Posted;
use std::{future::Future, sync::Arc};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, Span};

/// The handler's side of the host: what invocations need, and those that are under way.
#[derive(Debug, Clone)]
pub struct Handler {
    process: Arc<Process>,
    runner: Arc<Runner>,
    health: Health,
    /// Invocations outlive their connection: the host may go away, the work is then released.
    invocations: TaskTracker,
    /// Cancelled by the first request.
    asked: CancellationToken,
}

impl Handler {
    /// Serves chunks with the runner and the timer with the health check.
    pub fn new(process: Arc<Process>, runner: Runner, health: Health) -> Self {
        Self {
            process,
            runner: Arc::new(runner),
            health,
            invocations: TaskTracker::new(),
            asked: CancellationToken::new(),
        }
    }

    /// Waits until somebody asked for the first time.
    pub fn asked(&self) -> impl Future<Output = ()> + use<> {
        self.asked.clone().cancelled_owned()
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
            .with_state(self.clone())
    }

    /// Runs an invocation to its end, whatever becomes of its connection. While the process
    /// drains nothing new is answered (rule H2).
    async fn invoke(
        &self,
        span: Span,
        work: impl Future<Output = Reply> + Send + 'static,
    ) -> Response {
        if self.process.shutdown.is_intake_stopped() {
            return std::future::pending().await;
        }
        match self.invocations.spawn(work.instrument(span)).await {
            Ok(reply) => reply.into_response(),
            // A defect outside a chunk's own guard: the host delivers the message again.
            Err(error) => Reply::Failed(format!("the invocation broke: {error}")).into_response(),
        }
    }
}

async fn describe(State(handler): State<Handler>) -> Response {
    handler.asked.cancel();
    Json(serde_json::json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "profile": handler.process.settings.profile.to_string(),
    }))
    .into_response()
}

async fn process_chunk(State(handler): State<Handler>, posted: Posted) -> Response {
    let invocation = invocation(&posted.headers);
    let span = span("process_chunk", &invocation, &posted.headers);
    let work = Box::pin(chunk_reply(handler.clone(), invocation, posted.body));
    handler.invoke(span, work).await
}

async fn control(State(handler): State<Handler>, posted: Posted) -> Response {
    let invocation = invocation(&posted.headers);
    let span = span("control", &invocation, &posted.headers);
    let work = Box::pin(control_reply(handler.clone(), invocation, posted.body));
    handler.invoke(span, work).await
}

/// The body says nothing that is needed; it is read, so that its limits hold here too.
async fn health_check(State(handler): State<Handler>, posted: Posted) -> Response {
    let health = handler.health.clone();
    let check = Box::pin(async move { Reply::Done(health.check().await) });
    let headers = posted.headers;
    handler.invoke(span("health_check", &invocation(&headers), &headers), check).await
}

/// Identified by the host's header: Metadata can be replaced by the message itself (rule H10).
fn invocation(headers: &HeaderMap) -> Invocation {
    let id = text(headers, "x-azure-functions-invocationid");
    let id = id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    Invocation { id, token: ClaimToken::new(), arrived: Instant::now() }
}

fn span(function: &'static str, invocation: &Invocation, headers: &HeaderMap) -> Span {
    telemetry::invocation(function, &invocation.id, text(headers, "traceparent"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Parses the queue text. A message that cannot be read is recorded here; the runner decides about
/// the others.
async fn chunk_reply(handler: Handler, invocation: Invocation, body: Bytes) -> Reply {
    let (process, queue) = (&handler.process, Queue::Chunks);
    let text = match queue_text(&body) {
        Ok(text) => text,
        Err(reason) => return record(process, queue, &invocation, &lossy(&body), &reason).await,
    };
    let message = match ChunkMessage::parse(&text) {
        Ok(message) => message,
        Err(error) => return record(process, queue, &invocation, &text, &refusal(&error)).await,
    };
    match handler.runner.run(&message, &invocation).await {
        Disposition::Delete(summary) => Reply::Done(summary),
        Disposition::Record(reason) => record(process, queue, &invocation, &text, &reason).await,
        Disposition::Redeliver(cause) => Reply::NoAnswer(cause),
    }
}

async fn control_reply(handler: Handler, invocation: Invocation, body: Bytes) -> Reply {
    let (process, queue) = (&handler.process, Queue::Control);
    let text = match queue_text(&body) {
        Ok(text) => text,
        Err(reason) => return record(process, queue, &invocation, &lossy(&body), &reason).await,
    };
    let command = match Command::parse(&text) {
        Ok(command) => command,
        Err(error) => {
            return record(process, queue, &invocation, &text, &refusal(&error)).await;
        }
    };
    // One statement each: one that is refused may be asked for again, as for any message.
    let apply = || async {
        match command.apply(&process.database, &process.storage).await {
            Ok(applied @ Applied::NotReopened { .. }) => Ok(Err(applied.to_string())),
            Ok(applied) => Ok(Ok(applied.to_string())),
            Err(process::Error::State(error)) => Err(error),
            Err(error @ process::Error::Storage(_)) => {
                Err(state::Error::Degraded(cause_chain(&error)))
            }
        }
    };
    match invocation.hold(process, apply).await {
        Ok(Err(reason)) => record(process, queue, &invocation, &text, &reason).await,
        Ok(Ok(summary)) => {
            tracing::info!(task_id = %invocation.id, summary, "Control command");
            Reply::Done(summary)
        }
        Err(error) => Reply::NoAnswer(cause_chain(&error)),
    }
}

/// Records a message that can never work; only then is it answered with success.
async fn record(
    process: &Process,
    queue: Queue,
    invocation: &Invocation,
    body: &str,
    reason: &str,
) -> Reply {
    let queue = queue.name();
    tracing::warn!(task_id = %invocation.id, queue, reason, "Message rejected");
    let source_key = format!("invocation:{}", invocation.id);
    let record = || process.database.reject(&source_key, queue, body, reason);
    match invocation.hold(process, record).await {
        // Also when it is not new: the answer to the first try was lost, the invocation is the same.
        Ok(_) => {
            process.metrics.rejected();
            Reply::Done(format!("rejected and recorded: {reason}"))
        }
        Err(error) => Reply::NoAnswer(cause_chain(&error)),
    }
}

fn lossy(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
