//! How a file is written: what its name says, and what its content cannot be.

use super::Error;
use chunk_handler::chunk::source::Content;
use clap::ValueEnum;

/// How a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One URL a line.
    #[value(name = "txt")]
    Text,
    /// A JSON object a line.
    #[value(name = "jsonl")]
    JsonLines,
    /// One JSON array.
    #[value(name = "json")]
    JsonArray,
    /// A table with commas, or semicolons, and quotes.
    Csv,
    /// A table with tabs.
    Tsv,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// By the suffix of a file's name, but for `.gz`. None: it has none that is known.
    ///
    /// # Errors
    ///
    /// [`Error::NotRead`]
    pub(super) fn of_name(name: &str) -> Result<Option<Self>, Error> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
        Ok(match suffix {
            Some("txt") => Some(Self::Text),
            Some("jsonl" | "ndjson") => Some(Self::JsonLines),
            Some("json") => Some(Self::JsonArray),
            Some("csv") => Some(Self::Csv),
            Some("tsv") => Some(Self::Tsv),
            Some("parquet") => Some(Self::Parquet),
            Some("zip") => return Err(Error::NotRead("a ZIP archive")),
            Some("xlsx" | "xls") => return Err(Error::NotRead("a workbook")),
            Some(_) | None => None,
        })
    }

    /// The word that is kept with the job.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::JsonLines => "jsonl",
            Self::JsonArray => "json",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Parquet => "parquet",
        }
    }

    /// What the suffix means.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Text => "one URL a line (.txt)",
            Self::JsonLines => "JSON lines (.jsonl)",
            Self::JsonArray => "a JSON array (.json)",
            Self::Csv => "a table with commas or semicolons (.csv)",
            Self::Tsv => "a table with tabs (.tsv)",
            Self::Parquet => "Parquet (.parquet)",
        }
    }

    /// What a row with a URL looks like.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text => "one http(s) URL a line",
            Self::JsonLines => "an object with a key url in each line",
            Self::JsonArray => "an array of objects with a key url, or of URLs",
            Self::Csv | Self::Tsv | Self::Parquet => "a table whose column url holds http(s) URLs",
        }
    }
}

/// The format that a content certainly has. None: it is no list.
pub(super) fn certain(content: Content) -> Option<Format> {
    match content {
        Content::Text => Some(Format::Text),
        Content::JsonLines => Some(Format::JsonLines),
        Content::JsonArray => Some(Format::JsonArray),
        Content::Csv | Content::Semicolons | Content::Column => Some(Format::Csv),
        Content::Tsv => Some(Format::Tsv),
        Content::Foreign(_) => None,
    }
}

/// Whether a file may be what its name says. A table without a head is refused when its head is read.
pub(super) fn may_be(named: Format, content: Content) -> bool {
    let is_table = matches!(named, Format::Csv | Format::Tsv);
    match content {
        Content::Text | Content::Column if is_table => true,
        _ => certain(content) == Some(named),
    }
}

/// What to do with a file of other content than its name says.
pub(super) fn advice(content: Content) -> &'static str {
    match certain(content) {
        Some(Format::Text) => "name it .txt",
        Some(Format::JsonLines) => "name it .jsonl, if each line is a row",
        Some(Format::JsonArray) => "name it .json",
        Some(Format::Csv) => "name it .csv",
        Some(Format::Tsv) => "name it .tsv",
        Some(Format::Parquet) | None => super::READ,
    }
}
