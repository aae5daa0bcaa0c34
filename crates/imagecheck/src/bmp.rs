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

/// The most colours of a table: an index has at most eight bits.
const MAX_COLOURS: u64 = 256;

/// What the headers say.
struct Header {
    size: Size,
    bits: u16,
    compression: u32,
    /// Colours that the table has; zero stands for as many as the depth has.
    colours: u32,
    /// The masks of red, green, blue and alpha, where the compression wants some.
    masks: [u32; 4],
    /// The length of the bitmap's own header.
    len: u32,
    /// Where the headers and the masks end, and colours may begin.
    end: u64,
    /// Where the pixels begin, as the file says.
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
        check_variant(&header)?;
        walk(scan, &header)?;
    }
    Ok(header.size)
}

fn read_header<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Header, Refusal> {
    scan.skip(10)?;
    let pixels = u32::from_le_bytes(scan.array()?).into();
    let len = u32::from_le_bytes(scan.array()?);
    let mut header = match len {
        12 => core_header(scan, pixels)?,
        16 | 40 | 52 | 56 | 64 | 108 | 124 => info_header(scan, len, pixels)?,
        _ => return Err(Refusal::Corrupt),
    };
    if header.compression == BIT_FIELDS && header.len >= 40 {
        // A header of 40 bytes has no fourth mask, and its three follow it.
        scan.jump(FILE_HEADER_BYTES + 40)?;
        let n_masks = if header.len >= 56 { 4 } else { 3 };
        for mask in header.masks.iter_mut().take(n_masks) {
            *mask = u32::from_le_bytes(scan.array()?);
        }
        header.end = header.end.max(scan.at());
    }
    Ok(header)
}

fn core_header<R: BufRead + Seek>(scan: &mut Scan<'_, R>, pixels: u64) -> Result<Header, Refusal> {
    let [w0, w1, h0, h1, _, _, b0, b1] = scan.array()?;
    let [width, height, bits] = [[w0, w1], [h0, h1], [b0, b1]].map(u16::from_le_bytes);
    let size = Size::checked(width, height)?;
    let end = FILE_HEADER_BYTES + 12;
    Ok(Header { size, bits, compression: RAW, colours: 0, masks: [0; 4], len: 12, end, pixels })
}

fn info_header<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    len: u32,
    pixels: u64,
) -> Result<Header, Refusal> {
    let [w0, w1, w2, w3, h0, h1, h2, h3, _, _, b0, b1] = scan.array()?;
    let width = i32::from_le_bytes([w0, w1, w2, w3]);
    let height = i32::from_le_bytes([h0, h1, h2, h3]);
    if width < 0 {
        return Err(Refusal::Corrupt);
    }
    // A negative height means that the rows are stored from the top down.
    let size = Size::checked(width.unsigned_abs(), height.unsigned_abs())?;
    let bits = u16::from_le_bytes([b0, b1]);
    let (mut compression, mut colours) = (RAW, 0);
    if len > 16 {
        compression = u32::from_le_bytes(scan.array()?);
        scan.skip(12)?;
        colours = u32::from_le_bytes(scan.array()?);
    }
    let end = FILE_HEADER_BYTES + u64::from(len);
    Ok(Header { size, bits, compression, colours, masks: [0; 4], len, end, pixels })
}

const RAW: u32 = 0;
const RUNS_8: u32 = 1;
const RUNS_4: u32 = 2;
const BIT_FIELDS: u32 = 3;

/// The layouts of red, green, blue and alpha that readers know, for 16 and for 32 bits.
const MASKS_16: [[u32; 3]; 2] = [[0xF800, 0x07E0, 0x001F], [0x7C00, 0x03E0, 0x001F]];
const MASKS_32: [[u32; 4]; 8] = [
    [0x00FF_0000, 0x0000_FF00, 0x0000_00FF, 0],
    [0xFF00_0000, 0x00FF_0000, 0x0000_FF00, 0],
    [0xFF00_0000, 0x0000_FF00, 0x0000_00FF, 0],
    [0xFF00_0000, 0x00FF_0000, 0x0000_FF00, 0x0000_00FF],
    [0x0000_00FF, 0x0000_FF00, 0x00FF_0000, 0xFF00_0000],
    [0x00FF_0000, 0x0000_FF00, 0x0000_00FF, 0xFF00_0000],
    [0xFF00_0000, 0x0000_FF00, 0x0000_00FF, 0x00FF_0000],
    [0, 0, 0, 0],
];

