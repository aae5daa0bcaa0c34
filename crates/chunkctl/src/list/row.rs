//! A row of a list: its item, what makes it doubtful, and how it is put together from its values.

use super::names::Field;
use crate::urls::told::{self, FirstTry};
use chunk_handler::chunk::{
    ITEM_LIMIT, Item, Meta,
    source::{class_of, is_blank, is_web_url, read_meta, trimmed},
};
use serde::Serialize;
use serde_json::value::RawValue;

/// A row that is not blank.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    /// What it says.
    pub(crate) item: Item,
    /// Why it may not be what was meant.
    pub(crate) doubt: Option<Doubt>,
    /// Of its URL, when `chunkctl urls` wrote it.
    pub(crate) first_try: Option<FirstTry>,
}

/// Why a row may not be what was meant, although it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// More or fewer cells than the head: the others may be in the wrong columns.
    Cells {
        /// Of the row.
        n: usize,
        /// Of the head.
        head: usize,
    },
    /// A quote inside a quoted cell of a CSV that is not doubled.
    Quote,
    /// A line of text with more than a URL, which is taken as one.
    MoreThanUrl,
    /// A class that is no integer, which is kept in the meta.
    Class,
    /// A caption or label of bytes that are no text, which are kept in the meta.
    NoText,
    /// It names a URL of a job, and not all of the key is there: it is taken as any other row.
    Key,
    /// It names a URL of the job that grows, and there is none.
    Place,
}

/// A column without a name, whose cells are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Nameless {
    /// From 1.
    pub(crate) column: usize,
    /// Its cells that are not blank.
    pub(crate) cells: usize,
}

impl Row {
    /// A line of a text list.
    pub(super) fn of_text(line: &str) -> Self {
        if line.len() > ITEM_LIMIT {
            return Item::too_large(line, None).into();
        }
        let is_part = |c| is_blank(c) || c == '"';
        let has_more = line.contains(is_part) || line.ends_with([',', ';']);
        let has_more = has_more && is_web_url(line);
        Self { doubt: has_more.then_some(Doubt::MoreThanUrl), ..Item::of_url(line).into() }
    }
}

impl From<Item> for Row {
    fn from(item: Item) -> Self {
        Self { item, doubt: None, first_try: None }
    }
}

