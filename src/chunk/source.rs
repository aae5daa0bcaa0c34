//! Lists of URLs: what of reading them is the same for a blob of the source container and for a file
//! that is submitted, and the reader of blobs.
//!
//! `chunkctl` writes its blobs in one form, JSON lines with `url`, `label`, `caption`, `class` and
//! `meta`; a release must read them as those before it did.

mod class;
mod content;
mod json;
mod names;
mod reader;
mod text;

pub use class::class_of;
pub use content::{Content, delimiter_of};
pub use json::{members, mended, read_meta};
pub(crate) use json::{pieces, read_row, strict_json, too_large};
pub use names::{Field, meant};
pub use text::{is_blank, lines, trimmed};

use super::{Item, MAX_ITEMS};
use reader::Reader;
use url::Url;

/// How a blob of the source container is written, by its suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListFormat {
    /// One URL a line.
    Text,
    /// One JSON object a line: `{url, label?, caption?, class?, meta?, …}`.
    JsonLines,
}

/// A blob whose content is certainly of another kind than its name says: a table, or one without one
/// http(s) URL.
#[derive(Debug, thiserror::Error)]
#[error("the source blob should be {expected}, and is {content}")]
pub(crate) struct OtherContent {
    expected: Content,
    content: Content,
}

/// Why a blob is no list of a chunk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// More items, or more bytes of them, than a chunk may have.
    #[error("the list has more URLs, or bytes, than a chunk may have")]
    TooLarge,
    /// It is of another kind.
    #[error(transparent)]
    OtherContent(#[from] OtherContent),
}

impl ListFormat {
    /// By the name's suffix; anything but `.jsonl` is text.
    pub(crate) fn of(name: &str) -> Self {
        if name.ends_with(".jsonl") { Self::JsonLines } else { Self::Text }
    }

    /// The items of a blob, which comes in pieces; each is dropped when it is read. Every line that is
    /// not blank is an item; none is dropped: a line that is no object with a URL becomes a URL that is
    /// refused when it is fetched, and so does one above [`super::ITEM_LIMIT`].
    ///
    /// # Errors
    ///
    /// [`ListError::TooLarge`] for more than 10,000 items, or for items of more than `most_bytes`: what
    /// is mended in a line may make it longer; [`ListError::OtherContent`].
    pub(crate) fn read(
        self,
        pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
        most_bytes: usize,
    ) -> Result<Vec<Item>, ListError> {
        let mut reader = Reader::new(self, MAX_ITEMS, most_bytes);
        for piece in pieces {
            reader.push(piece.as_ref())?;
        }
        reader.finish()
    }

    fn item(self, line: &str) -> Item {
        match self {
            Self::Text => Item::of_url(line),
            Self::JsonLines => read_row(line).ok().flatten().unwrap_or_else(|| Item::of_url(line)),
        }
    }
}

/// Whether a text is a URL of the web: what is none is certainly refused. The address guard refuses
/// more than that.
pub fn is_web_url(text: &str) -> bool {
    let is_web = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    !text.contains(char::is_control) && Url::parse(text).is_ok_and(is_web)
}

#[cfg(test)]
mod tests {
    use super::{super::Meta, *};
    use crate::chunk::{Detail, ITEM_LIMIT};
    use serde_json::Value;

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<Item>, ListError> {
        ListFormat::of(name).read([bytes], 1 << 20)
    }

