//! Accounted bytes: what image bodies may hold in memory and in temporary files.
//!
//! Bytes are reserved before they exist. A chunk owns a share of the temp budget, and inside it
//! room for one image of the largest size: one *head* body of each chunk may always draw on that
//! room, so waiting for bytes can never deadlock. When the head's bytes are freed, the next body
//! that waits becomes head.

mod body;
mod directory;
mod reader;
mod reservation;

pub use body::{Body, BodyWriter, Pieces};
pub use directory::{Swept, TempDir, free_bytes};
pub use reader::BodyReader;
pub use reservation::{Grown, Reservation};

use crate::settings::Limits;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

/// Between two counts of what other processes on this machine still hold.
const RECOUNT_PAUSE: Duration = Duration::from_secs(1);

/// The process's budget: chunk permits, body memory and the ledger of temp bytes.
#[derive(Debug)]
pub struct Budget {
    n_permits: u64,
    permits: Arc<Semaphore>,
    memory_limit: u64,
    memory_used: Mutex<u64>,
    /// Bytes of either kind were freed.
    freed: Notify,
    share_bytes: u64,
    head_bytes: u64,
    block_bytes: u64,
    temp: Mutex<Temp>,
    directory: TempDir,
    /// Whether the disk was full at the last check: a change is logged once.
    disk_is_full: AtomicBool,
}

/// Temp bytes of the whole process.
#[derive(Debug, Default)]
struct Temp {
    used: u64,
    peak: u64,
    /// The part of `used` that is not of head bodies.
    common: u64,
    /// Bytes of other processes under the same root, when last counted (rule H9).
    of_others: u64,
    /// Chunks whose heads may draw on what is left.
    n_admitted: u64,
}

/// One chunk's part of the budget; dropping it frees the permit.
#[derive(Debug, Clone)]
pub struct Allowance {
    share: Arc<Share>,
    _permit: Arc<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    ledger: Mutex<Ledger>,
    /// What the ledger holds, for who only looks.
    held: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Ledger {
    common: u64,
    head: u64,
    has_head: bool,
    peak: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.temp.lock().n_admitted -= 1;
    }
}

