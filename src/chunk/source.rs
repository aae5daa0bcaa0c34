//! Lists of URLs: what of reading them is the same for a blob of the source container and for a file
//! that is submitted, and the reader of blobs.
//!
//! `chunkctl` writes its blobs in one form, JSON lines with `url`, `label` and `meta`; a release
//! must read them as those before it did.

mod content;
mod json;
mod text;

pub use content::Content;
pub use json::{item_of, meant, read_json, strict_json};
pub use text::{EncodingError, decode, is_blank, lines, place, trimmed};

use super::Item;
use serde_json::{Map, Value};
use url::Url;

/// How a blob of the source container is written, by its suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListFormat {
    /// One URL a line.
    Text,
    /// One JSON object a line: `{url, label?, meta?, …}`.
    JsonLines,
}

/// A blob without one http(s) URL whose content is certainly of another kind than its name says.
#[derive(Debug, thiserror::Error)]
#[error("the source blob should be {expected}, and is {content}")]
pub(crate) struct OtherContent {
    expected: Content,
    content: Content,
}

impl ListFormat {
    /// By the name's suffix; anything but `.jsonl` is text.
    pub(crate) fn of(name: &str) -> Self {
        if name.ends_with(".jsonl") { Self::JsonLines } else { Self::Text }
    }

    /// The first `limit` items. Every line that is not blank is one; none is dropped: a line that is
    /// no object with a URL becomes a URL that is refused when it is fetched.
    ///
    /// # Errors
    ///
    /// [`OtherContent`]
    pub(crate) fn read(self, bytes: &[u8], limit: usize) -> Result<Vec<Item>, OtherContent> {
        // A line with a broken byte keeps its place, and the others their URLs.
        let text = decode(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes));
        let rows = lines(&text).map(|(_, line)| trimmed(line)).filter(|line| !line.is_empty());
        let items: Vec<Item> = rows.take(limit).map(|line| self.item(line)).collect();
        let expected = match self {
            Self::Text => Content::Text,
            Self::JsonLines => Content::JsonLines,
        };
        // What has a URL is read as it always was.
        if items.iter().any(|item| is_web_url(&item.url)) {
            return Ok(items);
        }
        match Content::of(bytes, &text) {
            Some(content) if content != expected => Err(OtherContent { expected, content }),
            Some(_) | None => Ok(items),
        }
    }

    fn item(self, line: &str) -> Item {
        match self {
            Self::Text => Item::of_url(line),
            Self::JsonLines => {
                let item = read_json(line).ok().and_then(|value| item_of(value).ok());
                item.unwrap_or_else(|| Item::of_url(line))
            }
        }
    }
}

/// Whether a text is a URL of the web: what is none is certainly refused. The address guard refuses
/// more than that.
pub fn is_web_url(text: &str) -> bool {
    let is_web = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    !text.contains(char::is_control) && Url::parse(text).is_ok_and(is_web)
}

impl Item {
    /// An item of nothing but a URL.
    pub fn of_url(url: impl Into<String>) -> Self {
        Self { url: url.into(), label: None, meta: None }
    }

