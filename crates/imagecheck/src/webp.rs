//! WebP: a RIFF container with one bitstream, or with frames, each of which has one.
//!
//! Source: [RFC 9649](https://www.rfc-editor.org/rfc/rfc9649): chunks and padding (section 2.3), file
//! header (2.4), simple lossy and lossless files (2.5, 2.6), extended files (2.7), frames (2.7.1.1),
//! header of the lossless bitstream (3). Header of the lossy one:
//! [RFC 6386](https://www.rfc-editor.org/rfc/rfc6386), section 9.1.

use crate::{
    Level, Refusal, Size,
    exif::{self, Faults},
    scan::Scan,
};
use std::io::{BufRead, Seek};

/// The length of what every chunk, and the container too, begins with: its kind and its length.
const CHUNK_HEADER_BYTES: u64 = 8;

/// The flag of an extended header that announces frames.
const ANIMATED: u8 = 0x02;

/// Reads the dimensions and, above fast, walks all chunks.
///
/// Bytes behind the length that the container states are ignored; the file may not be shorter.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    let [_, _, _, _, l0, l1, l2, l3, ..] = scan.array::<12>()?;
    let riff_end = CHUNK_HEADER_BYTES + u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    let first = Chunk::open(scan)?;
    let mut is_animated = false;
    let size = match &first.kind {
        b"VP8X" if first.len >= 10 => {
            let [flags, _, _, _, sides @ ..] = scan.array::<10>()?;
            is_animated = flags & ANIMATED != 0;
            let [w0, w1, w2, h0, h1, h2] = sides;
            Size::checked(one_based([w0, w1, w2]), one_based([h0, h1, h2]))?
        }
        _ => first.bitstream(scan)?.ok_or(Refusal::Corrupt)?,
    };
    if level != Level::Fast {
        if riff_end > scan.len() {
            return Err(Refusal::Truncated);
        }
        let has_image = first.kind != *b"VP8X";
        first.close(scan, riff_end)?;
        let images = walk(scan, riff_end, size, is_animated)?;
        exif(scan, riff_end)?;
        if !has_image && images == 0 {
            return Err(Refusal::Corrupt);
        }
    }
    Ok(size)
}

/// Looks at the first Exif of the file, whose chunks are known to be sound.
fn exif<R: BufRead + Seek>(scan: &mut Scan<'_, R>, end: u64) -> Result<(), Refusal> {
    scan.jump(12)?;
    while scan.at() + CHUNK_HEADER_BYTES <= end {
        let chunk = Chunk::open(scan)?;
        if chunk.kind == *b"EXIF" {
            let len = usize::try_from(chunk.len).unwrap_or(usize::MAX).min(exif::MAX_BYTES);
            let mut bytes = vec![0; len];
            scan.fill(&mut bytes)?;
            let is_bad = Faults::of(&bytes).stop_loaders();
            return if is_bad { Err(Refusal::Metadata) } else { Ok(()) };
        }
        chunk.close(scan, end)?;
    }
    Ok(())
}

/// Walks chunks up to `end` and counts the images, each of which must fit `size`.
fn walk<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    end: u64,
    size: Size,
    is_animated: bool,
) -> Result<u64, Refusal> {
    let mut n_images = 0;
    // Fewer bytes than a chunk begins with cannot be a chunk: they are taken for padding.
    while scan.at() + CHUNK_HEADER_BYTES <= end {
        let chunk = Chunk::open(scan)?;
        // Checked before the bitstream is read: a chunk of a frame must not lead out of the frame.
        chunk.check_end(end)?;
        if is_animated && chunk.kind == *b"ANMF" {
            frame(scan, &chunk, size)?;
            n_images += 1;
        } else if let Some(image) = chunk.bitstream(scan)? {
            if image != size || is_animated {
                return Err(Refusal::Corrupt);
            }
            n_images += 1;
        }
        chunk.close(scan, end)?;
    }
    Ok(n_images)
}

