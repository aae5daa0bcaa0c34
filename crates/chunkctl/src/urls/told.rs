//! A row that `chunkctl urls` wrote, in a list that is submitted: which URL of which job it is about.
//! What the manifest said of it is no part of the item.

use super::row::COLUMNS;
use chunk_handler::chunk::{
    Detail, UrlKey,
    source::{class_of, trimmed},
};
use serde_json::value::RawValue;

/// The fields by which such a row is known, all three.
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
    /// The error is a text that is no key.
    retry_of: Option<Result<UrlKey, ()>>,
    is_too_large: bool,
    /// Whether one of the marks says something.
    is_marked: bool,
}

impl Fields {
    /// Of the members of an object, each with its column.
    pub(crate) fn of_members(
        all: &[(String, impl AsRef<RawValue>)],
        columns: &[Option<&'static str>],
    ) -> Self {
        let mut fields = Self::default();
        for ((_, value), column) in all.iter().zip(columns) {
            fields.take(*column, value.as_ref().get().trim_matches('"'));
        }
        fields
    }

    /// Takes the text of a column. An integer may have become a fraction on its way.
    pub(crate) fn take(&mut self, column: Option<&'static str>, text: &str) {
        let text = trimmed(text);
        let Some(column) = column.filter(|_| !matches!(text, "" | "null" | "NaN" | "nan")) else {
            return;
        };
        self.is_marked |= MARKS.contains(&column);
        let place = || u32::try_from(class_of(text)?).ok();
        match column {
            "job_id" => self.job_id = class_of(text),
            "chunk_index" => self.chunk_index = place(),
            "idx" => self.idx = place(),
            "retry_of" => self.retry_of = Some(text.parse().map_err(|_| ())),
            "detail" => self.is_too_large = text == "item_too_large",
            _ => {}
        }
    }

    /// What the row is about; none: it is none of ours, or what says so is damaged.
    pub(crate) fn first_try(self) -> Option<FirstTry> {
        let own = UrlKey { chunk_index: self.chunk_index?, idx: self.idx? };
        let key = self.retry_of.unwrap_or(Ok(own)).ok()?;
        let is_place = key.chunk_index < 100_000 && key.idx < 100_000;
        Some(FirstTry { job_id: self.job_id?, key }).filter(|_| is_place)
    }

    /// Whether the row seems to be one of ours, and cannot be known.
    pub(crate) fn is_damaged(self) -> bool {
        self.is_marked && self.first_try().is_none()
    }

    /// Why the item is refused whatever its URL is: only the start of it is known.
    pub(crate) fn refused(self) -> Option<Detail> {
        self.is_too_large.then_some(Detail::ItemTooLarge)
    }
}

/// Which column of such a row each of some names is, but for those of its item, also in other letters or
/// with other separators; none: it is somebody's own. One mark alone is, too.
pub(crate) fn columns(names: &[&str]) -> Vec<Option<&'static str>> {
    let mut columns = vec![None; names.len()];
    for column in COLUMNS.into_iter().filter(|column| !OF_ITEM.contains(column)) {
        let exact = names.iter().position(|name| *name == column);
        let at = exact.or_else(|| names.iter().position(|name| plain(name).eq(plain(column))));
        if let Some(of) = at.and_then(|at| columns.get_mut(at)) {
            *of = Some(column);
        }
    }
    let marks = MARKS.iter().filter(|mark| columns.contains(&Some(**mark))).count();
    if marks < 2 { vec![None; names.len()] } else { columns }
}

/// A name as far as tables on their way through other tools keep it.
fn plain(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase)
}

/// Whether a table of these columns is one that `chunkctl urls` wrote.
pub(crate) fn is_table(columns: &[Option<&'static str>]) -> bool {
    MARKS.iter().all(|mark| columns.contains(&Some(*mark)))
}

/// Whether a name is that of an index, as pandas calls what it numbered itself.
pub(crate) fn is_index(name: &str) -> bool {
    let number = name.strip_prefix("Unnamed: ").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
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
            let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
            let fields = Fields::of_members(&all, &columns(&names));
            assert!(fields.first_try().is_none() || !fields.is_damaged());
            (fields.first_try().map(|first| first.key.to_string()), fields.is_damaged())
        };
        let known = |key: &str| (Some(key.to_owned()), false);
        let row = r#"{"job_id":7,"chunk_index":4,"idx":17,"url":"http://a","key":null,"mine":1}"#;
        assert_eq!(of(row), known("00004_00017"));
        let again = row.replace("\"key\":null", "\"retry_of\":\"00000_00003\"");
        assert_eq!(of(&again), known("00000_00003"));
        let sent_back = r#"{"Job Id":7.0,"chunk-index":"4.0","IDX":17.0,"Retry_Of":null}"#;
        assert_eq!(of(sent_back), known("00004_00017"));
        for other in [
            r#"{"url":"http://a/job_id/chunk_index/idx","status":"ok"}"#,
            r#"{"idx":17,"status":"ok"}"#,
            r#"{"job_id":null,"chunk_index":"","idx":"NaN","retry_of":"mine"}"#,
        ] {
            assert_eq!(of(other), (None, false), "{other}");
        }
        for damaged in [
            r#"{"job_id":7,"chunk_index":"x","idx":17}"#,
            r#"{"job_id":7,"chunk_index":4,"idx":17.5}"#,
            r#"{"job_id":7,"chunk_index":4,"idx":-1}"#,
            r#"{"job_id":7,"chunk_index":null,"idx":17}"#,
            r#"{"chunk_index":4,"idx":17}"#,
            r#"{"job_id":7,"chunk_index":4,"idx":17,"retry_of":"3"}"#,
            r#"{"job_id":7,"chunk_index":4,"idx":100000}"#,
        ] {
            assert_eq!(of(damaged), (None, true), "{damaged}");
        }
    }
}