    fn urls(name: &str, bytes: &[u8]) -> Vec<String> {
        read(name, bytes).unwrap().into_iter().map(|item| item.url).collect()
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
        let items = read("x.jsonl", lines.as_bytes()).unwrap();
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
            let meta = meta.map(|meta| serde_json::from_value::<Meta>(meta).unwrap());
            let label = label.map(str::to_owned);
            let (caption, class) = (label.clone(), label.as_ref().map(|_| i64::MIN));
            let item = Item { label, caption, class, meta, ..Item::of_url(url) };
            let list = format!("{}\n", serde_json::to_string(&item).unwrap());
            assert_eq!(read("x.jsonl", list.as_bytes()).unwrap(), [item]);
        }
    }

    /// Case 486: without one URL, or a table, and certainly something else: named. With one, or of no
    /// certain kind: rows.
    #[test]
    fn a_blob_of_another_kind_is_named() {
        let refused =
            |name: &str, text: &[u8]| read(name, text).err().map(|error| error.to_string());
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
        let csv = "a table with commas (CSV)";
        assert_eq!(refused("a.txt", b"url,caption\nhttp://a,x"), words(text, csv));
        assert_eq!(refused("a.jsonl", b"id,url\n1,http://a"), words(lines, csv));
        let tsv = "a table with tabs (TSV)";
        assert_eq!(refused("a.txt", b"url\tcaption\nhttp://a\tx"), words(text, tsv));
        let zeros = "no text, or UTF-16 without a byte order mark (save it as UTF-8)";
        assert_eq!(refused("a.txt", b"h\0t\0t\0p\0:\0/\0/\0a\0"), words(text, zeros));
        for list in
            ["{'url': 'http://a'}\n{'url': 'http://b'}", "{\n\"url\":\"http://a\"\n}", "a b"]
        {
            assert_eq!(refused("a.jsonl", list.as_bytes()), words(lines, "no JSON"));
        }
        let long = format!("{{\"k\":\"{}\"}}", "x".repeat(ITEM_LIMIT));
        assert_eq!(refused("a.jsonl", long.as_bytes()), None);
        assert_eq!(refused("a.jsonl", b"[1]\nx"), None);
        assert_eq!(refused("a.txt", b"url\nhttp://a"), None);
        assert_eq!(refused("a.txt", b"{\"url\":\"http://a\"}\nhttp://b"), None);
        assert_eq!(refused("a.jsonl", b"http://a\nhttp://b"), None);
        assert_eq!(refused("a.txt", b"no url\nftp://a"), None);
        assert_eq!(refused("a.jsonl", b"{\"x\":1}"), None);
        assert_eq!(refused("a.txt", b""), None);
    }

    /// However the bytes are cut into pieces, in every encoding.
    #[test]
    fn pieces_of_any_length_are_one_list() {
        let text = "\u{feff}http://a/ü\r\n\n{\"url\":\"http://b/𝄞\"}\r \u{feff}\nx\u{0}\nhttp://c";
        let expected = ["http://a/ü", "http://b/𝄞", "x\u{0}", "http://c"];
        let units = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
        let encoded: [Vec<u8>; 3] = [text.into(), units(u16::to_le_bytes), units(u16::to_be_bytes)];
        for bytes in encoded {
            for len in 1..bytes.len() {
                let items = ListFormat::JsonLines.read(bytes.chunks(len), 1 << 20).unwrap();
                let urls: Vec<&str> = items.iter().map(|item| item.url.as_str()).collect();
                assert_eq!(urls, expected, "{len}");
            }
        }
        let broken = [0xff, 0xfe, b'a', 0, 0, 0xd8, b'b', 0, b'c'];
        assert_eq!(urls("x.txt", &broken), ["a\u{fffd}b\u{fffd}"]);
    }

    /// Case 261: at the limit a row is an item, one byte above it is refused; the others keep their
    /// places. Blanks around it do not count.
    #[test]
    fn an_item_above_the_limit_is_refused_by_itself() {
        let row = |len: usize| {
            let row = |meta: &str| format!("{{\"url\":\"http://a\",\"meta\":\"{meta}\"}}");
            row(&"x".repeat(len - row("").len()))
        };
        let blanks = " ".repeat(ITEM_LIMIT);
        let list = format!(
            "http://b\n{blanks}{}{blanks}\n{}\n{blanks}\nhttp://c",
            row(ITEM_LIMIT),
            row(ITEM_LIMIT + 1)
        );
        for len in [1000, list.len()] {
            let items = ListFormat::JsonLines.read(list.as_bytes().chunks(len), 1 << 20).unwrap();
            let said: Vec<_> = items.iter().map(|i| (i.url.as_str(), i.refused)).collect();
            let too_large = Some(Detail::ItemTooLarge);
            let expected = [
                ("http://b", None),
                ("http://a", None),
                ("http://a", too_large),
                ("http://c", None),
            ];
            assert_eq!(said, expected);
        }
        let long = format!("http://a/{}", "b".repeat(ITEM_LIMIT));
        let items = read("x.txt", long.as_bytes()).unwrap();
        assert_eq!(items, [Item::too_large(&long, None)]);
    }

    /// Ten thousand items, and the bytes that they may have, mended ones too.
    #[test]
    fn a_list_above_its_limits_is_too_large() {
        let list = |n: usize| "http://a\n".repeat(n);
        assert_eq!(read("x.txt", list(10_000).as_bytes()).unwrap().len(), 10_000);
        assert!(matches!(read("x.txt", list(10_001).as_bytes()), Err(ListError::TooLarge)));
        let most = |most| ListFormat::Text.read([list(2)], most);
        assert!(most(16).is_ok() && matches!(most(15), Err(ListError::TooLarge)));
        let control = format!("{{\"url\":\"http://a\",\"meta\":\"{}\"}}", "\u{1}".repeat(100));
        let most = |most| ListFormat::JsonLines.read([&control], most);
        assert!(most(610).is_ok() && matches!(most(609), Err(ListError::TooLarge)));
        let caption = format!("{{\"url\":\"http://a\",\"caption\":\"{}\"}}", "x".repeat(100));
        let most = |most| ListFormat::JsonLines.read([&caption], most);
        assert!(most(108).is_ok() && matches!(most(107), Err(ListError::TooLarge)));
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
            let (text, _, _) = encoding_rs::UTF_8.decode(bytes);
            let n_rows = lines(&text).filter(|(_, line)| !trimmed(line).is_empty()).count();
            for format in [ListFormat::Text, ListFormat::JsonLines] {
                let whole = format.read([bytes], usize::MAX).ok();
                // Pieces may end anywhere.
                let pieces = format.read(bytes.chunks(3), usize::MAX).ok();
                assert_eq!(pieces, whole);
                assert!(whole.is_none_or(|items| items.len() == n_rows));
            }
        });
    }
}
