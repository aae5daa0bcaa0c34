//! Which origins a chunk can reach at all: the ones that never answer are given up.

use parking_lot::Mutex;
use std::collections::HashMap;

/// What one chunk knows of its origins.
#[derive(Debug, Default)]
pub(super) struct ReachableOrigins {
    origins: Mutex<HashMap<String, Reached>>,
}

/// Whether an origin can be reached at all.
#[derive(Debug, Default)]
struct Reached {
    /// Tries in a row that got no answer.
    failures: u32,
    has_answered: bool,
}

/// An origin that failed to answer this often in a row is given up for the chunk.
const GIVE_UP_AFTER: u32 = 8;

impl ReachableOrigins {
    pub(super) fn is_unreachable(&self, origin: &str) -> bool {
        self.origins.lock().get(origin).is_some_and(|reached| reached.failures >= GIVE_UP_AFTER)
    }

    /// No connection, or no answer in time of an origin that never gave one.
    pub(super) fn failed(&self, origin: &str) {
        self.origins.lock().entry(origin.to_owned()).or_default().failures += 1;
    }

    /// Whether the origin never answered anything.
    pub(super) fn is_silent(&self, origin: &str) -> bool {
        !self.origins.lock().get(origin).is_some_and(|reached| reached.has_answered)
    }

    pub(super) fn answered(&self, origin: &str) {
        let mut origins = self.origins.lock();
        let reached = origins.entry(origin.to_owned()).or_default();
        *reached = Reached { failures: 0, has_answered: true };
    }
}
