#![doc = include_str!("../README.md")]

mod bmp;
mod cost;
#[cfg(feature = "decode")]
mod decode;
mod exif;
mod format;
mod gif;
mod jpeg;
mod level;
mod phash;
mod png;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod proofs;
mod refusal;
#[cfg(test)]
mod sample;
mod scan;
mod signature;
mod tiff;
mod webp;

pub use format::Format;
pub use level::Level;
pub use phash::PerceptualHash;
pub use refusal::Refusal;

use scan::Scan;
use std::io::{BufRead, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most pixels that a side of an image may have.
pub const MAX_SIDE_PX: u64 = 12_000;

/// The most pixels that an image may have in all.
pub const MAX_AREA_PX: u64 = 100_000_000;

/// What the inspection found out about an accepted image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// The format, by content.
    pub format: Format,
    /// The width in pixels, as the header says: before any rotation that metadata asks for, but of a TIFF
    /// after it, as loaders give it out.
    pub width: u32,
    /// The height in pixels, likewise.
    pub height: u32,
    /// What the picture looks like. Only [`Level::Slow`](Level) finds it out. A picture without
    /// structure has none, nor has one in a variant that only loaders know, whose data is there all the same.
    pub phash: Option<PerceptualHash>,
}

/// Identifies an image and checks it as deeply as the level asks.
///
/// `len` is the length of the body in bytes. Reading begins at the start of the body, wherever the
/// reader stands, and leaves the reader anywhere.
///
/// The work is bound by the CPU, and nothing here waits: microseconds at fast, about the time of
/// reading the bytes once at medium, seconds for the largest images at slow.
///
/// # Errors
///
/// Why the image cannot be kept. A body that cannot be read up to `len` counts as
/// [`Refusal::Truncated`]: a caller whose storage may fail has to notice that in its reader. A panic on
/// the way, where panics unwind, counts as [`Refusal::Corrupt`].
pub fn inspect<R: BufRead + Seek>(
    body: &mut R,
    len: u64,
    level: Level,
) -> Result<ImageInfo, Refusal> {
    caught(|| walked(body, len, level))
}

/// Runs what reads a stranger's bytes.
///
/// Decoders have defects: image 0.25 panics on planar TIFF in 16 bit, for example, and so may our own
/// code. One bad file must not stop its caller. Nobody sees the state that a panic leaves: what has it
/// is dropped, and the caller's reader may stand anywhere.
fn caught<T>(run: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Refusal::Corrupt))
}

fn walked<R: BufRead + Seek>(body: &mut R, len: u64, level: Level) -> Result<ImageInfo, Refusal> {
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
        Level::Slow => decode::decode(body, len, format, size)?,
    };
    Ok(ImageInfo { format, width: size.width, height: size.height, phash })
}

/// Names the format of a body, by its first bytes alone.
///
/// # Errors
///
/// [`Refusal::Empty`], [`Refusal::NotImage`] and [`Refusal::UnsupportedFormat`];
/// [`Refusal::Truncated`] when the body cannot be read up to `len`.
pub fn identify<R: BufRead + Seek>(body: &mut R, len: u64) -> Result<Format, Refusal> {
    signature::identify(&mut Scan::start(body, len)?)
}

