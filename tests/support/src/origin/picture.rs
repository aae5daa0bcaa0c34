//! The fixture pictures, and copies of them that differ in their bytes but not in what they show.

use std::fs;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::checkout::root;

/// A picture format that the product takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JPEG
    Jpeg,
    /// PNG
    Png,
    /// GIF
    Gif,
    /// WEBP
    Webp,
    /// Windows bitmap
    Bmp,
    /// TIFF
    Tiff,
}

impl Format {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
        }
    }

    fn of(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        Some(match extension {
            "jpg" => Self::Jpeg,
            "png" => Self::Png,
            "gif" => Self::Gif,
            "webp" => Self::Webp,
            "bmp" => Self::Bmp,
            "tiff" => Self::Tiff,
            _ => return None,
        })
    }
}

/// A picture and its format.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The format.
    pub format: Format,
    /// The whole file.
    pub bytes: Bytes,
}

/// The pictures in `tests/fixtures/images`, by file name.
pub fn fixtures() -> &'static [Picture] {
    static FIXTURES: LazyLock<Vec<Picture>> = LazyLock::new(|| {
        let directory = root().join("tests/fixtures/images");
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        let pictures = files.iter().filter_map(|path| {
            let format = Format::of(&path.file_name()?.to_string_lossy())?;
            Some(Picture { format, bytes: fs::read(path).ok()?.into() })
        });
        pictures.collect()
    });
    &FIXTURES
}

/// Picture number `n`: a fixture with a note in it, so that no two numbers have the same bytes.
pub fn picture(n: u64) -> Picture {
    tagged(n, &format!("picture {n}"))
}

/// A fixture, chosen by number, that carries a note where its format allows one.
pub fn tagged(n: u64, note: &str) -> Picture {
    let fixtures = fixtures();
    noted(&fixtures[usize::try_from(n).unwrap_or(0) % fixtures.len()], note)
}

/// A JPEG with a note, chosen by number.
pub fn jpeg(n: u64, note: &str) -> Bytes {
    let jpegs: Vec<_> =
        fixtures().iter().filter(|picture| picture.format == Format::Jpeg).collect();
    noted(jpegs[usize::try_from(n).unwrap_or(0) % jpegs.len()], note).bytes
}

/// A JPEG made at least this long by comment segments; anything else, or longer, as it is.
pub fn padded(picture: Picture, bytes: usize) -> Picture {
    let missing = bytes.saturating_sub(picture.bytes.len());
    if picture.format != Format::Jpeg || missing == 0 {
        return picture;
    }
    let mut padding = Vec::with_capacity(missing + 8);
    while padding.len() < missing {
        let payload = (missing - padding.len()).saturating_sub(4).clamp(1, 65_533);
        padding.extend(jpeg_comment(&noise(padding.len() as u64)[..payload]));
    }
    let at = after_jpeg_headers(&picture.bytes);
    Picture { bytes: spliced(&picture.bytes, at, &padding), ..picture }
}

/// A run of 64 KiB that does not compress, different for each of the first 65,536 seeds.
pub fn noise(seed: u64) -> Bytes {
    static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        words.take(2 * 65_536 / 8).flatten().collect()
    });
    let from = usize::try_from(seed % 65_536).unwrap_or(0);
    NOISE.slice(from..from + 65_536)
}

/// The header of a bitmap of about this many bytes; any bytes after it are its pixels.
pub fn bitmap_header(bytes: u64) -> (Vec<u8>, u64) {
    // At most 10,000 pixels a side, 32 bits a pixel.
    let width = 1024 * (bytes / (1024 * 4 * 10_000) + 1);
    let height = (bytes / (width * 4)).max(1);
    let pixels = width * height * 4;
    let mut header = b"BM".to_vec();
    let mut put = |value: u64, length: usize| header.extend(&value.to_le_bytes()[..length]);
    for (value, length) in
        [(pixels + 54, 4), (0, 4), (54, 4), (40, 4), (width, 4), (height, 4), (1, 2), (32, 2)]
    {
        put(value, length);
    }
    for value in [0, pixels, 2835, 2835, 0, 0] {
        put(value, 4);
    }
    (header, pixels)
}

/// Its CRC-32, as PNG and gzip use it.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

