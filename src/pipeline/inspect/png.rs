//! PNG: chunks with their checksums up to the end chunk.

use super::{Size, crc32::Crc32, scan::Scan};
use crate::chunk::{Level, Reason};
use std::io::{BufRead, Seek};

/// The largest length a chunk may have.
const MAX_CHUNK_BYTES: u32 = i32::MAX.cast_unsigned();

/// Colour type of images that need a palette.
const INDEXED: u8 = 3;

/// What the header chunk says.
struct Header {
    size: Size,
    colour: u8,
}

/// Reads the dimensions and, above fast, walks all chunks.
///
/// Compressed data is never inflated here. What follows the end chunk is not looked at.
pub(super) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Reason> {
    scan.skip(8)?;
    let header = read_header(scan)?;
    if level != Level::Fast {
        walk(scan, &header)?;
    }
    Ok(header.size)
}

fn read_header<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Header, Reason> {
    let chunk = Chunk::open(scan)?;
    if chunk.kind != *b"IHDR" || chunk.len != 13 {
        return Err(Reason::Corrupt);
    }
    let fields: [u8; 13] = scan.array()?;
    let [w3, w2, w1, w0, h3, h2, h1, h0, depth, colour, compression, filter, interlace] = fields;
    let size = Size::checked(
        u32::from_be_bytes([w3, w2, w1, w0]),
        u32::from_be_bytes([h3, h2, h1, h0]),
    )?;
    let is_known = match colour {
        0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
        INDEXED => matches!(depth, 1 | 2 | 4 | 8),
        2 | 4 | 6 => matches!(depth, 8 | 16),
        _ => false,
    };
    if !is_known || compression != 0 || filter != 0 || interlace > 1 {
        return Err(Reason::Corrupt);
    }
    chunk.close(scan, &fields)?;
    Ok(Header { size, colour })
}

fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, header: &Header) -> Result<(), Reason> {
    let mut has_palette = false;
    let mut has_data = false;
    loop {
        let chunk = Chunk::open(scan)?;
        match &chunk.kind {
            b"IEND" if has_data && chunk.len == 0 => return chunk.skip(scan),
            b"IDAT" if has_palette || header.colour != INDEXED => has_data = true,
            b"PLTE" if !has_palette && chunk.len % 3 == 0 && (3..=768).contains(&chunk.len) => {
                has_palette = true;
            }
            // An upper case first letter says that the image cannot be shown without the chunk.
            [b'a'..=b'z', ..] => {}
            _ => return Err(Reason::Corrupt),
        }
        chunk.skip(scan)?;
    }
}

/// A chunk whose data comes next.
struct Chunk {
    kind: [u8; 4],
    len: u32,
    crc: Crc32,
}

impl Chunk {
    fn open<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Self, Reason> {
        let [l3, l2, l1, l0, kind @ ..] = scan.array::<8>()?;
        let len = u32::from_be_bytes([l3, l2, l1, l0]);
        if len > MAX_CHUNK_BYTES || !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err(Reason::Corrupt);
        }
        // Known now, so that the data of a cut file is not read for nothing.
        if u64::from(len) + 4 > scan.left() {
            return Err(Reason::Truncated);
        }
        let mut crc = Crc32::new();
        crc.update(&kind);
        Ok(Self { kind, len, crc })
    }

    /// Reads the data for its checksum only.
    fn skip<R: BufRead + Seek>(mut self, scan: &mut Scan<'_, R>) -> Result<(), Reason> {
        let mut left = usize::try_from(self.len).map_err(|_| Reason::Truncated)?;
        while left > 0 {
            let bytes = scan.peek()?;
            let bytes = bytes.get(..left).unwrap_or(bytes);
            self.crc.update(bytes);
            let n = bytes.len();
            scan.consume(n);
            left -= n;
        }
        self.close(scan, &[])
    }

    /// Checks the checksum that ends the chunk.
    fn close<R: BufRead + Seek>(
        mut self,
        scan: &mut Scan<'_, R>,
        rest: &[u8],
    ) -> Result<(), Reason> {
        self.crc.update(rest);
        if u32::from_be_bytes(scan.array()?) == self.crc.finish() {
            Ok(())
        } else {
            Err(Reason::Corrupt)
        }
    }
}
