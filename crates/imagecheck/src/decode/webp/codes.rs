//! How much memory the codes of a lossless bitstream take, which nothing but its header tells: up to
//! 65,536 groups of five codes, each with tables a thousand times as large as its description.
//!
//! The header is read as far as the last group, its small images included; no pixel is made. Source:
//! [RFC 9649](https://www.rfc-editor.org/rfc/rfc9649), sections 3.4 to 3.7 of the lossless format. The
//! sizes are those of `image-webp` 0.2.

use crate::{
    Refusal, Size,
    cost::{MAX_HELD_BYTES, check_held},
    scan::Scan,
};
use std::io::{BufRead, Seek};

/// The most bytes of tables for a byte of the file. Where this is little, the header is not read.
const MOST_A_BYTE: u64 = 640;

/// What a group of codes takes itself, in a list that doubles.
const GROUP_BYTES: u64 = 3 * 5 * 56;

/// The symbols of a group's codes: green, lengths and kept colours; red, blue, alpha; distances.
const SYMBOLS: [usize; 5] = [256 + LENGTHS, 256, 256, 256, 40];

const LENGTHS: usize = 24;

/// The longest code.
const MAX_BITS: usize = 15;

/// The order in which the lengths of the codes of lengths come.
const ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The bytes of an alpha chunk's tables.
pub(super) fn alpha_bytes<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    at: u64,
    len: u64,
    size: Size,
) -> Result<u64, Refusal> {
    scan.jump(at)?;
    if len == 0 || scan.byte()? & 3 != 1 {
        // Not compressed.
        return Ok(0);
    }
    tables(scan, len - 1, size)
}

/// The bytes of a lossless bitstream's tables.
pub(super) fn bytes<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    at: u64,
    len: u64,
    size: Size,
) -> Result<u64, Refusal> {
    // A signature and the dimensions, which are known.
    scan.jump(at + 5.min(len))?;
    tables(scan, len.saturating_sub(5), size)
}

fn tables<R: BufRead + Seek>(scan: &mut Scan<'_, R>, len: u64, size: Size) -> Result<u64, Refusal> {
    let most = MOST_A_BYTE * len;
    if most <= MAX_HELD_BYTES / 2 {
        return Ok(most);
    }
    Header { bits: Bits { scan, left: len, held: 0, n: 0 }, bytes: 0 }.read(size)
}

struct Bits<'s, 'b, R> {
    scan: &'s mut Scan<'b, R>,
    /// Bytes that are not held yet.
    left: u64,
    held: u64,
    n: u32,
}

impl<R: BufRead + Seek> Bits<'_, '_, R> {
    /// A number of at most 32 bits, the lowest first.
    fn take(&mut self, n: u32) -> Result<usize, Refusal> {
        while self.n < n {
            self.left = self.left.checked_sub(1).ok_or(Refusal::Corrupt)?;
            self.held |= u64::from(self.scan.byte()?) << self.n;
            self.n += 8;
        }
        let value = self.held & ((1 << n) - 1);
        self.held >>= n;
        self.n -= n;
        usize::try_from(value).map_err(|_| Refusal::Corrupt)
    }
}

/// A prefix code: how many codes there are of each length, and their symbols in order.
struct Code {
    counts: [usize; MAX_BITS + 1],
    symbols: Vec<usize>,
}

impl Code {
    /// The code of these lengths, which must use up all that there are.
    fn new(lens: &[usize]) -> Result<Self, Refusal> {
        let mut counts = [0; MAX_BITS + 1];
        let mut symbols: Vec<usize> =
            (0..lens.len()).filter(|at| lens.get(*at) > Some(&0)).collect();
        symbols.sort_by_key(|symbol| lens.get(*symbol).copied());
        for symbol in &symbols {
            let len = lens.get(*symbol).copied().unwrap_or_default();
            *counts.get_mut(len).ok_or(Refusal::Corrupt)? += 1;
        }
        let used: usize = counts.iter().enumerate().map(|(len, n)| n << (MAX_BITS - len)).sum();
        match symbols.len() {
            0 => Err(Refusal::Corrupt),
            1 => Ok(Self { counts: [0; MAX_BITS + 1], symbols }),
            _ if used == 1 << MAX_BITS => Ok(Self { counts, symbols }),
            _ => Err(Refusal::Corrupt),
        }
    }

