//! The rows of a list, divided into the lists of its chunks, and what of them cannot be used: each
//! row that is not blank becomes one item of a manifest (I15).
//!
//! A list is read twice: first all of it is judged, then each chunk's list is written when it is full.
//! Of the first reading only a digest of each chunk is kept.

mod division;

pub(crate) use division::{Division, Growth, UrlDigest, digest_of};

use crate::{
    list::{self, List, Row, Source},
    progress::Progress,
    remarks::{Place, Remarks},
    submit::SubmitError,
};
use chunk_handler::{
    chunk::{ChunkId, ITEM_LIMIT, Item, hex},
    storage::SOURCE_LIMIT,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    ops::ControlFlow,
};

/// What the first reading of a list found.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The digest of each chunk's list.
    pub(crate) chunks: Vec<[u8; 32]>,
    /// All rows.
    pub(crate) n: usize,
    /// What people should know of them.
    pub(crate) remarks: Remarks,
    /// How the files were read.
    pub(crate) format: String,
    /// Of the file, or of the digests of all files, in hex.
    pub(crate) sha256: String,
    /// Whether an item has what earlier releases left in its meta.
    pub(crate) has_caption_or_class: bool,
    /// Rows that ask again for a URL of the job.
    pub(crate) asked_again: usize,
    /// Further rows, that were left out since the job or an earlier row has their URLs.
    pub(crate) left_out: usize,
    /// Rows of `chunkctl urls` that are about another job than the one that grows.
    pub(crate) of_other_jobs: usize,
    /// The chunks that rows of the job itself name, each with the highest place.
    pub(crate) named: BTreeMap<u32, u32>,
}

/// The list of one chunk, as JSON lines.
#[derive(Debug, Default)]
pub(crate) struct ChunkRows {
    /// The blob.
    pub(crate) lines: Vec<u8>,
    /// How many rows.
    pub(crate) n: usize,
}

/// Rows that become chunks.
struct Divider<'d, F> {
    division: &'d Division,
    chunk: ChunkRows,
    n_chunks: usize,
    /// URLs of the rows so far, where none is taken twice.
    taken: HashSet<UrlDigest>,
    /// In the first reading.
    remarks: Option<Remarks>,
    has_caption_or_class: bool,
    asked_again: usize,
    left_out: usize,
    of_other_jobs: usize,
    named: BTreeMap<u32, u32>,
    n: usize,
    /// Whether no more chunks are wanted.
    is_stopped: bool,
    /// Takes each chunk.
    take: F,
}

impl<F: FnMut(ChunkRows) -> ControlFlow<()>> Divider<'_, F> {
    fn new(division: &Division, remarks: Option<Remarks>, take: F) -> Divider<'_, F> {
        Divider {
            division,
            chunk: ChunkRows::default(),
            n_chunks: 0,
            taken: HashSet::new(),
            remarks,
            has_caption_or_class: false,
            asked_again: 0,
            left_out: 0,
            of_other_jobs: 0,
            named: BTreeMap::new(),
            n: 0,
            is_stopped: false,
            take,
        }
    }

    fn push(&mut self, mut row: Row) -> ControlFlow<()> {
        if self.is_had(&row) {
            self.left_out += 1;
            return ControlFlow::Continue(());
        }
        self.division.name_first_try(&mut row);
        self.of_other_jobs += usize::from(self.division.is_of_another(&row));
        let Row { mut item, doubt, .. } = row;
        item.label = item.label.take().or_else(|| self.division.label.clone());
        self.has_caption_or_class |= item.caption.is_some() || item.class.is_some();
        let mut line = line_of(&item);
        if line.len() > ITEM_LIMIT {
            let retry_of = item.retry_of;
            item = Item { retry_of, ..Item::too_large(&item.url, item.label.as_deref()) };
            line = line_of(&item);
        }
        if let Some(key) = item.retry_of {
            self.asked_again += 1;
            let highest = self.named.entry(key.chunk_index).or_default();
            *highest = key.idx.max(*highest);
        }
        if let Some(remarks) = &mut self.remarks {
            remarks.filled.add(&item);
            let place = Place { chunk_index: self.n_chunks, idx: self.chunk.n };
            remarks.unusable.add(place, &item);
            if let Some(doubt) = doubt {
                remarks.doubtful.add(place, &item, doubt);
            }
        }
        // A chunk above the limit is refused, whatever its further lines are.
        if self.chunk.lines.len() <= SOURCE_LIMIT {
            self.chunk.lines.extend(line);
            self.chunk.lines.push(b'\n');
        }
        self.chunk.n += 1;
        self.n += 1;
        if self.chunk.n == self.division.chunk_size {
            self.end_chunk();
        }
        if self.is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether a row is left out: the job has its URL, or an earlier row. The same in both readings.
    fn is_had(&mut self, row: &Row) -> bool {
        let Some(had) = self.division.had() else { return false };
        let url = digest_of(&row.item.url);
        had.contains(&url) || !self.taken.insert(url)
    }

    /// Hands the chunk out that is full.
    fn end_chunk(&mut self) {
        self.n_chunks += 1;
        self.is_stopped = (self.take)(std::mem::take(&mut self.chunk)).is_break();
    }

    /// Hands the last chunk out.
    fn finish(&mut self) {
        if self.chunk.n > 0 && !self.is_stopped {
            self.end_chunk();
        }
    }
}

