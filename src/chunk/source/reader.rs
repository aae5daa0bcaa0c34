//! The reader of a source blob: bytes in pieces of any length in, items out. What it holds beside the
//! items is one line.

use super::{
    Content, ListError, ListFormat, OtherContent, is_blank, is_web_url, read_row, too_large,
    trimmed,
};
use crate::chunk::{ITEM_LIMIT, Item};
use encoding_rs::{Decoder, UTF_8};

/// Bytes that are decoded at once.
const STEP: usize = 16 * 1024;
/// Bytes that are kept of the start of a blob, to say what it is.
const MAGIC: usize = 512;

/// A list that is being read.
pub(super) struct Reader {
    format: ListFormat,
    most_items: usize,
    most_bytes: usize,
    decoder: Decoder,
    magic: Vec<u8>,
    start: String,
    line: Line,
    bytes: usize,
    items: Vec<Item>,
    has_url: bool,
    /// None: there was no row yet.
    begins_with_json: Option<bool>,
}

/// A line, as far as it may be an item.
#[derive(Debug, Default)]
struct Line {
    text: String,
    is_cut: bool,
}

impl Line {
    fn push(&mut self, part: &str) {
        let part = match self.text.is_empty() {
            true => part.trim_start_matches(is_blank),
            false => part,
        };
        self.is_cut |= !trimmed(push_most(&mut self.text, part)).is_empty();
    }
}

/// Appends what of a part fits into [`ITEM_LIMIT`]; the rest comes back.
fn push_most<'p>(text: &mut String, part: &'p str) -> &'p str {
    let room = ITEM_LIMIT.saturating_sub(text.len());
    let (fits, rest) = part.split_at(part.floor_char_boundary(room));
    text.push_str(fits);
    rest
}

impl Reader {
    pub(super) fn new(format: ListFormat, most_items: usize, most_bytes: usize) -> Self {
        Self {
            format,
            most_items,
            most_bytes,
            // A byte order mark of UTF-16 makes it one of UTF-16.
            decoder: UTF_8.new_decoder(),
            magic: Vec::new(),
            start: String::new(),
            line: Line::default(),
            bytes: 0,
            items: Vec::new(),
            has_url: false,
            begins_with_json: None,
        }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), ListError> {
        let rest = MAGIC.saturating_sub(self.magic.len());
        self.magic.extend(piece.iter().take(rest));
        piece.chunks(STEP).try_for_each(|bytes| self.decode(bytes, false))
    }

    /// The items, all of the blob being there.
    pub(super) fn finish(mut self) -> Result<Vec<Item>, ListError> {
        self.decode(&[], true)?;
        self.end_line()?;
        let expected = match self.format {
            ListFormat::Text => Content::Text,
            ListFormat::JsonLines => Content::JsonLines,
        };
        let content = Content::of(&self.magic, &self.start).filter(|found| *found != expected);
        let is_table = matches!(content, Some(Content::Csv | Content::Semicolons | Content::Tsv));
        // What has a URL is read as it always was. The rows of a table only look as if they were URLs.
        if self.has_url && !is_table {
            return Ok(self.items);
        }
        let is_json = self.format != ListFormat::JsonLines || self.begins_with_json != Some(false);
        match content.or((!is_json).then_some(Content::Foreign("no JSON"))) {
            Some(content) => Err(ListError::OtherContent(OtherContent { expected, content })),
            None => Ok(self.items),
        }
    }

    /// What is no text is replaced: a line with a broken byte keeps its place, and the others their
    /// URLs.
    fn decode(&mut self, bytes: &[u8], is_last: bool) -> Result<(), ListError> {
        let most = self.decoder.max_utf8_buffer_length(bytes.len());
        let mut text = String::with_capacity(most.unwrap_or(4 * STEP));
        let (_, _, _) = self.decoder.decode_to_string(bytes, &mut text, is_last);
        push_most(&mut self.start, &text);
        for part in text.split_inclusive(['\n', '\r']) {
            self.line.push(part);
            // Between CR and LF there is nothing, which is no item.
            if part.ends_with(['\n', '\r']) {
                self.end_line()?;
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), ListError> {
        let Line { text, is_cut } = std::mem::take(&mut self.line);
        let row = trimmed(&text);
        if row.is_empty() {
            return Ok(());
        }
        self.begins_with_json.get_or_insert_with(|| is_cut || read_row(row).is_ok());
        let item = if is_cut { too_large(row) } else { self.format.item(row) };
        self.bytes += item.len();
        if self.items.len() >= self.most_items || self.bytes > self.most_bytes {
            return Err(ListError::TooLarge);
        }
        self.has_url = self.has_url || is_web_url(&item.url);
        self.items.push(item);
        Ok(())
    }
}
