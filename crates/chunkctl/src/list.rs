//! Reading submitted files: a list of URLs is understood, or refused with what it is. Files are read
//! in pieces, and memory does not grow with them.

mod csv;
mod format;
mod json;
mod names;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
mod source;
mod table;
mod text;
mod tsv;
mod unpack;

pub(crate) use format::Format;
pub(crate) use names::{Chosen, Field, Names, SetAside};
pub(crate) use row::{Doubt, Nameless, Row};
pub(crate) use source::{Listed, Source};

use crate::progress::Progress;
use chunk_handler::{
    chunk::source::{Content, lines, trimmed},
    redact::bare_url,
};
use std::{fs::File, io, ops::ControlFlow};
use text::{EncodingError, Text};
use unpack::Unpacked;

/// Why a file is no list of a job's URLs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What is compressed in it does not come out, or is too much.
    #[error("the file {0}")]
    Packed(String),
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Read(io::Error),
    /// It is Parquet, and not to be read.
    #[error("the Parquet file {0}")]
    Parquet(String),
    /// Options that name columns, for a list that has none.
    #[error("{option} names a column of a table, and the list is {what}")]
    NoColumns {
        /// The option.
        option: &'static str,
        /// How the list is read.
        what: &'static str,
    },
    /// Two options that name one column or key.
    #[error("{0} and {1} name one column or key, and it can mean one thing")]
    OneColumn(&'static str, &'static str),
    /// Of several files one.
    #[error("{name}: {error}")]
    InFile {
        /// Its name.
        name: String,
        /// What is wrong with it.
        error: Box<Error>,
    },
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
         of stdin the first line must say it: say it with --format, or give the file by its name"
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
    #[error("the file has no URL; a command that was to write it says why it did not")]
    Empty,
    /// Rows, and none that could be downloaded.
    #[error(
        "no row of the file has an http(s) URL; {}expected is {expected}",
        if first.is_empty() { String::new() } else { format!("its first line is `{first}`, and ") }
    )]
    NoUrl {
        /// As it may be shown; empty: it has no lines.
        first: String,
        /// How the file was read.
        expected: &'static str,
    },
}

/// What can be done with a file that is none of them.
const READ: &str = "a list is .txt, .jsonl or .ndjson, .json (an array), .csv or .tsv, each also as .gz, or .parquet";
/// What a name says that has no known suffix.
const NOTHING: &str = "nothing";
/// What is shown of a line, in characters.
const SHOWN: usize = 100;

/// Takes a row, and says whether more are wanted.
pub(crate) type Take<'t> = dyn FnMut(Row) -> ControlFlow<()> + 't;

/// What is to be said of the columns of a list.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Columns without a name, whose cells are in no row.
    pub(crate) nameless: Vec<Nameless>,
    /// Columns that mean the same as a better one.
    pub(crate) set_aside: Vec<SetAside>,
}

/// A file of which is known how to read it.
#[derive(Debug)]
pub(crate) struct List<'n> {
    /// How it is read.
    pub(crate) format: Format,
    names: &'n Names,
    /// Its first line, for text.
    first: String,
    text: Text,
    /// Where Parquet is read from, which begins at its end.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "nothing reads Parquet"))]
    file: File,
}

