//! Rows of Parquet: row groups one after another, pages one after another. Memory does not grow with
//! the file.

use super::{Error, Names, Row, Take, Told, json::Objects, table::missing};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use parquet::{
    errors::ParquetError,
    file::{
        reader::{ChunkReader, FileReader as _},
        serialized_reader::SerializedFileReader,
    },
    record::{Field, Row as Record},
};
use serde_json::value::RawValue;
use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether what panics is the library, over a file that is broken in a way that it did not foresee.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The rows of a file, of which the columns are named as those of tables.
///
/// # Errors
///
/// [`Error::Parquet`] for one that is broken, encrypted or has no column of URLs.
pub(super) fn parquet_rows(
    file: impl ChunkReader + 'static,
    names: &Names,
    take: &mut Take<'_>,
) -> Result<Told, Error> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                before(info);
            }
        }));
    });
    let reader = guarded(|| SerializedFileReader::new(file))?;
    let schema = reader.metadata().file_metadata().schema();
    let columns: Vec<&str> = schema.get_fields().iter().map(|column| column.name()).collect();
    if let Some(problem) = missing(names, &columns) {
        return Err(Error::Parquet(format!("is not read: {problem}")));
    }
    if !names.meanings(&columns).contains(&Some(super::names::Field::Url)) {
        let all: Vec<String> =
            columns.iter().map(|name| format!("`{}`", super::shown(name))).collect();
        return Err(Error::Parquet(format!(
            "has no column url, image_url or uri; its columns are {}: say --url-column",
            all.join(", ")
        )));
    }
    let told = Told { nameless: Vec::new(), set_aside: names.set_aside(&columns) };
    let mut objects = Objects::new(names);
    let mut records = guarded(|| reader.get_row_iter(None))?;
    while let Some(record) = guarded(|| records.next().transpose())? {
        let row = row_of(&mut objects, record);
        if take(row).is_break() {
            break;
        }
    }
    Ok(told)
}

/// What the library says, which panics where it relies on a file.
fn guarded<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Error> {
    IS_GUARDED.set(true);
    let said = panic::catch_unwind(AssertUnwindSafe(call));
    IS_GUARDED.set(false);
    match said {
        Ok(said) => said.map_err(broken),
        Err(_) => Err(Error::Parquet("is broken".to_owned())),
    }
}

fn broken(error: ParquetError) -> Error {
    let text = error.to_string();
    Error::Parquet(if text.contains("encrypt") {
        "is encrypted, which is not read".to_owned()
    } else if let Some((_, kind)) = text.split_once("Disabled feature at compile time: ") {
        format!("is packed with {kind}, which is not read; write it with zstd, snappy or gzip")
    } else {
        format!("is broken: {}", super::shown(&text))
    })
}

fn row_of(objects: &mut Objects<'_>, record: Record) -> Row {
    let columns = record.into_columns();
    let all: Vec<(String, Box<RawValue>)> =
        columns.into_iter().map(|(name, value)| (name, raw(json_of(&value)))).collect();
    let len = all.iter().map(|(name, value)| name.len() + value.get().len()).sum();
    // Without a URL it is a row all the same.
    objects.row(&all).finish(len)
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A value as JSON: numbers as they are, what is no number as null, dates and decimals as texts, bytes
/// as a text or else as `{"base64": ...}`, and what is nested as arrays and objects.
fn json_of(value: &Field) -> String {
    match value {
        Field::Null => "null".to_owned(),
        Field::Bool(value) => value.to_string(),
        Field::Byte(n) => n.to_string(),
        Field::Short(n) => n.to_string(),
        Field::Int(n) => n.to_string(),
        Field::Long(n) => n.to_string(),
        Field::UByte(n) => n.to_string(),
        Field::UShort(n) => n.to_string(),
        Field::UInt(n) => n.to_string(),
        Field::ULong(n) => n.to_string(),
        Field::Float16(n) => number(f64::from(*n), &n.to_string()),
        Field::Float(n) => serde_json::to_string(n).unwrap_or_default(),
        Field::Double(n) => serde_json::to_string(n).unwrap_or_default(),
        Field::Str(text) => text_of(text),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text_of(text),
            Err(_) => format!("{{\"base64\":\"{}\"}}", BASE64_STANDARD.encode(bytes.data())),
        },
        Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_) => text_of(&value.to_string()),
        Field::Group(row) => {
            object(row.get_column_iter().map(|(name, value)| (text_of(name), value)))
        }
        Field::ListInternal(list) => {
            let all: Vec<String> = list.elements().iter().map(json_of).collect();
            format!("[{}]", all.join(","))
        }
        Field::MapInternal(map) => object(map.entries().iter().map(|(key, value)| {
            let key = json_of(key);
            (if key.starts_with('"') { key } else { text_of(&key) }, value)
        })),
    }
}

/// A number as it is written, or null for what is none.
fn number(n: f64, written: &str) -> String {
    if n.is_finite() { written.to_owned() } else { "null".to_owned() }
}

fn text_of(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn object<'v>(members: impl Iterator<Item = (String, &'v Field)>) -> String {
    let all: Vec<String> =
        members.map(|(name, value)| format!("{name}:{}", json_of(value))).collect();
    format!("{{{}}}", all.join(","))
}
