//! Hostile and odd files at every level: what each is judged as, and that work is in proportion to the file.

use crate::sample::{
    canvas, chunk, frame_header, gif, inspect_bytes, jpeg, jpeg_of, jpeg_scan, lossless, lossy,
    png, png_header, png_of, segment, webp,
};
use crate::{Format, ImageInfo, Level, Refusal, inspect};
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

/// What every level says.
fn verdicts(file: &[u8]) -> Vec<Result<ImageInfo, Refusal>> {
    Level::ALL.iter().map(|level| inspect_bytes(file, *level)).collect()
}

/// Every level refuses the file for this reason.
fn assert_refused(what: &str, file: &[u8], refusal: Refusal) {
    assert_eq!(verdicts(file), vec![Err(refusal); Level::ALL.len()], "{what}");
}

/// Every level takes the file for a picture of this format and size.
fn assert_good(what: &str, file: &[u8], format: Format, size: (u32, u32)) {
    for verdict in verdicts(file) {
        let seen = verdict.map(|info| (info.format, (info.width, info.height)));
        assert_eq!(seen, Ok((format, size)), "{what}");
    }
}

/// A reader that counts what is taken from it.
struct Counted<'a> {
    bytes: Cursor<&'a [u8]>,
    taken: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        self.taken += n;
        Ok(n)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.bytes.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.taken += n;
        self.bytes.consume(n);
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}

/// How often a level reads a file, in hundredths of its length.
fn passes(file: &[u8], level: Level) -> usize {
    let mut reader = Counted { bytes: Cursor::new(file), taken: 0 };
    inspect(&mut reader, file.len().try_into().unwrap(), level).ok();
    reader.taken * 100 / file.len()
}

/// Cases 90, 93, 95, 97: many chunks, scans, fill bytes and frames are accepted at every level, and each
/// level reads a file ten times as long ten times as long, twice at most.
#[test]
fn work_is_linear_in_the_length() {
    let texts = |n: usize| png(2, 1, &vec![chunk(b"tEXt", b"k\0v"); n]);
    let frames = |n: usize| gif(&vec![(0, 0, 1, 1); n]);
    let fill = |n: usize| {
        let fill = vec![0xFF; n * 3];
        jpeg_of(&[frame_header(8, 8), fill, jpeg_scan(), vec![0xFF, 0xD9]])
    };
    let comments = |n: usize| {
        let comments = segment(0xFE, b"x").repeat(n);
        jpeg_of(&[comments, frame_header(8, 8), jpeg_scan(), vec![0xFF, 0xD9]])
    };
    type Maker<'a> = (&'a str, Format, (u32, u32), &'a dyn Fn(usize) -> Vec<u8>);
    let makers: [Maker<'_>; 4] = [
        ("texts", Format::Png, (2, 1), &texts),
        ("frames", Format::Gif, (1, 1), &frames),
        ("fill bytes", Format::Jpeg, (8, 8), &fill),
        ("comments", Format::Jpeg, (8, 8), &comments),
    ];
    for (what, format, size, make) in makers {
        assert_good(what, &make(20_000), format, size);
        for &level in Level::ALL {
            for n in [2_000, 20_000] {
                let passes = passes(&make(n), level);
                assert!(passes <= 220, "{what}: {n} are read {passes} % at {level:?}");
            }
        }
    }
}

