use super::*;
use crate::sample::{inspect_bytes, webp};
use crate::{Level, cost::MAX_HELD_BYTES};
use std::io::Cursor;

/// Bits with the first one lowest.
#[derive(Default)]
struct Writer {
    bits: Vec<bool>,
}

impl Writer {
    fn put(&mut self, value: usize, n: usize) {
        self.bits.extend((0..n).map(|at| value >> at & 1 == 1));
    }

    /// A code of one symbol.
    fn only(&mut self, symbol: usize) {
        self.put(0b101, 3);
        self.put(symbol, 8);
    }

    /// The header of a picture without transforms, all of it of the last of so many groups.
    fn header(n_groups: usize) -> Self {
        let mut bits = Self::default();
        bits.put(0, 1);
        bits.put(1, 1);
        bits.put(11, 4);
        bits.put(1, 1);
        bits.put(7, 3);
        bits.put(0, 1);
        bits.only((n_groups - 1) & 255);
        bits.only((n_groups - 1) >> 8);
        (0..3).for_each(|_| bits.only(0));
        bits
    }

    /// A group whose green has 1,768 codes of eleven bits and 560 of twelve.
    fn long_group(&mut self) {
        self.put(0, 1);
        self.put(12, 4);
        (0..16).for_each(|at| self.put((at >= 14).into(), 3));
        self.put(0, 1);
        (0..2328).for_each(|at| self.put((at >= 1768).into(), 1));
        (0..4).for_each(|_| self.only(3));
    }

    fn bytes(&self) -> Vec<u8> {
        let byte =
            |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        self.bits.chunks(8).map(byte).collect()
    }
}

fn of_header(bytes: &[u8]) -> Result<u64, Refusal> {
    let len = bytes.len().try_into().unwrap();
    let mut body = Cursor::new(bytes);
    let mut scan = Scan::start(&mut body, len).unwrap();
    let bits = Bits { scan: &mut scan, left: len, held: 0, n: 0 };
    Header { bits, bytes: 0 }.read(Size { width: 4_000, height: 4_000 })
}

/// Case 256: a lossless picture of tables, of which each is three hundred times its description.
#[test]
fn the_tables_of_all_groups_count() {
    let file = |n: usize| {
        let mut bits = Writer::header(n);
        (0..n).for_each(|_| bits.long_group());
        bits.bytes()
    };
    // The small image has a group of its own.
    let tables = 4 * 1024 + 32 * 2328 + 64;
    assert_eq!(of_header(&file(1)), Ok(2 * GROUP_BYTES + tables));
    assert_eq!(of_header(&file(300)), Ok(301 * GROUP_BYTES + 300 * tables));
    let bomb = file(7_000);
    assert!(7_000 * tables > MAX_HELD_BYTES);
    assert_eq!(of_header(&bomb), Err(Refusal::DecodeBudget));
    let sides = 3_999 | 3_999 << 14 | 1_u32 << 28;
    let data = [b"\x2f", &sides.to_le_bytes()[..], &bomb].concat();
    let slow = inspect_bytes(&webp(&[(b"VP8L", &data)]), Level::Slow);
    assert_eq!(slow.err(), Some(Refusal::DecodeBudget));
}

#[test]
fn a_header_that_ends_early_is_corrupt() {
    let mut bits = Writer::header(2);
    bits.long_group();
    let whole = bits.bytes();
    for cut in 0..whole.len() {
        assert_eq!(of_header(&whole[..cut]), Err(Refusal::Corrupt), "{cut}");
    }
}

/// A picture with two transforms that have images of their own: one of 64 pixels, which are this many and
/// ten copies of six, and one of three.
fn small_images(n_px: usize) -> Vec<u8> {
    let mut bits = Writer::default();
    // Guesses for blocks of 512 pixels, so 8 x 8 of them: green is 1 or a copy, in a bit.
    bits.put(1, 3);
    bits.put(7, 3);
    bits.put(0, 1);
    bits.put(0, 1);
    bits.put(0, 4);
    // The lengths 18, 0 and 1 have two bits, two and one: the codes are 0 for 1, 10 for 0, 11 for 18.
    [0, 2, 2, 1].iter().for_each(|len| bits.put(*len, 3));
    bits.put(0, 1);
    let zeros = |bits: &mut Writer, n: usize| {
        bits.put(0b11, 2);
        bits.put(n - 11, 7);
    };
    bits.put(0b01, 2);
    bits.put(0, 1);
    zeros(&mut bits, 138);
    zeros(&mut bits, 260 - 140);
    // The copy has the symbol 260: five or six pixels, which a further bit says.
    bits.put(0, 1);
    zeros(&mut bits, 280 - 261);
    (0..3).for_each(|_| bits.only(9));
    bits.only(1);
    (0..n_px).for_each(|_| bits.put(0, 1));
    (0..10).for_each(|_| bits.put(0b11, 2));
    // The three colours of the picture.
    bits.put(1 | 3 << 1, 3);
    bits.put(2, 8);
    bits.put(0, 1);
    (0..5).for_each(|_| bits.only(1));
    // No more transforms, no kept colours, no groups.
    bits.put(0, 3);
    (0..5).for_each(|_| bits.only(1));
    bits.bytes()
}

#[test]
fn small_images_are_read_to_their_end() {
    let pair = 4 * 2 + 64;
    assert_eq!(of_header(&small_images(4)), Ok(3 * GROUP_BYTES + pair));
    assert_eq!(of_header(&small_images(5)), Err(Refusal::Corrupt), "a copy beyond the end");
}
