//! The bits of a scan, without the zeros that stuff them.

use crate::{Refusal, scan::Scan};
use std::io::{BufRead, Seek};

/// Bytes held at once.
const WINDOW: usize = 4096;

/// What a refill reads at once.
const WORD: usize = 8;

/// Reads the entropy-coded data of one scan; behind its end come zeros, and [`Bits::end`] says so.
#[derive(Debug)]
pub(super) struct Bits<'s, 'b, R> {
    scan: &'s mut Scan<'b, R>,
    window: Box<[u8; WINDOW]>,
    /// The next byte of the window, and the end of its data.
    at: usize,
    end: usize,
    /// Whether the data end in the window: a marker follows in the file, and zeros in the window.
    is_last: bool,
    /// The next bits, the first one on top, and how many of them were counted as read.
    bits: u64,
    n_bits: u32,
}

impl<'s, 'b, R: BufRead + Seek> Bits<'s, 'b, R> {
    pub(super) fn start(scan: &'s mut Scan<'b, R>) -> Self {
        let window = Box::new([0; WINDOW]);
        Self { scan, window, at: 0, end: 0, is_last: false, bits: 0, n_bits: 0 }
    }

    /// Makes 32 bits ready, enough for a code of 16 bits and its value.
    #[inline]
    pub(super) fn refill(&mut self) -> Result<(), Refusal> {
        if self.n_bits >= 32 {
            return Ok(());
        }
        let word = match self.window.get(self.at..).and_then(<[u8]>::first_chunk::<WORD>) {
            Some(word) if self.is_last || self.at + WORD <= self.end => *word,
            _ => self.load()?,
        };
        self.bits |= u64::from_be_bytes(word) >> self.n_bits;
        self.at += place(u64::from((63 - self.n_bits) >> 3));
        self.n_bits |= 56;
        Ok(())
    }

    /// The next `n` bits, 1 to 32, of those that are ready.
    #[inline]
    pub(super) fn peek(&self, n: u32) -> u64 {
        self.bits >> (64 - n)
    }

    /// Goes over `n` bits that are ready.
    #[inline]
    pub(super) fn skip(&mut self, n: u32) {
        self.bits <<= n;
        self.n_bits = self.n_bits.saturating_sub(n);
    }

    /// Takes `n` bits that are ready, at most 16; none is 0.
    #[inline]
    pub(super) fn take(&mut self, n: u32) -> i32 {
        if n == 0 {
            return 0;
        }
        let value = self.peek(n);
        self.skip(n);
        i32::try_from(value).unwrap_or_default()
    }

    /// Takes a value of `n` bits with its sign (T.81, F.2.2.1, EXTEND).
    #[inline]
    pub(super) fn signed(&mut self, n: u32) -> i32 {
        let value = self.take(n);
        if n > 0 && value < 1 << (n - 1) { value - (1 << n) + 1 } else { value }
    }

    /// Takes one bit, whether or not one is ready.
    #[inline]
    pub(super) fn flag(&mut self) -> Result<bool, Refusal> {
        if self.n_bits == 0 {
            self.refill()?;
        }
        Ok(self.take(1) == 1)
    }

    /// Goes over `n` bits, whether or not they are ready.
    #[inline]
    pub(super) fn pass(&mut self, mut n: u32) -> Result<(), Refusal> {
        while n > self.n_bits {
            n -= self.n_bits;
            self.skip(self.n_bits);
            self.refill()?;
        }
        self.skip(n);
        Ok(())
    }

    /// Ends an interval: its data must have been there, and the restart marker `n` follows.
    pub(super) fn restart(&mut self, n: u8) -> Result<(), Refusal> {
        self.end()?;
        // Some encoders leave bytes before the marker; decoders go over them.
        while !self.is_last {
            (self.at, self.bits, self.n_bits) = (self.end, 0, 0);
            self.load()?;
        }
        let mut code = 0xFF;
        while code == 0xFF {
            code = self.scan.byte()?;
        }
        if code != 0xD0 | (n & 7) {
            return Err(Refusal::Corrupt);
        }
        (self.at, self.end, self.is_last, self.bits, self.n_bits) = (0, 0, false, 0, 0);
        Ok(())
    }

    /// Whether all bits that were taken were in the data.
    pub(super) fn end(&self) -> Result<(), Refusal> {
        // Bits that are ready may come from before the window.
        let taken = (8 * self.at).saturating_sub(place(u64::from(self.n_bits)));
        if taken > 8 * self.end { Err(Refusal::Corrupt) } else { Ok(()) }
    }

    /// Moves what is left to the front of the window, fills it, and gives the next word.
    #[cold]
    #[inline(never)]
    fn load(&mut self) -> Result<[u8; WORD], Refusal> {
        self.end()?;
        let left = self.window.get(self.at..self.end).map_or(0, <[u8]>::len);
        // Past the end the place within the zeros matters, which `end` has limited to some bits.
        let past = self.at - (self.end - left).min(self.at);
        self.window.copy_within(self.end - left..self.end, 0);
        (self.at, self.end) = (past, left);
        while !self.is_last && self.end < WINDOW - WORD {
            self.copy()?;
        }
        if let Some(behind) = self.window.get_mut(self.end..) {
            behind.fill(0);
        }
        let word = self.window.get(self.at..).and_then(<[u8]>::first_chunk::<WORD>);
        word.copied().ok_or(Refusal::Corrupt)
    }

