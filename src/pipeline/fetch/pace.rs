//! How fast an origin is asked: how many downloads at once, and when it wants to be left alone.
//!
//! What an origin says to the URLs of one chunk is not yet said to another. While it *refuses* (it asked
//! for a wait, and has answered nobody since whom it had refused):
//!
//! - who was refused is *bound*: all bound chunks wait together for as long as the origin says, then one
//!   download probes, then they share half as many downloads as before, and more again while it answers;
//! - who was never refused is *free*: it may have as many requests under way as it had answers, and one.
//!   So one that comes meanwhile begins with a single request of its own, its *trial*, and whom the origin
//!   answers notices nothing of the others' waits;
//! - who was refused, and sees only others refused since its own wait ended, has another trial, after eight
//!   seconds at least, doubled with each refusal up to 64; one answer makes it free.
//!
//! Only one trial is under way at once, and after a refused one the next waits for half a second, doubled
//! with each in a row up to eight: each claim of a chunk is a party of its own, and there may be many. A
//! refused trial is said to its chunk alone: who is bound waits no longer for it.
//!
//! When it answers the bound ones, all are bound: the width that they share is the host's. So a host that
//! throttles everybody gets one probe for each wait, and one trial in eight seconds.

use super::tries::PATIENCE;
use crate::turns::Party;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// What is known of one origin.
#[derive(Debug)]
pub(super) struct Pace {
    /// The most downloads at once.
    limit: usize,
    /// Downloads at once of those that are bound.
    width: usize,
    /// The same of those that are free, while it refuses: as many as it answered before, and more with each
    /// answer.
    free_width: usize,
    /// Answers since the width last changed or a request was refused.
    answered: usize,
    /// Times in a row that it asked us to wait, with no answer to who is bound in between.
    rounds: u32,
    quiet_until: Option<Instant>,
    probe: Probe,
    trials: Trials,
    /// Probes and trials so far.
    numbers: u64,
    parties: HashMap<Party, Known>,
}

/// What it said to one chunk.
#[derive(Debug)]
struct Known {
    /// Answers since it was last refused.
    answered: usize,
    /// Requests that wait for their answer.
    pending: usize,
    /// Refusals in a row.
    refusals: u32,
    /// When it was last answered, by the clock that stands still with the process.
    answered_at: Option<Instant>,
    /// It was refused: until when it was itself told to wait.
    told_until: Option<Instant>,
    /// It was refused: until when it heeds the waits of others without a request of its own.
    heeds_until: Option<Instant>,
    seen: Instant,
}

/// The trials of all chunks.
#[derive(Debug, Default)]
struct Trials {
    /// The number of the one that waits for its answer.
    sent: Option<u64>,
    /// Refused in a row.
    refused: u32,
    /// No other before.
    next_at: Option<Instant>,
}

/// Whether the origin has to answer one download before there are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// It answers.
    Needless,
    /// It asked for a wait, and has answered nothing since.
    Wanted,
    /// The probe of this number waits for its answer.
    Sent(u64),
}

/// A download that started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    party: Party,
    /// The number of the probe that it is; most are none.
    probe: Option<u64>,
    /// The same of the trial.
    trial: Option<u64>,
    /// It is the first request of a chunk to an origin that refuses others.
    pub is_trial: bool,
}

/// So many answers for each download at once, then there may be one more.
pub(super) const GROW_AFTER: usize = 32;
/// The first wait of an origin that names none; it doubles with each round. One that names less gets as much:
/// the rest of a burst that it refused is then no round of its own.
const FIRST_QUIET: Duration = Duration::from_millis(500);
/// The longest of these: one request in eight seconds hurts nobody.
const LONGEST_OWN_QUIET: Duration = Duration::from_secs(8);
/// A longer wait may be meant for one URL: all others of the origin wait as if it had named none.
pub(super) const LONGEST_QUIET: Duration = Duration::from_secs(60);
/// So long at least a chunk that was refused heeds the waits of others; it doubles with each refusal in a row.
const HEED: Duration = Duration::from_secs(8);
/// So often.
const HEED_DOUBLES: u32 = 3;
/// What was said to a chunk is forgotten so long after its last request.
const REMEMBERED_FOR: Duration = Duration::from_secs(120);

