//! Huffman codes (T.81, annex C and F.2.2.3), and steps over several of them at once.

use super::bits::{Bits, place};
use crate::Refusal;
use std::io::{BufRead, Seek};

/// Bits that are looked up at once.
const LOOKED_AT: u32 = 11;

/// A table as a DHT segment has it: how many codes of each length, and their symbols.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    pub(super) counts: [u8; 16],
    pub(super) symbols: Vec<u8>,
}

/// Marks a step that ends a block.
const END: u8 = 0x80;

/// What the next bits begin with.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    symbol: u8,
    /// The length of the code; 0 where it is longer than what is looked at, or is none.
    len: u8,
    /// The bits of all codes that can be seen, with their values.
    step_bits: u8,
    /// The coefficients that these codes stand for; with [`END`] the last of them ends the block.
    step: u8,
}

/// A table to decode with.
#[derive(Debug)]
pub(super) struct Decoder {
    entries: Box<[Entry; 1 << LOOKED_AT]>,
    /// For each length, one to sixteen: the first number that is too large for a code of this length,
    /// in sixteen bits, and what to add to a code for the place of its symbol.
    lengths: [(u64, i64); 16],
    symbols: Vec<u8>,
}

impl Decoder {
    /// None where more codes are wanted than there are.
    pub(super) fn new(codes: &Codes) -> Option<Self> {
        let mut entries = Box::new([Entry::default(); 1 << LOOKED_AT]);
        let mut lengths = [(0, 0); 16];
        let (mut code, mut n_symbols) = (0_u64, 0_u64);
        let mut symbols = codes.symbols.iter();
        for ((len, count), length) in (1_u8..).zip(codes.counts).zip(&mut lengths) {
            let offset = i64::try_from(n_symbols).ok()? - i64::try_from(code).ok()?;
            for symbol in symbols.by_ref().take(count.into()) {
                if let Some(shift) = LOOKED_AT.checked_sub(len.into()) {
                    let range = place(code << shift)..place((code + 1) << shift);
                    entries.get_mut(range)?.fill(Entry {
                        symbol: *symbol,
                        len,
                        ..Entry::default()
                    });
                }
                code += 1;
            }
            n_symbols += u64::from(count);
            // No code is all ones.
            if count > 0 && code >= 1 << len {
                return None;
            }
            *length = (code << (16 - len), offset);
            code <<= 1;
        }
        Some(Self { entries, lengths, symbols: codes.symbols.clone() })
    }

    /// The same with the steps of a sequential picture's coefficients.
    pub(super) fn with_steps(mut self) -> Self {
        let single = self.entries.clone();
        for (bits, entry) in (0_u64..).zip(self.entries.iter_mut()) {
            while u32::from(entry.step_bits) < LOOKED_AT && entry.step < END {
                let seen = place(bits << entry.step_bits & ((1 << LOOKED_AT) - 1));
                let next = single.get(seen).copied().unwrap_or_default();
                let (run, n_bits) = (next.symbol >> 4, next.symbol & 15);
                let step = match (run, n_bits) {
                    (15, 0) => entry.step + 16,
                    (_, 0) => entry.step | END,
                    _ => entry.step + run + 1,
                };
                let is_whole = next.len > 0 && u32::from(entry.step_bits + next.len) <= LOOKED_AT;
                if !is_whole || step & !END > 63 {
                    break;
                }
                entry.step_bits += next.len + n_bits;
                entry.step = step;
            }
        }
        self
    }

    /// A table of means: its symbols are lengths of differences.
    pub(super) fn of_means(codes: &Codes) -> Option<Self> {
        let is_fit = codes.symbols.iter().all(|symbol| *symbol < 16);
        if is_fit { Self::new(codes) } else { None }
    }

    /// The next symbol; its code is among the bits that are ready.
    #[inline]
    pub(super) fn symbol<R: BufRead + Seek>(
        &self,
        bits: &mut Bits<'_, '_, R>,
    ) -> Result<u8, Refusal> {
        let entry = self.entry(bits);
        if entry.len == 0 {
            return self.long_symbol(bits);
        }
        bits.skip(entry.len.into());
        Ok(entry.symbol)
    }

