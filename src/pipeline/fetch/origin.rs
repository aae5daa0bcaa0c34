//! Origins: who may download from each now, and who waits for what.

use super::{
    downloads::{Download, Downloads},
    pace::{Pace, Start},
};
use crate::{
    chunk::Reason,
    stall::WATCH,
    turns::{Party, Queue},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use url::Url;

/// Scheme, host and port: what limits and waits hold for, and connections are kept for.
pub(super) fn key(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Every origin that the process downloads from: one back-off for all chunks that it refuses.
#[derive(Debug)]
pub(super) struct Origins {
    limit: usize,
    origins: Mutex<HashMap<String, Arc<Origin>>>,
    parties: AtomicU64,
}

/// One origin.
#[derive(Debug)]
pub(super) struct Origin {
    pub key: String,
    gate: Mutex<Gate>,
}

#[derive(Debug)]
struct Gate {
    pace: Pace,
    queue: Queue<Waiter>,
    /// Lets the first in when a wait ends; it ends with the origin.
    alarm: JoinSet<()>,
}

/// A download that waits for its turn.
#[derive(Debug)]
struct Waiter {
    entered: oneshot::Sender<(OriginPermit, Download)>,
    downloads: Downloads,
    /// So often it was asked for before, in vain.
    failed: u32,
}

/// Above this many origins the idle ones are forgotten.
const REMEMBERED_ORIGINS: usize = 4096;
/// How soon it is noticed that an origin which answered again has ceased to.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
        let mut origins = self.origins.lock();
        if let Some(origin) = origins.get(key) {
            return Arc::clone(origin);
        }
        if origins.len() >= REMEMBERED_ORIGINS {
            origins.retain(|_, origin| Arc::strong_count(origin) > 1 || origin.is_remembered());
        }
        let gate =
            Gate { pace: Pace::new(self.limit), queue: Queue::default(), alarm: JoinSet::new() };
        let origin = Arc::new(Origin { key: key.to_owned(), gate: Mutex::new(gate) });
        origins.insert(key.to_owned(), Arc::clone(&origin));
        origin
    }
}

impl Origin {
    /// Waits for the turn of this chunk here, while one of its downloads is free, as long as it takes.
    ///
    /// # Errors
    ///
    /// None while the process lives.
    ///
    /// # Cancel safety
    ///
    /// A turn that comes too late goes on to the next who waits.
    pub(super) async fn enter(
        self: &Arc<Self>,
        party: Party,
        failed: u32,
        downloads: &Downloads,
    ) -> Result<(OriginPermit, Download), Reason> {
        let (entered, turn) = oneshot::channel();
        let waiter = Waiter { entered, downloads: downloads.clone(), failed };
        self.gate.lock().queue.wait(party, waiter);
        self.let_in();
        // Who waits is only left out when it is gone.
        turn.await.map_err(|_| Reason::Deadline)
    }

    /// Hands free places to those whose turn it is.
    pub(super) fn let_in(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        loop {
            let next = self.gate.lock().next(&this);
            let Some((party, waiter, start, download)) = next else { return };
            let permit = OriginPermit {
                origin: Arc::clone(self),
                party,
                start,
                is_open: true,
                is_refused: false,
                is_held: true,
            };
            if let Err((mut permit, _download)) = waiter.entered.send((permit, download)) {
                // Gone since it was looked at. Not left to `drop`, which would come back here.
                permit.is_held = false;
                self.gate.lock().end(party, start, true);
            }
        }
    }

    /// When this chunk may ask it again; none: now.
    pub(super) fn back_at(&self, party: Party) -> Option<Instant> {
        self.gate.lock().pace.back_at(party, Instant::now())
    }

    /// Whether it keeps downloads of this chunk waiting by its own wish, now or since it last refused one.
    pub(super) fn is_busy(&self, party: Party) -> bool {
        self.gate.lock().pace.is_slowed(party, Instant::now())
    }

    fn is_remembered(&self) -> bool {
        self.next_moment().is_some()
    }

    fn next_moment(&self) -> Option<Instant> {
        self.gate.lock().pace.next_moment(Instant::now())
    }