    /// The bytes that the decoder makes of it: a table of ten bits, and a tree for what is longer.
    fn bytes(&self) -> u64 {
        let Some(longest) = self.counts.iter().rposition(|n| *n > 0) else { return 0 };
        let n_long: usize = self.counts.iter().skip(11).sum();
        u64::try_from((4 << longest.min(10)) + 32 * n_long + 64).unwrap_or(u64::MAX)
    }

    fn symbol<R: BufRead + Seek>(&self, bits: &mut Bits<'_, '_, R>) -> Result<usize, Refusal> {
        let (mut code, mut first, mut at) = (0, 0, 0);
        if let [only] = self.symbols[..] {
            return Ok(only);
        }
        for n in self.counts.iter().skip(1) {
            code = code << 1 | bits.take(1)?;
            first <<= 1;
            if code < first + n {
                return self.symbols.get(at + code - first).copied().ok_or(Refusal::Corrupt);
            }
            first += n;
            at += n;
        }
        Err(Refusal::Corrupt)
    }
}

/// What the header has said so far.
struct Header<'s, 'b, R> {
    bits: Bits<'s, 'b, R>,
    bytes: u64,
}

impl<R: BufRead + Seek> Header<'_, '_, R> {
    /// The bytes of all tables, as soon as they are too many.
    fn read(mut self, size: Size) -> Result<u64, Refusal> {
        let place = |side: u32| usize::try_from(side).map_err(|_| Refusal::TooLarge);
        let (mut width, height) = (place(size.width)?, place(size.height)?);
        let mut seen = [false; 4];
        while self.bits.take(1)? == 1 {
            let transform = self.bits.take(2)?;
            // Each may be there once.
            if std::mem::replace(seen.get_mut(transform).ok_or(Refusal::Corrupt)?, true) {
                return Err(Refusal::Corrupt);
            }
            match transform {
                0 | 1 => {
                    let side = 1 << (self.bits.take(3)? + 2);
                    self.image(width.div_ceil(side) * height.div_ceil(side))?;
                }
                3 => {
                    let n_colours = self.bits.take(8)? + 1;
                    self.image(n_colours)?;
                    let a_byte = match n_colours {
                        ..=2 => 8,
                        3..=4 => 4,
                        5..=16 => 2,
                        _ => 1,
                    };
                    width = width.div_ceil(a_byte);
                }
                _ => {}
            }
        }
        let n_kept = self.kept_colours()?;
        let mut n_groups = 1;
        if self.bits.take(1)? == 1 {
            let side = 1 << (self.bits.take(3)? + 2);
            n_groups = self.image(width.div_ceil(side) * height.div_ceil(side))? + 1;
        }
        for _ in 0..n_groups {
            self.group(n_kept)?;
        }
        Ok(self.bytes)
    }

    /// How many colours are kept for codes of their own.
    fn kept_colours(&mut self) -> Result<usize, Refusal> {
        if self.bits.take(1)? == 0 {
            return Ok(0);
        }
        match self.bits.take(4)? {
            n_bits @ 1..=11 => Ok(1 << n_bits),
            _ => Err(Refusal::Corrupt),
        }
    }

    fn group(&mut self, n_kept: usize) -> Result<[Code; 5], Refusal> {
        let [green, others @ ..] = SYMBOLS;
        let green = self.code(green + n_kept)?;
        let [red, blue, alpha, distance] = others;
        let group =
            [green, self.code(red)?, self.code(blue)?, self.code(alpha)?, self.code(distance)?];
        self.bytes += GROUP_BYTES + group.iter().map(Code::bytes).sum::<u64>();
        check_held(self.bytes)?;
        Ok(group)
    }

