//! Bytes that are paid for.

use super::Allowance;
use parking_lot::Mutex;
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Bytes that are paid for; dropping it frees them.
///
/// Shared with the thread that writes: a write whose future is dropped goes on for a moment, and
/// its bytes stay paid for until it ends.
#[derive(Debug)]
pub struct Reservation {
    pub(super) allowance: Allowance,
    held: Mutex<Portions>,
}

#[derive(Debug, Default)]
struct Portions {
    memory: u64,
    common: u64,
    head: u64,
    is_head: bool,
}

/// What bytes a reservation was grown by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grown {
    /// Memory.
    Memory,
    /// Temp space.
    Temp,
}

impl Reservation {
    pub(super) fn of_nothing(allowance: Allowance) -> Self {
        Self { allowance, held: Mutex::default() }
    }

    /// Grows by `memory` bytes of memory, or else by `temp` bytes of temp space; waits while there
    /// is neither. `temp` counts what a move from memory to a file needs in all.
    ///
    /// Returns which it was and how long it waited.
    ///
    /// # Cancel safety
    ///
    /// Nothing is taken when it is cancelled.
    pub(crate) async fn grow_either(&self, memory: u64, temp: u64) -> (Grown, Duration) {
        self.grow(Some(memory), temp).await
    }

    /// Grows by `bytes` of temp space; waits while there is none. Returns how long it waited.
    ///
    /// # Cancel safety
    ///
    /// Nothing is taken when it is cancelled.
    pub(crate) async fn grow_temp(&self, bytes: u64) -> Duration {
        self.grow(None, bytes).await.1
    }

    async fn grow(&self, memory: Option<u64>, temp: u64) -> (Grown, Duration) {
        if let Some(grown) = self.try_grow(memory, temp) {
            return (grown, Duration::ZERO);
        }
        let since = Instant::now();
        let share = Arc::clone(&self.allowance.share);
        loop {
            // Registered before the second try: bytes freed in between would wake nobody else.
            let mut freed = pin!(share.budget.freed.notified());
            freed.as_mut().enable();
            if let Some(grown) = self.try_grow(memory, temp) {
                return (grown, since.elapsed());
            }
            freed.await;
        }
    }

    fn try_grow(&self, memory: Option<u64>, temp: u64) -> Option<Grown> {
        if let Some(bytes) = memory
            && self.allowance.share.budget.try_memory(bytes)
        {
            self.held.lock().memory += bytes;
            return Some(Grown::Memory);
        }
        self.try_temp(temp).then_some(Grown::Temp)
    }

    fn try_temp(&self, bytes: u64) -> bool {
        let share = &self.allowance.share;
        let budget = &share.budget;
        let mut ledger = share.ledger.lock();
        let mut held = self.held.lock();
        let common_limit = budget.share_bytes - budget.head_bytes;
        if ledger.common + bytes <= common_limit && budget.try_temp(bytes, false) {
            ledger.common += bytes;
            held.common += bytes;
        } else if (held.is_head || !ledger.has_head)
            && held.head + bytes <= budget.head_bytes
            && budget.try_temp(bytes, true)
        {
            ledger.has_head = true;
            held.is_head = true;
            ledger.head += bytes;
            held.head += bytes;
        } else {
            return false;
        }
        let now = ledger.common + ledger.head;
        ledger.peak = ledger.peak.max(now);
        share.held.store(now, Ordering::Relaxed);
        true
    }

    /// Frees the memory part: the bytes are in a file now.
    pub(crate) fn free_memory(&self) {
        let bytes = std::mem::take(&mut self.held.lock().memory);
        self.allowance.share.budget.free_memory(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.free_memory();
        let Portions { common, head, is_head, .. } = std::mem::take(&mut *self.held.lock());
        if common + head == 0 && !is_head {
            return;
        }
        let share = &self.allowance.share;
        {
            let mut ledger = share.ledger.lock();
            ledger.common -= common;
            ledger.head -= head;
            ledger.has_head &= !is_head;
            share.held.store(ledger.common + ledger.head, Ordering::Relaxed);
        }
        share.budget.free_temp(common, head);
    }
}
