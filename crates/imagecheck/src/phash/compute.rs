//! The perceptual hash of a picture: which of its low frequencies are strong.
//!
//! The usual pHash with four times its bits: the picture is reduced to 32 x 32 levels of grey, and
//! each of its 255 lowest frequencies (discrete cosine transform) is compared with their median.
//! Other ways were measured on the same pictures and are worse. A difference hash does not tell small
//! objects on plain grounds apart, nor does the mean in place of the median. With 64 bits, cropped
//! pictures are hardly nearer than different ones.

use crate::PerceptualHash;
use image::DynamicImage;
use std::f32::consts::PI;

/// Cells of the reduced picture a side.
pub(crate) const CELLS: u16 = 32;

/// Frequencies a side that make the hash.
const WAVES: u16 = 16;

/// The least median strength of the frequencies for a picture to have a hash, in levels of grey of
/// 256.
///
/// Rounding the cells to whole levels makes about 0.003 by itself. Below a few times that, half of
/// the bits would be noise, or would be 0 in every such picture, which would make any two of them
/// near duplicates: flat pictures, plain gradients and stripes, a dot on a page. Photographs were
/// measured at 0.07 and more.
const MIN_STRENGTH: f32 = 0.02;

/// The most pixels of a picture in 16 bit: `image` adds up the pixels of a cell in 32 bits, and there
/// are 1024 cells.
const MAX_DEEP_PX: u64 = 1024 << 16;

/// The hash of a picture as it is stored, before any rotation that its metadata asks for.
///
/// None for a picture without structure, which looks like every other such picture, for one in
/// 16 bit of more than 67 Mpx, and for one whose pixels are not numbers. Transparent pixels show
/// white, the colour of a page. Nothing of the picture's size is allocated.
pub(crate) fn hash_of(picture: &DynamicImage) -> Option<PerceptualHash> {
    let color = picture.color();
    let is_deep = color.bits_per_pixel() == 16 * u16::from(color.channel_count());
    if is_deep && u64::from(picture.width()) * u64::from(picture.height()) > MAX_DEEP_PX {
        return None;
    }
    hash_of_cells(&grey_cells(picture))
}

/// The hash of a reduced picture: [`CELLS`] x [`CELLS`] levels of grey, 0 to 255, row by row.
pub(crate) fn hash_of_cells(cells: &[f32]) -> Option<PerceptualHash> {
    let waves = waves(cells);
    let strength = median(waves.iter().map(|wave| wave.abs()));
    let middle = median(waves.iter().copied());
    // NaN, which pictures of floating point may hold, fails this comparison too.
    (strength >= MIN_STRENGTH)
        .then(|| PerceptualHash::from_bits(waves.into_iter().map(|wave| wave > middle)))
}

/// The reduced picture in levels of grey, 0 to 255, row by row.
fn grey_cells(picture: &DynamicImage) -> Vec<f32> {
    let cells = picture.thumbnail_exact(CELLS.into(), CELLS.into()).into_rgba32f();
    let grey = |red, green, blue| 0.299 * red + 0.587 * green + 0.114 * blue;
    cells
        .pixels()
        .map(|cell| {
            let [red, green, blue, alpha] = cell.0;
            255.0 * (alpha * grey(red, green, blue) + 1.0 - alpha)
        })
        .collect()
}

/// The means of [`CELLS`] x [`CELLS`] equal parts of a picture of `width` x `height` pixels, from the
/// means of its blocks of 8 x 8, in rows of `stride` blocks.
pub(crate) fn reduce(blocks: &[f32], stride: usize, (width, height): (u16, u16)) -> Vec<f32> {
    let rows: Vec<Vec<f32>> =
        blocks.chunks_exact(stride.max(1)).map(|row| means(row, width)).collect();
    let columns: Vec<Vec<f32>> = (0..CELLS.into())
        .map(|at| rows.iter().filter_map(|row| row.get(at).copied()).collect::<Vec<f32>>())
        .map(|column| means(&column, height))
        .collect();
    let row = |at| columns.iter().filter_map(move |column| column.get(at).copied());
    (0..CELLS.into()).flat_map(row).collect()
}

