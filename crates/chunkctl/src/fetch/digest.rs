//! What the service says of a blob's bytes, and what a file's are.

use chunk_handler::{chunk::hex, storage::ListedBlob};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use std::{fs::File, io, io::Read as _, path::Path};

/// How a blob's bytes are known without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// By its metadata: shards and documents. In hex.
    Sha256(String),
    /// By the service: manifests, which come in one request. In hex.
    Md5(String),
    /// Not at all: only its version is.
    Version(String),
}

impl Told {
    pub(super) fn of(blob: &ListedBlob) -> Self {
        match (blob.head.metadata.get("sha256"), &blob.md5) {
            (Some(sha256), _) => Self::Sha256(sha256.clone()),
            (None, Some(md5)) => Self::Md5(hex(md5)),
            (None, None) => Self::Version(hex(&Sha256::digest(blob.head.etag.to_string()))),
        }
    }

    /// Begins to hash what shall have these bytes.
    pub(super) fn hasher(&self) -> Hasher {
        match self {
            Self::Sha256(_) | Self::Version(_) => Hasher::Sha256(Sha256::new()),
            Self::Md5(_) => Hasher::Md5(Md5::new()),
        }
    }

    /// Whether bytes that were hashed to the end are these. What nobody told is taken as it came.
    pub(super) fn is(&self, hasher: Hasher) -> bool {
        match self {
            Self::Sha256(told) | Self::Md5(told) => hasher.hex() == *told,
            Self::Version(_) => true,
        }
    }

    /// Sixteen digits that are others for other bytes.
    pub(super) fn tag(&self) -> String {
        let (Self::Sha256(told) | Self::Md5(told) | Self::Version(told)) = self;
        // What is told is not ours: no more than digits go into a file's name.
        let digits = told.chars().filter(char::is_ascii_hexdigit);
        digits.chain(std::iter::repeat('0')).take(16).collect()
    }

    /// Whether a file, read from its start, has these bytes.
    pub(super) fn is_file(&self, file: &mut File) -> io::Result<bool> {
        let mut hasher = self.hasher();
        hasher.read(file)?;
        Ok(!matches!(self, Self::Version(_)) && self.is(hasher))
    }
}

/// A hash that grows.
#[derive(Debug)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Md5(Md5),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
        }
    }

    /// Takes the rest of a file; how many bytes that was.
    pub(super) fn read(&mut self, file: &mut File) -> io::Result<u64> {
        let mut buffer = vec![0; 256 * 1024];
        let mut total = 0;
        loop {
            let n = file.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
                return Ok(total);
            };
            self.update(bytes);
            total += u64::try_from(n).unwrap_or(0);
        }
    }

    fn hex(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Md5(hasher) => hex(&hasher.finalize()),
        }
    }
}

/// The SHA-256 of a file in hex.
pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Hasher::Sha256(Sha256::new());
    hasher.read(&mut File::open(path)?)?;
    Ok(hasher.hex())
}
