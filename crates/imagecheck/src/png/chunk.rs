//! One chunk of a PNG: its kind, its data piece by piece, and its checksum.

use crate::{Refusal, scan::Scan};
use crc32fast::Hasher;
use std::io::{BufRead, Seek};

/// The largest length that a chunk may have (section 5.3).
const MAX_CHUNK_BYTES: u32 = i32::MAX.cast_unsigned();

/// A chunk whose data comes next.
pub(super) struct Chunk {
    pub(super) kind: [u8; 4],
    pub(super) len: u32,
    left: u64,
    crc: Hasher,
}

impl Chunk {
    pub(super) fn open<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Self, Refusal> {
        let [l3, l2, l1, l0, kind @ ..] = scan.array::<8>()?;
        let len = u32::from_be_bytes([l3, l2, l1, l0]);
        if len > MAX_CHUNK_BYTES || !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err(Refusal::Corrupt);
        }
        // Checked before the data is read: a cut file is refused without reading the rest of it.
        if u64::from(len) + 4 > scan.left() {
            return Err(Refusal::Truncated);
        }
        let mut crc = Hasher::new();
        crc.update(&kind);
        Ok(Self { kind, len, left: len.into(), crc })
    }

    /// The bytes of data that were not read yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Shows buffered data, of which there must be some, and takes what the reader used of it.
    pub(super) fn piece<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        read: impl FnOnce(&[u8]) -> usize,
    ) -> Result<(), Refusal> {
        let bytes = scan.peek()?;
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = bytes.get(..most).unwrap_or(bytes);
        let used = read(bytes).min(bytes.len());
        self.crc.update(bytes.get(..used).unwrap_or_default());
        scan.consume(used);
        self.left = self.left.saturating_sub(u64::try_from(used).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Reads as much data as there is room for, and gives what was read.
    pub(super) fn fill<'b, R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        room: &'b mut [u8],
    ) -> Result<&'b [u8], Refusal> {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(room.len());
        let bytes = room.get_mut(..n).unwrap_or_default();
        scan.fill(bytes)?;
        self.crc.update(bytes);
        self.left = self.left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
        Ok(bytes)
    }

    /// Reads data that the chunk must have.
    pub(super) fn array<const N: usize, R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
    ) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        match self.fill(scan, &mut bytes)?.len() {
            n if n == N => Ok(bytes),
            _ => Err(Refusal::Corrupt),
        }
    }

    /// Reads over the first zero, or all data where there is none. Gives the bytes before the zero.
    pub(super) fn skip_past_zero<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
    ) -> Result<u64, Refusal> {
        let before = self.left;
        let mut found = false;
        while self.left > 0 && !found {
            self.piece(scan, |bytes| match memchr::memchr(0, bytes) {
                Some(at) => {
                    found = true;
                    at + 1
                }
                None => bytes.len(),
            })?;
        }
        Ok(before - self.left - u64::from(found))
    }

    /// Reads the rest of the data, for its checksum only, and checks that.
    pub(super) fn close<R: BufRead + Seek>(
        mut self,
        scan: &mut Scan<'_, R>,
    ) -> Result<(), Refusal> {
        while self.left > 0 {
            self.piece(scan, <[u8]>::len)?;
        }
        if u32::from_be_bytes(scan.array()?) == self.crc.finalize() {
            Ok(())
        } else {
            Err(Refusal::Corrupt)
        }
    }
}
