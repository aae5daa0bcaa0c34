//! BMP: a header, and pixels whose offset and length follow from it.
//!
//! Source: Microsoft's pages on
//! [BITMAPFILEHEADER](https://learn.microsoft.com/en-us/windows/win32/api/wingdi/ns-wingdi-bitmapfileheader),
//! [BITMAPINFOHEADER](https://learn.microsoft.com/en-us/windows/win32/api/wingdi/ns-wingdi-bitmapinfoheader)
//! (bit depths, negative heights, rows of whole 32-bit words),
//! [BITMAPCOREHEADER](https://learn.microsoft.com/en-us/windows/win32/api/wingdi/ns-wingdi-bitmapcoreheader),
//! [BITMAPV4HEADER](https://learn.microsoft.com/en-us/windows/win32/api/wingdi/ns-wingdi-bitmapv4header),
//! [BITMAPV5HEADER](https://learn.microsoft.com/en-us/windows/win32/api/wingdi/ns-wingdi-bitmapv5header) and
//! [run-length codes](https://learn.microsoft.com/en-us/windows/win32/gdi/bitmap-compression).
//! They do not describe the headers of 16, 52, 56 and 64 bytes, which OS/2 and other writers made.
//! Those begin like a BITMAPINFOHEADER; the one of 16 bytes ends after the bit depth.

use crate::{Level, Refusal, Size, scan::Scan};
use std::io::{BufRead, Seek};

/// The length of the file header; the bitmap's own header follows it.
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
/// Bytes behind the pixels are ignored: writers pad the file.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    let header = read_header(scan)?;
    if level != Level::Fast {
        walk(scan, &header)?;
    }
    Ok(header.size)
}

fn read_header<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Header, Refusal> {
    scan.skip(10)?;
    let pixels = u32::from_le_bytes(scan.array()?);
    let header_len = u32::from_le_bytes(scan.array()?);
    let (width, height, bits, compression) = match header_len {
        12 => {
            let [w0, w1, h0, h1, _, _, b0, b1] = scan.array()?;
            let [width, height, bits] = [[w0, w1], [h0, h1], [b0, b1]].map(u16::from_le_bytes);
            (width.into(), height.into(), bits, 0)
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
        _ => return Err(Refusal::Corrupt),
    };
    if width < 0 {
        return Err(Refusal::Corrupt);
    }
    // A negative height means that the rows are stored from the top down.
    let size = Size::checked(width.unsigned_abs(), height.unsigned_abs())?;
    Ok(Header {
        size,
        bits,
        compression,
        end: FILE_HEADER_BYTES + u64::from(header_len),
        pixels: pixels.into(),
    })
}

fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, header: &Header) -> Result<(), Refusal> {
    if header.pixels < header.end {
        return Err(Refusal::Corrupt);
    }
    scan.jump(header.pixels)?;
    match (header.compression, header.bits) {
        (0, 1 | 2 | 4 | 8 | 16 | 24 | 32) | (3 | 6, 16 | 32) => {
            let row_bits = u64::from(header.size.width) * u64::from(header.bits);
            scan.skip(row_bits.div_ceil(32) * 4 * u64::from(header.size.height))
        }
        (1, 8) => walk_runs(scan, 1),
        (2, 4) => walk_runs(scan, 2),
        // JPEG (4), PNG (5) and CMYK (11 to 13) are for printers. On OS/2, 3 is Huffman coding and 4
        // is run-length coding of 24 bits.
        (4 | 5 | 11..=13, _) | (3, 1) => Err(Refusal::UnsupportedFormat),
        _ => Err(Refusal::Corrupt),
    }
}

/// Walks run-length codes to the end of the bitmap.
fn walk_runs<R: BufRead + Seek>(scan: &mut Scan<'_, R>, pixels_a_byte: u64) -> Result<(), Refusal> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{bmp, refusal, size};

    /// Case 101: the lowest height, -2^31, has no positive counterpart.
    #[test]
    fn sides_are_checked_before_anything_behind_them() {
        let sides = |width, height| refusal(&bmp(width, height, 24, 0, &[]));
        assert_eq!(sides(1, i32::MIN), Some(Refusal::TooLarge));
        assert_eq!(sides(i32::MAX, -i32::MAX), Some(Refusal::TooLarge));
        assert_eq!(sides(-1, 1), Some(Refusal::Corrupt));
        assert_eq!(sides(0, 1), Some(Refusal::Corrupt));
        assert_eq!(sides(1, 0), Some(Refusal::Corrupt));
    }

    #[test]
    fn rows_are_padded_to_four_bytes() {
        for (bits, row) in [(1, 4), (2, 4), (4, 8), (8, 12), (16, 20), (24, 28), (32, 36)] {
            let file = bmp(9, -3, bits, 0, &vec![0; 3 * row]);
            assert_eq!(size(&file), Ok((9, 3)), "{bits}");
            let cut = &file[..file.len() - 1];
            assert_eq!(refusal(cut), Some(Refusal::Truncated), "{bits}");
        }
    }

    #[test]
    fn compression_goes_with_the_depth() {
        for (bits, compression, reason) in [
            (32, 3, None),
            (16, 6, None),
            (24, 3, Some(Refusal::Corrupt)),
            (4, 1, Some(Refusal::Corrupt)),
            (3, 0, Some(Refusal::Corrupt)),
            (24, 7, Some(Refusal::Corrupt)),
            (24, 4, Some(Refusal::UnsupportedFormat)),
            (0, 5, Some(Refusal::UnsupportedFormat)),
        ] {
            assert_eq!(refusal(&bmp(1, 1, bits, compression, &[0; 8])), reason);
        }
    }

    #[test]
    fn runs_are_walked_to_the_end_of_the_bitmap() {
        let runs = |bits: u16, codes: &[u8]| {
            // The walk does not read the colours, so there are none.
            let mut file = bmp(4, 1, 24, u32::from(bits == 4) + 1, codes);
            file[28] = bits.to_le_bytes()[0];
            refusal(&file)
        };
        assert_eq!(runs(8, &[4, 9, 0, 1]), None);
        assert_eq!(runs(8, &[0, 3, 7, 7, 7, 0, 0, 2, 1, 1, 0, 1]), None);
        assert_eq!(runs(4, &[0, 5, 0x77, 0x77, 0x70, 0, 0, 1]), None);
        assert_eq!(runs(8, &[4, 9, 0, 0]), Some(Refusal::Truncated));
        assert_eq!(runs(8, &[0, 200, 0, 1]), Some(Refusal::Truncated));
    }

    #[test]
    fn older_and_newer_headers_are_read() {
        let old = b"BM\0\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\x02\0\x01\0\x01\0\x18\0\0\0\0\0\0\0\0\0";
        assert_eq!(size(old), Ok((2, 1)));
        let mut file = bmp(1, 1, 24, 0, &[0; 88]);
        (file[10], file[14]) = (138, 124);
        assert_eq!(size(&file), Ok((1, 1)));
        file[14] = 66;
        assert_eq!(refusal(&file), Some(Refusal::Corrupt));
    }

    #[test]
    fn pixels_lie_behind_the_headers() {
        let mut file = bmp(1, 1, 24, 0, &[0; 4]);
        file[10] = 53;
        assert_eq!(refusal(&file), Some(Refusal::Corrupt));
        file[10..14].fill(0xFF);
        assert_eq!(refusal(&file), Some(Refusal::Truncated));
    }
}
