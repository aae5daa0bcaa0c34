//! JPEG: segments up to the frame header, then segments and scans up to the end of the image.
//!
//! Source: [ITU-T T.81](https://www.w3.org/Graphics/JPEG/itu-t81.pdf), annex B: markers and fill
//! bytes (B.1.1.2, table B.1), marker segments (B.1.1.4), stuffed zeros (B.1.1.5), the order of
//! frames and scans (B.2.1), frame header (B.2.2), scan header (B.2.3), DNL (B.2.5).

use crate::{Level, Refusal, Size, cost, scan::Scan};
use std::io::{BufRead, Seek};

/// The most scans of one image. Encoders write about ten, and each scan makes a decoder go over the
/// whole picture once more.
const MAX_SCANS: usize = 100;

/// What the frame header says.
struct Frame {
    size: Size,
    /// The components' identifiers, one to four.
    ids: Vec<u8>,
}

/// Reads the dimensions and, above fast, walks to the end of the image.
///
/// Bytes behind the end of the image are ignored: cameras and web servers append some.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    scan.skip(2)?;
    let frame = read_frame(scan)?;
    if level != Level::Fast {
        let n_scans = walk(scan, &frame)?;
        if level.decodes() {
            cost::check_jpeg(frame.size, n_scans)?;
        }
    }
    Ok(frame.size)
}

fn read_frame<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Frame, Refusal> {
    loop {
        match next_marker(scan)? {
            0xC0..=0xC2 => return frame_header(scan),
            // Lossless, hierarchical, arithmetic coding and JPEG-LS (0xF7): no browser shows them.
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | 0xF7 => {
                return Err(Refusal::UnsupportedFormat);
            }
            0xD9 | 0xDA => return Err(Refusal::Corrupt),
            marker => segment(scan, marker)?,
        }
    }
}

/// Walks to the end of the image and counts the scans.
fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, frame: &Frame) -> Result<usize, Refusal> {
    let mut n_scans = 0;
    loop {
        match next_marker(scan)? {
            0xD9 if n_scans > 0 => return Ok(n_scans),
            0xDA if n_scans < MAX_SCANS => {
                n_scans += 1;
                scan_header(scan, frame)?;
            }
            // No scan, too many of them, or a second frame header.
            0xD9 | 0xDA | 0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Err(Refusal::Corrupt);
            }
            marker => segment(scan, marker)?,
        }
    }
}

/// Finds the next marker that begins a segment or ends the image.
///
/// It steps over the entropy-coded data of a scan, and in the same way over stray bytes between
/// segments, as decoders do.
pub(crate) fn next_marker<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<u8, Refusal> {
    loop {
        scan.skip_past(0xFF)?;
        let mut code = scan.byte()?;
        while code == 0xFF {
            code = scan.byte()?;
        }
        // A stuffed zero, TEM and the restarts stand alone.
        if !matches!(code, 0x00 | 0x01 | 0xD0..=0xD7) {
            return Ok(code);
        }
    }
}

/// Steps over a segment whose content only a decoder needs.
pub(crate) fn segment<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    marker: u8,
) -> Result<(), Refusal> {
    // Reserved codes, and a second start of an image.
    if matches!(marker, 0x02..=0xBF | 0xD8) {
        return Err(Refusal::Corrupt);
    }
    let len = segment_len(scan)?;
    scan.skip(len)
}

/// The bytes of a segment after its length.
pub(crate) fn segment_len<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<u64, Refusal> {
    let len = u64::from(u16::from_be_bytes(scan.array()?));
    len.checked_sub(2).ok_or(Refusal::Corrupt)
}

fn frame_header<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Frame, Refusal> {
    let len = segment_len(scan)?;
    let [precision, h1, h0, w1, w0, n_components] = scan.array()?;
    // A height of zero announces a DNL segment behind the first scan. Decoders refuse that too.
    let size = Size::checked(u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]))?;
    if !matches!(precision, 8 | 12)
        || !(1..=4).contains(&n_components)
        || len != 6 + 3 * u64::from(n_components)
    {
        return Err(Refusal::Corrupt);
    }
    let mut ids = Vec::with_capacity(4);
    for _ in 0..n_components {
        let [id, sampling, table] = scan.array()?;
        let in_range = |factor| (1..=4).contains(&factor);
        if !in_range(sampling >> 4) || !in_range(sampling & 15) || table > 3 || ids.contains(&id) {
            return Err(Refusal::Corrupt);
        }
        ids.push(id);
    }
    Ok(Frame { size, ids })
}

