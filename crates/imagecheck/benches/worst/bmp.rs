//! BMP: run-length codes, and the most pixels from few bits.

use super::{MAX_BYTES, bits::noise};

fn file(size: (i32, i32), bits: u16, compression: u32, pixels: &[u8]) -> Vec<u8> {
    let n_colours = if bits <= 8 { 1 << bits } else { 0 };
    let start = 54 + 4 * n_colours as u32;
    let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
    file.extend([start, 40].map(u32::to_le_bytes).as_flattened());
    file.extend([size.0, size.1].map(i32::to_le_bytes).as_flattened());
    file.extend([1, bits].map(u16::to_le_bytes).as_flattened());
    file.extend([compression, 0, 0, 0, 0, 0].map(u32::to_le_bytes).as_flattened());
    [file, vec![0x40; 4 * n_colours], pixels.to_vec()].concat()
}

fn runs(size: (i32, i32), longest: u8) -> Vec<u8> {
    let (width, longest) = (size.0 as usize, usize::from(longest));
    let mut row = [longest as u8, 9].repeat(width / longest);
    if width % longest > 0 {
        row.extend([(width % longest) as u8, 9]);
    }
    row.extend([0, 0]);
    [row.repeat(size.1 as usize), vec![0, 1]].concat()
}

pub fn runs_8() -> Vec<u8> {
    file((10_000, 10_000), 8, 1, &runs((10_000, 10_000), 255))
}

pub fn runs_4() -> Vec<u8> {
    file((10_000, 10_000), 4, 2, &runs((10_000, 10_000), 255))
}

/// Runs of one pixel.
pub fn short_runs() -> Vec<u8> {
    file((2_200, 2_200), 8, 1, &runs((2_200, 2_200), 1))
}

/// Steps that lead nowhere, before the pixels.
pub fn steps() -> Vec<u8> {
    let steps = [0, 2, 0, 0].repeat((MAX_BYTES - 100_000) / 4);
    file((1_000, 1_000), 8, 1, &[steps, runs((1_000, 1_000), 255)].concat())
}

/// One bit a pixel, without compression.
pub fn bits() -> Vec<u8> {
    file((8_000, 9_900), 1, 0, &noise(1_000 * 9_900))
}
