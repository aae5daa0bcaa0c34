//! Values of Parquet as JSON, by the types that their columns say.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use parquet::{
    basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical},
    record::Field,
    schema::types::Type,
};
use time::{Date, OffsetDateTime, Time};

/// The Julian day of 1 January 1970.
const EPOCH: i32 = 2_440_588;
const NANOS_OF_A_SECOND: i128 = 1_000_000_000;

/// A value as JSON: numbers as they are, what is no number as null, dates, times and decimals as texts,
/// bytes of any length as a text if they are UTF-8, other bytes as `{"base64": ...}`, and what is nested
/// as arrays and objects. Without a type it is what the value itself says.
pub(super) fn json_of(value: &Field, kind: Option<&Type>) -> String {
    match value {
        Field::Null => "null".to_owned(),
        Field::Bool(value) => value.to_string(),
        Field::Byte(n) => n.to_string(),
        Field::Short(n) => n.to_string(),
        Field::Int(n) => n.to_string(),
        Field::Long(n) => nanos_of(*n, kind).unwrap_or_else(|| n.to_string()),
        Field::UByte(n) => n.to_string(),
        Field::UShort(n) => n.to_string(),
        Field::UInt(n) => n.to_string(),
        Field::ULong(n) => n.to_string(),
        Field::Float16(n) => number(f64::from(*n), &n.to_string()),
        Field::Float(n) => serde_json::to_string(n).unwrap_or_default(),
        Field::Double(n) => serde_json::to_string(n).unwrap_or_default(),
        Field::Str(text) => text_of(text),
        Field::Bytes(bytes) => bytes_of(bytes.data(), kind),
        Field::Decimal(_) => text_of(&value.to_string()),
        Field::Date(days) => text_of(&date(*days)),
        Field::TimeMillis(n) => text_of(&time_of_day(i128::from(*n) * 1_000_000)),
        Field::TimeMicros(n) => text_of(&time_of_day(i128::from(*n) * 1000)),
        Field::TimestampMillis(n) => moment(i128::from(*n) * 1_000_000, kind),
        Field::TimestampMicros(n) => moment(i128::from(*n) * 1000, kind),
        Field::Group(row) => {
            let kinds = kind.map(children).unwrap_or_default();
            let kinds = kinds.iter().map(|kind| Some(&**kind)).chain(std::iter::repeat(None));
            let members = row.get_column_iter().zip(kinds);
            object(members.map(|((name, value), kind)| (text_of(name), json_of(value, kind))))
        }
        Field::ListInternal(list) => {
            let kind = kind.and_then(element);
            let all: Vec<String> =
                list.elements().iter().map(|value| json_of(value, kind)).collect();
            format!("[{}]", all.join(","))
        }
        Field::MapInternal(map) => {
            let pair = kind.and_then(|kind| children(kind).first()).map(|pair| children(pair));
            let kind = |at: usize| pair.and_then(|pair| pair.get(at)).map(std::sync::Arc::as_ref);
            object(map.entries().iter().map(|(key, value)| {
                let key = json_of(key, kind(0));
                let key = if key.starts_with('"') { key } else { text_of(&key) };
                (key, json_of(value, kind(1)))
            }))
        }
    }
}

/// The types inside one.
pub(super) fn children(kind: &Type) -> &[std::sync::Arc<Type>] {
    if kind.is_group() { kind.get_fields() } else { &[] }
}

/// The type of a list's elements: lists are written with two levels or three, or are columns that repeat.
fn element(kind: &Type) -> Option<&Type> {
    let is_list = kind.get_basic_info().converted_type() == ConvertedType::LIST;
    if !is_list {
        return (kind.get_basic_info().repetition() == Repetition::REPEATED).then_some(kind);
    }
    let repeated: &Type = children(kind).first()?;
    match children(repeated) {
        [one] if repeated.name() != "array" && !repeated.name().ends_with("_tuple") => Some(one),
        _ => Some(repeated),
    }
}

