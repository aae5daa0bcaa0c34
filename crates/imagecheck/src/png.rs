//! PNG: chunks with their checksums up to the end chunk.
//!
//! Source: [PNG, third edition](https://www.w3.org/TR/png-3/) (ISO/IEC 15948): signature (5.2),
//! chunk layout (5.3), names (5.4), checksum (5.5), order (5.6), and in section 11.2 the chunks
//! [IHDR](https://www.w3.org/TR/png-3/#11IHDR), [PLTE](https://www.w3.org/TR/png-3/#11PLTE),
//! [IDAT](https://www.w3.org/TR/png-3/#11IDAT) and [IEND](https://www.w3.org/TR/png-3/#11IEND).

use crate::{Level, Refusal, Size, scan::Scan};
use crc32fast::Hasher;
use std::io::{BufRead, Seek};

/// The largest length that a chunk may have (section 5.3).
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
/// Compressed data is never inflated here. Bytes behind the end chunk are ignored.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    scan.skip(8)?;
    let header = read_header(scan)?;
    if level != Level::Fast {
        walk(scan, &header)?;
    }
    Ok(header.size)
}

fn read_header<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Header, Refusal> {
    let chunk = Chunk::open(scan)?;
    if chunk.kind != *b"IHDR" || chunk.len != 13 {
        return Err(Refusal::Corrupt);
    }
    let fields: [u8; 13] = scan.array()?;
    let [w3, w2, w1, w0, h3, h2, h1, h0, depth, colour, compression, filter, interlace] = fields;
    let size =
        Size::checked(u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]))?;
    let is_known = match colour {
        0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
        INDEXED => matches!(depth, 1 | 2 | 4 | 8),
        2 | 4 | 6 => matches!(depth, 8 | 16),
        _ => false,
    };
    if !is_known || compression != 0 || filter != 0 || interlace > 1 {
        return Err(Refusal::Corrupt);
    }
    chunk.close(scan, &fields)?;
    Ok(Header { size, colour })
}

fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, header: &Header) -> Result<(), Refusal> {
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
            // A lower-case first letter means that the image can be shown without the chunk.
            [b'a'..=b'z', ..] => {}
            _ => return Err(Refusal::Corrupt),
        }
        chunk.skip(scan)?;
    }
}

/// A chunk whose data comes next.
struct Chunk {
    kind: [u8; 4],
    len: u32,
    crc: Hasher,
}

impl Chunk {
    fn open<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Self, Refusal> {
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
        Ok(Self { kind, len, crc })
    }

