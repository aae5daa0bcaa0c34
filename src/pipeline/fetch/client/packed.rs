//! Bodies that are compressed on their way, as curl takes them: `Transfer-Encoding: gzip, chunked`, or `deflate`.
//! Nobody asks for it, and some servers do it; others say it of a plain body.

use flate2::write::{MultiGzDecoder, ZlibDecoder};
use std::io::{self, Write as _};

/// The first byte of gzip (RFC 1952, section 2.3.1); no picture begins with it.
const MAGIC: u8 = 0x1F;
/// The first byte of what is called deflate there: zlib (RFC 9112, section 7.2) with the window that all
/// use; neither does one begin with it.
const ZLIB: u8 = 0x78;

/// Unpacks a body, if it is packed.
#[derive(Debug)]
pub(super) enum Unpacker {
    Start,
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
}

impl Unpacker {
    /// Bytes that may be given at once: they may become a thousand times as many.
    pub(super) const PIECE: usize = 256;

    /// What these bytes of the body mean.
    ///
    /// # Errors
    ///
    /// `InvalidInput` or `InvalidData`: it began as gzip or zlib, and is none.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        if let (Self::Start, Some(first)) = (&self, bytes.first()) {
            *self = match *first {
                MAGIC => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
                ZLIB => Self::Zlib(Box::new(ZlibDecoder::new(Vec::new()))),
                _ => Self::Plain,
            };
        }
        match self {
            Self::Start | Self::Plain => Ok(bytes.to_vec()),
            Self::Gzip(decoder) => {
                decoder.write_all(bytes)?;
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zlib(decoder) => {
                decoder.write_all(bytes)?;
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }

    /// What was still to come when the body ends.
    ///
    /// # Errors
    ///
    /// The same, and when its end is missing.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Start | Self::Plain => Ok(Vec::new()),
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zlib(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Unpacks in pieces of this size.
    fn unpacked(bytes: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let mut unpacker = Unpacker::Start;
        let mut out = Vec::new();
        for piece in bytes.chunks(size) {
            out.extend(unpacker.push(piece)?);
        }
        out.extend(unpacker.finish()?);
        Ok(out)
    }

    /// Case 219: a body that is packed, in one member or two, and one that only says so.
    #[test]
    fn what_is_packed_is_unpacked() {
        let body: Vec<u8> = (0..3000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let twice = [packed(&body), packed(b"more")].concat();
        for size in [1, 7, Unpacker::PIECE, 100_000] {
            assert_eq!(unpacked(&packed(&body), size).unwrap(), body, "{size}");
            assert_eq!(unpacked(&twice, size).unwrap(), [&body[..], b"more"].concat(), "{size}");
            assert_eq!(unpacked(&body, size).unwrap(), body, "{size}");
        }
        assert_eq!(unpacked(b"", 1).unwrap(), b"");
        for level in [Compression::none(), Compression::fast(), Compression::best()] {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(&body).unwrap();
            let zlib = encoder.finish().unwrap();
            assert_eq!(unpacked(&zlib, 7).unwrap(), body);
            assert!(unpacked(&zlib[..zlib.len() - 1], 7).is_err());
        }
    }

    /// Case 219: what breaks off or is no gzip is an error; one piece gives a bounded number of bytes.
    #[test]
    fn what_is_broken_is_an_error_and_a_bomb_comes_in_small_parts() {
        let whole = packed(&[7; 5000]);
        assert!(unpacked(&whole[..whole.len() - 1], 64).is_err());
        assert!(unpacked(b"\x1f\x8b\x08 and so on, which is none", 64).is_err());
        let bomb = packed(&vec![0; 16 << 20]);
        let mut unpacker = Unpacker::Start;
        let sizes = bomb.chunks(Unpacker::PIECE).map(|piece| unpacker.push(piece).unwrap().len());
        assert!(sizes.max().unwrap() <= 300 * 1024);
    }
}
