//! The codes of facsimile machines: runs of white and black, row by row.
//!
//! Sources: ITU-T [T.4](https://www.itu.int/rec/T-REC-T.4) (group 3: sections 4.1 and 4.2) and
//! [T.6](https://www.itu.int/rec/T-REC-T.6) (group 4), and TIFF 6.0, sections 10 and 11. The tables of codes
//! are those of the crate `fax`, which decodes neither rows without end marks nor group 3 in two dimensions.

use crate::{Refusal, scan::Scan};
use fax::{
    BitReader as _, ByteReader,
    maps::{Mode, black, mode, white},
};
use std::io::{BufRead, Seek};

/// How rows follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Compression 2: each begins with a byte.
    Bytes,
    /// Compression 3: a mark stands before each. In two dimensions the bit behind it says which kind it is.
    Marked { in_two_dimensions: bool },
    /// Compression 4: one directly behind the other, in two dimensions.
    Dense,
}

/// How much a byte of codes counts: it may have eight of them.
pub(super) const WORK_A_BYTE: u64 = 32;

/// So many zeros are no code: a mark begins with them.
const MARK_ZEROS: u8 = 9;

/// Checks that a strip or tile has codes for all its pixels.
///
/// # Errors
///
/// [`Refusal::Corrupt`] when it has not.
pub(super) fn check<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    len: u64,
    rows: Rows,
    (width, height): (u64, u64),
    is_reversed: bool,
) -> Result<(), Refusal> {
    let width = u16::try_from(width).map_err(|_| Refusal::TooLarge)?;
    let bytes = (0..len).map(|_| scan.byte());
    let bytes =
        bytes.map(|byte| byte.map(|byte| if is_reversed { byte.reverse_bits() } else { byte }));
    // The tables look ahead, also behind the last code.
    let mut page = Page {
        bits: ByteReader::new(bytes.chain([Ok(0), Ok(0)]))?,
        rows,
        width,
        above: Vec::new(),
        row: Vec::new(),
    };
    for _ in 0..height {
        page.next()?;
    }
    Ok(())
}

/// Where the rows are read from, and the places at which the colour changes: at even ones of them to black, as
/// each row begins with white.
struct Page<I> {
    bits: ByteReader<I>,
    rows: Rows,
    width: u16,
    above: Vec<u16>,
    row: Vec<u16>,
}

impl<I: Iterator<Item = Result<u8, Refusal>>> Page<I> {
    fn next(&mut self) -> Result<(), Refusal> {
        std::mem::swap(&mut self.above, &mut self.row);
        self.row.clear();
        match self.rows {
            Rows::Bytes => {
                self.bits.consume(self.bits.bits_to_byte_boundary())?;
                self.runs()
            }
            Rows::Marked { in_two_dimensions } => {
                self.mark()?;
                if in_two_dimensions && !self.bit()? { self.changes() } else { self.runs() }
            }
            Rows::Dense => self.changes(),
        }
    }

    fn bit(&mut self) -> Result<bool, Refusal> {
        let bit = self.bits.peek(1).ok_or(Refusal::Corrupt)?;
        self.bits.consume(1)?;
        Ok(bit == 1)
    }

    /// Steps over the mark before a row, which may be missing.
    fn mark(&mut self) -> Result<(), Refusal> {
        if self.is_at_mark() {
            while !self.bit()? {}
        }
        Ok(())
    }

    fn is_at_mark(&self) -> bool {
        self.bits.peek(MARK_ZEROS) == Some(0)
    }

    /// A row of runs.
    fn runs(&mut self) -> Result<(), Refusal> {
        let mut at = 0;
        while at < self.width {
            at = self.run(at)?;
        }
        Ok(())
    }

    /// A run of the colour whose turn it is, from here on; its end.
    fn run(&mut self, mut at: u16) -> Result<u16, Refusal> {
        let is_white = self.row.len().is_multiple_of(2);
        loop {
            let table = if is_white { white::decode } else { black::decode };
            let n = table(&mut self.bits).ok_or(Refusal::Corrupt)?;
            at = at.checked_add(n).filter(|at| *at <= self.width).ok_or(Refusal::Corrupt)?;
            // Longer runs begin with multiples of 64.
            if n < 64 {
                return self.change(at);
            }
            // Where one ends the row, some encoders leave it there, and the mark follows.
            if at == self.width && matches!(self.rows, Rows::Marked { .. }) && self.is_at_mark() {
                self.mark()?;
                return self.change(at);
            }
        }
    }

    /// Notes a change of colour. Of runs without pixels there may be some, and not any number.
    fn change(&mut self, at: u16) -> Result<u16, Refusal> {
        if self.row.len() > 2 * usize::from(self.width) {
            return Err(Refusal::Corrupt);
        }
        self.row.push(at);
        Ok(at)
    }

