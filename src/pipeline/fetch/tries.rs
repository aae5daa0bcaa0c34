//! How often one image is asked for, and how long it may wait between its tries.

use super::Error;
use crate::chunk::{Reason, Rejection};
use std::time::Duration;
use tokio::time::Instant;

/// The tries of one image so far.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    /// That do not count, since the process stood still meanwhile.
    interrupted: u32,
    /// The keys of the origins that told it to wait.
    told_by: Vec<String>,
    /// It was told to wait, and does so no longer for an origin that answers nothing; by the clock that stands
    /// still with the process.
    patience_ends: Option<Instant>,
    /// All pauses since it was first told to wait.
    paused: Duration,
    /// The last one: when it began, by the same clock, and how long it was to be.
    pause: Option<(Instant, Duration)>,
}

/// Tries for each URL, the first included.
const MAX_TRIES: u32 = 4;
/// Tries of a URL that do not count since the process stood still meanwhile. One that does so in each of
/// them hardly runs, and an origin that hangs must end some time.
const MAX_INTERRUPTED: u32 = 8;
/// The first wait after an answer that names none; it doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// All that an image waits for since it was first told to. What its origin told others before it was
/// asked for at all does not count, nor its turns at an origin that answers its chunk.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

impl Tries {
    /// The origin of this key asked for a wait.
    pub(super) fn told_to_wait(&mut self, origin: String) {
        self.told_by.push(origin);
    }

    /// A try failed; its origin may have `asked` for a wait of some length, else we choose it. Answers how
    /// long to wait before the next try. It is `awake` now, by the clock that stands still with the
    /// process, and so much of the chunk's time is `left`.
    ///
    /// # Errors
    ///
    /// The image's verdict, when there is no other try: [`Error::Rejected`] when four failed, or the next
    /// one would come later than an image may wait; [`Error::Cut`] when it would only come too late for the
    /// chunk.
    pub(super) fn next(
        &mut self,
        why: Rejection,
        asked: Option<Duration>,
        awake: Instant,
        left: Duration,
    ) -> Result<Duration, Error> {
        self.failed += 1;
        if let Some((began, pause)) = self.pause.take() {
            self.paused += pause.min(awake.saturating_duration_since(began));
        }
        if self.failed >= MAX_TRIES {
            return Err(Error::Rejected(why));
        }
        if !self.told_by.is_empty() {
            self.patience_ends.get_or_insert(awake + PATIENCE);
        }
        let pause = asked.unwrap_or(FIRST_PAUSE * 2_u32.pow(self.failed - 1));
        let why = if asked.is_some() { Reason::RateLimited.into() } else { why };
        if self.patience_ends.is_some() {
            if pause > PATIENCE.saturating_sub(self.paused) {
                return Err(Error::Rejected(why));
            }
            self.pause = Some((awake, pause));
        }
        if pause > left { Err(Error::Cut(why)) } else { Ok(pause) }
    }

    /// A try ran into a standstill of the process: whether it is made again without being counted.
    pub(super) fn may_be_interrupted(&mut self) -> bool {
        self.interrupted += 1;
        self.interrupted <= MAX_INTERRUPTED
    }

    /// How often the image was asked for, and refused or not answered.
    pub(super) fn failed(&self) -> u32 {
        self.failed
    }

    /// Until when the image waits for the origin of this key, by the clock that stands still with the
    /// process; none: that origin never told it to.
    pub(super) fn patience_with(&self, origin: &str) -> Option<Instant> {
        self.patience_ends.filter(|_| self.told_by.iter().any(|told| told == origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const HOST: &str = "a:80";

    /// An image that was told to wait at this moment, and does so for as long as it may.
    fn told(awake: Instant) -> Tries {
        let mut tries = Tries::default();
        tries.told_to_wait(HOST.to_owned());
        let wait = tries.next(Reason::Http(429).into(), Some(PATIENCE), awake, S(1000));
        assert_eq!(wait.unwrap(), PATIENCE);
        tries
    }

    /// The end of an image, and whether it would have gone on with more time.
    fn end(error: Error) -> (String, bool) {
        match error {
            Error::Rejected(why) => (why.to_string(), false),
            Error::Cut(why) => (why.to_string(), true),
            other => unreachable!("{other}"),
        }
    }

    /// The waits of an image whose answers ask for these, in seconds, and its end.
    fn waits(asked: [Option<u64>; 4], left: u64) -> (Vec<f64>, (String, bool)) {
        let (mut tries, began) = (Tries::default(), Instant::now());
        let (mut now, mut waits) = (began, Vec::new());
        for asked in asked {
            tries.told_to_wait(HOST.to_owned());
            let left = (began + S(left)).saturating_duration_since(now);
            match tries.next(Reason::Http(503).into(), asked.map(S), now, left) {
                Ok(wait) => now += wait,
                Err(error) => return (waits, end(error)),
            }
            waits.push((now - began).as_secs_f64());
        }
        unreachable!("the fourth try is the last")
    }

    /// Case 230: an image waits for a minute in all: answers that ask for 45 s each hold it for 45 s, not
    /// three times that. What only the chunk's time cuts off says so.
    #[test]
    fn the_waits_of_an_image_end_after_a_minute() {
        let limited = |tries: &[f64], cut| (tries.to_vec(), ("rate_limited".to_owned(), cut));
        let last_answer = |tries: &[f64], cut| (tries.to_vec(), ("http_503".to_owned(), cut));
        assert_eq!(waits([Some(45); 4], 1000), limited(&[45.0], false));
        assert_eq!(waits([Some(20); 4], 1000), last_answer(&[20.0, 40.0, 60.0], false));
        assert_eq!(waits([Some(30), None, Some(30), None], 1000), limited(&[30.0, 31.0], false));
        assert_eq!(waits([None; 4], 1000), last_answer(&[0.5, 1.5, 3.5], false));
        assert_eq!(waits([Some(u64::MAX); 4], 1000), limited(&[], false));
        assert_eq!(waits([Some(u64::MAX); 4], 1), limited(&[], false), "nor with more time");
        assert_eq!(waits([Some(0); 4], 1000), last_answer(&[0.0; 3], false));
        assert_eq!(waits([Some(20); 4], 30), limited(&[20.0], true), "the chunk's time");
        assert_eq!(waits([None; 4], 1), last_answer(&[0.5], true), "the same");
        assert_eq!(waits([None; 4], 4), last_answer(&[0.5, 1.5, 3.5], false), "four failed");
    }

    /// A standstill uses up nothing of an image's minute.
    #[tokio::test(start_paused = true)]
    async fn a_standstill_is_no_wait_of_an_image() {
        let awake = Instant::now();
        let mut tries = told(awake);
        tokio::time::advance(S(120)).await;
        let next = tries.next(Reason::Http(429).into(), Some(S(60)), awake, S(1000));
        assert_eq!(next.unwrap(), S(60));
        assert_eq!(tries.patience_with(HOST), Some(awake + PATIENCE));
    }

    /// Only an origin that told an image to wait tries its patience: of the one that it leads to then,
    /// nothing was asked.
    #[test]
    fn patience_is_with_who_told_it_to_wait() {
        let now = Instant::now();
        let tries = told(now);
        assert_eq!(tries.patience_with(HOST), Some(now + PATIENCE));
        assert_eq!(tries.patience_with("b:80"), None);
        assert_eq!(Tries::default().patience_with(HOST), None);
    }
}
