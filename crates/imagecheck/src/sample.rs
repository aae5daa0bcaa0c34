//! The smallest pictures of every format, built for tests.

use crate::{Format, ImageInfo, Level, Refusal, inspect};
use std::io::Cursor;

/// Inspects bytes in memory.
pub(crate) fn inspect_bytes(bytes: &[u8], level: Level) -> Result<ImageInfo, Refusal> {
    inspect(&mut Cursor::new(bytes), bytes.len().try_into().unwrap(), level)
}

/// The reason why medium refuses the bytes.
pub(crate) fn refusal(bytes: &[u8]) -> Option<Refusal> {
    inspect_bytes(bytes, Level::Medium).err()
}

/// Width and height at medium.
pub(crate) fn size(bytes: &[u8]) -> Result<(u32, u32), Refusal> {
    inspect_bytes(bytes, Level::Medium).map(|info| (info.width, info.height))
}

/// A good file of every kind, without any byte behind the image.
pub(crate) fn all() -> Vec<(Format, Vec<u8>)> {
    vec![
        (Format::Jpeg, jpeg()),
        (Format::Png, png(2, 1, &[])),
        (Format::Gif, gif(&[(0, 0, 1, 1)])),
        (Format::Gif, gif(&[(0, 0, 1, 1); 3])),
        (Format::Bmp, bmp(2, -2, 24, 0, &[9; 16])),
        (Format::Bmp, bmp(2, 2, 8, 1, &[2, 7, 0, 0, 0, 2, 0, 0, 2, 7, 0, 1])),
        (Format::Webp, webp(&[(b"VP8 ", &lossy(1, 1))])),
        (Format::Webp, webp(&[(b"VP8L", &lossless(1, 1))])),
        (Format::Webp, webp(&[(b"VP8X", &canvas(0, 1, 1)), (b"VP8 ", &lossy(1, 1))])),
        (Format::Webp, animation(&[(0, 0), (0, 0)])),
        (Format::Tiff, tiff(false, &[GRAY])),
        (Format::Tiff, tiff(true, &[GRAY, GRAY])),
    ]
}

/// A segment or marker of a JPEG.
pub(crate) fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len() + 2).unwrap();
    [&[0xFF, marker], &len.to_be_bytes()[..], data].concat()
}

/// A JPEG's frame header with one component.
pub(crate) fn frame_header(width: u16, height: u16) -> Vec<u8> {
    let ([w1, w0], [h1, h0]) = (width.to_be_bytes(), height.to_be_bytes());
    segment(0xC0, &[8, h1, h0, w1, w0, 1, 1, 0x11, 0])
}

/// A JPEG's scan: a header and the codes of one grey block.
pub(crate) fn jpeg_scan() -> Vec<u8> {
    [segment(0xDA, &[1, 1, 0, 0, 63, 0]), vec![0x3F]].concat()
}

/// A JPEG of 8 x 8 grey pixels with other pieces after its tables.
pub(crate) fn jpeg_of(pieces: &[Vec<u8>]) -> Vec<u8> {
    // One code of one bit, which means: no difference, or the end of the block.
    let huffman = |class| segment(0xC4, &[&[class, 1][..], &[0; 15], &[0]].concat());
    let tables = [segment(0xDB, &[[0].as_slice(), &[1; 64]].concat()), huffman(0), huffman(0x10)];
    [&[0xFF, 0xD8][..], &tables.concat(), &pieces.concat()].concat()
}

pub(crate) fn jpeg() -> Vec<u8> {
    jpeg_of(&[frame_header(8, 8), jpeg_scan(), vec![0xFF, 0xD9]])
}

/// A chunk of a PNG.
pub(crate) fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    let crc = crc32fast::hash(&[&kind[..], data].concat());
    [&len.to_be_bytes(), &kind[..], data, &crc.to_be_bytes()].concat()
}

/// A PNG's header chunk for grey pixels.
pub(crate) fn png_header(width: u32, height: u32) -> Vec<u8> {
    let rest = [8, 0, 0, 0, 0];
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &rest].concat())
}

pub(crate) fn png_of(chunks: &[Vec<u8>]) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n", &chunks.concat()[..]].concat()
}

