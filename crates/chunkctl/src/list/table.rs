//! Rows of a table: CSV as RFC 4180 has it, TSV as it is written.

use super::{Doubt, Error, Nameless, Row, shown};
use crate::urls::{restored, told};
use chunk_handler::chunk::{
    ITEM_LIMIT, Item, Meta,
    source::{
        Content, delimiter_of, is_blank, is_web_url, lines, meant, place, read_meta, trimmed,
    },
};
use csv::StringRecord;
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
    /// A number that somebody's export put before each row; how many cells were left out.
    Nameless(usize),
    /// What `chunkctl urls` says of a URL beside the item.
    Told(String),
}

/// A table's first line.
#[derive(Debug)]
struct Head {
    columns: Vec<Column>,
    delimiter: char,
    /// Whether `chunkctl urls` wrote the table.
    is_told: bool,
}

impl Head {
    /// By its cells, in any case of the letters.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] for one without a column url, or with two columns of one name.
    fn new<'c>(
        (line, text, delimiter): (usize, &str, char),
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
            let between = match delimiter {
                '\t' => "tabs",
                ';' => "semicolons",
                _ => "commas",
            };
            return Err(broken(format!(
                "the table has no url column between {between} in its first line, which is `{}`; {}",
                shown(trimmed(text)),
                how_to_name(&names)
            )));
        }
        let is_told = told::is_table(&names);
        let column = |name: &&str| match Some(*name) {
            name if name == url => Column::Url,
            name if name == label => Column::Label,
            name if name == meta => Column::Meta,
            Some(name) if is_told && told::is_field(name) => Column::Told(name.to_owned()),
            Some(name) if !name.is_empty() => Column::Other(name.to_owned()),
            Some(_) | None => Column::Nameless(0),
        };
        Ok(Self { columns: names.iter().map(column).collect(), delimiter, is_told })
    }

    /// The row of some cells, which may be fewer than the head's, or more: those are kept by their
    /// number.
    fn row<'c>(&mut self, raw: &str, cells: impl Iterator<Item = &'c str>) -> Row {
        // Blanks around a caption are its own, as they are in JSON.
        let is_told = self.is_told;
        let is_none = |cell: &str| if is_told { cell.is_empty() } else { is_missing(cell) };
        let filled = |cell: &str| (!is_none(cell)).then(|| cell.to_owned());
        let (mut item, mut meta, mut others) = (Item::of_url(""), None, Vec::new());
        let mut fields = told::Fields::default();
        let mut n = 0;
        for (at, cell) in cells.enumerate() {
            n = at + 1;
            let cell = if is_told { restored(cell) } else { cell };
            match self.columns.get_mut(at) {
                Some(Column::Url) => trimmed(cell).clone_into(&mut item.url),
                Some(Column::Label) => item.label = filled(cell),
                Some(Column::Meta) => {
                    let value =
                        |text: String| read_meta(&text).unwrap_or_else(|_| Meta::of_text(&text));
                    meta = filled(cell).map(value).filter(|meta| meta.get() != "null");
                }
                Some(Column::Told(name)) => fields.take(name, cell),
                Some(Column::Other(_)) if is_told && cell.is_empty() => {}
                Some(Column::Other(name)) => others.push((name.clone(), Meta::of_text(cell))),
                None if !trimmed(cell).is_empty() => {
                    others.push((format!("column {n}"), Meta::of_text(cell)));
                }
                Some(Column::Nameless(left_out)) => {
                    *left_out += usize::from(!trimmed(cell).is_empty());
                }
                None => {}
            }
        }
        let head = self.columns.len();
        item.refused = fields.refused();
        // What is told beside an item does not count.
        if raw.len() > ITEM_LIMIT && !is_told {
            item = Item::too_large(&item.url, item.label.as_deref());
        } else {
            item.meta = Meta::with_others(meta, others);
        }
        let doubt = (n != head).then_some(Doubt::Cells { n, head });
        Row { item, doubt, told: fields.told() }
    }

    /// The columns without a name that had cells.
    fn nameless(&self) -> Vec<Nameless> {
        let of = |(column, kind): (usize, &Column)| match kind {
            Column::Nameless(cells) if *cells > 0 => Some(Nameless { column, cells: *cells }),
            Column::Nameless(_)
            | Column::Url
            | Column::Label
            | Column::Meta
            | Column::Other(_)
            | Column::Told(_) => None,
        };
        (1..).zip(&self.columns).filter_map(of).collect()
    }

    /// Whether a line inside a cell looks like a row, which the cell swallowed. A URL alone does not:
    /// captions have lines of that.
    fn is_row(&self, line: &str) -> bool {
        let url = self.url_of(line.split(self.delimiter)).unwrap_or_default();
        let has_cells = line.split(self.delimiter).count() >= self.columns.len().min(2);
        has_cells && is_web_url(url) && !url.contains(is_blank)
    }

    /// The cell in the column of URLs, if there are so many.
    fn url_of<'c>(&self, mut cells: impl Iterator<Item = &'c str>) -> Option<&'c str> {
        let at = self.columns.iter().position(|column| matches!(column, Column::Url))?;
        cells.nth(at).map(trimmed)
    }
}

