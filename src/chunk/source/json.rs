//! JSON as it is written by those who do not keep to its rules, and the item that a value means.

use super::{Field, class_of, trimmed};
use crate::chunk::{Detail, Item, Meta, meta::has_half_pair};
use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::{Error, value::RawValue};
use std::fmt;

/// The item of a row: a text is a URL; of an object the key is that is called so; none: it has no URL.
///
/// Keys are those of [`Field`]. `label`, `caption` and `meta` may be anything, `class` is what
/// [`class_of`] takes; other keys, and a class that is none, go into the meta. Numbers, and all of the meta, stay as they are written.
///
/// What cannot be read strictly is read once more with `NaN`, `Infinity` and `None` as null, half of a
/// surrogate pair as U+FFFD, and control characters in texts.
///
/// # Errors
///
/// When it is not JSON all the same. The error's line is that of the text.
pub(crate) fn read_row(row: &str) -> Result<Option<Item>, Error> {
    mended(row, |row| {
        if row.starts_with('"') {
            return serde_json::from_str(row).map(|url: String| Some(Item::of_url(url)));
        }
        if !row.starts_with('{') {
            return serde_json::from_str::<&RawValue>(row).map(|_| None);
        }
        let mut all = Vec::new();
        members(row, |key, value| all.push((key, value)))?;
        Ok(item_of(&all))
    })
}

/// JSON as a meta, mended as a row is.
///
/// # Errors
///
/// When it is not JSON.
pub fn read_meta(text: &str) -> Result<Meta, Error> {
    mended(text, |text| serde_json::from_str(text))
}

/// The item of a row above [`crate::chunk::ITEM_LIMIT`] by what it begins with: by its URL, if that is
/// there, else by its text.
pub(crate) fn too_large(start: &str) -> Item {
    let mut all = Vec::new();
    // It ends too early: what came before counts.
    members(start, |key, value| all.push((key, value))).unwrap_or_default();
    match item_of(&all) {
        Some(item) => Item::too_large(&item.url, item.label.as_deref()),
        None => Item::too_large(start, None),
    }
}

/// What JSON is read as, strictly, or else with `NaN`, `Infinity` and `None` as null, half of a surrogate
/// pair as U+FFFD, and control characters in texts.
///
/// # Errors
///
/// When it is not JSON all the same. The error's line is that of the text.
pub fn mended<T>(text: &str, mut read: impl FnMut(&str) -> Result<T, Error>) -> Result<T, Error> {
    if !has_half_pair(text)
        && let Ok(value) = read(text)
    {
        return Ok(value);
    }
    read(&strict_json(text))
}

/// Hands the members of an object out, in order, with their values as they are written. No member is
/// kept, and nothing is deep: each value is one text.
///
/// # Errors
///
/// When it is no object, behind the members that were read.
pub fn members<'t>(object: &'t str, take: impl FnMut(String, &'t RawValue)) -> Result<(), Error> {
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Members(take))?;
    reader.end()
}

struct Members<F>(F);

impl<'t, F: FnMut(String, &'t RawValue)> Visitor<'t> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some((key, value)) = members.next_entry()? {
            self.0(key, value);
        }
        Ok(())
    }
}

/// The item of an object's members; none: it has no URL. Of a key that is there twice the last counts.
fn item_of(all: &[(String, &RawValue)]) -> Option<Item> {
    let key = |field: Field| field.of(all.iter().map(|(key, _)| key.as_str()));
    let value = |key: Option<&str>| {
        let found = all.iter().rev().find(|(name, _)| Some(name.as_str()) == key);
        found.map(|(_, value)| *value).filter(|value| value.get() != "null")
    };
    let (url, label, meta) = (key(Field::Url), key(Field::Label), key(Field::Meta));
    let (caption, class) = (key(Field::Caption), key(Field::Class));
    let mut item = Item::of_url(text_of(value(url)?).ok()?);
    let as_written = |value: &RawValue| text_of(value).unwrap_or_else(|_| value.get().to_owned());
    item.label = value(label).map(as_written);
    if let Some(refused) = value(Some("refused"))
        && refused.get() == "\"item_too_large\""
    {
        // What the command line writes in place of such a row.
        item.refused = Some(Detail::ItemTooLarge);
        return Some(item);
    }
    item.caption = value(caption).map(as_written);
    let written = value(class).map(as_written).filter(|class| !trimmed(class).is_empty());
    item.class = written.as_deref().and_then(class_of);
    let class = class.filter(|_| item.class.is_some() || written.is_none());
    item.retry_of = value(Some("retry_of")).and_then(|key| text_of(key).ok()?.parse().ok());
    let is_other = |name: &str| {
        ![url, label, caption, class, meta].contains(&Some(name))
            && (name != "retry_of" || item.retry_of.is_none())
    };
    let others = all.iter().filter(|(name, _)| is_other(name));
    let others = others.map(|(name, value)| (name.clone(), Meta::of_raw(value))).collect();
    item.meta = Meta::with_others(value(meta).map(Meta::of_raw), others);
    Some(item)
}

