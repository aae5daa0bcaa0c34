//! The handler's port: on loopback, and all the same not only the host can reach it.
//!
//! A page in a browser of this machine can, when its name is made to lead to loopback: it then sends its
//! own name as `Host`. So can any process, which may hold connections open and say nothing.

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header, uri::Authority},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
};
use http_body_util::LengthLimitError;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use std::{error::Error as _, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// The largest request: 64 KiB of quotes, doubled twice and copied into Metadata, is 393 kB.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;
/// Until the first head of a connection is there, and from a head to the end of its body.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Until the next head. The host keeps a connection for 75 s without use: it is the host that closes
/// it, so that no invocation meets a connection that is just being closed.
const NEXT_HEAD_TIME: Duration = Duration::from_secs(100);
/// How long nothing is accepted after that failed: there may be no descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves the routes until the token is cancelled, and then what is under way.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let routes = routes.layer(from_fn(refuse_other_hosts));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, routes.clone(), graceful.watcher()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Serves one connection. One that sends no request is closed.
async fn connection(stream: TcpStream, routes: Router, watcher: Watcher) {
    let asked = CancellationToken::new();
    let is_asked = asked.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        is_asked.cancel();
        routes.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // How it ended is the client's business.
        _ = watcher.watch(connection) => {}
        () = async {
            if timeout(REQUEST_TIME, asked.cancelled()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        } => {}
    }
}

/// Answers 421 to what was meant for another host than this machine's loopback.
async fn refuse_other_hosts(request: Request, next: Next) -> Response {
    let mut named = request.headers().get_all(header::HOST).iter();
    let host = match (named.next(), named.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    };
    // A target in absolute form comes before the header (RFC 9112, section 3.2.2).
    let target = request.uri().authority().map(Authority::as_str);
    if is_loopback(host) && target.is_none_or(is_loopback) {
        return next.run(request).await;
    }
    StatusCode::MISDIRECTED_REQUEST.into_response()
}

/// Whether a `Host` names loopback, with a port or without. The real host sends 127.0.0.1 and the port.
fn is_loopback(host: &str) -> bool {
    let names = ["127.0.0.1", "[::1]", "localhost"];
    let is_port = |text: &str| {
        text.strip_prefix(':').is_some_and(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
    };
    names.iter().any(|name| {
        let (start, rest) = host.split_at_checked(name.len()).unwrap_or_default();
        start.eq_ignore_ascii_case(name) && (rest.is_empty() || is_port(rest))
    })
}

/// An invocation as it came: JSON, whole, in time, and not too large.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl<S: Sync> FromRequest<S> for Posted {
    type Rejection = StatusCode;

    async fn from_request(request: Request, _: &S) -> Result<Self, StatusCode> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers;
        if !is_json(&headers) {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let body = timeout(REQUEST_TIME, to_bytes(body, BODY_LIMIT_BYTES)).await;
        let body = body.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let body = body.map_err(|error| match error.source() {
            Some(cause) if cause.is::<LengthLimitError>() => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        })?;
        Ok(Self { headers, body })
    }
}

/// Only JSON comes from a host. A browser asks first before it sends any to another site.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(first), None) = (types.next(), types.next()) else { return false };
    let media = first.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 282: what a client of loopback says, and what it does not.
    #[test]
    fn only_names_of_loopback_are_hosts() {
        for host in [
            "127.0.0.1:7071",
            "127.0.0.1",
            "[::1]:80",
            "[::1]",
            "localhost",
            "LocalHost:65535",
            "localhost:1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:7071",
            "127.0.0.1.evil.example:7071",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1:",
            "127.0.0.1:+80",
            "127.0.0.1:65536",
            "127.0.0.1:80:80",
            "127.0.0.1@evil.example",
            "127.0.0.2",
            "0.0.0.0",
            "::1",
            "[::1",
            "2130706433",
            "user@localhost",
            " localhost",
            "\u{fc}",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
