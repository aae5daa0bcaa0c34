//! The frames of a GIF: every code must be right, and there must be a pixel for every place.
//!
//! Frames are decoded one by one, without a canvas, since only the first one is looked at.

use super::Decoded;
use crate::{
    MAX_AREA_PX, PerceptualHash, Size,
    cost::check_held,
    gif::{self, Frame, MAX_COLOUR_BYTES, codes},
    phash::compute::hash_of,
    scan::Scan,
};
use image::{Rgba, RgbaImage};
use std::io::{BufRead, Seek};

/// The most pixels decoded; the frames behind them are only walked.
const MAX_DECODED_PX: u64 = MAX_AREA_PX;

/// The bytes held for each pixel of the first frame and of the picture: an index, and four channels.
const BYTES_A_PX: u64 = 5;

/// The pixels of a later frame that are held at a time.
const BLOCK_PX: usize = 64 * 1024;

/// Decodes frames until they have [`MAX_DECODED_PX`].
pub(super) fn decode<R: BufRead + Seek>(scan: &mut Scan<'_, R>, size: Size) -> Decoded {
    check_held(BYTES_A_PX * size.area())?;
    let mut global = [0; MAX_COLOUR_BYTES];
    let (_, global) = gif::open(scan, &mut global)?;
    let mut local = [0; MAX_COLOUR_BYTES];
    let first = gif::first_frame(scan)?;
    let (colours, code_size) = first.open(scan, &mut local)?;
    let mut indices = vec![0; to_usize(first.area())];
    codes::unpack(scan, code_size, first.area(), &mut indices)?;
    let phash = hash(&first, colours.or(global), &indices, size);
    drop(indices);
    let mut left = MAX_DECODED_PX.saturating_sub(first.area());
    let mut block = vec![0; BLOCK_PX];
    while let Some(frame) = gif::next_frame(scan)? {
        let (_, code_size) = frame.open(scan, &mut local)?;
        left = left.saturating_sub(frame.area());
        if left == 0 {
            break;
        }
        codes::unpack(scan, code_size, frame.area(), &mut block)?;
    }
    Ok(phash)
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The hash of the picture with the first frame; the rest of it is transparent.
fn hash(
    frame: &Frame,
    colours: Option<&[u8]>,
    indices: &[u8],
    size: Size,
) -> Option<PerceptualHash> {
    let mut picture = RgbaImage::new(size.width, size.height);
    let width = to_usize(frame.width.into());
    for (row, y) in indices.chunks_exact(width).zip(rows(frame)) {
        for (index, x) in row.iter().zip(frame.left..) {
            if frame.transparent == Some(*index) {
                continue;
            }
            if let Some(pixel) = picture.get_pixel_mut_checked(x, y + frame.top) {
                *pixel = colour(colours, *index);
            }
        }
    }
    hash_of(&picture.into())
}

/// Without a table, indices are levels of grey; what a table does not have is black.
fn colour(colours: Option<&[u8]>, index: u8) -> Rgba<u8> {
    match colours {
        None => Rgba([index, index, index, 255]),
        Some(colours) => {
            let at = 3 * usize::from(index);
            match colours.get(at..at + 3) {
                Some(&[red, green, blue]) => Rgba([red, green, blue, 255]),
                _ => Rgba([0, 0, 0, 255]),
            }
        }
    }
}

/// The places of a frame's rows in their order in the file (appendix E).
fn rows(frame: &Frame) -> Box<dyn Iterator<Item = u32>> {
    let height = frame.height;
    if !frame.is_interlaced() {
        return Box::new(0..height);
    }
    let passes = [(0, 8), (4, 8), (2, 4), (1, 2)];
    Box::new(passes.into_iter().flat_map(move |(from, step)| (from..height).step_by(step)))
}
