//! Rows of JSON: a value a line, or those of one array.

use super::{Error, Row};
use crate::urls::told;
use chunk_handler::chunk::{
    ITEM_LIMIT, Item,
    source::{lines, read_row, strict_json, too_large, trimmed},
};
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The rows of JSON lines. A value without a URL is a row all the same, with its text in place of one.
///
/// # Errors
///
/// [`Error::Broken`] for a line that is no JSON: where the next row begins cannot be told.
pub(super) fn line_rows(text: &str, take: &mut impl FnMut(Row)) -> Result<(), Error> {
    let rows = lines(text).map(|(line, row)| (line, trimmed(row)));
    for (line, row) in rows.filter(|(_, row)| !row.is_empty()) {
        let row = row_of(row).map_err(|error| Error::Broken {
            line,
            problem: format!(
                "no JSON, and each line is to hold an object, as `jq -c` writes it: {}",
                without_line(&error)
            ),
        })?;
        take(row);
    }
    Ok(())
}

/// The row of a value, also of one that `chunkctl urls` wrote.
fn row_of(text: &str) -> Result<Row, serde_json::Error> {
    let Some((fields, rest)) = told::of_json(text) else { return item_of(text).map(Row::from) };
    let mut item = item_of(&rest)?;
    item.refused = item.refused.or(fields.refused());
    Ok(Row { told: fields.told(), ..item.into() })
}

/// The item of a row, also of one that has no URL, or is too large to be one.
fn item_of(row: &str) -> Result<Item, serde_json::Error> {
    if row.len() > ITEM_LIMIT {
        return Ok(too_large(row.split_at(row.floor_char_boundary(ITEM_LIMIT)).0));
    }
    Ok(read_row(row)?.map_or_else(|| Item::of_url(row), without_blanks))
}

/// An error of which the line is said already.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("{what} (column {})", error.column())
}

/// As lines and cells have it: somebody's URLs end in a line end.
fn without_blanks(mut item: Item) -> Item {
    if trimmed(&item.url).len() < item.url.len() {
        item.url = trimmed(&item.url).to_owned();
    }
    item
}

/// The rows of an array, as those of lines.
///
/// # Errors
///
/// [`Error::Broken`] when it is none, or is not closed.
pub(super) fn array_rows(text: &str, take: &mut impl FnMut(Row)) -> Result<(), Error> {
    let broken = |error: serde_json::Error| Error::Broken {
        line: error.line(),
        problem: format!(
            "no JSON array of rows, as `jq -s` writes it and the name says: {}",
            without_line(&error)
        ),
    };
    // Rows are handed out while the array is read, so it must be whole.
    if each_row(text, &mut |_| {}).is_ok() {
        return each_row(text, take).map_err(broken);
    }
    let strict = strict_json(text);
    each_row(&strict, &mut |_| {}).map_err(broken)?;
    each_row(&strict, take).map_err(broken)
}

fn each_row(array: &str, take: &mut impl FnMut(Row)) -> Result<(), serde_json::Error> {
    let mut array = serde_json::Deserializer::from_str(array);
    (&mut array).deserialize_seq(Rows(take))?;
    array.end()
}

/// Hands the values of an array out, one at a time.
struct Rows<'t, F>(&'t mut F);

impl<'de, F: FnMut(Row)> Visitor<'de> for Rows<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while let Some(value) = values.next_element::<&RawValue>()? {
            // It is JSON, and read already; of halves of surrogate pairs it may be too broken.
            let row = row_of(value.get()).unwrap_or_else(|_| Item::of_url(value.get()).into());
            self.0(row);
        }
        Ok(())
    }
}
