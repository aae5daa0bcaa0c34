//! An image body as it grows: in memory while there is room, then in a file.

use super::{Allowance, BodyReader, Grown, Reservation};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Memory is taken in segments of at most this: no copy when a body grows, little waste.
pub(super) const SEGMENT_BYTES: usize = 64 * 1024;

/// A body under way.
#[derive(Debug)]
pub struct BodyWriter {
    reservation: Arc<Reservation>,
    location: Location,
    len: u64,
    expected_len: Option<u64>,
    sha256: Sha256,
}

#[derive(Debug)]
enum Location {
    Memory(Vec<Vec<u8>>),
    /// The file, and bytes that are still to be written to it: frames may be of one byte.
    File(Arc<SpooledFile>, Vec<u8>),
}

/// A temporary file, removed when it is dropped; only then are its bytes free.
///
/// It is open only while it is written or read: a hundred bodies that wait would take as many
/// descriptors.
#[derive(Debug)]
struct SpooledFile {
    path: PathBuf,
    _reservation: Arc<Reservation>,
}

impl Drop for SpooledFile {
    fn drop(&mut self) {
        // A file that stays is removed with its directory.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

impl BodyWriter {
    /// An empty body of a chunk; `expected_len` sizes its segments.
    pub fn new(allowance: &Allowance, expected_len: Option<u64>) -> Self {
        Self {
            reservation: Arc::new(allowance.reserve_nothing()),
            location: Location::Memory(Vec::new()),
            len: 0,
            expected_len,
            sha256: Sha256::new(),
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes so far; none when they are in a file.
    pub(crate) fn reader(&self) -> Option<BodyReader<'_>> {
        match &self.location {
            Location::Memory(segments) => Some(BodyReader::of_memory(segments)),
            Location::File(..) => None,
        }
    }

    /// Appends bytes, waiting for room; returns how long it waited.
    ///
    /// # Errors
    ///
    /// When the temporary file cannot be written.
    pub async fn push(&mut self, frame: Bytes) -> io::Result<Duration> {
        self.sha256.update(&frame);
        self.len += as_u64(frame.len());
        let mut waited = Duration::ZERO;
        let mut rest = frame;
        while !rest.is_empty() {
            match &mut self.location {
                Location::File(file, unwritten) => {
                    waited += self.reservation.grow_temp(as_u64(rest.len())).await;
                    unwritten.extend_from_slice(&rest);
                    if unwritten.len() >= SEGMENT_BYTES {
                        append(Arc::clone(file), vec![std::mem::take(unwritten).into()]).await?;
                    }
                    return Ok(waited);
                }
                Location::Memory(segments) => {
                    if let Some(last) = segments.last_mut() {
                        let room = (last.capacity() - last.len()).min(rest.len());
                        last.extend_from_slice(&rest.split_to(room));
                    }
                    if !rest.is_empty() {
                        waited += self.next_segment(rest.len()).await?;
                    }
                }
            }
        }
        Ok(waited)
    }

    /// Adds a segment, or moves the body to a file.
    async fn next_segment(&mut self, rest: usize) -> io::Result<Duration> {
        let Location::Memory(segments) = &mut self.location else { return Ok(Duration::ZERO) };
        let held: u64 = segments.iter().map(|s| as_u64(s.len())).sum();
        let size = match self.expected_len {
            Some(expected) => usize::try_from(expected.saturating_sub(held)).unwrap_or(usize::MAX),
            None => SEGMENT_BYTES,
        };
        // A body longer than announced still gets what its frame needs.
        let size = size.max(rest).min(SEGMENT_BYTES);
        let (grown, waited) = self.reservation.grow_either(as_u64(size), held).await;
        match grown {
            Grown::Memory => segments.push(Vec::with_capacity(size)),
            Grown::Temp => {
                let segments = std::mem::take(segments).into_iter().map(Bytes::from).collect();
                let path = self.reservation.allowance.share.budget.directory().new_path();
                let file = Arc::new(create(path, Arc::clone(&self.reservation)).await?);
                append(Arc::clone(&file), segments).await?;
                self.reservation.free_memory();
                self.location = Location::File(file, Vec::new());
            }
        }
        Ok(waited)
    }

    /// The whole body and its SHA-256.
    ///
    /// # Errors
    ///
    /// When the temporary file cannot be written.
    pub async fn finish(mut self) -> io::Result<(Body, Vec<u8>)> {
        if let Location::File(file, unwritten) = &mut self.location
            && !unwritten.is_empty()
        {
            append(Arc::clone(file), vec![std::mem::take(unwritten).into()]).await?;
        }
        let sha256 = self.sha256.finalize().to_vec();
        let body = Body { len: self.len, location: self.location, _reservation: self.reservation };
        Ok((body, sha256))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

async fn create(path: PathBuf, reservation: Arc<Reservation>) -> io::Result<SpooledFile> {
    blocking(move || {
        drop(File::create_new(&path)?);
        Ok(SpooledFile { path, _reservation: reservation })
    })
    .await
}

async fn append(file: Arc<SpooledFile>, pieces: Vec<Bytes>) -> io::Result<()> {
    blocking(move || {
        let mut open = File::options().append(true).open(&file.path)?;
        pieces.iter().try_for_each(|piece| open.write_all(piece))
    })
    .await
}

pub(super) fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A whole body; dropping it frees its bytes.
#[derive(Debug)]
pub struct Body {
    location: Location,
    len: u64,
    _reservation: Arc<Reservation>,
}

/// Below this a body in memory is examined on the current thread: moving it to another costs more.
const INLINE_BYTES: u64 = 1024 * 1024;

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without any byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there was no memory for it: others may wait for its bytes.
    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self.location, Location::File(..))
    }

    /// Whether to examine it is for a thread of its own.
    pub(crate) fn takes_long(&self) -> bool {
        self.len >= INLINE_BYTES || self.is_on_disk()
    }

    /// Examines the bytes: CPU work, on a thread for it when it may be long.
    ///
    /// # Errors
    ///
    /// When the temporary file cannot be opened, or the examination panicked.
    pub(crate) async fn examine<T: Send + 'static>(
        self,
        on_thread: bool,
        examine: impl FnOnce(&mut BodyReader<'_>, u64) -> T + Send + 'static,
    ) -> io::Result<(Self, T)> {
        if !on_thread && !self.takes_long() {
            return self.examine_here(examine);
        }
        blocking(move || self.examine_here(examine)).await
    }

    /// A file that cannot be read is a fault of ours. The parser saw only a short file, and its verdict
    /// about the image is void.
    fn examine_here<T>(
        self,
        examine: impl FnOnce(&mut BodyReader<'_>, u64) -> T,
    ) -> io::Result<(Self, T)> {
        let mut reader = self.reader()?;
        let result = examine(&mut reader, self.len);
        match reader.into_fault() {
            Some(fault) => Err(fault),
            None => Ok((self, result)),
        }
    }

    fn reader(&self) -> io::Result<BodyReader<'_>> {
        match &self.location {
            Location::Memory(segments) => Ok(BodyReader::of_memory(segments)),
            Location::File(spooled, _) => {
                Ok(BodyReader::of_file(File::open(&spooled.path)?, self.len))
            }
        }
    }

    /// The bytes in pieces, for the shard.
    pub(crate) fn into_pieces(self) -> Pieces {
        Pieces { body: self, next: 0 }
    }
}

/// A body's bytes, a piece at a time.
#[derive(Debug)]
pub struct Pieces {
    body: Body,
    next: u64,
}

impl Pieces {
    /// The next piece of at most 64 KiB; none at the end.
    ///
    /// # Errors
    ///
    /// When the temporary file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match &mut self.body.location {
            Location::Memory(segments) => {
                let index = usize::try_from(self.next).unwrap_or(usize::MAX);
                self.next += 1;
                Ok(segments.get_mut(index).map(std::mem::take))
            }
            Location::File(file, _) => {
                let (file, at) = (Arc::clone(file), self.next);
                let n = self.body.len.saturating_sub(at).min(as_u64(SEGMENT_BYTES));
                // Bounded and short-lived: one piece for each chunk.
                let piece = blocking(move || {
                    let mut piece = vec![0; usize::try_from(n).unwrap_or(0)];
                    File::open(&file.path)?.read_exact_at(&mut piece, at)?;
                    Ok(piece)
                })
                .await?;
                self.next += as_u64(piece.len());
                Ok((!piece.is_empty()).then_some(piece))
            }
        }
    }
}
