use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: usize = 8;

const ONE: Party = Party(1);
const OTHER: Party = Party(2);

/// An origin's pace, what runs there, and the time.
struct Host {
    pace: Pace,
    running: Vec<Start>,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        Self { pace: Pace::new(LIMIT), running: Vec::new(), now: Instant::now() }
    }

    fn admits(&self, party: Party) -> bool {
        let bound = self.running.iter().filter(|it| self.pace.is_bound(it.party, self.now));
        self.pace.admits(party, self.running.len(), bound.count(), self.now)
    }

    /// Starts as many downloads of a chunk as there may be: each before the one before has ended.
    fn start_all(&mut self, party: Party) -> Vec<Start> {
        let mut started = Vec::new();
        while self.admits(party) {
            started.push(self.pace.start(party, self.now));
            self.running.extend(started.last());
        }
        started
    }

    fn start(&mut self, party: Party) -> Start {
        assert!(self.admits(party), "{party:?}");
        self.running.push(self.pace.start(party, self.now));
        *self.running.last().unwrap()
    }

    fn leave(&mut self, start: Start) {
        let same = |it: &Start| {
            it.party == start.party && (it.probe, it.trial) == (start.probe, start.trial)
        };
        let at = self.running.iter().position(same).unwrap();
        self.running.swap_remove(at);
    }

    fn answer(&mut self, start: Start) {
        self.pace.answered(start, self.now, self.now);
        self.pace.end(start);
        self.leave(start);
    }

    fn refuse(&mut self, start: Start, wait: Option<Duration>) -> bool {
        let is_of_host = self.pace.throttled(start, wait, self.now);
        self.pace.end(start);
        self.leave(start);
        is_of_host
    }

    /// Refuses all that a chunk may ask for now; how many requests these were.
    fn refuse_all(&mut self, party: Party, wait: Duration) -> usize {
        let started = self.start_all(party);
        for start in &started {
            self.refuse(*start, Some(wait));
        }
        started.len()
    }

    /// Answers all that a chunk may ask for now, one round after the other; how many each had.
    fn answer_rounds(&mut self, party: Party, rounds: usize) -> Vec<usize> {
        let round = |_| {
            let started = self.start_all(party);
            started.iter().for_each(|start| self.answer(*start));
            started.len()
        };
        (0..rounds).map(round).collect()
    }
}

