//! The coefficients of one component, as far as the picture in small needs them.

use super::bits::place;
use crate::phash::compute::{CELLS, reduce};
use image::{ImageBuffer, Luma, imageops::thumbnail};
use std::f32::consts::{FRAC_1_SQRT_2, PI};

/// How much of each block is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// The component shows nothing of the levels of grey.
    Nothing,
    /// The mean, for pictures of enough blocks.
    Mean,
    /// All 64 coefficients.
    All,
}

impl Kept {
    #[inline]
    fn coefficients(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Mean => 1,
            Self::All => 64,
        }
    }
}

/// One component of the frame, block by block.
#[derive(Debug)]
pub(super) struct Plane {
    /// Blocks of an interleaved unit, across and down.
    unit: (u32, u32),
    /// Samples of the picture.
    width: u16,
    height: u16,
    /// Blocks of a row, those included that only fill the last unit.
    stride: u32,
    kept: Kept,
    coefficients: Vec<i16>,
    /// Which coefficients of a block are not zero: a bit for each, where later scans need to know.
    nonzero: Vec<u64>,
    /// The quantization that holds at the component's first scan.
    pub(super) quantization: Option<[u16; 64]>,
}

impl Plane {
    /// A plane of `width` x `height` samples in `units` interleaved units of these blocks.
    pub(super) fn new(
        unit: (u32, u32),
        (width, height): (u16, u16),
        units: (u32, u32),
        kept: Kept,
        is_progressive: bool,
    ) -> Self {
        let stride = units.0 * unit.0;
        let n_blocks = u64::from(stride) * u64::from(units.1 * unit.1);
        let coefficients = vec![0; kept.coefficients() * place(n_blocks)];
        let nonzero = vec![0; if is_progressive { place(n_blocks) } else { 0 }];
        let quantization = None;
        Self { unit, width, height, stride, kept, coefficients, nonzero, quantization }
    }

    /// Blocks across and down of an interleaved unit.
    pub(super) fn unit(&self) -> (u32, u32) {
        self.unit
    }

    /// Blocks across and down of a scan that has only this component.
    pub(super) fn blocks(&self) -> (u32, u32) {
        (self.width.div_ceil(8).into(), self.height.div_ceil(8).into())
    }

    /// The number of the block at a place.
    #[inline]
    pub(super) fn block(&self, x: u32, y: u32) -> usize {
        place(u64::from(y) * u64::from(self.stride) + u64::from(x))
    }

    /// Whether values of coefficients other than the mean are wanted.
    #[inline]
    pub(super) fn keeps_all(&self) -> bool {
        self.kept == Kept::All
    }

    /// The coefficient `at`, in zigzag order, where it is kept.
    #[inline]
    pub(super) fn coefficient(&mut self, block: usize, at: u32) -> Option<&mut i16> {
        let (kept, at) = (self.kept.coefficients(), place(at.into()));
        if at < kept { self.coefficients.get_mut(block * kept + at) } else { None }
    }

    /// Which coefficients of the block are not zero, of a progressive picture.
    #[inline]
    pub(super) fn nonzero(&mut self, block: usize) -> Option<&mut u64> {
        self.nonzero.get_mut(block)
    }

    /// The reduced picture of this component, 0 to 255; grey where there are no data.
    pub(super) fn cells(&self) -> Vec<f32> {
        let table = self.quantization.unwrap_or([0; 64]);
        let stride = place(self.stride.into());
        match self.kept {
            Kept::Nothing => Vec::new(),
            Kept::Mean => {
                let step = f32::from(table[0]) / 8.0;
                let means = self.coefficients.iter().map(|mean| level(f32::from(*mean) * step));
                reduce(&means.collect::<Vec<f32>>(), stride, (self.width, self.height))
            }
            Kept::All => {
                let (width, height) = (self.width.into(), self.height.into());
                let samples =
                    ImageBuffer::<Luma<f32>, _>::from_raw(width, height, self.samples(&table));
                // As `image` reduces pictures of other formats.
                samples.map_or_else(Vec::new, |it| {
                    thumbnail(&it, CELLS.into(), CELLS.into()).into_raw()
                })
            }
        }
    }

    /// All samples, row by row (T.81, A.3.3).
    fn samples(&self, table: &[u16; 64]) -> Vec<f32> {
        let waves = waves();
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let mut samples = Vec::with_capacity(width * height + 7 * width);
        for row in self.coefficients.chunks_exact(64 * place(self.stride.into())) {
            let blocks: Vec<[f32; 64]> =
                row.chunks_exact(64).map(|block| inverse(block, table, &waves)).collect();
            for y in 0..8 {
                let line = blocks.iter().filter_map(|block| block.as_chunks::<8>().0.get(y));
                samples.extend(line.flatten().take(width));
            }
        }
        samples.truncate(width * height);
        samples
    }
}

/// A sample as a level of grey.
fn level(sample: f32) -> f32 {
    (sample + 128.0).clamp(0.0, 255.0)
}

/// The strength of each wave at each of eight places: for a wave, its strengths at all places.
fn waves() -> [[f32; 8]; 8] {
    let strength = |wave: u8, place: u8| {
        let angle = PI * f32::from(2 * place + 1) * f32::from(wave) / 16.0;
        angle.cos() / 2.0 * if wave == 0 { FRAC_1_SQRT_2 } else { 1.0 }
    };
    let numbers = [0, 1, 2, 3, 4, 5, 6, 7];
    numbers.map(|wave| numbers.map(|place| strength(wave, place)))
}

/// A block of coefficients in zigzag order as levels of grey, row by row.
fn inverse(block: &[i16], table: &[u16; 64], waves: &[[f32; 8]; 8]) -> [f32; 64] {
    let mut values = [0.0; 64];
    for ((value, step), at) in block.iter().zip(table).zip(ZIGZAG) {
        if let Some(natural) = values.get_mut(usize::from(at)) {
            *natural = f32::from(*value) * f32::from(*step);
        }
    }
    transposed_sums(&transposed_sums(&values, waves), waves).map(level)
}

/// The sums of the waves along each row, as columns.
fn transposed_sums(values: &[f32; 64], waves: &[[f32; 8]; 8]) -> [f32; 64] {
    let mut turned = [0.0; 64];
    for (column, row) in values.as_chunks::<8>().0.iter().enumerate() {
        let mut sums = [0.0; 8];
        for (value, wave) in row.iter().zip(waves) {
            // Most of them, behind the quantization.
            if *value != 0.0 {
                sums.iter_mut().zip(wave).for_each(|(sum, strength)| *sum += value * strength);
            }
        }
        for (to, sum) in turned.iter_mut().skip(column).step_by(8).zip(sums) {
            *to = sum;
        }
    }
    turned
}

/// The place of each coefficient, in the order of the file (T.81, figure A.6).
#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];