    /// Reads the data, for its checksum only, and checks that.
    fn skip<R: BufRead + Seek>(mut self, scan: &mut Scan<'_, R>) -> Result<(), Refusal> {
        let mut left = usize::try_from(self.len).map_err(|_| Refusal::Truncated)?;
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

    /// Checks the checksum that ends the chunk; `rest` is the data that is not in the sum yet.
    fn close<R: BufRead + Seek>(
        mut self,
        scan: &mut Scan<'_, R>,
        rest: &[u8],
    ) -> Result<(), Refusal> {
        self.crc.update(rest);
        if u32::from_be_bytes(scan.array()?) == self.crc.finalize() {
            Ok(())
        } else {
            Err(Refusal::Corrupt)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{chunk, inspect_bytes, png, png_header, png_of, refusal, size};

    fn header(fields: [u8; 13]) -> Option<Refusal> {
        refusal(&png_of(&[chunk(b"IHDR", &fields)]))
    }

    /// Cases 85-88: dimensions that nobody may allocate.
    #[test]
    fn dimensions_are_checked_before_anything_behind_them() {
        for side in [12_001, 30_000, 65_535, i32::MAX.cast_unsigned(), u32::MAX] {
            let file = png_of(&[png_header(side, side)]);
            assert_eq!(inspect_bytes(&file, Level::Fast), Err(Refusal::TooLarge));
        }
        assert_eq!(refusal(&png_of(&[png_header(0, 1)])), Some(Refusal::Corrupt));
        assert_eq!(refusal(&png_of(&[png_header(1, 0)])), Some(Refusal::Corrupt));
    }

    #[test]
    fn header_fields_are_checked() {
        let fields = |rest: [u8; 5]| {
            let [a, b, c, d, e] = rest;
            header([0, 0, 0, 1, 0, 0, 0, 1, a, b, c, d, e])
        };
        assert_eq!(fields([16, 6, 0, 0, 1]), Some(Refusal::Truncated));
        for rest in [
            [3, 0, 0, 0, 0],
            [16, 3, 0, 0, 0],
            [4, 2, 0, 0, 0],
            [8, 1, 0, 0, 0],
            [8, 5, 0, 0, 0],
            [8, 0, 1, 0, 0],
            [8, 0, 0, 1, 0],
            [8, 0, 0, 0, 2],
        ] {
            assert_eq!(fields(rest), Some(Refusal::Corrupt), "{rest:?}");
        }
    }

    /// Case 82: a wrong checksum anywhere.
    #[test]
    fn every_checksum_counts() {
        let file = png(2, 1, &[chunk(b"tEXt", b"a\0b")]);
        for (kind, after) in [(b"IHDR", 17), (b"tEXt", 7), (b"IDAT", 20), (b"IEND", 4)] {
            let at = memchr::memmem::find(&file, kind).unwrap() + after;
            let mut file = file.clone();
            file[at] ^= 1;
            assert_eq!(refusal(&file), Some(Refusal::Corrupt), "{kind:?}");
        }
    }

    /// The end chunk is the same in every PNG.
    #[test]
    fn the_sample_has_the_checksum_of_the_specification() {
        assert_eq!(chunk(b"IEND", &[]), b"\0\0\0\0IEND\xae\x42\x60\x82");
    }

    /// Case 83: a length beyond the file, and one that no chunk may have.
    #[test]
    fn chunk_lengths_are_checked() {
        for (len, reason) in [(0x7FFF_FFFF, Refusal::Truncated), (u32::MAX, Refusal::Corrupt)] {
            let chunk = [&len.to_be_bytes()[..], b"IDAT", &[0; 64]].concat();
            assert_eq!(refusal(&png_of(&[png_header(1, 1), chunk])), Some(reason));
        }
    }

    #[test]
    fn chunks_that_an_image_needs_must_be_there() {
        let (start, end) = (|| png_header(1, 1), || chunk(b"IEND", &[]));
        let indexed = || chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0]);
        let data = || chunk(b"IDAT", &[0]);
        let palette = |n| chunk(b"PLTE", &vec![0; n]);
        assert_eq!(size(&png_of(&[indexed(), palette(3), data(), end()])), Ok((1, 1)));
        for chunks in [
            vec![data(), start(), end()],
            vec![start(), end()],
            vec![start(), start(), data(), end()],
            vec![start(), data(), chunk(b"IEND", &[0])],
            vec![start(), chunk(b"WHAT", &[]), data(), end()],
            vec![start(), chunk(b"a1b2", &[]), data(), end()],
            vec![indexed(), data(), end()],
            vec![indexed(), palette(4), data(), end()],
            vec![indexed(), palette(0), data(), end()],
            vec![indexed(), palette(771), data(), end()],
            vec![indexed(), palette(3), palette(3), data(), end()],
        ] {
            assert_eq!(refusal(&png_of(&chunks)), Some(Refusal::Corrupt), "{chunks:x?}");
        }
    }

    /// Case 89: compressed text and profiles are not inflated, so they may hold anything.
    #[test]
    fn compressed_chunks_are_not_inflated() {
        let more = [chunk(b"iCCP", b"p\0\0bomb"), chunk(b"zTXt", b"k\0\0bomb")];
        assert_eq!(size(&png(2, 1, &more)), Ok((2, 1)));
    }

    /// Case 90: 20,000 tEXt chunks.
    #[test]
    fn many_chunks_are_walked() {
        assert_eq!(size(&png(2, 1, &vec![chunk(b"tEXt", b"k\0v"); 20_000])), Ok((2, 1)));
    }

    /// Case 84: medium does not inflate the data, slow does.
    #[cfg(feature = "decode")]
    #[test]
    fn corrupt_deflate_data_is_found_at_slow() {
        let data = chunk(b"IDAT", b"\x78\x01no deflate stream");
        let file = png_of(&[png_header(2, 1), data, chunk(b"IEND", &[])]);
        assert_eq!(size(&file), Ok((2, 1)));
        assert_eq!(inspect_bytes(&file, Level::Slow), Err(Refusal::Corrupt));
    }
}
