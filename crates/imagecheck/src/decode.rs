//! The strict decode of level slow: all data of the picture must be there, and it is hashed.

mod fence;
mod gif;
mod jpeg;
mod png;
mod webp;

use crate::{
    Format, PerceptualHash, Refusal, Size, caught,
    cost::{MAX_HELD_BYTES, check_held, check_work},
    phash::compute::hash_of,
    scan::Scan,
    tiff,
};
use fence::{CPU_LIMIT, Fence};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::io::{BufRead, Seek, SeekFrom};
use std::time::Duration;

/// What a decoder may allocate for other things than pixels: tables, rows, profiles.
const WORKING_BYTES: u64 = 16 * 1024 * 1024;

/// The result of a decode; a picture without structure has no hash.
type Decoded = Result<Option<PerceptualHash>, Refusal>;

/// Decodes an image whose container is sound and whose dimensions are known.
///
/// The hash is that of the first picture of an animation; of an animated PNG, that of its default
/// picture.
pub(crate) fn decode<R: BufRead + Seek>(
    body: &mut R,
    len: u64,
    format: Format,
    size: Size,
) -> Decoded {
    decode_within(body, len, format, size, CPU_LIMIT)
}

/// Decodes, and stops a decoder that takes more CPU time than this.
fn decode_within<R: BufRead + Seek>(
    body: &mut R,
    len: u64,
    format: Format,
    size: Size,
    limit: Duration,
) -> Decoded {
    match format {
        Format::Jpeg => fenced(body, len, limit, |body| jpeg::decode(&mut Scan::start(body, len)?)),
        Format::Png => fenced(body, len, limit, |body| pixels(png::decoder(body, size)?, 0)),
        Format::Gif => {
            fenced(body, len, limit, |body| gif::decode(&mut Scan::start(body, len)?, size))
        }
        Format::Bmp => bmp(body, size),
        Format::Webp => fenced(body, len, limit, |body| webp::decode(body, size)),
        Format::Tiff => fenced(body, len, limit, tiff),
    }
}

/// Runs a decoder until it ends, or has had its CPU time.
fn fenced<R: BufRead + Seek>(
    body: &mut R,
    len: u64,
    limit: Duration,
    decode: impl FnOnce(&mut Fence<'_, R>) -> Decoded,
) -> Decoded {
    let mut body = Fence::new(body, len, limit).map_err(|_| Refusal::Truncated)?;
    let decoded = decode(&mut body);
    // Whatever the decoder made of the error.
    if body.is_over { Err(Refusal::DecodeBudget) } else { decoded }
}

/// Its time goes by its bytes and its pixels, so it needs no fence, and it asks for the bytes of each
/// pixel.
fn bmp<R: BufRead + Seek>(body: &mut R, size: Size) -> Decoded {
    body.seek(SeekFrom::Start(0)).map_err(|_| Refusal::Truncated)?;
    caught(|| pixels(decoder(body, ImageFormat::Bmp, size)?, 0)).or_else(no_hash_if_unknown)
}

/// The decoder of a picture, which says the same size as the walk.
fn decoder<'a, R: BufRead + Seek + 'a>(
    body: R,
    format: ImageFormat,
    size: Size,
) -> Result<impl ImageDecoder + 'a, Refusal> {
    let mut reader = ImageReader::with_format(body, format);
    reader.limits(limits(size));
    let decoder = reader.into_decoder().map_err(refusal)?;
    size.check_same(decoder.dimensions())?;
    Ok(decoder)
}

fn tiff<R: BufRead + Seek>(body: &mut Fence<'_, R>) -> Decoded {
    let len = body.end;
    let size = tiff::size(&mut Scan::start(body, len)?)?;
    let support = tiff::support(&mut Scan::start(body, len)?)?;
    if matches!(support, tiff::Support::ProvenPanics) {
        return Ok(None);
    }
    let cost = tiff::cost(&mut Scan::start(body, len)?, size)?;
    check_work(cost.work_bytes)?;
    let decoded = match support {
        tiff::Support::Panics => Err(Refusal::UnsupportedFormat),
        _ => caught(|| stored_tiff(body, size, cost.held_bytes)),
    };
    match (support, decoded) {
        // Also when it takes a length that the file states for one that it needs.
        (tiff::Support::Proven, Err(_)) => Ok(None),
        // Of a decoder that reads a variant in part, an error may be its own.
        (tiff::Support::Part, Err(Refusal::Corrupt)) | (_, Err(Refusal::UnsupportedFormat)) => {
            tiff::check_unpacked(&mut Scan::start(body, len)?, size).map(|()| None)
        }
        (_, decoded) => decoded,
    }
}

