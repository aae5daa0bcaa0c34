//! One row: what the manifest says of a URL, with what its list said.

use super::{Format, cell::defused};
use chunk_handler::chunk::{ChunkId, Item, ItemReport, Meta, UrlKey, source::trimmed};
use serde::Serialize;
use serde_json::Value;
use std::io;

/// The columns of a table, in order. A field that a row lacks is an empty cell.
pub(super) const COLUMNS: [&str; 26] = [
    "job_id",
    "chunk_index",
    "idx",
    "url",
    "label",
    "caption",
    "class",
    "meta",
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
    "retry_of",
    "in_vain",
    "shard",
    "offset",
    "length",
    "violations",
    "near_duplicate",
];

/// What is known of one URL.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    #[serde(flatten)]
    id: ChunkId,
    #[serde(flatten)]
    report: ItemReport,
    shard: &'a str,
    /// A later try that ended without a verdict: the same URL asked for once more is another list.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_vain: Option<UrlKey>,
}

impl<'a> Row<'a> {
    /// With URL, label and meta as the list has them, if it is there.
    pub(super) fn new(
        id: ChunkId,
        shard: &'a str,
        mut report: ItemReport,
        item: Option<&Item>,
        in_vain: Option<UrlKey>,
    ) -> Self {
        if let Some(item) = item {
            report.url.clone_from(&item.url);
            report.label.clone_from(&item.label);
            report.caption.clone_from(&item.caption);
            report.class = item.class;
            // A handler of an earlier release wrote none.
            report.retry_of = report.retry_of.or(item.retry_of);
            report.meta.clone_from(&item.meta);
        }
        Self { id, report, shard, in_vain }
    }

    fn cells(mut self) -> serde_json::Result<Vec<String>> {
        // As it is written: a number may have more digits than a value keeps.
        let meta = self.report.meta.take();
        let value = serde_json::to_value(self)?;
        let cell = |name: &&str| match (*name, value.get(*name)) {
            ("meta", _) => defused(meta.as_ref().map_or("", Meta::get)).into_owned(),
            (_, None | Some(Value::Null)) => String::new(),
            (_, Some(Value::String(text))) => defused(text).into_owned(),
            (_, Some(other)) => other.to_string(),
        };
        Ok(COLUMNS.iter().map(cell).collect())
    }
}

/// What rows are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Rows and nothing else, that can be submitted again.
    Rows(Format),
    /// One JSON document of a job.
    Document {
        /// The job.
        job_id: i64,
    },
}

/// Where rows go.
pub(super) struct Output<W> {
    form: Form,
    to: W,
    has_begun: bool,
    /// Whether a row was written.
    has_rows: bool,
    /// URLs that are no line of text.
    pub(super) left_out: usize,
}

impl<W: io::Write> Output<W> {
    pub(super) fn new(form: Form, to: W) -> Self {
        Self { form, to, has_begun: false, has_rows: false, left_out: 0 }
    }

    /// What comes before the first row, when that is there: an error that comes at once has none.
    fn begin(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        match self.form {
            Form::Rows(Format::Csv) => self.record(COLUMNS),
            Form::Rows(Format::Jsonl | Format::Txt) => Ok(()),
            Form::Document { job_id } => write!(self.to, "{{\"job_id\":{job_id},\"urls\":["),
        }
    }

    /// Writes a row.
    pub(super) fn write(&mut self, row: Row<'_>) -> io::Result<()> {
        self.begin()?;
        let separator = if std::mem::replace(&mut self.has_rows, true) { "," } else { "" };
        match self.form {
            Form::Document { .. } => {
                self.to.write_all(separator.as_bytes())?;
                Ok(serde_json::to_writer(&mut self.to, &row)?)
            }
            Form::Rows(Format::Jsonl) => {
                serde_json::to_writer(&mut self.to, &row)?;
                self.to.write_all(b"\n")
            }
            Form::Rows(Format::Csv) => self.record(row.cells()?),
            Form::Rows(Format::Txt) => {
                let url = trimmed(&row.report.url);
                if url.is_empty() || url.contains(['\n', '\r']) {
                    self.left_out += 1;
                    return Ok(());
                }
                writeln!(self.to, "{url}")
            }
        }
    }

