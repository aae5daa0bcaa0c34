//! JPEG: segments up to the frame header, then segments and scans up to the end of the image.
//!
//! Source: [ITU-T T.81](https://www.w3.org/Graphics/JPEG/itu-t81.pdf), annex B: markers and fill
//! bytes (B.1.1.2, table B.1), marker segments (B.1.1.4), stuffed zeros (B.1.1.5), the order of
//! frames and scans (B.2.1), frame header (B.2.2), scan header (B.2.3), DNL (B.2.5).

mod application;
mod tables;

use crate::{Level, Refusal, Size, cost, scan::Scan};
use application::Application;
use std::io::{BufRead, Seek};
use tables::Tables;

/// The most scans of one image. Encoders write about ten, and each scan makes a decoder go over the
/// whole picture once more. The decoder of level slow gets the same limit.
pub(crate) const MAX_SCANS: usize = 100;

/// The most blocks of one unit of an interleaved scan (B.2.3).
const MAX_BLOCKS: u32 = 10;

/// What the frame header says.
struct Frame {
    size: Size,
    /// One, three or four.
    components: Vec<Component>,
    is_progressive: bool,
}

/// A component of the frame. Several may have the same identifier.
#[derive(Clone, Copy)]
struct Component {
    id: u8,
    /// The sampling factors, from 1 to 4.
    across: u8,
    down: u8,
    quantization: u8,
}

/// What segments between scans define.
#[derive(Default)]
struct State {
    tables: Tables,
    application: Application,
}

/// Reads the dimensions and, above fast, walks to the end of the image.
///
/// Bytes behind the end of the image are ignored: cameras and web servers append some.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    scan.skip(2)?;
    let mut state = State::default();
    let frame = read_frame(scan, &mut state)?;
    if level != Level::Fast {
        let n_scans = walk(scan, &frame, &mut state)?;
        if level.decodes() {
            let n_components = frame.components.len();
            cost::check_jpeg(frame.size, n_components, n_scans, frame.is_progressive)?;
        }
    }
    Ok(frame.size)
}

fn read_frame<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    state: &mut State,
) -> Result<Frame, Refusal> {
    loop {
        match next_marker(scan)? {
            marker @ 0xC0..=0xC2 => return frame_header(scan, marker == 0xC2),
            0xD9 | 0xDA => return Err(Refusal::Corrupt),
            marker => define(scan, marker, state)?,
        }
    }
}

/// Walks to the end of the image and counts the scans.
fn walk<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    frame: &Frame,
    state: &mut State,
) -> Result<usize, Refusal> {
    let mut n_scans = 0;
    loop {
        match next_marker(scan)? {
            0xD9 if n_scans > 0 => return Ok(n_scans),
            0xDA if n_scans == MAX_SCANS => return Err(Refusal::TooLarge),
            0xDA => {
                if n_scans == 0 {
                    state.application.check()?;
                }
                n_scans += 1;
                scan_header(scan, frame, &state.tables)?;
            }
            // No scan, or a second frame header.
            0xD9 | 0xC0..=0xC2 => return Err(Refusal::Corrupt),
            // Loaders look at what stands before the first scan only.
            marker @ 0xE0..=0xEF if n_scans > 0 => segment(scan, marker)?,
            marker => define(scan, marker, state)?,
        }
    }
}

/// Finds the next marker that begins a segment or ends the image.
///
/// It steps over the entropy-coded data of a scan, and in the same way over stray bytes between
/// segments, as decoders do.
fn next_marker<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<u8, Refusal> {
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

/// Reads a segment that says something of the picture.
fn define<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    marker: u8,
    state: &mut State,
) -> Result<(), Refusal> {
    match marker {
        // Lossless, hierarchical (also 0xDE and 0xDF), arithmetic coding, and extensions like JPEG-LS
        // (0xF7): no browser shows them, and loaders only some.
        0xC3 | 0xC5..=0xCB | 0xCD..=0xCF | 0xDE | 0xDF | 0xF0..=0xFD => {
            Err(Refusal::UnsupportedFormat)
        }
        0xC4 => state.tables.define_huffman(scan),
        0xDB => state.tables.define_quantization(scan),
        0xDD => match segment_len(scan)? {
            2 => scan.skip(2),
            _ => Err(Refusal::Corrupt),
        },
        0xE0..=0xEF => state.application.read(scan, marker),
        _ => segment(scan, marker),
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
    let len = lenient_len(scan)?;
    scan.skip(len)
}

/// The bytes of a segment after its length.
fn segment_len<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<u64, Refusal> {
    let len = u64::from(u16::from_be_bytes(scan.array()?));
    len.checked_sub(2).ok_or(Refusal::Corrupt)
}

/// The bytes of a segment that nobody needs: a length below two counts as none, as for decoders.
fn lenient_len<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<u64, Refusal> {
    Ok(u64::from(u16::from_be_bytes(scan.array()?)).saturating_sub(2))
}

fn frame_header<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    is_progressive: bool,
) -> Result<Frame, Refusal> {
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
    let mut components = Vec::with_capacity(4);
    for _ in 0..n_components {
        let [id, sampling, quantization] = scan.array()?;
        let (across, down) = (sampling >> 4, sampling & 15);
        let in_range = |factor| (1..=4).contains(&factor);
        if !in_range(across) || !in_range(down) || quantization > 3 {
            return Err(Refusal::Corrupt);
        }
        components.push(Component { id, across, down, quantization });
    }
    let max = |factor: fn(&Component) -> u8| components.iter().map(factor).max().unwrap_or(1);
    let (across, down) = (max(|c| c.across), max(|c| c.down));
    // Loaders know grey, three colours and four, of eight bits, and no factors like two thirds.
    if precision != 8
        || n_components == 2
        || components.iter().any(|c| across % c.across != 0 || down % c.down != 0)
    {
        return Err(Refusal::UnsupportedFormat);
    }
    Ok(Frame { size, components, is_progressive })
}

