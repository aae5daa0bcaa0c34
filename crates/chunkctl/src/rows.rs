//! The rows of a list, divided into the lists of its chunks, and what of them cannot be used: each
//! row that is not blank becomes one item of a manifest (I15).

use crate::{
    list::{self, List, Row},
    remarks::{Place, Remarks},
    submit::SubmitError,
};
use chunk_handler::{
    chunk::{ChunkId, ITEM_LIMIT, Item},
    storage::SOURCE_LIMIT,
};

/// The lists of a job's chunks.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// One for each chunk.
    pub(crate) chunks: Vec<ChunkRows>,
    /// All rows.
    pub(crate) n: usize,
    /// What people should know of them.
    pub(crate) remarks: Remarks,
}

/// The list of one chunk, as JSON lines: all that is kept of its rows.
#[derive(Debug, Default)]
pub(crate) struct ChunkRows {
    /// The blob.
    pub(crate) lines: Vec<u8>,
    /// How many rows.
    pub(crate) n: usize,
}

impl Rows {
    /// Reads a list into chunks of a size, at least 1, as far as `take` takes its rows; the label is for
    /// rows without one.
    ///
    /// # Errors
    ///
    /// [`SubmitError::List`] when the list is broken or has no URL, [`SubmitError::TooManyChunks`],
    /// [`SubmitError::LongChunk`].
    pub(crate) fn read(
        list: &List<'_>,
        chunk_size: usize,
        label: Option<&str>,
        mut take: impl FnMut(&mut Row) -> bool,
    ) -> Result<Self, SubmitError> {
        let mut rows = Self::default();
        let nameless = list.rows(&mut |mut row| {
            row.item.label = row.item.label.take().or_else(|| label.map(str::to_owned));
            if take(&mut row) {
                rows.push(row, chunk_size);
            }
        })?;
        rows.remarks.nameless = nameless;
        if rows.n == 0 {
            return Err(list::Error::Empty.into());
        }
        if rows.remarks.unusable.without_url == rows.n {
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

    fn push(&mut self, Row { mut item, doubt, .. }: Row, chunk_size: usize) {
        if self.n.is_multiple_of(chunk_size) {
            if let Some(full) = self.chunks.last_mut() {
                full.lines.shrink_to_fit();
            }
            self.chunks.push(ChunkRows::default());
        }
        let chunk_index = self.chunks.len().saturating_sub(1);
        let Some(chunk) = self.chunks.last_mut() else { return };
        let mut line = line_of(&item);
        if line.len() > ITEM_LIMIT {
            item = Item::too_large(&item.url, item.label.as_deref());
            line = line_of(&item);
        }
        let place = Place { chunk_index, idx: chunk.n };
        self.remarks.unusable.add(place, &item);
        if let Some(doubt) = doubt {
            self.remarks.doubtful.add(place, &item, doubt);
        }
        chunk.lines.extend(line);
        chunk.lines.push(b'\n');
        chunk.n += 1;
        self.n += 1;
    }
}

/// It cannot fail; a row would keep its place even then.
fn line_of(item: &Item) -> Vec<u8> {
    serde_json::to_vec(item).unwrap_or_else(|_| br#"{"url":""}"#.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, chunk_size: usize) -> Result<Rows, SubmitError> {
        let list = List::open("a.csv", text.as_bytes()).unwrap();
        Rows::read(&list, chunk_size, Some("all"), |_| true)
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
        assert_eq!(error, "the job would have more than 100000 chunks; raise --chunk-size");
        assert_eq!(rows(&table(100_001), 2).unwrap().chunks.len(), 50_001);
    }

    /// Case 261: too long as a line of its chunk's list, though not in the file: a name of a column is
    /// in every line.
    #[test]
    fn a_row_whose_line_is_above_the_limit_is_one_that_cannot_be_used() {
        let name = "n".repeat(60_000);
        let text = format!("url,{name}\nhttp://a/1,\nhttp://a/2,{}\n", "x".repeat(6000));
        let rows = rows(&text, 9).unwrap();
        assert_eq!((rows.n, rows.remarks.unusable.rows), (2, 1));
        let lines = String::from_utf8(rows.chunks[0].lines.clone()).unwrap();
        let last = r#"{"url":"http://a/2","label":"all","refused":"item_too_large"}"#;
        assert_eq!(lines.lines().nth(1), Some(last));
    }
}