/// Of an origin that never answers anything else one download at a time is asked, after waits that
/// double up to eight seconds when it names none.
#[test]
fn waits_double_up_to_eight_seconds() {
    let mut host = Host::new();
    let mut waits = Vec::new();
    for n in 0..7 {
        let started = host.start_all(ONE);
        assert_eq!(started.len(), if n == 0 { 8 } else { 1 });
        started.into_iter().for_each(|start| assert!(host.refuse(start, None)));
        let until = host.pace.back_at(ONE, host.now).unwrap();
        waits.push((until - host.now).as_millis());
        host.now = until - SECOND / 100;
        assert!(!host.admits(ONE));
        host.now = until;
        assert!(host.admits(ONE));
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
}

/// A probe that ends without an answer leaves its place to another; one of an earlier wait keeps
/// nobody from probing after the next.
#[test]
fn a_probe_without_an_answer_is_followed_by_another() {
    let mut host = Host::new();
    let (first, slow) = (host.start(ONE), host.start(ONE));
    host.refuse(first, Some(SECOND));
    host.now += SECOND;
    let probe = host.start(ONE);
    assert_eq!((probe.probe, host.admits(ONE)), (Some(1), false));
    host.pace.unanswered(probe, host.now);
    host.leave(probe);
    let second = host.start(ONE);
    assert_eq!((second.probe, host.admits(ONE)), (Some(2), false));
    // Another download is refused meanwhile; the probe's answer comes in the new wait.
    host.refuse(slow, Some(SECOND));
    host.pace.answered(second, host.now, host.now);
    assert!(!host.admits(ONE));
    host.now += SECOND;
    let third = host.start(ONE);
    assert_eq!(third.probe, Some(3), "the second still receives its body");
    host.pace.end(second);
    host.leave(second);
    assert!(!host.admits(ONE), "the third waits for its answer");
    host.answer(third);
    assert_eq!(host.start_all(ONE).len(), 2, "eight, halved twice");
    assert!(host.pace.is_slowed(ONE, host.now));
}

/// Case 67: an eternity that one URL among many asks for silences only that URL.
#[test]
fn an_eternity_is_about_its_url() {
    let mut host = Host::new();
    assert_eq!(host.answer_rounds(ONE, 1), [8]);
    let start = host.start(ONE);
    assert!(!host.refuse(start, Some(Duration::from_secs(99_999))));
    assert!(!host.pace.is_slowed(ONE, host.now));
}

/// Case 310: a chunk that comes while the host refuses another has one request of its own at once; when
/// that is answered it goes on, twice as fast with each round, and hears nothing of the other's waits.
#[test]
fn whom_a_host_answers_waits_for_nobody_whom_it_refuses() {
    let mut host = Host::new();
    let wait = SECOND * 50;
    assert_eq!(host.refuse_all(ONE, wait), 8);
    let trial = host.start(OTHER);
    assert!(trial.is_trial && !host.admits(OTHER), "one at first");
    assert!(host.pace.is_slowed(OTHER, host.now) && host.pace.back_at(OTHER, host.now).is_none());
    host.answer(trial);
    assert_eq!(host.answer_rounds(OTHER, 3), [2, 4, 8]);
    assert!(!host.pace.is_slowed(OTHER, host.now));
    for _ in 0..4 {
        let until = host.pace.back_at(ONE, host.now).unwrap();
        assert_eq!(until - host.now, wait, "the other's answers do not end it");
        assert!(host.pace.is_silent(ONE, host.now) && !host.pace.is_silent(OTHER, host.now));
        host.now = until;
        assert_eq!(host.refuse_all(ONE, wait), 1, "one probe");
        assert_eq!(host.answer_rounds(OTHER, 1), [8]);
    }
}

/// Case 310: the same when the refused one comes later.
#[test]
fn who_is_answered_goes_on_while_another_is_refused() {
    let mut host = Host::new();
    assert_eq!(host.answer_rounds(OTHER, 2), [8, 8]);
    let started = host.start(ONE);
    host.refuse(started, Some(SECOND * 50));
    assert_eq!(host.answer_rounds(OTHER, 2), [8, 8]);
    let under_way = host.start_all(OTHER);
    assert_eq!(host.refuse_all(ONE, SECOND * 50), 0);
    under_way.iter().for_each(|start| host.answer(*start));
    assert_eq!(host.answer_rounds(OTHER, 1), [8]);
}

/// A chunk that was refused itself heeds the waits of others for eight seconds; then it tries, and one
/// answer makes it free.
#[test]
fn one_refusal_binds_nobody_to_the_waits_of_others_for_ever() {
    let mut host = Host::new();
    let (started, of_one) = (host.start(OTHER), host.start(ONE));
    host.refuse(started, Some(SECOND));
    host.refuse(of_one, Some(SECOND * 50));
    let until = host.pace.back_at(OTHER, host.now).unwrap();
    assert_eq!(until - host.now, HEED);
    host.now += SECOND;
    assert_eq!(host.pace.next_moment(host.now), Some(until), "somebody looks then");
    host.now = until;
    let own = host.start(OTHER);
    assert!(!own.is_trial, "it is charged for");
    host.answer(own);
    assert_eq!(host.answer_rounds(OTHER, 3), [2, 4, 8]);
}

/// A host that throttles everybody: while it refuses, one probes for all after each wait, and one chunk
/// tries for itself. When it answers they share what is left of the width.
#[test]
fn a_host_that_throttles_all_gets_one_probe_for_all() {
    let mut host = Host::new();
    let parties: Vec<Party> = (0..10).map(Party).collect();
    let mut asked = Vec::new();
    for _ in 0..20 {
        let of_each = parties.iter().map(|party| host.refuse_all(*party, SECOND * 10));
        asked.push(of_each.sum::<usize>());
        host.now += SECOND * 10;
    }
    assert_eq!(asked[0], 8 + 1);
    assert!(asked[1..].iter().all(|of_wait| (1..=2).contains(of_wait)), "{asked:?}");
    let probe = host.start(parties[0]);
    assert!(probe.probe.is_some());
    let mut bound = parties.iter().filter(|party| host.pace.is_bound(**party, host.now));
    assert!(!bound.any(|party| host.admits(*party)));
    host.answer(probe);
    let at_once: usize = parties.iter().map(|party| host.start_all(*party).len()).sum();
    assert_eq!(at_once, 1, "halved twenty times");
}

/// So many chunks come one after the other to a host that takes two requests at once, and stay for two
/// minutes: how many are answered and refused.
fn at_narrow_host(chunks: u64) -> (u32, u32) {
    let mut host = Host::new();
    let (mut answered, mut refused) = (0, 0);
    for step in 0..2400_u64 {
        let n_here = (step / 20 + 1).min(chunks);
        let mut started = Vec::new();
        for turn in 0..n_here * 8 {
            let party = Party((step + turn) % n_here);
            if host.admits(party) {
                started.push(host.start(party));
            }
        }
        for (n, start) in started.into_iter().enumerate() {
            if n < 2 {
                answered += 1;
                host.answer(start);
            } else {
                refused += 1;
                host.refuse(start, None);
            }
        }
        host.now += SECOND / 20;
    }
    (answered, refused)
}

/// Ten chunks of a host that takes two requests at once find its width as one does.
#[test]
fn ten_chunks_find_the_width_of_their_host() {
    let counts = [1, 2, 5, 10].map(at_narrow_host);
    for (answered, refused) in counts {
        assert!(answered > 1200 && refused * 10 < answered, "{counts:?}");
    }
}

/// A wait ends with those that it was said to.
#[test]
fn what_was_said_to_a_chunk_is_forgotten_with_it() {
    let mut host = Host::new();
    host.refuse_all(ONE, SECOND);
    host.now += REMEMBERED_FOR;
    let start = host.start(OTHER);
    assert_eq!((start.is_trial, host.pace.parties.len()), (false, 1));
    host.answer(start);
    assert!(!host.pace.is_silent(ONE, host.now));
    assert_eq!(host.start_all(OTHER).len(), 4, "the width stays");
}

/// Case 312: an image waits on while the host answers its chunk, whatever it refuses in between; for a
/// minute after the last answer.
#[test]
fn a_host_is_silent_a_minute_after_its_last_answer() {
    let mut host = Host::new();
    let started = host.start(ONE);
    host.answer(started);
    host.refuse_all(ONE, SECOND);
    assert!(!host.pace.is_silent(ONE, host.now), "it answered just now");
    assert!(!host.pace.is_silent(ONE, host.now + PATIENCE - SECOND));
    assert!(host.pace.is_silent(ONE, host.now + PATIENCE));
    assert!(host.pace.is_silent(OTHER, host.now), "nobody else");
}

/// Case 313: a host that asks each URL for longer than a minute is left alone as one that names no wait.
#[test]
fn an_eternity_for_each_url_is_a_refusal_without_a_word() {
    let mut host = Host::new();
    let eternity = SECOND * 3600;
    assert_eq!(host.refuse_all(ONE, eternity), 8);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let until = host.pace.back_at(ONE, host.now).unwrap();
        waits.push((until - host.now).as_millis());
        host.now = until;
        assert_eq!(host.refuse_all(ONE, eternity), 1);
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000]);
}

