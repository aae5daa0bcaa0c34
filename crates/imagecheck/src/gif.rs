//! GIF: blocks and their sub-blocks up to the trailer.
//!
//! Source: [GIF89a](https://www.w3.org/Graphics/GIF/spec-gif89a.txt): data sub-blocks (section 15),
//! header (17), logical screen (18), colour tables (19, 21), image descriptor (20), image data (22),
//! extensions (23 to 26), trailer (27), compression (appendix F).

pub(crate) mod codes;

use crate::{Level, Refusal, Size, scan::Scan};
use std::io::{BufRead, Seek};

/// The label of a graphic control extension: it belongs to the frame that follows it.
const GRAPHIC_CONTROL: u8 = 0xF9;

/// The most bytes of a colour table.
pub(crate) const MAX_COLOUR_BYTES: usize = 3 * 256;

/// The logical screen.
pub(crate) struct Screen {
    /// May be zero.
    pub(crate) width: u32,
    /// May be zero.
    pub(crate) height: u32,
}

/// What stands before a frame's colours and codes.
pub(crate) struct Frame {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The colour that is not painted.
    #[cfg_attr(not(feature = "decode"), expect(dead_code, reason = "only a decode paints"))]
    pub(crate) transparent: Option<u8>,
    flags: u8,
}

impl Frame {
    /// Pixels in all.
    pub(crate) fn area(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Whether the rows come in four passes.
    #[cfg(feature = "decode")]
    pub(crate) fn is_interlaced(&self) -> bool {
        self.flags & 0x40 != 0
    }

    /// Reads over the frame's own colours and its minimum code size, and gives both.
    pub(crate) fn open<'c, R: BufRead + Seek>(
        &self,
        scan: &mut Scan<'_, R>,
        room: &'c mut [u8; MAX_COLOUR_BYTES],
    ) -> Result<(Option<&'c [u8]>, u8), Refusal> {
        let colours = colours(scan, self.flags, room)?;
        // The first codes have one bit more, and no code has more than twelve.
        match scan.byte()? {
            code_size @ 1..=11 => Ok((colours, code_size)),
            _ => Err(Refusal::Corrupt),
        }
    }
}

/// Reads the dimensions and, above fast, walks all blocks.
///
/// Section 20 wants each frame inside the screen. Loaders make the picture large enough for the
/// first frame, also where the screen has no pixels, and so is the size that is told here. Later
/// frames may lie anywhere. Bytes behind the trailer are ignored.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    let mut room = [0; MAX_COLOUR_BYTES];
    let (screen, _) = open(scan, &mut room)?;
    let first = first_frame(scan)?;
    Size::checked(first.width, first.height)?;
    let size = Size::checked(
        screen.width.max(first.left + first.width),
        screen.height.max(first.top + first.height),
    )?;
    if level != Level::Fast {
        let (_, code_size) = first.open(scan, &mut room)?;
        skip_codes(scan, code_size, &first)?;
        while let Some(frame) = next_frame(scan)? {
            if frame.width > 0 && frame.height > 0 {
                Size::checked(frame.width, frame.height)?;
            }
            let (_, code_size) = frame.open(scan, &mut room)?;
            skip_codes(scan, code_size, &frame)?;
        }
    }
    Ok(size)
}

/// Reads the logical screen and its colours.
pub(crate) fn open<'c, R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    room: &'c mut [u8; MAX_COLOUR_BYTES],
) -> Result<(Screen, Option<&'c [u8]>), Refusal> {
    scan.skip(6)?;
    let [w0, w1, h0, h1, flags, _background, _aspect] = scan.array()?;
    let [width, height] = [[w0, w1], [h0, h1]].map(|side| u32::from(u16::from_le_bytes(side)));
    if width > 0 && height > 0 {
        // Checked before anything behind it.
        Size::checked(width, height)?;
    }
    Ok((Screen { width, height }, colours(scan, flags, room)?))
}

