//! GIF: large frames from few codes, codes of single pixels, and more frames than anyone looks at.

use super::{MAX_BYTES, bits::noise};
use weezl::{BitOrder, encode::Encoder};

fn screen(width: u16, height: u16) -> Vec<u8> {
    let sides = [width, height].map(u16::to_le_bytes);
    [b"GIF89a", sides.as_flattened(), &[0xF7, 0, 0], &[5; 768]].concat()
}

fn frame(width: u16, height: u16, pixels: &[u8]) -> Vec<u8> {
    let codes = Encoder::new(BitOrder::Lsb, 8).encode(pixels).unwrap();
    let sides = [width, height].map(u16::to_le_bytes);
    let mut bytes = [b",\0\0\0\0", sides.as_flattened(), &[0, 8]].concat();
    for block in codes.chunks(255) {
        bytes.push(block.len() as u8);
        bytes.extend(block);
    }
    bytes.push(0);
    bytes
}

/// The largest picture, and again.
pub fn runs() -> Vec<u8> {
    let frame = frame(10_000, 10_000, &vec![7; 100_000_000]);
    [screen(10_000, 10_000), frame.repeat(3), b";".to_vec()].concat()
}

/// No pixel like those before it, in frames of the whole screen.
pub fn noisy() -> Vec<u8> {
    let frame = frame(2_600, 2_600, &noise(2_600 * 2_600));
    [screen(2_600, 2_600), frame, b";".to_vec()].concat()
}

/// Thousands of frames of the whole screen.
pub fn frames() -> Vec<u8> {
    let frame = frame(1_000, 1_000, &vec![7; 1_000_000]);
    let n = MAX_BYTES / frame.len();
    [screen(1_000, 1_000), frame.repeat(n - 1), b";".to_vec()].concat()
}

/// As many frames as there is room for, of one pixel each.
pub fn dots() -> Vec<u8> {
    let frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0".repeat((MAX_BYTES - 1000) / 15);
    [screen(1, 1), frame, b";".to_vec()].concat()
}
