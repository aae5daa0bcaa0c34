//! PNG: chunks with their checksums up to the end chunk.
//!
//! Source: [PNG, third edition](https://www.w3.org/TR/png-3/) (ISO/IEC 15948): signature (5.2),
//! chunk layout (5.3), names (5.4), checksum (5.5), order (5.6), and in section 11.2 the chunks
//! [IHDR](https://www.w3.org/TR/png-3/#11IHDR), [PLTE](https://www.w3.org/TR/png-3/#11PLTE),
//! [IDAT](https://www.w3.org/TR/png-3/#11IDAT) and [IEND](https://www.w3.org/TR/png-3/#11IEND).

mod ancillary;
mod animation;
mod chunk;

use crate::{Level, Refusal, Size, scan::Scan};
use ancillary::Ancillary;
use chunk::Chunk;
use std::io::{BufRead, Seek};

/// Colour type of images that need a palette.
const INDEXED: u8 = 3;

/// What the header chunk says.
struct Header {
    size: Size,
    colour: u8,
}

/// Reads the dimensions and, above fast, walks all chunks.
///
/// The pixels are never inflated here. Bytes behind the end chunk are ignored.
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
    let mut chunk = Chunk::open(scan)?;
    // Apple's tools write PNG for its devices so, whose pixels no loader reads.
    if chunk.kind == *b"CgBI" {
        return Err(Refusal::UnsupportedFormat);
    }
    if chunk.kind != *b"IHDR" || chunk.len != 13 {
        return Err(Refusal::Corrupt);
    }
    let [w3, w2, w1, w0, h3, h2, h1, h0, depth, colour, compression, filter, interlace] =
        chunk.array::<13, R>(scan)?;
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
    chunk.close(scan)?;
    Ok(Header { size, colour })
}

/// Where the walk is: the chunks of data are consecutive (section 5.6).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    Before,
    Inside,
    Behind,
}

fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, header: &Header) -> Result<(), Refusal> {
    let mut has_palette = false;
    let mut data = Data::Before;
    let mut ancillary = Ancillary::default();
    loop {
        let mut chunk = Chunk::open(scan)?;
        match &chunk.kind {
            b"IDAT" if data != Data::Behind && (has_palette || header.colour != INDEXED) => {
                data = Data::Inside;
                chunk.close(scan)?;
                continue;
            }
            b"IEND" if data != Data::Before && chunk.len == 0 => {
                chunk.close(scan)?;
                return ancillary.check();
            }
            b"PLTE" if !has_palette && chunk.len % 3 == 0 && (3..=768).contains(&chunk.len) => {
                has_palette = true;
            }
            // A lower-case first letter means that the image can be shown without the chunk.
            [b'a'..=b'z', ..] => {
                ancillary.read(scan, &mut chunk, header, data != Data::Before)?;
            }
            b"IHDR" | b"IDAT" | b"IEND" | b"PLTE" => return Err(Refusal::Corrupt),
            // Readers that do not know it cannot show the image, or show another one.
            _ => {
                chunk.close(scan)?;
                return Err(Refusal::UnsupportedFormat);
            }
        }
        if data == Data::Inside {
            data = Data::Behind;
        }
        chunk.close(scan)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{chunk, exif, inspect_bytes, png, png_header, png_of, refusal, size};

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
            vec![start(), data(), chunk(b"tIME", &[]), data(), end()],
            vec![start(), chunk(b"a1b2", &[]), data(), end()],
            vec![indexed(), data(), end()],
            vec![indexed(), palette(4), data(), end()],
            vec![indexed(), palette(0), data(), end()],
            vec![indexed(), palette(771), data(), end()],
            vec![indexed(), palette(3), palette(3), data(), end()],
        ] {
            assert_eq!(refusal(&png_of(&chunks)), Some(Refusal::Corrupt), "{chunks:x?}");
        }
        let unknown = [start(), chunk(b"WHAT", &[]), data(), end()];
        assert_eq!(refusal(&png_of(&unknown)), Some(Refusal::UnsupportedFormat));
    }

    /// Case 484: Apple's own kind of PNG.
    #[test]
    fn a_png_of_apples_is_another_variant() {
        let chunks = [chunk(b"CgBI", &[0x50, 0, 0x20, 2]), png_header(1, 1), chunk(b"IEND", &[])];
        for &level in Level::ALL {
            let verdict = inspect_bytes(&png_of(&chunks), level);
            assert_eq!(verdict, Err(Refusal::UnsupportedFormat), "{level:?}");
        }
    }

    fn deflate(bytes: usize) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &vec![b'x'; bytes]).unwrap();
        encoder.finish().unwrap()
    }

    /// Case 89: a text or a profile of more than 1 MiB when inflated stops loaders, and so do 64 MiB of texts.
    #[test]
    fn what_loaders_do_not_inflate_is_refused() {
        let text = |kind: &[u8; 4], head: &[u8], bytes| {
            let more = chunk(kind, &[head, &deflate(bytes)].concat());
            let behind = [png_header(2, 1), chunk(b"IDAT", &[]), more.clone(), chunk(b"IEND", &[])];
            assert_eq!(refusal(&png_of(&behind)), refusal(&png(2, 1, std::slice::from_ref(&more))));
            refusal(&png(2, 1, &[more]))
        };
        for (kind, head) in
            [(b"iCCP", &b"p\0\0"[..]), (b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\x01\0en\0\0")]
        {
            assert_eq!(text(kind, head, 1 << 20), None, "{kind:?}");
            assert_eq!(text(kind, head, (1 << 20) + 1), Some(Refusal::Metadata), "{kind:?}");
            assert_eq!(text(kind, head, 64 << 20), Some(Refusal::Metadata), "{kind:?}");
        }
        let plain = chunk(b"tEXt", &[b"k\0", &[b'x'; 1 << 20][..]].concat());
        assert_eq!(refusal(&png(2, 1, &vec![plain.clone(); 64])), None);
        assert_eq!(refusal(&png(2, 1, &vec![plain; 65])), Some(Refusal::Metadata));
    }

    /// Broken streams are dropped by loaders, and harmless.
    #[test]
    fn streams_that_are_broken_or_cut_are_accepted() {
        let cut = &deflate(5000)[..8];
        let more = [
            chunk(b"iCCP", b"p\0\0no stream"),
            chunk(b"zTXt", &[b"k\0\0", cut].concat()),
            chunk(b"zTXt", b"no zero"),
            chunk(b"iTXt", b"k\0\x01"),
            chunk(b"tEXt", b""),
        ];
        assert_eq!(size(&png(2, 1, &more)), Ok((2, 1)));
    }

    #[test]
    fn chunks_that_make_loaders_raise_are_refused() {
        for (kind, data) in [
            (b"iCCP", &b"name"[..]),
            (b"iCCP", b"name\0"),
            (b"iCCP", b"name\0\x01x"),
            (b"zTXt", b"key\0\x01x"),
            (b"tRNS", b"\0"),
            (b"gAMA", b"\0\0\0"),
            (b"cHRM", &[0; 31]),
            (b"sRGB", b""),
            (b"pHYs", &[0; 8]),
            (b"eXIf", b"no directory"),
            (b"acTL", &[0; 7]),
            (b"fcTL", &[0; 25]),
            (b"fdAT", &[0; 3]),
        ] {
            let file = png(2, 1, &[chunk(kind, data)]);
            assert_eq!(refusal(&file), Some(Refusal::Metadata), "{kind:?}");
        }
    }

    /// Case 106: the last Exif counts.
    #[test]
    fn exif_of_a_turned_picture_is_read() {
        let bad = chunk(b"eXIf", &exif(true, 6, &[(296, 5, &[2, 0, 0, 0, 1, 0, 0, 0])]));
        let good = chunk(b"eXIf", &exif(true, 6, &[(296, 3, &[2, 0])]));
        assert_eq!(refusal(&png(2, 1, &[good.clone(), bad.clone()])), Some(Refusal::Metadata));
        assert_eq!(refusal(&png(2, 1, &[bad, good])), None);
    }

    /// Chunks of an animation behind each other: how many frames, then numbers with sizes or data.
    #[test]
    fn frames_of_an_animation_follow_each_other() {
        let frames = |n: u32| chunk(b"acTL", &[n.to_be_bytes(), [0; 4]].concat());
        let frame = |number: u32, width: u32| {
            let fields = [number, width, 1, 0, 0, 0].map(u32::to_be_bytes);
            chunk(b"fcTL", &[fields.as_flattened(), &[0, 0]].concat())
        };
        let bad = Some(Refusal::Metadata);
        let before = |chunks: &[Vec<u8>]| refusal(&png(2, 1, chunks));
        assert_eq!(before(&[frames(2), frame(0, 2)]), None);
        assert_eq!(before(&[frames(2), frame(1, 2)]), bad);
        assert_eq!(before(&[frames(2), frame(0, 3)]), bad);
        assert_eq!(before(&[frame(0, 2), frame(2, 2)]), bad);
        // Loaders stop at the second frame, unless they do not know that there is one.
        let behind = |first: Vec<u8>| {
            let rest = [chunk(b"IDAT", &[]), frame(7, 9), chunk(b"IEND", &[])];
            refusal(&png_of(&[&[png_header(2, 1), first][..], &rest].concat()))
        };
        assert_eq!(behind(frames(2)), None);
        assert_eq!(behind(frames(1)), bad);
        assert_eq!(behind(frames(0)), bad);
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
    /// Case 480: the checksum of the pixels, behind them in their chunk. Loaders raise where it is wrong, and do not look
    /// for it elsewhere.
    #[cfg(feature = "decode")]
    #[test]
    fn a_wrong_checksum_of_the_pixels_is_found_at_slow() {
        // Three zeros, stored.
        let pixels = b"\x78\x01\x01\x03\0\xfc\xff\0\0\0";
        let slow = |chunks: &[&[u8]]| {
            let data = chunks.iter().map(|data| chunk(b"IDAT", data)).collect::<Vec<_>>().concat();
            let file = png_of(&[png_header(2, 1), data, chunk(b"IEND", &[])]);
            assert_eq!(size(&file), Ok((2, 1)));
            inspect_bytes(&file, Level::Slow).err()
        };
        let with = |sum: &[u8]| slow(&[&[pixels, sum].concat()]);
        assert_eq!(with(&[0, 3, 0, 1]), None);
        assert_eq!(with(&[0, 3, 0, 1, 9]), None);
        for wrong in [[0; 4], [0, 3, 0, 2], [1, 0, 3, 0]] {
            assert_eq!(with(&wrong), Some(Refusal::Corrupt), "{wrong:?}");
            assert_eq!(slow(&[pixels, &wrong]), None, "{wrong:?}");
        }
        assert_eq!([with(&[]), with(&[0, 9])], [None, None]);
    }

    /// What is not decoded takes no memory: pictures with as many texts as loaders read, and a profile.
    #[cfg(feature = "decode")]
    #[test]
    fn texts_are_no_part_of_the_decode() {
        let text = chunk(b"tEXt", &[b"k\0", &[b'x'; 1 << 20][..]].concat());
        let file = png(2, 1, &vec![text; 40]);
        assert_eq!(inspect_bytes(&file, Level::Slow).map(|_| ()), Ok(()));
    }
}
