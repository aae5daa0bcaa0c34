//! TIFF: strips and tiles that share their data, and more pieces than pixels are worth.

use super::{
    MAX_BYTES,
    bits::{Low, noise},
    png::empty_block,
};
use flate2::{Compression, write::ZlibEncoder};
use std::io::Write as _;
use weezl::{BitOrder, encode::Encoder};

/// A directory's entries: tag, bytes of a value (2 or 4), values.
type Entry = (u16, u8, Vec<u32>);

/// A file of one page, whose pieces all have the same data.
struct Page {
    size: (u32, u32),
    compression: u32,
    photometric: u32,
    bits: u32,
    samples: u32,
    /// The size of a tile, or the width of the picture and the rows of a strip.
    piece: (u32, u32),
    data: Vec<u8>,
    more: Vec<Entry>,
}

impl Page {
    fn file(self) -> Vec<u8> {
        let mut file = b"II\x2a\0\0\0\0\0".to_vec();
        let data_at = file.len() as u32;
        file.extend(&self.data);
        let is_tiled = self.piece.0 != self.size.0;
        let n = self.size.0.div_ceil(self.piece.0) * self.size.1.div_ceil(self.piece.1);
        let places = vec![data_at; n as usize];
        let lens = vec![self.data.len() as u32; n as usize];
        let mut entries: Vec<Entry> = vec![
            (256, 4, vec![self.size.0]),
            (257, 4, vec![self.size.1]),
            (258, 2, vec![self.bits; self.samples as usize]),
            (259, 2, vec![self.compression]),
            (262, 2, vec![self.photometric]),
            (277, 2, vec![self.samples]),
        ];
        if is_tiled {
            entries.extend([(322, 4, vec![self.piece.0]), (323, 4, vec![self.piece.1])]);
            entries.extend([(324, 4, places), (325, 4, lens)]);
        } else {
            entries.extend([(273, 4, places), (278, 4, vec![self.piece.1]), (279, 4, lens)]);
        }
        entries.extend(self.more);
        directory(&mut file, entries);
        file
    }
}

fn directory(file: &mut Vec<u8>, mut entries: Vec<Entry>) {
    entries.sort_by_key(|entry| entry.0);
    let mut directory = (entries.len() as u16).to_le_bytes().to_vec();
    for (tag, width, values) in entries {
        let mut bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes()[..usize::from(width)].to_vec())
            .collect();
        directory
            .extend([tag, if width == 2 { 3 } else { 4 }].map(u16::to_le_bytes).as_flattened());
        directory.extend((values.len() as u32).to_le_bytes());
        if bytes.len() > 4 {
            let at = file.len() as u32;
            file.append(&mut bytes);
            bytes = at.to_le_bytes().to_vec();
        }
        bytes.resize(4, 0);
        directory.extend(bytes);
    }
    let at = file.len() as u32;
    file.extend(directory);
    file.extend([0; 4]);
    file[4..8].copy_from_slice(&at.to_le_bytes());
}

fn deflated(n: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&vec![7; n]).unwrap();
    encoder.finish().unwrap()
}

fn lzw(n: usize) -> Vec<u8> {
    Encoder::with_tiff_size_switch(BitOrder::Msb, 8).encode(&vec![7; n]).unwrap()
}

fn rgb(size: (u32, u32), piece: (u32, u32), compression: u32, data: Vec<u8>) -> Page {
    let more = Vec::new();
    Page { size, compression, photometric: 2, bits: 8, samples: 3, piece, data, more }
}

/// A strip for each row, all of the same data.
pub fn strips() -> Vec<u8> {
    rgb((8_000, 9_900), (8_000, 1), 8, deflated(24_000)).file()
}

/// As [`strips`], beyond the memory.
pub fn strips_beyond() -> Vec<u8> {
    rgb((8_000, 12_000), (8_000, 1), 8, deflated(24_000)).file()
}

pub fn strips_lzw() -> Vec<u8> {
    let page = rgb((8_000, 9_900), (8_000, 100), 5, lzw(24_000 * 100));
    Page { more: vec![(317, 2, vec![2])], ..page }.file()
}

pub fn strips_pack_bits() -> Vec<u8> {
    rgb((8_000, 9_900), (8_000, 1), 32_773, [255, 5].repeat(12_000)).file()
}

/// Tiles far larger than the picture.
pub fn tiles_wide() -> Vec<u8> {
    let page = rgb((1, 12_000), (12_000, 1), 8, deflated(12_000 * 8));
    Page { bits: 16, samples: 4, ..page }.file()
}

