//! PNG: many pixels from few bytes, and many blocks that give none.

use super::{MAX_BYTES, bits::Low};
use flate2::{Compression, write::ZlibEncoder};
use std::io::Write as _;

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(&[&kind[..], data].concat());
    [&(data.len() as u32).to_be_bytes(), &kind[..], data, &crc.to_be_bytes()].concat()
}

fn header((width, height): (u32, u32), depth: u8, colour: u8, is_interlaced: bool) -> Vec<u8> {
    let rest = [depth, colour, 0, 0, is_interlaced.into()];
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &rest].concat())
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n", &chunks.concat()[..], &chunk(b"IEND", &[])].concat()
}

/// Rows of the dearest filter, Paeth's.
fn paeth(size: (u32, u32), bits: u32, passes: &[(u32, u32)]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for (across, down) in passes {
        let (width, height) = (size.0.div_ceil(*across), size.1.div_ceil(*down));
        let bytes = (width * bits).div_ceil(8);
        let row: Vec<u8> = std::iter::once(4).chain((0..bytes).map(|at| (at * 37) as u8)).collect();
        for _ in 0..height {
            encoder.write_all(&row).unwrap();
        }
    }
    encoder.finish().unwrap()
}

/// How far the pixels of each pass lie apart, rounded as an even grid of 8 pixels has it.
const PASSES: [(u32, u32); 7] = [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)];

fn picture(size: (u32, u32), depth: u8, colour: u8, is_interlaced: bool) -> Vec<u8> {
    let channels = [1, 0, 3, 1, 2, 0, 4][usize::from(colour)];
    let passes = if is_interlaced { &PASSES[..] } else { &[(1, 1)] };
    let data = paeth(size, channels * u32::from(depth), passes);
    let palette = if colour == 3 { chunk(b"PLTE", &[7; 768]) } else { Vec::new() };
    let alpha = if colour == 3 { chunk(b"tRNS", &[9; 256]) } else { Vec::new() };
    file(&[header(size, depth, colour, is_interlaced), palette, alpha, chunk(b"IDAT", &data)])
}

pub fn rgba() -> Vec<u8> {
    picture((10_000, 10_000), 8, 6, false)
}

pub fn interlaced_16() -> Vec<u8> {
    picture((7_920, 7_920), 16, 6, true)
}

pub fn interlaced_16_beyond() -> Vec<u8> {
    picture((8_192, 8_192), 16, 6, true)
}

pub fn palette() -> Vec<u8> {
    picture((10_000, 10_000), 8, 3, true)
}

/// A picture of one bit, whose rows become bytes.
pub fn bits() -> Vec<u8> {
    picture((10_000, 10_000), 1, 0, true)
}

/// Blocks of deflate that build their tables and give nothing.
pub fn blocks() -> Vec<u8> {
    let mut bits = Low::behind(&[0x78, 0x01]);
    while bits.bytes.len() < MAX_BYTES - 1000 {
        empty_block(&mut bits);
    }
    file(&[header((10_000, 10_000), 8, 6, false), chunk(b"IDAT", &bits.end())])
}

/// A block with codes of its own, of which it has only the end.
pub fn empty_block(bits: &mut Low) {
    // Not the last block, dynamic; 257 codes of bytes, one of distances, lengths for all 18.
    bits.put(0b100, 3);
    bits.put(0, 5);
    bits.put(0, 5);
    bits.put(14, 4);
    // In the order 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1: the lengths of 18 and 1 are one bit.
    for at in 0..18 {
        bits.put(u64::from(at == 2 || at == 17), 3);
    }
    // 1 is the code 0, 18 is 1. A byte and the end have a code of one bit, and so has the distance.
    let zeros = |bits: &mut Low, n: u64| {
        bits.put(1, 1);
        bits.put(n - 11, 7);
    };
    bits.put(0, 1);
    zeros(bits, 138);
    zeros(bits, 117);
    bits.put(0, 1);
    bits.put(0, 1);
    // The end.
    bits.put(1, 1);
}

/// An animation of a full frame, again and again.
pub fn animation() -> Vec<u8> {
    let size = (3_000, 3_000);
    let data = paeth(size, 32, &[(1, 1)]);
    let number = |n: u32| n.to_be_bytes();
    let control = |n: u32| {
        let fields = [number(n), number(size.0), number(size.1), number(0), number(0)].concat();
        chunk(b"fcTL", &[&fields[..], &[0, 1, 0, 1, 0, 0]].concat())
    };
    let mut chunks = vec![header(size, 8, 6, false)];
    let n_frames = (MAX_BYTES / (data.len() + 100)) as u32;
    chunks.push(chunk(b"acTL", &[number(n_frames), number(0)].concat()));
    chunks.push(control(0));
    chunks.push(chunk(b"IDAT", &data));
    for frame in 1..n_frames {
        chunks.push(control(2 * frame - 1));
        chunks.push(chunk(b"fdAT", &[&number(2 * frame), &data[..]].concat()));
    }
    file(&chunks)
}
