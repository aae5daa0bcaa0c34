use super::*;
use crate::sample::{Plain, exif, exif_directory};

fn stops(exif: &[u8]) -> bool {
    Faults::of(exif).stop_loaders()
}

#[test]
fn exif_begins_like_a_tiff_or_is_empty() {
    for good in [&b""[..], b"II\x2a\0\x08\0\0\0", b"Exif\0\0MM\0\x2a\0\0\0\x08", b"Exif\0\0"] {
        assert!(!stops(good), "{good:x?}");
    }
    for bad in [&b"no Exif at all"[..], b"II\x2a\0", b"II\x2b\0\x08\0\0\0", b"Exif\0\0\0\0"] {
        assert!(stops(bad), "{bad:x?}");
    }
}

/// Case 106: pairs of tags and types of which Pillow 13 was seen to raise or not to.
#[test]
fn values_of_a_turned_picture_fit_their_tags() {
    let (ratio, minus) = (&[72, 0, 0, 0, 1, 0, 0, 0], &[0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]);
    let cases: &[(u16, u16, &[u8], bool)] = &[
        // ResolutionUnit.
        (296, 3, &[2, 0], false),
        (296, 4, &[2, 0, 0, 0], false),
        (296, 4, &[0, 0, 1, 0], true),
        (296, 9, &[0xFF; 4], true),
        (296, 1, &[2], true),
        (296, 2, b"2\0", true),
        (296, 2, b"inch\0", false),
        (296, 5, ratio, true),
        (296, 99, ratio, false),
        (296, 11, &[0, 0, 0, 64], true),
        // XResolution, YResolution.
        (282, 5, ratio, false),
        (282, 10, ratio, false),
        (282, 10, minus, true),
        (283, 4, &[72, 0, 0, 0], false),
        (283, 2, b"72\0", true),
        (283, 7, b"72", true),
        (283, 12, &[0, 0, 0, 0, 0, 0, 0xF8, 0x7F], true),
        // Make, DateTime, Copyright.
        (271, 2, b"Maker\0", false),
        (271, 3, &[1, 0], false),
        (271, 7, b"Maker", false),
        (306, 5, ratio, true),
        (33_432, 12, &[0; 8], true),
        // PhotometricInterpretation with two values, of which another tag's first is taken.
        (262, 3, &[2, 0, 2, 0], true),
        (259, 3, &[6, 0, 6, 0], false),
        // XMP.
        (700, 1, b"<xmp>", false),
        (700, 2, b"<xmp>\0", true),
        (700, 4, &[0, 1, 0, 0], true),
        // IPTC.
        (33_723, 4, &[0; 8], false),
        (33_723, 11, &[0; 4], true),
        // Tags that Pillow does not know.
        (59_932, 2, b"?\0", false),
        (59_932, 10, minus, false),
        (59_932, 16, &[0, 0, 0, 0, 1, 0, 0, 0], true),
    ];
    for &(tag, kind, data, is_bad) in cases {
        let field = (tag, kind, data);
        for is_big_endian in [false, true] {
            let turned = |turn: u16| exif(is_big_endian, turn, &[field]);
            assert_eq!(stops(&turned(6)), is_bad, "{field:?}");
            assert!(!stops(&turned(1)) && !stops(&turned(9)), "{field:?}");
        }
    }
}

#[test]
fn an_orientation_is_a_number_of_any_type() {
    let bad = (296, 2, &b"2\0"[..]);
    let six: &[(u16, &[u8], bool)] = &[
        (4, &[6, 0, 0, 0], true),
        (6, &[6], true),
        (5, &[12, 0, 0, 0, 2, 0, 0, 0], true),
        (5, &[13, 0, 0, 0, 2, 0, 0, 0], false),
        (5, &[0; 8], false),
        (11, &[0, 0, 0xC0, 0x40], true),
        (1, &[6], false),
        (2, b"6\0", false),
    ];
    for &(kind, data, is_bad) in six {
        // The field in front of it counts, and what is repeated does not.
        let file = exif(false, 0, &[bad, (ORIENTATION, kind, data), (ORIENTATION, 3, &[1, 0])]);
        assert_eq!(stops(&file), is_bad, "{kind} {data:?}");
    }
}

/// The directories of Exif, GPS and interoperability are written too.
#[test]
fn values_below_the_first_directory_count() {
    // The orientation and one pointer are 30 bytes behind the header of 8; a pointer alone is 18.
    let pointer = |tag: u16, at: u32| exif(false, 6, &[(tag, 4, &at.to_le_bytes())]);
    let below = |fields: &[Plain<'_>], at: u32| exif_directory(false, fields, at);
    let ratio = &[72, 0, 0, 0, 1, 0, 0, 0][..];
    for (tag, field, is_bad) in [
        (GPS, (6, 5, ratio), false),
        (GPS, (6, 2, &b"72\0"[..]), true),
        (GPS, (1, 3, &[1, 0, 2, 0]), true),
        (EXIF, (33_434, 2, b"any\0"), false),
        (EXIF, (296, 5, ratio), false),
        (EXIF, (36_864, 11, &[0; 4]), true),
        (40_965, (1, 5, ratio), false),
    ] {
        let file = [pointer(tag, 38), below(&[field], 38)].concat();
        assert_eq!(stops(&file), is_bad, "{tag} {field:?}");
    }
    let inner = [(INTEROPERABILITY, 4, &56_u32.to_le_bytes()[..])];
    let file = [pointer(EXIF, 38), below(&inner, 38), below(&[(1, 5, ratio)], 56)].concat();
    assert!(stops(&file));
    // Pointers to themselves and to nowhere are nothing to write; one before the file raises.
    assert!(!stops(&pointer(EXIF, 8)) && !stops(&pointer(GPS, u32::MAX)));
    assert!(stops(&exif(false, 6, &[(EXIF, 9, &[0xFF; 4])])));
}

/// What Pillow does not take, it does not write.
#[test]
fn cut_and_impossible_fields_are_passed_over() {
    let bad = (283, 2, &b"seventy-two\0"[..]);
    let whole = exif(false, 6, &[bad]);
    assert!(stops(&whole));
    for n in 8..whole.len() {
        assert!(!stops(&whole[..n]), "{n}");
    }
    let mut far = whole.clone();
    // The count of the second field.
    far[26..30].fill(0xFF);
    assert!(!stops(&far));
    let many: Vec<_> = (0..300).map(|n| (40_000 + n, 3, &[0, 0][..])).collect();
    assert!(!stops(&exif(false, 6, &many)));
}

#[test]
fn a_fraction_of_one_character_is_cut() {
    let unit = (296, 3, &[2, 0][..]);
    let is_cut = |fields: &[Plain<'_>]| Faults::of(&exif(false, 0, fields)).resolution;
    for (kind, data, is_bad) in [
        (2, &b"7\0"[..], true),
        (2, b"7", true),
        (2, b"\0", true),
        (7, b"x", true),
        (2, b"x\0", false),
        (2, b"72\0", false),
        (7, b"72", false),
        (3, &[7, 0], false),
    ] {
        assert_eq!(is_cut(&[(282, kind, data), unit]), is_bad, "{kind} {data:?}");
        assert!(!is_cut(&[(282, kind, data)]));
    }
}
