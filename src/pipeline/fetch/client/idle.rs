//! Connections that wait for their next request: few, and closed at once when somebody needs the room.

use super::Connection;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

/// In all. A host has at most as many as it had downloads at once.
const MOST_IDLE: usize = 256;
/// One that nobody used for so long is closed.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// The idle connections of the process.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    waiting: VecDeque<Waiting>,
    /// Whether the task that closes old ones runs.
    is_watched: bool,
}

#[derive(Debug)]
struct Waiting {
    /// Scheme, host and port.
    origin: String,
    connection: Connection,
    since: Instant,
}

impl Idle {
    /// The connection to an origin that was used last. It may be closed by now.
    pub(super) fn take(&self, origin: &str) -> Option<Connection> {
        let waiting = &mut self.0.lock().waiting;
        let at = waiting.iter().rposition(|it| it.origin == origin)?;
        waiting.remove(at).map(|it| it.connection)
    }

    /// Keeps a connection for the next request to its origin.
    pub(super) fn put(&self, origin: String, connection: Connection) {
        // At the end of the process there is none to close it later.
        if Handle::try_current().is_err() || connection.sender.is_closed() {
            return;
        }
        let mut state = self.0.lock();
        state.waiting.push_back(Waiting { origin, connection, since: Instant::now() });
        if state.waiting.len() > MOST_IDLE {
            state.waiting.pop_front();
        }
        if !std::mem::replace(&mut state.is_watched, true) {
            TokioExecutor::new().execute(self.clone().close_old_ones());
        }
    }

    /// Closes the one that has been idle for longest.
    pub(super) fn close_oldest(&self) {
        self.0.lock().waiting.pop_front();
    }

    /// Runs until none is idle when it looks.
    async fn close_old_ones(self) {
        while let Some(since) = self.oldest() {
            sleep_until(since + LONGEST_IDLE).await;
            self.0.lock().waiting.retain(|it| it.since.elapsed() < LONGEST_IDLE);
        }
    }

    /// Since when the oldest is idle. None: nobody watches from now on.
    fn oldest(&self) -> Option<Instant> {
        let mut state = self.0.lock();
        let since = state.waiting.front().map(|it| it.since);
        state.is_watched = since.is_some();
        since
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().waiting.len()
    }
}
