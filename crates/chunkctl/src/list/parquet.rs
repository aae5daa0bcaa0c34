//! Rows of Parquet: row groups one after another, pages one after another. Memory does not grow with
//! the file.

mod value;

use super::{
    Error, Names, Row, Take, Told, json::Objects, names::Field as Meaning, table::missing,
};
use parquet::{
    basic::ConvertedType,
    errors::ParquetError,
    file::{
        reader::{ChunkReader, FileReader as _},
        serialized_reader::SerializedFileReader,
    },
    record::{Field, Row as Record},
    schema::types::Type,
};
use serde_json::value::RawValue;
use std::sync::Arc;
use value::{children, json_of};

/// The rows of a file, of which the columns are named as those of tables.
///
/// # Errors
///
/// [`Error::Parquet`] for one that is broken, encrypted or has no column of URLs, or two of one name.
pub(super) fn parquet_rows(
    file: impl ChunkReader + 'static,
    names: &Names,
    take: &mut Take<'_>,
) -> Result<Told, Error> {
    let reader = guarded(|| SerializedFileReader::new(file))?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = Columns::new(schema.get_fields(), names).map_err(Error::Parquet)?;
    let all: Vec<&str> = schema.get_fields().iter().map(|column| column.name()).collect();
    let told = Told { nameless: Vec::new(), set_aside: names.set_aside(&all) };
    let mut objects = Objects::new(names);
    let mut records = guarded(|| reader.get_row_iter(None))?;
    while let Some(record) = guarded(|| records.next().transpose())? {
        let row = row_of(&mut objects, &columns, record)?;
        if take(row).is_break() {
            break;
        }
    }
    Ok(told)
}

/// What the library says, which panics where it relies on a file.
fn guarded<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Error> {
    match crate::guarded::guarded(call) {
        Some(said) => said.map_err(broken),
        None => Err(Error::Parquet("is broken".to_owned())),
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

/// Values with the names of their columns.
type Members = Vec<(String, Box<RawValue>)>;

/// The row of a record. A caption or label that is no text is in the meta as bytes.
fn row_of(objects: &mut Objects<'_>, columns: &Columns<'_>, record: Record) -> Result<Row, Error> {
    let (all, no_texts) = guarded(|| Ok(columns.members(record)))?;
    let len = all.iter().chain(&no_texts).map(|(name, value)| name.len() + value.get().len()).sum();
    let mut row = objects.row(&all);
    for (name, bytes) in &no_texts {
        row.put_no_text(name, bytes);
    }
    // Without a URL it is a row all the same.
    Ok(row.finish(len))
}

/// The columns of a file, and what they mean.
struct Columns<'s> {
    types: &'s [Arc<Type>],
    meanings: Vec<Option<Meaning>>,
}

impl<'s> Columns<'s> {
    /// # Errors
    ///
    /// What is wrong with them.
    fn new(types: &'s [Arc<Type>], names: &Names) -> Result<Self, String> {
        let columns: Vec<&str> = types.iter().map(|column| column.name()).collect();
        let shown = |names: Vec<&str>| {
            let all = names.into_iter().map(|name| format!("`{}`", super::shown(name)));
            all.collect::<Vec<String>>().join(", ")
        };
        let twice = columns
            .iter()
            .enumerate()
            .find(|(at, name)| columns.iter().take(*at).any(|before| before == *name));
        if let Some((_, name)) = twice {
            let name = super::shown(name);
            return Err(format!(
                "is not read: two columns are called `{name}`; rename one of them"
            ));
        }
        if let Some(problem) = missing(names, &columns) {
            return Err(format!("is not read: {problem}"));
        }
        if let Some(column) = types.iter().find(|kind| has_interval(kind)) {
            let name = super::shown(column.name());
            return Err(format!("is not read: column `{name}` has intervals; leave it out"));
        }
        let meanings = names.meanings(&columns);
        let url = meanings.iter().position(|meaning| *meaning == Some(Meaning::Url));
        let of_struct = |kind: &Type| {
            let inner = children(kind).iter().map(|inner| inner.name()).collect();
            format!(
                "column `{}` is no text, but holds {}: write what is the URL as a column of its own",
                super::shown(kind.name()),
                shown(inner)
            )
        };
        match url.and_then(|at| types.get(at)) {
            Some(kind) if kind.is_group() => Err(format!("is not read: {}", of_struct(kind))),
            Some(_) => Ok(Self { types, meanings }),
            None => {
                let has_url = |kind: &&Arc<Type>| {
                    let inner = children(kind).iter().map(|inner| inner.name());
                    Meaning::Url.of(inner).is_some()
                };
                let advice = match types.iter().find(has_url) {
                    Some(kind) => of_struct(kind),
                    None => "say --url-column".to_owned(),
                };
                Err(format!(
                    "has no column url, image_url or uri; its columns are {}: {advice}",
                    shown(columns)
                ))
            }
        }
    }

    /// The values of a record as JSON, and those that should be texts and are none.
    fn members(&self, record: Record) -> (Members, Members) {
        let (mut all, mut no_texts) = (Members::new(), Members::new());
        let columns = self.types.iter().zip(&self.meanings);
        for ((name, value), (kind, meaning)) in record.into_columns().into_iter().zip(columns) {
            let json = raw(json_of(&value, Some(kind)));
            let is_text = matches!(meaning, Some(Meaning::Caption | Meaning::Label));
            // Bytes that are no text are an object.
            let is_no_text = matches!(value, Field::Bytes(_)) && json.get().starts_with('{');
            if is_text && is_no_text {
                no_texts.push((name.clone(), json));
                all.push((name, RawValue::NULL.to_owned()));
            } else {
                all.push((name, json));
            }
        }
        (all, no_texts)
    }
}

/// Whether there are values which the library cannot read.
fn has_interval(kind: &Type) -> bool {
    kind.get_basic_info().converted_type() == ConvertedType::INTERVAL
        || children(kind).iter().any(|inner| has_interval(inner))
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
