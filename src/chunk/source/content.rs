//! What the content of a list certainly is, whatever its name says.

use super::{
    Field,
    json::{members, mended},
    lines, trimmed,
};
use std::fmt;

/// A kind of content that nothing else looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The first line is an http(s) URL.
    Text,
    /// The first line is a JSON object.
    JsonLines,
    /// A JSON array.
    JsonArray,
    /// The first line names a column of URLs, as [`Field::Url`], between commas.
    Csv,
    /// The same between semicolons.
    Semicolons,
    /// The same between tabs.
    Tsv,
    /// The first line is nothing but such a name: a table of one column.
    Column,
    /// No list; with a word for it.
    Foreign(&'static str),
}

/// What files of other kinds begin with.
const MAGIC: [(&[u8], &str); 20] = [
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"PK\x03\x04", "a ZIP archive, or a workbook (.xlsx)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"PK\x07\x08", "a ZIP archive in parts"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document or workbook of Office 97 (.xls)"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"Obj\x01", "Avro"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"%PDF-", "a PDF"),
    (b"{\\rtf", "a document in RTF"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x89PNG", "a picture"),
    (b"GIF8", "a picture"),
];

/// What a page or document in HTML or XML begins with.
const MARKUP: [&str; 9] =
    ["<!doctype", "<html", "<head", "<body", "<?xml", "<!--", "<urlset", "<rss", "<error"];

/// Bytes of the first line that are looked at for a zero.
const FIRST: usize = 256;

impl Content {
    /// What bytes, and the text that they are, certainly hold; none: nothing that is certain.
    pub fn of(bytes: &[u8], text: &str) -> Option<Self> {
        Self::of_bytes(bytes).or_else(|| Self::of_text(text))
    }

    /// What bytes certainly are, if they are no text.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let is_tar = bytes.get(257..262) == Some(b"ustar");
        let magic = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic));
        let word = magic.map(|(_, word)| *word).or(is_tar.then_some("a tar archive"));
        word.or_else(|| other_text(bytes)).map(Self::Foreign)
    }

    /// What a text certainly is.
    pub fn of_text(text: &str) -> Option<Self> {
        let (_, line) = lines(text).find(|(_, line)| !trimmed(line).is_empty())?;
        let line = trimmed(line);
        if MARKUP.iter().any(|start| starts_with(line, start)) {
            return Some(Self::Foreign("a page in HTML or XML"));
        }
        if starts_with(line, "http://") || starts_with(line, "https://") {
            return Some(Self::Text);
        }
        if let Some(inner) = trimmed(text).strip_prefix('[') {
            let is_array = trimmed(inner).starts_with(['{', '"', '[', ']']);
            return is_array.then_some(Self::JsonArray);
        }
        if line.starts_with('{') {
            let is_of_columns = mended(line, is_of_columns).ok()?;
            let is_all = line.len() == trimmed(text).len();
            return Some(match is_all && is_of_columns {
                // What pandas writes when it is not asked for rows.
                true => Self::Foreign(
                    "one JSON object without a url (of pandas, write with orient=\"records\")",
                ),
                false => Self::JsonLines,
            });
        }
        of_head(line)
    }
}

/// A text in an encoding that is not read: no UTF-8 has a zero byte, and text in UTF-16 has one in its
/// first character.
fn other_text(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\xff\xfe\0\0") || bytes.starts_with(b"\0\0\xfe\xff") {
        return Some("text in UTF-32 (save it as UTF-8)");
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return None;
    }
    let mut first_line = bytes.iter().take(FIRST).take_while(|byte| !b"\n\r".contains(byte));
    let has_zero = first_line.any(|byte| *byte == 0);
    has_zero.then_some("no text, or UTF-16 without a byte order mark (save it as UTF-8)")
}

/// Whether an object has lists or objects, and no URL.
fn is_of_columns(object: &str) -> Result<bool, serde_json::Error> {
    let (mut has_url, mut has_columns) = (false, false);
    members(object, |key, value| {
        has_columns |= value.get().starts_with(['{', '[']);
        has_url |= is_url_name(&key) && value.get().starts_with('"');
    })?;
    Ok(has_columns && !has_url)
}

