//! The bytes of a file as they are read: hashed, and what was compressed in it with gzip.

use crate::progress::Progress;
use flate2::bufread::GzDecoder;
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
};

/// What every compressed file begins with, and no list does.
pub(super) const GZIP: [u8; 2] = [0x1f, 0x8b];
const BEHIND: &str = "the bytes behind the gzip data are neither gzip nor zeros: something was appended \
    to the file, or it is damaged";
/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;

/// A file whose bytes are hashed and counted as they pass.
#[derive(Debug)]
pub(super) struct Hashed {
    file: File,
    digest: Sha256,
    progress: Progress,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.digest.update(buffer.get(..n).unwrap_or_default());
        self.progress.add(u64::try_from(n).unwrap_or_default());
        Ok(n)
    }
}

/// The file itself, or what was compressed in it, whatever its name says: some transports unpack
/// without changing the name. Members one after another are one; zeros behind the last are no more than
/// padding, as for gzip(1).
#[derive(Debug)]
pub(super) enum Unpacked {
    /// As it is, or behind the last member.
    Plain(BufReader<Hashed>),
    /// In a member.
    Member(GzDecoder<BufReader<Hashed>>),
    /// A step that failed.
    Failed,
}

impl Unpacked {
    /// From a file's first byte on.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(super) fn open(file: File, progress: Progress) -> io::Result<Self> {
        let hashed = Hashed { file, digest: Sha256::new(), progress };
        let mut file = BufReader::with_capacity(BUFFER, hashed);
        let is_packed = file.fill_buf()?.starts_with(&GZIP);
        Ok(if is_packed { Self::Member(GzDecoder::new(file)) } else { Self::Plain(file) })
    }

    /// Whether something is unpacked.
    pub(super) fn is_packed(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// The SHA-256 of the file, of which the rest is read.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(super) fn into_sha256(self) -> io::Result<[u8; 32]> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Member(member) => member.into_inner(),
            Self::Failed => return Err(io::Error::other("it could not be read before")),
        };
        io::copy(&mut file, &mut io::sink())?;
        Ok(file.into_inner().digest.finalize().into())
    }

    /// Goes on behind a member.
    fn next_member(&mut self) -> io::Result<()> {
        let Self::Member(member) = std::mem::replace(self, Self::Failed) else { return Ok(()) };
        let mut file = member.into_inner();
        loop {
            let bytes = file.fill_buf()?;
            let n = bytes.len();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            file.consume(zeros);
            if n == 0 {
                *self = Self::Plain(file);
                return Ok(());
            }
            if zeros < n {
                if file.fill_buf()?.first() != GZIP.first() {
                    return Err(io::Error::other(BEHIND));
                }
                *self = Self::Member(GzDecoder::new(file));
                return Ok(());
            }
        }
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = match self {
                Self::Plain(file) => return file.read(buffer),
                Self::Member(member) => member.read(buffer)?,
                Self::Failed => return Err(io::Error::other("it could not be read before")),
            };
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            self.next_member()?;
        }
    }
}
