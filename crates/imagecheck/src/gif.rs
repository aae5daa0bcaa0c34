//! GIF: blocks and their sub-blocks up to the trailer.
//!
//! Source: GIF89a specification, sections 15 to 27: <https://www.w3.org/Graphics/GIF/spec-gif89a.txt>.

use super::{Size, scan::Scan};
use crate::{Level, Refusal};
use std::io::{BufRead, Seek};

/// Reads the dimensions and, above fast, walks all blocks.
///
/// Readers cut a frame that hangs over the screen's edge; one that begins outside shows nothing
/// and is refused. What follows the trailer is not looked at.
pub(super) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    scan.skip(6)?;
    let [w0, w1, h0, h1, flags, _background, _aspect] = scan.array()?;
    let size = Size::checked(u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]))?;
    if level != Level::Fast {
        skip_colours(scan, flags)?;
        walk(scan, size)?;
    }
    Ok(size)
}

fn walk<R: BufRead + Seek>(scan: &mut Scan<'_, R>, screen: Size) -> Result<(), Refusal> {
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
            _ => return Err(Refusal::Corrupt),
        }
    }
}

fn frame<R: BufRead + Seek>(scan: &mut Scan<'_, R>, screen: Size) -> Result<(), Refusal> {
    let [x0, x1, y0, y1, w0, w1, h0, h1, flags] = scan.array()?;
    let [left, top, width, height] =
        [[x0, x1], [y0, y1], [w0, w1], [h0, h1]].map(|bytes| u32::from(u16::from_le_bytes(bytes)));
    Size::checked(width, height)?;
    if !screen.holds(left, top, 1, 1) {
        return Err(Refusal::Corrupt);
    }
    skip_colours(scan, flags)?;
    // Codes have one bit more than this and at most twelve.
    if !(1..=11).contains(&scan.byte()?) {
        return Err(Refusal::Corrupt);
    }
    skip_sub_blocks(scan)
}

/// Steps over the colour table that the flags announce.
fn skip_colours<R: BufRead + Seek>(scan: &mut Scan<'_, R>, flags: u8) -> Result<(), Refusal> {
    if flags & 0x80 == 0 {
        return Ok(());
    }
    scan.skip(3 << ((flags & 7) + 1))
}

fn skip_sub_blocks<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<(), Refusal> {
    loop {
        match scan.byte()? {
            0 => return Ok(()),
            n => scan.skip(n.into())?,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "decode")]
mod tests {
    use super::super::sample::{gif, look, refusal, size};
    use super::*;

    /// Case 96: a screen of 65,535 pixels a side.
    #[test]
    fn the_screen_is_checked_before_anything_behind_it() {
        let screen = |width: u16, height: u16| {
            let sides = [width, height].map(u16::to_le_bytes);
            refusal(&[b"GIF89a", sides.as_flattened(), &[0; 3]].concat())
        };
        assert_eq!(screen(65_535, 65_535), Some(Refusal::TooLarge));
        assert_eq!(screen(0, 32), Some(Refusal::Corrupt));
        assert_eq!(screen(32, 0), Some(Refusal::Corrupt));
    }

    /// Case 97: 20,000 frames.
    #[test]
    fn many_frames_are_walked() {
        assert_eq!(size(&gif(&vec![(0, 0, 1, 1); 20_000])), Ok((1, 1)));
    }

    /// Case 98: frames outside the screen, over its edge, and too large in themselves.
    #[test]
    fn frames_begin_on_the_screen() {
        assert_eq!(size(&gif(&[(0, 0, 9, 9)])), Ok((1, 1)));
        assert_eq!(refusal(&gif(&[(1, 0, 1, 1)])), Some(Refusal::Corrupt));
        assert_eq!(refusal(&gif(&[(32_767, 32_767, 16, 16)])), Some(Refusal::Corrupt));
        assert_eq!(refusal(&gif(&[(0, 0, 0, 1)])), Some(Refusal::Corrupt));
        assert_eq!(refusal(&gif(&[(0, 0, 65_535, 1)])), Some(Refusal::TooLarge));
    }

    #[test]
    fn blocks_are_checked() {
        let screen = b"GIF87a\x01\0\x01\0\0\0\0".to_vec();
        let file = |blocks: &[u8]| refusal(&[&screen[..], blocks].concat());
        let frame = |code_size: u8| [b",\0\0\0\0\x01\0\x01\0\0", &[code_size, 0][..]].concat();
        assert_eq!(file(&[&frame(2)[..], b";"].concat()), None);
        assert_eq!(file(&[b"!\x99\x03abc\0", &frame(2)[..], b";"].concat()), None);
        assert_eq!(file(b";"), Some(Refusal::Corrupt));
        assert_eq!(file(b"!\xfe\0;"), Some(Refusal::Corrupt));
        assert_eq!(file(b"?"), Some(Refusal::Corrupt));
        assert_eq!(file(&[&frame(0)[..], b";"].concat()), Some(Refusal::Corrupt));
        assert_eq!(file(&[&frame(12)[..], b";"].concat()), Some(Refusal::Corrupt));
        assert_eq!(file(&frame(2)), Some(Refusal::Truncated));
    }

    #[test]
    fn codes_that_say_nothing_are_found_at_slow() {
        let mut file = gif(&[(0, 0, 1, 1)]);
        let at = file.len() - 4;
        file[at] = 0xFF;
        assert_eq!(size(&file), Ok((1, 1)));
        assert_eq!(look(&file, Level::Slow), Err(Refusal::Corrupt));
    }
}