fn logical(kind: Option<&Type>) -> Option<&LogicalType> {
    kind?.get_basic_info().logical_type_ref()
}

/// A number that is a time in nanoseconds, which the library does not know.
fn nanos_of(n: i64, kind: Option<&Type>) -> Option<String> {
    match logical(kind)? {
        LogicalType::Timestamp(time) if time.unit == TimeUnit::NANOS => {
            Some(moment(i128::from(n), kind))
        }
        LogicalType::Time(time) if time.unit == TimeUnit::NANOS => {
            Some(text_of(&time_of_day(i128::from(n))))
        }
        _ => None,
    }
}

/// Bytes: of a fixed length they are a number or a hash, and a text by accident only.
fn bytes_of(bytes: &[u8], kind: Option<&Type>) -> String {
    let is_fixed = kind.is_some_and(|kind| {
        kind.is_primitive() && kind.get_physical_type() == Physical::FIXED_LEN_BYTE_ARRAY
    });
    if let (Some(LogicalType::Uuid), Ok(bytes)) = (logical(kind), bytes.try_into()) {
        let digits = format!("{:032x}", u128::from_be_bytes(bytes));
        let mut rest = digits.as_str();
        let parts = [8, 4, 4, 4, 12].map(|n| {
            let (part, after) = rest.split_at(n);
            rest = after;
            part
        });
        return text_of(&parts.join("-"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !is_fixed => text_of(text),
        _ => format!("{{\"base64\":\"{}\"}}", BASE64_STANDARD.encode(bytes)),
    }
}

/// A moment as a text: with `Z` where the column says UTC, else as a clock on a wall shows it.
fn moment(nanos: i128, kind: Option<&Type>) -> String {
    let is_utc = match logical(kind) {
        Some(LogicalType::Timestamp(time)) => time.is_adjusted_to_u_t_c,
        // Before there were logical types they were in UTC; those of 96 bits do not say.
        _ => kind.is_some_and(|kind| kind.get_basic_info().converted_type() != ConvertedType::NONE),
    };
    let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(nanos) else {
        return text_of(&format!("{nanos} ns since 1970"));
    };
    let zone = if is_utc { "Z" } else { "" };
    text_of(&format!("{}T{}{zone}", time.date(), clock(time.time())))
}

fn date(days: i32) -> String {
    let date = EPOCH.checked_add(days).and_then(|day| Date::from_julian_day(day).ok());
    date.map_or_else(|| format!("{days} days since 1970"), |date| date.to_string())
}

fn time_of_day(nanos: i128) -> String {
    let seconds = nanos.div_euclid(NANOS_OF_A_SECOND);
    let time = u32::try_from(seconds).ok().and_then(|seconds| {
        let hour = u8::try_from(seconds / 3600).ok()?;
        let [minute, second] = [seconds / 60 % 60, seconds % 60].map(|n| u8::try_from(n).ok());
        let nano = u32::try_from(nanos.rem_euclid(NANOS_OF_A_SECOND)).ok()?;
        Time::from_hms_nano(hour, minute?, second?, nano).ok()
    });
    time.map_or_else(|| format!("{nanos} ns of a day"), clock)
}

/// With as many digits of a second as there are, three at a time.
fn clock(time: Time) -> String {
    let (hour, minute, second) = time.as_hms();
    let start = format!("{hour:02}:{minute:02}:{second:02}");
    match time.nanosecond() {
        0 => start,
        nano if nano % 1_000_000 == 0 => format!("{start}.{:03}", nano / 1_000_000),
        nano if nano % 1000 == 0 => format!("{start}.{:06}", nano / 1000),
        nano => format!("{start}.{nano:09}"),
    }
}

/// A number as it is written, or null for what is none.
fn number(n: f64, written: &str) -> String {
    if n.is_finite() { written.to_owned() } else { "null".to_owned() }
}

fn text_of(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn object(members: impl Iterator<Item = (String, String)>) -> String {
    let all: Vec<String> = members.map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", all.join(","))
}