/// A value of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'v> {
    /// A cell of a table: a text, or nothing.
    Cell(&'v str),
    /// A cell of a row that `chunkctl urls` wrote: nothing only when it is empty.
    Own(&'v str),
    /// JSON, in which null is nothing.
    Json(&'v RawValue),
}

impl Value<'_> {
    /// As a text; what is none is one as it is written.
    fn text(self) -> Option<String> {
        match self {
            // Blanks around a caption are its own, as they are in JSON.
            Self::Cell(cell) => (!is_missing(cell)).then(|| cell.to_owned()),
            Self::Own(cell) => (!cell.is_empty()).then(|| cell.to_owned()),
            Self::Json(json) if json.get() == "null" => None,
            Self::Json(json) => {
                Some(serde_json::from_str(json.get()).unwrap_or_else(|_| json.get().to_owned()))
            }
        }
    }

    /// As an integer; the error is that it is something else.
    fn integer(self) -> Result<Option<i64>, ()> {
        let Some(text) = self.text().filter(|text| !trimmed(text).is_empty()) else {
            return Ok(None);
        };
        class_of(&text).map(Some).ok_or(())
    }

    /// As what is called meta: JSON in a cell is JSON.
    fn meta(self) -> Option<Meta> {
        let meta = match self {
            Self::Cell(_) | Self::Own(_) => {
                let value =
                    |text: String| read_meta(&text).unwrap_or_else(|_| Meta::of_text(&text));
                self.text().map(value)
            }
            Self::Json(json) => Some(Meta::of_raw(json)),
        };
        meta.filter(|meta| meta.get() != "null")
    }

    /// As a member of the meta.
    fn member(self) -> Meta {
        match self {
            Self::Cell(cell) | Self::Own(cell) => Meta::of_text(cell),
            Self::Json(json) => Meta::of_raw(json),
        }
    }
}

/// Whether a cell says that there is nothing: blank, not a number as pandas and numpy write it, or the
/// null of Postgres and `MySQL`. Words, as NA and None, may be somebody's label.
fn is_missing(cell: &str) -> bool {
    matches!(trimmed(cell), "" | "NaN" | "nan" | "\\N")
}

/// A row of which the values come one by one. Of a field that comes twice the last counts.
#[derive(Debug)]
pub(super) struct RowBuilder {
    pub(super) item: Item,
    /// Whether the URL is a text.
    pub(super) has_url: bool,
    meta: Option<Meta>,
    others: Vec<(String, Meta)>,
    doubt: Option<Doubt>,
    /// What `chunkctl urls` says beside the item, when it wrote the row.
    pub(super) fields: Option<told::Fields>,
}

impl RowBuilder {
    /// A row of nothing yet but what `chunkctl urls` may have said.
    pub(super) fn new(fields: told::Fields) -> Self {
        let item = Item::of_url("");
        let doubt = fields.is_damaged().then_some(Doubt::Key);
        let fields = fields.first_try().map(|_| fields);
        Self { item, has_url: false, meta: None, others: Vec::new(), doubt, fields }
    }

    /// Adds a value.
    pub(super) fn put(&mut self, field: Option<Field>, name: &str, value: Value<'_>) {
        match field {
            Some(Field::Url) => {
                // As lines and cells have it: somebody's URLs end in a line end.
                self.item.url = match value {
                    Value::Cell(cell) | Value::Own(cell) => trimmed(cell).to_owned(),
                    Value::Json(_) => trimmed(&value.text().unwrap_or_default()).to_owned(),
                };
                self.has_url = match value {
                    Value::Cell(_) | Value::Own(_) => true,
                    Value::Json(json) => json.get().starts_with('"'),
                };
            }
            Some(Field::Caption) => self.item.caption = value.text(),
            Some(Field::Label) => self.item.label = value.text(),
            Some(Field::Class) => match value.integer() {
                Ok(class) => self.item.class = class,
                Err(()) => {
                    self.doubt = Some(Doubt::Class);
                    self.others.push((name.to_owned(), value.member()));
                }
            },
            Some(Field::Meta) => self.meta = value.meta(),
            None => self.others.push((name.to_owned(), value.member())),
        }
    }

    /// Adds a caption or label that is none, for it is bytes and no text.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "only Parquet has bytes"))]
    pub(super) fn put_no_text(&mut self, name: &str, bytes: &RawValue) {
        self.doubt = Some(Doubt::NoText);
        self.others.push((name.to_owned(), Meta::of_raw(bytes)));
    }

    /// The row, of so many bytes as it is written.
    pub(super) fn finish(self, len: usize) -> Row {
        let mut item = self.item;
        // What is said beside an item does not count.
        if len > ITEM_LIMIT && self.fields.is_none() {
            item = Item::too_large(&item.url, item.label.as_deref());
        } else {
            item.meta = Meta::with_others(self.meta, self.others);
        }
        let fields = self.fields.unwrap_or_default();
        item.refused = item.refused.or(fields.refused());
        Row { item, doubt: self.doubt, first_try: fields.first_try() }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cells { n: 1, head } => write!(f, "1 cell, and {head} in the first line"),
            Self::Cells { n, head } => write!(f, "{n} cells, and {head} in the first line"),
            Self::Quote => f.write_str("a quote inside a quoted cell is not doubled"),
            Self::MoreThanUrl => f.write_str("more than a URL, and all of it is taken as one"),
            Self::NoText => {
                f.write_str("its caption or label is bytes and no text, and is kept in the meta")
            }
            Self::Key => f.write_str(
                "of job_id, chunk_index, idx and retry_of not all are there as `chunkctl urls` writes \
                 them, and it is taken as any other row",
            ),
            Self::Place => f.write_str(
                "the job has no URL at its chunk_index and idx, and it is taken as any other row",
            ),
            Self::Class => f.write_str("its class is no integer, and is kept in the meta"),
        }
    }
}