/// What to do about a head without a column url.
fn how_to_name(names: &[&str]) -> String {
    let is_word = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "_-. ".contains(c));
    let is_like = |name: &&&str| name.to_ascii_lowercase().contains("url") && is_word(name);
    if names.iter().any(|name| is_web_url(name)) {
        return "write a line before it that names the columns, as url,label; a file of nothing but \
                URLs is .txt"
            .to_owned();
    }
    match names.iter().find(is_like) {
        Some(name) => format!("name the column `{}` url", shown(name)),
        None => {
            "the first line is to name the columns, with commas, semicolons or (.tsv) tabs between \
                 them, and the one of URLs is to be called url; take lines before it away"
                .to_owned()
        }
    }
}

/// Whether a cell says that there is nothing: blank, not a number as pandas and numpy write it, or the
/// null of Postgres and `MySQL`. Words, as NA and None, may be somebody's label.
fn is_missing(cell: &str) -> bool {
    matches!(trimmed(cell), "" | "NaN" | "nan" | "\\N")
}

/// The rows of a CSV, with what its first lines have between the names.
///
/// # Errors
///
/// [`Error::Broken`] for its head, and for a quote that nothing closes where it should.
pub(super) fn csv_rows(text: &str, take: &mut impl FnMut(Row)) -> Result<Vec<Nameless>, Error> {
    let delimiter = csv_delimiter(text);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if delimiter == ';' { b';' } else { b',' })
        .flexible(true)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut head: Option<Head> = None;
    let mut record = StringRecord::new();
    loop {
        let start = offset(reader.position());
        let broken = |problem| Error::Broken { line: line_of(text, start), problem };
        let more = reader.read_record(&mut record);
        if !more.map_err(|error| broken(format!("the table cannot be read: {error}")))? {
            return Ok(head.as_ref().map(Head::nameless).unwrap_or_default());
        }
        let raw = text.get(start..offset(reader.position())).unwrap_or_default();
        let raw = trimmed(raw);
        if raw.is_empty() || (head.is_none() && delimiter_of(raw).is_some()) {
            continue;
        }
        let is_head = head.is_none();
        let head = match &mut head {
            Some(head) => head,
            none => none.insert(Head::new((line_of(text, start), raw, delimiter), record.iter())?),
        };
        let is_quoted_well = !raw.contains('"') || is_well_quoted(raw, delimiter);
        // A table of our own is quoted as it must be, whatever lines its labels have.
        let swallows = || !head.is_told && swallows_rows(head, raw, &record);
        if raw.contains(['\n', '\r']) && (!is_quoted_well || swallows()) {
            return Err(broken(STRAY_QUOTE.to_owned()));
        }
        if !is_head {
            let mut row = head.row(raw, record.iter());
            row.doubt = row.doubt.or((!is_quoted_well).then_some(Doubt::Quote));
            take(row);
        }
    }
}

/// Excel writes semicolons where a comma is in numbers; it may say so in a line of its own.
fn csv_delimiter(text: &str) -> char {
    let first = lines(text).map(|(_, line)| line).find(|line| !trimmed(line).is_empty());
    let first = first.unwrap_or_default();
    let is_semicolons = Content::of_text(first) == Some(Content::Semicolons);
    delimiter_of(first).unwrap_or(if is_semicolons { ';' } else { ',' })
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
    let begun =
        |line: &str| head.is_row(line) && head.url_of(line.split(head.delimiter)) != Some(own);
    let is_cut = own.contains(['\n', '\r']) || lines(raw).any(|(_, line)| begun(line));
    is_cut || record.iter().any(inside)
}

/// Whether each quoted cell of a record is closed, just before the next cell.
fn is_well_quoted(raw: &str, delimiter: char) -> bool {
    let mut rest = raw;
    loop {
        let after = match rest.strip_prefix('"') {
            Some(quoted) => match after_quoted(quoted) {
                Some(after) => after,
                None => return false,
            },
            None => rest.find(delimiter).map_or("", |at| rest.split_at(at).1),
        };
        match after.strip_prefix(delimiter) {
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
pub(super) fn tsv_rows(text: &str, take: &mut impl FnMut(Row)) -> Result<Vec<Nameless>, Error> {
    let is_empty = |line: &str| line.chars().all(|c| c != '\t' && is_blank(c));
    let mut rows = lines(text).filter(|(_, line)| !is_empty(line));
    let Some((number, first)) = rows.next() else { return Ok(Vec::new()) };
    let names: Vec<Cow<'_, str>> = first.split('\t').map(unquoted).collect();
    let mut head = Head::new((number, first, '\t'), names.iter().map(Cow::as_ref))?;
    for (_, line) in rows {
        let cells: Vec<Cow<'_, str>> = line.split('\t').map(unquoted).collect();
        take(head.row(line, cells.iter().map(Cow::as_ref)));
    }
    Ok(head.nameless())
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
