//! Origins: who may download from each now, and who waits for what.

use super::{
    pace::{Pace, ProbeNumber},
    turns::{Party, Turns},
};
use crate::{chunk::Reason, stall::WATCH};
use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use url::Url;

/// Host and port: what limits and waits hold for.
pub(super) fn key(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Every origin (host and port) that the process downloads from: one back-off for all its chunks.
#[derive(Debug)]
pub(super) struct Origins {
    limit: usize,
    origins: Mutex<HashMap<String, Arc<Origin>>>,
    parties: AtomicU64,
}

/// One origin.
#[derive(Debug)]
pub(super) struct Origin {
    gate: Mutex<Gate>,
}

#[derive(Debug)]
struct Gate {
    pace: Pace,
    turns: Turns<Waiter>,
    /// Lets the first in when a wait ends; it ends with the origin.
    alarm: JoinSet<()>,
}

/// A download that waits for its turn.
#[derive(Debug)]
struct Waiter {
    permit: oneshot::Sender<OriginPermit>,
    /// It was asked for before, in vain.
    has_failed: bool,
}

/// Above this many origins the idle ones are forgotten.
const REMEMBERED_ORIGINS: usize = 4096;
/// How soon it is noticed that an origin which answered again has ceased to.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Origins {
    /// Origins of which each gets at most `limit` downloads at once.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, origins: Mutex::default(), parties: AtomicU64::new(0) }
    }

    /// A chunk that shares the origins with the others.
    pub(super) fn join(&self) -> Party {
        Party(self.parties.fetch_add(1, Ordering::Relaxed))
    }

    /// The origin of this [`key`].
    pub(super) fn get(&self, key: &str) -> Arc<Origin> {
        let mut origins = locked(&self.origins);
        if let Some(origin) = origins.get(key) {
            return Arc::clone(origin);
        }
        if origins.len() >= REMEMBERED_ORIGINS {
            origins.retain(|_, origin| Arc::strong_count(origin) > 1 || origin.back_at().is_some());
        }
        let gate =
            Gate { pace: Pace::new(self.limit), turns: Turns::default(), alarm: JoinSet::new() };
        let origin = Arc::new(Origin { gate: Mutex::new(gate) });
        origins.insert(key.to_owned(), Arc::clone(&origin));
        origin
    }
}

