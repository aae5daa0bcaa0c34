//! The time of the database, by which pages go: the clock of this machine may be wrong.

use std::sync::atomic::{AtomicI64, Ordering};
use time::{Duration, OffsetDateTime};

/// How far the clock of the database is ahead of ours, in seconds, by its last answer. Not handed around:
/// each time on a page is concerned.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// The database said what time it is.
pub(super) fn set(now: OffsetDateTime) {
    AHEAD.store((now - OffsetDateTime::now_utc()).whole_seconds(), Ordering::Relaxed);
}

/// What time it is there; before its first answer, here.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::seconds(AHEAD.load(Ordering::Relaxed))
}
