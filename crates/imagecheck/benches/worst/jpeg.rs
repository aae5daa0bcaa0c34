//! JPEG: scans that go over the largest picture again and again.

use super::MAX_BYTES;

fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    [&[0xFF, marker], &(data.len() as u16 + 2).to_be_bytes()[..], data].concat()
}

fn start(frame: u8, (width, height): (u16, u16), n: u8, codes: &[[u8; 2]; 2]) -> Vec<u8> {
    let components: Vec<u8> = (1..=n).flat_map(|id| [id, 0x11, 0]).collect();
    let sides = [height, width].map(u16::to_be_bytes);
    let huffman = |class: u8, symbols: &[u8; 2]| {
        // Two codes of two bits, so that none is all ones.
        segment(0xC4, &[&[class << 4, 0, 2][..], &[0; 14], symbols].concat())
    };
    [
        &[0xFF, 0xD8][..],
        &segment(0xDB, &[&[0][..], &[1; 64]].concat()),
        &segment(frame, &[&[8], sides.as_flattened(), &[n], &components].concat()),
        &huffman(0, &codes[0]),
        &huffman(1, &codes[1]),
    ]
    .concat()
}

fn scan(ids: std::ops::RangeInclusive<u8>, band: [u8; 3], data: &[u8]) -> Vec<u8> {
    let n = ids.clone().count() as u8;
    let members: Vec<u8> = ids.flat_map(|id| [id, 0]).collect();
    [&segment(0xDA, &[&[n][..], &members, &band].concat()), data].concat()
}

const END: [u8; 2] = [0xFF, 0xD9];

/// A sequential picture of which there is only the head.
pub fn cut(width: u16, height: u16) -> Vec<u8> {
    let codes = [[0, 1], [0, 1]];
    [start(0xC0, (width, height), 3, &codes), scan(1..=3, [0, 63, 0], &[0; 99]), END.to_vec()]
        .concat()
}

/// A sequential picture whose every block is flat.
pub fn small(width: u16, height: u16) -> Vec<u8> {
    let blocks = usize::from(width).div_ceil(8) * usize::from(height).div_ceil(8);
    // Three blocks of two codes of two bits.
    let data = vec![0; (blocks * 12).div_ceil(8)];
    let codes = [[0, 1], [0, 1]];
    [start(0xC0, (width, height), 3, &codes), scan(1..=3, [0, 63, 0], &data), END.to_vec()].concat()
}

/// A progressive picture of `n_scans` scans with hardly any data.
pub fn progressive(size: (u16, u16), components: u8, n_scans: usize) -> Vec<u8> {
    let blocks = usize::from(size.0).div_ceil(8) * usize::from(size.1).div_ceil(8);
    let first = vec![0; (blocks * 2 * usize::from(components)).div_ceil(8)];
    // 16,384 blocks without anything: two bits, then fourteen.
    let empty = [0; 2].repeat(blocks.div_ceil(16_384));
    let mut file = start(0xC2, size, components, &[[0, 1], [0xE0, 0x01]]);
    file.extend(scan(1..=components, [0, 0, 0], &first));
    for _ in 1..n_scans {
        file.extend(scan(1..=1, [1, 63, 0], &empty));
    }
    [file, END.to_vec()].concat()
}

pub fn scans() -> Vec<u8> {
    progressive((10_000, 10_000), 4, 50)
}

pub fn scans_beyond() -> Vec<u8> {
    progressive((10_000, 10_000), 4, 51)
}

/// Scans with a bit for every block of every component.
pub fn means() -> Vec<u8> {
    let size = (7_070, 7_070);
    let bytes = 884 * 884 * 4 / 8 + 8;
    let mut file = start(0xC2, size, 4, &[[0, 1], [0, 1]]);
    file.extend(scan(1..=4, [0, 0, 0x01], &vec![0; 2 * bytes]));
    while file.len() + bytes < MAX_BYTES {
        file.extend(scan(1..=4, [0, 0, 0x10], &vec![0x55; bytes]));
    }
    [file, END.to_vec()].concat()
}

/// Every coefficient has a code, then scans refine each of them.
pub fn refined() -> Vec<u8> {
    let size = (2_000, 2_000);
    let blocks = 250 * 250;
    let mut file = start(0xC2, size, 1, &[[0, 1], [0xE0, 0x01]]);
    file.extend(scan(1..=1, [0, 0, 0], &vec![0; blocks * 2 / 8 + 8]));
    // 01 is the code of a coefficient without zeros before it, and a bit is its value.
    file.extend(scan(1..=1, [1, 63, 1], &[0x6D, 0xB6, 0xDB].repeat(blocks * 63 / 8 + 1)));
    let bytes = blocks * 64 / 8 + 16;
    while file.len() + bytes < MAX_BYTES {
        // Runs of empty blocks, which still have a bit for each coefficient.
        file.extend(scan(1..=1, [1, 63, 0x10], &vec![0; bytes]));
    }
    [file, END.to_vec()].concat()
}

/// Codes of two bits with a bit each, in a sequential picture.
pub fn dense() -> Vec<u8> {
    // A mean of two bits and 63 coefficients of three.
    let side = (((MAX_BYTES / 24) as f64).sqrt() as u16 - 1) * 8;
    let file = start(0xC0, (side, side), 1, &[[0, 1], [0x01, 0x02]]);
    [file, scan(1..=1, [0, 63, 0], &vec![0; MAX_BYTES - 1000]), END.to_vec()].concat()
}