impl Pace {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            width: limit,
            free_width: limit,
            answered: 0,
            rounds: 0,
            quiet_until: None,
            probe: Probe::Needless,
            trials: Trials::default(),
            numbers: 0,
            parties: HashMap::new(),
        }
    }

    /// Until when those wait that it refused.
    fn quiet_until(&self, now: Instant) -> Option<Instant> {
        self.quiet_until.filter(|until| *until > now)
    }

    /// Whether it asked for a wait, and answered nothing since to whom it had refused.
    fn refuses(&self) -> bool {
        self.probe != Probe::Needless
    }

    /// The wait after so many refusals in a row of an origin that names none.
    fn own_quiet(refusals: u32) -> Duration {
        let own = FIRST_QUIET * 2_u32.pow(refusals.clamp(1, 8) - 1);
        own.min(LONGEST_OWN_QUIET)
    }

    fn answers_to(&self, party: Party) -> usize {
        self.parties.get(&party).map_or(0, |known| known.answered)
    }

    /// Whether this chunk shares the pace of those that are refused; else it is free.
    pub(super) fn is_bound(&self, party: Party, now: Instant) -> bool {
        let heeds = |until| now < until || self.quiet_until(now).is_none();
        let heeds_until = self.parties.get(&party).and_then(|known| known.heeds_until);
        !self.refuses() || heeds_until.is_some_and(heeds)
    }

    /// When this chunk may ask again; none: now.
    pub(super) fn back_at(&self, party: Party, now: Instant) -> Option<Instant> {
        if self.is_bound(party, now) {
            let until = self.quiet_until(now).max(self.told_until(party, now))?;
            let heeds_until = self.parties.get(&party).and_then(|known| known.heeds_until);
            return Some(heeds_until.map_or(until, |heeds| heeds.min(until)));
        }
        let is_trial = self.answers_to(party) == 0;
        self.trials.next_at.filter(|at| is_trial && *at > now)
    }

    /// Until when this chunk was told to wait, by an origin that has not answered since.
    fn told_until(&self, party: Party, now: Instant) -> Option<Instant> {
        let told_until = self.parties.get(&party).and_then(|known| known.told_until);
        told_until.filter(|until| self.refuses() && *until > now)
    }

    /// Whether anybody waits for a moment: a wait ends, or a chunk ceases to heed those of others.
    pub(super) fn next_moment(&self, now: Instant) -> Option<Instant> {
        let of_each = self.parties.values().flat_map(|known| [known.told_until, known.heeds_until]);
        let of_all = [self.quiet_until, self.trials.next_at];
        of_each.chain(of_all).flatten().filter(|moment| *moment > now).min()
    }

    /// Whether this chunk gets fewer downloads than it could, because the origin asked for that.
    pub(super) fn is_slowed(&self, party: Party, now: Instant) -> bool {
        let is_slowed =
            self.refuses() || self.quiet_until(now).is_some() || self.width < self.limit;
        is_slowed && (self.is_bound(party, now) || self.answers_to(party) < self.limit)
    }

    /// Whether it refuses, and has answered nothing to this chunk for as long as an image waits for it. It
    /// is `awake` now, by the clock that stands still with the process.
    pub(super) fn is_silent(&self, party: Party, awake: Instant) -> bool {
        let answered_at = self.parties.get(&party).and_then(|known| known.answered_at);
        self.refuses() && answered_at.is_none_or(|at| awake >= at + PATIENCE)
    }

    /// Whether the next download of this chunk is the only one for now: a probe or a trial.
    pub(super) fn asks_once(&self, party: Party, now: Instant) -> bool {
        self.wants_probe(party, now) || self.wants_trial(party, now)
    }

    fn wants_trial(&self, party: Party, now: Instant) -> bool {
        !self.is_bound(party, now) && self.answers_to(party) == 0
    }

    /// Whether the next download of this chunk is a probe.
    pub(super) fn wants_probe(&self, party: Party, now: Instant) -> bool {
        self.probe == Probe::Wanted && self.is_bound(party, now)
    }

    /// Whether one more download of this chunk may start beside those that run, of which so many are of
    /// bound chunks.
    pub(super) fn admits(&self, party: Party, running: usize, bound: usize, now: Instant) -> bool {
        if running >= self.limit {
            return false;
        }
        if self.is_bound(party, now) {
            return bound < self.width
                && self.quiet_until(now).is_none()
                && self.told_until(party, now).is_none()
                && !matches!(self.probe, Probe::Sent(_));
        }
        let trial_waits =
            self.trials.sent.is_some() || self.trials.next_at.is_some_and(|at| at > now);
        if trial_waits && self.wants_trial(party, now) {
            return false;
        }
        let pending = self.parties.get(&party).map_or(0, |known| known.pending);
        running.saturating_sub(bound) < self.free_width && pending < 1 + self.answers_to(party)
    }

    /// A download starts.
    pub(super) fn start(&mut self, party: Party, now: Instant) -> Start {
        self.of(party, now);
        let wants_probe = self.wants_probe(party, now);
        let wants_trial = self.wants_trial(party, now);
        let known = self.of(party, now);
        known.pending += 1;
        let is_trial = wants_trial && known.heeds_until.is_none();
        self.numbers += u64::from(wants_probe || wants_trial);
        let [probe, trial] = [wants_probe, wants_trial].map(|it| it.then_some(self.numbers));
        if wants_probe {
            self.probe = Probe::Sent(self.numbers);
        }
        self.trials.sent = trial.or(self.trials.sent);
        Start { party, probe, trial, is_trial }
    }

    /// A download ended that has no answer. A probe leaves its place to another.
    pub(super) fn unanswered(&mut self, start: Start, now: Instant) {
        self.has_outcome(start, now);
        self.end(start);
    }

    /// A download ended. The probe that was refused leaves its place to another.
    pub(super) fn end(&mut self, start: Start) {
        if self.is_probe(start) {
            self.probe = Probe::Wanted;
        }
    }

    /// The origin answered. What was under way when a wait began says nothing about its end, and an answer
    /// to who is free nothing about those that it refuses, but for how much it takes. It is `awake` now, by
    /// the clock that stands still with the process.
    pub(super) fn answered(&mut self, start: Start, now: Instant, awake: Instant) {
        let is_of_bound = self.is_bound(start.party, now) || self.is_probe(start);
        let known = self.has_outcome(start, now);
        known.answered += 1;
        known.answered_at = Some(awake);
        known.refusals = 0;
        if is_of_bound {
            self.rounds = 0;
            if self.quiet_until(now).is_none() {
                self.probe = Probe::Needless;
                self.trials = Trials::default();
            }
        } else {
            known.heeds_until = None;
            self.free_width = self.limit.min(self.free_width + 1);
        }
        if start.trial.is_some() {
            self.trials = Trials::default();
        }
        self.answered += 1;
        if self.answered >= GROW_AFTER * self.width && self.width < self.limit {
            self.width += 1;
            self.answered = 0;
        }
    }

    /// The origin refused a request and asked for a wait: those that it refused wait, then one probes, then
    /// half as many run. False when it says nothing about other URLs: a single one among many answers to
    /// its chunk. Longer than [`LONGEST_QUIET`] only the URL waits.
    ///
    /// Refusals of requests that were under way when the wait began repeat what is known: they do not
    /// count as one more round.
    pub(super) fn throttled(
        &mut self,
        start: Start,
        asked: Option<Duration>,
        now: Instant,
    ) -> bool {
        let is_free = !self.is_bound(start.party, now);
        let asked = asked.filter(|asked| *asked <= LONGEST_QUIET);
        let known = self.has_outcome(start, now);
        let answered = known.answered;
        // That the host's are taken keeps the next from being lone, too.
        let is_lone = answered.min(std::mem::take(&mut self.answered)) >= self.limit;
        if is_lone {
            return false;
        }
        self.of(start.party, now).answered = 0;
        let wait = match start.trial {
            Some(_) if self.refuses() => self.trial_refused(asked, now),
            Some(_) | None => self.quiets(is_free, asked, now),
        };
        let known = self.of(start.party, now);
        let heed = HEED * 2_u32.pow(known.refusals.min(HEED_DOUBLES));
        known.refusals += 1;
        known.told_until = Some(now + wait);
        known.heeds_until = Some(now + wait.max(heed));
        true
    }

    /// A trial was refused: the next one waits. How long its chunk has to.
    fn trial_refused(&mut self, asked: Option<Duration>, now: Instant) -> Duration {
        self.trials.refused += 1;
        let own = Self::own_quiet(self.trials.refused);
        self.trials.next_at = Some(now + own);
        asked.unwrap_or(own).max(FIRST_QUIET)
    }

    /// It refused who may speak for all: they wait, for how long?
    fn quiets(&mut self, is_free: bool, asked: Option<Duration>, now: Instant) -> Duration {
        if is_free {
            self.free_width = (self.free_width / 2).max(1);
        } else if !self.refuses() {
            self.free_width = self.width;
        }
        if self.quiet_until(now).is_none() {
            self.rounds += 1;
            self.width = (self.width / 2).max(1);
            self.probe = Probe::Wanted;
        }
        let wait = asked.unwrap_or(Self::own_quiet(self.rounds)).max(FIRST_QUIET);
        self.quiet_until = self.quiet_until.max(Some(now + wait));
        wait
    }

    fn is_probe(&self, start: Start) -> bool {
        start.probe.is_some_and(|number| self.probe == Probe::Sent(number))
    }

    fn has_outcome(&mut self, start: Start, now: Instant) -> &mut Known {
        self.trials.sent = self.trials.sent.filter(|number| start.trial != Some(*number));
        let known = self.of(start.party, now);
        known.pending = known.pending.saturating_sub(1);
        known
    }

    /// What is known of a chunk. With a new one those are forgotten that have long gone, and a wait that
    /// only these were told of.
    fn of(&mut self, party: Party, now: Instant) -> &mut Known {
        if !self.parties.contains_key(&party) {
            let is_recent = |known: &Known| known.pending > 0 || now < known.seen + REMEMBERED_FOR;
            self.parties.retain(|_, known| is_recent(known));
            let is_heeded = self.parties.values().any(|known| known.heeds_until.is_some());
            if !is_heeded && self.quiet_until(now).is_none() {
                self.probe = Probe::Needless;
                self.trials = Trials::default();
            }
        }
        let new = Known {
            answered: 0,
            pending: 0,
            refusals: 0,
            answered_at: None,
            told_until: None,
            heeds_until: None,
            seen: now,
        };
        let known = self.parties.entry(party).or_insert(new);
        known.seen = now;
        known
    }
}

#[cfg(test)]
mod tests;
