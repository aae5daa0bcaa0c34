//! The format that the first bytes announce.
//!
//! Sources of the listed formats: see their walkers. Brands of ISO media files:
//! [the registration authority](https://mp4ra.org/registered-types/brands).

use crate::{Format, Refusal, scan::Scan};
use std::io::{BufRead, Seek};

/// How many bytes of a text are searched for the root element of an SVG.
const TEXT_HEAD_BYTES: usize = 1024;

/// The first bytes of pictures whose formats are not listed.
const UNLISTED: [&[u8]; 30] = [
    b"\x00\x00\x00\x0cJXL \r\n\x87\n",
    b"\xff\x0a",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
    b"8BPS",
    b"\x8aMNG\r\n\x1a\n",
    b"\x8bJNG\r\n\x1a\n",
    b"II\xbc\x01",
    b"II\x2a\x00\x10\x00\x00\x00CR",
    b"IIU\x00",
    b"IIRO",
    b"IIRS",
    b"MMOR",
    b"FUJIFILMCCD-RAW",
    b"\x76\x2f\x31\x01",
    b"#?RADIANCE",
    b"#?RGBE",
    b"DDS \x7c\x00\x00\x00",
    b"\xabKTX ",
    b"qoif",
    b"farbfeld",
    b"gimp xcf",
    b"BPG\xfb",
    b"FLIF",
    b"icns\x00",
    b"AT&TFORM",
    b"\xd7\xcd\xc6\x9a",
    b"%!PS-Adobe-",
    b"\xc5\xd0\xd3\xc6",
    b"SIMPLE  =",
];

/// Brands of still pictures in ISO media files. Films have the same container and other brands.
const PICTURE_BRANDS: [&[u8; 4]; 14] = [
    b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"mif2",
    b"msf1", b"miaf", b"crx ", b"jxl ",
];

/// Names the format, or says that the bytes are none of the listed ones.
pub(crate) fn identify<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Format, Refusal> {
    if scan.len() == 0 {
        return Err(Refusal::Empty);
    }
    let mut head = [0; TEXT_HEAD_BYTES];
    let n = usize::try_from(scan.len()).unwrap_or(usize::MAX);
    let head = head.get_mut(..n.min(TEXT_HEAD_BYTES)).unwrap_or_default();
    scan.fill(head)?;
    match listed(head) {
        Some(format) => {
            scan.jump(0)?;
            Ok(format)
        }
        None if is_unlisted_picture(head) => Err(Refusal::UnsupportedFormat),
        None => Err(Refusal::NotImage),
    }
}

fn listed(head: &[u8]) -> Option<Format> {
    match head {
        // First, because some camera files begin like a TIFF and are of another format.
        _ if starts_with_any(head, &UNLISTED) => None,
        [0xFF, 0xD8, 0xFF, ..] => Some(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Format::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::Webp),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Format::Tiff),
        // Texts may begin with the same two letters: the length of a header has to follow, a small
        // number.
        [b'B', b'M', rest @ ..] => match rest.get(12..16) {
            Some([12..=124, 0, 0, 0]) | None => Some(Format::Bmp),
            Some(_) => None,
        },
        _ => None,
    }
}

fn is_unlisted_picture(head: &[u8]) -> bool {
    starts_with_any(head, &UNLISTED) || is_media_picture(head) || is_icon(head) || is_svg(head)
}

fn starts_with_any(head: &[u8], signatures: &[&[u8]]) -> bool {
    signatures.iter().any(|signature| head.starts_with(signature))
}

fn is_media_picture(head: &[u8]) -> bool {
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            brand.first_chunk().is_some_and(|brand| PICTURE_BRANDS.contains(&brand))
        }
        _ => false,
    }
}

/// Icons and cursors: a count of entries, and an entry whose reserved byte is zero.
fn is_icon(head: &[u8]) -> bool {
    matches!(head, [0, 0, 1 | 2, 0, 1..=255, 0, _, _, _, 0 | 255, ..])
}

fn is_svg(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start().to_ascii_lowercase();
    // An HTML page may contain an SVG without being one.
    let may_be = text.starts_with(b"<svg")
        || text.starts_with(b"<?xml")
        || text.starts_with(b"<!--")
        || text.starts_with(b"<!doctype svg");
    may_be && find(&text, b"<svg").is_some() && find(&text, b"<html").is_none()
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn kind(bytes: &[u8]) -> Result<Format, Refusal> {
        let mut body = Cursor::new(bytes);
        let len = bytes.len().try_into().unwrap();
        let mut scan = Scan::start(&mut body, len)?;
        identify(&mut scan)
    }

    #[test]
    fn listed_formats_are_known_by_their_first_bytes() {
        for (bytes, format) in [
            (&b"\xff\xd8\xff\xe0"[..], Format::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Format::Png),
            (b"GIF87a", Format::Gif),
            (b"GIF89a", Format::Gif),
            (b"BM", Format::Bmp),
            (b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", Format::Bmp),
            (b"RIFF\x1a\0\0\0WEBP", Format::Webp),
            (b"II\x2a\0", Format::Tiff),
            (b"MM\0\x2b", Format::Tiff),
        ] {
            assert_eq!(kind(bytes), Ok(format), "{bytes:x?}");
        }
    }

    #[test]
    fn other_pictures_are_unsupported() {
        for bytes in [
            &b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"[..],
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
            b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0",
            b"\0\0\x02\0\x01\0\x20\x20\0\0\x01\0\x20\0",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"\xef\xbb\xbf\n <?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x 'y'>]><SVG/>",
            b"<!-- made by hand --><svg/>",
            b"\0\0\0\x0cJXL \r\n\x87\n",
            b"\xff\x0a\xfa\x1f",
            b"\0\0\0\x0cjP  \r\n\x87\n",
            b"8BPS\0\x01",
            b"II\x2a\0\x10\0\0\0CR\x02\0",
        ] {
            assert_eq!(kind(bytes), Err(Refusal::UnsupportedFormat), "{bytes:x?}");
        }
    }

    /// Case 103: HTML, JSON, PDF, ELF, ZIP and MP4 under image names.
    #[test]
    fn anything_else_is_no_image() {
        for bytes in [
            &b"\xff"[..],
            b"\xff\xd8",
            b"\x89PNG",
            b"GIF",
            b"<!DOCTYPE html><html><svg></svg></html>",
            b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
            b"<?xml version='1.0'?><html><svg/></html>",
            b"{\"error\":\"not found\"}",
            b"%PDF-1.7",
            b"\x7fELF\x02\x01\x01",
            b"PK\x03\x04",
            b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"BM is what this text begins with",
            b"\xef\xbb\xbfhello",
            b"\x1f\x8b\x08\0",
        ] {
            assert_eq!(kind(bytes), Err(Refusal::NotImage), "{bytes:x?}");
        }
        assert_eq!(kind(b""), Err(Refusal::Empty));
    }
}
