#![doc = include_str!("../README.md")]
//!
//! The bytes decide, never a name or a type. One walker a format follows the container in bounded
//! memory; nothing here inflates or allocates by a number that only the file vouches for.

mod bmp;
#[cfg(feature = "decode")]
mod decode;
mod gif;
mod jpeg;
mod perceptual_hash;
#[cfg(feature = "decode")]
mod phash;
mod png;
#[cfg(test)]
#[cfg(feature = "decode")]
mod sample;
mod scan;
mod signature;
mod tiff;
mod webp;

pub use perceptual_hash::PerceptualHash;

use scan::Scan;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Seek};

/// Most pixels a side.
pub(crate) const MAX_SIDE_PX: u64 = 12_000;

/// Most pixels in all.
pub(crate) const MAX_AREA_PX: u64 = 100_000_000;

/// How thoroughly images are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Signature and dimensions.
    Fast,
    /// Also the container, to its end.
    #[default]
    Medium,
    /// Also a full, strict decode.
    #[cfg(feature = "decode")]
    Slow,
}

/// A listed image format, by content, never by name or type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the formats")]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    Bmp,
    Webp,
    Tiff,
}

impl Format {
    /// The word in manifests and sidecars.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Webp => "webp",
            Self::Tiff => "tiff",
        }
    }

    /// The usual file extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Webp => "webp",
            Self::Tiff => "tif",
        }
    }
}

/// What inspection learned about an accepted image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// By content.
    pub format: Format,
    /// Pixels, as the header says.
    pub width: u32,
    /// Pixels, as the header says.
    pub height: u32,
    /// What it looks like, at level slow; none for a picture without structure.
    pub phash: Option<PerceptualHash>,
}

/// Why the bytes are not an image that may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There are no bytes.
    #[error("there are no bytes")]
    Empty,
    /// More than [`MAX_SIDE_PX`] or [`MAX_AREA_PX`], or more than a decode may take.
    #[error("the image is too large")]
    TooLarge,
    /// The bytes are no image.
    #[error("the bytes are no image")]
    NotImage,
    /// An image, but not of a listed format.
    #[error("the image's format is not supported")]
    UnsupportedFormat,
    /// The container ends early.
    #[error("the image ends early")]
    Truncated,
    /// The container contradicts itself, or its pixels do not decode.
    #[error("the image contradicts itself")]
    Corrupt,
}

/// Scans allowed in one JPEG: encoders write about ten, and every scan costs a reader a pass over
/// the whole picture. Strict decoding has the same limit.
const MAX_SCANS: usize = 100;

/// Identifies an image and checks it as deeply as the level asks.
///
/// `len` is the body's length in bytes; reading starts at the body's beginning, wherever it
/// stands, and leaves it anywhere. [`Level::Fast`] looks at the signature and the dimensions,
/// [`Level::Medium`] also walks the container to its end, [`Level::Slow`] also decodes, which gives
/// the perceptual hash.
///
/// The work is CPU bound: microseconds at fast, about the time of reading the bytes once at
/// medium, seconds and up to 512 MiB of pixels for the largest images at slow.
///
/// # Errors
///
/// The reason why the bytes are not an image that may be kept. A body that cannot be read to
/// `len` counts as [`Refusal::Truncated`], so a caller whose storage may fail has to notice that
/// failure in its reader.
pub fn inspect<R: BufRead + Seek>(
    body: &mut R,
    len: u64,
    level: Level,
) -> Result<ImageInfo, Refusal> {
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
    let phash = match level {
        Level::Fast | Level::Medium => None,
        #[cfg(feature = "decode")]
        Level::Slow => decode::decode(body, format, size)?,
    };
    Ok(ImageInfo { format, width: size.width, height: size.height, phash })
}

/// Dimensions within the limits; no other kind exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

impl Size {
    fn checked(width: impl Into<u64>, height: impl Into<u64>) -> Result<Self, Refusal> {
        let (width, height) = (width.into(), height.into());
        if width == 0 || height == 0 {
            return Err(Refusal::Corrupt);
        }
        if width > MAX_SIDE_PX || height > MAX_SIDE_PX || width * height > MAX_AREA_PX {
            return Err(Refusal::TooLarge);
        }
        match (width.try_into(), height.try_into()) {
            (Ok(width), Ok(height)) => Ok(Self { width, height }),
            _ => Err(Refusal::TooLarge),
        }
    }