fn noted(picture: &Picture, note: &str) -> Picture {
    let (file, text) = (&picture.bytes, note.as_bytes());
    let bytes = match picture.format {
        Format::Jpeg => spliced(file, after_jpeg_headers(file), &jpeg_comment(text)),
        Format::Png => spliced(file, 33, &png_text(text)),
        Format::Gif => spliced(file, after_gif_palette(file), &gif_comment(text)),
        Format::Webp => webp_with_note(file, text),
        Format::Bmp => bitmap_with_note(file, text),
        // Nothing points to the note, and offsets in the file do not change.
        Format::Tiff => spliced(file, file.len(), text),
    };
    Picture { format: picture.format, bytes }
}

fn spliced(file: &[u8], at: usize, inserted: &[u8]) -> Bytes {
    [&file[..at], inserted, &file[at..]].concat().into()
}

/// Behind SOI and the application segments, which readers want to find first.
fn after_jpeg_headers(file: &[u8]) -> usize {
    let mut at = 2;
    while file[at] == 0xFF && (0xE0..=0xEF).contains(&file[at + 1]) {
        at += 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
    }
    at
}

fn jpeg_comment(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len() + 2).expect("a segment holds at most 65,533 bytes");
    [&[0xFF, 0xFE], &length.to_be_bytes()[..], text].concat()
}

fn png_text(text: &[u8]) -> Vec<u8> {
    let body = [b"tEXtComment\0", text].concat();
    let length = u32::try_from(body.len() - 4).expect("a note is short");
    [&length.to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
}

fn after_gif_palette(file: &[u8]) -> usize {
    let flags = file[10];
    13 + if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

fn gif_comment(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a note is short");
    [&[0x21, 0xFE, length], text, &[0]].concat()
}

/// A note is metadata, which only the extended container may hold.
fn webp_with_note(file: &[u8], text: &[u8]) -> Bytes {
    const HAS_XMP: u8 = 4;
    let mut chunks = file[12..].to_vec();
    if chunks.starts_with(b"VP8 ") {
        // Width and height, 14 bits each, behind chunk header, frame tag and start code.
        let side =
            |at: usize| (u32::from(u16::from_le_bytes([chunks[at], chunks[at + 1]])) & 0x3FFF) - 1;
        let (width, height) = (side(14).to_le_bytes(), side(16).to_le_bytes());
        let extended =
            [b"VP8X", &[10, 0, 0, 0, HAS_XMP, 0, 0, 0][..], &width[..3], &height[..3]].concat();
        chunks.splice(0..0, extended);
    } else {
        chunks[8] |= HAS_XMP;
    }
    let length = u32::try_from(text.len()).expect("a note is short");
    chunks.extend([b"XMP ", &length.to_le_bytes()[..], text].concat());
    chunks.resize(chunks.len().next_multiple_of(2), 0);
    let size = u32::try_from(chunks.len() + 4).expect("a fixture is small");
    [b"RIFF", &size.to_le_bytes()[..], b"WEBP", &chunks].concat().into()
}

/// A bitmap may have a gap between its headers and its pixels.
fn bitmap_with_note(file: &[u8], text: &[u8]) -> Bytes {
    let field =
        |at: usize| u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
    let mut gap = text.to_vec();
    gap.resize(gap.len().next_multiple_of(4), 0);
    let added = u32::try_from(gap.len()).expect("a note is short");
    let pixels = field(10);
    let mut bytes = spliced(file, pixels as usize, &gap).to_vec();
    bytes[2..6].copy_from_slice(&(field(2) + added).to_le_bytes());
    bytes[10..14].copy_from_slice(&(pixels + added).to_le_bytes());
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_numbers_have_the_same_bytes() {
        let distinct: HashSet<_> = (0..200).map(|n| picture(n).bytes).collect();
        assert_eq!(distinct.len(), 200);
    }

    #[test]
    fn every_format_is_there() {
        let formats: HashSet<_> =
            fixtures().iter().map(|picture| picture.format.content_type()).collect();
        assert_eq!(formats.len(), 6);
    }

    #[test]
    fn a_jpeg_is_padded_to_the_byte() {
        for wanted in [100_000, 150_000, 200_001, 300_000] {
            let picture = padded(Picture { format: Format::Jpeg, bytes: jpeg(0, "x") }, wanted);
            assert!((wanted..wanted + 5).contains(&picture.bytes.len()), "{}", picture.bytes.len());
        }
    }

    #[test]
    fn a_bitmap_has_the_size_asked_for() {
        for mb in [1_u64, 10, 50, 300] {
            let (header, pixels) = bitmap_header(mb << 20);
            assert_eq!(header.len(), 54);
            assert!(pixels.abs_diff(mb << 20) < 64 * 1024, "{mb} MB: {pixels}");
        }
    }

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