fn is_url_name(name: &str) -> bool {
    Field::Url.names().iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Of a table's first line.
fn of_head(line: &str) -> Option<Content> {
    let is_url = |cell: &str| is_url_name(trimmed(trimmed(cell).trim_matches('"')));
    if is_url(line) {
        return Some(Content::Column);
    }
    let has_url = |delimiter: char| line.split(delimiter).any(is_url);
    match (has_url('\t'), has_url(','), has_url(';'), delimiter_of(line)) {
        (true, _, _, _) | (_, _, _, Some('\t')) => Some(Content::Tsv),
        (_, true, _, _) | (_, _, _, Some(',')) => Some(Content::Csv),
        (_, _, true, _) | (_, _, _, Some(_)) => Some(Content::Semicolons),
        _ => None,
    }
}

/// The delimiter that the line `sep=;` before a table's head names, as Excel writes and reads it. A tab
/// is a blank: nothing is left of it.
pub fn delimiter_of(line: &str) -> Option<char> {
    let line = trimmed(trimmed(line).trim_matches('"'));
    let delimiter = line.strip_prefix("sep=").or_else(|| line.strip_prefix("SEP="))?;
    if delimiter.is_empty() {
        return Some('\t');
    }
    [',', ';'].into_iter().find(|known| delimiter.chars().eq([*known]))
}

/// Whether a text begins with another, in any case.
fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "one URL a line",
            Self::JsonLines => "JSON lines",
            Self::JsonArray => "a JSON array",
            Self::Csv => "a table with commas (CSV)",
            Self::Semicolons => "a table with semicolons (CSV)",
            Self::Tsv => "a table with tabs (TSV)",
            Self::Column => "a table of one column",
            Self::Foreign(word) => word,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certain_content_is_known() {
        let content = |text: &str| Content::of(text.as_bytes(), text);
        for (text, expected) in [
            ("\n HTTPS://a,b\tc\n", Content::Text),
            ("{\"a\":NaN}\n{", Content::JsonLines),
            ("{\"URL\":\"http://a\"}", Content::JsonLines),
            ("\u{feff}[\n {\"url\":1}]", Content::JsonArray),
            ("[]", Content::JsonArray),
            ("id, \"URL\" ,x\n", Content::Csv),
            ("id\tUrl\tx,url\n", Content::Tsv),
            ("Image_URL,x\n", Content::Csv),
            ("{\"uri\":\"http://a\",\"k\":[1]}", Content::JsonLines),
            ("a;url", Content::Semicolons),
            ("sep=;\nurl;x", Content::Semicolons),
            ("\"sep=,\"\nid", Content::Csv),
            ("sep=\t\nid", Content::Tsv),
            ("\"sep=\t\"\nid", Content::Tsv),
            ("\"Url\"\n", Content::Column),
        ] {
            assert_eq!(content(text), Some(expected), "{text}");
        }
        for text in ["", "[a](http://a)", "{\n\"url\": 1}", "urls", "sep=:", "<http://a>", "no url"]
        {
            assert_eq!(content(text), None, "{text}");
        }
        for text in
            ["<!DOCTYPE html>", "\n<?xml version=\"1.0\"?>", "PK\u{3}\u{4}", "PAR1", "%PDF-1.4"]
        {
            assert!(matches!(content(text), Some(Content::Foreign(_))), "{text}");
        }
        for bytes in [b"h\0t\0\n\0", b"\0h\0t\0\n", b"\xff\xfe\0\0h\0", b"\0\0\xfe\xff\0h"] {
            assert!(matches!(Content::of_bytes(bytes), Some(Content::Foreign(_))), "{bytes:?}");
        }
        for bytes in [&b"\xff\xfeh\0"[..], b"\xfe\xff\0h", b"http://a\n\0"] {
            assert_eq!(Content::of_bytes(bytes), None, "{bytes:?}");
        }
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Content::of_bytes(&tar), Some(Content::Foreign("a tar archive")));
    }
}
