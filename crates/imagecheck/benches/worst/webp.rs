//! WebP: large canvases from few bytes, codes that decode to many, and codes that are only tables.

use super::{
    MAX_BYTES,
    bits::{Bools, Low, noise},
};

/// The odds that a header keeps its odds of codes (RFC 6386, section 13.4).
const UPDATE_ODDS: &str = "\
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffb0f6ffffffffffffffffff\
    dff1fcfffffffffffffffff9fdfdfffffffffffffffffff4fcffffffffffffffffeafefeffffffffffffffff\
    fdfffffffffffffffffffffff6feffffffffffffffffeffdfefffffffffffffffffefffeffffffffffffffff\
    fff8fefffffffffffffffffbfffefffffffffffffffffffffffffffffffffffffffffdfeffffffffffffffff\
    fbfefefffffffffffffffffefffefffffffffffffffffffefdfffefffffffffffffafffefffeffffffffffff\
    feffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
    d9ffffffffffffffffffffe1fcf1fdfffffeffffffffeafaf1fafdfffdfefffffffffeffffffffffffffffff\
    dffefeffffffffffffffffeefdfefefffffffffffffffff8fefffffffffffffffff9feffffffffffffffffff\
    fffffffffffffffffffffffffdfffffffffffffffffff7feffffffffffffffffffffffffffffffffffffffff\
    fffdfefffffffffffffffffcfffffffffffffffffffffffffffffffffffffffffffffefeffffffffffffffff\
    fdfffffffffffffffffffffffffffffffffffffffffffffefdfffffffffffffffffaffffffffffffffffffff\
    feffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
    bafbfaffffffffffffffffeafbf4fefffffffffffffffbfbf3fdfefffefffffffffffdfeffffffffffffffff\
    ecfdfefffffffffffffffffbfdfdfefefffffffffffffffefefffffffffffffffffefefeffffffffffffffff\
    fffffffffffffffffffffffffefffffffffffffffffffefefffffffffffffffffffeffffffffffffffffffff\
    fffffffffffffffffffffffeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
    f8fffffffffffffffffffffafefcfefffffffffffffff8fef9fdfffffffffffffffffdfdffffffffffffffff\
    f6fdfdfffffffffffffffffcfefbfefefffffffffffffffefcfffffffffffffffff8fefdffffffffffffffff\
    fdfffefefffffffffffffffffbfefffffffffffffffff5fbfefffffffffffffffffdfdfeffffffffffffffff\
    fffbfdfffffffffffffffffcfdfefffffffffffffffffffefffffffffffffffffffffcffffffffffffffffff\
    f9fffefffffffffffffffffffffefffffffffffffffffffffdfffffffffffffffffaffffffffffffffffffff\
    fffffffffffffffffffffffffffffffffffffffffffffeffffffffffffffffffffffffffffffffffffffffff";

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = [&kind[..], &(data.len() as u32).to_le_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WEBP", &chunks].concat()
}

fn sides((width, height): (u32, u32)) -> Vec<u8> {
    [width - 1, height - 1].iter().flat_map(|side| side.to_le_bytes()[..3].to_vec()).collect()
}

fn extended(flags: u8, size: (u32, u32)) -> Vec<u8> {
    chunk(b"VP8X", &[&[flags, 0, 0, 0], &sides(size)[..]].concat())
}

/// The start of a lossless bitstream.
fn lossless((width, height): (u32, u32)) -> Low {
    let mut bits = Low::default();
    bits.put(0x2F, 8);
    bits.put((width - 1).into(), 14);
    bits.put((height - 1).into(), 14);
    bits.put(1, 4);
    bits
}

/// A code of one symbol, which takes no bits.
fn only(bits: &mut Low, symbol: u64) {
    bits.put(0b101, 3);
    bits.put(symbol, 8);
}

/// A code of two symbols, of a bit each.
fn either(bits: &mut Low, symbols: [u64; 2]) {
    bits.put(0b111, 3);
    bits.put(symbols[0], 8);
    bits.put(symbols[1], 8);
}

/// The one group of codes of an image inside the image, all of one value.
fn plain(bits: &mut Low, [green, red, blue]: [u64; 3]) {
    bits.put(0, 1);
    for symbol in [green, red, blue, 0, 0] {
        only(bits, symbol);
    }
}

