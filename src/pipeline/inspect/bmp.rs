//! BMP: a header, and pixels whose place and length follow from it.

use super::{Size, scan::Scan};
use crate::chunk::{Level, Reason};
use std::io::{BufRead, Seek};

/// Length of the file header, which the bitmap's own header follows.
const FILE_HEADER_BYTES: u64 = 14;

/// What the headers say.
struct Header {
    size: Size,
    bits: u16,
    compression: u32,
    /// Where the headers end and colours may begin.
    end: u64,
    /// Where the pixels begin.
    pixels: u64,
}

/// Reads the dimensions and, above fast, checks that all pixels are there.
///
/// Bytes behind the pixels are not looked at.
pub(super) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Reason> {
    let header = read_header(scan)?;
    if level != Level::Fast {
        walk(scan, &header)?;
    }
    Ok(header.size)
}

fn read_header<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Header, Reason> {
    scan.skip(10)?;
    let pixels = u32::from_le_bytes(scan.array()?);
    let header_len = u32::from_le_bytes(scan.array()?);
    let (width, height, bits, compression) = match header_len {
        12 => {
            let [w0, w1, h0, h1, _, _, b0, b1] = scan.array()?;
            let sides = [[w0, w1], [h0, h1]].map(|bytes| i32::from(u16::from_le_bytes(bytes)));
            (sides[0], sides[1], u16::from_le_bytes([b0, b1]), 0)
        }
        16 | 40 | 52 | 56 | 64 | 108 | 124 => {
            let [w0, w1, w2, w3, h0, h1, h2, h3, _, _, b0, b1] = scan.array()?;
            (
                i32::from_le_bytes([w0, w1, w2, w3]),
                i32::from_le_bytes([h0, h1, h2, h3]),
                u16::from_le_bytes([b0, b1]),
                if header_len == 16 { 0 } else { u32::from_le_bytes(scan.array()?) },
            )
        }
        _ => return Err(Reason::Corrupt),
    };
    if width < 0 {
        return Err(Reason::Corrupt);
    }
    // A negative height is that of rows from the top down.
    let size = Size::checked(width.unsigned_abs(), height.unsigned_abs())?;
    Ok(Header {
        size,
        bits,
        compression,
        end: FILE_HEADER_BYTES + u64::from(header_len),
        pixels: pixels.into(),
    })
}

fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, header: &Header) -> Result<(), Reason> {
    if header.pixels < header.end {
        return Err(Reason::Corrupt);
    }
    scan.jump(header.pixels)?;
    match (header.compression, header.bits) {
        (0, 1 | 2 | 4 | 8 | 16 | 24 | 32) | (3 | 6, 16 | 32) => {
            let row_bits = u64::from(header.size.width) * u64::from(header.bits);
            scan.skip(row_bits.div_ceil(32) * 4 * u64::from(header.size.height))
        }
        (1, 8) => walk_runs(scan, 1),
        (2, 4) => walk_runs(scan, 2),
        // JPEG, PNG and CMYK are for printers, Huffman and 24 bit runs for OS/2.
        (4 | 5 | 11..=13, _) | (3, 1) => Err(Reason::UnsupportedFormat),
        _ => Err(Reason::Corrupt),
    }
}

/// Walks run-length codes to the end of the bitmap; a byte holds so many pixels.
fn walk_runs<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    pixels_a_byte: u64,
) -> Result<(), Reason> {
    loop {
        match scan.array()? {
            [0, 0] => {}
            [0, 1] => return Ok(()),
            [0, 2] => scan.skip(2)?,
            [0, n] => scan.skip(u64::from(n).div_ceil(pixels_a_byte).next_multiple_of(2))?,
            [_, _] => {}
        }
    }
}