/// The picture of the tiles that exceed it, at the limit of both.
pub fn tiles_exceed() -> Vec<u8> {
    rgb((6_001, 9_000), (6_000, 9_000), 8, deflated(6_000 * 9_000 * 3)).file()
}

fn dots(compression: u32, data: Vec<u8>) -> Vec<u8> {
    rgb((1_000, 1_000), (1, 1), compression, data).file()
}

pub fn tiles_dots() -> Vec<u8> {
    dots(8, deflated(3))
}

pub fn tiles_dots_lzw() -> Vec<u8> {
    dots(5, lzw(3))
}

pub fn tiles_dots_jpeg() -> Vec<u8> {
    dots(7, super::jpeg::small(8, 8))
}

pub fn strips_jpeg() -> Vec<u8> {
    rgb((8_000, 9_900), (8_000, 16), 7, super::jpeg::small(8_000, 16)).file()
}

/// Strips of a row each, whose JPEGs say that they are far larger.
pub fn jpeg_in_strips() -> Vec<u8> {
    rgb((8_000, 200), (8_000, 1), 7, super::jpeg::cut(16_000, 16_000)).file()
}

/// A JPEG with more scans than anyone writes.
pub fn jpeg_scans() -> Vec<u8> {
    rgb((8_000, 8_000), (8_000, 8_000), 7, super::jpeg::progressive((8_000, 8_000), 3, 99)).file()
}

/// Pixels of 16 bits, four to a place.
pub fn deep() -> Vec<u8> {
    let page = rgb((6_500, 4_700), (6_500, 100), 8, deflated(6_500 * 8 * 100));
    Page { bits: 16, samples: 4, more: vec![(338, 2, vec![2])], ..page }.file()
}

pub fn inks() -> Vec<u8> {
    let page = rgb((8_000, 8_600), (8_000, 100), 8, deflated(32_000 * 100));
    Page { photometric: 5, samples: 4, ..page }.file()
}

/// Numbers of floating point, whose bytes are dealt out.
pub fn floats() -> Vec<u8> {
    let page = rgb((8_000, 7_500), (8_000, 100), 8, deflated(32_000 * 100));
    let more = vec![(317, 2, vec![3]), (339, 2, vec![3])];
    Page { photometric: 1, bits: 32, samples: 1, more, ..page }.file()
}

pub fn bits() -> Vec<u8> {
    let page = rgb((10_000, 10_000), (10_000, 100), 8, deflated(1_250 * 100));
    Page { photometric: 1, bits: 1, samples: 1, ..page }.file()
}

/// Further samples, which are read and thrown away.
pub fn samples() -> Vec<u8> {
    let page = rgb((8_000, 9_900), (8_000, 100), 8, deflated(48_000 * 100));
    Page { samples: 6, more: vec![(338, 2, vec![0, 0, 0])], ..page }.file()
}

/// Blocks of deflate that build their tables and give nothing.
pub fn blocks() -> Vec<u8> {
    let mut bits = Low::behind(&[0x78, 0x01]);
    while bits.bytes.len() < MAX_BYTES - 1000 {
        empty_block(&mut bits);
    }
    rgb((1_000, 1_000), (1_000, 1_000), 8, bits.end()).file()
}

/// As [`blocks`], read again for each of the strips.
pub fn blocks_again() -> Vec<u8> {
    let mut bits = Low::behind(&[0x78, 0x01]);
    while bits.bytes.len() < 100_000 {
        empty_block(&mut bits);
    }
    // The last block, stored: three bytes, and their sum.
    bits.put(1, 3);
    let mut data = bits.end();
    data.extend([3, 0, 0xFC, 0xFF, 1, 2, 3, 0, 13, 0, 7]);
    rgb((1, 2_000), (1, 1), 8, data).file()
}

/// A thousand pages, of which only the first is decoded.
pub fn pages() -> Vec<u8> {
    let mut file = rgb((1_000, 1_000), (1_000, 1_000), 8, noise(5_000)).file();
    let page = rgb((1_000, 1_000), (1_000, 1_000), 8, deflated(3_000_000));
    file.clear();
    file.extend(page.file());
    for _ in 1..1_000 {
        let next = file.len() as u32;
        let at = file.len() - 4;
        file[at..].copy_from_slice(&next.to_le_bytes());
        file.extend(
            b"\x02\0\0\x01\x03\0\x01\0\0\0\x09\0\0\0\x01\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
        );
    }
    file
}