    fn code(&mut self, n_symbols: usize) -> Result<Code, Refusal> {
        if self.bits.take(1)? == 1 {
            let is_pair = self.bits.take(1)? == 1;
            let n_bits = if self.bits.take(1)? == 1 { 8 } else { 1 };
            let first = self.bits.take(n_bits)?;
            let mut counts = [0; MAX_BITS + 1];
            let mut symbols = vec![first];
            if is_pair {
                symbols.push(self.bits.take(8)?);
                counts = Code::new(&[1, 1])?.counts;
            }
            return Ok(Code { counts, symbols });
        }
        let mut lens = [0; 19];
        let n_lens = 4 + self.bits.take(4)?;
        for symbol in ORDER.iter().take(n_lens) {
            *lens.get_mut(*symbol).ok_or(Refusal::Corrupt)? = self.bits.take(3)?;
        }
        let lens = self.lens(&Code::new(&lens)?, n_symbols)?;
        Code::new(&lens)
    }

    /// The lengths of a code, which are coded themselves.
    fn lens(&mut self, code: &Code, n_symbols: usize) -> Result<Vec<usize>, Refusal> {
        let mut codes_left = n_symbols;
        if self.bits.take(1)? == 1 {
            let n_bits = 2 + 2 * self.bits.take(3)?;
            let n = self.bits.take(u32::try_from(n_bits).map_err(|_| Refusal::Corrupt)?)?;
            codes_left = n + 2;
        }
        let mut lens = Vec::with_capacity(n_symbols);
        let mut last = 8;
        while lens.len() < n_symbols && codes_left > 0 {
            codes_left -= 1;
            let (len, n) = match code.symbol(&mut self.bits)? {
                16 => (last, 3 + self.bits.take(2)?),
                17 => (0, 3 + self.bits.take(3)?),
                18 => (0, 11 + self.bits.take(7)?),
                len => (len, 1),
            };
            if len > 0 {
                last = len;
            }
            lens.resize(lens.len() + n, len);
            if lens.len() > n_symbols {
                return Err(Refusal::Corrupt);
            }
        }
        lens.resize(n_symbols, 0);
        Ok(lens)
    }

    /// Reads an image inside the image, of so many pixels. The largest number that the red and green of
    /// its pixels make: a pixel that is copied was there before.
    fn image(&mut self, n_px: usize) -> Result<usize, Refusal> {
        let n_kept = self.kept_colours()?;
        let [green, red, blue, alpha, distance] = self.group(n_kept)?;
        let is_plain = [&green, &red, &blue, &alpha].iter().all(|code| code.symbols.len() == 1);
        let (mut largest, mut left) = (0, n_px);
        while left > 0 {
            let symbol = green.symbol(&mut self.bits)?;
            if symbol < 256 {
                let red = red.symbol(&mut self.bits)?;
                blue.symbol(&mut self.bits)?;
                alpha.symbol(&mut self.bits)?;
                largest = largest.max(red << 8 | symbol);
                if is_plain {
                    break;
                }
                left -= 1;
            } else if symbol < 256 + LENGTHS {
                let n = self.length(symbol - 256)?;
                let symbol = distance.symbol(&mut self.bits)?;
                self.length(symbol)?;
                left = left.checked_sub(n).ok_or(Refusal::Corrupt)?;
            } else {
                left -= 1;
            }
        }
        Ok(largest)
    }

    /// A length or a distance, of its code and what comes behind it.
    fn length(&mut self, symbol: usize) -> Result<usize, Refusal> {
        if symbol < 4 {
            return Ok(symbol + 1);
        }
        let n_bits = (symbol - 2) >> 1;
        let more = self.bits.take(u32::try_from(n_bits).map_err(|_| Refusal::Corrupt)?)?;
        Ok(((2 + (symbol & 1)) << n_bits) + more + 1)
    }
}

#[cfg(test)]
mod tests;
