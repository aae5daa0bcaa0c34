//! The tables of a JPEG, as far as a decoder refuses a picture for them before it reads any code.
//!
//! Sources: [ITU-T T.81](https://www.w3.org/Graphics/JPEG/itu-t81.pdf), quantization tables
//! (B.2.4.1), Huffman tables (B.2.4.2) and how their codes follow from the lengths (C.2). What is an
//! error and what is not: libjpeg-turbo, `jdmarker.c`, `jdhuff.c`, `jdphuff.c` and `jdinput.c`.

use super::segment_len;
use crate::{Refusal, scan::Scan};
use std::io::{BufRead, Seek};

/// The tables that were defined so far; there are four places for each kind.
#[derive(Default)]
pub(super) struct Tables {
    quantization: [bool; 4],
    dc: [Huffman; 4],
    ac: [Huffman; 4],
}

/// What is known of a Huffman table.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Huffman {
    #[default]
    Missing,
    Sound,
    /// The codes do not fit their lengths, or a value means nothing.
    Broken,
}

impl Tables {
    /// Reads the segment of quantization tables.
    pub(super) fn define_quantization<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
    ) -> Result<(), Refusal> {
        let mut left = segment_len(scan)?;
        while left > 0 {
            let head = scan.byte()?;
            let len = if head >> 4 == 0 { 64 } else { 128 };
            left = left.checked_sub(1 + len).ok_or(Refusal::Corrupt)?;
            scan.skip(len)?;
            *self.quantization.get_mut(usize::from(head & 15)).ok_or(Refusal::Corrupt)? = true;
        }
        Ok(())
    }

    /// Reads the segment of Huffman tables.
    pub(super) fn define_huffman<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
    ) -> Result<(), Refusal> {
        let mut left = segment_len(scan)?;
        while left > 0 {
            let head = scan.byte()?;
            let counts: [u8; 16] = scan.array()?;
            let n: u64 = counts.iter().map(|count| u64::from(*count)).sum();
            left = left.checked_sub(17 + n).ok_or(Refusal::Corrupt)?;
            if n > 256 {
                return Err(Refusal::Corrupt);
            }
            let is_dc = head & 0x10 == 0;
            let mut is_sound = codes_fit(counts);
            for _ in 0..n {
                let value = scan.byte()?;
                is_sound &= !is_dc || value <= 15;
            }
            let tables = if is_dc { &mut self.dc } else { &mut self.ac };
            let table = tables.get_mut(usize::from(head & !0x10)).ok_or(Refusal::Corrupt)?;
            *table = if is_sound { Huffman::Sound } else { Huffman::Broken };
        }
        Ok(())
    }

    /// Checks that a component's quantization table is there when its first scan begins.
    pub(super) fn needs_quantization(&self, table: u8) -> Result<(), Refusal> {
        match self.quantization.get(usize::from(table)) {
            Some(true) => Ok(()),
            _ => Err(Refusal::Corrupt),
        }
    }

    /// Checks the table for DC coefficients that a scan names.
    pub(super) fn needs_dc(&self, table: u8, has_defaults: bool) -> Result<(), Refusal> {
        check(self.dc.get(usize::from(table)), table, has_defaults)
    }

    /// Checks the table for AC coefficients that a scan names.
    pub(super) fn needs_ac(&self, table: u8, has_defaults: bool) -> Result<(), Refusal> {
        check(self.ac.get(usize::from(table)), table, has_defaults)
    }
}

/// Pictures of a motion JPEG leave the usual tables out, which have the numbers 0 and 1.
fn check(found: Option<&Huffman>, table: u8, has_defaults: bool) -> Result<(), Refusal> {
    match found {
        Some(Huffman::Sound) => Ok(()),
        Some(Huffman::Missing) if has_defaults && table < 2 => Ok(()),
        _ => Err(Refusal::Corrupt),
    }
}

/// Whether codes of these lengths exist; no code consists of ones only.
fn codes_fit(counts: [u8; 16]) -> bool {
    let mut code = 0_u32;
    counts.iter().zip(1..).all(|(&count, bits)| {
        code = (code << 1) + u32::from(count);
        // Lengths before the first code and behind the last one are not looked at.
        count == 0 || code < 1 << bits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fit_their_lengths() {
        let counts = |at: usize, n| {
            let mut counts = [0; 16];
            counts[at] = n;
            counts
        };
        assert!(codes_fit(counts(0, 1)));
        assert!(!codes_fit(counts(0, 2)));
        assert!(codes_fit(counts(7, 255)));
        assert!(codes_fit([0; 16]));
        assert!(!codes_fit([1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    }
}