    /// Pixels in all.
    #[cfg_attr(not(feature = "decode"), expect(dead_code, reason = "only a decode counts it"))]
    fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Whether a part of the picture lies inside it.
    fn holds(self, left: u32, top: u32, width: u32, height: u32) -> bool {
        u64::from(left) + u64::from(width) <= u64::from(self.width)
            && u64::from(top) + u64::from(height) <= u64::from(self.height)
    }
}

#[cfg(test)]
#[cfg(feature = "decode")]
mod tests {
    use super::*;
    use sample::look;
    use std::io::{BufReader, Cursor};

    const LEVELS: [Level; 3] = [Level::Fast, Level::Medium, Level::Slow];

    #[test]
    fn good_files_are_accepted_at_every_level() {
        for (format, file) in sample::all() {
            for level in LEVELS {
                let info = look(&file, level);
                assert_eq!(info.map(|info| info.format), Ok(format), "{level:?} {file:x?}");
            }
        }
    }

    /// Cases 78-80: a strict prefix of a file is never an image.
    #[test]
    fn every_cut_is_refused() {
        for (format, file) in sample::all() {
            for cut in 0..file.len() {
                for level in [Level::Medium, Level::Slow] {
                    let verdict = look(&file[..cut], level);
                    assert!(verdict.is_err(), "{format:?} at {cut} of {}", file.len());
                }
            }
        }
    }

    /// Case 107: every format says where it ends.
    #[test]
    fn bytes_behind_the_image_are_accepted() {
        for (format, file) in sample::all() {
            for tail in [&b"\0"[..], b"<!-- served by -->", &file] {
                let file = [&file[..], tail].concat();
                let info = look(&file, Level::Slow);
                assert_eq!(info.map(|info| info.format), Ok(format));
            }
        }
    }

    /// Case 81: a flipped bit gives some verdict, and a deeper level never takes back a refusal.
    #[test]
    fn flipped_bits_never_panic() {
        for (format, file) in sample::all() {
            // The palette of the run-length bitmap is many bytes without a meaning.
            for at in (0..file.len()).filter(|at| !(60..1070).contains(at)) {
                for bit in 0..8 {
                    let mut file = file.clone();
                    file[at] ^= 1 << bit;
                    let [fast, medium, slow] = LEVELS.map(|level| look(&file, level));
                    assert!(fast.is_ok() || medium == fast, "{format:?} {at}.{bit}");
                    assert!(medium.is_ok() || slow == medium, "{format:?} {at}.{bit}");
                }
            }
        }
    }

    #[test]
    fn a_spooled_body_gets_the_verdict_of_a_body_in_memory() {
        for (_, file) in sample::all() {
            for len in [file.len(), file.len() / 2, file.len() - 1] {
                let file = &file[..len];
                for level in LEVELS {
                    let mut body = BufReader::with_capacity(7, Cursor::new(file));
                    body.seek(std::io::SeekFrom::End(0)).unwrap();
                    let verdict = inspect(&mut body, len.try_into().unwrap(), level);
                    assert_eq!(verdict, look(file, level));
                }
            }
        }
    }

    #[test]
    fn a_body_without_bytes_is_empty() {
        assert_eq!(look(b"", Level::Fast), Err(Refusal::Empty));
    }

    #[test]
    fn sizes_are_limited() {
        let size = |width: u32, height: u32| Size::checked(width, height).map(|_| ());
        assert_eq!(size(1, 12_000), Ok(()));
        assert_eq!(size(10_000, 10_000), Ok(()));
        assert_eq!(size(10_000, 10_001), Err(Refusal::TooLarge));
        assert_eq!(size(12_001, 1), Err(Refusal::TooLarge));
        assert_eq!(size(u32::MAX, u32::MAX), Err(Refusal::TooLarge));
        assert_eq!(size(0, u32::MAX), Err(Refusal::Corrupt));
        assert_eq!(size(8, 0), Err(Refusal::Corrupt));
    }
}
