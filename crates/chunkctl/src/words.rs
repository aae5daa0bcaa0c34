//! Numbers and moments as people read them.

use chunk_handler::state::Capacity;
pub(crate) use chunk_handler::words::count;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A moment and how far it is: `2026-11-26T12:00:00Z (in 12 min)`.
pub(crate) fn moment(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    let shown = whole.format(&Rfc3339).unwrap_or_else(|_| at.to_string());
    let seconds = (at - now).whole_seconds();
    let length = span(seconds.unsigned_abs());
    if seconds > 0 { format!("{shown} (in {length})") } else { format!("{shown} ({length} ago)") }
}

/// When a pause ends; none: there is none.
pub(crate) fn pause_end(capacity: &Capacity) -> Option<String> {
    let until = capacity.paused_until?;
    Some(match capacity.is_paused_for_good() {
        true => "until somebody resumes it".to_owned(),
        false => format!("until {}", moment(until, capacity.now)),
    })
}

/// A length of time by its two largest units: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{minutes} min"),
        7200..172_800 => with(hours, "h", minutes % 60, "min"),
        _ => with(days, "d", hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn moments_say_how_far_they_are() {
        let now = datetime!(2026-11-26 12:00 UTC);
        let said = |at| moment(at, now);
        assert_eq!(said(datetime!(2026-11-26 12:12 UTC)), "2026-11-26T12:12:00Z (in 12 min)");
        assert_eq!(said(datetime!(2026-11-26 11:57 UTC)), "2026-11-26T11:57:00Z (3 min ago)");
        assert_eq!(said(datetime!(2026-11-26 11:59:59.5 UTC)), "2026-11-26T11:59:59Z (0 s ago)");
        assert_eq!(said(datetime!(2026-11-24 08:00 UTC)), "2026-11-24T08:00:00Z (2 d 4 h ago)");
        assert_eq!(span(3 * 3600 + 20 * 60), "3 h 20 min");
    }
}
