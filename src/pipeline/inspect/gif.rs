//! GIF: blocks and their sub-blocks up to the trailer.

use super::{Size, scan::Scan};
use crate::chunk::{Level, Reason};
use std::io::{BufRead, Seek};

/// Reads the dimensions and, above fast, walks all blocks.
///
/// A frame outside the screen is refused: readers disagree whether it is cut or the screen grows,
/// so the dimensions of such a file mean nothing. What follows the trailer is not looked at.
pub(super) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Reason> {
    scan.skip(6)?;
    let [w0, w1, h0, h1, flags, _background, _aspect] = scan.array()?;
    let size = Size::checked(u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]))?;
    if level != Level::Fast {
        skip_colours(scan, flags)?;
        walk(scan, size)?;
    }
    Ok(size)
}

fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, screen: Size) -> Result<(), Reason> {
    let mut has_frame = false;
    loop {
        match scan.byte()? {
            b',' => {
                frame(scan, screen)?;
                has_frame = true;
            }
            b'!' => {
                scan.skip(1)?;
                skip_sub_blocks(scan)?;
            }
            b';' if has_frame => return Ok(()),
            _ => return Err(Reason::Corrupt),
        }
    }
}

fn frame<R: BufRead + Seek>(scan: &mut Scan<'_, R>, screen: Size) -> Result<(), Reason> {
    let [x0, x1, y0, y1, w0, w1, h0, h1, flags] = scan.array()?;
    let [left, top, width, height] = [[x0, x1], [y0, y1], [w0, w1], [h0, h1]]
        .map(|bytes| u32::from(u16::from_le_bytes(bytes)));
    if width == 0 || height == 0 || !screen.holds(left, top, width, height) {
        return Err(Reason::Corrupt);
    }
    skip_colours(scan, flags)?;
    // Codes have one bit more than this and at most twelve.
    if !(1..=11).contains(&scan.byte()?) {
        return Err(Reason::Corrupt);
    }
    skip_sub_blocks(scan)
}

/// Steps over the colour table that the flags announce.
fn skip_colours<R: BufRead + Seek>(scan: &mut Scan<'_, R>, flags: u8) -> Result<(), Reason> {
    if flags & 0x80 == 0 {
        return Ok(());
    }
    scan.skip(3 << ((flags & 7) + 1))
}

fn skip_sub_blocks<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<(), Reason> {
    loop {
        match scan.byte()? {
            0 => return Ok(()),
            n => scan.skip(n.into())?,
        }
    }
}
