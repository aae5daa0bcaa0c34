//! Numbers and times as people read them.

use super::clock;
use maud::{Markup, html};
use time::{OffsetDateTime, macros::format_description};

/// The most rows that are counted.
pub(super) const MOST_COUNTED: i64 = 10_000;

/// A number with commas.
pub(super) fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if n < 0 { format!("-{text}") } else { text }
}

/// A number that was counted up to [`MOST_COUNTED`] and one.
pub(super) fn counted(n: i64) -> String {
    if n > MOST_COUNTED { format!("more than {}", count(MOST_COUNTED)) } else { count(n) }
}

/// A number that may not be known.
pub(super) fn maybe(n: Option<i64>) -> String {
    n.map_or_else(|| "–".to_owned(), count)
}

/// Bytes, in units of 1024.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "shown with one digit")]
pub(super) fn bytes(n: i64) -> String {
    let mut size = n as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 1000.0 {
            let digits = usize::from(unit != "B" && size < 100.0);
            return format!("{size:.digits$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TB")
}

/// Seconds, in one or two units.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "whole seconds, and a cast of a float stops at the bounds"
)]
pub(super) fn age(seconds: f64) -> String {
    let s = seconds.max(0.0) as i64;
    match s {
        0..=119 => format!("{s} s"),
        120..=7199 => format!("{} min", s / 60),
        7200..=172_799 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} days", s / 86_400),
    }
}

/// A share of a whole, in percent.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "shown with one digit")]
pub(super) fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        "–".to_owned()
    } else {
        format!("{:.1} %", part as f64 * 100.0 / whole as f64)
    }
}

/// How much is over, in percent; 100 when all is.
pub(super) fn over(progress: f64) -> String {
    format!("{:.0} %", progress.floor())
}

/// The time of day.
pub(super) fn clock(at: OffsetDateTime) -> String {
    let format = format_description!("[hour]:[minute]:[second]");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

/// Day and time, for a log.
pub(super) fn stamp(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

/// A moment: the time of day, with the day when it is not today.
pub(super) fn moment(at: OffsetDateTime) -> Markup {
    let at = at.to_offset(time::UtcOffset::UTC);
    let day = format_description!("[year]-[month]-[day]");
    let is_today = at.date() == clock::now().date();
    html! {
        time datetime=(stamp(at)) {
            @if !is_today { (at.format(day).unwrap_or_default()) " " }
            (clock(at))
        }
    }
}

/// A text of ours: what stands between two backticks is code, as somebody may type it.
pub(super) fn prose(text: &str) -> Markup {
    let mut pieces = text.split('`').peekable();
    html! {
        (pieces.next().unwrap_or_default())
        @while let Some(piece) = pieces.next() {
            @if pieces.peek().is_none() { "`" (piece) }
            @else { code { (piece) } (pieces.next().unwrap_or_default()) }
        }
    }
}

/// A state with its mark: never colour alone.
pub(super) fn state(word: &str) -> Markup {
    let mark = match word {
        "completed" => "✓",
        "failed" => "✕",
        "processing" | "running" => "▶",
        "cancelled" => "⊘",
        "missing" => "?",
        _ => "○",
    };
    let class = match word {
        "completed" | "failed" | "cancelled" | "missing" | "pending" => word,
        "processing" | "running" => "processing",
        _ => "other",
    };
    html! { span.state.(class) { span aria-hidden="true" { (mark) } " " (word) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code() {
        let written = |text| prose(text).0;
        assert_eq!(written("plain <b>"), "plain &lt;b&gt;");
        assert_eq!(written("`a` or `b <c>`."), "<code>a</code> or <code>b &lt;c&gt;</code>.");
        assert_eq!(written("odd ` here"), "odd ` here");
        assert_eq!(written("`a` and ` odd"), "<code>a</code> and ` odd");
    }

    #[test]
    fn numbers_are_as_people_read_them() {
        assert_eq!([count(0), count(-1234), count(1_234_567)], ["0", "-1,234", "1,234,567"]);
        assert_eq!([counted(10_000), counted(10_001)], ["10,000", "more than 10,000"]);
        assert_eq!([bytes(999), bytes(1536), bytes(400 << 20)], ["999 B", "1.5 kB", "400 MB"]);
        assert_eq!(
            [age(-1.0), age(119.9), age(120.0), age(7260.0)],
            ["0 s", "119 s", "2 min", "2 h 1 min"]
        );
        assert_eq!([percent(1, 0), percent(1, 8)], ["–", "12.5 %"]);
        assert_eq!([over(0.0), over(99.7), over(100.0)], ["0 %", "99 %", "100 %"]);
    }
}
