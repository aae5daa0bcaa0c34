//! Files of the pages, inside the program.

use super::answer;
use axum::{http::StatusCode, response::Response};

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("assets/style.css"))
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("assets/script.js"))
}

pub(super) async fn icon() -> Response {
    file("image/svg+xml", include_str!("assets/icon.svg"))
}

fn file(kind: &'static str, text: &str) -> Response {
    answer::file(StatusCode::OK, kind, text.to_owned())
}