impl<'n> List<'n> {
    /// A file by its name; `-` is one without a suffix. A format that is told counts more than name and
    /// content.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Packed`], [`Error::Encoding`], [`Error::OtherContent`],
    /// [`Error::NotRead`], [`Error::NoColumns`], [`Error::OneColumn`] or [`Error::Unknown`].
    pub(crate) fn open(
        name: &str,
        file: File,
        told: Option<Format>,
        names: &'n Names,
        progress: Progress,
    ) -> Result<Self, Error> {
        let named = if told.is_some() { told } else { Format::of_name(name)? };
        let again = file.try_clone().map_err(Error::Read)?;
        let bytes = Unpacked::open(file, progress).map_err(Error::Read)?;
        let is_packed = bytes.is_packed();
        let mut text = Text::open(bytes)?;
        if is_packed && text.first_bytes().starts_with(&unpack::GZIP) {
            let problem = "is compressed twice, gzip inside gzip; unpack it once";
            return Err(Error::Packed(problem.to_owned()));
        }
        let is_parquet = is_parquet(named, text.first_bytes());
        let format = match is_parquet {
            true if is_packed => {
                let problem = "is Parquet inside gzip; unpack it, for Parquet is compressed itself";
                return Err(Error::Packed(problem.to_owned()));
            }
            true => Some(Format::Parquet),
            false => format_of(named, told.is_some(), &mut text)?,
        };
        let first = if is_parquet { "" } else { text.start()? };
        let first = first_line(first).map(shown).unwrap_or_default();
        let is_blank = first.is_empty() && !is_parquet;
        let format = format.or(is_blank.then_some(Format::Text));
        let format = format.ok_or_else(|| Error::Unknown(first.clone()))?;
        may_have(format, names)?;
        Ok(Self { format, names, first, text, file: again })
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_blank(&self) -> bool {
        self.first.is_empty() && self.format != Format::Parquet
    }

    /// Hands each row out that is not blank, in order; also one that has no URL. What comes back is the
    /// SHA-256 of the file, too.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Encoding`], [`Error::Packed`], [`Error::Parquet`], [`Error::Read`].
    pub(crate) fn rows(mut self, take: &mut Take<'_>) -> Result<(Told, [u8; 32]), Error> {
        let told = match self.format {
            _ if self.is_blank() => Told::default(),
            Format::Parquet => return self.parquet_rows(take),
            Format::Csv => csv::csv_rows(&mut self.text, self.names, take)?,
            Format::Tsv => tsv::tsv_rows(&mut self.text, self.names, take)?,
            Format::Text => {
                self.text.lines(|_, line| match trimmed(line) {
                    "" => Ok(ControlFlow::Continue(())),
                    row => Ok(take(Row::of_text(row))),
                })?;
                Told::default()
            }
            Format::JsonLines => {
                json::line_rows(&mut self.text, self.names, take)?;
                Told::default()
            }
            Format::JsonArray => {
                json::array_rows(&mut self.text, self.names, take)?;
                Told::default()
            }
        };
        Ok((told, self.text.into_sha256()?))
    }

    #[cfg(feature = "parquet")]
    fn parquet_rows(self, take: &mut Take<'_>) -> Result<(Told, [u8; 32]), Error> {
        let sha256 = self.text.into_sha256()?;
        Ok((parquet::parquet_rows(self.file, self.names, take)?, sha256))
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet_rows(self, _take: &mut Take<'_>) -> Result<(Told, [u8; 32]), Error> {
        Err(Error::NotRead("Parquet"))
    }

    /// The refusal of a list of which no row has an http(s) URL.
    pub(crate) fn without_url(format: Format, first: &str) -> Error {
        Error::NoUrl { first: first.to_owned(), expected: format.expected() }
    }

    /// Its first line that is not blank, as it may be shown.
    pub(crate) fn first(&self) -> &str {
        &self.first
    }
}

/// Whether a file is Parquet: by its first bytes, and unless it is said to be something else.
fn is_parquet(named: Option<Format>, first: &[u8]) -> bool {
    match named {
        // The second has all of its metadata encrypted, which is told when it is read.
        Some(Format::Parquet) => first.starts_with(b"PAR1") || first.starts_with(b"PARE"),
        Some(_) => false,
        None => first.starts_with(b"PAR1"),
    }
}

/// How a text is read, by what is said of it and by its content. None: neither tells.
fn format_of(
    named: Option<Format>,
    is_told: bool,
    text: &mut Text,
) -> Result<Option<Format>, Error> {
    let name = named.map_or(NOTHING, Format::words);
    if let Some(content) = Content::of_bytes(text.first_bytes()) {
        return Err(Error::OtherContent { named: name, content });
    }
    let content = Content::of_text(text.start()?);
    match (named, content) {
        (Some(Format::Parquet), None) => {
            Err(Error::Parquet("is broken: it does not begin with PAR1".to_owned()))
        }
        (Some(named), Some(content))
            if named == Format::Parquet || !is_told && !format::may_be(named, content) =>
        {
            Err(Error::OtherContent { named: name, content })
        }
        (Some(named), _) => Ok(Some(named)),
        (None, Some(content @ Content::Foreign(_))) => {
            Err(Error::OtherContent { named: NOTHING, content })
        }
        (None, content) => Ok(content.and_then(format::certain)),
    }
}

/// Whether options that name columns mean something.
fn may_have(format: Format, names: &Names) -> Result<(), Error> {
    let what = format.words();
    if let Some((one, other)) = names.twice(&[]) {
        return Err(Error::OneColumn(one.option, other.option));
    }
    if let Some(chosen) = names.chosen.first()
        && format == Format::Text
    {
        return Err(Error::NoColumns { option: chosen.option, what });
    }
    if names.columns.is_some() && !matches!(format, Format::Csv | Format::Tsv) {
        return Err(Error::NoColumns { option: "--columns", what });
    }
    Ok(())
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
pub(crate) mod tests;
