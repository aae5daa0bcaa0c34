//! Headers, tables and segments of a JPEG, one by one.

use super::*;
use crate::sample::{
    exif, frame_header, inspect_bytes, jpeg, jpeg_of, jpeg_scan, refusal, segment, size,
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
        let frame = segment(0xC0, &[&[8, 0, 8, 0, 8, 3][..], components.as_flattened()].concat());
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

/// Case 106: values that Pillow cannot write again, and a resolution that it cannot read.
#[test]
fn exif_with_values_that_make_loaders_raise_is_refused() {
    let jfif = segment(0xE0, b"JFIF\0\x01\x01\x01\0\x48\0\x48\0\0");
    let app1 = |data: Vec<u8>| segment(0xE1, &[b"Exif\0\0", &data[..]].concat());
    let unit = || app1(exif(false, 6, &[(296, 2, b"2\0"), (37_500, 7, &[0; 60_000])]));
    let good = || app1(exif(false, 1, &[(296, 2, b"2\0")]));
    let bad = Some(Refusal::Metadata);
    for with in [vec![], jfif.clone()] {
        assert_eq!(refusal(&jpeg_with(&[with.clone(), unit()])), bad);
        assert_eq!(refusal(&jpeg_with(&[with.clone(), good()])), None);
        // The first segment is the beginning.
        assert_eq!(refusal(&jpeg_with(&[with, good(), unit()])), None);
    }
    let resolution = app1(exif(false, 0, &[(282, 2, b"7\0"), (296, 3, &[2, 0])]));
    assert_eq!(refusal(&jpeg_with(std::slice::from_ref(&resolution))), bad);
    assert_eq!(refusal(&jpeg_with(&[jfif, resolution])), None);
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
