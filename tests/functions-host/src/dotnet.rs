//! How .NET and Newtonsoft.Json write what a message holds: strings, numbers, dates.
//!
//! Nothing here reads or writes anything outside. Big numbers and dates follow the public source of
//! .NET and Newtonsoft where no recorded body shows them. Newtonsoft also reads what is not quite JSON:
//! comments are read here too, single quotes and trailing commas are not.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use time::macros::format_description;
use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// Newtonsoft refuses to read deeper than this.
const MAX_DEPTH: usize = 64;

/// One JSON value as Newtonsoft reads it: members in order, dates recognised, numbers kept exact.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Null,
    Bool(bool),
    Integer(String),
    Float(f64),
    Text(String),
    /// A string that looks like an ISO date. The suffix says which kind of time it was.
    Date(PrimitiveDateTime, &'static str),
    Array(Vec<Token>),
    Object(Vec<(String, Token)>),
}

impl Token {
    /// Reads one JSON text, which may have comments; `None` when it is not JSON or too deep.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_at(&without_comments(text), 0)
    }

    fn parse_at(text: &str, depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            return None;
        }
        match text.trim_start().as_bytes().first()? {
            b'{' => {
                let members: Members<'_> = serde_json::from_str(text).ok()?;
                let mut object: Vec<(String, Token)> = Vec::new();
                for (name, raw) in members.0 {
                    let value = Self::parse_at(raw.get(), depth + 1)?;
                    match object.iter_mut().find(|(known, _)| *known == name) {
                        Some(member) => member.1 = value,
                        None => object.push((name, value)),
                    }
                }
                Some(Self::Object(object))
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let items = items.iter().map(|raw| Self::parse_at(raw.get(), depth + 1));
                Some(Self::Array(items.collect::<Option<_>>()?))
            }
            b'"' => serde_json::from_str(text).ok().map(Self::of_text),
            b't' | b'f' => serde_json::from_str(text).ok().map(Self::Bool),
            b'n' => serde_json::from_str(text).ok().map(|()| Self::Null),
            _ => {
                let raw: &RawValue = serde_json::from_str(text).ok()?;
                Some(Self::of_number(raw.get()))
            }
        }
    }

    fn of_text(text: String) -> Self {
        match iso_date(&text) {
            Some((time, suffix)) => Self::Date(time, suffix),
            None => Self::Text(text),
        }
    }

    fn of_number(text: &str) -> Self {
        match text {
            "-0" => Self::Integer("0".into()),
            _ if text.contains(['.', 'e', 'E']) => Self::Float(text.parse().unwrap_or(f64::NAN)),
            _ => Self::Integer(text.into()),
        }
    }

    /// `Convert.ToString(value, InvariantCulture)` for scalars; `None` for null and containers.
    pub fn to_invariant_string(&self) -> Option<String> {
        let date = format_description!("[month]/[day]/[year] [hour]:[minute]:[second]");
        match self {
            Self::Null | Self::Array(_) | Self::Object(_) => None,
            Self::Bool(value) => Some(if *value { "True" } else { "False" }.into()),
            Self::Integer(text) | Self::Text(text) => Some(text.clone()),
            Self::Float(value) => Some(double(*value)),
            Self::Date(time, _) => time.format(date).ok(),
        }
    }
}

/// Compact JSON as Newtonsoft writes the token again.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(text) => f.write_str(text),
            // JSON has no number for it.
            Self::Float(value) if !value.is_finite() => f.write_str(&quote(&double(*value))),
            Self::Float(value) => {
                let text = double(*value);
                let whole = !text.contains(['.', 'E']);
                write!(f, "{text}{}", if whole { ".0" } else { "" })
            }
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Date(time, suffix) => write!(f, "\"{}{suffix}\"", local_time(*time)),
            Self::Array(items) => {
                let items: Vec<_> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(","))
            }
            Self::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("{}:{value}", quote(name)))
                    .collect();
                write!(f, "{{{}}}", members.join(","))
            }
        }
    }
}

/// A JSON string as Newtonsoft writes it: raw UTF-8, only what must be escaped is.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// JSON without its `//` and `/* */` comments. Strings are left alone, and so is a comment without an
/// end, which no reader takes.
pub fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '"' => string_length(rest),
            '/' if rest.starts_with("//") => {
                rest = rest.find('\n').map_or("", |end| &rest[end..]);
                continue;
            }
            '/' if rest.starts_with("/*") => match rest[2..].find("*/") {
                Some(end) => {
                    rest = &rest[end + 4..];
                    continue;
                }
                None => rest.len(),
            },
            _ => c.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// The length of the string literal that a text starts with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `2026-11-22T22:31:00.0103282`: up to seven digits of a second, none when it is whole.
fn local_time(time: PrimitiveDateTime) -> String {
    let seconds = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let text = time.format(seconds).unwrap_or_default();
    let fraction = format!("{:07}", time.nanosecond() / 100);
    match fraction.trim_end_matches('0') {
        "" => text,
        digits => format!("{text}.{digits}"),
    }
}

/// A time with its ticks in UTC, as `DateTime.UtcNow` is written (`…Z`).
pub fn utc(time: OffsetDateTime) -> String {
    format!("{}Z", local_time(in_utc(time)))
}

