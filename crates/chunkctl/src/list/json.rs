//! Rows of JSON: a value a line, or those of one array.

use super::{
    Error, Names, Row, Take,
    names::{Chosen, Field},
    row::{RowBuilder, Value},
    shown,
    text::{MOST_OF_A_ROW, Place, Text, push_most},
};
use crate::urls::told;
use chunk_handler::chunk::{
    ITEM_LIMIT, Item, UrlKey,
    source::{is_blank, members, mended, trimmed},
};
use serde_json::value::RawValue;
use std::ops::ControlFlow;

/// Objects of which the keys have meanings. Most have the same keys as the one before.
#[derive(Debug)]
pub(super) struct Objects<'n> {
    names: &'n Names,
    keys: Vec<String>,
    meanings: Vec<Option<Field>>,
    /// Which keys are columns of rows that `chunkctl urls` wrote.
    columns: Vec<Option<&'static str>>,
    /// Options whose keys no row had yet.
    unseen: Vec<&'n Chosen>,
    /// The line and keys of the first row.
    first: Option<(usize, Vec<String>)>,
}

/// Keys that are shown.
const SHOWN_KEYS: usize = 30;

impl<'n> Objects<'n> {
    pub(super) fn new(names: &'n Names) -> Self {
        Self {
            names,
            keys: Vec::new(),
            meanings: Vec::new(),
            unseen: names.chosen.iter().collect(),
            first: None,
            columns: Vec::new(),
        }
    }

    /// The row of an object's members. Of a key that is there twice the last counts.
    pub(super) fn row(&mut self, all: &[(String, impl AsRef<RawValue>)]) -> RowBuilder {
        if !all.iter().map(|(key, _)| key).eq(&self.keys) {
            self.keys = all.iter().map(|(key, _)| key.clone()).collect();
            let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
            self.meanings = self.names.meanings(&keys);
            self.columns = told::columns(&keys);
            self.unseen.retain(|chosen| chosen.of(&keys).is_none());
        }
        let mut row = RowBuilder::new(told::Fields::of_members(all, &self.columns));
        let meanings = self.meanings.iter().zip(&self.columns);
        for ((key, value), (field, column)) in all.iter().zip(meanings) {
            let value = value.as_ref();
            let is_beside = row.fields.is_some() && (column.is_some() || told::is_index(key));
            if field.is_none() && (is_beside || is_retry(key, value)) {
                continue;
            }
            row.put(*field, key, Value::Json(value));
        }
        row
    }

    /// Keeps what is to be said of a row that begins in a line, if it is the first.
    fn pass(&mut self, line: usize) {
        let keys = || self.keys.iter().take(SHOWN_KEYS).cloned().collect();
        self.first.get_or_insert_with(|| (line, keys()));
    }

    /// All rows were read.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] when an option names a key that none of them had, as for tables.
    fn finish(&self) -> Result<(), Error> {
        let (Some(chosen), Some((line, keys))) = (self.unseen.first(), &self.first) else {
            return Ok(());
        };
        let keys: Vec<String> = keys.iter().map(|key| format!("`{}`", shown(key))).collect();
        let problem = format!(
            "no row has a key `{}`, which {} names; the keys of the first are {}",
            shown(&chosen.name),
            chosen.option,
            if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
        );
        Err(Error::Broken { line: *line, problem })
    }

    /// The row of a JSON value, also of one that has no URL, or is too large to be one.
    fn row_of(&mut self, text: &str) -> Result<Row, serde_json::Error> {
        if text.len() > ITEM_LIMIT {
            if let Some(row) = self.told_row(text) {
                return Ok(row);
            }
            let start = text.split_at(text.floor_char_boundary(ITEM_LIMIT)).0;
            let mut all = Vec::new();
            // It ends too early: what came before counts, and what comes behind it is not known.
            members(start, |key, value| all.push((key, ByRef(value)))).unwrap_or_default();
            self.unseen.clear();
            let row = self.row(&all);
            return Ok(match row.has_url {
                true => row.finish(text.len()),
                false => Item::too_large(start, None).into(),
            });
        }
        let row = mended(text, |text| {
            if text.starts_with('"') {
                let url: String = serde_json::from_str(text)?;
                return Ok(Some(Item::of_url(trimmed(&url)).into()));
            }
            if !text.starts_with('{') {
                return serde_json::from_str::<&RawValue>(text).map(|_| None);
            }
            let mut all = Vec::new();
            members(text, |key, value| all.push((key, ByRef(value))))?;
            let row = self.row(&all);
            Ok(row.has_url.then(|| row.finish(text.len())))
        })?;
        Ok(row.unwrap_or_else(|| Item::of_url(text).into()))
    }

