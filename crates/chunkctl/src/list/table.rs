//! Rows of a table: CSV as RFC 4180 has it, TSV as it is written.

use super::{Error, shown};
use chunk_handler::chunk::{
    Item,
    source::{is_blank, is_web_url, lines, meant, place, read_json, trimmed},
};
use csv::StringRecord;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What a column holds.
#[derive(Debug)]
enum Column {
    Url,
    Label,
    /// JSON, or a text.
    Meta,
    /// A key of the meta.
    Other(String),
    /// A number that somebody's export put before each row.
    Nameless,
}

/// A table's first line.
#[derive(Debug)]
struct Head(Vec<Column>);

impl Head {
    /// By its cells, in any case of the letters.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] for one without a column url, or with two columns of one name.
    fn new<'c>(
        (line, text, between): (usize, &str, &str),
        cells: impl Iterator<Item = &'c str>,
    ) -> Result<Self, Error> {
        let names: Vec<&str> = cells.map(trimmed).collect();
        let broken = |problem| Error::Broken { line, problem };
        let mut named: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
        named.sort_unstable();
        if let Some(name) = named.windows(2).find(|pair| pair.first() == pair.last()) {
            let name = shown(name.first().copied().unwrap_or_default());
            return Err(broken(format!("two columns are called `{name}`; rename one of them")));
        }
        let meant = |name: &str| meant(names.iter().copied(), name);
        let (url, label, meta) = (meant("url"), meant("label"), meant("meta"));
        if url.is_none() {
            let line = shown(trimmed(text));
            return Err(broken(format!(
                "the table has no url column between {between} in its first line, which is `{line}`; \
                 name the column of URLs url"
            )));
        }
        let column = |name: &&str| match Some(*name) {
            name if name == url => Column::Url,
            name if name == label => Column::Label,
            name if name == meta => Column::Meta,
            Some(name) if !name.is_empty() => Column::Other(name.to_owned()),
            Some(_) | None => Column::Nameless,
        };
        Ok(Self(names.iter().map(column).collect()))
    }

    /// The item of a row, which may have fewer cells than the head, or more: those are kept by their
    /// number.
    fn item<'c>(&self, cells: impl Iterator<Item = &'c str>) -> Item {
        // Blanks around a caption are its own, as they are in JSON.
        let filled = |cell: &str| (!trimmed(cell).is_empty()).then(|| cell.to_owned());
        let (mut item, mut meta, mut others) = (Item::of_url(""), None, Map::new());
        for (at, cell) in cells.enumerate() {
            match self.0.get(at) {
                Some(Column::Url) => trimmed(cell).clone_into(&mut item.url),
                Some(Column::Label) => item.label = filled(cell),
                Some(Column::Meta) => {
                    let value = |text: String| read_json(&text).unwrap_or(Value::String(text));
                    meta = filled(cell).map(value);
                }
                Some(Column::Other(name)) => {
                    others.insert(name.clone(), cell.into());
                }
                None if !trimmed(cell).is_empty() => {
                    others.insert(format!("column {}", at + 1), cell.into());
                }
                Some(Column::Nameless) | None => {}
            }
        }
        item.with_meta(meta, others)
    }

    /// Whether a line inside a cell looks like a row, which the cell swallowed. A URL alone does not:
    /// captions have lines of that.
    fn is_row(&self, line: &str) -> bool {
        let url = self.url_of(line.split(',')).unwrap_or_default();
        let has_cells = line.split(',').count() >= self.0.len().min(2);
        has_cells && is_web_url(url) && !url.contains(is_blank)
    }

    /// The cell in the column of URLs, if there are so many.
    fn url_of<'c>(&self, mut cells: impl Iterator<Item = &'c str>) -> Option<&'c str> {
        let at = self.0.iter().position(|column| matches!(column, Column::Url))?;
        cells.nth(at).map(trimmed)
    }
}

