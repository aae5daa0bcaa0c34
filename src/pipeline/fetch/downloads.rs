//! The downloads of one chunk: how many at once, over all of its origins.

use super::origin::Origin;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

/// How many more a chunk may have.
///
/// A place at an origin and a download are taken together, by the origin: who holds one of them and waits
/// for the other would keep it from everybody else, for as long as a slow origin likes.
#[derive(Debug, Clone)]
pub(super) struct Downloads(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Where the chunk had its turn and no download, in this order.
    wanted: VecDeque<Weak<Origin>>,
}

/// One of them; dropping it lets the next begin.
#[derive(Debug)]
pub(in super::super) struct Download(Downloads);

impl Downloads {
    /// So many at once.
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: limit, wanted: VecDeque::new() })))
    }

    /// Whether one is free. If none is, the origin is told when one is.
    pub(super) fn is_free_for(&self, origin: &Weak<Origin>) -> bool {
        let mut state = self.0.lock();
        let is_free = state.free > 0;
        if !is_free && !state.wanted.iter().any(|it| it.ptr_eq(origin)) {
            state.wanted.push_back(Weak::clone(origin));
        }
        is_free
    }

    /// Takes one that is free.
    pub(super) fn take(&self) -> Option<Download> {
        let mut state = self.0.lock();
        state.free = state.free.checked_sub(1)?;
        Some(Download(self.clone()))
    }

    /// The origin whose turn it is at a free one.
    fn next(&self) -> Option<Weak<Origin>> {
        let mut state = self.0.lock();
        if state.free > 0 { state.wanted.pop_front() } else { None }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.0.0.lock().free += 1;
        // One that has no use for it by now asks again when it has.
        while let Some(origin) = self.0.next() {
            if let Some(origin) = origin.upgrade() {
                origin.let_in();
            }
        }
    }
}