fn frame<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    chunk: &Chunk,
    canvas: Size,
) -> Result<(), Refusal> {
    if chunk.len < 16 {
        return Err(Refusal::Corrupt);
    }
    let [x0, x1, x2, y0, y1, y2, sides @ ..] = scan.array::<12>()?;
    scan.skip(4)?;
    let [w0, w1, w2, h0, h1, h2] = sides;
    let size = Size::checked(one_based([w0, w1, w2]), one_based([h0, h1, h2]))?;
    // Offsets are stored in units of two pixels.
    let [left, top] = [[x0, x1, x2], [y0, y1, y2]].map(|bytes| 2 * u24(bytes));
    if !canvas.holds(left, top, size.width, size.height)
        || walk(scan, chunk.end(), size, false)? != 1
    {
        return Err(Refusal::Corrupt);
    }
    Ok(())
}

/// A chunk whose data comes next.
struct Chunk {
    kind: [u8; 4],
    len: u64,
    start: u64,
}

impl Chunk {
    fn open<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Self, Refusal> {
        let [k0, k1, k2, k3, l0, l1, l2, l3] = scan.array()?;
        Ok(Self {
            kind: [k0, k1, k2, k3],
            len: u32::from_le_bytes([l0, l1, l2, l3]).into(),
            start: scan.at(),
        })
    }

    fn end(&self) -> u64 {
        self.start + self.len
    }

    fn check_end(&self, end: u64) -> Result<(), Refusal> {
        if self.end() > end {
            return Err(Refusal::Corrupt);
        }
        Ok(())
    }

    /// Goes to the next chunk; chunks begin at even offsets.
    fn close<R: BufRead + Seek>(&self, scan: &mut Scan<'_, R>, end: u64) -> Result<(), Refusal> {
        self.check_end(end)?;
        scan.jump(self.end().next_multiple_of(2).min(end))
    }

    /// The dimensions in the bitstream's header, if the chunk is a bitstream.
    fn bitstream<R: BufRead + Seek>(
        &self,
        scan: &mut Scan<'_, R>,
    ) -> Result<Option<Size>, Refusal> {
        match &self.kind {
            b"VP8 " => self.lossy(scan).map(Some),
            b"VP8L" => self.lossless(scan).map(Some),
            _ => Ok(None),
        }
    }

    fn lossy<R: BufRead + Seek>(&self, scan: &mut Scan<'_, R>) -> Result<Size, Refusal> {
        let [t0, t1, t2, 0x9D, 0x01, 0x2A, w0, w1, h0, h1] = scan.array()? else {
            return Err(Refusal::Corrupt);
        };
        let size = Size::checked(
            u16::from_le_bytes([w0, w1]) & 0x3FFF,
            u16::from_le_bytes([h0, h1]) & 0x3FFF,
        )?;
        let tag = u24([t0, t1, t2]);
        // A frame that is not to be shown, and a version of no decoder: loaders refuse them (RFC 6386,
        // section 9.1).
        let (is_key_frame, version, is_shown) = (tag & 1 == 0, tag >> 1 & 7, tag >> 4 & 1 == 1);
        let first_partition_len = u64::from(tag >> 5);
        if !is_key_frame || version > 3 || !is_shown || 10 + first_partition_len > self.len {
            return Err(Refusal::Corrupt);
        }
        Ok(size)
    }

