//! The strict decode of level slow: every pixel must come out, and what they look like is hashed.

use super::{MAX_AREA_PX, MAX_SCANS, Size, phash};
use crate::{Format, PerceptualHash, Refusal};
use image::codecs::{gif::GifDecoder, webp::WebPDecoder};
use image::{
    AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageError, ImageFormat, ImageReader,
    Limits, RgbImage,
};
use std::io::{BufRead, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Bytes that one decode may hold: the largest picture with four bytes a pixel, and some room.
/// A picture that needs more, in 16 bit or progressive, is too large for this level.
const MAX_DECODED_BYTES: u64 = 512 * 1024 * 1024;

/// Working space of a decoder besides the pixels: tables, rows, profiles.
const WORKING_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes held for each pixel of an animation: the canvas, the frame and the two together.
const FRAME_BYTES_A_PX: u64 = 12;

/// Canvas pixels of an animation after which its frames are only walked, not decoded.
const MAX_ANIMATED_PX: u64 = MAX_AREA_PX;

/// Pixels times scans of a JPEG: its ten usual scans over the largest picture.
const MAX_SCANNED_PX: u64 = 10 * MAX_AREA_PX;

/// What a decode comes to: most pictures have a hash.
type Decoded = Result<Option<PerceptualHash>, Refusal>;

/// Decodes an image whose container is sound and whose dimensions are known.
///
/// The hash is that of the first picture of an animation, and the default one of an animated PNG.
pub(super) fn decode<R: BufRead + Seek>(body: &mut R, format: Format, size: Size) -> Decoded {
    body.seek(SeekFrom::Start(0)).map_err(|_| Refusal::Truncated)?;
    // Decoders panic now and then on what other people send, and image 0.25 does on planar 16 bit
    // TIFF. The decoder goes with its panic, so nothing half-done is seen.
    catch_unwind(AssertUnwindSafe(|| match format {
        Format::Jpeg => strict_jpeg(body, size),
        Format::Png => still(body, ImageFormat::Png, size),
        Format::Gif => gif(body, size),
        Format::Bmp => still(body, ImageFormat::Bmp, size),
        Format::Webp => webp(body, size),
        Format::Tiff => still(body, ImageFormat::Tiff, size),
    }))
    .unwrap_or(Err(Refusal::Corrupt))
}

/// Refuses a JPEG whose decode would take too much memory or time.
///
/// Coefficients of two bytes are kept for every sample, unless a single scan brings all of them.
pub(super) fn check_jpeg_cost(
    size: Size,
    n_components: usize,
    n_scans: usize,
    is_progressive: bool,
) -> Result<(), Refusal> {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let coefficients = if is_progressive || n_scans > 1 { 2 * count(n_components) } else { 0 };
    if size.area().saturating_mul(count(n_scans)) > MAX_SCANNED_PX {
        return Err(Refusal::TooLarge);
    }
    check_cost(size.area().saturating_mul(3 + coefficients))
}

fn strict_jpeg<R: BufRead + Seek>(body: &mut R, size: Size) -> Decoded {
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_max_scans(MAX_SCANS);
    let mut decoder = JpegDecoder::new_with_options(body, options);
    // Red, green and blue, whatever the file holds: grey and CMYK too.
    let pixels = decoder.decode().map_err(|_| Refusal::Corrupt)?;
    match decoder.dimensions().map(|(w, h)| (w.try_into(), h.try_into())) {
        Some((Ok(width), Ok(height))) => size.check_same((width, height))?,
        _ => return Err(Refusal::Corrupt),
    }
    let picture = RgbImage::from_raw(size.width, size.height, pixels).ok_or(Refusal::Corrupt)?;
    Ok(phash::of(&picture.into()))
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

fn gif<R: BufRead + Seek>(body: &mut R, size: Size) -> Decoded {
    check_cost(FRAME_BYTES_A_PX * size.area())?;
    let mut decoder = GifDecoder::new(body).map_err(refusal)?;
    decoder.set_limits(limits(size)).map_err(refusal)?;
    size.check_same(decoder.dimensions())?;
    frames(decoder.into_frames(), size)
}

fn webp<R: BufRead + Seek>(body: &mut R, size: Size) -> Decoded {
    let mut decoder = WebPDecoder::new(body).map_err(refusal)?;
    decoder.set_limits(limits(size)).map_err(refusal)?;
    size.check_same(decoder.dimensions())?;
    if decoder.has_animation() {
        check_cost(FRAME_BYTES_A_PX * size.area())?;
        return frames(decoder.into_frames(), size);
    }
    // Planes of a lossy picture before they become colours; mostly without alpha, so with room.
    pixels(decoder, size.area())
}

/// Decodes into a buffer, besides which the decoder holds about `working_bytes`.
fn pixels(decoder: impl ImageDecoder, working_bytes: u64) -> Decoded {
    check_cost(decoder.total_bytes().saturating_add(working_bytes))?;
    let picture = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    Ok(phash::of(&picture))
}

/// Decodes at least one frame.
fn frames(frames: Frames<'_>, size: Size) -> Decoded {
    let mut phash = None;
    let mut n_frames = 0;
    for frame in frames {
        let frame = frame.map_err(refusal)?;
        if n_frames == 0 {
            phash = phash::of(&frame.into_buffer().into());
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

fn check_cost(bytes: u64) -> Result<(), Refusal> {
    if bytes > MAX_DECODED_BYTES {
        return Err(Refusal::TooLarge);
    }
    Ok(())
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
        // A listed format in a variant that no common reader knows.
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
#[cfg(feature = "decode")]
mod tests {
    use super::super::sample::{Entries, animation, canvas, gif, look, lossless, tiff, webp};
    use super::*;
    use crate::Level;

    fn slow(bytes: &[u8]) -> Option<Refusal> {
        look(bytes, Level::Slow).err()
    }

    #[test]
    fn jpegs_are_refused_for_what_their_decode_would_cost() {
        let cost = |width: u32, n_scans, is_progressive| {
            check_jpeg_cost(Size::checked(width, 10_000_u32).unwrap(), 3, n_scans, is_progressive)
        };
        assert_eq!(cost(10_000, 1, false), Ok(()));
        assert_eq!(cost(5_900, 10, true), Ok(()));
        assert_eq!(cost(6_000, 10, true), Err(Refusal::TooLarge));
        assert_eq!(cost(6_000, 3, false), Err(Refusal::TooLarge));
        assert_eq!(cost(1_000, 100, true), Ok(()));
        assert_eq!(cost(1_001, 100, true), Err(Refusal::TooLarge));
    }

    #[test]
    fn animations_of_large_canvases_are_refused() {
        let mut file = gif(&[(0, 0, 1, 1)]);
        file[6..10].copy_from_slice(&[0x10, 0x27, 0x10, 0x27]);
        assert!(look(&file, Level::Medium).is_ok());
        assert_eq!(slow(&file), Some(Refusal::TooLarge));
        let mut file = animation(&[(0, 0)]);
        file[24..30].copy_from_slice(&canvas(2, 10_000, 10_000)[4..]);
        assert!(look(&file, Level::Medium).is_ok());
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
        assert!(look(&file, Level::Medium).is_ok());
        assert_eq!(slow(&file), Some(Refusal::Corrupt));
    }
}