/// Finds the first frame. Loaders step over bytes that begin no block, and so does this.
pub(crate) fn first_frame<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Frame, Refusal> {
    let mut transparent = None;
    loop {
        match scan.byte()? {
            b',' => return descriptor(scan, transparent),
            b'!' => {
                if let Some(colour) = extension(scan)? {
                    transparent = colour;
                }
            }
            b';' => return Err(Refusal::Corrupt),
            _ => {}
        }
    }
}

/// Finds the frame behind another one, if there is one.
///
/// The file may end where a block could begin or inside an extension, and readers stop at a byte that begins
/// no block: every frame that was begun is there. A zero between blocks is stepped over.
pub(crate) fn next_frame<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
) -> Result<Option<Frame>, Refusal> {
    let mut transparent = None;
    while scan.left() > 0 {
        match scan.byte()? {
            b',' => return descriptor(scan, transparent).map(Some),
            b'!' => {
                if let Some(colour) = extension(scan)? {
                    transparent = colour;
                }
            }
            0 => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Reads an extension, or what there is of it. One that belongs to the next frame names its transparent
/// colour, or none; loaders raise where it is cut before that.
fn extension<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Option<Option<u8>>, Refusal> {
    if scan.byte()? != GRAPHIC_CONTROL {
        skip_sub_blocks(scan)?;
        return Ok(None);
    }
    let mut colour = None;
    let len = if scan.left() == 0 { 0 } else { scan.byte()? };
    match len {
        0 => return Ok(Some(None)),
        4.. => {
            let [flags, _, _, index] = scan.array()?;
            colour = (flags & 1 == 1).then_some(index);
            scan.skip(u64::from(len) - 4)?;
        }
        _ => scan.skip(len.into())?,
    }
    skip_sub_blocks(scan)?;
    Ok(Some(colour))
}

fn descriptor<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    transparent: Option<u8>,
) -> Result<Frame, Refusal> {
    let [x0, x1, y0, y1, w0, w1, h0, h1, flags] = scan.array()?;
    let [left, top, width, height] =
        [[x0, x1], [y0, y1], [w0, w1], [h0, h1]].map(|bytes| u32::from(u16::from_le_bytes(bytes)));
    Ok(Frame { left, top, width, height, transparent, flags })
}

/// Reads the colour table that the flags announce.
fn colours<'c, R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    flags: u8,
    room: &'c mut [u8; MAX_COLOUR_BYTES],
) -> Result<Option<&'c [u8]>, Refusal> {
    if flags & 0x80 == 0 {
        return Ok(None);
    }
    let table = room.get_mut(..3 << ((flags & 7) + 1)).ok_or(Refusal::Corrupt)?;
    scan.fill(table)?;
    Ok(Some(table))
}

/// Steps over a frame's codes. Where the file ends inside them, they have to give all of its pixels.
fn skip_codes<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    code_size: u8,
    frame: &Frame,
) -> Result<(), Refusal> {
    let at = scan.at();
    if skip_sub_blocks(scan)? {
        return Ok(());
    }
    scan.jump(at)?;
    codes::unpack(scan, code_size, frame.area(), &mut [0; 4096]).map_err(|_| Refusal::Truncated)
}

/// Steps over sub-blocks, and says whether their end was there.
fn skip_sub_blocks<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<bool, Refusal> {
    loop {
        match next_sub_block(scan)? {
            Some(0) => return Ok(true),
            Some(n) => scan.skip(n.into())?,
            None => return Ok(false),
        }
    }
}