fn text_of(value: &RawValue) -> Result<String, Error> {
    match value.get().starts_with('"') {
        true => serde_json::from_str(value.get()),
        false => Err(Error::custom("no text")),
    }
}

/// JSON by the rules, of the same lines, as far as [`read_row`] mends it.
pub(crate) fn strict_json(text: &str) -> String {
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

/// `NaN`, `-Infinity`, `inf`, `None`. `1e999` is a number, whoever can hold it.
fn is_no_value(word: &str) -> bool {
    let is_infinite = word.parse::<f64>().is_ok_and(|number| !number.is_finite());
    let is_number = word.contains(|c: char| c.is_ascii_digit());
    (is_infinite && !is_number) || matches!(word, "None" | "undefined" | "NA")
}

/// The pieces of JSON, in order: what is in quotes, with them, and what is not.
pub(crate) fn pieces(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        let len = match rest.starts_with('"') {
            true => quoted_len(rest),
            false => rest.find('"').unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(len);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
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
    use serde_json::{Value, json};

    fn read_json(text: &str) -> Result<Value, Error> {
        mended(text, |text| serde_json::from_str(text))
    }

    #[test]
    fn what_is_no_number_is_null_and_texts_stay() {
        for (text, expected) in [
            (
                r#"{"a":NaN,"b":-Infinity,"c":[Infinity,+inf,nan]}"#,
                json!({"a":null,"b":null,"c":[null,null,null]}),
            ),
            (r#"{"a":None,"b":undefined}"#, json!({"a":null,"b":null})),
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
            assert_eq!(read_json(text).unwrap(), expected, "{text}");
        }
        assert_eq!(strict_json("[1e999,-1E400,NaN,-0,1.0]"), "[1e999,-1E400,null,-0,1.0]");
    }

    #[test]
    fn what_is_broken_stays_broken() {
        for text in [
            "{\"a\":NaN",
            "{a:1}",
            "[NaN NaN]",
            "{NaN:1}",
            "'a'",
            "[\"a\\",
            "\"\\ud83",
            "[1,]",
            "[01]",
        ] {
            assert!(read_row(text).is_err(), "{text}");
        }
        let error = read_row("[\n1,\nNaN,\noops]").unwrap_err();
        assert_eq!(error.line(), 4);
    }

    #[test]
    fn keys_are_found_in_any_case() {
        let item =
            |row: Value| read_row(&row.to_string()).unwrap().map(|i| (i.url, i.label, i.meta));
        let own = |url: &str, label: Option<&str>, meta: Value| {
            let meta = serde_json::from_value(meta).unwrap();
            Some((url.to_owned(), label.map(str::to_owned), meta))
        };
        assert_eq!(
            item(json!({"URL": "http://a", "Label": "x", "META": {"k": 1}, "TITLE": "t"})),
            own("http://a", Some("x"), json!({"TITLE": "t", "k": 1}))
        );
        assert_eq!(
            item(json!({"URL": "http://b", "url": "http://a", "Url": 1})),
            own("http://a", None, json!({"URL": "http://b", "Url": 1}))
        );
        assert_eq!(
            item(json!({"URL": "http://b", "Url": "http://a"})),
            own("http://a", None, json!({"URL": "http://b"}))
        );
        assert_eq!(item(json!("http://a")), own("http://a", None, Value::Null));
        assert_eq!(
            item(json!({"Uri": "http://b", "image_url": "http://a"})),
            own("http://a", None, json!({"Uri": "http://b"}))
        );
        assert_eq!(item(json!({"link": "http://a"})), None);
        assert_eq!(item(json!({"url": null})), None);
    }

    /// Case 262: a label is a text, and a number keeps its spelling; so does all of the meta.
    #[test]
    fn numbers_keep_their_spelling() {
        let row = r#"{"url":"http://a","label":1.50,"meta":{"n":1e999,"n":-0},"id":12345678901234567890123}"#;
        let item = read_row(row).unwrap().unwrap();
        assert_eq!(item.label.as_deref(), Some("1.50"));
        let meta = r#"{"id":12345678901234567890123,"n":1e999,"n":-0}"#;
        assert_eq!(item.meta.unwrap().get(), meta);
        let twice =
            read_row(r#"{"url":"http://a","url":"http://b","k":1,"k":1.0}"#).unwrap().unwrap();
        assert_eq!(
            (twice.url.as_str(), twice.meta.unwrap().get()),
            ("http://b", r#"{"k":1,"k":1.0}"#)
        );
        let written = serde_json::to_string(&read_row(row).unwrap()).unwrap();
        assert_eq!(serde_json::to_string(&read_row(&written).unwrap()).unwrap(), written);
    }

    /// Cases 400, 401: captions keep every character; a class that is none is told and not lost.
    #[test]
    fn captions_and_classes_are_read_in_any_case() {
        let item = |row: &str| read_row(row).unwrap().unwrap();
        let two = item(
            r#"{"url":"http://a","Caption":" two\nlines \ud834\udd1e\u0000 ","CLASS":3,"k":1}"#,
        );
        assert_eq!(two.caption.as_deref(), Some(" two\nlines 𝄞\0 "));
        assert_eq!((two.class, two.meta.unwrap().get()), (Some(3), r#"{"k":1}"#));
        let laion = item(r#"{"url":"http://a","TEXT":"two words"}"#);
        assert_eq!((laion.caption.as_deref(), laion.meta), (Some("two words"), None));
        assert_eq!(
            item(r#"{"url":"http://a","caption":["a", "b"]}"#).caption.unwrap(),
            r#"["a", "b"]"#
        );
        for (written, class) in
            [("\"3\"", Some(3)), ("3.0", Some(3)), ("null", None), ("\" \"", None)]
        {
            let item = item(&format!("{{\"url\":\"http://a\",\"class\":{written}}}"));
            assert_eq!((item.class, item.meta), (class, None), "{written}");
        }
        for written in ["\"cat\"", "3.5", "1e3", "true", "[3]", "12345678901234567890"] {
            let item = item(&format!("{{\"url\":\"http://a\",\"Class\":{written}}}"));
            let meta = format!("{{\"Class\":{written}}}");
            assert_eq!((item.class, item.meta.unwrap().get()), (None, &*meta));
        }
    }

    /// Case 261: what a row above the limit begins with says which it is.
    #[test]
    fn a_row_that_is_cut_has_its_url() {
        let item = too_large(r#"{"URL":"http://a","label":"x","meta":[{"":0},{"":0"#);
        assert_eq!((item.url.as_str(), item.label.as_deref()), ("http://a", Some("x")));
        assert_eq!(item.refused, Some(Detail::ItemTooLarge));
        assert_eq!(too_large("http://a/b").url, "http://a/b");
        assert_eq!(too_large("{\"meta\":[[").url, "{\"meta\":[[");
        let line = serde_json::to_string(&item).unwrap();
        assert_eq!(line, r#"{"url":"http://a","label":"x","refused":"item_too_large"}"#);
        assert_eq!(read_row(&line).unwrap(), Some(item));
        let other = read_row(r#"{"url":"http://a","refused":"by me"}"#).unwrap().unwrap();
        assert_eq!((other.refused, other.meta.unwrap().get()), (None, r#"{"refused":"by me"}"#));
    }
}