    /// Behind the last row.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.begin()?;
        if matches!(self.form, Form::Document { .. }) {
            self.to.write_all(b"]}\n")?;
        }
        self.to.flush()
    }

    fn record(&mut self, cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> io::Result<()> {
        let mut record = csv::Writer::from_writer(Vec::new());
        record.write_record(cells)?;
        let bytes = record.into_inner().map_err(csv::IntoInnerError::into_error)?;
        self.to.write_all(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{
        self, Names,
        tests::{file_of, rows_of},
    };
    use chunk_handler::chunk::{ITEM_LIMIT, Reason};

    fn written(format: Format, items: &[Item]) -> Vec<u8> {
        let mut output = Output::new(Form::Rows(format), Vec::new());
        for (idx, item) in items.iter().enumerate() {
            let mut report =
                ItemReport::rejected(idx, "http://bare".into(), None, Reason::Http(503));
            report.retry_of = item.retry_of;
            let id = ChunkId { job_id: 7, chunk_index: 4 };
            let in_vain = "00009_00004".parse().ok().filter(|_| idx == 5);
            let shard = "job_7/chunks/chunk_00004.tar";
            output.write(Row::new(id, shard, report, Some(item), in_vain)).unwrap();
        }
        output.to
    }

    fn read(name: &str, bytes: &[u8]) -> Vec<list::Row> {
        rows_of(name, file_of(bytes), None, &Names::default()).unwrap()
    }

    fn items() -> Vec<Item> {
        let meta = |json: &str| Some(serde_json::from_str::<Meta>(json).unwrap());
        let of = |url: &str, label: &str, meta| Item {
            label: (!label.is_empty()).then(|| label.to_owned()),
            meta,
            ..Item::of_url(url)
        };
        vec![
            of("http://a/1?x=1,2", "", None),
            of("http://a/2", "=cmd|' /C calc'!A1", meta("-1e999")),
            of("=http://a/3", "'=quoted", meta(r#"{"idx":1,"k":1.0,"k":"@"}"#)),
            of("http://a/4", "two\nhttp://b,\"lines\"", meta(r#""NaN""#)),
            of("http://a/5", "nan", meta("[1,null]")),
            Item { retry_of: "00001_00002".parse().ok(), ..of("http://a/6", " @x", None) },
            Item {
                caption: Some(" =a cat,\n7,4,6,http://b/7,\"on\" a mat ".to_owned()),
                class: Some(-7),
                ..of("http://a/7", "cat", meta(r#"{"text":"t","class":"c","status":1}"#))
            },
            Item { class: Some(i64::MAX), caption: Some("NaN".to_owned()), ..of("u", "", None) },
            // With what is said beside it, its row is above the limit.
            of("http://a/8", &"x".repeat(ITEM_LIMIT - 100), None),
        ]
    }

    /// Case 361: what was written goes back in as the items that it was, in every format.
    #[test]
    fn rows_go_back_in_as_they_are() {
        let array = |lines: &[u8]| {
            let lines = std::str::from_utf8(lines).unwrap().trim_end();
            format!("[{}]", lines.replace('\n', ",")).into_bytes()
        };
        for (name, bytes) in [
            ("a.jsonl", written(Format::Jsonl, &items())),
            ("a.json", array(&written(Format::Jsonl, &items()))),
            ("a.csv", written(Format::Csv, &items())),
        ] {
            let rows = read(name, &bytes);
            for (idx, (row, item)) in rows.iter().zip(items()).enumerate() {
                let own = UrlKey { chunk_index: 4, idx: u32::try_from(idx).unwrap() };
                let first = row.first_try.unwrap();
                assert_eq!((first.job_id, first.key), (7, item.retry_of.unwrap_or(own)));
                assert_eq!(row.item, Item { retry_of: None, ..item }, "{name}");
                assert_eq!(row.doubt, None);
            }
            assert_eq!(rows.len(), items().len(), "{name}");
        }
    }

    #[test]
    fn a_row_has_what_manifest_and_list_say() {
        let line = written(Format::Jsonl, &items()[2..3]);
        let expected = "{\"job_id\":7,\"chunk_index\":4,\"idx\":0,\"url\":\"=http://a/3\",\
            \"label\":\"'=quoted\",\"status\":\"failed\",\"reason\":\"http_503\",\"key\":null,\
            \"format\":null,\"width\":null,\"height\":null,\"file_size\":null,\"sha256\":null,\
            \"phash\":null,\"duplicate_of\":null,\"meta\":{\"idx\":1,\"k\":1.0,\"k\":\"@\"},\
            \"offset\":null,\"length\":null,\"shard\":\"job_7/chunks/chunk_00004.tar\"}\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    /// With `--json` a job's rows are one document, also where there are none.
    #[test]
    fn rows_are_one_document_of_their_job() {
        for n in [0, 1, 3] {
            let mut output = Output::new(Form::Document { job_id: 7 }, Vec::new());
            for idx in 0..n {
                let report = ItemReport::rejected(idx, "http://a".into(), None, Reason::Http(503));
                output
                    .write(Row::new(ChunkId { job_id: 7, chunk_index: 4 }, "", report, None, None))
                    .unwrap();
            }
            output.end().unwrap();
            let document: Value = serde_json::from_slice(&output.to).unwrap();
            assert_eq!(
                (&document["job_id"], document["urls"].as_array().unwrap().len()),
                (&7.into(), n)
            );
        }
    }

    /// A text has one URL a line, or it would be another list.
    #[test]
    fn what_is_no_line_is_left_out_of_a_text() {
        let mut output = Output::new(Form::Rows(Format::Txt), Vec::new());
        for url in ["http://a/1", "http://a\nb", " ", "http://a/2"] {
            let report = ItemReport::rejected(0, url.into(), None, Reason::UrlRefused);
            let id = ChunkId { job_id: 7, chunk_index: 4 };
            output.write(Row::new(id, "", report, None, None)).unwrap();
        }
        assert_eq!((output.left_out, &*output.to), (2, &b"http://a/1\nhttp://a/2\n"[..]));
    }

    /// Case 362: of an item above the limit only the start is known, and it is not asked for as if it were
    /// a URL.
    #[test]
    fn an_item_that_was_too_large_stays_refused() {
        for (format, name) in [(Format::Jsonl, "a.jsonl"), (Format::Csv, "a.csv")] {
            let item = Item::too_large("http://a/start...", None);
            let mut output = Output::new(Form::Rows(format), Vec::new());
            let mut report = ItemReport::rejected(0, item.url.clone(), None, Reason::UrlRefused);
            report.detail = item.refused;
            let id = ChunkId { job_id: 7, chunk_index: 4 };
            output.write(Row::new(id, "", report, Some(&item), None)).unwrap();
            let items: Vec<Item> = read(name, &output.to).into_iter().map(|row| row.item).collect();
            assert_eq!(items, [item]);
        }
    }
}
