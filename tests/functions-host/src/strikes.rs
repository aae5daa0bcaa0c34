//! Ends of handler processes that count against the handler.

use std::time::{Duration, Instant};

/// As many, and the host gives up.
pub const STRIKES: usize = 3;
/// Strikes are forgotten when this long passes between two of them.
const MEMORY: Duration = Duration::from_secs(30 * 60);

/// The strikes that are not forgotten.
#[derive(Debug, Default)]
pub struct Strikes {
    count: usize,
    last: Option<Instant>,
}

impl Strikes {
    /// Adds one that happened now, and returns how many there are.
    pub fn add(&mut self, now: Instant) -> usize {
        // Each strike is compared with the one before it, not with the first.
        if self.last.is_some_and(|last| now.duration_since(last) > MEMORY) {
            self.count = 0;
        }
        self.last = Some(now);
        self.count += 1;
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts after strikes that are so many minutes apart.
    fn counts(minutes: &[u64]) -> Vec<usize> {
        let mut now = Instant::now();
        let mut strikes = Strikes::default();
        let mut count = |minutes: &u64| {
            now += Duration::from_secs(minutes * 60);
            strikes.add(now)
        };
        minutes.iter().map(&mut count).collect()
    }

    #[test]
    fn strikes_are_forgotten_only_after_thirty_minutes_without_one() {
        assert_eq!(counts(&[0, 0, 0]), [1, 2, 3]);
        assert_eq!(counts(&[0, 29, 29]), [1, 2, 3]);
        assert_eq!(counts(&[0, 29, 31, 29]), [1, 2, 1, 2]);
        assert_eq!(counts(&[0, 31, 31]), [1, 1, 1]);
    }
}
