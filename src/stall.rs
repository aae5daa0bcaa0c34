//! The watch of the process's own clock: time in which it did not run is nobody's time.
//!
//! A machine that is moved, a container without CPU, a signal: the process stands still for seconds or
//! minutes, and when it goes on every timer fires at once, before one socket is read. Whoever judges by
//! a timer then judges servers that have answered long since. So limits count time in which the process
//! ran (`Watch::awake`), and what failed across a standstill is judged by nobody
//! (`Watch::stood_still_since`).
//!
//! A standstill is a tick that is late. Ticks are a task of the runtime that does the work: one whose
//! workers are all busy does not run either. A frozen machine may stop the clock of timers, too: then the
//! time of day has gone further than that clock.

use parking_lot::Mutex;
use std::{
    future::Future,
    pin::{Pin, pin},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep, sleep_until},
};

/// The watch of this process. Not handed around: each wait in the process is concerned. Until somebody
/// ticks, nothing is noticed.
pub(crate) static WATCH: Watch = Watch::new();

/// Between two ticks.
const PERIOD: Duration = Duration::from_millis(250);
/// A tick that is so late is a standstill; a shorter one is any busy machine's.
const LATE: Duration = Duration::from_secs(1);

/// Notices when its process stands still.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: Mutex<Seen>,
    noticed: Notify,
}

/// What was noticed.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The last tick, by the clock of timers and the time of day; none: nobody ticks.
    tick: Option<(Instant, SystemTime)>,
    standstills: u64,
    /// In all, by the clock of timers.
    lost: Duration,
    /// When the last standstill was noticed.
    woke: Option<Instant>,
}

/// A moment, by what was noticed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Mark {
    /// One between which and any other the process stood still.
    #[cfg(test)]
    pub(crate) fn of_another_time() -> Self {
        Self(u64::MAX)
    }
}

impl Seen {
    /// Judges a moment; the length of the standstill that it ends, if it does.
    fn look(&mut self, now: Instant, day: SystemTime) -> Option<Duration> {
        let (then, day_then) = self.tick?;
        let gap = now.saturating_duration_since(then);
        let of_day = day.duration_since(day_then).unwrap_or_default();
        let hidden = of_day.saturating_sub(gap);
        let is_late = gap >= PERIOD + LATE;
        if !is_late && hidden < LATE {
            return None;
        }
        self.standstills += 1;
        // Time that the clock of timers did not count is in no limit. A period is what the process may
        // have run before: were that lost too, a process that is always late would have no limits at all.
        self.lost += if is_late { gap.saturating_sub(PERIOD) } else { Duration::ZERO };
        self.tick = Some((now, day));
        self.woke = Some(now);
        Some(gap.max(of_day))
    }
}

impl Watch {
    const fn new() -> Self {
        let seen = Seen { tick: None, standstills: 0, lost: Duration::ZERO, woke: None };
        Self { seen: Mutex::new(seen), noticed: Notify::const_new() }
    }

    /// Ticks until `end`. The first who looks after a standstill notices it, be it this or a timer that
    /// fires before.
    pub(crate) async fn tick_until(&self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            self.tick();
            tokio::select! {
                () = &mut end => break,
                () = sleep(PERIOD) => {}
            }
        }
        self.seen.lock().tick = None;
    }

    /// This moment, to ask later whether the process stood still since.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.look().standstills)
    }

    /// Whether the process stood still at any time since then.
    pub(crate) fn stood_still_since(&self, mark: Mark) -> bool {
        self.mark() != mark
    }

    /// Waits until the process has stood still since then.
    ///
    /// # Cancel safety
    ///
    /// Holds no state of its own.
    pub(crate) async fn standstill_since(&self, mark: Mark) {
        loop {
            let mut noticed = pin!(self.noticed.notified());
            noticed.as_mut().enable();
            if self.stood_still_since(mark) {
                return;
            }
            noticed.await;
        }
    }

    /// How long ago the last standstill ended; none: there was none.
    pub(crate) fn awake_for(&self) -> Option<Duration> {
        self.look().woke.map(|woke| woke.elapsed())
    }

    /// This moment on a clock that stands still with the process. Good for differences only.
    pub(crate) fn awake(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.look().lost).unwrap_or(now)
    }

    /// Waits until a moment of that [clock](Self::awake).
    ///
    /// # Cancel safety
    ///
    /// Holds no state of its own.
    pub(crate) async fn sleep_until(&self, awake: Instant) {
        loop {
            let left = awake.saturating_duration_since(self.awake());
            if left.is_zero() {
                return;
            }
            // It may fire before anybody noticed a standstill: then there is more left.
            sleep(left).await;
        }
    }

    /// Waits for `work` while the process runs for so long; none: it was not done by then.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    pub(crate) async fn timeout<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let until = self.awake() + limit;
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep_until(until) => None,
        }
    }

    /// What was noticed up to this moment.
    fn look(&self) -> Seen {
        self.judge(|_, _, _| {})
    }

    /// Counts from this moment on. It is the one that was judged: between two readings of the clocks there
    /// would be room for a standstill that nobody notices.
    fn tick(&self) {
        self.judge(|seen, now, day| seen.tick = Some((now, day)));
    }

    /// Judges this moment; `then` is done before anybody else looks.
    fn judge(&self, then: impl FnOnce(&mut Seen, Instant, SystemTime)) -> Seen {
        let mut seen = self.seen.lock();
        let (now, day) = (Instant::now(), SystemTime::now());
        let standstill = seen.look(now, day);
        then(&mut seen, now, day);
        let judged = *seen;
        drop(seen);
        if let Some(length) = standstill {
            tracing::warn!(ms = length.as_millis(), "the process stood still");
            self.noticed.notify_waiters();
        }
        judged
    }
}