/// A time with its ticks, as a `DateTimeOffset` is written (`…+00:00`).
pub fn offset(time: OffsetDateTime) -> String {
    format!("{}+00:00", local_time(in_utc(time)))
}

fn in_utc(time: OffsetDateTime) -> PrimitiveDateTime {
    let time = time.to_offset(UtcOffset::UTC);
    PrimitiveDateTime::new(time.date(), time.time())
}

/// The shortest text that reads back the same, as `double.ToString("R")` writes it.
fn double(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        let infinite = if value > 0.0 { "Infinity" } else { "-Infinity" };
        return if value.is_nan() { "NaN" } else { infinite }.into();
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // .NET changes to the scientific form above 17 digits before the point or four zeros after it.
    if (-5 < exponent && exponent < 17) || value == 0.0 {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}E{sign}{:02}", exponent.abs())
}

/// The strings Newtonsoft takes for a date, and the suffix it writes that kind of date with.
fn iso_date(text: &str) -> Option<(PrimitiveDateTime, &'static str)> {
    let bytes = text.as_bytes();
    if !(19..=40).contains(&bytes.len()) || !text.is_ascii() || bytes[10] != b'T' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i32> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    if [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().any(|(at, c)| bytes[*at] != *c) {
        return None;
    }
    let month = Month::try_from(u8::try_from(number(5, 7)?).ok()?).ok()?;
    let date = Date::from_calendar_date(number(0, 4)?, month, number(8, 10)? as u8).ok()?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let mut rest = &text[19..];
    let mut ticks = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        ticks = format!("{:0<7}", &fraction[..digits.min(7)]).parse().ok()?;
        rest = &fraction[digits..];
    }
    let time = Time::from_hms_nano(hour as u8, minute as u8, second as u8, ticks * 100u32).ok()?;
    zone(PrimitiveDateTime::new(date, time), rest)
}

/// A time with an offset becomes local time; the stand-in's local time is UTC.
fn zone(time: PrimitiveDateTime, rest: &str) -> Option<(PrimitiveDateTime, &'static str)> {
    let sign = match rest.as_bytes() {
        [] => return Some((time, "")),
        [b'Z' | b'z'] => return Some((time, "Z")),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let digits = rest[1..].replace(':', "");
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let minutes: i64 = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    let away = Duration::minutes(sign * (hours.parse::<i64>().ok()? * 60 + minutes));
    Some((time.checked_sub(away)?, "+00:00"))
}

/// The members of one object in the order they were written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invariant(json: &str) -> Option<String> {
        Token::parse(json).unwrap().to_invariant_string()
    }

    #[test]
    fn scalars_are_written_as_dotnet_writes_them() {
        for (json, text) in [
            ("1", "1"),
            ("-0", "0"),
            ("1.50", "1.5"),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("-0.0", "-0"),
            ("1e400", "Infinity"),
            ("-1e400", "-Infinity"),
            ("0.0001", "0.0001"),
            ("0.00001", "1E-05"),
            ("1e20", "1E+20"),
            ("-2.5e-7", "-2.5E-07"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("true", "True"),
            ("false", "False"),
            ("\"\"", ""),
            ("\"2026-11-22T08:00:00Z\"", "11/22/2026 08:00:00"),
            ("\"2026-11-22T08:00:00.125\"", "11/22/2026 08:00:00"),
            ("\"2026-11-22T00:30:00+02:00\"", "11/21/2026 22:30:00"),
            ("\"2026-11-22T08:00:00+02:00\"", "11/22/2026 06:00:00"),
            ("\"2026-11-22\"", "2026-11-22"),
            ("\"2026-11-22 08:00:00Z\"", "2026-11-22 08:00:00Z"),
            ("\"2026-13-22T08:00:00Z\"", "2026-13-22T08:00:00Z"),
        ] {
            assert_eq!(invariant(json).as_deref(), Some(text), "{json}");
        }
        assert_eq!((invariant("null"), invariant("[1]"), invariant("{}")), (None, None, None));
    }

    #[test]
    fn objects_keep_their_order_and_lose_their_blanks() {
        let text = r#" { "b" : 1.50, "a": [1e0, null, "\u00e9/" ], "b" : {"d":"2026-11-22T08:00:00.100Z"} } "#;
        let token = Token::parse(text).unwrap();
        assert_eq!(
            token.to_string(),
            r#"{"b":{"d":"2026-11-22T08:00:00.1Z"},"a":[1.0,null,"é/"]}"#
        );
    }

    #[test]
    fn comments_are_read_over_and_infinity_is_a_string_again() {
        let text = r#"/* c */ {"a": /* c */ 1, // "c"
            "b": "/* no comment */", "c": 1e400} // end"#;
        let token = Token::parse(text).unwrap();
        assert_eq!(token.to_string(), r#"{"a":1,"b":"/* no comment */","c":"Infinity"}"#);
    }

    #[test]
    fn what_is_not_json_is_not_read() {
        let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
        for text in ["", "{", "{} x", "{} /* x", "\u{feff}{}", "{'a':1}", "nul", &deep] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }
}