/// Refuses variants that the loaders of data sets do not read: odd depths, layouts and headers.
fn check_variant(header: &Header) -> Result<(), Refusal> {
    let [red, green, blue, _] = header.masks;
    let is_read = match (header.compression, header.bits) {
        (RAW, 1 | 4 | 8 | 16 | 24 | 32) | (RUNS_8, 8) | (RUNS_4, 4) => true,
        (BIT_FIELDS, 16) => MASKS_16.contains(&[red, green, blue]),
        (BIT_FIELDS, 24) => [red, green, blue] == [0xFF_0000, 0xFF00, 0xFF],
        (BIT_FIELDS, 32) => MASKS_32.contains(&header.masks),
        // JPEG (4), PNG (5), bit fields with alpha (6) and CMYK (11 to 13). On OS/2, 3 is Huffman
        // coding and 4 is run-length coding of 24 bits.
        (RAW, 2) | (BIT_FIELDS, 1) | (4..=6 | 11..=13, _) => false,
        _ => return Err(Refusal::Corrupt),
    };
    if !is_read || header.len == 16 {
        return Err(Refusal::UnsupportedFormat);
    }
    if header.bits <= 8 && u64::from(header.colours) > MAX_COLOURS {
        return Err(Refusal::Corrupt);
    }
    Ok(())
}

fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, header: &Header) -> Result<(), Refusal> {
    scan.jump(start_of_pixels(header)?)?;
    match header.compression {
        RUNS_8 => walk_runs(scan, header.size, 1),
        RUNS_4 => walk_runs(scan, header.size, 2),
        _ => {
            let row_bits = u64::from(header.size.width) * u64::from(header.bits);
            scan.skip(row_bits.div_ceil(32) * 4 * u64::from(header.size.height))
        }
    }
}

/// Where readers take the pixels from: behind the colours, where the file says the end of the
/// headers or nothing.
fn start_of_pixels(header: &Header) -> Result<u64, Refusal> {
    let colours = match (header.bits, header.colours) {
        (9.., _) => 0,
        (bits, 0) => 1 << bits,
        (_, n) => u64::from(n),
    };
    let bytes_a_colour = if header.len == 12 { 3 } else { 4 };
    let behind_colours = header.end + bytes_a_colour * colours;
    let headers = FILE_HEADER_BYTES + u64::from(header.len);
    match header.pixels {
        0 => Ok(behind_colours),
        at if at == headers && header.bits <= 8 => Ok(behind_colours),
        at if at < headers => Err(Refusal::Corrupt),
        at => Ok(at),
    }
}

