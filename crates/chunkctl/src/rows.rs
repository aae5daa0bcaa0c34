//! The rows of a list, divided into the lists of its chunks, and what of them cannot be used: each
//! row that is not blank becomes one item of a manifest (I15).

use crate::{
    list::{self, List, shown},
    submit::SubmitError,
};
use chunk_handler::{
    chunk::{ChunkId, Item, source::is_web_url},
    storage::SOURCE_LIMIT,
};
use serde::Serialize;

/// Rows that cannot be used and are shown.
const SHOWN: usize = 5;

/// The lists of a job's chunks.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// One for each chunk.
    pub(crate) chunks: Vec<ChunkRows>,
    /// All rows.
    pub(crate) n: usize,
    /// Those that cannot be used.
    pub(crate) unusable: Unusable,
}

/// The list of one chunk, as JSON lines: all that is kept of its rows.
#[derive(Debug, Default)]
pub(crate) struct ChunkRows {
    /// The blob.
    pub(crate) lines: Vec<u8>,
    /// How many rows.
    pub(crate) n: usize,
}

/// Rows without an http(s) URL. They are items of manifests, too: failed, `url_refused`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Unusable {
    /// How many.
    pub(crate) rows: usize,
    /// The first of them.
    pub(crate) first: Vec<UnusableRow>,
}

/// A row without an http(s) URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UnusableRow {
    /// The chunk.
    pub(crate) chunk_index: usize,
    /// Its place in the chunk, from 0, as in the manifest.
    pub(crate) idx: usize,
    /// What it has in place of a URL, as it may be shown.
    pub(crate) url: String,
}

impl Rows {
    /// Reads a list into chunks of a size, at least 1; the label is for rows without one.
    ///
    /// # Errors
    ///
    /// [`SubmitError::List`] when the list is broken or has no URL, [`SubmitError::TooManyChunks`],
    /// [`SubmitError::LongChunk`].
    pub(crate) fn read(
        list: &List<'_>,
        chunk_size: usize,
        label: Option<&str>,
    ) -> Result<Self, SubmitError> {
        let mut rows = Self::default();
        list.rows(&mut |mut item| {
            item.label = item.label.take().or_else(|| label.map(str::to_owned));
            rows.push(&item, chunk_size);
        })?;
        if rows.n == 0 {
            return Err(list::Error::Empty.into());
        }
        if rows.unusable.rows == rows.n {
            return Err(list.without_url().into());
        }
        let most = usize::try_from(ChunkId::MAX_INDEX).unwrap_or(usize::MAX) + 1;
        if rows.chunks.len() > most {
            return Err(SubmitError::TooManyChunks(most));
        }
        let is_long = |chunk: &ChunkRows| chunk.lines.len() > SOURCE_LIMIT;
        if let Some(chunk) = rows.chunks.iter().position(is_long) {
            let n = rows.chunks.get(chunk).map_or(0, |chunk| chunk.n);
            return Err(SubmitError::LongChunk { chunk, n });
        }
        Ok(rows)
    }

    fn push(&mut self, item: &Item, chunk_size: usize) {
        if self.n.is_multiple_of(chunk_size) {
            if let Some(full) = self.chunks.last_mut() {
                full.lines.shrink_to_fit();
            }
            self.chunks.push(ChunkRows::default());
        }
        let chunk_index = self.chunks.len().saturating_sub(1);
        let Some(chunk) = self.chunks.last_mut() else { return };
        if !is_web_url(&item.url) {
            self.unusable.rows += 1;
            if self.unusable.first.len() < SHOWN {
                let row = UnusableRow { chunk_index, idx: chunk.n, url: shown(&item.url) };
                self.unusable.first.push(row);
            }
        }
        // It cannot fail; a row would keep its place even then.
        let line = serde_json::to_vec(item).unwrap_or_else(|_| br#"{"url":""}"#.to_vec());
        chunk.lines.extend(line);
        chunk.lines.push(b'\n');
        chunk.n += 1;
        self.n += 1;
    }
}

impl Unusable {
    /// What people should know before the job runs. None: every row has a URL.
    pub(crate) fn warning(&self, of_rows: usize) -> Option<String> {
        if self.rows == 0 {
            return None;
        }
        let mut text = format!(
            "{} of {of_rows} rows have no http(s) URL; each is in its manifest, as failed \
             (url_refused)",
            self.rows
        );
        for UnusableRow { chunk_index, idx, url } in &self.first {
            text.push_str(&format!("\n  chunk {chunk_index}, idx {idx}: `{url}`"));
        }
        if self.rows > self.first.len() {
            text.push_str("\n  ...");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, chunk_size: usize) -> Result<Rows, SubmitError> {
        let list = List::open("a.csv", text.as_bytes()).unwrap();
        Rows::read(&list, chunk_size, Some("all"))
    }

    #[test]
    fn the_label_of_the_job_is_for_urls_without_one() {
        let rows = rows("url,label\nhttp://a/1,cat\n,\n", 2).unwrap();
        let lines = String::from_utf8(rows.chunks[0].lines.clone()).unwrap();
        let expected =
            "{\"url\":\"http://a/1\",\"label\":\"cat\"}\n{\"url\":\"\",\"label\":\"all\"}\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_job_has_at_most_as_many_chunks_as_there_are_indices() {
        let table = |n: usize| format!("url\n{}", "http://a\n".repeat(n));
        assert!(rows(&table(100_000), 1).is_ok());
        let error = rows(&table(100_001), 1).unwrap_err().to_string();
        assert_eq!(error, "the file has more than 100000 chunks; raise --chunk-size");
        assert_eq!(rows(&table(100_001), 2).unwrap().chunks.len(), 50_001);
    }

    /// Case 194, I15: each has its place in a chunk, the first five are shown, and a secret is not.
    #[test]
    fn rows_that_cannot_be_used_are_counted_and_shown() {
        let table = "url\nhttp://a\nftp://u:p@a/b?sig=1\nno url\n\"\"\nhttp://b\n{\u{1b}\nx\ny\n";
        let rows = rows(table, 3).unwrap();
        assert_eq!((rows.n, rows.chunks.len(), rows.chunks[2].n), (8, 3, 2));
        let warning = rows.unusable.warning(rows.n).unwrap();
        assert_eq!(
            warning.lines().collect::<Vec<_>>(),
            [
                "6 of 8 rows have no http(s) URL; each is in its manifest, as failed (url_refused)",
                "  chunk 0, idx 1: `ftp://a/b`",
                "  chunk 0, idx 2: `no url`",
                "  chunk 1, idx 0: ``",
                "  chunk 1, idx 2: `{\\u{1b}`",
                "  chunk 2, idx 0: `x`",
                "  ...",
            ]
        );
        assert_eq!(rows_of("url\nhttp://a\n").unusable.warning(1), None);
    }

    fn rows_of(text: &str) -> Rows {
        rows(text, 9).unwrap()
    }
}