/// The means of [`CELLS`] equal parts of a line of `len` pixels, from the means of eight each.
fn means(blocks: &[f32], len: u16) -> Vec<f32> {
    // In parts of a pixel, of which a part of the line has as many as the line has pixels.
    let (part_len, block_len) = (u32::from(len), 8 * u32::from(CELLS));
    let part = |n: u32| {
        let (start, end) = (n * part_len, (n + 1) * part_len);
        let overlap = |at: u32| end.min((at + 1) * block_len) - start.max(at * block_len);
        let weight = |at: u32| f32::from(u16::try_from(overlap(at)).unwrap_or_default());
        let first = start / block_len;
        let covered = blocks.iter().skip(usize::try_from(first).unwrap_or_default());
        let range = first..end.div_ceil(block_len);
        range.zip(covered).map(|(at, mean)| weight(at) * mean).sum::<f32>() / f32::from(len)
    };
    (0..CELLS.into()).map(part).collect()
}

/// The strengths of the lowest frequencies, without the mean.
fn waves(cells: &[f32]) -> Vec<f32> {
    let angle = |wave, at| PI * f32::from(wave) * (f32::from(at) + 0.5) / f32::from(CELLS);
    let cosines: Vec<Vec<f32>> = (0..WAVES)
        .map(|wave| (0..CELLS).map(|at| angle(wave, at).cos() / f32::from(CELLS)).collect())
        .collect();
    let across: Vec<Vec<f32>> = cells
        .chunks_exact(CELLS.into())
        .map(|row| cosines.iter().map(|wave| product(row.iter(), wave)).collect())
        .collect();
    let down = |column| {
        let column: Vec<f32> = across.iter().filter_map(|row| row.get(column).copied()).collect();
        cosines.iter().map(move |wave| product(column.iter(), wave)).collect::<Vec<f32>>()
    };
    (0..WAVES.into()).flat_map(down).skip(1).collect()
}

fn product<'a>(values: impl Iterator<Item = &'a f32>, wave: &[f32]) -> f32 {
    values.zip(wave).map(|(value, cosine)| value * cosine).sum()
}

fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "levels and places of test pictures"
)]
mod tests {
    use super::*;
    use image::imageops::FilterType;
    use image::{GrayImage, Luma, Rgb, Rgb32FImage, RgbImage, Rgba, RgbaImage};

    /// Spots of light and shade whose places the seed decides.
    fn scene(seed: u16) -> RgbImage {
        let spots: Vec<[f32; 4]> = (1..12_u16)
            .map(|n| [37, 71, 13, 7].map(|prime| f32::from((n * n * prime + seed * 97 * n) % 101)))
            .collect();
        RgbImage::from_fn(320, 200, |x, y| {
            let light: f32 = spots
                .iter()
                .map(|[left, top, width, strength]| {
                    let (dx, dy) = (x as f32 - left * 3.2, y as f32 - top * 2.0);
                    (strength - 50.0) * 4.0 * (-(dx * dx + dy * dy) / (300.0 + 30.0 * width)).exp()
                })
                .sum();
            let level = (128.0 + light).clamp(0.0, 255.0) as u8;
            Rgb([level, level / 2 + 60, 255 - level / 4])
        })
    }

    fn hash(picture: impl Into<DynamicImage>) -> Option<PerceptualHash> {
        hash_of(&picture.into())
    }

    fn distance(a: impl Into<DynamicImage>, b: impl Into<DynamicImage>) -> u32 {
        hash(a).unwrap().distance(hash(b).unwrap())
    }

    fn grey(level: impl Fn(u32, u32) -> u32) -> GrayImage {
        GrayImage::from_fn(320, 200, |x, y| Luma([level(x, y).min(255) as u8]))
    }

