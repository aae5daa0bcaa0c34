//! The time that a picture of the slots shows.

use crate::dashboard::show;
use chunk_handler::state::AttemptRow;
use time::OffsetDateTime;

/// The most seconds of a picture.
const MOST: i64 = 1800;
/// The fewest: what is shorter would be drawn as if it were long.
const LEAST: i64 = 60;

/// From when until when, in seconds of Unix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) struct Window {
    pub(super) from: i64,
    pub(super) until: i64,
    /// Whether it moves on with the clock.
    is_live: bool,
}

impl Window {
    /// The last half hour. Moved on in steps: what is not changed is not drawn again.
    pub(super) fn live(now: OffsetDateTime) -> Self {
        let until = now.unix_timestamp() / 10 * 10 + 10;
        Self { from: until - MOST, until, is_live: true }
    }

    /// The time of these claims, or the end of it; none: there is no claim.
    pub(in crate::dashboard) fn of(attempts: &[AttemptRow], now: OffsetDateTime) -> Option<Self> {
        let end = |attempt: &AttemptRow| attempt.finished_at.unwrap_or(now).unix_timestamp();
        let first = attempts.iter().map(|attempt| attempt.claimed_at.unix_timestamp()).min()?;
        let until = attempts.iter().map(end).max()? + 1;
        Some(Self { from: first.clamp(until - MOST, until - LEAST), until, is_live: false })
    }

    /// Whether a claim was under way in it.
    pub(in crate::dashboard) fn has(self, attempt: &AttemptRow) -> bool {
        let end = attempt.finished_at.map_or(self.until, OffsetDateTime::unix_timestamp);
        end >= self.from && attempt.claimed_at.unix_timestamp() < self.until
    }

    pub(super) fn seconds(self) -> i64 {
        self.until - self.from
    }

    /// What it is called.
    pub(in crate::dashboard) fn title(self) -> String {
        if self.is_live {
            return "Slots over the last 30 minutes".to_owned();
        }
        format!("Slots from {} to {}", moment(self.from), moment(self.until))
    }

    /// Four times of its axis, with their words.
    pub(super) fn ticks(self) -> [(i64, String); 4] {
        [0, 1, 2, 3].map(|third| {
            let time = self.from + self.seconds() * third / 3;
            let words = match (self.is_live, (self.until - time) / 60) {
                (true, 0) => "now".to_owned(),
                (true, minutes) => format!("-{minutes} min"),
                (false, _) => {
                    OffsetDateTime::from_unix_timestamp(time).map_or(String::new(), show::clock)
                }
            };
            (time, words)
        })
    }
}

fn moment(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or(String::new(), show::stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::{Duration, macros::datetime};

    const T0: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

    fn attempt(from: i64, to: Option<i64>) -> AttemptRow {
        AttemptRow {
            job_id: 7,
            chunk_index: 0,
            fence: 1,
            owner: "p".into(),
            invocation_id: "i".into(),
            claimed_at: T0 + Duration::seconds(from),
            finished_at: to.map(|to| T0 + Duration::seconds(to)),
            outcome: to.map(|_| "completed".into()),
            error_code: None,
            temp_peak_bytes: None,
            slot_no: Some(1),
        }
    }

    /// A job's picture is of its own time, no longer than half an hour and no shorter than a minute.
    #[test]
    fn a_window_is_the_end_of_the_claims() {
        let now = T0 + Duration::hours(9);
        let of = |attempts: &[AttemptRow]| Window::of(attempts, now).unwrap();
        let long = of(&[attempt(0, Some(10)), attempt(5000, Some(5999))]);
        assert_eq!((long.seconds(), long.until), (1800, T0.unix_timestamp() + 6000));
        assert!(!long.has(&attempt(0, Some(10))) && long.has(&attempt(4000, Some(4200))));
        assert_eq!(
            of(&[attempt(0, Some(299))]).title(),
            "Slots from 2026-11-27T12:00:00Z to 2026-11-27T12:05:00Z"
        );
        assert_eq!(of(&[attempt(0, Some(2))]).seconds(), 60);
        assert_eq!(of(&[attempt(0, Some(2)), attempt(1, None)]).until, now.unix_timestamp() + 1);
        assert_eq!(Window::of(&[], now), None);
        let words = Window::live(T0).ticks().map(|(_, words)| words);
        assert_eq!(words, ["-30 min", "-20 min", "-10 min", "now"]);
    }
}
