//! How often one image is asked for, and how long it may wait between its tries.

use crate::chunk::{Reason, Rejection};
use std::time::Duration;
use tokio::time::Instant;

/// The tries of one image so far.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    /// That do not count, since the process stood still meanwhile.
    interrupted: u32,
    /// It was told to wait, and will not do so any longer.
    patience_ends: Option<Instant>,
}

/// Tries for each URL, the first included.
const MAX_TRIES: u32 = 4;
/// Tries of a URL that do not count since the process stood still meanwhile. One that does so in each of
/// them hardly runs, and an origin that hangs must end some time.
const MAX_INTERRUPTED: u32 = 8;
/// The first wait after an answer that names none; it doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// All that an image waits for since it was first told to. What its origin told others before it was
/// asked for at all does not count.
const PATIENCE: Duration = Duration::from_secs(60);

impl Tries {
    /// A try failed; where `is_told` its origin asks for a wait, of the length `asked` or of our choice.
    /// Answers how long to wait before the next try.
    ///
    /// # Errors
    ///
    /// The image's verdict, when there is no other try: four failed, or the next one would come later
    /// than an image may wait, or after `deadline`.
    pub(super) fn next(
        &mut self,
        why: Rejection,
        is_told: bool,
        asked: Option<Duration>,
        deadline: Instant,
    ) -> Result<Duration, Rejection> {
        let now = Instant::now();
        self.failed += 1;
        if self.failed >= MAX_TRIES {
            return Err(why);
        }
        if is_told {
            self.patience_ends.get_or_insert(now + PATIENCE);
        }
        let end = self.patience_ends.map_or(deadline, |ends| ends.min(deadline));
        let pause = asked.unwrap_or(FIRST_PAUSE * 2_u32.pow(self.failed - 1));
        match (now.checked_add(pause), asked) {
            (Some(next), _) if next <= end => Ok(pause),
            (_, Some(_)) => Err(Reason::RateLimited.into()),
            (_, None) => Err(why),
        }
    }

    /// A try ran into a standstill of the process: whether it is made again without being counted.
    pub(super) fn may_be_interrupted(&mut self) -> bool {
        self.interrupted += 1;
        self.interrupted <= MAX_INTERRUPTED
    }

    /// Whether the image was asked for, and refused or not answered.
    pub(super) fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Until when the image waits for an origin that told it to; none: it was not told so.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        self.patience_ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits of an image whose answers ask for these, in seconds, and its verdict.
    async fn waits(asked: [Option<u64>; 4], left: u64) -> (Vec<f64>, String) {
        let (mut tries, began) = (Tries::default(), Instant::now());
        let deadline = began + Duration::from_secs(left);
        let mut waits = Vec::new();
        for asked in asked {
            let asked = asked.map(Duration::from_secs);
            match tries.next(Reason::Http(503).into(), true, asked, deadline) {
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(why) => return (waits, why.to_string()),
            }
            waits.push(began.elapsed().as_secs_f64());
        }
        unreachable!("the fourth try is the last")
    }

    /// Case 230: an image waits for a minute in all: answers that ask for 45 s each hold it for 45 s, not
    /// three times that.
    #[tokio::test(start_paused = true)]
    async fn the_waits_of_an_image_end_after_a_minute() {
        let limited = |tries: &[f64]| (tries.to_vec(), "rate_limited".to_owned());
        let last_answer = |tries: &[f64]| (tries.to_vec(), "http_503".to_owned());
        assert_eq!(waits([Some(45); 4], 1000).await, limited(&[45.0]));
        assert_eq!(waits([Some(20); 4], 1000).await, last_answer(&[20.0, 40.0, 60.0]));
        assert_eq!(waits([Some(30), None, Some(30), None], 1000).await, limited(&[30.0, 31.0]));
        assert_eq!(waits([None; 4], 1000).await, last_answer(&[0.5, 1.5, 3.5]));
        assert_eq!(waits([Some(u64::MAX); 4], 1000).await, limited(&[]));
        assert_eq!(waits([Some(0); 4], 1000).await, last_answer(&[0.0; 3]));
        assert_eq!(waits([Some(20); 4], 30).await, limited(&[20.0]), "the chunk's time");
        assert_eq!(waits([None; 4], 1).await, last_answer(&[0.5]), "the same");
    }
}
