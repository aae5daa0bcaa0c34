//! Reads a body wherever it is, in work that grows with what is read and not with what lies before it.

use super::body::{SEGMENT_BYTES, as_u64};
use std::{
    fs::File,
    io::{self, BufRead, Read, Seek, SeekFrom},
    os::unix::fs::FileExt as _,
};

/// The bytes of a body, a segment at a time.
#[derive(Debug)]
pub struct BodyReader<'a> {
    source: Source<'a>,
    len: u64,
    /// From the start.
    position: u64,
    /// Where the segment at hand starts, and its length; none at first.
    start: u64,
    held: usize,
    /// Segments looked up or read from the file: what the reader's work grows with.
    n_segments: u64,
}

#[derive(Debug)]
enum Source<'a> {
    Memory {
        segments: &'a [Vec<u8>],
        /// Where each segment ends.
        ends: Vec<u64>,
        /// The one at hand.
        index: usize,
    },
    File {
        file: File,
        segment: Vec<u8>,
        /// The first failure to read: parsers take it for a short file.
        fault: Option<io::Error>,
    },
}

impl<'a> BodyReader<'a> {
    /// The bytes of these segments, which may differ in length.
    pub(super) fn of_memory(segments: &'a [Vec<u8>]) -> Self {
        let add = |end: &mut u64, segment: &Vec<u8>| {
            *end += as_u64(segment.len());
            Some(*end)
        };
        let ends: Vec<u64> = segments.iter().scan(0, add).collect();
        let len = ends.last().copied().unwrap_or(0);
        Self::new(Source::Memory { segments, ends, index: 0 }, len)
    }

    /// The bytes of a file of this length.
    pub(super) fn of_file(file: File, len: u64) -> Self {
        Self::new(Source::File { file, segment: Vec::new(), fault: None }, len)
    }

    fn new(source: Source<'a>, len: u64) -> Self {
        Self { source, len, position: 0, start: 0, held: 0, n_segments: 0 }
    }

    /// Segments that were looked up, or read from the file, so far.
    pub fn n_segments(&self) -> u64 {
        self.n_segments
    }

    /// The first failure to read the file.
    pub(super) fn into_fault(self) -> Option<io::Error> {
        match self.source {
            Source::Memory { .. } => None,
            Source::File { fault, .. } => fault,
        }
    }

    /// Makes the segment that holds `position` the one at hand.
    fn load(&mut self) -> io::Result<()> {
        self.n_segments += 1;
        match &mut self.source {
            Source::Memory { segments, ends, index } => {
                // The next one, mostly.
                let next = *index + 1;
                let is_in = |i: usize| ends.get(i).is_some_and(|end| self.position < *end);
                let is_next = is_in(next) && !is_in(next - 1);
                *index =
                    if is_next { next } else { ends.partition_point(|end| *end <= self.position) };
                self.held = segments.get(*index).map_or(0, Vec::len);
                self.start = ends.get(*index).map_or(0, |end| end - as_u64(self.held));
            }
            Source::File { file, segment, fault } => {
                let size = as_u64(SEGMENT_BYTES);
                self.start = self.position - self.position % size;
                let n = (self.len - self.start).min(size);
                segment.resize(usize::try_from(n).unwrap_or(0), 0);
                self.held = 0;
                if let Err(error) = file.read_exact_at(segment, self.start) {
                    let kind = error.kind();
                    fault.get_or_insert(error);
                    return Err(kind.into());
                }
                self.held = segment.len();
            }
        }
        Ok(())
    }
}

impl BufRead for BodyReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.len {
            return Ok(&[]);
        }
        if self.position < self.start || self.position >= self.start + as_u64(self.held) {
            self.load()?;
        }
        let at = usize::try_from(self.position - self.start).unwrap_or(usize::MAX);
        let segment = match &self.source {
            Source::Memory { segments, index, .. } => segments.get(*index),
            Source::File { segment, .. } => Some(segment),
        };
        Ok(segment.and_then(|segment| segment.get(at..)).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.position += as_u64(n);
    }
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl Seek for BodyReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(n) => Some(n),
            SeekFrom::End(n) => self.len.checked_add_signed(n),
            SeekFrom::Current(n) => self.position.checked_add_signed(n),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