    /// Steps over the codes of a block's coefficients, of which the next is number `at`.
    #[inline]
    pub(super) fn step<R: BufRead + Seek>(
        &self,
        mut at: u32,
        bits: &mut Bits<'_, '_, R>,
    ) -> Result<(), Refusal> {
        while at < 64 {
            bits.refill()?;
            let entry = self.entry(bits);
            let behind = at + u32::from(entry.step & !END);
            let is_end = entry.step >= END;
            // What follows the last coefficient belongs to the next block.
            if entry.step_bits > 0 && behind + u32::from(is_end) <= 64 {
                bits.skip(entry.step_bits.into());
                if is_end {
                    return Ok(());
                }
                at = behind;
                continue;
            }
            let symbol = self.symbol(bits)?;
            let (run, n_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            bits.skip(n_bits);
            at = match (run, n_bits) {
                (15, 0) => at + 16,
                (_, 0) => 64,
                _ => at + run + 1,
            };
        }
        if at > 64 { Err(Refusal::Corrupt) } else { Ok(()) }
    }

    #[inline]
    fn entry<R: BufRead + Seek>(&self, bits: &Bits<'_, '_, R>) -> Entry {
        self.entries.get(place(bits.peek(LOOKED_AT))).copied().unwrap_or_default()
    }

    #[cold]
    fn long_symbol<R: BufRead + Seek>(&self, bits: &mut Bits<'_, '_, R>) -> Result<u8, Refusal> {
        let next = bits.peek(16);
        let found = (1_u32..).zip(&self.lengths).find(|(_, (limit, _))| next < *limit);
        let (len, (_, offset)) = found.ok_or(Refusal::Corrupt)?;
        bits.skip(len);
        let code = i64::try_from(next >> (16 - len)).map_err(|_| Refusal::Corrupt)?;
        let symbol = usize::try_from(code + offset).ok().and_then(|at| self.symbols.get(at));
        symbol.copied().ok_or(Refusal::Corrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::super::standard;
    use super::*;
    use crate::scan::Scan;
    use std::io::Cursor;

    fn tables() -> [Codes; 4] {
        let (mut means, mut others) = Default::default();
        standard::fill(&mut means, &mut others);
        let [[a, b, ..], [c, d, ..]] = [means, others];
        [a, b, c, d].map(Option::unwrap)
    }

    /// One symbol after the other.
    fn plain(codes: &Decoder, bits: &mut Bits<'_, '_, Cursor<Vec<u8>>>) -> Result<(), Refusal> {
        let mut at = 1;
        while at < 64 {
            bits.refill()?;
            let symbol = codes.symbol(bits)?;
            bits.skip((symbol & 15).into());
            at += match symbol {
                0xF0 => 16,
                _ if symbol & 15 == 0 => return Ok(()),
                _ => u32::from(symbol >> 4) + 1,
            };
        }
        if at > 64 { Err(Refusal::Corrupt) } else { Ok(()) }
    }

    #[test]
    fn steps_come_to_where_single_symbols_come() {
        // Codes of one bit, so that a step holds as many as there are.
        let run = Codes { counts: [1; 16], symbols: vec![0xF0; 16] };
        let short = Codes {
            counts: [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            symbols: vec![0xF0, 0x01, 0],
        };
        let mut n_blocks = 0;
        for codes in tables().into_iter().skip(2).chain([run, short]) {
            let mut rng = 0x2545_F491_4F6C_DD1D_u64;
            for _ in 0..300 {
                let body: Vec<u8> = (0..300)
                    .flat_map(|_| {
                        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        rng.to_be_bytes()[..2].to_vec()
                    })
                    .filter(|byte| *byte != 0xFF)
                    .chain([0xFF, 0xD9])
                    .collect();
                let len = body.len().try_into().unwrap();
                let (mut a, mut b) = (Cursor::new(body.clone()), Cursor::new(body));
                let (mut a, mut b) =
                    (Scan::start(&mut a, len).unwrap(), Scan::start(&mut b, len).unwrap());
                let (mut a, mut b) = (Bits::start(&mut a), Bits::start(&mut b));
                let decoder = Decoder::new(&codes).unwrap();
                let stepping = Decoder::new(&codes).unwrap().with_steps();
                loop {
                    let verdict = plain(&decoder, &mut a);
                    assert_eq!(stepping.step(1, &mut b), verdict);
                    if verdict.is_err() || a.end().is_err() {
                        break;
                    }
                    a.refill().unwrap();
                    b.refill().unwrap();
                    assert_eq!(a.peek(32), b.peek(32));
                    n_blocks += 1;
                }
            }
        }
        assert!(n_blocks > 1000, "{n_blocks}");
    }

    #[test]
    fn tables_with_more_codes_than_there_are_are_none() {
        let table = |counts: &[u8]| {
            let mut all = [0; 16];
            all[..counts.len()].copy_from_slice(counts);
            let n = counts.iter().map(|count| usize::from(*count)).sum();
            Decoder::new(&Codes { counts: all, symbols: vec![1; n] }).is_some()
        };
        assert!(table(&[]) && table(&[1]) && table(&[1, 1, 1]) && table(&[0, 3]));
        assert!(!table(&[2]), "all ones");
        assert!(!table(&[1, 2]) && !table(&[3]) && !table(&[1, 1, 4]) && !table(&[255; 16]));
    }

    #[test]
    fn means_have_lengths_below_sixteen() {
        let [means, _, others, _] = tables();
        assert!(Decoder::of_means(&means).is_some());
        assert!(Decoder::of_means(&others).is_none());
    }
}