    /// Copies up to the next 0xFF, and it too if it is data.
    fn copy(&mut self) -> Result<(), Refusal> {
        let bytes = self.scan.peek()?;
        let room = self.window.get_mut(self.end..).unwrap_or_default();
        let most = bytes.get(..room.len() - 1).unwrap_or(bytes);
        let n = memchr::memchr(0xFF, most).unwrap_or(most.len());
        if let (Some(to), Some(from)) = (room.get_mut(..n), most.get(..n)) {
            to.copy_from_slice(from);
        }
        let is_marked = n < most.len();
        self.end += n;
        self.scan.consume(n);
        if is_marked {
            self.after_ff()?;
        }
        Ok(())
    }

    /// Takes a stuffed 0xFF; before a marker, stops.
    fn after_ff(&mut self) -> Result<(), Refusal> {
        let start = self.scan.at();
        let mut code = 0xFF;
        while code == 0xFF {
            code = self.scan.byte()?;
        }
        if code == 0 {
            if let Some(byte) = self.window.get_mut(self.end) {
                *byte = 0xFF;
            }
            self.end += 1;
            return Ok(());
        }
        self.is_last = true;
        self.scan.jump(start)
    }
}

/// A number that is small by its kind, as a place in memory.
#[inline]
pub(super) fn place(n: u64) -> usize {
    usize::try_from(n).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    /// Runs over a body that is read in pieces of this many bytes.
    fn with<T>(
        body: &[u8],
        capacity: usize,
        run: impl FnOnce(&mut Bits<'_, '_, BufReader<Cursor<&[u8]>>>) -> T,
    ) -> T {
        let mut reader = BufReader::with_capacity(capacity, Cursor::new(body));
        let len = body.len().try_into().unwrap();
        run(&mut Bits::start(&mut Scan::start(&mut reader, len).unwrap()))
    }

    #[test]
    fn stuffed_zeros_are_no_data_and_a_marker_ends_them() {
        let body = b"\x12\xff\0\x34\xff\xff\xff\0\x56\xff\xff\xd9";
        for capacity in 1..16 {
            with(body, capacity, |bits| {
                for byte in [0x12, 0xFF, 0x34, 0xFF, 0x56] {
                    bits.refill().unwrap();
                    assert_eq!(bits.take(8), byte);
                }
                assert_eq!(bits.end(), Ok(()));
                assert_eq!(bits.flag(), Ok(false));
                assert_eq!(bits.end(), Err(Refusal::Corrupt));
            });
        }
    }

    #[test]
    fn every_bit_comes_once_however_many_are_taken() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| (n * 37 % 255).try_into().unwrap()).collect();
        let body = [&bytes[..], &[0xFF, 0xD9]].concat();
        for (capacity, n) in [(1, 1), (61, 5), (8192, 7), (4096, 16)] {
            with(&body, capacity, |bits| {
                for at in 0..8 * bytes.len() / n {
                    bits.refill().unwrap();
                    let expected = (0..n).fold(0, |value, more| {
                        let bit = at * n + more;
                        value << 1 | i32::from(bytes[bit / 8] >> (7 - bit % 8) & 1)
                    });
                    assert_eq!(bits.take(n.try_into().unwrap()), expected, "{n} at {at}");
                }
                assert_eq!(bits.end(), Ok(()));
            });
        }
    }

    #[test]
    fn many_bits_are_passed_as_one_by_one() {
        let body: Vec<u8> = (0..200).chain([0xFF, 0xD9]).collect();
        for n in 0..=64 {
            with(&body, 7, |bits| {
                for _ in 0..8 {
                    bits.pass(n).unwrap();
                }
                bits.pass(64).unwrap();
                bits.refill().unwrap();
                assert_eq!(bits.take(8), i32::try_from(n + 8).unwrap());
            });
        }
    }

    #[test]
    fn a_restart_wants_its_number_and_all_data_before_it() {
        let restart = |body: &[u8], taken: u32| {
            with(body, 3, |bits| {
                bits.refill().unwrap();
                bits.skip(taken);
                bits.restart(9)?;
                bits.refill()?;
                Ok::<_, Refusal>(bits.take(8))
            })
        };
        assert_eq!(restart(b"\x12\xff\xd1\x56\xff\xd9", 8), Ok(0x56));
        assert_eq!(restart(b"\x12\x34\x34\xff\xff\xd1\x56\xff\xd9", 5), Ok(0x56));
        assert_eq!(restart(b"\x12\xff\xd1\x56\xff\xd9", 9), Err(Refusal::Corrupt));
        assert_eq!(restart(b"\x12\xff\xd2\x56\xff\xd9", 8), Err(Refusal::Corrupt));
        assert_eq!(restart(b"\x12\xff\xd9", 8), Err(Refusal::Corrupt));
    }

    #[test]
    fn zeros_without_end_are_not_read() {
        with(b"\x12\xff\xd9", 3, |bits| {
            let mut n = 0;
            while bits.pass(63).is_ok() {
                n += 1;
            }
            assert!(n < 8 * WINDOW);
        });
    }

    #[test]
    fn values_have_their_signs() {
        with(b"\x5d\xff\xd9", 3, |bits| {
            bits.refill().unwrap();
            // 0, 10, 111, 01 and nothing.
            let values = [1, 2, 3, 2, 0].map(|n| bits.signed(n));
            assert_eq!(values, [-1, 2, 7, -2, 0]);
        });
    }
}
