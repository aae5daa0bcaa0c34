//! Connections that wait for their next request: few, and closed at once when somebody needs the room.

use super::Sender;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

/// In all. A host has at most as many as it had downloads at once.
const MOST_IDLE: usize = 256;
/// One that nobody used for so long is closed.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// The idle connections of the process, the oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle(Arc<Mutex<VecDeque<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    /// Scheme, host and port.
    origin: String,
    sender: Sender,
    since: Instant,
}

impl Idle {
    /// The connection to an origin that was used last. It may be closed by now.
    pub(super) fn take(&self, origin: &str) -> Option<Sender> {
        let mut waiting = self.locked();
        let at = waiting.iter().rposition(|it| it.origin == origin)?;
        waiting.remove(at).map(|it| it.sender)
    }

    /// Keeps a connection for the next request to its origin.
    pub(super) fn put(&self, origin: String, sender: Sender) {
        // At the end of the process there is none to close it later.
        if Handle::try_current().is_err() || sender.is_closed() {
            return;
        }
        let mut waiting = self.locked();
        waiting.push_back(Waiting { origin, sender, since: Instant::now() });
        if waiting.len() > MOST_IDLE {
            waiting.pop_front();
        }
        if waiting.len() == 1 {
            TokioExecutor::new().execute(self.clone().close_old_ones());
        }
    }

    /// Closes the one that has been idle for longest.
    pub(super) fn close_oldest(&self) {
        self.locked().pop_front();
    }

    /// Runs as long as any is idle.
    async fn close_old_ones(self) {
        loop {
            let Some(oldest) = self.locked().front().map(|it| it.since) else { return };
            sleep_until(oldest + LONGEST_IDLE).await;
            self.locked().retain(|it| it.since.elapsed() < LONGEST_IDLE);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.locked().len()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