/// Walks run-length codes to the end of the bitmap.
///
/// An end that comes before the last pixel leaves a part of the picture without any; loaders refuse
/// that. Pixels beyond the end of a row are dropped, as readers do.
fn walk_runs<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    size: Size,
    pixels_a_byte: u64,
) -> Result<(), Refusal> {
    let (width, area) = (u64::from(size.width), size.area());
    // The pixels so far, and the column, which a row's excess may exceed.
    let (mut done, mut column) = (0_u64, 0_u64);
    loop {
        match scan.array()? {
            [0, 0] => {
                done = done.next_multiple_of(width);
                column = 0;
            }
            [0, 1] if done < area => return Err(Refusal::Corrupt),
            [0, 1] => return Ok(()),
            [0, 2] => {
                let [right, up] = scan.array()?.map(u64::from);
                done += right + up * width;
                column = done % width;
            }
            [0, n] => {
                let n = u64::from(n);
                scan.skip(n.div_ceil(pixels_a_byte))?;
                scan.skip(scan.at() % 2)?;
                done += n;
                column += n;
            }
            [n, _] => {
                let n = u64::from(n).min(width.saturating_sub(column));
                done += n;
                column += n;
            }
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
        for (bits, row) in [(1, 4), (4, 8), (8, 12), (16, 20), (24, 28), (32, 36)] {
            let mut file = bmp(9, -3, bits, 0, &vec![0; 3 * row]);
            if bits < 8 {
                // Readers would look for the pixels behind colours that the sample does not have.
                let end = file.len() - 3 * row;
                file.insert(end, 0);
                file[10] += 1;
            }
            assert_eq!(size(&file), Ok((9, 3)), "{bits}");
            let cut = &file[..file.len() - 1];
            assert_eq!(refusal(cut), Some(Refusal::Truncated), "{bits}");
        }
    }

    #[test]
    fn compression_goes_with_the_depth() {
        for (bits, compression, reason) in [
            (16, 6, Some(Refusal::UnsupportedFormat)),
            (2, 0, Some(Refusal::UnsupportedFormat)),
            (8, 3, Some(Refusal::Corrupt)),
            (4, 1, Some(Refusal::Corrupt)),
            (3, 0, Some(Refusal::Corrupt)),
            (24, 7, Some(Refusal::Corrupt)),
            (24, 4, Some(Refusal::UnsupportedFormat)),
            (0, 5, Some(Refusal::UnsupportedFormat)),
        ] {
            assert_eq!(refusal(&bmp(1, 1, bits, compression, &[0; 8])), reason);
        }
    }

    /// What Pillow reads: its list of layouts.
    #[test]
    fn layouts_of_masks_are_those_that_loaders_know() {
        let masked = |bits, masks: [u32; 3]| {
            let mut masks = masks.map(u32::to_le_bytes).as_flattened().to_vec();
            masks.extend([0; 8]);
            let mut file = bmp(1, 1, bits, 3, &masks);
            file[10] = 66;
            refusal(&file)
        };
        assert_eq!(masked(16, [0xF800, 0x07E0, 0x001F]), None);
        assert_eq!(masked(16, [0x7C00, 0x03E0, 0x001F]), None);
        assert_eq!(masked(16, [0x0F00, 0x00F0, 0x000F]), Some(Refusal::UnsupportedFormat));
        assert_eq!(masked(24, [0xFF_0000, 0xFF00, 0xFF]), None);
        assert_eq!(masked(32, [0xFF_0000, 0xFF00, 0xFF]), None);
        assert_eq!(masked(32, [0xFF, 0xFF00, 0xFF_0000]), Some(Refusal::UnsupportedFormat));
        assert_eq!(masked(32, [0x3FF, 0xFFC00, 0x3FF0_0000]), Some(Refusal::UnsupportedFormat));
    }

    #[test]
    fn a_table_has_no_more_colours_than_an_index_can_name() {
        let coloured = |n: u32| {
            let mut file = bmp(1, 1, 8, 0, &[0; 2048]);
            file[46..50].copy_from_slice(&n.to_le_bytes());
            refusal(&file)
        };
        assert_eq!([0, 1, 256].map(coloured), [None; 3]);
        assert_eq!([257, u32::MAX].map(coloured), [Some(Refusal::Corrupt); 2]);
    }

    #[test]
    fn runs_are_walked_to_the_end_of_the_bitmap() {
        let runs = |bits: u16, codes: &[u8]| {
            let mut file = bmp(4, 1, 8, u32::from(bits == 4) + 1, codes);
            file[28] = bits.to_le_bytes()[0];
            refusal(&file)
        };
        assert_eq!(runs(8, &[4, 9, 0, 1]), None);
        assert_eq!(runs(8, &[4, 9]), Some(Refusal::Truncated));
        assert_eq!(runs(8, &[9, 9, 0, 0, 0, 1]), None);
        assert_eq!(runs(8, &[0, 3, 7, 7, 7, 0, 0, 2, 1, 1, 0, 1]), None);
        assert_eq!(runs(4, &[0, 5, 0x77, 0x77, 0x70, 0, 0, 1]), None);
        assert_eq!(runs(8, &[3, 9, 0, 0, 0, 1]), None);
        // An end that comes too early, and codes that are cut.
        assert_eq!(runs(8, &[3, 9, 0, 1]), Some(Refusal::Corrupt));
        assert_eq!(runs(8, &[3, 9]), Some(Refusal::Truncated));
        assert_eq!(runs(8, &[0, 200, 0]), Some(Refusal::Truncated));
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
