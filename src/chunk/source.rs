//! Lists of URLs: text, one a line, or JSON lines.

use super::Item;
use serde_json::{Map, Value};

/// How a list of URLs is written, by its suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// One URL a line.
    Text,
    /// One JSON object a line: `{url, label?, meta?, …}`.
    JsonLines,
}

impl ListFormat {
    /// By the name's suffix; anything but `.jsonl` is text.
    pub fn of(name: &str) -> Self {
        if name.ends_with(".jsonl") { Self::JsonLines } else { Self::Text }
    }

    /// Parses a list. Every non-blank line is an item; none is dropped or refused here: a line
    /// that is no object with a URL becomes a URL that is refused when it is fetched.
    pub fn parse(self, bytes: &[u8]) -> Vec<Item> {
        self.parse_at_most(bytes, usize::MAX)
    }

    /// The first `limit` items of a list.
    pub(crate) fn parse_at_most(self, bytes: &[u8], limit: usize) -> Vec<Item> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}');
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(limit);
        match self {
            Self::Text => lines.map(Item::of_url).collect(),
            Self::JsonLines => {
                lines.map(|line| json_item(line).unwrap_or_else(|| Item::of_url(line))).collect()
            }
        }
    }
}

impl Item {
    /// An item of nothing but a URL.
    pub(crate) fn of_url(url: impl Into<String>) -> Self {
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

/// A label may be any scalar; meta anything. Other keys go into the meta.
fn json_item(line: &str) -> Option<Item> {
    let Value::Object(mut object) = serde_json::from_str(line).ok()? else { return None };
    let Some(Value::String(url)) = object.remove("url") else { return None };
    let label = match object.remove("label") {
        Some(Value::String(label)) => Some(label),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    let meta = object.remove("meta").filter(|meta| !meta.is_null());
    Some(Item { url, label, meta: None }.with_meta(meta, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_dropped_but_blank_ones() {
        let text = "\u{feff}http://a/1\r\n\n  http://a/2  \nnot a url\n";
        let urls: Vec<String> =
            ListFormat::Text.parse(text.as_bytes()).into_iter().map(|item| item.url).collect();
        assert_eq!(urls, ["http://a/1", "http://a/2", "not a url"]);
        let lines =
            "{\"url\":\"http://a\",\"label\":7,\"meta\":{\"k\":1}}\n{broken\n[1]\n{\"x\":1}\n";
        let items = ListFormat::of("x.jsonl").parse(lines.as_bytes());
        assert_eq!(items.len(), 4);
        assert_eq!(items[0].label.as_deref(), Some("7"));
        assert_eq!(items[1].url, "{broken");
        assert_eq!(items[3].url, "{\"x\":1}");
    }
}
