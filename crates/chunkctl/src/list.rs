//! Reading a submitted file: a list of URLs is understood, or refused with what it is.

mod format;
mod json;
mod row;
mod table;
mod unpack;

pub(crate) use format::Format;
pub(crate) use row::{Doubt, Nameless, Row};

use chunk_handler::{
    chunk::source::{Content, EncodingError, decode, lines, trimmed},
    redact::bare_url,
};
use std::borrow::Cow;

/// Why a file is no list of a job's URLs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What is compressed in it does not come out, or is too much.
    #[error("the file {0}")]
    Packed(String),
    /// Its bytes are no text.
    #[error("the file is no text: {0}")]
    Encoding(EncodingError),
    /// Its content is certainly of another kind than its name says, or of one that is not read.
    #[error("the name says {named}, and the content is {content}; {}", format::advice(*content))]
    OtherContent {
        /// By the suffix.
        named: &'static str,
        /// For certain.
        content: Content,
    },
    /// A suffix of files that are not read.
    #[error("{0} is not read; {READ}")]
    NotRead(&'static str),
    /// Neither the name nor the first line tells.
    #[error(
        "neither the suffix of the name nor the first line, `{0}`, says what the list is; {READ}, and \
         of stdin the first line must say it: give the file by its name"
    )]
    Unknown(String),
    /// The structure is broken: what of it is a row cannot be told.
    #[error("line {line}: {problem}")]
    Broken {
        /// From 1.
        line: usize,
        /// What is wrong there, and what to do.
        problem: String,
    },
    /// Nothing but blanks.
    #[error("the file has no URL")]
    Empty,
    /// Rows, and none that could be downloaded.
    #[error(
        "no row of the file has an http(s) URL; its first line is `{first}`, and expected is {expected}"
    )]
    NoUrl {
        /// As it may be shown.
        first: String,
        /// How the file was read.
        expected: &'static str,
    },
}

/// What can be done with a file that is none of them.
const READ: &str =
    "a list is .txt, .jsonl or .ndjson, .json (an array), .csv or .tsv, each also as .gz";
/// What a name says that has no known suffix.
const NOTHING: &str = "nothing";
/// What is shown of a line, in characters.
const SHOWN: usize = 100;

/// A file as text, of which is known how to read it.
#[derive(Debug)]
pub(crate) struct List<'a> {
    /// How it is read.
    pub(crate) format: Format,
    text: Cow<'a, str>,
}

impl<'a> List<'a> {
    /// A file by its name; `-` is one without a suffix.
    ///
    /// # Errors
    ///
    /// [`Error::Packed`], [`Error::Encoding`], [`Error::OtherContent`], [`Error::NotRead`],
    /// [`Error::Unknown`], or [`Error::Empty`].
    pub(crate) fn open(name: &str, bytes: &'a [u8]) -> Result<Self, Error> {
        let named = Format::of_name(name)?;
        let text = match unpack::unpacked(bytes)? {
            Cow::Borrowed(bytes) => text_of(named, bytes)?,
            Cow::Owned(bytes) => Cow::Owned(owned_text_of(named, bytes)?),
        };
        let first = first_line(&text).ok_or(Error::Empty)?;
        let content = Content::of_text(&text);
        let format = match (named, content) {
            (Some(named), Some(content)) if !format::may_be(named, content) => {
                return Err(Error::OtherContent { named: named.words(), content });
            }
            (Some(named), _) => Some(named),
            (None, Some(content @ Content::Foreign(_))) => {
                return Err(Error::OtherContent { named: NOTHING, content });
            }
            (None, content) => content.and_then(format::certain),
        };
        let format = format.ok_or_else(|| Error::Unknown(shown(first)))?;
        Ok(Self { format, text })
    }

    /// Hands each row out that is not blank, in order; also one that has no URL. What comes back are
    /// columns without a name, whose cells are in no row.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`]
    pub(crate) fn rows(&self, take: &mut impl FnMut(Row)) -> Result<Vec<Nameless>, Error> {
        match self.format {
            Format::Text => {
                let rows = lines(&self.text).map(|(_, line)| trimmed(line));
                rows.filter(|row| !row.is_empty()).for_each(|row| take(Row::of_text(row)));
            }
            Format::JsonLines => json::line_rows(&self.text, take)?,
            Format::JsonArray => json::array_rows(&self.text, take)?,
            Format::Csv => return table::csv_rows(&self.text, take),
            Format::Tsv => return table::tsv_rows(&self.text, take),
        }
        Ok(Vec::new())
    }

    /// The refusal of a list of which no row has an http(s) URL.
    pub(crate) fn without_url(&self) -> Error {
        let first = first_line(&self.text).map(shown).unwrap_or_default();
        Error::NoUrl { first, expected: self.format.expected() }
    }
}

/// The text of bytes, unless they are certainly something else.
fn text_of(named: Option<Format>, bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    if let Some(content) = Content::of_bytes(bytes) {
        let named = named.map_or(NOTHING, Format::words);
        return Err(Error::OtherContent { named, content });
    }
    decode(bytes).map_err(Error::Encoding)
}

/// The same, in the place of the bytes: of a gigabyte there are not two.
fn owned_text_of(named: Option<Format>, mut bytes: Vec<u8>) -> Result<String, Error> {
    let mark = match text_of(named, &bytes)? {
        Cow::Owned(text) => return Ok(text),
        Cow::Borrowed(text) => bytes.len() - text.len(),
    };
    bytes.drain(..mark);
    // It was looked at above.
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

/// The first line that is not blank.
fn first_line(text: &str) -> Option<&str> {
    lines(text).map(|(_, line)| trimmed(line)).find(|line| !line.is_empty())
}

/// What people may see of a row or line: its start, without what of a URL is secret, and with tabs and
/// the like as escapes. The parser of URLs would drop those.
pub(crate) fn shown(text: &str) -> String {
    let mut bare = String::new();
    for part in text.split_inclusive(char::is_control) {
        let url = part.trim_end_matches(char::is_control);
        // A comment is no fragment.
        bare.push_str(&if url.starts_with('#') { url.to_owned() } else { bare_url(url) });
        bare.extend(part.chars().skip(url.chars().count()).flat_map(char::escape_debug));
    }
    let start: String = bare.chars().take(SHOWN).collect();
    let rest = if start.len() < bare.len() { "..." } else { "" };
    start + rest
}

#[cfg(test)]
mod tests;
