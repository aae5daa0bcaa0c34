//! Rows of a CSV, as RFC 4180 has it.

use super::{
    Error, Names, Take, Told,
    row::Doubt,
    table::Head,
    text::{MOST_OF_A_ROW, Place, Text},
};
use chunk_handler::chunk::source::{Content, delimiter_of, lines, trimmed};
use csv::StringRecord;
use std::io::{self, Read};

/// The text as bytes for the reader of records, of which those of the record that is being read are
/// kept: what it was written as is looked at.
#[derive(Debug)]
struct Kept<'t> {
    text: &'t mut Text,
    bytes: Vec<u8>,
    /// Where in all of the bytes those begin.
    offset: usize,
    /// Of those, where the record begins.
    record: usize,
    /// Of those, how many were handed out.
    given: usize,
    /// Where the record begins.
    place: Place,
    /// Why there are no more.
    error: Option<Error>,
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.bytes.len() {
            self.bytes.drain(..self.record);
            self.offset += self.record;
            self.given -= self.record;
            self.record = 0;
            if self.bytes.len() > MOST_OF_A_ROW {
                self.error = Some(self.broken(LONG_ROW.to_owned()));
            } else {
                match self.text.next() {
                    Ok(piece) => self.bytes.extend(piece.unwrap_or_default().as_bytes()),
                    Err(error) => self.error = Some(error),
                }
            }
            if self.error.is_some() {
                return Err(io::Error::other("see the error that is kept"));
            }
        }
        let rest = self.bytes.get(self.given..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        let (rest, _) = rest.split_at(n);
        buffer.split_at_mut(n).0.copy_from_slice(rest);
        self.given += n;
        Ok(n)
    }
}

impl Kept<'_> {
    /// The bytes from where the record begins up to an offset, which are characters.
    fn record(&self, end: usize) -> &str {
        let end = end.saturating_sub(self.offset);
        std::str::from_utf8(self.bytes.get(self.record..end).unwrap_or_default())
            .unwrap_or_default()
    }

    /// Goes on to the record that begins at an offset.
    fn next(&mut self, start: usize) {
        let end = start.saturating_sub(self.offset).min(self.bytes.len());
        let passed = self.bytes.get(self.record..end).unwrap_or_default();
        self.place.pass(std::str::from_utf8(passed).unwrap_or_default());
        self.record = end;
    }

    /// The line of the record, before which blank lines may be.
    fn line(&self) -> usize {
        let bytes = self.bytes.get(self.record..).unwrap_or_default();
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let blank = bytes.get(..blank).unwrap_or_default();
        let mut place = self.place.clone();
        place.pass(std::str::from_utf8(blank).unwrap_or_default());
        place.line
    }

    /// What is wrong with the record.
    fn broken(&self, problem: String) -> Error {
        Error::Broken { line: self.line(), problem }
    }
}

const STRAY_QUOTE: &str = "a quote begins a cell that goes on over the next lines, and they look like \
    rows, or nothing closes it; write a quote inside a cell twice (\"\"), or save the table as .tsv \
    or .jsonl";
const LONG_ROW: &str = "a quote begins a cell that goes on for more than 16 MiB, or a line is that \
    long; write a quote inside a cell twice (\"\"), or save the table as .tsv or .jsonl";

/// The rows of a CSV, with what its first lines have between the names.
///
/// # Errors
///
/// [`Error::Broken`] for its head, and for a quote that nothing closes where it should.
pub(super) fn csv_rows(text: &mut Text, names: &Names, take: &mut Take<'_>) -> Result<Told, Error> {
    let delimiter = csv_delimiter(text.start()?, names.columns.as_deref());
    let place = text.begin();
    let kept = Kept { text, bytes: Vec::new(), offset: 0, record: 0, given: 0, place, error: None };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(u8::try_from(delimiter).unwrap_or(b','))
        .flexible(true)
        .has_headers(false)
        .from_reader(kept);
    let columns = names.columns.as_ref();
    let mut head =
        columns.map(|columns| Head::of_columns(columns, delimiter, names)).transpose()?;
    let mut is_first = true;
    let mut record = StringRecord::new();
    loop {
        let start = offset(reader.position());
        reader.get_mut().next(start);
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(head.map(Head::told).unwrap_or_default()),
            Err(error) => {
                let problem = format!("the table cannot be read: {error}");
                let own = reader.get_mut().error.take();
                return Err(own.unwrap_or_else(|| reader.get_ref().broken(problem)));
            }
        }
        let kept = reader.get_ref();
        let raw = trimmed(kept.record(offset(reader.position())));
        if raw.is_empty() || (is_first && delimiter_of(raw).is_some()) {
            continue;
        }
        is_first = false;
        let is_head = head.is_none();
        let head = match &mut head {
            Some(head) => head,
            none => none.insert(Head::new((kept.line(), raw, delimiter), record.iter(), names)?),
        };
        let is_quoted_well = !raw.contains('"') || is_well_quoted(raw, delimiter);
        // A table of our own is quoted as it must be, whatever lines its captions have.
        let swallows = || !head.is_told && swallows_rows(head, raw, &record);
        if raw.contains(['\n', '\r']) && (!is_quoted_well || swallows()) {
            return Err(kept.broken(STRAY_QUOTE.to_owned()));
        }
        if !is_head {
            let mut row = head.row(raw, record.iter());
            row.doubt = row.doubt.or((!is_quoted_well).then_some(Doubt::Quote));
            if take(row).is_break() {
                return Ok(Told::default());
            }
        }
    }
}

/// Excel writes semicolons where a comma is in numbers; it may say so in a line of its own.
fn csv_delimiter(start: &str, columns: Option<&[String]>) -> char {
    let first = lines(start).map(|(_, line)| line).find(|line| !trimmed(line).is_empty());
    let first = first.unwrap_or_default();
    let is_semicolons = match columns {
        // Without a head the first row says it, by how many cells it has.
        Some(columns) => {
            let n = |delimiter: char| first.split(delimiter).count();
            n(';') == columns.len() && n(',') != columns.len()
        }
        None => Content::of_text(first) == Some(Content::Semicolons),
    };
    delimiter_of(first).unwrap_or(if is_semicolons { ';' } else { ',' })
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