/// Case 314: all refusals of one burst are one round, also when they ask for no wait at all.
#[test]
fn a_burst_that_is_to_come_back_at_once_is_one_round() {
    let mut host = Host::new();
    assert_eq!(host.refuse_all(ONE, Duration::ZERO), 8);
    assert_eq!((host.pace.rounds, host.pace.width), (1, LIMIT / 2));
    assert_eq!(host.pace.back_at(ONE, host.now), Some(host.now + FIRST_QUIET));
}

/// Case 315: a trial that is refused is said to its chunk: who waits, waits no longer for it.
#[test]
fn a_refused_trial_prolongs_no_wait_of_others() {
    let mut host = Host::new();
    host.refuse_all(ONE, SECOND * 10);
    let before = (host.pace.rounds, host.pace.width, host.pace.quiet_until);
    assert_eq!(host.refuse_all(OTHER, SECOND * 55), 1);
    assert_eq!(before, (host.pace.rounds, host.pace.width, host.pace.quiet_until));
    let told = host.pace.told_until(OTHER, host.now).unwrap();
    assert_eq!(told - host.now, SECOND * 55);
    // The same while the probe is under way.
    host.now += SECOND * 10;
    let probe = host.start(ONE);
    assert_eq!(host.refuse_all(Party(3), SECOND * 55), 1);
    host.answer(probe);
    assert_eq!(host.start_all(ONE).len(), 4);
}