/// Dimensions that are within the limits: [`Size::checked`] makes no others.
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
    fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Whether a rectangle lies inside the picture.
    fn holds(self, left: u32, top: u32, width: u32, height: u32) -> bool {
        u64::from(left) + u64::from(width) <= u64::from(self.width)
            && u64::from(top) + u64::from(height) <= u64::from(self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sample::inspect_bytes;
    use std::io::{self, BufReader, Cursor};

    #[test]
    fn good_files_are_accepted_at_every_level() {
        for (format, file) in sample::all() {
            for &level in Level::ALL {
                let info = inspect_bytes(&file, level);
                assert_eq!(info.map(|info| info.format), Ok(format), "{level:?} {file:x?}");
            }
        }
    }

    /// Cases 78-80: a strict prefix of a file is never an image, but for a GIF that has all pixels of its frames (481).
    #[test]
    fn every_cut_is_refused() {
        // What may stand behind the codes of a frame: its end, and what loaders read of the next one's extension.
        let ends = [&b""[..], b"\0", b"\0!\xf9", b"\0!\xf9\x04\0\0\0\0", b"\0!\xf9\x04\0\0\0\0\0"];
        let is_whole = |file: &[u8]| {
            let codes = memchr::memmem::rfind(file, b"\x02\x44\x01");
            codes.is_some_and(|at| ends.contains(&&file[at + 3..]))
        };
        for (format, file) in sample::all() {
            for cut in 0..file.len() {
                for &level in &Level::ALL[1..] {
                    let is_ok = inspect_bytes(&file[..cut], level).is_ok();
                    let expected = format == Format::Gif && is_whole(&file[..cut]);
                    assert_eq!(is_ok, expected, "{format:?} at {cut} of {}", file.len());
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
                for &level in Level::ALL {
                    let info = inspect_bytes(&file, level);
                    assert_eq!(info.map(|info| info.format), Ok(format), "{level:?}");
                }
            }
        }
    }

    /// Case 81: a flipped bit gives some verdict, and a deeper level repeats the refusal of a
    /// shallower one.
    #[test]
    fn flipped_bits_never_panic() {
        for (format, file) in sample::all() {
            // The palette of the run-length bitmap is many bytes without a meaning.
            for at in (0..file.len()).filter(|at| !(60..1070).contains(at)) {
                for bit in 0..8 {
                    let mut file = file.clone();
                    file[at] ^= 1 << bit;
                    let verdicts: Vec<_> =
                        Level::ALL.iter().map(|level| inspect_bytes(&file, *level)).collect();
                    for pair in verdicts.windows(2) {
                        assert!(pair[0].is_ok() || pair[1] == pair[0], "{format:?} {at}.{bit}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_body_read_through_a_buffer_gets_the_verdict_of_a_body_in_memory() {
        for (_, file) in sample::all() {
            for len in [file.len(), file.len() / 2, file.len() - 1] {
                let file = &file[..len];
                for &level in Level::ALL {
                    let mut body = BufReader::with_capacity(7, Cursor::new(file));
                    body.seek(io::SeekFrom::End(0)).unwrap();
                    let verdict = inspect(&mut body, len.try_into().unwrap(), level);
                    assert_eq!(verdict, inspect_bytes(file, level));
                }
            }
        }
    }

    /// Case 259: a walker or a decoder panics, here by way of its reader.
    #[test]
    fn a_panic_is_the_images() {
        struct Broken<'a> {
            body: Cursor<&'a [u8]>,
            reads_left: usize,
        }
        impl io::Read for Broken<'_> {
            fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
                let n = io::Read::read(&mut self.fill_buf()?, room)?;
                self.consume(n);
                Ok(n)
            }
        }
        impl BufRead for Broken<'_> {
            fn fill_buf(&mut self) -> io::Result<&[u8]> {
                self.reads_left = self.reads_left.checked_sub(1).expect("a defect");
                self.body.fill_buf()
            }
            fn consume(&mut self, n: usize) {
                self.body.consume(n);
            }
        }
        impl Seek for Broken<'_> {
            fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
                self.body.seek(to)
            }
        }
        for (format, file) in sample::all() {
            for &level in Level::ALL {
                let broken = |reads_left| {
                    let mut body = Broken { body: Cursor::new(&file), reads_left };
                    inspect(&mut body, file.len().try_into().unwrap(), level)
                        .map(|info| info.format)
                };
                let n = (0..).find(|reads_left| broken(*reads_left).is_ok()).unwrap();
                assert!(n > 0, "{format:?} {level:?}");
                let is_caught = |at: usize| {
                    // At level slow, where only a hash is missing, a bitmap stays what it is.
                    matches!(
                        (broken(at), format),
                        (Err(Refusal::Corrupt), _) | (Ok(_), Format::Bmp | Format::Tiff)
                    )
                };
                assert!((0..n).all(is_caught), "{format:?} {level:?}");
            }
        }
    }

    #[test]
    fn a_body_without_bytes_is_empty() {
        assert_eq!(inspect_bytes(b"", Level::Fast), Err(Refusal::Empty));
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
