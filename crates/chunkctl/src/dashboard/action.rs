//! What can be done: a form that says what will happen, then the deed.

use super::{answer, world::World};
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use std::sync::Arc;

/// `GET /control/{action}`.
pub(super) async fn form(State(_): State<Arc<World>>, Path(_): Path<String>) -> Response {
    answer::problem(StatusCode::NOT_FOUND, "Not found", "There is no such action.")
}

/// `POST /control/{action}`.
pub(super) async fn act(State(_): State<Arc<World>>, Path(_): Path<String>) -> Response {
    answer::problem(StatusCode::NOT_FOUND, "Not found", "There is no such action.")
}