/// Three changes of colour and the dearest guess at each pixel from those around it.
fn transforms(bits: &mut Low) {
    bits.put(1 | 1 << 1, 3);
    bits.put(3, 3);
    plain(bits, [77, 5, 9]);
    bits.put(1 | 2 << 1, 3);
    bits.put(1, 3);
    bits.put(0, 3);
    plain(bits, [11, 0, 0]);
}

/// Thirty bytes, as the header has it.
pub fn thirty_bytes() -> Vec<u8> {
    let mut bits = lossless((12_000, 8_333));
    bits.put(0, 3);
    for _ in 0..5 {
        bits.put(1, 4);
    }
    let mut data = bits.end();
    data.resize(10, 0);
    file(&[chunk(b"VP8L", &data)])
}

/// Pixels that are all the same, with every transform.
pub fn lossless_transforms() -> Vec<u8> {
    let mut bits = lossless((7_000, 6_000));
    transforms(&mut bits);
    bits.put(0, 1);
    bits.put(0, 2);
    for symbol in [9, 7, 5, 255, 0] {
        only(&mut bits, symbol);
    }
    file(&[chunk(b"VP8L", &bits.end())])
}

/// Pixels that are copied in pairs, with every transform.
pub fn lossless_pairs() -> Vec<u8> {
    let mut bits = lossless((6_999, 6_001));
    transforms(&mut bits);
    bits.put(0, 1);
    // Colours that are kept: eleven bits of them.
    bits.put(1, 1);
    bits.put(11, 4);
    bits.put(0, 1);
    // Green: two symbols of one bit, a level of it and a copy of two pixels, which no simple code has.
    bits.put(0, 1);
    bits.put(0, 4);
    // In the order 17 18 0 1: 18 has two bits, 0 two, 1 one.
    for len in [0, 2, 2, 1] {
        bits.put(len, 3);
    }
    bits.put(0, 1);
    // 1 is the code 0; 0 is 01 and 18 is 11, both read from the lowest bit.
    let zeros = |bits: &mut Low, n: u64| {
        bits.put(0b11, 2);
        bits.put(n - 11, 7);
    };
    bits.put(0, 1);
    zeros(&mut bits, 138);
    zeros(&mut bits, 118);
    bits.put(0, 1);
    for _ in 0..14 {
        zeros(&mut bits, 138);
    }
    zeros(&mut bits, 2328 - 258 - 14 * 138);
    for symbol in [7, 5, 255, 1] {
        only(&mut bits, symbol);
    }
    // A pixel, then copies only.
    bits.put(0, 1);
    let mut data = bits.end();
    data.resize(data.len() + 7_000 * 6_000 / 16 + 1_000, 0xFF);
    file(&[chunk(b"VP8L", &data)])
}

/// Pixels of four bits, which are noise.
pub fn lossless_noise() -> Vec<u8> {
    let size = (4_500, 4_400);
    let mut bits = lossless(size);
    transforms(&mut bits);
    bits.put(0, 1);
    bits.put(0, 2);
    for _ in 0..4 {
        either(&mut bits, [1, 200]);
    }
    only(&mut bits, 0);
    let mut data = bits.end();
    data.extend(noise(4_500 * 4_400 / 2));
    file(&[chunk(b"VP8L", &data)])
}

/// Groups of codes that no pixel uses; the tables of each take 80 kB.
pub fn lossless_groups() -> Vec<u8> {
    groups((4_000, 4_000), 12_000)
}

fn groups(size: (u32, u32), n_groups: u64) -> Vec<u8> {
    let mut bits = lossless(size);
    bits.put(0, 1);
    bits.put(1, 1);
    bits.put(11, 4);
    // An image of the groups, all of it the last one.
    bits.put(1, 1);
    bits.put(7, 3);
    plain(&mut bits, [(n_groups - 1) & 255, (n_groups - 1) >> 8, 0]);
    for _ in 0..n_groups {
        // Green has 1,768 codes of eleven bits and 560 of twelve.
        bits.put(0, 1);
        bits.put(12, 4);
        for at in 0..16 {
            bits.put(u64::from(at >= 14), 3);
        }
        bits.put(0, 1);
        for at in 0..2328 {
            bits.put(u64::from(at >= 1768), 1);
        }
        for _ in 0..4 {
            only(&mut bits, 3);
        }
    }
    file(&[chunk(b"VP8L", &[bits.end(), noise(5_000_000)].concat())])
}

