use super::*;
use crate::sample::{Entries, inspect_bytes, segment, tiff};
use flate2::{Compression, write::ZlibEncoder};
use std::io::Write as _;
use weezl::encode::Encoder;

/// A page of a few tags more, with one strip.
fn file(more: &[(u16, u16, u32, u32)], data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    let at = u32::try_from(8 + 2 + 12 * (more.len() + 2) + 4).unwrap();
    let mut entries = [&[(273, 4, 1, at), (279, 4, 1, len)], more].concat();
    entries.sort_unstable();
    let entries: Entries = Vec::leak(entries);
    [tiff(false, &[entries]), data.to_vec()].concat()
}

/// At medium and at slow, without a hash.
fn verdict(file: &[u8]) -> Result<(), Refusal> {
    assert!(inspect_bytes(file, Level::Medium).is_ok());
    inspect_bytes(file, Level::Slow).map(|info| assert_eq!(info.phash, None))
}

/// 2 x 2 pixels of three samples.
fn pixels(compression: u32, photometric: u32) -> Vec<(u16, u16, u32, u32)> {
    let tags = [(256, 2), (257, 2), (258, 8), (259, compression), (262, photometric), (277, 3)];
    tags.map(|(tag, value)| (tag, 3, 1, value)).to_vec()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lzw(bytes: &[u8]) -> Vec<u8> {
    Encoder::with_tiff_size_switch(BitOrder::Msb, 8).encode(bytes).unwrap()
}

fn old_lzw(bytes: &[u8]) -> Vec<u8> {
    Encoder::new(BitOrder::Lsb, 8).encode(bytes).unwrap()
}

fn runs(bytes: &[u8]) -> Vec<u8> {
    let (first, rest) = bytes.split_at(3);
    [&[128, 2], first, &[128, u8::try_from(257 - rest.len()).unwrap(), 7]].concat()
}

/// Case 223: Lab in every way to pack it; the same with a byte less is corrupt.
#[test]
fn variants_that_the_decoder_does_not_know_are_unpacked() {
    type Pack = fn(&[u8]) -> Vec<u8>;
    let packs: [(u32, Pack); 5] =
        [(5, lzw), (5, old_lzw), (8, deflate), (32_946, deflate), (32_773, runs)];
    for (compression, pack) in packs {
        let file = |n| file(&pixels(compression, 8), &pack(&vec![7; n]));
        assert_eq!(verdict(&file(12)), Ok(()), "{compression}");
        assert_eq!(verdict(&file(13)), Ok(()), "{compression}");
        assert_eq!(verdict(&file(11)), Err(Refusal::Corrupt), "{compression}");
        let mut cut = file(12);
        cut.truncate(cut.len() - 1);
        assert!(inspect_bytes(&cut, Level::Medium).is_err());
    }
}

/// Case 223: chrominance with fewer samples, and bits the other way round.
#[test]
fn what_is_stored_differently_needs_other_bytes() {
    let sampled = |tag, n| file(&[&pixels(5, 6)[..], tag].concat(), &lzw(&vec![7; n]));
    let one_by_one = [(530, 3, 2, 0x0001_0001)];
    let two_by_one = [(530, 3, 2, 0x0001_0002)];
    for (tag, n) in [(&[][..], 6), (&one_by_one, 12), (&two_by_one, 8)] {
        assert_eq!(verdict(&sampled(tag, n)), Ok(()), "{n}");
        assert_eq!(verdict(&sampled(tag, n - 1)), Err(Refusal::Corrupt), "{n}");
    }
    let turned: Vec<u8> = lzw(&[7; 12]).into_iter().map(u8::reverse_bits).collect();
    let more = [&pixels(5, 2)[..], &[(266, 3, 1, 2)]].concat();
    assert_eq!(verdict(&file(&more, &turned)), Ok(()));
}

/// Case 223: what libtiff takes of planes and predictors, and what it does not.
#[test]
fn predictors_and_planes_are_known_ones() {
    let with = |tag, value| {
        let more = [&pixels(5, 2)[..], &[(tag, 3, 1, value)]].concat();
        inspect_bytes(&file(&more, &lzw(&[7; 12])), Level::Medium).err()
    };
    let unsupported = Some(Refusal::UnsupportedFormat);
    assert_eq!([1, 2, 3, 4].map(|n| with(317, n)), [None, None, unsupported, unsupported]);
    assert_eq!([1, 0, 3].map(|n| with(284, n)), [None, unsupported, unsupported]);
}

/// Case 291: facsimile codes are read, also where they are in the other order or a predictor is named, which
/// means nothing for them; a JPEG of two components is of no level's.
#[test]
fn facsimile_codes_have_one_verdict_at_every_level() {
    // Eight white pixels, twice: T.6 says of each row that it is like the white one above.
    for (compression, data) in [(2, [0x98, 0x98]), (3, [0x9C, 0xC0]), (4, [0xC0, 0])] {
        let tags = [(256, 8), (257, 2), (258, 1), (259, compression), (262, 0)];
        let tags = tags.map(|(tag, value)| (tag, 3, 1, value));
        let turned = data.map(u8::reverse_bits);
        for (more, data) in [((277, 1), data), ((317, 2), data), ((266, 2), turned)] {
            let tags = [&tags[..], &[(more.0, 3, 1, more.1)]].concat();
            assert_eq!(verdict(&file(&tags, &data)), Ok(()), "{compression} {more:?}");
            let wrong = file(&tags, &[0, 0]);
            assert_eq!(verdict(&wrong), Err(Refusal::Corrupt), "{compression} {more:?}");
        }
    }
    let tags = [(256, 8), (257, 8), (258, 8), (259, 7), (262, 1), (277, 2), (338, 0)];
    let file = file(&tags.map(|(tag, value)| (tag, 3, 1, value)), &[0xFF, 0xD8, 0xFF, 0xD9]);
    for level in [Level::Medium, Level::Slow] {
        assert_eq!(inspect_bytes(&file, level), Err(Refusal::UnsupportedFormat));
    }
}

/// Without compression the length that the file states means nothing, to the decoder either.
#[test]
fn a_stated_length_that_is_not_needed_is_ignored() {
    let mut file = file(&pixels(1, 2), &[7; 12]);
    let at = file.windows(2).position(|tag| tag == 279_u16.to_le_bytes()).unwrap() + 8;
    file[at + 3] = 0x40;
    assert_eq!(verdict(&file), Ok(()));
}

/// Case 223: JPEG in luminance and chrominance, whole or with its tables elsewhere.
#[test]
fn jpegs_are_decoded() {
    let frame = segment(0xC0, &[8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    let scan = segment(0xDA, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);
    let picture = |data: &[u8]| [&frame, &scan, data, &[0xFF, 0xD9]].concat();
    let huffman = |class| segment(0xC4, &[&[class, 1][..], &[0; 15], &[0]].concat());
    let tables = [segment(0xDB, &[[0].as_slice(), &[1; 64]].concat()), huffman(0), huffman(16)];
    let tables = tables.concat();
    let tags = [(256, 8), (257, 8), (258, 8), (259, 7), (262, 6), (277, 3)];
    let tags = tags.map(|(tag, value)| (tag, 3, 1, value));
    let whole = |data: &[u8]| [&[0xFF, 0xD8][..], &tables, &picture(data)].concat();
    assert_eq!(verdict(&file(&tags, &whole(&[3]))), Ok(()));
    assert_eq!(verdict(&file(&tags, &whole(&[0xFF, 0]))), Err(Refusal::Corrupt));
    // The tables lie behind the strip.
    let data = [&[0xFF, 0xD8][..], &picture(&[3])].concat();
    let shared = [&[0xFF, 0xD8][..], &tables, &[0xFF, 0xD9]].concat();
    let at = u32::try_from(8 + 2 + 12 * 9 + 4 + data.len()).unwrap();
    let table = (347, 7, u32::try_from(shared.len()).unwrap(), at);
    let entries = [&tags[..], &[table]].concat();
    let with = |shared: &[u8]| {
        let strip = file(&entries, &data);
        [&strip, shared].concat()
    };
    assert_eq!(verdict(&with(&shared)), Ok(()));
    let unsupported = Err(Refusal::UnsupportedFormat);
    assert_eq!(verdict(&with(&vec![0; shared.len()])), unsupported, "they are no tables");
}
