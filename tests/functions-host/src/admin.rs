//! The host's own HTTP address: calls by hand, drain, status. Without keys.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::script::{ByHand, ScriptHost};

/// The app that runs now; an edited host.json changes it.
#[derive(Debug, Clone)]
pub struct Current {
    script: Arc<Mutex<Arc<ScriptHost>>>,
    since: Instant,
}

impl Current {
    /// Begins with this app.
    pub fn new(script: Arc<ScriptHost>) -> Self {
        Self { script: Arc::new(Mutex::new(script)), since: Instant::now() }
    }

    /// The app that runs now.
    pub fn script(&self) -> Arc<ScriptHost> {
        Arc::clone(&self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in its place.
    pub fn replace(&self, script: Arc<ScriptHost>) -> Arc<ScriptHost> {
        std::mem::replace(&mut *self.script.lock().unwrap_or_else(PoisonError::into_inner), script)
    }
}

/// The routes.
pub fn router(current: Current) -> Router {
    Router::new()
        .route("/admin/functions/{name}", post(call_by_hand))
        .route("/admin/host/drain", post(drain))
        .route("/admin/host/drain/status", get(drain_status))
        .route("/admin/host/status", get(status))
        .with_state(current)
}

/// A body that is no JSON object, or whose input is no string, is 400; without input is fine.
async fn call_by_hand(
    State(current): State<Current>,
    Path(name): Path<String>,
    body: Bytes,
) -> StatusCode {
    let input = match serde_json::from_slice(&body) {
        Ok(Value::Object(mut members)) => members.remove("input"),
        _ => return StatusCode::BAD_REQUEST,
    };
    let input = match input {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => return StatusCode::BAD_REQUEST,
    };
    match current.script().call_by_hand(&name, input) {
        ByHand::Accepted => StatusCode::ACCEPTED,
        ByHand::NoSuchFunction => StatusCode::NOT_FOUND,
    }
}

async fn drain(State(current): State<Current>) -> StatusCode {
    current.script().drain();
    StatusCode::ACCEPTED
}

async fn drain_status(State(current): State<Current>) -> Json<Value> {
    let script = current.script();
    let state = match script.drained() {
        None => "Disabled",
        Some(false) => "InProgress",
        Some(true) => "Completed",
    };
    Json(json!({
        "state": state,
        "outstandingInvocations": script.n_outstanding(),
        "outstandingRetries": 0,
    }))
}

/// The last four keys are the stand-in's own.
async fn status(State(current): State<Current>) -> Json<Value> {
    let script = current.script();
    Json(json!({
        "state": "Running",
        "version": "4.1037.0.0",
        "processUptime": u64::try_from(current.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        "standIn": true,
        "handlerPid": script.worker.pid(),
        "handlerPort": script.worker.port,
        "outstandingInvocations": script.n_outstanding(),
    }))
}