impl Judged {
    /// Reads all of a list and judges it; nothing is kept of its rows.
    ///
    /// # Errors
    ///
    /// [`SubmitError::List`] when a file is broken or has no URL, [`SubmitError::TooManyChunks`],
    /// [`SubmitError::LongChunk`].
    pub(crate) fn read(
        source: &Source,
        division: &Division,
        progress: &Progress,
    ) -> Result<Self, SubmitError> {
        let most = usize::try_from(ChunkId::MAX_INDEX).unwrap_or(usize::MAX) + 1;
        let mut chunks: Vec<[u8; 32]> = Vec::new();
        let mut refused: Option<SubmitError> = None;
        let mut divider = Divider::new(division, Some(Remarks::default()), |chunk: ChunkRows| {
            if chunk.lines.len() > SOURCE_LIMIT {
                refused = Some(SubmitError::LongChunk { chunk: chunks.len(), n: chunk.n });
            } else if chunks.len() == most {
                refused = Some(SubmitError::TooManyChunks(most));
            }
            chunks.push(Sha256::digest(&chunk.lines).into());
            if refused.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let mut files = Files::default();
        for file in &source.files {
            let (rows, without_url) = (divider.rows(), divider.without_url());
            let read = files.read(source, file, progress, &mut |row| divider.push(row));
            let (format, first) = read.map_err(|error| source.in_file(file, error))?;
            if divider.is_stopped {
                break;
            }
            let rows = divider.rows() - rows;
            if rows > 0 && divider.without_url() - without_url == rows {
                return Err(source.in_file(file, List::without_url(format, &first)).into());
            }
        }
        divider.finish();
        let (n, has_caption_or_class) = (divider.n, divider.has_caption_or_class);
        let (asked_again, left_out) = (divider.asked_again, divider.left_out);
        let (of_other_jobs, named) = (divider.of_other_jobs, std::mem::take(&mut divider.named));
        let mut remarks = divider.remarks.take().unwrap_or_default();
        drop(divider);
        if let Some(refused) = refused {
            return Err(refused);
        }
        if n + left_out == 0 {
            return Err(list::Error::Empty.into());
        }
        remarks.nameless = std::mem::take(&mut files.told.nameless);
        remarks.set_aside = std::mem::take(&mut files.told.set_aside);
        let format = format!("{}{}", files.formats.join("+"), source.names.words());
        let sha256 = files.sha256();
        Ok(Self {
            chunks,
            n,
            remarks,
            format,
            sha256,
            has_caption_or_class,
            asked_again,
            left_out,
            of_other_jobs,
            named,
        })
    }

    /// Reads the list again and hands its chunks out, each exactly as it was judged.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Changed`] when it is another list meanwhile.
    pub(crate) fn read_again(
        &self,
        source: &Source,
        division: &Division,
        progress: &Progress,
        take: &mut dyn FnMut(ChunkRows) -> ControlFlow<()>,
    ) -> Result<(), SubmitError> {
        let mut known = self.chunks.iter();
        let (mut is_other, mut is_over) = (false, false);
        let mut divider = Divider::new(division, None, |chunk: ChunkRows| {
            let digest: [u8; 32] = Sha256::digest(&chunk.lines).into();
            if known.next() != Some(&digest) {
                is_other = true;
                return ControlFlow::Break(());
            }
            let flow = take(chunk);
            is_over = flow.is_break();
            flow
        });
        let mut files = Files::default();
        for file in &source.files {
            let read = files.read(source, file, progress, &mut |row| divider.push(row));
            if divider.is_stopped {
                break;
            }
            // What was read once and cannot be now is another file.
            if read.is_err() {
                return Err(SubmitError::Changed(file.name.clone()));
            }
        }
        divider.finish();
        drop(divider);
        let is_whole = known.next().is_none() && files.sha256() == self.sha256;
        if is_other || (!is_over && !is_whole) {
            let name = |file: &list::Listed| file.name.clone();
            let all: Vec<String> = source.files.iter().map(name).collect();
            return Err(SubmitError::Changed(all.join(", ")));
        }
        Ok(())
    }
}

/// The digests of a list's URLs, which are in memory.
///
/// # Errors
///
/// [`SubmitError::List`] when a file is broken.
pub(crate) fn urls_of(
    source: &Source,
    progress: &Progress,
) -> Result<HashSet<UrlDigest>, SubmitError> {
    let mut urls = HashSet::new();
    let mut files = Files::default();
    for file in &source.files {
        let read = files.read(source, file, progress, &mut |row| {
            urls.insert(digest_of(&row.item.url));
            ControlFlow::Continue(())
        });
        read.map_err(|error| source.in_file(file, error))?;
    }
    Ok(urls)
}

impl<F> Divider<'_, F> {
    /// Those that were read.
    fn rows(&self) -> usize {
        self.n + self.left_out
    }

    fn without_url(&self) -> usize {
        self.remarks.as_ref().map_or(0, |remarks| remarks.unusable.without_url)
    }
}

/// What is known of the files that were read.
#[derive(Debug, Default)]
struct Files {
    digests: Vec<[u8; 32]>,
    formats: Vec<&'static str>,
    told: list::Told,
}

impl Files {
    /// Reads the next file; its format and first line come back.
    fn read(
        &mut self,
        source: &Source,
        file: &list::Listed,
        progress: &Progress,
        take: &mut list::Take<'_>,
    ) -> Result<(list::Format, String), list::Error> {
        let opened = file.open().map_err(list::Error::Read)?;
        let list = List::open(&file.name, opened, source.format, &source.names, progress.clone())?;
        // Of several files some may be empty, as parts of a table are.
        if list.is_blank() && source.files.len() == 1 {
            return Err(list::Error::Empty);
        }
        let (format, first) = (list.format, list.first().to_owned());
        let (told, digest) = list.rows(take)?;
        self.digests.push(digest);
        if self.formats.last() != Some(&format.word()) {
            self.formats.push(format.word());
        }
        self.told.nameless.extend(told.nameless);
        for aside in told.set_aside {
            if !self.told.set_aside.contains(&aside) {
                self.told.set_aside.push(aside);
            }
        }
        Ok((format, first))
    }

    /// Of one file its own; of several that of their digests, in order.
    fn sha256(&self) -> String {
        match self.digests.as_slice() {
            [one] => hex(one),
            all => hex(&Sha256::digest(all.concat())),
        }
    }
}

/// It cannot fail; a row would keep its place even then.
fn line_of(item: &Item) -> Vec<u8> {
    serde_json::to_vec(item).unwrap_or_else(|_| br#"{"url":""}"#.to_vec())
}

#[cfg(test)]
pub(crate) mod tests;