    /// A row above the limit whose item may be below it: `chunkctl urls` wrote more beside it.
    fn told_row(&mut self, text: &str) -> Option<Row> {
        let mut all = Vec::new();
        members(text, |key, value| all.push((key, ByRef(value)))).ok()?;
        let row = self.row(&all);
        (row.has_url && row.fields.is_some()).then(|| row.finish(text.len()))
    }
}

/// Whether a member is what the list of a chunk says of a URL that was asked for again. It counts in
/// its chunk only.
fn is_retry(key: &str, value: &RawValue) -> bool {
    key == "retry_of" && serde_json::from_str::<UrlKey>(value.get()).is_ok()
}

/// A value inside its text.
struct ByRef<'t>(&'t RawValue);

impl AsRef<RawValue> for ByRef<'_> {
    fn as_ref(&self) -> &RawValue {
        self.0
    }
}

/// The rows of JSON lines. A value without a URL is a row all the same, with its text in place of one.
///
/// # Errors
///
/// [`Error::Broken`] for a line that is no JSON: where the next row begins cannot be told; or when an
/// option names a key that no row has.
pub(super) fn line_rows(text: &mut Text, names: &Names, take: &mut Take<'_>) -> Result<(), Error> {
    let mut objects = Objects::new(names);
    let mut is_over = false;
    text.lines(|line, row| {
        let row = trimmed(row);
        if row.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let read = objects.row_of(row);
        objects.pass(line);
        let row = read.map_err(|error| Error::Broken {
            line,
            problem: format!(
                "no JSON, and each line is to hold an object, as `jq -c` writes it: {} (column {})",
                what_of(&error),
                error.column()
            ),
        })?;
        let flow = take(row);
        is_over = flow.is_break();
        Ok(flow)
    })?;
    if is_over { Ok(()) } else { objects.finish() }
}

/// An error without the place that it names.
fn what_of(error: &serde_json::Error) -> String {
    error.to_string().split(" at line ").next().unwrap_or_default().to_owned()
}

/// Where the reader of an array is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before its bracket.
    Start,
    /// Before or in a value.
    Value,
    /// Behind its bracket.
    End,
}

/// An array that is being read, a value at a time.
struct Array<'n> {
    objects: Objects<'n>,
    at: At,
    /// How many values were read.
    n: usize,
    value: String,
    /// Where the value begins.
    begin: Place,
    place: Place,
    depth: usize,
    is_text: bool,
    is_escaped: bool,
}

/// The rows of an array, as those of lines.
///
/// # Errors
///
/// [`Error::Broken`] when it is none, or is not closed, or as for lines.
pub(super) fn array_rows(text: &mut Text, names: &Names, take: &mut Take<'_>) -> Result<(), Error> {
    let mut array = Array {
        objects: Objects::new(names),
        at: At::Start,
        n: 0,
        value: String::new(),
        begin: text.begin(),
        place: text.begin(),
        depth: 0,
        is_text: false,
        is_escaped: false,
    };
    while let Some(piece) = text.next()? {
        if array.push(piece, take)?.is_break() {
            return Ok(());
        }
    }
    if array.at == At::End {
        array.objects.finish()
    } else {
        Err(array.broken("EOF while parsing a list", 0))
    }
}