impl Budget {
    /// A budget of the given limits whose files lie in `directory`.
    pub fn new(limits: &Limits, directory: TempDir) -> Arc<Self> {
        let n_permits = limits.streaming_max_chunks();
        let n = usize::try_from(n_permits).unwrap_or(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            n_permits,
            permits: Arc::new(Semaphore::new(n)),
            memory_limit: limits.body_buffer_bytes(),
            memory_used: Mutex::new(0),
            freed: Notify::new(),
            share_bytes: limits.chunk_temp_share_bytes(),
            head_bytes: limits.max_image_bytes,
            block_bytes: limits.block_bytes(),
            temp: Mutex::default(),
            directory,
            disk_is_full: AtomicBool::new(false),
        })
    }

    /// Takes a permit for one chunk, waiting at most `patience`; none: this instance is full.
    ///
    /// # Cancel safety
    ///
    /// Nothing is taken when it is cancelled.
    pub(crate) async fn admit(self: &Arc<Self>, patience: Duration) -> Option<Allowance> {
        let until = Instant::now() + patience;
        let permit =
            timeout_at(until, Arc::clone(&self.permits).acquire_owned()).await.ok()?.ok()?;
        self.recount_others();
        while !self.try_admit() {
            if Instant::now() + RECOUNT_PAUSE > until {
                return None;
            }
            sleep(RECOUNT_PAUSE).await;
            self.recount_others();
        }
        let share =
            Share { budget: Arc::clone(self), ledger: Mutex::default(), held: Arc::default() };
        Some(Allowance { share: Arc::new(share), _permit: Arc::new(permit) })
    }

    /// Admits a chunk if there is room for one body of the largest size of each admitted chunk, on top
    /// of all bytes that are held already.
    fn try_admit(&self) -> bool {
        // X25: what the disk says is a second brake only, for what others put there.
        let is_full = self.directory.free_bytes().is_some_and(|free| free < self.head_bytes);
        if self.disk_is_full.swap(is_full, Ordering::Relaxed) != is_full {
            let state = if is_full {
                "has no room for one more image: chunks wait"
            } else {
                "has room again"
            };
            tracing::warn!("the disk of the temp root {state}");
        }
        if is_full {
            return false;
        }
        let mut temp = self.temp.lock();
        let heads = (temp.n_admitted + 1) * self.head_bytes;
        let fits = temp.of_others + temp.common + heads <= self.n_permits * self.share_bytes;
        temp.n_admitted += u64::from(fits);
        fits
    }

    /// Whether the disk takes one body of the largest size.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(crate) fn probe_disk(&self) -> std::io::Result<()> {
        self.directory.probe(self.head_bytes)
    }

    /// Counts what other processes hold under the same temp root, which comes off our budget: on a
    /// change of `host.json` the old process finishes its chunks while the new one starts (rule H9).
    pub(crate) fn recount_others(&self) {
        let of_others = self.directory.others_bytes();
        let before = std::mem::replace(&mut self.temp.lock().of_others, of_others);
        if of_others < before {
            self.freed.notify_waiters();
        }
    }

    /// Chunks that are admitted now.
    pub(crate) fn n_admitted(&self) -> u64 {
        self.temp.lock().n_admitted
    }

    /// Temp bytes reserved now.
    pub fn temp_used_bytes(&self) -> u64 {
        self.temp.lock().used
    }

    /// Temp bytes that are gone from the platform's quota: what this process reserved or what lies in its
    /// directory, whichever is more, and what other processes hold under the same temp root, dead ones
    /// too. For people and alerts: nothing is decided by it.
    ///
    /// Walks the directories, so it is not for a thread that runs tasks.
    pub(crate) fn temp_on_disk_bytes(&self) -> u64 {
        self.temp_used_bytes().max(self.directory.walk_bytes()) + self.directory.others_bytes()
    }

    /// The most temp bytes ever reserved at once.
    pub fn temp_peak_bytes(&self) -> u64 {
        self.temp.lock().peak
    }

    /// Body memory reserved now.
    pub fn memory_used_bytes(&self) -> u64 {
        *self.memory_used.lock()
    }

    /// Where this process's temporary files are.
    pub fn directory(&self) -> &TempDir {
        &self.directory
    }

    fn try_memory(&self, bytes: u64) -> bool {
        let mut used = self.memory_used.lock();
        let fits = *used + bytes <= self.memory_limit;
        if fits {
            *used += bytes;
        }
        fits
    }

    fn free_memory(&self, bytes: u64) {
        if bytes > 0 {
            *self.memory_used.lock() -= bytes;
            self.freed.notify_waiters();
        }
    }

    /// Takes temp bytes: for a head body always, for any other body as far as there is room once the
    /// heads and the bytes of other processes are subtracted.
    ///
    /// Other bodies leave room for one largest image of each chunk permit, whether taken or not: a
    /// chunk that is admitted in the next moment must find the room of its head, or its bodies
    /// would wait for bytes that no one of them can free.
    fn try_temp(&self, bytes: u64, is_head: bool) -> bool {
        let mut temp = self.temp.lock();
        let common_limit = self.n_permits * (self.share_bytes - self.head_bytes);
        if !is_head && temp.common + temp.of_others + bytes > common_limit {
            return false;
        }
        temp.common += if is_head { 0 } else { bytes };
        temp.used += bytes;
        temp.peak = temp.peak.max(temp.used);
        true
    }

    fn free_temp(&self, common: u64, head: u64) {
        let mut temp = self.temp.lock();
        temp.common -= common;
        temp.used -= common + head;
        drop(temp);
        self.freed.notify_waiters();
    }
}

impl Allowance {
    /// Bytes of the block buffer that the chunk owns from its start.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.share.budget.block_bytes
    }

    /// The most temp bytes the chunk held at once.
    pub fn temp_peak_bytes(&self) -> u64 {
        self.share.ledger.lock().peak
    }

    /// Where the temp bytes that the chunk holds are counted; nothing keeps its place by looking.
    pub(crate) fn temp_held(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.share.held)
    }

    /// A reservation of nothing, to be grown.
    pub(crate) fn reserve_nothing(&self) -> Reservation {
        Reservation::of_nothing(self.clone())
    }
}

#[cfg(test)]
mod tests;
