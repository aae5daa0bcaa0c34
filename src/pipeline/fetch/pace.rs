//! How fast an origin is asked: how many downloads at once, and when it wants to be left alone.

use std::time::Duration;
use tokio::time::Instant;

/// An origin gets fewer downloads at once each time it answers that these are too many, and more
/// again while it answers all of them. After a wait that it asked for one download probes it; the
/// others go when that is answered.
#[derive(Debug)]
pub(super) struct Pace {
    /// The most downloads at once.
    limit: usize,
    /// Downloads at once.
    width: usize,
    /// Answers since the width last changed or a request was refused.
    answered: usize,
    /// Times in a row that it asked us to wait, with no answer in between.
    rounds: u32,
    quiet_until: Option<Instant>,
    probe: Probe,
    probes: u64,
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

/// Which probe a download is; most are none.
pub(super) type ProbeNumber = Option<u64>;

/// So many answers for each download at once, then there may be one more.
pub(super) const GROW_AFTER: usize = 32;
/// The first wait of an origin that names none; it doubles with each round.
const FIRST_QUIET: Duration = Duration::from_millis(500);
/// The longest of these: one request in eight seconds hurts nobody.
const LONGEST_OWN_QUIET: Duration = Duration::from_secs(8);
/// A longer wait may be meant for one URL: it is not shared by all of the origin.
pub(super) const LONGEST_QUIET: Duration = Duration::from_secs(60);

impl Pace {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            width: limit,
            answered: 0,
            rounds: 0,
            quiet_until: None,
            probe: Probe::Needless,
            probes: 0,
        }
    }

    /// When it may be asked again; none: now.
    pub(super) fn quiet_until(&self, now: Instant) -> Option<Instant> {
        self.quiet_until.filter(|until| *until > now)
    }

    /// Whether it gets fewer downloads than it could, because it asked for that.
    pub(super) fn is_slowed(&self, now: Instant) -> bool {
        self.is_silent() || self.quiet_until(now).is_some() || self.width < self.limit
    }

    /// Whether it has answered nothing since it last asked for a wait.
    pub(super) fn is_silent(&self) -> bool {
        self.probe != Probe::Needless
    }

    /// Whether the next download is a probe.
    pub(super) fn wants_probe(&self) -> bool {
        self.probe == Probe::Wanted
    }

    /// Whether one more download may start beside those that run.
    pub(super) fn admits(&self, running: usize, now: Instant) -> bool {
        running < self.width
            && self.quiet_until(now).is_none()
            && !matches!(self.probe, Probe::Sent(_))
    }

    /// A download starts; says whether it is a probe.
    pub(super) fn start(&mut self) -> ProbeNumber {
        if self.probe != Probe::Wanted {
            return None;
        }
        self.probes += 1;
        self.probe = Probe::Sent(self.probes);
        Some(self.probes)
    }

    /// A download ended. The probe that was not answered leaves its place to another.
    pub(super) fn end(&mut self, probe: ProbeNumber) {
        if probe.is_some_and(|number| self.probe == Probe::Sent(number)) {
            self.probe = Probe::Wanted;
        }
    }

    /// The origin answered. What was under way when a wait began says nothing about its end.
    pub(super) fn answered(&mut self, now: Instant) {
        self.rounds = 0;
        self.answered += 1;
        if self.quiet_until(now).is_none() {
            self.probe = Probe::Needless;
        }
        if self.answered >= GROW_AFTER * self.width && self.width < self.limit {
            self.width += 1;
            self.answered = 0;
        }
    }

    /// The origin refused a request and asked for a wait: all downloads wait, then one probes, then
    /// half as many run. True when a wait begins.
    ///
    /// Three refusals do not count as one more round: of requests that were under way when the wait
    /// began (they repeat what is known), a single one among many answers (it is about its URL), and
    /// one that asks for longer than [`LONGEST_QUIET`] (likewise).
    pub(super) fn throttled(&mut self, asked: Option<Duration>, now: Instant) -> bool {
        if asked > Some(LONGEST_QUIET) {
            return false;
        }
        let is_lone = self.answered >= self.limit;
        self.answered = 0;
        if is_lone {
            return false;
        }
        let begins = self.quiet_until(now).is_none();
        if begins {
            self.rounds += 1;
            self.width = (self.width / 2).max(1);
            self.probe = Probe::Wanted;
        }
        let own = FIRST_QUIET * 2_u32.pow(self.rounds.clamp(1, 8) - 1);
        let wait = asked.unwrap_or(own.min(LONGEST_OWN_QUIET));
        self.quiet_until = self.quiet_until.max(Some(now + wait));
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many downloads start now, each before the one before has ended.
    fn start_all(pace: &mut Pace, now: Instant) -> Vec<ProbeNumber> {
        let mut started = Vec::new();
        while pace.admits(started.len(), now) {
            started.push(pace.start());
        }
        started
    }

    /// Of an origin that never answers anything else one download at a time is asked, after waits that
    /// double up to eight seconds when it names none.
    #[test]
    fn waits_double_up_to_eight_seconds() {
        let (mut pace, mut now) = (Pace::new(8), Instant::now());
        let mut waits = Vec::new();
        for n in 0..7 {
            let probes = start_all(&mut pace, now);
            assert_eq!(probes.len(), if n == 0 { 8 } else { 1 });
            assert!(pace.throttled(None, now));
            probes.into_iter().for_each(|probe| pace.end(probe));
            let until = pace.quiet_until(now).unwrap();
            waits.push((until - now).as_millis());
            assert!(!pace.admits(0, until - SECOND / 100) && pace.admits(0, until));
            now = until;
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
    }

    /// A probe that ends without an answer leaves its place to another; one of an earlier wait keeps
    /// nobody from probing after the next.
    #[test]
    fn a_probe_without_an_answer_is_followed_by_another() {
        let (mut pace, now) = (Pace::new(8), Instant::now());
        pace.throttled(Some(SECOND), now);
        let after = now + SECOND;
        let first = start_all(&mut pace, after);
        assert_eq!(first, [Some(1)]);
        pace.end(Some(1));
        assert_eq!(start_all(&mut pace, after), [Some(2)]);
        // Another download is refused meanwhile; the probe's answer comes in the new wait.
        pace.throttled(Some(SECOND), after);
        pace.answered(after);
        assert_eq!(start_all(&mut pace, after), []);
        let later = after + SECOND;
        assert_eq!(start_all(&mut pace, later), [Some(3)], "the second still receives its body");
        pace.end(Some(2));
        assert!(!pace.admits(1, later), "the third waits for its answer");
        pace.answered(later);
        assert_eq!(start_all(&mut pace, later), [None, None], "eight, halved twice");
        assert!(pace.is_slowed(later));
    }

    /// Case 67: an eternity that one URL asks for silences only that URL.
    #[test]
    fn an_eternity_is_about_its_url() {
        let (mut pace, now) = (Pace::new(8), Instant::now());
        assert!(!pace.throttled(Some(Duration::from_secs(99_999)), now));
        assert!(!pace.is_slowed(now));
    }
}