/// Case 89: what a text or a profile inflates to is refused at every level that inflates it.
#[test]
fn bombs_of_metadata_are_refused_at_every_level_but_fast() {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, &vec![0; 64 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    for (kind, head) in
        [(b"iCCP", &b"p\0\0"[..]), (b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\x01\0en\0\0")]
    {
        let file = png(2, 1, &[chunk(kind, &[head, &bomb].concat())]);
        for &level in &Level::ALL[1..] {
            let verdict = inspect_bytes(&file, level);
            assert_eq!(verdict, Err(Refusal::Metadata), "{kind:?} at {level:?}");
            assert!(passes(&file, level) <= 220, "{kind:?} at {level:?}");
        }
    }
}

/// Case 99: the largest sides and a container of 2^32 - 1 bytes, at every level.
#[test]
fn webp_claims_are_refused_at_every_level() {
    for (kind, data) in [
        (b"VP8 ", lossy(16_383, 16_383)),
        (b"VP8L", lossless(16_384, 16_384)),
        (b"VP8X", canvas(0, 16_384, 16_384)),
    ] {
        assert_refused("claimed sides", &webp(&[(kind, &data)]), Refusal::TooLarge);
    }
    for (kind, data) in [(b"VP8 ", lossy(1, 1)), (b"VP8L", lossless(1, 1))] {
        let mut file = webp(&[(kind, &data)]);
        file[4..8].fill(0xFF);
        // What does not begin to read to the end cannot know it.
        for &level in &Level::ALL[1..] {
            assert_eq!(inspect_bytes(&file, level), Err(Refusal::Truncated), "{kind:?} {level:?}");
        }
    }
}

/// Case 102: an icon is none of the formats, whatever the PNG in it claims to be.
#[test]
fn icons_with_a_png_are_unsupported() {
    for side in [1, 16, 65_535, u32::MAX] {
        let picture = png_of(&[png_header(side, side), chunk(b"IDAT", b"x"), chunk(b"IEND", b"")]);
        let len = u32::try_from(picture.len()).unwrap().to_le_bytes();
        for (claimed, at) in [(len, [22, 0, 0, 0]), ([0xFF; 4], [22, 0, 0, 0]), (len, [0xFF; 4])] {
            let entry = [&[16, 16, 0, 0, 1, 0, 32, 0][..], &claimed, &at].concat();
            let file = [&[0, 0, 1, 0, 1, 0][..], &entry, &picture].concat();
            assert_refused("an icon", &file, Refusal::UnsupportedFormat);
        }
    }
}

/// Case 104: a file of two formats is what its first bytes say, and nothing else.
#[test]
fn polyglots_are_what_their_first_bytes_say() {
    let (zip, html) = (b"PK\x03\x04\x14\0\0\0\0\0".to_vec(), b"<!DOCTYPE html><html>".to_vec());
    let script = b"=1/*x*/;alert(1)//".to_vec();
    let small = png(2, 1, &[]);
    for tail in [&zip, &html, &script, &small, &jpeg()] {
        assert_good("JPEG first", &[jpeg(), tail.clone()].concat(), Format::Jpeg, (8, 8));
        assert_good("PNG first", &[small.clone(), tail.clone()].concat(), Format::Png, (2, 1));
    }
    // A picture of another format, a page or an archive inside a segment of the first.
    let comment = segment(0xFE, &[&small[..], &html, &zip].concat());
    let inside = jpeg_of(&[comment, frame_header(8, 8), jpeg_scan(), vec![0xFF, 0xD9]]);
    assert_good("inside a comment", &inside, Format::Jpeg, (8, 8));
    let inside = png(2, 1, &[chunk(b"tEXt", &[b"k\0", &jpeg()[..], &html].concat())]);
    assert_good("inside a text", &inside, Format::Png, (2, 1));
    for (first, refusal) in [
        (html, Refusal::NotImage),
        (zip, Refusal::NotImage),
        (script, Refusal::NotImage),
        (b"%PDF-1.7\n".to_vec(), Refusal::NotImage),
        (b"\x7fELF\x02\x01\x01\0".to_vec(), Refusal::NotImage),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), Refusal::UnsupportedFormat),
    ] {
        for picture in [jpeg(), small.clone(), gif(&[(0, 0, 1, 1)])] {
            let what = String::from_utf8_lossy(&first);
            assert_refused(&what, &[&first[..], &picture].concat(), refusal);
        }
    }
}

/// Case 106: whatever a byte of Exif becomes, the picture is accepted or its metadata are to blame: never
/// its data, and nothing panics.
#[test]
fn a_changed_byte_of_exif_blames_the_exif() {
    let fields =
        [(282, 5, &[72, 0, 0, 0, 1, 0, 0, 0][..]), (296, 3, &[2, 0]), (271, 2, b"Maker\0")];
    for is_big_endian in [false, true] {
        let exif = crate::sample::exif(is_big_endian, 6, &fields);
        let file = |exif: &[u8]| {
            let segment = segment(0xE1, &[b"Exif\0\0", exif].concat());
            jpeg_of(&[segment, frame_header(8, 8), jpeg_scan(), vec![0xFF, 0xD9]])
        };
        assert_good("unchanged", &file(&exif), Format::Jpeg, (8, 8));
        let (mut refused, mut accepted) = (0, 0);
        for at in 0..exif.len() {
            for byte in [0, 1, 0x7F, 0x80, 0xFF, exif[at] ^ 1] {
                let mut changed = exif.clone();
                changed[at] = byte;
                for verdict in verdicts(&file(&changed)) {
                    match verdict {
                        Ok(info) => accepted += usize::from((info.width, info.height) == (8, 8)),
                        Err(Refusal::Metadata) => refused += 1,
                        Err(other) => panic!("byte {at} as {byte:#x}: {other:?}"),
                    }
                }
            }
        }
        assert!(refused > 0 && accepted > refused, "{refused} refused, {accepted} accepted");
    }
}

/// Samples of a colour type, packed, as a PNG, interlaced or not, whose 8 x 8 pixels are all the same.
fn uniform(depth: u8, colour: u8, interlaced: bool) -> Vec<u8> {
    let samples = [1, 0, 3, 1, 2, 0, 4][usize::from(colour)];
    let row = |pixels: usize| (pixels * samples * usize::from(depth)).div_ceil(8);
    // Columns and rows of each pass of Adam7 over 8 x 8 pixels.
    let adam7 = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)];
    let passes: &[(usize, usize)] = if interlaced { &adam7 } else { &[(8, 8)] };
    let rows = passes.iter().flat_map(|&(columns, rows)| vec![columns; rows]);
    let pixels: Vec<u8> = rows.flat_map(|columns| vec![0; 1 + row(columns)]).collect();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, &pixels).unwrap();
    let fields = [0, 0, 0, 8, 0, 0, 0, 8, depth, colour, 0, 0, u8::from(interlaced)];
    let palette = if colour == 3 { chunk(b"PLTE", &[1, 2, 3]) } else { Vec::new() };
    let data = chunk(b"IDAT", &encoder.finish().unwrap());
    png_of(&[chunk(b"IHDR", &fields), palette, data, chunk(b"IEND", &[])])
}

/// Case 110: every colour type and depth of PNG, interlaced or not, is accepted at every level; so are the
/// photographs of the fixtures: CMYK, 16 bit, grey, rotated, animated, progressive.
#[test]
fn every_kind_of_good_picture_is_accepted() {
    for (colour, depths) in [
        (0, &[1, 2, 4, 8, 16][..]),
        (2, &[8, 16]),
        (3, &[1, 2, 4, 8]),
        (4, &[8, 16]),
        (6, &[8, 16]),
    ] {
        for &depth in depths {
            for interlaced in [false, true] {
                let what = format!("colour type {colour}, {depth} bits, interlaced: {interlaced}");
                assert_good(&what, &uniform(depth, colour, interlaced), Format::Png, (8, 8));
            }
        }
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/images");
    let mut n = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension == "md") {
            continue;
        }
        let verdicts = verdicts(&std::fs::read(&path).unwrap());
        assert!(verdicts.iter().all(Result::is_ok), "{}: {verdicts:?}", path.display());
        n += 1;
    }
    assert!(n >= 14, "{n} fixtures");
}
