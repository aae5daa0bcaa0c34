//! One URL of a chunk, with what belongs to it.

use super::{Detail, Meta, UrlKey};
use serde::{Deserialize, Serialize};

/// The most bytes of an item: of its row as it is written, and of the line that is made of it.
pub const ITEM_LIMIT: usize = 64 * 1024;

/// How much of a URL, a label and a caption is shown where not all of it can be, in bytes of JSON.
pub(crate) const SHOWN_BYTES: usize = 1024;

/// One URL with what belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// As given; checked when it is fetched.
    pub url: String,
    /// The sample's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the picture shows, in somebody's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// The number of what it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<i64>,
    /// Anything; kept as a JSON string in the sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// Why it is refused whatever its URL is. Only lists say so: an item of a message is never too
    /// large.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Detail>,
    /// The first try of this URL in its job, if it is asked for again. Only lists say so.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<UrlKey>,
}

impl Item {
    /// An item of nothing but a URL.
    pub fn of_url(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            label: None,
            caption: None,
            class: None,
            meta: None,
            refused: None,
            retry_of: None,
        }
    }

    /// What is kept of an item above [`ITEM_LIMIT`]: enough to find its row.
    pub fn too_large(url: &str, label: Option<&str>) -> Self {
        Self {
            label: label.map(|label| cut(label, SHOWN_BYTES)),
            refused: Some(Detail::ItemTooLarge),
            ..Self::of_url(cut(url, SHOWN_BYTES))
        }
    }

    /// How many bytes of text are kept of it.
    pub(crate) fn len(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = self.url.len() + text(&self.label) + text(&self.caption);
        texts + self.meta.as_ref().map_or(0, |meta| meta.get().len())
    }
}

/// The start of a text that is at most so many bytes in JSON, with dots behind it if that is not all.
pub(crate) fn cut(text: &str, most_bytes: usize) -> String {
    const DOTS: &str = "...";
    let mut len = 0;
    let mut fits = 0;
    for (at, c) in text.char_indices() {
        len += match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..' ' => 6,
            _ => c.len_utf8(),
        };
        if len > most_bytes {
            return format!("{}{DOTS}", text.split_at(fits).0);
        }
        if len <= most_bytes.saturating_sub(DOTS.len()) {
            fits = at + c.len_utf8();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the text, what is shown of it fits, and all of it is shown if that fits.
    #[test]
    fn a_cut_text_fits_as_json() {
        let rng = &mut fastrand::Rng::with_seed(5);
        let kinds = ['a', '"', '\\', '\n', '\u{1}', '\u{7f}', 'ü', '\u{fffd}', '𝄞', '\u{8}'];
        for _ in 0..2000 {
            let text: String = (0..rng.usize(..60)).map(|_| kinds[rng.usize(..10)]).collect();
            let most = rng.usize(3..80);
            let in_json = |text: &str| serde_json::to_string(text).unwrap().len() - 2;
            let shown = cut(&text, most);
            assert!(in_json(&shown) <= most, "{text:?} {most}");
            match in_json(&text) <= most {
                true => assert_eq!(shown, text),
                false => assert!(text.starts_with(shown.strip_suffix("...").unwrap())),
            }
        }
    }
}
