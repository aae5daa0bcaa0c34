//! Which address is which page.

use super::{
    action, answer, assets, chunk_page,
    guard::{self, Guard},
    job_page, jobs_page, overview, rejected_page,
    world::World,
};
use axum::{
    Router,
    http::StatusCode,
    middleware::from_fn_with_state,
    response::Response,
    routing::{get, post},
};
use std::sync::Arc;

/// All pages, behind the guard.
pub(super) fn routes(world: Arc<World>, guard: Guard) -> Router {
    let mut routes = Router::new()
        .route("/", get(overview::page))
        .route("/jobs", get(jobs_page::page))
        .route("/jobs/{job}", get(job_page::page))
        .route("/jobs/{job}/chunks/{chunk}", get(chunk_page::page))
        .route("/jobs/{job}/chunks/{chunk}/images/{idx}", get(chunk_page::image))
        .route("/jobs/{job}/chunks/{chunk}/manifest.json", get(chunk_page::manifest))
        .route("/jobs/{job}/chunks/{chunk}/list.jsonl", get(chunk_page::list))
        .route("/rejected", get(rejected_page::page))
        .route("/style.css", get(assets::style))
        .route("/script.js", get(assets::script))
        .route("/icon.svg", get(assets::icon));
    if world.allow_control {
        let forms = get(action::form).merge(post(action::act));
        routes = routes.route("/control/{action}", forms);
    }
    routes.fallback(unknown).with_state(world).layer(from_fn_with_state(guard, guard::pass))
}

async fn unknown() -> Response {
    answer::problem(StatusCode::NOT_FOUND, "Not found", "There is no such page.")
}
