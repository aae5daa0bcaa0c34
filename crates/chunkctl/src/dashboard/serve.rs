//! Serving the pages: connections, each with a time for what it asks and for what it is answered.

mod taken;

use super::room::Room;
use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::time::Duration;
use taken::Taken;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tower_service::Service as _;

/// Until the head of a request is there, the first one or the next: who says nothing is not waited for.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Connections at once: far below the descriptors that a process may have.
const MOST_CONNECTIONS: usize = 256;
/// How long nothing is accepted after that failed: there may be no descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves the pages for ever.
pub(super) async fn serve(listener: TcpListener, routes: Router, room: Room) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Taken::new(stream, room.clone()), routes.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

async fn connection(stream: Taken, routes: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| routes.clone().call(request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    // How it ended is the browser's business.
    drop(served.await);
}
