//! What one scan says of each block: the procedures of a sequential and of a progressive picture.
//!
//! Source: T.81, F.2.2 (sequential), G.1.2 and G.2 (progressive), with the figures F.12 to F.16 and
//! G.3 to G.7. Where the data say nothing that a decoder could follow, the picture is corrupt; what
//! libjpeg follows without a warning is followed.

use super::bits::Bits;
use super::huffman::Decoder;
use super::plane::Plane;
use crate::Refusal;
use std::io::{BufRead, Seek};

/// Which coefficients a scan brings, and of them which bits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pass {
    /// All of them.
    Sequential,
    /// The means, without their lowest bits.
    FirstMeans { shift: u8 },
    /// One more bit of each mean.
    NextMeans { shift: u8 },
    /// The coefficients of a band, first and behind the last, without their lowest bits.
    FirstBand { band: (u32, u32), shift: u8 },
    /// One more bit of each coefficient of a band.
    NextBand { band: (u32, u32), shift: u8 },
}

impl Pass {
    /// What a scan of a progressive picture brings, by the end of its header; none for what libjpeg
    /// refuses (G.1.1.1.1).
    pub(super) fn progressive([start, end, bits]: [u8; 3], n_components: usize) -> Option<Self> {
        let (high, shift) = (bits >> 4, bits & 15);
        let is_first = high == 0;
        if shift > 13 || !is_first && shift + 1 != high {
            return None;
        }
        match (start, end) {
            (0, 0) if is_first => Some(Self::FirstMeans { shift }),
            (0, 0) => Some(Self::NextMeans { shift }),
            (1.., ..64) if start <= end && n_components == 1 => {
                let band = (start.into(), u32::from(end) + 1);
                Some(if is_first {
                    Self::FirstBand { band, shift }
                } else {
                    Self::NextBand { band, shift }
                })
            }
            _ => None,
        }
    }

    /// Whether the scan has codes of means, and codes of other coefficients.
    pub(super) fn codes(self) -> (bool, bool) {
        match self {
            Self::Sequential => (true, true),
            Self::FirstMeans { .. } => (true, false),
            Self::NextMeans { .. } => (false, false),
            Self::FirstBand { .. } | Self::NextBand { .. } => (false, true),
        }
    }
}

/// A component's part in a scan.
#[derive(Debug)]
pub(super) struct Member<'t> {
    /// Which component of the frame it is.
    pub(super) component: usize,
    pub(super) means: Option<&'t Decoder>,
    pub(super) others: Option<&'t Decoder>,
    /// The mean of the block before.
    pub(super) mean: i32,
}

/// What lasts from block to block.
#[derive(Debug)]
pub(super) struct Reader<'s, 'b, R> {
    pub(super) bits: Bits<'s, 'b, R>,
    /// Further blocks that bring nothing new for their band.
    pub(super) n_empty: u32,
}