/// A grey PNG with chunks before its data, which is stored, not compressed.
pub(crate) fn png(width: u32, height: u32, more: &[Vec<u8>]) -> Vec<u8> {
    let pixels = vec![0; usize::try_from((width + 1) * height).unwrap()];
    let len = u16::try_from(pixels.len()).unwrap();
    let stored = [&len.to_le_bytes()[..], &(!len).to_le_bytes(), &pixels].concat();
    // Adler-32 of zeros: their number, and 1.
    let sum = [&len.to_be_bytes()[..], &[0, 1]].concat();
    let data = chunk(b"IDAT", &[&[0x78, 0x01, 0x01][..], &stored, &sum].concat());
    png_of(&[png_header(width, height), more.concat(), data, chunk(b"IEND", &[])])
}

/// A GIF of 1 x 1 pixel with frames at a place and of a size.
pub(crate) fn gif(frames: &[(u16, u16, u16, u16)]) -> Vec<u8> {
    let mut file = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    for &(left, top, width, height) in frames {
        file.extend(b"!\xf9\x04\0\0\0\0\0,");
        file.extend([left, top, width, height].map(u16::to_le_bytes).as_flattened());
        file.extend(b"\0\x02\x02\x44\x01\0");
    }
    file.push(b';');
    file
}

/// A BMP with the usual header, two colours where it needs some, and these pixels.
pub(crate) fn bmp(width: i32, height: i32, bits: u16, compression: u32, pixels: &[u8]) -> Vec<u8> {
    let colours = if bits == 8 { vec![0x40; 4 * 256] } else { Vec::new() };
    let start = u32::try_from(54 + colours.len()).unwrap();
    let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
    file.extend([start, 40].map(u32::to_le_bytes).as_flattened());
    file.extend([width, height].map(i32::to_le_bytes).as_flattened());
    file.extend([1, bits].map(u16::to_le_bytes).as_flattened());
    file.extend([compression, 0, 0, 0, 0, 0].map(u32::to_le_bytes).as_flattened());
    [file, colours, pixels.to_vec()].concat()
}

/// A WebP of chunks.
pub(crate) fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let chunks = riff_chunks(chunks);
    let len = u32::try_from(chunks.len() + 4).unwrap();
    [b"RIFF", &len.to_le_bytes()[..], b"WEBP", &chunks].concat()
}

fn riff_chunks(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, data) in chunks {
        bytes.extend(*kind);
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
    }
    bytes
}

/// The lossy bitstream of one pixel, with a header that claims these dimensions.
pub(crate) fn lossy(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = b"\x30\x01\0\x9d\x01\x2a".to_vec();
    bytes.extend([width, height].map(u16::to_le_bytes).as_flattened());
    bytes.extend(b"\x0e\xc0\xfe\x25\xa4\0\x03\x70\0\0\0\0");
    bytes
}

/// The lossless bitstream of one pixel, with a header that claims these dimensions.
pub(crate) fn lossless(width: u32, height: u32) -> Vec<u8> {
    let sides = (width - 1) | (height - 1) << 14 | 1 << 28;
    let pixel = b"\x07\x10\x11\x11\x88\x88\xfe\x07";
    [b"\x2f", &sides.to_le_bytes()[..], pixel].concat()
}

/// The data of an extended header.
pub(crate) fn canvas(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let sides = [width - 1, height - 1].map(u32::to_le_bytes);
    [&[flags, 0, 0, 0], &sides[0][..3], &sides[1][..3]].concat()
}

/// An animated WebP of 1 x 1 pixel with frames at these places.
pub(crate) fn animation(places: &[(u8, u8)]) -> Vec<u8> {
    let image = riff_chunks(&[(b"VP8L", &lossless(1, 1))]);
    let frames: Vec<Vec<u8>> = places
        .iter()
        .map(|&(x, y)| [&[x, 0, 0, y, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0], &image[..]].concat())
        .collect();
    let mut chunks: Vec<(&[u8; 4], &[u8])> = Vec::new();
    let (header, control) = (canvas(2, 1, 1), [0; 6]);
    chunks.push((b"VP8X", &header));
    chunks.push((b"ANIM", &control));
    chunks.extend(frames.iter().map(|frame| (b"ANMF", &frame[..])));
    webp(&chunks)
}