impl Origin {
    /// Waits for a permit of the origin and one of the chunk's downloads, as long as it takes.
    ///
    /// A download that must wait gives its origin permit back first: a chunk whose downloads are all
    /// at slow origins would otherwise keep a quick origin's permits from every other chunk. When
    /// both are scarce this could go on for ever, so the second time the permit is kept, unless it is
    /// the probe: all others wait for the probe's answer, and it may have to wait for minutes. It goes to
    /// who has a download when it is free. Each round waits for a download, so they follow each other no
    /// faster than downloads end.
    ///
    /// # Errors
    ///
    /// None while the process lives.
    ///
    /// # Cancel safety
    ///
    /// A permit that comes too late goes on to the next who waits.
    pub(super) async fn enter_with<'a>(
        self: &Arc<Self>,
        party: Party,
        has_failed: bool,
        downloads: &'a Semaphore,
    ) -> Result<(OriginPermit, SemaphorePermit<'a>), Reason> {
        let permit = self.enter(party, has_failed).await?;
        if let Ok(download) = downloads.try_acquire() {
            return Ok((permit, download));
        }
        drop(permit);
        loop {
            let download = acquired(downloads).await?;
            if let Some(permit) = self.try_enter(party) {
                return Ok((permit, download));
            }
            drop(download);
            let permit = self.enter(party, has_failed).await?;
            if let Ok(download) = downloads.try_acquire() {
                return Ok((permit, download));
            }
            if permit.probe.is_none() {
                return Ok((permit, acquired(downloads).await?));
            }
        }
    }

    /// Waits for the turn of this chunk.
    async fn enter(
        self: &Arc<Self>,
        party: Party,
        has_failed: bool,
    ) -> Result<OriginPermit, Reason> {
        let (permit, turn) = oneshot::channel();
        locked(&self.gate).turns.wait(party, Waiter { permit, has_failed });
        self.let_in();
        // Who waits is only left out when it is gone.
        turn.await.map_err(|_| Reason::Deadline)
    }

    /// A permit, if there is one right now.
    fn try_enter(self: &Arc<Self>, party: Party) -> Option<OriginPermit> {
        let mut gate = locked(&self.gate);
        let running = gate.turns.running();
        gate.pace.admits(running, Instant::now()).then(|| {
            gate.turns.start(party);
            OriginPermit {
                origin: Arc::clone(self),
                party,
                probe: gate.pace.start(),
                is_held: true,
            }
        })
    }

    /// Hands free places to those whose turn it is.
    fn let_in(self: &Arc<Self>) {
        loop {
            let next = locked(&self.gate).next();
            let Some((party, waiter, probe)) = next else { return };
            let origin = Arc::clone(self);
            let permit = OriginPermit { origin, party, probe, is_held: true };
            if let Err(mut permit) = waiter.permit.send(permit) {
                // Gone since it was looked at. Not left to `drop`, which would come back here.
                permit.is_held = false;
                locked(&self.gate).end(party, probe);
            }
        }
    }

    /// When it may be asked again; none: now.
    pub(super) fn back_at(&self) -> Option<Instant> {
        locked(&self.gate).pace.quiet_until(Instant::now())
    }

    /// Whether it keeps downloads waiting by its own wish, now or since it last refused one.
    pub(super) fn is_busy(&self) -> bool {
        locked(&self.gate).pace.is_slowed(Instant::now())
    }

    /// Waits until `patience`, a moment of the clock that stands still with the process, is over and the
    /// origin has answered nothing since it last asked for a wait; for ever without a `patience`, or while
    /// it answers.
    pub(super) async fn outlasts(&self, patience: Option<Instant>) {
        let Some(end) = patience else { return pending().await };
        WATCH.sleep_until(end).await;
        while !locked(&self.gate).pace.is_silent() {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Lets the first in when the wait ends, however often it is made longer.
    fn set_alarm(self: &Arc<Self>) {
        let origin = Arc::downgrade(self);
        let mut alarm = JoinSet::new();
        alarm.spawn(async move {
            while let Some(until) = origin.upgrade().and_then(|origin| origin.back_at()) {
                sleep_until(until).await;
            }
            if let Some(origin) = origin.upgrade() {
                origin.let_in();
            }
        });
        locked(&self.gate).alarm = alarm;
    }
}

impl Gate {
    /// The next whom the origin's pace admits; it runs from now on.
    ///
    /// What was refused before is a bad probe: the origin may refuse that alone. The others, who were
    /// never asked for, go first.
    fn next(&mut self) -> Option<(Party, Waiter, ProbeNumber)> {
        if !self.pace.admits(self.turns.running(), Instant::now()) {
            return None;
        }
        let wants_probe = self.pace.wants_probe();
        let is_late = |waiter: &Waiter| wants_probe && waiter.has_failed;
        let (party, waiter) = self.turns.next(|waiter| waiter.permit.is_closed(), is_late)?;
        Some((party, waiter, self.pace.start()))
    }

    fn end(&mut self, party: Party, probe: ProbeNumber) {
        self.turns.end(party);
        self.pace.end(probe);
    }
}

async fn acquired(downloads: &Semaphore) -> Result<SemaphorePermit<'_>, Reason> {
    // It is never closed.
    downloads.acquire().await.map_err(|_| Reason::Deadline)
}

/// One download's permit at an origin.
#[derive(Debug)]
pub(super) struct OriginPermit {
    origin: Arc<Origin>,
    party: Party,
    probe: ProbeNumber,
    is_held: bool,
}

impl OriginPermit {
    /// The origin answered.
    pub(super) fn answered(&self) {
        locked(&self.origin.gate).pace.answered(Instant::now());
        self.origin.let_in();
    }

    /// The origin refused a request and asked for a wait.
    pub(super) fn throttled(&self, asked: Option<Duration>) {
        let begins = locked(&self.origin.gate).pace.throttled(asked, Instant::now());
        if begins {
            self.origin.set_alarm();
        }
    }
}

impl Drop for OriginPermit {
    fn drop(&mut self) {
        if self.is_held {
            locked(&self.origin.gate).end(self.party, self.probe);
            self.origin.let_in();
        }
    }
}

#[cfg(test)]
mod tests;
