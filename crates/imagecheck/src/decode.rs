//! The strict decode of level slow: all data of the picture must be there, and it is hashed.

mod gif;
mod jpeg;

use crate::{
    Format, MAX_AREA_PX, PerceptualHash, Refusal, Size,
    cost::{MAX_DECODED_BYTES, check_bytes},
    phash::compute::hash_of,
    scan::Scan,
    tiff,
};
use image::codecs::webp::WebPDecoder;
use image::{
    AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageError, ImageFormat, ImageReader,
    Limits,
};
use std::io::{BufRead, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a decoder may allocate for other things than pixels: tables, rows, profiles.
const WORKING_BYTES: u64 = 16 * 1024 * 1024;

/// The bytes held for each pixel of an animation: four each for the canvas, the frame and the result.
const FRAME_BYTES_A_PX: u64 = 12;

/// The most pixels decoded of an animated WebP; the frames behind them are only walked. They are
/// decoded on the whole canvas, which makes them dear.
const MAX_ANIMATED_PX: u64 = MAX_AREA_PX / 3;

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
    body.seek(SeekFrom::Start(0)).map_err(|_| Refusal::Truncated)?;
    match format {
        Format::Jpeg => jpeg::decode(&mut Scan::start(body, len)?),
        Format::Png => caught(|| still(body, ImageFormat::Png, size)),
        Format::Gif => caught(|| gif::decode(&mut Scan::start(body, len)?, size)),
        Format::Bmp => caught(|| still(body, ImageFormat::Bmp, size)).or_else(no_hash_if_unknown),
        Format::Webp => caught(|| webp(body, size)),
        Format::Tiff => tiff(body, len, size),
    }
}

/// Runs a decoder of others.
///
/// They have defects: image 0.25 panics on planar TIFF in 16 bit, for example. One bad file must not
/// stop its caller. The panic drops the decoder, so nobody sees its broken state.
fn caught(decode: impl FnOnce() -> Decoded) -> Decoded {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or(Err(Refusal::Corrupt))
}

/// Decodes the one picture, or the default picture of an animated PNG.
fn still<R: BufRead + Seek>(body: &mut R, format: ImageFormat, size: Size) -> Decoded {
    let mut reader = ImageReader::with_format(body, format);
    reader.limits(limits(size));
    let decoder = reader.into_decoder().map_err(refusal)?;
    size.check_same(decoder.dimensions())?;
    let copy = match format {
        ImageFormat::Tiff => decoder.total_bytes(),
        _ => 0,
    };
    pixels(decoder, copy)
}

fn tiff<R: BufRead + Seek>(body: &mut R, len: u64, size: Size) -> Decoded {
    let support = tiff::support(&mut Scan::start(body, len)?)?;
    body.seek(SeekFrom::Start(0)).map_err(|_| Refusal::Truncated)?;
    let decoded = match support {
        tiff::Support::Panics => Err(Refusal::UnsupportedFormat),
        tiff::Support::ProvenPanics => return Ok(None),
        tiff::Support::Proven | tiff::Support::Part | tiff::Support::Full => {
            caught(|| still(body, ImageFormat::Tiff, size))
        }
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

/// Where the walk has proved that all pixels are there, a decoder that gives none does not know the
/// variant: loaders do, and the picture only has no hash.
fn no_hash_if_unknown(refusal: Refusal) -> Decoded {
    match refusal {
        Refusal::Corrupt | Refusal::UnsupportedFormat => Ok(None),
        _ => Err(refusal),
    }
}

fn webp<R: BufRead + Seek>(body: &mut R, size: Size) -> Decoded {
    let mut decoder = WebPDecoder::new(body).map_err(refusal)?;
    decoder.set_limits(limits(size)).map_err(refusal)?;
    size.check_same(decoder.dimensions())?;
    if decoder.has_animation() {
        check_bytes(FRAME_BYTES_A_PX * size.area())?;
        return frames(decoder.into_frames(), size);
    }
    // The decoder also holds the planes of a lossy picture, or a lossless one in four channels.
    pixels(decoder, 4 * size.area())
}

/// Decodes into a buffer, while the decoder itself holds about `working_bytes`.
fn pixels(decoder: impl ImageDecoder, working_bytes: u64) -> Decoded {
    check_bytes(decoder.total_bytes().saturating_add(working_bytes))?;
    let picture = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    Ok(hash_of(&picture))
}

/// Decodes the frames, of which there must be one, up to [`MAX_ANIMATED_PX`].
fn frames(frames: Frames<'_>, size: Size) -> Decoded {
    let mut phash = None;
    let mut n_frames = 0;
    for frame in frames {
        let frame = frame.map_err(refusal)?;
        if n_frames == 0 {
            phash = hash_of(&frame.into_buffer().into());
        }
        n_frames += 1;
        if size.area() * n_frames >= MAX_ANIMATED_PX {
            break;
        }
    }
    if n_frames == 0 {
        return Err(Refusal::Corrupt);
    }
    Ok(phash)
}

/// What a decoder of a picture of this size may allocate.
fn limits(size: Size) -> Limits {
    // Four channels of two bytes, and as much again for the decoder's own copy.
    let bytes = 16 * size.area() + WORKING_BYTES;
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(size.width);
    limits.max_image_height = Some(size.height);
    limits.max_alloc = Some(bytes.min(MAX_DECODED_BYTES));
    limits
}

fn refusal(error: ImageError) -> Refusal {
    match error {
        // A listed format in a variant that this decoder does not know.
        ImageError::Unsupported(_) => Refusal::UnsupportedFormat,
        ImageError::Limits(_) => Refusal::TooLarge,
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
        Entries, animation, canvas, gif, inspect_bytes, jpeg_of, jpeg_scan, lossless, segment,
        tiff, webp,
    };

    fn slow(bytes: &[u8]) -> Option<Refusal> {
        inspect_bytes(bytes, Level::Slow).err()
    }

    #[test]
    fn animations_of_large_canvases_are_refused() {
        let mut file = animation(&[(0, 0)]);
        file[24..30].copy_from_slice(&canvas(2, 10_000, 10_000)[4..]);
        assert!(inspect_bytes(&file, Level::Medium).is_ok());
        assert_eq!(slow(&file), Some(Refusal::TooLarge));
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