/// One timer for many moments of the [clock](Watch::awake) of a watch, none earlier than the one before: a
/// new timer for each would cost more than most of what is waited for.
#[derive(Debug)]
pub(crate) struct Alarm {
    watch: &'static Watch,
    timer: Pin<Box<Sleep>>,
}

impl Alarm {
    /// An alarm whose first moment is so far away, or further.
    pub(crate) fn after(length: Duration) -> Self {
        Self::of(&WATCH, length)
    }

    fn of(watch: &'static Watch, length: Duration) -> Self {
        Self { watch, timer: Box::pin(sleep(length)) }
    }

    /// Waits until this moment.
    ///
    /// # Cancel safety
    ///
    /// The next wait goes on with the timer of this one.
    pub(crate) async fn rings(&mut self, awake: Instant) {
        loop {
            // It may have been set for an earlier moment, or before a standstill.
            self.timer.as_mut().await;
            let left = awake.saturating_duration_since(self.watch.awake());
            if left.is_zero() {
                return;
            }
            self.timer.as_mut().reset(Instant::now() + left);
        }
    }
}

/// When work must be over: after so much time in which the process ran, but at the latest at a moment
/// that somebody else sets and that no standstill moves.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    watch: &'static Watch,
    /// When it is if the process does not stand still.
    due: Instant,
    /// What was lost before it was set.
    lost_before: Duration,
    latest: Instant,
}

impl Deadline {
    /// So long from now, and not later than `latest`.
    pub(crate) fn after(length: Duration, latest: Instant) -> Self {
        Self::of(&WATCH, length, latest)
    }

    fn of(watch: &'static Watch, length: Duration, latest: Instant) -> Self {
        let due = (Instant::now() + length).min(latest);
        Self { watch, due, lost_before: watch.look().lost, latest }
    }

    /// An earlier one: so many tenths of what is left are for what comes after it.
    pub(crate) fn leaving_tenths(self, tenths: u32) -> Self {
        let reserve = self.at().saturating_duration_since(Instant::now()) * tenths / 10;
        let earlier = |moment: Instant| moment.checked_sub(reserve).unwrap_or(moment);
        Self { due: earlier(self.due), latest: earlier(self.latest), ..self }
    }

    /// When it is, if the process does not stand still any more.
    pub(crate) fn at(&self) -> Instant {
        self.wanted().min(self.latest)
    }

    /// Waits for it.
    ///
    /// # Cancel safety
    ///
    /// Holds no state of its own.
    pub(crate) async fn passed(&self) {
        loop {
            let at = self.at();
            if at <= Instant::now() {
                return;
            }
            // It may fire before anybody noticed a standstill: then it is later.
            sleep_until(at).await;
        }
    }

    /// Whether it comes before the time is given back in which the process stood still.
    pub(crate) fn is_cut(&self) -> bool {
        self.wanted() > self.latest
    }

    fn wanted(&self) -> Instant {
        self.due + self.watch.look().lost.saturating_sub(self.lost_before)
    }
}

#[cfg(test)]
mod tests;
