//! What the downloads of one chunk share, and what they found in all.

use super::{Downloads, ReachableOrigins, Rules};
use crate::{
    spool::Allowance,
    stall::Deadline,
    turns::{Party, Seat},
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// What the downloads of one chunk share.
#[derive(Debug)]
pub(in super::super) struct ChunkFetch {
    pub(super) allowance: Allowance,
    pub(super) rules: Rules,
    /// No retry waits beyond it.
    pub(super) deadline: Deadline,
    /// Its share of the look-ups of the process.
    pub(super) lookups: Semaphore,
    /// Its place among those who take turns at connections.
    pub(super) connections: Seat,
    /// Its place among those who take turns at walks through long bodies.
    pub(super) walkers: Seat,
    pub(super) downloads: Downloads,
    /// Who it is in the queues of the origins.
    pub(super) party: Party,
    pub(super) origins: ReachableOrigins,
    pub(super) asked: AtomicBool,
    pub(super) answered: AtomicBool,
    pub(super) bytes_in: AtomicU64,
}

impl ChunkFetch {
    /// True when any origin was asked for any URL, but for trials that were refused.
    pub(in super::super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// True when any URL got any HTTP answer.
    pub(in super::super) fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Body bytes received.
    pub(in super::super) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }
}