    fn lossless<R: BufRead + Seek>(&self, scan: &mut Scan<'_, R>) -> Result<Size, Refusal> {
        let [0x2F, b0, b1, b2, b3] = scan.array()? else {
            return Err(Refusal::Corrupt);
        };
        let bits = u32::from_le_bytes([b0, b1, b2, b3]);
        let size = Size::checked((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)?;
        let version = bits >> 29;
        if version != 0 || self.len < 5 {
            return Err(Refusal::Corrupt);
        }
        Ok(size)
    }
}

fn u24([b0, b1, b2]: [u8; 3]) -> u32 {
    u32::from_le_bytes([b0, b1, b2, 0])
}

/// A side is stored as one less than its pixels.
fn one_based(bytes: [u8; 3]) -> u32 {
    u24(bytes) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{
        animation, canvas, exif, inspect_bytes, lossless, lossy, refusal, size, webp,
    };

    /// Case 99: the largest bitstreams and canvas.
    #[test]
    fn sides_are_checked_before_anything_behind_them() {
        for (kind, data) in [
            (b"VP8 ", lossy(16_383, 16_383)),
            (b"VP8L", lossless(16_384, 16_384)),
            (b"VP8X", canvas(0, 1 << 24, 1 << 24)),
        ] {
            let file = webp(&[(kind, &data)]);
            assert_eq!(inspect_bytes(&file, Level::Fast), Err(Refusal::TooLarge));
        }
        assert_eq!(refusal(&webp(&[(b"VP8 ", &lossy(0, 1))])), Some(Refusal::Corrupt));
    }

    /// Case 99: a container of 2^32 - 1 bytes in a small file.
    #[test]
    fn the_file_is_as_long_as_the_container() {
        let mut file = webp(&[(b"VP8 ", &lossy(1, 1))]);
        file[4..8].fill(0xFF);
        assert_eq!(refusal(&file), Some(Refusal::Truncated));
        assert!(inspect_bytes(&file, Level::Fast).is_ok());
    }

    #[test]
    fn chunks_end_inside_the_container() {
        let mut file = webp(&[(b"VP8 ", &lossy(1, 1)), (b"ICCP", b"odd")]);
        assert_eq!(size(&file), Ok((1, 1)));
        let at = file.len() - 8;
        file[at] = 5;
        assert_eq!(refusal(&file), Some(Refusal::Corrupt));
    }

    #[test]
    fn bitstream_headers_are_checked() {
        let changed = |at: usize, byte| {
            let mut data = lossy(1, 1);
            data[at] = byte;
            refusal(&webp(&[(b"VP8 ", &data)]))
        };
        // No key frame, a partition longer than the chunk, no start code.
        assert_eq!(changed(0, 0x31), Some(Refusal::Corrupt));
        assert_eq!(changed(2, 0xFF), Some(Refusal::Corrupt));
        assert_eq!(changed(3, 0), Some(Refusal::Corrupt));
        let mut data = lossless(1, 1);
        data[4] |= 0x20;
        assert_eq!(refusal(&webp(&[(b"VP8L", &data)])), Some(Refusal::Corrupt));
        assert_eq!(refusal(&webp(&[(b"VP8L", &data[..3])])), Some(Refusal::Truncated));
    }

    #[test]
    fn the_canvas_holds_one_image_of_its_size() {
        let file = |canvas: &[u8], images: &[(&[u8; 4], &[u8])]| {
            refusal(&webp(&[&[(b"VP8X", canvas)][..], images].concat()))
        };
        let (one, two) = (lossy(1, 1), lossy(2, 2));
        assert_eq!(file(&canvas(0, 2, 2), &[(b"ICCP", b""), (b"VP8 ", &two)]), None);
        assert_eq!(file(&canvas(0, 2, 2), &[(b"VP8 ", &one)]), Some(Refusal::Corrupt));
        assert_eq!(file(&canvas(0, 2, 2), &[]), Some(Refusal::Corrupt));
        assert_eq!(file(&canvas(2, 1, 1), &[(b"VP8 ", &one)]), Some(Refusal::Corrupt));
        assert_eq!(file(&canvas(0, 1, 1)[..9], &[(b"VP8 ", &one)]), Some(Refusal::Corrupt));
        assert_eq!(file(&canvas(2, 1, 1), &[(b"ANMF", &[0; 15])]), Some(Refusal::Corrupt));
        assert_eq!(file(&canvas(2, 1, 1), &[(b"ANMF", &[0; 16])]), Some(Refusal::Corrupt));
    }

    /// Case 106.
    #[test]
    fn exif_of_a_turned_picture_is_read() {
        let file = |exif: &[u8]| {
            let canvas = canvas(8, 1, 1);
            refusal(&webp(&[(b"VP8X", &canvas), (b"VP8 ", &lossy(1, 1)), (b"EXIF", exif)]))
        };
        assert_eq!(file(&exif(false, 6, &[(283, 2, b"72\0")])), Some(Refusal::Metadata));
        assert_eq!(file(&exif(false, 1, &[(283, 2, b"72\0")])), None);
    }

    #[test]
    fn frames_lie_on_the_canvas() {
        assert_eq!(size(&animation(&[(0, 0), (0, 0)])), Ok((1, 1)));
        assert_eq!(refusal(&animation(&[(0, 0), (1, 0)])), Some(Refusal::Corrupt));
        assert_eq!(refusal(&animation(&[(0, 1)])), Some(Refusal::Corrupt));
        assert_eq!(refusal(&animation(&[])), Some(Refusal::Corrupt));
    }
}