/// The rows of a CSV.
///
/// # Errors
///
/// [`Error::Broken`] for its head, and for a quote that nothing closes where it should.
pub(super) fn csv_rows(text: &str, take: &mut impl FnMut(Item)) -> Result<(), Error> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
    let mut head: Option<Head> = None;
    let mut record = StringRecord::new();
    loop {
        let start = offset(reader.position());
        let broken = |problem| Error::Broken { line: line_of(text, start), problem };
        let more = reader.read_record(&mut record);
        if !more.map_err(|error| broken(format!("the table cannot be read: {error}")))? {
            return Ok(());
        }
        let raw = text.get(start..offset(reader.position())).unwrap_or_default();
        let raw = trimmed(raw);
        if raw.is_empty() {
            continue;
        }
        let is_head = head.is_none();
        let head = match &mut head {
            Some(head) => head,
            none => none.insert(Head::new((line_of(text, start), raw, "commas"), record.iter())?),
        };
        if raw.contains(['\n', '\r']) && swallows_rows(head, raw, &record) {
            return Err(broken(STRAY_QUOTE.to_owned()));
        }
        if !is_head {
            take(head.item(record.iter()));
        }
    }
}

const STRAY_QUOTE: &str = "a quote begins a cell that goes on over the next lines, and they look like \
    rows, or nothing closes it; write a quote inside a cell twice (\"\"), or save the table as .tsv \
    or .jsonl";

/// The line of the record that is read from an offset on, before which blank lines may be.
fn line_of(text: &str, start: usize) -> usize {
    let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
    let blank = after.len() - after.trim_start_matches(['\n', '\r']).len();
    place(text.get(..before.len() + blank).unwrap_or(before)).0
}

fn offset(position: &csv::Position) -> usize {
    usize::try_from(position.byte()).unwrap_or(usize::MAX)
}

/// Whether a record of several lines is several rows, after a quote that was meant as a character.
fn swallows_rows(head: &Head, raw: &str, record: &StringRecord) -> bool {
    let inside = |cell: &str| lines(cell).skip(1).any(|(_, line)| head.is_row(line));
    // The first line may be the row that was begun, with a URL of its own.
    let own = head.url_of(record.iter()).unwrap_or_default();
    let begun = |line: &str| head.is_row(line) && head.url_of(line.split(',')) != Some(own);
    let is_cut = own.contains(['\n', '\r']) || lines(raw).any(|(_, line)| begun(line));
    is_cut || record.iter().any(inside) || !is_well_quoted(raw)
}

/// Whether each quoted cell of a record is closed, just before the next cell.
fn is_well_quoted(raw: &str) -> bool {
    let mut rest = raw;
    loop {
        let after = match rest.strip_prefix('"') {
            Some(quoted) => match after_quoted(quoted) {
                Some(after) => after,
                None => return false,
            },
            None => rest.find(',').map_or("", |at| rest.split_at(at).1),
        };
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty(),
        }
    }
}

/// What follows on a quoted text, from behind its first quote on. None: nothing closes it.
fn after_quoted(quoted: &str) -> Option<&str> {
    let mut rest = quoted;
    loop {
        let (_, after) = rest.split_once('"')?;
        match after.strip_prefix('"') {
            Some(doubled) => rest = doubled,
            None => return Some(after),
        }
    }
}

/// The rows of a TSV: a line each, whatever quotes it has.
///
/// # Errors
///
/// [`Error::Broken`] for its head.
pub(super) fn tsv_rows(text: &str, take: &mut impl FnMut(Item)) -> Result<(), Error> {
    let is_empty = |line: &str| line.chars().all(|c| c != '\t' && is_blank(c));
    let mut rows = lines(text).filter(|(_, line)| !is_empty(line));
    let Some((number, first)) = rows.next() else { return Ok(()) };
    let names: Vec<Cow<'_, str>> = first.split('\t').map(unquoted).collect();
    let head = Head::new((number, first, "tabs"), names.iter().map(Cow::as_ref))?;
    for (_, line) in rows {
        let cells: Vec<Cow<'_, str>> = line.split('\t').map(unquoted).collect();
        take(head.item(cells.iter().map(Cow::as_ref)));
    }
    Ok(())
}

/// A cell without the quotes that it begins and ends with, if those inside are doubled.
fn unquoted(cell: &str) -> Cow<'_, str> {
    let inner = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('"') => Cow::Borrowed(inner),
        Some(inner) if !inner.replace("\"\"", "").contains('"') => {
            Cow::Owned(inner.replace("\"\"", "\""))
        }
        Some(_) | None => Cow::Borrowed(cell),
    }
}