/// The length of the sub-block that comes next; none where the file ends before it does, which is then read over.
fn next_sub_block<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Option<u8>, Refusal> {
    let n = if scan.left() == 0 { None } else { Some(scan.byte()?) };
    match n {
        Some(n) if u64::from(n) <= scan.left() => Ok(Some(n)),
        _ => scan.jump(scan.len()).map(|()| None),
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
        assert_eq!(screen(12_001, 1), Some(Refusal::TooLarge));
    }

    /// Case 97: 20,000 frames.
    #[test]
    fn many_frames_are_walked() {
        assert_eq!(size(&gif(&vec![(0, 0, 1, 1); 20_000])), Ok((1, 1)));
    }

    /// Case 98: frames outside the screen, over its edge, and too large in themselves.
    #[test]
    fn the_picture_has_room_for_the_first_frame() {
        assert_eq!(size(&gif(&[(0, 0, 9, 9)])), Ok((9, 9)));
        assert_eq!(size(&gif(&[(1, 0, 1, 1)])), Ok((2, 1)));
        assert_eq!(size(&gif(&[(0, 0, 1, 1), (7, 7, 9, 9), (0, 0, 0, 0)])), Ok((1, 1)));
        assert_eq!(refusal(&gif(&[(32_767, 32_767, 16, 16)])), Some(Refusal::TooLarge));
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
        assert_eq!(file(&[b"\0?", &frame(2)[..], b";"].concat()), None);
        assert_eq!(file(&[&frame(0)[..], b";"].concat()), Some(Refusal::Corrupt));
        assert_eq!(file(&[&frame(12)[..], b";"].concat()), Some(Refusal::Corrupt));
    }

    /// Case 481: readers show every frame of these, whatever was begun behind the last one.
    #[test]
    fn a_file_may_end_behind_the_pixels_of_a_frame() {
        let whole = gif(&[(0, 0, 1, 1); 2]);
        let pixels = whole.strip_suffix(b"\0;").unwrap();
        for end in [
            &b""[..],
            b";",
            b"\0",
            b"\0\0",
            b"\0\0;",
            b"\0?",
            b"\0!\xf9",
            b"\0!\xf9\0",
            b"\0!\xf9\x04\0\0\0\0",
            b"\0!\xf9\x04\0\0\0\0\0",
            b"\0!\xfe",
            b"\0!\xfe\x09x",
            b"\0!\xff\x0bNETSCAPE",
        ] {
            let file = [pixels, end].concat();
            assert_eq!(size(&file), Ok((1, 1)), "{end:x?}");
            #[cfg(feature = "decode")]
            assert!(crate::sample::inspect_bytes(&file, Level::Slow).is_ok(), "{end:x?}");
        }
        // What loaders raise at.
        for end in [&b"\0!"[..], b"\0!\xf9\x04", b"\0!\xf9\x04\0\0", b"\0,", b"\0,\0\0", b"\0\0,"] {
            assert_eq!(refusal(&[pixels, end].concat()), Some(Refusal::Truncated), "{end:x?}");
        }
        assert_eq!(refusal(&pixels[..pixels.len() - 1]), Some(Refusal::Truncated));
    }

    /// Case 481: two pixels, one code more in each of two blocks.
    #[test]
    fn a_cut_between_the_blocks_of_a_frame_is_seen() {
        let frame =
            [b"GIF87a\x02\0\x01\0\0\0\0,\0\0\0\0\x02\0\x01\0\0\x02", &[1, 4, 1, 10][..]].concat();
        assert_eq!(size(&frame), Ok((2, 1)));
        assert_eq!(size(&[&frame[..], b"\0;"].concat()), Ok((2, 1)));
        assert_eq!(refusal(&frame[..frame.len() - 2]), Some(Refusal::Truncated));
        // A wrong code is nothing that medium looks for, and no pixel.
        let wrong = [&frame[..frame.len() - 1], &[0xFF]].concat();
        assert_eq!(refusal(&wrong), Some(Refusal::Truncated));
        assert_eq!(refusal(&[&wrong[..], b"\0;"].concat()), None);
    }

    #[test]
    fn a_screen_without_pixels_takes_the_size_of_the_first_frame() {
        for (screen, expected) in [((0, 0), (3, 4)), ((0, 9), (3, 9)), ((9, 0), (9, 4))] {
            let mut file = gif(&[(0, 0, 3, 4)]);
            (file[6], file[8]) = screen;
            assert_eq!(size(&file), Ok(expected));
        }
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