impl Array<'_> {
    /// Takes the next piece of the text.
    fn push(&mut self, piece: &str, take: &mut Take<'_>) -> Result<ControlFlow<()>, Error> {
        let mut rest = piece;
        while !rest.is_empty() {
            let Some((at, byte)) = self.next_mark(rest) else {
                self.keep(rest)?;
                return Ok(ControlFlow::Continue(()));
            };
            let (before, mark) = rest.split_at(at);
            let (mark, after) = mark.split_at(1);
            self.keep(before)?;
            match (byte, self.at, self.depth) {
                (b'[', At::Start, _) => {
                    self.place.pass(mark);
                    self.at = At::Value;
                    self.begin = self.place.clone();
                }
                (b',' | b']', At::Value, 0) => {
                    if self.end_value(byte == b']', take)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    self.place.pass(mark);
                    self.begin = self.place.clone();
                }
                (byte, At::Value, _) => {
                    match byte {
                        b'[' | b'{' => self.depth += 1,
                        b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                    self.keep(mark)?;
                }
                (_, At::Start | At::End, _) => self.keep(mark)?,
            }
            rest = after;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The next byte outside of texts that may divide, and the texts are left behind on the way.
    fn next_mark(&mut self, rest: &str) -> Option<(usize, u8)> {
        for (at, byte) in rest.bytes().enumerate() {
            if self.is_text {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.is_text = false,
                    _ => {}
                }
            } else if byte == b'"' {
                self.is_text = true;
            } else if matches!(byte, b'[' | b']' | b'{' | b'}' | b',') {
                return Some((at, byte));
            }
        }
        None
    }

    /// Keeps a part of a value. Before the array and behind it nothing may stand.
    fn keep(&mut self, part: &str) -> Result<(), Error> {
        if self.at != At::Value {
            if let Some(at) = part.find(|c| !is_blank(c)) {
                self.place.pass(part.split_at(at).0);
                let what = if self.at == At::End { "trailing characters" } else { "no array" };
                return Err(self.broken(what, 1));
            }
            self.place.pass(part);
            return Ok(());
        }
        if self.value.is_empty() {
            // Blanks before a value are not of it.
            let blank = part.len() - part.trim_start_matches(is_blank).len();
            let (blank, part) = part.split_at(blank);
            self.place.pass(blank);
            self.begin = self.place.clone();
            self.value.push_str(part);
            self.place.pass(part);
            return Ok(());
        }
        push_most(&mut self.value, part);
        self.place.pass(part);
        Ok(())
    }

    /// Hands a value out that is over.
    fn end_value(&mut self, is_last: bool, take: &mut Take<'_>) -> Result<ControlFlow<()>, Error> {
        if is_last {
            self.at = At::End;
        }
        let value = std::mem::take(&mut self.value);
        let text = trimmed(&value);
        if text.is_empty() {
            if is_last && self.n == 0 {
                return Ok(ControlFlow::Continue(()));
            }
            return Err(self.broken("expected value", 1));
        }
        self.n += 1;
        let row = self.row_of(text)?;
        self.objects.pass(self.begin.line);
        let flow = take(row);
        self.value = value;
        self.value.clear();
        Ok(flow)
    }

    fn row_of(&mut self, text: &str) -> Result<Row, Error> {
        let broken_value = |begin: &Place, error: &serde_json::Error| {
            let first = if error.line() == 1 { begin.before.bytes } else { 0 };
            broken(begin.line + error.line() - 1, &what_of(error), first + error.column())
        };
        let is_whole = text.len() <= MOST_OF_A_ROW;
        if text.len() > ITEM_LIMIT && is_whole {
            // It is refused by itself only if it is a value.
            mended(text, |text| serde_json::from_str::<&RawValue>(text).map(|_| ()))
                .map_err(|error| broken_value(&self.begin, &error))?;
        }
        match self.objects.row_of(text) {
            Ok(row) => Ok(row),
            // Of halves of surrogate pairs it may be too broken, and JSON all the same.
            Err(_) if serde_json::from_str::<&RawValue>(text).is_ok() => {
                Ok(Item::of_url(text).into())
            }
            Err(error) => Err(broken_value(&self.begin, &error)),
        }
    }

    /// Where the reader is.
    fn broken(&self, what: &str, more: usize) -> Error {
        broken(self.place.line, what, self.place.before.bytes + more)
    }
}

fn broken(line: usize, what: &str, column: usize) -> Error {
    let problem = format!(
        "no JSON array of rows, as `jq -s` writes it and the name says: {what} (column {column})"
    );
    Error::Broken { line, problem }
}
