//! The log of the host: one line on stdout for each record.

use std::fmt::Display;
use std::io::Write;

use time::OffsetDateTime;
use time::macros::format_description;

/// Levels of the real host that the stand-in uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Level {
    Information,
    Warning,
    Error,
}

/// What the stand-in says about itself and about what the real host would not say.
pub const STAND_IN: &str = "StandIn";
/// What the real host says under a name like this.
pub const HOST: &str = "Host";

/// Writes one record; a text of several lines becomes several records.
pub fn write(level: Level, category: &str, text: impl Display) {
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
    let time = OffsetDateTime::now_utc().format(format).unwrap_or_default();
    let mut lines = String::new();
    for line in text.to_string().lines() {
        lines.push_str(&format!("[{time}] {level:?} {category}: {line}\n"));
    }
    // Nobody may be left to read it; the real host does not stop for that either.
    let _ = std::io::stdout().lock().write_all(lines.as_bytes());
}

/// Writes a record of level Information.
pub fn info(category: &str, text: impl Display) {
    write(Level::Information, category, text);
}

/// Writes a record of level Warning.
pub fn warn(category: &str, text: impl Display) {
    write(Level::Warning, category, text);
}

/// Writes a record of level Error.
pub fn error(category: &str, text: impl Display) {
    write(Level::Error, category, text);
}
