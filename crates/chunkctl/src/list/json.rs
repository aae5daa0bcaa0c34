//! Rows of JSON: a value a line, or those of one array.

use super::Error;
use chunk_handler::chunk::{
    Item,
    source::{item_of, lines, read_json, strict_json, trimmed},
};
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// The rows of JSON lines. A value without a URL is a row all the same, with its text in place of one.
///
/// # Errors
///
/// [`Error::Broken`] for a line that is no JSON: where the next row begins cannot be told.
pub(super) fn line_rows(text: &str, take: &mut impl FnMut(Item)) -> Result<(), Error> {
    let rows = lines(text).map(|(line, row)| (line, trimmed(row)));
    for (line, row) in rows.filter(|(_, row)| !row.is_empty()) {
        let value = read_json::<Value>(row).map_err(|error| Error::Broken {
            line,
            problem: format!(
                "no JSON, and each line is to hold an object: {}",
                without_line(&error)
            ),
        })?;
        take(item_of(value).map_or_else(|_| Item::of_url(row), without_blanks));
    }
    Ok(())
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
pub(super) fn array_rows(text: &str, take: &mut impl FnMut(Item)) -> Result<(), Error> {
    let broken = |error: serde_json::Error| Error::Broken {
        line: error.line(),
        problem: format!("no JSON array, as the name says: {}", without_line(&error)),
    };
    // Rows are handed out while the array is read, so it must be whole.
    if each_row(text, &mut |_| {}).is_ok() {
        return each_row(text, take).map_err(broken);
    }
    let strict = strict_json(text);
    each_row(&strict, &mut |_| {}).map_err(broken)?;
    each_row(&strict, take).map_err(broken)
}

fn each_row(array: &str, take: &mut impl FnMut(Item)) -> Result<(), serde_json::Error> {
    let mut array = serde_json::Deserializer::from_str(array);
    (&mut array).deserialize_seq(Rows(take))?;
    array.end()
}

/// Hands the values of an array out, one at a time.
struct Rows<'t, F>(&'t mut F);

impl<'de, F: FnMut(Item)> Visitor<'de> for Rows<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while let Some(value) = values.next_element::<Value>()? {
            let text = |value: Value| Item::of_url(value.to_string());
            self.0(item_of(value).map_or_else(text, without_blanks));
        }
        Ok(())
    }
}