impl<R: BufRead + Seek> Reader<'_, '_, R> {
    /// Goes over restart marker `n`, behind which nothing is known of what was before it.
    pub(super) fn restart(&mut self, n: u8, members: &mut [Member<'_>]) -> Result<(), Refusal> {
        self.n_empty = 0;
        members.iter_mut().for_each(|member| member.mean = 0);
        self.bits.restart(n)
    }

    /// Reads a block.
    #[inline]
    pub(super) fn block(
        &mut self,
        pass: Pass,
        member: &mut Member<'_>,
        plane: &mut Plane,
        block: usize,
    ) -> Result<(), Refusal> {
        match pass {
            Pass::Sequential => {
                self.mean(member, plane, block, 0)?;
                let others = member.others.ok_or(Refusal::Corrupt)?;
                if !plane.keeps_all() {
                    return others.step(1, &mut self.bits);
                }
                self.coefficients(others, plane, block)
            }
            Pass::FirstMeans { shift } => self.mean(member, plane, block, shift),
            Pass::NextMeans { shift } => {
                if self.bits.flag()?
                    && let Some(mean) = plane.coefficient(block, 0)
                {
                    *mean |= 1 << shift;
                }
                Ok(())
            }
            Pass::FirstBand { band, shift } => {
                let codes = member.others.ok_or(Refusal::Corrupt)?;
                self.first_band(codes, plane, block, band, shift)
            }
            Pass::NextBand { band, shift } => {
                let codes = member.others.ok_or(Refusal::Corrupt)?;
                self.next_band(codes, plane, block, band, shift)
            }
        }
    }

    #[inline]
    fn mean(
        &mut self,
        member: &mut Member<'_>,
        plane: &mut Plane,
        block: usize,
        shift: u8,
    ) -> Result<(), Refusal> {
        self.bits.refill()?;
        let n_bits = member.means.ok_or(Refusal::Corrupt)?.symbol(&mut self.bits)?;
        member.mean = member.mean.saturating_add(self.bits.signed(n_bits.into()));
        if let Some(mean) = plane.coefficient(block, 0) {
            *mean = stored(member.mean, shift);
        }
        Ok(())
    }

    /// All coefficients but the mean.
    fn coefficients(
        &mut self,
        codes: &Decoder,
        plane: &mut Plane,
        block: usize,
    ) -> Result<(), Refusal> {
        let mut at = 1;
        while at < 64 {
            self.bits.refill()?;
            let symbol = codes.symbol(&mut self.bits)?;
            match (u32::from(symbol >> 4), u32::from(symbol & 15)) {
                (15, 0) => at += 16,
                (_, 0) => return Ok(()),
                (run, n_bits) => {
                    let value = self.bits.signed(n_bits);
                    if let Some(coefficient) = plane.coefficient(block, at + run) {
                        *coefficient = stored(value, 0);
                    }
                    at += run + 1;
                }
            }
        }
        if at > 64 { Err(Refusal::Corrupt) } else { Ok(()) }
    }

    #[inline]
    fn first_band(
        &mut self,
        codes: &Decoder,
        plane: &mut Plane,
        block: usize,
        (mut at, end): (u32, u32),
        shift: u8,
    ) -> Result<(), Refusal> {
        if self.n_empty > 0 {
            self.n_empty -= 1;
            return Ok(());
        }
        let mut nonzero = 0_u64;
        while at < end {
            self.bits.refill()?;
            let symbol = codes.symbol(&mut self.bits)?;
            match (u32::from(symbol >> 4), u32::from(symbol & 15)) {
                (15, 0) => at += 16,
                (run, 0) => {
                    self.n_empty = self.empty_blocks(run) - 1;
                    break;
                }
                (run, n_bits) => {
                    at += run;
                    let value = self.bits.signed(n_bits);
                    nonzero |= 1_u64.checked_shl(at).unwrap_or_default();
                    if let Some(coefficient) = plane.coefficient(block, at) {
                        *coefficient = stored(value, shift);
                    }
                    at += 1;
                }
            }
        }
        if let Some(all) = plane.nonzero(block) {
            *all |= nonzero;
        }
        if at > end { Err(Refusal::Corrupt) } else { Ok(()) }
    }

    /// How many blocks end here, this one included.
    fn empty_blocks(&mut self, run: u32) -> u32 {
        (1 << run) + u32::try_from(self.bits.take(run)).unwrap_or_default()
    }

    #[inline]
    fn next_band(
        &mut self,
        codes: &Decoder,
        plane: &mut Plane,
        block: usize,
        (mut at, end): (u32, u32),
        shift: u8,
    ) -> Result<(), Refusal> {
        let before = plane.nonzero(block).map_or(0, |nonzero| *nonzero);
        let mut nonzero = before;
        while self.n_empty == 0 && at < end {
            self.bits.refill()?;
            let symbol = codes.symbol(&mut self.bits)?;
            let (run, n_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if n_bits == 0 && run < 15 {
                self.n_empty = self.empty_blocks(run);
                break;
            }
            // A new coefficient is one step large: its sign comes before the bits of those it passes.
            let value = match n_bits {
                0 => 0,
                1 => stored(if self.bits.take(1) == 1 { 1 } else { -1 }, shift),
                _ => return Err(Refusal::Corrupt),
            };
            let next = behind_zeros(before, (at, end), run);
            self.refine(plane, block, before & range(at, next), shift)?;
            at = next;
            if value != 0 {
                if at >= end {
                    return Err(Refusal::Corrupt);
                }
                nonzero |= 1_u64.checked_shl(at).unwrap_or_default();
                if let Some(coefficient) = plane.coefficient(block, at) {
                    *coefficient = value;
                }
            }
            at += 1;
        }
        if self.n_empty > 0 {
            self.n_empty -= 1;
            self.refine(plane, block, before & range(at, end), shift)?;
        }
        if let Some(all) = plane.nonzero(block) {
            *all = nonzero;
        }
        Ok(())
    }

    /// Takes one more bit of each of these coefficients.
    #[inline]
    fn refine(
        &mut self,
        plane: &mut Plane,
        block: usize,
        mut which: u64,
        shift: u8,
    ) -> Result<(), Refusal> {
        if !plane.keeps_all() {
            return self.bits.pass(which.count_ones());
        }
        while which != 0 {
            let at = which.trailing_zeros();
            if self.bits.flag()?
                && let Some(value) = plane.coefficient(block, at)
            {
                *value = value.saturating_add(value.signum() << shift);
            }
            which &= which - 1;
        }
        Ok(())
    }
}

/// The bits `start` to `end`, that one not included.
#[inline]
fn range(start: u32, end: u32) -> u64 {
    let below = |at: u32| 1_u64.checked_shl(at).map_or(u64::MAX, |bit| bit - 1);
    below(end) & !below(start)
}

/// The place behind `run` zeros from `start` on: that of the next zero, or `end`.
#[inline]
fn behind_zeros(nonzero: u64, (start, end): (u32, u32), run: u32) -> u32 {
    let mut zeros = !nonzero & range(start, end);
    for _ in 0..run {
        zeros &= zeros.saturating_sub(1);
    }
    if zeros == 0 { end } else { zeros.trailing_zeros() }
}

/// A value as it is kept.
#[inline]
fn stored(value: i32, shift: u8) -> i16 {
    let value = i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX });
    value.wrapping_shl(shift.into())
}

