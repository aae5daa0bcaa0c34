//! Body in, [`ImageInfo`] or a reason out: what an image is, and whether all of it is there.
//!
//! The bytes decide, never a name or a type. One walker a format follows the container in bounded
//! memory; nothing here inflates or allocates by a number that only the file vouches for.

mod bmp;
mod crc32;
mod decode;
mod gif;
mod jpeg;
mod png;
#[cfg(test)]
mod sample;
mod scan;
mod signature;
mod tiff;
mod webp;

use crate::chunk::{Format, ImageInfo, Level, Reason};
use scan::Scan;
use std::io::{BufRead, Seek};

/// Most pixels a side.
pub const MAX_SIDE_PX: u64 = 12_000;

/// Most pixels in all.
pub const MAX_AREA_PX: u64 = 100_000_000;

/// Identifies an image and checks it as deeply as the level asks.
///
/// `len` is the body's length in bytes; reading starts at the body's beginning, wherever it
/// stands, and leaves it anywhere. [`Level::Fast`] looks at the signature and the dimensions,
/// [`Level::Medium`] also walks the container to its end, [`Level::Slow`] also decodes.
///
/// The work is CPU bound: microseconds at fast, about the time of reading the bytes once at
/// medium, seconds and up to 512 MiB of pixels for the largest images at slow.
///
/// # Errors
///
/// The reason why the bytes are not an image that may be kept. A body that cannot be read to
/// `len` counts as [`Reason::Truncated`], so a caller whose storage may fail has to notice that
/// failure in its reader.
pub fn inspect<R: BufRead + Seek>(
    body: &mut R,
    len: u64,
    level: Level,
) -> Result<ImageInfo, Reason> {
    let mut scan = Scan::start(body, len)?;
    let format = signature::identify(&mut scan)?;
    let walk = match format {
        Format::Jpeg => jpeg::inspect,
        Format::Png => png::inspect,
        Format::Gif => gif::inspect,
        Format::Bmp => bmp::inspect,
        Format::Webp => webp::inspect,
        Format::Tiff => tiff::inspect,
    };
    let size = walk(&mut scan, level)?;
    if level == Level::Slow {
        decode::decode(body, format, size)?;
    }
    Ok(ImageInfo {
        format,
        width: size.width,
        height: size.height,
    })
}

/// Dimensions within the limits; no other kind exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

impl Size {
    fn checked(width: impl Into<u64>, height: impl Into<u64>) -> Result<Self, Reason> {
        let (width, height) = (width.into(), height.into());
        if width == 0 || height == 0 {
            return Err(Reason::Corrupt);
        }
        if width > MAX_SIDE_PX || height > MAX_SIDE_PX || width * height > MAX_AREA_PX {
            return Err(Reason::TooLarge);
        }
        match (width.try_into(), height.try_into()) {
            (Ok(width), Ok(height)) => Ok(Self { width, height }),
            _ => Err(Reason::TooLarge),
        }
    }

    /// Pixels in all.
    fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Whether a part of the picture lies inside it.
    fn holds(self, left: u32, top: u32, width: u32, height: u32) -> bool {
        u64::from(left) + u64::from(width) <= u64::from(self.width)
            && u64::from(top) + u64::from(height) <= u64::from(self.height)
    }
}
