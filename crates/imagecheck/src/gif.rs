//! GIF: blocks and their sub-blocks up to the trailer.
//!
//! Source: [GIF89a](https://www.w3.org/Graphics/GIF/spec-gif89a.txt): data sub-blocks (section 15),
//! header (17), logical screen (18), colour tables (19, 21), image descriptor (20), image data (22),
//! extensions (23 to 26), trailer (27), compression (appendix F).

use crate::{Level, Refusal, Size, scan::Scan};
use std::io::{BufRead, Seek};

/// Reads the dimensions and, above fast, walks all blocks.
///
/// Section 20 wants each frame inside the screen. Readers show the inner part of a frame that
/// crosses the edge, so such a frame is accepted; one that begins outside shows nothing and is
/// refused. Bytes behind the trailer are ignored.
pub(crate) fn inspect<R: BufRead + Seek>(
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
    // The minimum code size: the first codes have one bit more, and no code has more than twelve.
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
mod tests {
    use super::*;
    use crate::sample::{gif, refusal, size};

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

    #[cfg(feature = "decode")]
    #[test]
    fn invalid_codes_are_found_at_slow() {
        let mut file = gif(&[(0, 0, 1, 1)]);
        let at = file.len() - 4;
        file[at] = 0xFF;
        assert_eq!(size(&file), Ok((1, 1)));
        let slow = crate::sample::inspect_bytes(&file, Level::Slow);
        assert_eq!(slow, Err(Refusal::Corrupt));
    }
}
