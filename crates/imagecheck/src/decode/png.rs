//! The default picture of a PNG, as `image` decodes it, and with the checksum behind its pixels: `image` passes over
//! that, and loaders raise where it is wrong. Texts and profiles are the walk's, which has read them.
//!
//! The checksum is read if it stands in the chunk, and in the piece that the body's reader shows, with the end of the pixels:
//! loaders do not look for it any further, either.

use super::limits;
use crate::{Refusal, Size};
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageResult, error};
use png::{BitDepth, DecodeOptions, DecodingError, Limits, Reader, Transformations};
use std::io::{BufRead, Seek};

/// A PNG whose pixels come next.
pub(super) struct Png<R: BufRead + Seek> {
    reader: Reader<R>,
    color: ColorType,
}

/// The decoder of a picture, which says the same size as the walk.
pub(super) fn decoder<R: BufRead + Seek>(body: R, size: Size) -> Result<Png<R>, Refusal> {
    let mut options = DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = png::Decoder::new_with_options(body, options);
    let bytes = limits(size).max_alloc.and_then(|bytes| bytes.try_into().ok());
    decoder.set_limits(Limits { bytes: bytes.unwrap_or(usize::MAX) });
    // Samples of fewer than eight bits, and places in a palette, become samples of eight.
    decoder.set_transformations(Transformations::EXPAND);
    let reader = decoder.read_info().map_err(refusal)?;
    size.check_same(reader.info().size())?;
    let color = match reader.output_color_type() {
        (png::ColorType::Grayscale, BitDepth::Sixteen) => ColorType::L16,
        (png::ColorType::GrayscaleAlpha, BitDepth::Sixteen) => ColorType::La16,
        (png::ColorType::Rgb, BitDepth::Sixteen) => ColorType::Rgb16,
        (png::ColorType::Rgba, BitDepth::Sixteen) => ColorType::Rgba16,
        (png::ColorType::Grayscale, BitDepth::Eight) => ColorType::L8,
        (png::ColorType::GrayscaleAlpha, BitDepth::Eight) => ColorType::La8,
        (png::ColorType::Rgb, BitDepth::Eight) => ColorType::Rgb8,
        (png::ColorType::Rgba, BitDepth::Eight) => ColorType::Rgba8,
        _ => return Err(Refusal::Corrupt),
    };
    Ok(Png { reader, color })
}

impl<R: BufRead + Seek> ImageDecoder for Png<R> {
    fn dimensions(&self) -> (u32, u32) {
        self.reader.info().size()
    }

    fn color_type(&self) -> ColorType {
        self.color
    }

    fn read_image(mut self, room: &mut [u8]) -> ImageResult<()> {
        self.reader.next_frame(room).map_err(broken)?;
        if self.color.bytes_per_pixel() > self.color.channel_count() {
            // Samples of 16 bits are big-endian in the file.
            for sample in room.as_chunks_mut().0 {
                *sample = u16::from_be_bytes(*sample).to_ne_bytes();
            }
        }
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, room: &mut [u8]) -> ImageResult<()> {
        self.read_image(room)
    }
}

fn refusal(error: DecodingError) -> Refusal {
    super::refusal(broken(error))
}

fn broken(error: DecodingError) -> ImageError {
    match error {
        DecodingError::LimitsExceeded => ImageError::Limits(error::LimitError::from_kind(
            error::LimitErrorKind::InsufficientMemory,
        )),
        error => ImageError::Decoding(error::DecodingError::new(ImageFormat::Png.into(), error)),
    }
}