/// Decodes the first page of a TIFF, the decoder of whose pieces holds this much.
fn stored_tiff<R: BufRead + Seek>(body: &mut Fence<'_, R>, size: Size, held_bytes: u64) -> Decoded {
    body.seek(SeekFrom::Start(0)).map_err(|_| Refusal::Truncated)?;
    let decoder = decoder(body, ImageFormat::Tiff, size)?;
    // The decoder has all pixels too, as they are stored.
    let stored = u64::from(decoder.original_color_type().bits_per_pixel()) * size.area() / 8;
    pixels(decoder, stored.saturating_add(held_bytes))
}

/// Where the walk has proved that all pixels are there, a decoder that gives none does not know the
/// variant: loaders do, and the picture only has no hash.
fn no_hash_if_unknown(refusal: Refusal) -> Decoded {
    match refusal {
        Refusal::Corrupt | Refusal::UnsupportedFormat => Ok(None),
        _ => Err(refusal),
    }
}

/// Decodes into a buffer, while the decoder itself holds about `working_bytes`.
fn pixels(decoder: impl ImageDecoder, working_bytes: u64) -> Decoded {
    check_held(decoder.total_bytes().saturating_add(working_bytes))?;
    let picture = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    Ok(hash_of(&picture))
}

/// What a decoder of a picture of this size may allocate.
fn limits(size: Size) -> Limits {
    // Four channels of two bytes, and as much again for the decoder's own copy.
    let bytes = 16 * size.area() + WORKING_BYTES;
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(size.width);
    limits.max_image_height = Some(size.height);
    limits.max_alloc = Some(bytes.min(MAX_HELD_BYTES));
    limits
}

fn refusal(error: ImageError) -> Refusal {
    match error {
        // A listed format in a variant that this decoder does not know.
        ImageError::Unsupported(_) => Refusal::UnsupportedFormat,
        ImageError::Limits(_) => Refusal::DecodeBudget,
        ImageError::Decoding(_)
        | ImageError::Encoding(_)
        | ImageError::Parameter(_)
        | ImageError::IoError(_) => Refusal::Corrupt,
    }
}

impl Size {
    fn check_same(self, (width, height): (u32, u32)) -> Result<(), Refusal> {
        if (width, height) == (self.width, self.height) { Ok(()) } else { Err(Refusal::Corrupt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use crate::sample::{
        self, Entries, gif, inspect_bytes, jpeg_of, jpeg_scan, lossless, segment, tiff, webp,
    };
    use std::io::Cursor;

    fn slow(bytes: &[u8]) -> Option<Refusal> {
        inspect_bytes(bytes, Level::Slow).err()
    }

    /// Case 257: whatever a file does, its decoder is stopped, and that is no verdict about its data.
    #[test]
    fn a_decoder_that_takes_too_long_is_stopped() {
        let fenced = sample::all().into_iter().filter(|(format, _)| *format != Format::Bmp);
        for (format, file) in fenced {
            let size = inspect_bytes(&file, Level::Medium).unwrap();
            let size = Size { width: size.width, height: size.height };
            let within = |limit| {
                let len = file.len().try_into().unwrap();
                decode_within(&mut Cursor::new(&file), len, format, size, limit)
            };
            assert_eq!(within(Duration::MAX), Ok(None), "{format:?}");
            assert_eq!(within(Duration::ZERO), Err(Refusal::DecodeBudget), "{format:?}");
        }
    }

    #[test]
    fn every_frame_of_a_small_animation_is_decoded() {
        let mut file = gif(&[(0, 0, 1, 1); 9]);
        assert_eq!(slow(&file), None);
        let at = file.len() - 4;
        file[at] = 0xFF;
        assert_eq!(slow(&file), Some(Refusal::Corrupt));
    }

    #[test]
    fn jpegs_of_twelve_bits_are_refused() {
        let frame = segment(0xC1, &[12, 0, 8, 0, 8, 1, 1, 0x11, 0]);
        let file = jpeg_of(&[frame, jpeg_scan(), vec![0xFF, 0xD9]]);
        assert_eq!(slow(&file), Some(Refusal::UnsupportedFormat));
    }

    #[test]
    fn variants_that_no_decoder_knows_are_unsupported() {
        // Compression 34,661.
        const JBIG: Entries = &[
            (256, 3, 1, 2),
            (257, 3, 1, 2),
            (259, 3, 1, 34_661),
            (262, 3, 1, 1),
            (273, 4, 1, 4),
            (279, 4, 1, 4),
        ];
        assert_eq!(slow(&tiff(false, &[JBIG])), Some(Refusal::UnsupportedFormat));
    }

    #[test]
    fn pixels_that_a_bitstream_lacks_are_corrupt() {
        let mut data = lossless(1, 1);
        data.truncate(5);
        let file = webp(&[(b"VP8L", &data)]);
        assert!(inspect_bytes(&file, Level::Medium).is_ok());
        assert_eq!(slow(&file), Some(Refusal::Corrupt));
    }
}