fn scan_header<R: BufRead + Seek>(scan: &mut Scan<'_, R>, frame: &Frame) -> Result<(), Refusal> {
    let len = segment_len(scan)?;
    let n_components = scan.byte()?;
    if !(1..=4).contains(&n_components) || len != 4 + 2 * u64::from(n_components) {
        return Err(Refusal::Corrupt);
    }
    for _ in 0..n_components {
        let [id, _tables] = scan.array()?;
        if !frame.ids.contains(&id) {
            return Err(Refusal::Corrupt);
        }
    }
    scan.skip(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{
        frame_header, inspect_bytes, jpeg, jpeg_of, jpeg_scan, refusal, segment, size,
    };

    const EOI: [u8; 2] = [0xFF, 0xD9];

    fn jpeg_with(pieces: &[Vec<u8>]) -> Vec<u8> {
        let image = [frame_header(8, 8), jpeg_scan(), EOI.to_vec()];
        jpeg_of(&[pieces, &image].concat())
    }

    /// Cases 91 and 92: frame headers with false fields.
    #[test]
    fn frame_headers_are_checked_before_anything_behind_them() {
        let header = |data: &[u8]| refusal(&jpeg_of(&[segment(0xC0, data)]));
        assert_eq!(header(&[8, 0xFF, 0xFF, 0xFF, 0xFF, 1, 1, 0x11, 0]), Some(Refusal::TooLarge));
        assert_eq!(header(&[8, 0, 0, 0, 8, 1, 1, 0x11, 0]), Some(Refusal::Corrupt));
        assert_eq!(header(&[8, 0, 8, 0, 0, 1, 1, 0x11, 0]), Some(Refusal::Corrupt));
        assert_eq!(header(&[8, 0, 8, 0, 8, 0]), Some(Refusal::Corrupt));
        assert_eq!(header(&[8, 0, 8, 0, 8, 255, 1, 0x11, 0]), Some(Refusal::Corrupt));
        assert_eq!(header(&[8, 0, 8, 0, 8, 1, 1, 0x10, 0]), Some(Refusal::Corrupt));
        assert_eq!(header(&[8, 0, 8, 0, 8, 1, 1, 0x51, 0]), Some(Refusal::Corrupt));
        assert_eq!(header(&[8, 0, 8, 0, 8, 1, 1, 0x11, 4]), Some(Refusal::Corrupt));
        assert_eq!(header(&[9, 0, 8, 0, 8, 1, 1, 0x11, 0]), Some(Refusal::Corrupt));
        assert_eq!(header(&[8, 0, 8, 0, 8, 1, 1, 0x11, 0, 0]), Some(Refusal::Corrupt));
        let progressive = segment(0xC2, &[8, 0xFF, 0xFF, 0xFF, 0xFF, 1, 1, 0x11, 0]);
        assert_eq!(refusal(&jpeg_of(&[progressive])), Some(Refusal::TooLarge));
        let lossless = segment(0xC3, &[8, 0, 8, 0, 8, 1, 1, 0x11, 0]);
        assert_eq!(refusal(&jpeg_of(&[lossless])), Some(Refusal::UnsupportedFormat));
    }

    #[test]
    fn markers_out_of_order_are_corrupt() {
        let frame = || frame_header(8, 8);
        for pieces in [
            // Nothing, no frame, no scan, two frames, two starts, a reserved code.
            vec![EOI.to_vec()],
            vec![jpeg_scan(), EOI.to_vec()],
            vec![frame(), EOI.to_vec()],
            vec![frame(), jpeg_scan(), frame(), jpeg_scan(), EOI.to_vec()],
            vec![frame(), jpeg_scan(), vec![0xFF, 0xD8], EOI.to_vec()],
            vec![frame(), jpeg_scan(), vec![0xFF, 0x02], EOI.to_vec()],
        ] {
            assert_eq!(refusal(&jpeg_of(&pieces)), Some(Refusal::Corrupt), "{pieces:x?}");
        }
    }

    #[test]
    fn scans_name_components_of_the_frame() {
        for header in
            [&[1, 2, 0, 0, 63, 0][..], &[0, 0, 63, 0], &[5, 1, 0, 0, 63, 0], &[1, 1, 0, 0, 63]]
        {
            let scan = segment(0xDA, header);
            let file = jpeg_of(&[frame_header(8, 8), scan, EOI.to_vec()]);
            assert_eq!(refusal(&file), Some(Refusal::Corrupt), "{header:?}");
        }
    }

    /// Case 94: a segment cannot be shorter than its length field.
    #[test]
    fn segment_lengths_below_two_are_corrupt() {
        for len in [0, 1] {
            assert_eq!(refusal(&jpeg_with(&[vec![0xFF, 0xE0, 0, len]])), Some(Refusal::Corrupt));
        }
    }

    /// Case 95: fill bytes, stray bytes and markers without a segment mean nothing.
    #[test]
    fn bytes_between_segments_are_stepped_over() {
        for between in [vec![0xFF; 65_536], b"stray\xff\0bytes".to_vec(), vec![0xFF, 0x01]] {
            assert_eq!(size(&jpeg_with(&[between])), Ok((8, 8)));
        }
    }

    #[test]
    fn a_thumbnail_in_a_segment_is_not_the_image() {
        let thumbnail = segment(0xE1, &[&b"Exif\0\0"[..], &jpeg()].concat());
        assert_eq!(size(&jpeg_with(&[thumbnail])), Ok((8, 8)));
    }

    #[test]
    fn restarts_and_stuffed_bytes_belong_to_the_scan() {
        let data = b"\x12\xff\0\xd9\xff\xd0\x34\xff\xff\xd7\x56".to_vec();
        let scan = [frame_header(8, 8), jpeg_scan(), data, EOI.to_vec()];
        assert_eq!(size(&jpeg_of(&scan)), Ok((8, 8)));
    }

    /// Case 93: 400 scans.
    #[test]
    fn scans_are_limited() {
        let image = |n_scans: usize| {
            let scans = [segment(0xFE, b"next"), jpeg_scan()].concat().repeat(n_scans);
            jpeg_of(&[frame_header(8, 8), scans, EOI.to_vec()])
        };
        assert_eq!(size(&image(MAX_SCANS)), Ok((8, 8)));
        assert_eq!(refusal(&image(MAX_SCANS + 1)), Some(Refusal::Corrupt));
    }

    #[test]
    fn fast_stops_at_the_frame_header() {
        let file = jpeg_of(&[frame_header(8, 8)]);
        assert!(inspect_bytes(&file, Level::Fast).is_ok());
        assert_eq!(refusal(&file), Some(Refusal::Truncated));
    }
}
