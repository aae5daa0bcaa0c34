//! Panics, each as a line of the log like any other.
//!
//! A file may make a decoder panic, and there may be five hundred such files in a chunk: what panics in
//! one place again is told of once a minute, with how often.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    collections::BTreeMap,
    panic,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tracing::field;

/// The target of these lines. They are not exported: a panic may quote what was worked on.
pub(super) const TARGET: &str = "handler::panics";
/// How long a place is quiet after a line.
const QUIET: Duration = Duration::from_secs(60);
/// Of what it panicked with.
const MAX_CAUSE_CHARS: usize = 200;

/// Replaces what Rust writes to stderr, which the host takes for errors line by line (rule H12).
pub(super) fn install() {
    let seen = Mutex::new(Seen::default());
    panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let now = Instant::now();
        let times = seen.lock().unwrap_or_else(PoisonError::into_inner).times(&location, now);
        let Some(times) = times else { return };
        let cause = info.payload_as_str().unwrap_or_default();
        let cause: String = cause.chars().take(MAX_CAUSE_CHARS).collect();
        // Only where RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let is_asked_for = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = is_asked_for.then(|| field::display(&backtrace));
        let current = thread::current();
        let thread = current.name();
        tracing::error!(target: TARGET, location, thread, cause, times, backtrace, "Panicked");
    }));
}

/// Places of the code that panicked: when it was said last, and how often it was not.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, (Instant, u64)>);

impl Seen {
    /// How many panics of a place a line now tells of; none: it is not yet time for one.
    fn times(&mut self, place: &str, now: Instant) -> Option<u64> {
        let Some((said, silent)) = self.0.get_mut(place) else {
            self.0.insert(place.to_owned(), (now, 0));
            return Some(1);
        };
        *silent += 1;
        if now.duration_since(*said) < QUIET {
            return None;
        }
        *said = now;
        Some(std::mem::take(silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 284: one file after the other panics in one place, another file elsewhere.
    #[test]
    fn a_place_is_told_of_once_a_minute() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut at = |place: &str, s| seen.times(place, start + Duration::from_secs(s));
        assert_eq!(
            [at("a", 0), at("a", 1), at("b", 1), at("a", 59)],
            [Some(1), None, Some(1), None]
        );
        assert_eq!([at("a", 60), at("a", 61), at("a", 200)], [Some(3), None, Some(2)]);
    }
}