    /// Waits until `patience`, a moment of the clock that stands still with the process, is over and the
    /// origin, which refuses, has answered nothing to this chunk for as long as an image waits; for ever
    /// without a `patience`, or while it answers.
    pub(super) async fn outlasts(&self, party: Party, patience: Option<Instant>) {
        let Some(end) = patience else { return pending().await };
        WATCH.sleep_until(end).await;
        while !self.gate.lock().pace.is_silent(party, WATCH.awake()) {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Lets those in who wait for a moment, whenever one comes.
    fn set_alarm(self: &Arc<Self>) {
        let origin = Arc::downgrade(self);
        let mut alarm = JoinSet::new();
        alarm.spawn(async move {
            while let Some(until) = origin.upgrade().and_then(|origin| origin.next_moment()) {
                sleep_until(until).await;
                if let Some(origin) = origin.upgrade() {
                    origin.let_in();
                }
            }
        });
        self.gate.lock().alarm = alarm;
    }
}

impl Gate {
    /// The next whom the origin's pace admits, and whose chunk has a download; it runs from now on.
    ///
    /// What was refused before is a bad probe: the origin may refuse that alone. The others, who were
    /// never asked for, go first.
    fn next(&mut self, this: &Weak<Origin>) -> Option<(Party, Waiter, Start, Download)> {
        let Self { pace, queue, .. } = self;
        let now = Instant::now();
        let running = queue.held();
        let bound = queue.held_by(|party| pace.is_bound(party, now));
        let rank = |party: Party, waiter: &Waiter| {
            let may_go =
                pace.admits(party, running, bound, now) && waiter.downloads.is_free_for(this);
            may_go.then(|| pace.wants_probe(party, now) && waiter.failed > 0)
        };
        loop {
            let (party, first) = queue.first(|waiter| waiter.entered.is_closed(), rank)?;
            // Another origin may have taken it: then it is not free any more.
            let Some(download) = first.downloads.take() else { continue };
            let at = if pace.asks_once(party, now) { spokesman(queue.waiting(party)) } else { 0 };
            let waiter = queue.next(party, at)?;
            return Some((party, waiter, pace.start(party, now), download));
        }
    }

    fn end(&mut self, party: Party, start: Start, is_open: bool) {
        self.queue.give_back(party);
        match is_open {
            true => self.pace.unanswered(start, Instant::now()),
            false => self.pace.end(start),
        }
    }
}

/// Which of a chunk's waiters asks for all: any that was never asked for, since those in front may be the
/// ones that the origin refuses; else the one that has the fewest tries left, since a probe is more likely to be
/// answered than what comes after it.
fn spokesman<'a>(waiting: impl Iterator<Item = &'a Waiter>) -> usize {
    let open = waiting.enumerate().filter(|(_, waiter)| !waiter.entered.is_closed());
    let open: Vec<_> = open.map(|(at, waiter)| (at, waiter.failed)).collect();
    let fresh: Vec<_> = open.iter().filter(|(_, failed)| *failed == 0).collect();
    let most = || open.iter().rev().max_by_key(|(_, failed)| *failed);
    fastrand::choice(fresh).or_else(most).map_or(0, |(at, _)| *at)
}

/// One download's permit at an origin.
#[derive(Debug)]
pub(super) struct OriginPermit {
    pub origin: Arc<Origin>,
    party: Party,
    start: Start,
    /// The origin has not answered yet.
    is_open: bool,
    /// It refused the request, and not for its URL alone.
    is_refused: bool,
    is_held: bool,
}

impl OriginPermit {
    /// Whether it is the chunk's first request to an origin that refuses others.
    pub(super) fn is_trial(&self) -> bool {
        self.start.is_trial
    }

    /// Whether it is one, and the origin refused it, too.
    pub(super) fn is_refused_trial(&self) -> bool {
        self.start.is_trial && self.is_refused
    }

    /// The origin answered.
    pub(super) fn answered(&mut self) {
        self.is_open = false;
        self.origin.gate.lock().pace.answered(self.start, Instant::now(), WATCH.awake());
        self.origin.let_in();
    }

    /// The origin refused the request and asked for a wait.
    pub(super) fn throttled(&mut self, asked: Option<Duration>) {
        self.is_open = false;
        let now = Instant::now();
        self.is_refused = self.origin.gate.lock().pace.throttled(self.start, asked, now);
        if self.is_refused {
            self.origin.set_alarm();
        }
    }
}

impl Drop for OriginPermit {
    fn drop(&mut self) {
        if self.is_held {
            self.origin.gate.lock().end(self.party, self.start, self.is_open);
            self.origin.let_in();
        }
    }
}

#[cfg(test)]
mod tests;
