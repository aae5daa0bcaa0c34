//! Hosts: how many downloads each gets, and which are given up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

/// Host and port.
pub(super) fn key(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Downloads at once for each host and port, over all chunks of the process.
#[derive(Debug)]
pub struct HostGates {
    limit: usize,
    gates: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// Above this many hosts the idle ones are forgotten.
const REMEMBERED_HOSTS: usize = 4096;

impl HostGates {
    /// Gates of the given width.
    pub fn new(limit: usize) -> Self {
        Self { limit, gates: Mutex::default() }
    }

    /// Waits for a place at the host.
    pub(super) async fn enter(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        self.gate(host).acquire_owned().await.ok()
    }

    fn gate(&self, host: &str) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(host).and_then(Weak::upgrade) {
            return gate;
        }
        if gates.len() >= REMEMBERED_HOSTS {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        let gate = Arc::new(Semaphore::new(self.limit));
        gates.insert(host.to_owned(), Arc::downgrade(&gate));
        gate
    }
}

/// Connection failures in a row, for each host and port of a chunk.
#[derive(Debug, Default)]
pub struct ChunkHosts {
    failures: Mutex<HashMap<String, u32>>,
}

/// A host and port that failed to connect this often in a row is given up for the chunk.
const GIVE_UP_AFTER: u32 = 8;

impl ChunkHosts {
    pub(super) fn is_unreachable(&self, host: &str) -> bool {
        self.with(|failures| failures.get(host).is_some_and(|n| *n >= GIVE_UP_AFTER))
    }

    pub(super) fn failed_to_connect(&self, host: &str) {
        self.with(|failures| *failures.entry(host.to_owned()).or_default() += 1);
    }

    pub(super) fn connected(&self, host: &str) {
        self.with(|failures| failures.remove(host));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, u32>) -> T) -> T {
        act(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