    /// The item with its meta, which takes in what else was said of the URL; a key of the meta wins.
    pub fn with_meta(mut self, meta: Option<Value>, mut others: Map<String, Value>) -> Self {
        self.meta = match meta {
            meta if others.is_empty() => meta,
            None => Some(Value::Object(others)),
            Some(Value::Object(own)) => {
                others.extend(own);
                Some(Value::Object(others))
            }
            Some(other) => {
                others.insert("meta".to_owned(), other);
                Some(Value::Object(others))
            }
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(name: &str, bytes: &[u8]) -> Vec<String> {
        let items = ListFormat::of(name).read(bytes, 100).unwrap();
        items.into_iter().map(|item| item.url).collect()
    }

    #[test]
    fn no_line_is_dropped_but_blank_ones() {
        let text = "\u{feff}http://a/1\r\n\n  http://a/2  \nnot a url\rhttp://a/3";
        let expected = ["http://a/1", "http://a/2", "not a url", "http://a/3"];
        assert_eq!(urls("x.txt", text.as_bytes()), expected);
        let units = text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert_eq!(urls("x.txt", &units), expected);
        assert_eq!(urls("x.txt", b"http://a/\xe9\nhttp://b"), ["http://a/\u{fffd}", "http://b"]);
        let lines =
            "{\"url\":\"http://a\",\"label\":7,\"meta\":{\"k\":1}}\n{broken\n[1]\n{\"x\":1}\n";
        let items = ListFormat::of("x.jsonl").read(lines.as_bytes(), 100).unwrap();
        assert_eq!(items.len(), 4);
        assert_eq!(items[0].label.as_deref(), Some("7"));
        assert_eq!(items[1].url, "{broken");
        assert_eq!(items[3].url, "{\"x\":1}");
    }

    /// What any release of the command line wrote: byte for byte the items that it meant.
    #[test]
    fn lists_of_the_command_line_are_read_as_they_were_written() {
        for (url, label, meta) in [
            ("http://a/1", None, None),
            (" http://a/2 ", Some(""), Some(serde_json::json!({"URL": "http://b", "Label": 1}))),
            ("", Some("NaN"), Some(serde_json::json!("NaN"))),
            ("{\"url\":\"http://a/3\",\"n\":NaN}", Some("a\rb\u{feff}"), Some(Value::from(1.5))),
            ("\u{feff}\r\u{0}", Some("\u{2028}"), Some(serde_json::json!([null]))),
        ] {
            let item = Item { url: url.into(), label: label.map(str::to_owned), meta };
            let list = format!("{}\n", serde_json::to_string(&item).unwrap());
            assert_eq!(ListFormat::JsonLines.read(list.as_bytes(), 9).unwrap(), [item]);
        }
    }

    /// Without one URL, and certainly something else: named. With one, or of no certain kind: rows.
    #[test]
    fn a_blob_of_another_kind_is_named() {
        let refused = |name: &str, text: &[u8]| {
            ListFormat::of(name).read(text, 100).err().map(|error| error.to_string())
        };
        let words = |expected: &str, content: &str| {
            Some(format!("the source blob should be {expected}, and is {content}"))
        };
        let (text, lines) = ("one URL a line", "JSON lines");
        assert_eq!(refused("a.txt", b"[\n{\"url\":\"http://a\"}]"), words(text, "a JSON array"));
        assert_eq!(refused("a.txt", b"{\"url\":\"http://a\"}"), words(text, lines));
        assert_eq!(
            refused("a.jsonl", b"url,label\n/a,b"),
            words(lines, "a table with commas (CSV)")
        );
        assert_eq!(refused("a.txt", b"\x1f\x8b\x08\0\0"), words(text, "compressed with gzip"));
        assert_eq!(refused("a.txt", b"{\"url\":\"http://a\"}\nhttp://b"), None);
        assert_eq!(refused("a.jsonl", b"http://a\nhttp://b"), None);
        assert_eq!(refused("a.txt", b"no url\nftp://a"), None);
        assert_eq!(refused("a.jsonl", b"{\"x\":1}"), None);
        assert_eq!(refused("a.txt", b""), None);
    }

    #[test]
    fn a_web_url_has_scheme_and_host() {
        for text in ["http://a", "HTTPS://a/b c?d=\"e\"", " http://a ", "http://10.0.0.1:22/"] {
            assert!(is_web_url(text), "{text}");
        }
        for text in
            ["", "a", "ftp://a", "http://", "//a/b", "http://a\tb", "http://a\0", "mailto:a@b"]
        {
            assert!(!is_web_url(text), "{text}");
        }
    }

    /// A fuzz target: each line that is not blank is an item, in its place, up to the limit.
    #[test]
    fn fuzz_source_blobs() {
        let seeds = [
            "http://a/1\n\n http://a/2 \r\nhttp://a/3\rnonsense\n",
            "{\"url\":\"http://a/1\",\"label\":\"x\",\"meta\":{\"k\":NaN}}\n{\"URL\":\"http://a/2\",\"id\":7}\n",
            "[{\"url\":\"http://a/1\"}]",
            "\u{feff}url,label\nhttp://a/1,\"x\"\n",
            "{\"url\":\"http://a/\\ud800\",\"n\":12345678901234567890123}\n",
        ];
        let utf16 = "http://a/\u{fc}\r\n".encode_utf16().flat_map(u16::to_le_bytes);
        let mut seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        seeds.push([0xFF, 0xFE].into_iter().chain(utf16).collect());
        fuzz::target::run("source", &seeds, |bytes| {
            let text = decode(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes));
            let n_rows = lines(&text).filter(|(_, line)| !trimmed(line).is_empty()).count();
            for format in [ListFormat::Text, ListFormat::JsonLines] {
                for limit in [3, usize::MAX] {
                    let Ok(items) = format.read(bytes, limit) else { continue };
                    assert_eq!(items.len(), n_rows.min(limit));
                }
            }
        });
    }
}