    #[test]
    fn pictures_without_structure_have_no_hash() {
        for level in [0, 1, 128, 255] {
            assert_eq!(hash(grey(|_, _| level)), None);
        }
        assert_eq!(hash(grey(|x, _| x * 4 / 5)), None, "a gradient across");
        assert_eq!(hash(grey(|_, y| 255 - y)), None, "a gradient down");
        assert_eq!(hash(grey(|x, _| x / 20 % 2 * 255)), None, "stripes");
        assert_eq!(hash(grey(|x, y| 200 + (x * 7 + y * 13) % 3)), None, "faint noise");
        assert_eq!(hash(grey(|x, y| if (x, y) == (9, 9) { 0 } else { 255 })), None, "a dot");
        assert_eq!(hash(GrayImage::new(1, 1)), None);
    }

    #[test]
    fn a_picture_scaled_or_encoded_again_is_near() {
        for seed in 0..6 {
            let whole = scene(seed);
            for (width, height) in [(160, 100), (97, 61), (1024, 640)] {
                let scaled = image::imageops::resize(&whole, width, height, FilterType::Triangle);
                assert!(distance(whole.clone(), scaled) <= PerceptualHash::NEAR);
            }
            // As coarse levels and small blocks make it.
            let coarse = RgbImage::from_fn(320, 200, |x, y| {
                Rgb(whole.get_pixel(x / 4 * 4, y / 4 * 4).0.map(|level| level / 16 * 16))
            });
            assert!(distance(whole.clone(), coarse) <= PerceptualHash::NEAR);
        }
    }

    #[test]
    fn different_pictures_are_not_near() {
        for seed in 0..6 {
            assert!(distance(scene(seed), image::imageops::flip_horizontal(&scene(seed))) > 64);
            for other in 0..seed {
                let distance = distance(scene(seed), scene(other));
                assert!(distance > PerceptualHash::NEAR, "{seed} {other}: {distance}");
            }
        }
    }

    /// Grey, 16 bit, floating point and an alpha channel change nothing that is seen.
    #[test]
    fn every_kind_of_pixel_has_the_same_hash() {
        let whole = DynamicImage::from(scene(1));
        for same in [
            DynamicImage::from(whole.to_luma8()),
            whole.to_luma_alpha8().into(),
            whole.to_rgba8().into(),
            whole.to_luma16().into(),
            whole.to_luma_alpha16().into(),
            whole.to_rgb16().into(),
            whole.to_rgba16().into(),
            whole.to_rgb32f().into(),
            whole.to_rgba32f().into(),
        ] {
            let kind = same.color();
            assert!(distance(whole.clone(), same) <= 16, "{kind:?}");
        }
    }

    #[test]
    fn transparent_pixels_are_white() {
        let scene = scene(2);
        let ink = |x: u32, y: u32| u8::from(scene.get_pixel(x, y).0[0] > 140) * 255;
        let drawn = grey(|x, y| u32::from(255 - ink(x, y)));
        let alpha_only = RgbaImage::from_fn(320, 200, |x, y| Rgba([0, 0, 0, ink(x, y)]));
        assert!(distance(drawn, alpha_only) <= 16);
        let unseen = RgbaImage::from_fn(320, 200, |x, y| Rgba([ink(x, y), 0, 0, 0]));
        assert_eq!(hash(unseen), None);
    }

    #[test]
    fn pixels_that_are_no_numbers_have_no_hash() {
        let mut picture = Rgb32FImage::new(64, 64);
        picture.put_pixel(5, 5, Rgb([f32::NAN; 3]));
        assert_eq!(hash(picture), None);
    }

    #[test]
    fn any_size_is_reduced() {
        for (width, height) in [(1, 12_000), (12_000, 1), (31, 33), (2, 3), (33, 1)] {
            let picture = GrayImage::from_fn(width, height, |x, y| Luma([(x * 7 + y * 5) as u8]));
            assert_eq!(grey_cells(&picture.into()).len(), 1024);
        }
    }
}
