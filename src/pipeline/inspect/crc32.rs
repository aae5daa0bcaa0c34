//! The checksum of PNG chunks: CRC-32 (ISO 3309), eight bytes a step.

use std::sync::LazyLock;

type Table = [u32; 256];

/// Table `n` advances a byte that has `n` more bytes behind it in its block.
static TABLES: LazyLock<[Table; 8]> = LazyLock::new(|| {
    let mut tables = [[0; 256]; 8];
    let mut table: Table = std::array::from_fn(|n| {
        (0..8).fold(u32::try_from(n).unwrap_or(0), |crc, _| {
            if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 }
        })
    });
    let first = table;
    for slot in &mut tables {
        *slot = table;
        table = table.map(|crc| step(&first, crc, 0));
    }
    tables
});

/// A running checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc32(u32);

impl Crc32 {
    pub(super) fn new() -> Self {
        Self(u32::MAX)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &*TABLES;
        let (blocks, rest) = bytes.as_chunks::<8>();
        let mut crc = self.0;
        for &[a, b, c, d, e, f, g, h] in blocks {
            let [a, b, c, d] = (u32::from_le_bytes([a, b, c, d]) ^ crc).to_le_bytes();
            crc = at(t7, a) ^ at(t6, b) ^ at(t5, c) ^ at(t4, d);
            crc ^= at(t3, e) ^ at(t2, f) ^ at(t1, g) ^ at(t0, h);
        }
        self.0 = rest.iter().fold(crc, |crc, &byte| step(t0, crc, byte));
    }

    pub(super) fn finish(self) -> u32 {
        !self.0
    }
}

fn step(table: &Table, crc: u32, byte: u8) -> u32 {
    let [low, ..] = crc.to_le_bytes();
    at(table, low ^ byte) ^ (crc >> 8)
}

#[expect(clippy::indexing_slicing, reason = "a table has an entry for every byte")]
fn at(table: &Table, byte: u8) -> u32 {
    table[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_come_out_however_the_bytes_are_cut() {
        for (bytes, crc) in [
            (&b"123456789"[..], 0xCBF4_3926),
            (b"", 0),
            (b"IEND", 0xAE42_6082),
            (b"The quick brown fox jumps over the lazy dog", 0x414F_A339),
        ] {
            for cut in 0..=bytes.len() {
                let mut sum = Crc32::new();
                sum.update(&bytes[..cut]);
                sum.update(&bytes[cut..]);
                assert_eq!(sum.finish(), crc);
            }
        }
    }
}