    /// A row of changes against those of the row above.
    fn changes(&mut self) -> Result<(), Refusal> {
        // Before the row, and then where it is decoded to.
        let mut at = None;
        let mut next = 0;
        while at.unwrap_or(0) < self.width {
            let is_right = |change: &u16| at.is_none_or(|at| *change > at);
            while self.above.get(next).is_some_and(|change| !is_right(change)) {
                next += 1;
            }
            // The first one to the right that changes to the other colour, and the one behind it.
            let first = next + usize::from(next % 2 != self.row.len() % 2);
            let above = |index| self.above.get(index).copied().unwrap_or(self.width);
            let (first, second) = (above(first), above(first + 1));
            at = Some(match mode::decode(&mut self.bits).ok_or(Refusal::Corrupt)? {
                Mode::Pass => second,
                Mode::Horizontal => {
                    let end = self.run(at.unwrap_or(0))?;
                    self.run(end)?
                }
                Mode::Vertical(by) => {
                    let end = first.checked_add_signed(by.into()).ok_or(Refusal::Corrupt)?;
                    if end < at.unwrap_or(0) || end > self.width {
                        return Err(Refusal::Corrupt);
                    }
                    self.change(end)?
                }
                Mode::Extension | Mode::EOF => return Err(Refusal::Corrupt),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Bytes of these bits, filled up with zeros.
    fn bytes(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(u8::is_ascii_digit).map(|bit| bit & 1).collect();
        let byte = |bits: &[u8]| (0..8).fold(0, |byte, n| byte << 1 | bits.get(n).unwrap_or(&0));
        bits.chunks(8).map(byte).collect()
    }

    fn verdict(bits: &str, rows: Rows, size: (u64, u64)) -> Result<(), Refusal> {
        let bytes = bytes(bits);
        let turned: Vec<u8> = bytes.iter().map(|byte| byte.reverse_bits()).collect();
        let of = |bytes: Vec<u8>, is_reversed| {
            let len = bytes.len().try_into().unwrap();
            let mut body = Cursor::new(bytes);
            check(&mut Scan::start(&mut body, len).unwrap(), len, rows, size, is_reversed)
        };
        let verdict = of(bytes, false);
        assert_eq!(of(turned, true), verdict);
        verdict
    }

    const ONE: Rows = Rows::Marked { in_two_dimensions: false };
    const TWO: Rows = Rows::Marked { in_two_dimensions: true };
    /// Four white pixels, three black ones, one white.
    const ROW: &str = "1011 10 000111";
    const MARK: &str = "000000000001";

    /// Case 291: rows of every kind are read, as wide as the picture and no wider, to the last one.
    #[test]
    fn rows_are_as_wide_as_the_picture() {
        let (mark, row) = (MARK, ROW);
        let whole = [
            (Rows::Bytes, format!("{row} 0000 {row}")),
            (ONE, format!("{mark} {row} {mark} {row} {mark}{mark}")),
            (ONE, format!("0000000000 {mark} {row} 000 {mark} {row}")),
            (ONE, format!("{row} {row}")),
            (TWO, format!("{mark}1 {row} {mark}0 1 1 1")),
            (Rows::Dense, "001 1011 10 1 1 1 1".into()),
            // One to the left and one to the right; then over both changes.
            (Rows::Dense, "001 1011 10 1  010 011".into()),
            (Rows::Dense, "001 1011 10 1  0001 1".into()),
        ];
        for (rows, bits) in whole {
            assert_eq!(verdict(&bits, rows, (8, 2)), Ok(()), "{rows:?} {bits}");
            for size in [(8, 4), (7, 2), (9, 2)] {
                // Changes against the row above fit pictures of other widths, too.
                if rows != Rows::Dense || size.1 > 2 {
                    let refused = verdict(&bits, rows, size);
                    assert_eq!(refused, Err(Refusal::Corrupt), "{size:?} {bits}");
                }
            }
        }
    }

    /// A run of more than 63 pixels has two codes or more; runs without pixels end.
    #[test]
    fn runs_are_long_or_without_pixels() {
        // 2560 + 64 + 2 white ones.
        let long = "000000011111 11011 0111";
        assert_eq!(verdict(long, Rows::Bytes, (2626, 1)), Ok(()));
        assert_eq!(verdict("000000011111", Rows::Bytes, (2560, 1)), Err(Refusal::Corrupt));
        let none = "00110101 0000110111";
        assert_eq!(verdict(&format!("{none} {ROW}"), Rows::Bytes, (8, 1)), Ok(()));
        let many = none.repeat(9);
        assert_eq!(verdict(&format!("{many} {ROW}"), Rows::Bytes, (8, 1)), Err(Refusal::Corrupt));
    }

    /// Case 482: the last run of a row is a multiple of 64, and has no code for the rest, which is none.
    #[test]
    fn a_mark_ends_a_run() {
        // All white, then all black, each without the code for no pixels more.
        let rows = format!("{MARK} 11011 {MARK} 00110101 0000001111 {MARK}");
        assert_eq!(verdict(&rows, ONE, (64, 2)), Ok(()));
        for size in [(63, 2), (65, 2), (128, 2), (64, 3)] {
            assert_eq!(verdict(&rows, ONE, size), Err(Refusal::Corrupt), "{size:?}");
        }
        let two = format!("{MARK}1 11011 {MARK}0 1 {MARK}1 00110101 0000001111 {MARK}");
        assert_eq!(verdict(&two, TWO, (64, 3)), Ok(()));
        // Without marks, and where the data ends, it has to be there.
        let row = format!("11011 {MARK}");
        assert_eq!(verdict(&row, Rows::Bytes, (64, 1)), Err(Refusal::Corrupt));
        assert_eq!(verdict("11011", ONE, (64, 1)), Err(Refusal::Corrupt));
    }

    /// Nothing that is no code goes on for ever, or panics.
    #[test]
    fn what_is_no_code_is_corrupt() {
        let mut rng = fastrand::Rng::with_seed(7);
        for rows in [Rows::Bytes, ONE, TWO, Rows::Dense] {
            assert_eq!(verdict("", rows, (8, 1)), Err(Refusal::Corrupt));
            assert_eq!(verdict(&"0".repeat(80), rows, (8, 1)), Err(Refusal::Corrupt));
            for _ in 0..2000 {
                let bits: String =
                    (0..rng.usize(..300)).map(|_| if rng.bool() { '1' } else { '0' }).collect();
                let refused = verdict(&bits, rows, (rng.u64(1..100), rng.u64(1..9))).err();
                assert!(matches!(refused, None | Some(Refusal::Corrupt)), "{refused:?} {bits}");
            }
        }
    }
}
