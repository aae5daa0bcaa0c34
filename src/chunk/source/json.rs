//! JSON as it is written by those who do not keep to its rules, and the item that a value means.

use crate::chunk::Item;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads JSON. What cannot be read strictly is read once more with `NaN`, `Infinity`, numbers beyond
/// any and `None` as null, half of a surrogate pair as U+FFFD, and control characters in texts.
///
/// # Errors
///
/// When it is not JSON all the same. The error's line is that of the text.
pub fn read_json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&strict_json(text)))
}

/// The item of a JSON value: a text is a URL; of an object `url` is, and `label` may be any scalar,
/// `meta` anything; other keys go into the meta.
///
/// # Errors
///
/// The value itself, when it has no URL.
pub fn item_of(value: Value) -> Result<Item, Value> {
    let mut object = match value {
        Value::Object(object) => object,
        Value::String(url) => return Ok(Item::of_url(url)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return Err(value),
    };
    let url = meant(object.keys().map(String::as_str), "url").and_then(|key| object.get(key));
    let Some(url) = url.and_then(Value::as_str).map(str::to_owned) else {
        return Err(Value::Object(object));
    };
    take(&mut object, "url");
    let label = match take(&mut object, "label") {
        Some(Value::String(label)) => Some(label),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    let meta = take(&mut object, "meta").filter(|meta| !meta.is_null());
    Ok(Item { url, label, meta: None }.with_meta(meta, object))
}

fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = meant(object.keys().map(String::as_str), name)?.to_owned();
    object.remove(&key)
}

/// Which of some keys or columns is meant by a name, in any case: the one in small letters; without
/// it, the last in the order of characters. The others keep their names.
pub fn meant<'a>(names: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    names.filter(|given| given.eq_ignore_ascii_case(name)).max()
}

/// JSON by the rules, of the same lines, as far as [`read_json`] mends it.
pub fn strict_json(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let (quoted, after) = rest.split_at(quoted_len(rest));
            push_text(&mut out, quoted);
            rest = after;
        } else if is_bare(c) {
            let len = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(len);
            out.push_str(if is_no_value(word) { "null" } else { word });
            rest = after;
        } else {
            out.push(c);
            rest = rest.split_at(c.len_utf8()).1;
        }
    }
    out
}

/// The length of a text in quotes; one that nothing closes reaches to the end.
fn quoted_len(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().enumerate().skip(1).find(|(_, byte)| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// `NaN`, `-Infinity`, `inf`, `1e999`, `None`.
fn is_no_value(word: &str) -> bool {
    let is_infinite = word.parse::<f64>().is_ok_and(|number| !number.is_finite());
    is_infinite || matches!(word, "None" | "undefined" | "NA")
}

/// A text in quotes without what JSON does not allow in one. A line end stays: an error behind it
/// names its line.
fn push_text(out: &mut String, quoted: &str) {
    let mut rest = quoted;
    while let Some(c) = rest.chars().next() {
        let len = match (c, unit(rest)) {
            ('\\', Some(0xd800..0xdc00)) if is_low_half(rest.get(6..)) => 12,
            ('\\', Some(0xd800..0xe000)) => {
                out.push_str("\\ufffd");
                rest = rest.split_at(6).1;
                continue;
            }
            ('\\', _) => rest.chars().take(2).map(char::len_utf8).sum(),
            ('\n' | '\r', _) => 1,
            ('\0'..' ', _) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
                rest = rest.split_at(1).1;
                continue;
            }
            _ => c.len_utf8(),
        };
        let (piece, after) = rest.split_at(len);
        out.push_str(piece);
        rest = after;
    }
}

/// The UTF-16 unit of the escape that a text begins with.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

fn is_low_half(text: Option<&str>) -> bool {
    matches!(text.and_then(unit), Some(0xdc00..0xe000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_number_is_null_and_texts_stay() {
        for (text, expected) in [
            (
                r#"{"a":NaN,"b":-Infinity,"c":[Infinity,+inf,nan]}"#,
                json!({"a":null,"b":null,"c":[null,null,null]}),
            ),
            (
                r#"{"a":None,"b":1e999,"c":-1E400,"d":undefined}"#,
                json!({"a":null,"b":null,"c":null,"d":null}),
            ),
            (
                r#"["NaN \" NaN",NaN,"\\",NaN,1.5e3]"#,
                json!(["NaN \" NaN", null, "\\", null, 1500.0]),
            ),
            (
                r#"["a\ud83d","\ude00b","\ud83d\ude00","\\ud83d",NaN]"#,
                json!(["a\u{fffd}", "\u{fffd}b", "\u{1f600}", "\\ud83d", null]),
            ),
            ("[\"a\tb\u{1}\"]", json!(["a\tb\u{1}"])),
            (r#"{"ü":NaN}"#, json!({"ü":null})),
        ] {
            assert_eq!(read_json::<Value>(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_broken_stays_broken() {
        for text in
            ["{\"a\":NaN", "{a:1}", "[NaN NaN]", "{NaN:1}", "'a'", "[\"a\\", "\"\\ud83", "[1,]"]
        {
            assert!(read_json::<Value>(text).is_err(), "{text}");
        }
        let error = read_json::<Value>("[\n1,\nNaN,\noops]").unwrap_err();
        assert_eq!(error.line(), 4);
    }

    #[test]
    fn keys_are_found_in_any_case() {
        let item = |value| item_of(value).ok().map(|i| (i.url, i.label, i.meta));
        let own = |url: &str, label: Option<&str>, meta| {
            Some((url.to_owned(), label.map(str::to_owned), meta))
        };
        assert_eq!(
            item(json!({"URL": "http://a", "Label": "x", "META": {"k": 1}, "TEXT": "t"})),
            own("http://a", Some("x"), Some(json!({"k": 1, "TEXT": "t"})))
        );
        assert_eq!(
            item(json!({"URL": "http://b", "url": "http://a", "Url": 1})),
            own("http://a", None, Some(json!({"URL": "http://b", "Url": 1})))
        );
        assert_eq!(
            item(json!({"URL": "http://b", "Url": "http://a"})),
            own("http://a", None, Some(json!({"URL": "http://b"})))
        );
        assert_eq!(item(json!("http://a")), own("http://a", None, None));
        assert_eq!(item(json!({"uri": "http://a"})), None);
        assert_eq!(item(json!({"url": null})), None);
    }
}