/// Entries of a directory: tag, kind, count and value or offset.
pub(crate) type Entries = &'static [(u16, u16, u32, u32)];

/// A page of 2 x 2 grey pixels, whose data is the file's header.
pub(crate) const GRAY: Entries = &[
    (256, 3, 1, 2),
    (257, 3, 1, 2),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 4),
    (277, 3, 1, 1),
    (278, 3, 1, 2),
    (279, 4, 1, 4),
];

/// A TIFF with a directory for each page.
pub(crate) fn tiff(is_big_endian: bool, pages: &[Entries]) -> Vec<u8> {
    let short = |n: u16| if is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let long = |n: u32| if is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let order = if is_big_endian { b"MM" } else { b"II" };
    let mut file = [&order[..], &short(42), &long(8)].concat();
    for (n, entries) in pages.iter().enumerate() {
        file.extend(short(entries.len().try_into().unwrap()));
        for &(tag, kind, count, value) in *entries {
            file.extend([short(tag), short(kind)].as_flattened());
            file.extend(long(count));
            match kind {
                // Two values, the first one in the lower half.
                3 if count == 2 => {
                    let [first, second] = [value & 0xFFFF, value >> 16];
                    file.extend(
                        [first, second].map(|n| short(n.try_into().unwrap())).as_flattened(),
                    );
                }
                3 => file.extend([short(value.try_into().unwrap()), [0; 2]].as_flattened()),
                _ => file.extend(long(value)),
            }
        }
        let next = if n + 1 == pages.len() { 0 } else { file.len() + 4 };
        file.extend(long(next.try_into().unwrap()));
    }
    file
}

/// A field of Exif: its tag, its type, and its values in little endian.
pub(crate) type Plain<'a> = (u16, u16, &'a [u8]);

/// Exif with an orientation, unless that is zero, and more fields.
pub(crate) fn exif(is_big_endian: bool, orientation: u16, more: &[Plain<'_>]) -> Vec<u8> {
    let turn = orientation.to_le_bytes();
    let mut fields: Vec<Plain<'_>> = vec![(0x112, 3, &turn)];
    fields.retain(|_| orientation != 0);
    fields.extend(more);
    let header: &[u8] = if is_big_endian { b"MM\0\x2a\0\0\0\x08" } else { b"II\x2a\0\x08\0\0\0" };
    [header, &exif_directory(is_big_endian, &fields, 8)].concat()
}

/// A directory of Exif that begins at `at`.
pub(crate) fn exif_directory(is_big_endian: bool, fields: &[Plain<'_>], at: u32) -> Vec<u8> {
    let turned = |data: &[u8], width: usize| -> Vec<u8> {
        let turn = |bytes: &[u8]| -> Vec<u8> { bytes.iter().rev().copied().collect() };
        if is_big_endian { data.chunks(width).flat_map(turn).collect() } else { data.to_vec() }
    };
    let n_fields = u16::try_from(fields.len()).unwrap();
    let mut entries = turned(&n_fields.to_le_bytes(), 2);
    let mut far = Vec::new();
    for (tag, kind, data) in fields {
        // The bytes of a value, and of the numbers that it is made of.
        let (width, part) = match kind {
            3 | 8 => (2, 2),
            4 | 9 | 11 | 13 => (4, 4),
            5 | 10 => (8, 4),
            12 | 16 => (8, 8),
            _ => (1, 1),
        };
        let count = u32::try_from(data.len() / width).unwrap();
        entries.extend([turned(&tag.to_le_bytes(), 2), turned(&kind.to_le_bytes(), 2)].concat());
        entries.extend(turned(&count.to_le_bytes(), 4));
        let mut data = turned(data, part);
        if data.len() > 4 {
            let place = at + 6 + 12 * u32::from(n_fields) + u32::try_from(far.len()).unwrap();
            far.extend(data);
            data = turned(&place.to_le_bytes(), 4);
        }
        data.resize(4, 0);
        entries.extend(data);
    }
    [entries, vec![0; 4], far].concat()
}
