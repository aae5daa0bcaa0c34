//! A row that `chunkctl urls` wrote, in a list that is submitted: which URL of which job it is about.
//! What the manifest said of it is no part of the item.

use chunk_handler::chunk::{Detail, UrlKey};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The fields by which such a row is known, all three, spelled so.
const MARKS: [&str; 3] = ["job_id", "chunk_index", "idx"];
/// What the manifest says of a URL.
const VERDICT: [&str; 17] = [
    "status",
    "reason",
    "detail",
    "key",
    "format",
    "width",
    "height",
    "file_size",
    "sha256",
    "phash",
    "duplicate_of",
    "shard",
    "offset",
    "length",
    "violations",
    "near_duplicate",
    "retry_of",
];

/// Which URL a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// The job that it was asked for in.
    pub(crate) job_id: i64,
    /// Its first try there.
    pub(crate) first: UrlKey,
}

/// What is gathered of a row, field by field.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Fields {
    job_id: Option<i64>,
    chunk_index: Option<u32>,
    idx: Option<u32>,
    retry_of: Option<UrlKey>,
    is_too_large: bool,
}

impl Fields {
    /// Takes the text of a field.
    pub(crate) fn take(&mut self, name: &str, text: &str) {
        match name {
            "job_id" => self.job_id = text.parse().ok(),
            "chunk_index" => self.chunk_index = text.parse().ok(),
            "idx" => self.idx = text.parse().ok(),
            "retry_of" => self.retry_of = text.parse().ok(),
            "detail" => self.is_too_large = text == "item_too_large",
            _ => {}
        }
    }

    /// What the row is about; none: a field is no number.
    pub(crate) fn told(self) -> Option<Told> {
        let own = UrlKey { chunk_index: self.chunk_index?, idx: self.idx? };
        Some(Told { job_id: self.job_id?, first: self.retry_of.unwrap_or(own) })
    }

    /// Why the item is refused whatever its URL is: only the start of it is known.
    pub(crate) fn refused(self) -> Option<Detail> {
        self.is_too_large.then_some(Detail::ItemTooLarge)
    }
}

/// Whether a table with columns of these names is one that `chunkctl urls` wrote.
pub(crate) fn is_table(names: &[&str]) -> bool {
    MARKS.iter().all(|mark| names.contains(mark))
}

/// Whether a field of such a row is no part of its item.
pub(crate) fn is_field(name: &str) -> bool {
    MARKS.contains(&name) || VERDICT.contains(&name)
}

/// What an object says, and the object without it; none: it is no such row.
pub(crate) fn of_json(row: &str) -> Option<(Fields, String)> {
    // Most rows are none, and are not read twice.
    if !row.starts_with('{') || !MARKS.iter().all(|mark| row.contains(mark)) {
        return None;
    }
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(row).ok()?;
    if !MARKS.iter().all(|mark| members.contains_key(*mark)) {
        return None;
    }
    let mut fields = Fields::default();
    members.retain(|name, value| {
        let is_field = is_field(name);
        if is_field {
            fields.take(name, value.get().trim_matches('"'));
        }
        !is_field
    });
    fields.told()?;
    Some((fields, serde_json::to_string(&members).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_job_chunk_and_place() {
        let row = r#"{"job_id":7,"chunk_index":4,"idx":17,"url":"http://a","meta":{"n":1.0},"status":"failed","key":null,"mine":1}"#;
        let (fields, rest) = of_json(row).unwrap();
        assert_eq!(rest, r#"{"meta":{"n":1.0},"mine":1,"url":"http://a"}"#);
        assert_eq!(fields.told().unwrap().first.to_string(), "00004_00017");
        let again = row.replace("\"key\":null", "\"retry_of\":\"00000_00003\"");
        assert_eq!(of_json(&again).unwrap().0.told().unwrap().first.to_string(), "00000_00003");
        for other in [
            r#"{"url":"http://a/job_id/chunk_index/idx","status":"ok"}"#,
            r#"{"job_id":7,"chunk_index":"x","idx":17,"url":"http://a"}"#,
            r#"["job_id","chunk_index","idx"]"#,
        ] {
            assert!(of_json(other).is_none(), "{other}");
        }
    }
}