/// Case 316: each claim of a chunk is a party of its own: three hundred have one trial at once, and after
/// refused ones one in eight seconds.
#[test]
fn many_chunks_share_the_trials_of_their_host() {
    let mut host = Host::new();
    host.refuse_all(ONE, SECOND * 55);
    let parties: Vec<Party> = (10..310).map(Party).collect();
    let trial = host.start(parties[0]);
    assert!(!parties.iter().any(|party| host.admits(*party)), "one at once");
    host.refuse(trial, Some(SECOND * 55));
    let began = host.now;
    let mut at = Vec::new();
    while host.now < began + SECOND * 40 {
        if parties.iter().map(|party| host.refuse_all(*party, SECOND * 55)).sum::<usize>() > 0 {
            at.push((host.now - began).as_millis());
            let next = host.pace.back_at(OTHER, host.now);
            assert_eq!(host.pace.next_moment(host.now), next, "somebody looks then");
        }
        host.now += FIRST_QUIET / 5;
    }
    assert_eq!(at, [500, 1500, 3500, 7500, 15_500, 23_500, 31_500, 39_500]);
    host.now += LONGEST_OWN_QUIET;
    let trial = host.start(OTHER);
    host.answer(trial);
    assert!(
        host.admits(OTHER) && host.admits(Party(1000)),
        "one that is answered ends their waits"
    );
}

/// A trial that ends without an answer leaves its place to another.
#[test]
fn a_trial_without_an_answer_is_followed_by_another() {
    let mut host = Host::new();
    host.refuse_all(ONE, SECOND * 55);
    let trial = host.start(OTHER);
    assert!(!host.admits(Party(3)));
    host.pace.unanswered(trial, host.now);
    host.leave(trial);
    assert!(host.admits(Party(3)));
}

/// A single refusal among the answers of a chunk is about its URL: the chunk goes on as before, also while
/// the host refuses others.
#[test]
fn a_lone_refusal_leaves_a_served_chunk_free() {
    let mut host = Host::new();
    host.refuse_all(OTHER, 50 * SECOND);
    host.answer_rounds(ONE, 6);
    let under_way = host.start_all(ONE);
    assert!(under_way.len() > 2, "{under_way:?}");
    assert!(!host.refuse(under_way[0], Some(SECOND)));
    assert!(!host.pace.asks_once(ONE, host.now), "no trial of its own");
    assert_eq!(host.start_all(ONE).len(), 1, "one for the one that ended");
}