fn scan_header<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    frame: &Frame,
    tables: &Tables,
) -> Result<(), Refusal> {
    let len = segment_len(scan)?;
    let n_components = scan.byte()?;
    if !(1..=4).contains(&n_components) || len != 4 + 2 * u64::from(n_components) {
        return Err(Refusal::Corrupt);
    }
    let mut named: Vec<(usize, Component, u8)> = Vec::with_capacity(4);
    for n in 0..usize::from(n_components) {
        let [id, entropy] = scan.array()?;
        // Where several components have the same identifier, their order tells them apart.
        let places = frame.components.iter().enumerate().skip(n);
        let (at, component) =
            places.into_iter().find(|(_, c)| c.id == id).ok_or(Refusal::Corrupt)?;
        if named.iter().any(|(place, ..)| *place == at) {
            return Err(Refusal::Corrupt);
        }
        tables.needs_quantization(component.quantization)?;
        named.push((at, *component, entropy));
    }
    let blocks: u32 = named.iter().map(|(_, c, _)| u32::from(c.across) * u32::from(c.down)).sum();
    if named.len() > 1 && blocks > MAX_BLOCKS {
        return Err(Refusal::Corrupt);
    }
    let [first, last, approximation] = scan.array()?;
    let (high, low) = (approximation >> 4, approximation & 15);
    let is_dc = first == 0;
    if frame.is_progressive {
        let is_band =
            if is_dc { last == 0 } else { first <= last && last < 64 && named.len() == 1 };
        if !is_band || low > 13 || high != 0 && high != low + 1 {
            return Err(Refusal::Corrupt);
        }
    }
    for (.., entropy) in named {
        let is_sequential = !frame.is_progressive;
        if is_sequential || is_dc && high == 0 {
            tables.needs_dc(entropy >> 4, is_sequential)?;
        }
        if is_sequential || !is_dc {
            tables.needs_ac(entropy & 15, is_sequential)?;
        }
    }
    Ok(())
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

    /// Case 94: a segment that nobody needs counts as empty where it is shorter than its length field.
    #[test]
    fn segment_lengths_below_two_count_where_decoders_need_the_segment() {
        for len in [0, 1] {
            for marker in [0xE0, 0xE5, 0xEF, 0xFE] {
                assert_eq!(size(&jpeg_with(&[vec![0xFF, marker, 0, len]])), Ok((8, 8)));
            }
            for marker in [0xC0, 0xC4, 0xDA, 0xDB, 0xDD] {
                let file = jpeg_with(&[vec![0xFF, marker, 0, len]]);
                assert_eq!(refusal(&file), Some(Refusal::Corrupt), "{marker:x}");
            }
        }
    }

    /// Frames whose components have these identifiers, and a scan that names them in the same way.
    #[test]
    fn identifiers_may_be_anything_also_the_same() {
        let file = |ids: [u8; 3], named: [u8; 3]| {
            let components = ids.map(|id| [id, 0x11, 0]);
            let frame =
                segment(0xC0, &[&[8, 0, 8, 0, 8, 3][..], components.as_flattened()].concat());
            let named = named.map(|id| [id, 0]);
            let scan = segment(0xDA, &[&[3][..], named.as_flattened(), &[0, 63, 0]].concat());
            refusal(&jpeg_of(&[frame, scan, EOI.to_vec()]))
        };
        for ids in [[1, 2, 3], [0, 1, 2], [1, 1, 1], [0, 0, 0], [1, 2, 2], *b"YUV", [255, 0, 9]] {
            assert_eq!(file(ids, ids), None, "{ids:?}");
        }
        assert_eq!(file([1, 2, 3], [1, 2, 2]), Some(Refusal::Corrupt));
        assert_eq!(file([1, 1, 2], [1, 2, 2]), Some(Refusal::Corrupt));
    }

    /// What stops loaders before they read any code.
    #[test]
    fn tables_that_a_scan_needs_are_there() {
        let table = |head: u8| segment(0xDB, &[&[head][..], &[1; 64]].concat());
        let plain = |tables: Vec<u8>, n: u8, marker: u8, scan: &[u8]| {
            let frame = segment(marker, &[8, 0, 8, 0, 8, 1, 1, 0x11, n]);
            let scan = segment(0xDA, scan);
            refusal(&[&[0xFF, 0xD8][..], &tables, &frame, &scan, &EOI].concat())
        };
        let whole = &[1, 1, 0, 0, 63, 0];
        // A picture of a motion JPEG has no Huffman tables, and the usual ones are meant.
        assert_eq!(plain(table(0), 0, 0xC0, whole), None);
        assert_eq!(plain(table(3), 3, 0xC0, &[1, 1, 0x11, 0, 63, 0]), None);
        assert_eq!(plain(table(0), 0, 0xC0, &[1, 1, 0x22, 0, 63, 0]), Some(Refusal::Corrupt));
        assert_eq!(plain(table(0), 0, 0xC2, &[1, 1, 0, 0, 0, 0]), Some(Refusal::Corrupt));
        assert_eq!(plain(vec![], 0, 0xC0, whole), Some(Refusal::Corrupt));
        assert_eq!(plain(table(0), 1, 0xC0, whole), Some(Refusal::Corrupt));
        let cut = segment(0xDB, &[&[0][..], &[1; 63]].concat());
        assert_eq!(plain(cut, 0, 0xC0, whole), Some(Refusal::Corrupt));
        let too_many = segment(0xC4, &[&[0, 3][..], &[0; 15], &[0; 3]].concat());
        let tables = [table(0), too_many].concat();
        assert_eq!(plain(tables, 0, 0xC0, whole), Some(Refusal::Corrupt));
    }

    #[test]
    fn variants_that_loaders_do_not_show_are_unsupported() {
        let frame = |marker: u8, data: &[u8]| {
            refusal(&jpeg_of(&[segment(marker, data), jpeg_scan(), EOI.to_vec()]))
        };
        let grey = [8, 0, 8, 0, 8, 1, 1, 0x11, 0];
        let unsupported = Some(Refusal::UnsupportedFormat);
        assert_eq!(frame(0xC0, &grey), None);
        for marker in [0xC3, 0xC5, 0xC9, 0xCA, 0xCF, 0xDE, 0xF7] {
            assert_eq!(frame(marker, &grey), unsupported, "{marker:x}");
        }
        assert_eq!(frame(0xC1, &[12, 0, 8, 0, 8, 1, 1, 0x11, 0]), unsupported);
        assert_eq!(frame(0xC0, &[8, 0, 8, 0, 8, 2, 1, 0x11, 0, 2, 0x11, 0]), unsupported);
        let uneven = [8, 0, 8, 0, 8, 3, 1, 0x31, 0, 2, 0x21, 0, 3, 0x11, 0];
        assert_eq!(frame(0xC0, &uneven), unsupported);
    }

    /// Case 106: Exif that is none, beside the resolution that keeps Pillow from forgiving it.
    #[test]
    fn segments_that_make_loaders_raise_are_refused() {
        let jfif = segment(0xE0, b"JFIF\0\x01\x01\x01\0\x48\0\x48\0\0");
        let exif = |data: &[u8]| segment(0xE1, &[b"Exif\0\0", data].concat());
        let bad = || exif(b"no directory");
        assert_eq!(refusal(&jpeg_with(&[jfif.clone(), bad()])), Some(Refusal::Metadata));
        assert_eq!(refusal(&jpeg_with(&[bad()])), None);
        let good = exif(b"II\x2a\0\x08\0\0\0\xff\xff");
        assert_eq!(refusal(&jpeg_with(&[jfif, good])), None);
        for cut in
            [segment(0xE0, b"JFIF\0"), segment(0xEE, b"Adobe"), segment(0xE2, b"ICC_PROFILE\0\x01")]
        {
            assert_eq!(refusal(&jpeg_with(&[cut])), Some(Refusal::Metadata));
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
        assert_eq!(refusal(&image(MAX_SCANS + 1)), Some(Refusal::TooLarge));
    }

    #[test]
    fn fast_stops_at_the_frame_header() {
        let file = jpeg_of(&[frame_header(8, 8)]);
        assert!(inspect_bytes(&file, Level::Fast).is_ok());
        assert_eq!(refusal(&file), Some(Refusal::Truncated));
    }
}