#[cfg(test)]
mod tests {
    use super::super::huffman::Codes;
    use super::super::plane::Kept;
    use super::*;
    use crate::scan::Scan;
    use std::io::Cursor;

    /// 00: the block ends; 01: so do two or three; 10: a coefficient; 110: 16 zeros; 1110: a zero, a
    /// coefficient.
    fn codes() -> Decoder {
        let mut counts = [0; 16];
        counts[1..4].copy_from_slice(&[3, 1, 1]);
        Decoder::new(&Codes { counts, symbols: vec![0, 0x10, 0x01, 0xF0, 0x11] }).unwrap()
    }

    /// Reads three blocks of a plane, of which all or only the means are kept.
    fn read(plane: &mut Plane, pass: Pass, bits: &str) -> Result<(), Refusal> {
        let bits: String = bits.split(' ').collect();
        let bytes = bits.as_bytes().chunks(8).map(|byte| {
            let digits = format!("{:0<8}", std::str::from_utf8(byte).unwrap());
            u8::from_str_radix(&digits, 2).unwrap()
        });
        let body: Vec<u8> = bytes.chain([0xFF, 0xD9]).collect();
        let mut reader = Cursor::new(&body);
        let mut scan = Scan::start(&mut reader, body.len().try_into().unwrap()).unwrap();
        let mut reader = Reader { bits: Bits::start(&mut scan), n_empty: 0 };
        let codes = codes();
        let mut member = Member { component: 0, means: None, others: Some(&codes), mean: 0 };
        for block in 0..3 {
            reader.block(pass, &mut member, plane, block)?;
        }
        reader.bits.end()?;
        // Exactly these bits were taken: what fills the last byte is left.
        reader.bits.pass(u32::try_from(bits.len().next_multiple_of(8) - bits.len()).unwrap())?;
        reader.bits.end()?;
        assert_eq!((reader.bits.flag(), reader.bits.end()), (Ok(false), Err(Refusal::Corrupt)));
        Ok(())
    }

    fn plane(kept: Kept) -> Plane {
        Plane::new((1, 1), (24, 8), (3, 1), kept, true)
    }

    const FIRST: Pass = Pass::FirstBand { band: (1, 64), shift: 1 };
    const NEXT: Pass = Pass::NextBand { band: (1, 64), shift: 0 };

    /// The figures of T.81, G.1.2.2 and G.1.2.3, by hand.
    #[test]
    fn bands_come_bit_by_bit() {
        for kept in [Kept::All, Kept::Mean] {
            let mut plane = plane(kept);
            // 2 at 1, -2 at 3, and the end of three blocks.
            read(&mut plane, FIRST, "10 1 1110 0 01 1").unwrap();
            assert_eq!(plane.nonzero(0).copied(), Some(0b1010));
            // A zero is passed, with a bit more for 1 and 3; 1 at 4; the end of two blocks, and of one.
            read(&mut plane, NEXT, "1110 1 1 0 01 0 00").unwrap();
            assert_eq!(plane.nonzero(0).copied(), Some(0b1_1010));
            // The three of them have a bit each before the next block.
            read(&mut plane, NEXT, "01 1 1 1 0").unwrap();
            if kept == Kept::All {
                let values = [0, 1, 2, 3, 4, 5].map(|at| *plane.coefficient(0, at).unwrap());
                assert_eq!(values, [0, 4, 0, -3, 1, 0]);
            }
        }
    }

    #[test]
    fn nothing_lies_outside_a_band() {
        let band = |end| Pass::FirstBand { band: (1, end), shift: 0 };
        assert_eq!(read(&mut plane(Kept::Mean), band(3), "1110 1 01 0"), Ok(()));
        assert_eq!(read(&mut plane(Kept::Mean), band(2), "1110 1 01 0"), Err(Refusal::Corrupt));
        let band = |end| Pass::NextBand { band: (1, end), shift: 0 };
        assert_eq!(read(&mut plane(Kept::Mean), band(3), "1110 1 01 0"), Ok(()));
        assert_eq!(read(&mut plane(Kept::Mean), band(2), "1110 1 01 0"), Err(Refusal::Corrupt));
    }
}
