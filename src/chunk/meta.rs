//! What else is said of a URL: JSON that is kept as it was written.

use super::source::{members, pieces, strict_json};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashSet};

/// JSON as it was written: numbers keep their digits, objects the order of their keys, and keys that
/// are there twice stay.
///
/// Only what would stop a reader of a list or manifest is changed: line ends
/// between its parts, halves of surrogate pairs, and, in a list, what is nested deeper than 100 levels
/// or has a number of more than 1000 digits, which becomes a text.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Meta(Box<RawValue>);

impl Meta {
    /// How deep it may be nested: readers stop between 128 and 1000.
    const MOST_DEEP: usize = 100;
    /// Characters of a number: Python reads at most 4300 digits.
    const MOST_DIGITS: usize = 1000;

    /// A text.
    pub fn of_text(text: &str) -> Self {
        Self::of_json(serde_json::to_string(text).unwrap_or_default())
    }

    /// The JSON.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// It with what else was said of the URL, by key, in front; a key of its own wins.
    pub fn with_others(meta: Option<Self>, mut others: Vec<(String, Self)>) -> Option<Self> {
        if others.is_empty() {
            return meta;
        }
        let Some(meta) = meta else { return Some(Self::of_members(&others, "")) };
        let inner = meta.get().strip_prefix('{').and_then(|json| json.strip_suffix('}'));
        let Some(inner) = inner else {
            others.push(("meta".to_owned(), meta));
            return Some(Self::of_members(&others, ""));
        };
        let mut own = HashSet::new();
        // It was read as an object when it was made.
        members(meta.get(), |key, _| {
            own.insert(key);
        })
        .unwrap_or_default();
        others.retain(|(key, _)| !own.contains(key));
        Some(Self::of_members(&others, inner))
    }

    /// An object of members, and of what is inside another one.
    fn of_members(members: &[(String, Self)], inner: &str) -> Self {
        let key = |key: &String| serde_json::to_string(key).unwrap_or_default();
        let member = |(name, value): &(String, Self)| format!("{}:{}", key(name), value.get());
        let inner = Some(inner).filter(|inner| !inner.trim().is_empty()).map(str::to_owned);
        let all: Vec<String> = members.iter().map(member).chain(inner).collect();
        Self::of_parts(format!("{{{}}}", all.join(",")))
    }

    /// Of what was put together: deeper by a level than its parts, it may be a text.
    fn of_parts(json: String) -> Self {
        if is_readable(&json) { Self::of_json(json) } else { Self::of_text(&json) }
    }

    fn of_json(json: String) -> Self {
        Self(RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl Meta {
    /// Of JSON in a list.
    pub fn of_raw(raw: &RawValue) -> Self {
        let json = mended(raw.get());
        match is_readable(&json) {
            true => Self::of_json(json.into_owned()),
            false => Self::of_text(&json),
        }
    }
}

/// JSON without halves of surrogate pairs and without line ends.
fn mended(json: &str) -> Cow<'_, str> {
    let mut json = Cow::Borrowed(json);
    if has_half_pair(&json) {
        json = strict_json(&json).into();
    }
    if json.contains(['\n', '\r']) {
        json = on_one_line(&json).into();
    }
    json
}

/// Whether it may hold half of a surrogate pair, which a raw value does not look for.
pub(super) fn has_half_pair(json: &str) -> bool {
    json.contains("\\ud") || json.contains("\\uD")
}

/// JSON without blanks between its parts. In a text a line end is an escape.
fn on_one_line(json: &str) -> String {
    let without_blanks = |piece: &str| piece.split_ascii_whitespace().collect::<String>();
    let part = |piece: &str| match piece.starts_with('"') {
        true => piece.to_owned(),
        false => without_blanks(piece),
    };
    pieces(json).map(part).collect()
}

/// Whether usual readers of JSON take it.
fn is_readable(json: &str) -> bool {
    let (mut depth, mut digits) = (0_usize, 0_usize);
    for byte in pieces(json).filter(|piece| !piece.starts_with('"')).flat_map(str::bytes) {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        depth = match byte {
            b'[' | b'{' => depth + 1,
            b']' | b'}' => depth.saturating_sub(1),
            _ => depth,
        };
        if depth > Meta::MOST_DEEP || digits > Meta::MOST_DIGITS {
            return false;
        }
    }
    true
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.get())
    }
}

/// Of a message or manifest, in which what readers do not take is an error.
impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let json = mended(raw.get());
        match is_readable(&json) {
            true => Ok(Self::of_json(json.into_owned())),
            false => Err(D::Error::custom(
                "a recursion of more than 100 levels, or a number of more than 1000 digits",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(json: &str) -> Meta {
        serde_json::from_str(json).unwrap()
    }

    /// Case 262: what a number type would change stays.
    #[test]
    fn json_stays_as_it_was_written() {
        for json in [
            "1e999",
            "-0",
            "1.0",
            "1E+2",
            "12345678901234567890123456789",
            "0.1000000000000000055511151231257827",
            r#"{"b":1,"a":2,"b":3}"#,
            r#"{ "a" : [ ] }"#,
            r#""\u00fc\/""#,
            "true",
        ] {
            assert_eq!(meta(json).get(), json);
            assert_eq!(serde_json::to_string(&meta(json)).unwrap(), json);
        }
        assert_eq!(serde_json::from_str::<Option<Meta>>("null").unwrap(), None);
    }

    /// Case 263: what readers stop at.
    #[test]
    fn json_that_readers_do_not_take_is_mended_or_a_text() {
        assert_eq!(meta("{\"a\": [1,\r\n  \"x \\n y\"]\n}").get(), "{\"a\":[1,\"x \\n y\"]}");
        assert_eq!(meta(r#"["\ud83d \ud83d\ude00"]"#).get(), r#"["\ufffd \ud83d\ude00"]"#);
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let (most, more) = ("7".repeat(1000), "7".repeat(1001));
        let quoted = format!("{{\"{more}\":\"{more}\"}}");
        for json in [nested(100), most, quoted] {
            assert_eq!(meta(&json).get(), json);
        }
        let together = Meta::with_others(None, vec![("k".to_owned(), meta(&nested(100)))]).unwrap();
        assert!(serde_json::from_str::<Meta>(together.get()).is_ok(), "a manifest is read again");
        for json in [nested(101), nested(30_000), format!("[{more},1]")] {
            let raw = RawValue::from_string(json.clone()).unwrap();
            assert_eq!(Meta::of_raw(&raw).get(), format!("\"{json}\""));
            let error = serde_json::from_str::<Meta>(&json).unwrap_err().to_string();
            assert!(error.contains("recursion"), "{error}");
        }
    }

    #[test]
    fn a_key_of_its_own_wins_and_nothing_else_is_lost() {
        let others =
            || vec![("id".to_owned(), meta("7")), ("k \"q\"".to_owned(), Meta::of_text("x"))];
        let with = |own: Option<&str>| Meta::with_others(own.map(meta), others()).unwrap();
        assert_eq!(with(None).get(), r#"{"id":7,"k \"q\"":"x"}"#);
        assert_eq!(with(Some("{ }")).get(), r#"{"id":7,"k \"q\"":"x"}"#);
        assert_eq!(
            with(Some(r#"{"a":1, "id":8,"a":1.0}"#)).get(),
            r#"{"k \"q\"":"x","a":1, "id":8,"a":1.0}"#
        );
        assert_eq!(with(Some("[1]")).get(), r#"{"id":7,"k \"q\"":"x","meta":[1]}"#);
        assert_eq!(Meta::with_others(Some(meta("[1]")), Vec::new()), Some(meta("[1]")));
    }
}