/// A lossy bitstream whose every block is empty, or full of codes that cost one bit.
fn lossy((width, height): (u32, u32), is_full: bool) -> Vec<u8> {
    let mut head = Bools::new();
    head.number(0, 2);
    // No segments; the dear filter, at its strongest; no adjustments, one partition; quantization.
    head.number(0, 1);
    head.number(0, 1);
    head.number(63, 6);
    head.number(0, 3);
    head.number(0, 1);
    head.number(0, 2);
    head.number(10, 7);
    head.number(0, 5);
    head.number(0, 1);
    let odds =
        |at: usize| u8::from_str_radix(UPDATE_ODDS.get(2 * at..2 * at + 2).unwrap(), 16).unwrap();
    for at in 0..1056 {
        // More codes, no zero, no one; of two to four, four.
        let more = if is_full { 1 } else { 255 };
        let value = [more, 1, 1, 255, 1, 1].get(at % 11).copied();
        head.put(value.is_some(), odds(at));
        if let Some(value) = value {
            head.number(value, 8);
        }
    }
    head.number(0, 1);
    let mut codes = Bools::new();
    for _ in 0..width.div_ceil(16) * height.div_ceil(16) {
        head.put(false, 145);
        for _ in 0..16 {
            head.put(false, 231);
        }
        head.put(false, 142);
        if !is_full {
            (0..24).for_each(|_| codes.put(false, 255));
            continue;
        }
        for at in 0..384 {
            for (flag, odds) in
                [(true, 1), (true, 1), (true, 1), (false, 255), (true, 1), (true, 1)]
            {
                codes.put(flag, odds);
            }
            codes.put(at % 2 == 0, 128);
        }
    }
    let head = head.end();
    // A key frame of version 0 that is shown, and the length of its first partition.
    let tag = 1 << 4 | (head.len() as u32) << 5;
    let sides = [width as u16, height as u16].map(u16::to_le_bytes);
    [&tag.to_le_bytes()[..3], b"\x9d\x01\x2a", sides.as_flattened(), &head, &codes.end()].concat()
}

pub fn lossy_full() -> Vec<u8> {
    file(&[chunk(b"VP8 ", &lossy((5_050, 5_050), true))])
}

pub fn lossy_beyond() -> Vec<u8> {
    file(&[chunk(b"VP8 ", &lossy((7_000, 6_000), true))])
}

pub fn lossy_empty() -> Vec<u8> {
    file(&[chunk(b"VP8 ", &lossy((9_700, 7_700), false))])
}

/// An alpha channel without loss: its header says less than that of a bitstream.
fn alpha() -> Vec<u8> {
    let mut bits = Low::default();
    // Gradients, compressed.
    bits.put(0b1101, 8);
    transforms(&mut bits);
    bits.put(0, 1);
    bits.put(0, 2);
    for symbol in [9, 7, 5, 255, 0] {
        only(&mut bits, symbol);
    }
    bits.end()
}

pub fn lossy_alpha() -> Vec<u8> {
    let size = (4_300, 4_290);
    file(&[extended(0x10, size), chunk(b"ALPH", &alpha()), chunk(b"VP8 ", &lossy(size, true))])
}

fn animated(size: (u32, u32), n: usize, frame: &[u8]) -> Vec<u8> {
    let head = [&[0; 6], &sides(size)[..], &[100, 0, 0, 0]].concat();
    let frame = chunk(b"ANMF", &[&head, frame].concat());
    file(&[extended(0x12, size), chunk(b"ANIM", &[0; 6]), frame.repeat(n)])
}

/// Frames of a large canvas.
pub fn animation() -> Vec<u8> {
    let size = (4_090, 4_090);
    animated(size, 3, &[chunk(b"ALPH", &alpha()), chunk(b"VP8 ", &lossy(size, true))].concat())
}

/// Frames of a canvas that takes all the memory there is.
pub fn animation_large() -> Vec<u8> {
    let size = (5_600, 5_600);
    let mut bits = lossless(size);
    transforms(&mut bits);
    bits.put(0, 3);
    for symbol in [9, 7, 5, 255, 0] {
        only(&mut bits, symbol);
    }
    animated(size, 4, &chunk(b"VP8L", &bits.end()))
}

/// As many frames as there is room for, of one pixel each, with tables of their own.
pub fn animation_dots() -> Vec<u8> {
    let mut bits = lossless((1, 1));
    bits.put(0, 3);
    for _ in 0..5 {
        only(&mut bits, 9);
    }
    let frame = chunk(b"VP8L", &bits.end());
    animated((1, 1), (MAX_BYTES - 1000) / (24 + frame.len()), &frame)
}
