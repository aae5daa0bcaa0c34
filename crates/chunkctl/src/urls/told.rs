//! A row that `chunkctl urls` wrote, in a list that is submitted: which URL of which job it is about.
//! What the manifest said of it is no part of the item.

use super::row::COLUMNS;
use chunk_handler::chunk::{Detail, UrlKey};
use serde_json::value::RawValue;

/// The fields by which such a row is known, all three, spelled so.
const MARKS: [&str; 3] = ["job_id", "chunk_index", "idx"];
/// The columns that are an item's own.
const OF_ITEM: [&str; 5] = ["url", "label", "caption", "class", "meta"];

/// The first try of the URL that a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstTry {
    /// The job that it was asked for in.
    pub(crate) job_id: i64,
    /// Its place there.
    pub(crate) key: UrlKey,
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
    pub(crate) fn first_try(self) -> Option<FirstTry> {
        let own = UrlKey { chunk_index: self.chunk_index?, idx: self.idx? };
        let key = self.retry_of.unwrap_or(own);
        let is_place = key.chunk_index < 100_000 && key.idx < 100_000;
        Some(FirstTry { job_id: self.job_id?, key }).filter(|_| is_place)
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
    COLUMNS.contains(&name) && !OF_ITEM.contains(&name)
}

/// What an object of these members says beside its item; none: it is no such row.
pub(crate) fn of_members(all: &[(String, impl AsRef<RawValue>)]) -> Option<Fields> {
    let mut fields = Fields::default();
    for (name, value) in all {
        fields.take(name, value.as_ref().get().trim_matches('"'));
    }
    fields.first_try().map(|_| fields)
}

/// Whether a text has the names of all the fields, and so may be such a row.
pub(crate) fn may_be(text: &str) -> bool {
    MARKS.iter().all(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_handler::chunk::source::members;

    #[test]
    fn a_row_is_known_by_job_chunk_and_place() {
        let of = |row: &str| {
            let mut all: Vec<(String, Box<RawValue>)> = Vec::new();
            members(row, |name, value| all.push((name, value.to_owned()))).unwrap();
            Some(of_members(&all)?.first_try()?.key.to_string())
        };
        let row = r#"{"job_id":7,"chunk_index":4,"idx":17,"url":"http://a","key":null,"mine":1}"#;
        assert_eq!(of(row).as_deref(), Some("00004_00017"));
        let again = row.replace("\"key\":null", "\"retry_of\":\"00000_00003\"");
        assert_eq!(of(&again).as_deref(), Some("00000_00003"));
        for other in [
            r#"{"url":"http://a/job_id/chunk_index/idx","status":"ok"}"#,
            r#"{"job_id":7,"chunk_index":"x","idx":17,"url":"http://a"}"#,
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
