//! What the decode of the first page takes: how many bytes its pieces give, and how large their JPEGs say
//! that they are, which need not be the size of the piece.

use super::data::{self, Layout};
use super::directory::{Directory, Field, Reader};
use super::variant;
use crate::{Refusal, Size, cost::check_work};
use std::io::{BufRead, Seek};

/// What a decode takes.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// The bytes that it gives, those of tiles beyond the picture included; where a decoder takes longer
    /// for a byte, it is counted more often.
    pub(crate) work_bytes: u64,
    /// The bytes that the decoder of a piece holds at most.
    pub(crate) held_bytes: u64,
}

/// For each strip or tile: its decoder and its buffers are new.
const PIECE_WORK: u64 = 1_250;

/// For each sample of a JPEG, for each 64 of them with each scan, and for each byte of its data.
const JPEG_WORK: u64 = 1;
const SCAN_WORK: u64 = 4;
const JPEG_WORK_A_BYTE: u64 = 10;

pub(super) fn of<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
    size: Size,
) -> Result<Cost, Refusal> {
    let samples = variant::samples(reader, page)?;
    let layout = data::layout(reader, page, size, &samples)?;
    let n = layout.across * layout.down * layout.planes;
    let samples_a_plane = if samples.is_planar { 1 } else { samples.count };
    let piece = layout.width * layout.height * samples.bits * samples_a_plane / 8;
    let work_bytes = n.saturating_mul(PIECE_WORK + piece);
    let mut cost = Cost { work_bytes, held_bytes: 0 };
    check_work(cost.work_bytes)?;
    if reader.value(page.compression)? == Some(7) {
        let (Some(offsets), Some(lens)) = (page.offsets, page.lens) else {
            return Err(Refusal::Corrupt);
        };
        if let Some(tables) = page.jpeg_tables {
            Head::read(reader, tables.at(), tables.count, true)?;
        }
        jpegs(reader, &layout, (offsets, lens, n), &mut cost)?;
    }
    Ok(cost)
}

/// Adds what the JPEGs of the pieces take.
fn jpegs<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    layout: &Layout,
    pieces: (Field, Field, u64),
    cost: &mut Cost,
) -> Result<(), Refusal> {
    // Writers fill the last strip up, and blocks.
    let (width, height) = (layout.width.next_multiple_of(16), layout.height.next_multiple_of(16));
    data::each_piece(reader, pieces, |reader, _, start, len| {
        let Some(head) = Head::read(reader, start, len, false)? else {
            return Err(Refusal::UnsupportedFormat);
        };
        if head.width > width || head.height > height {
            // So does libtiff.
            return Err(Refusal::Corrupt);
        }
        let samples = head.width.next_multiple_of(16) * head.height.next_multiple_of(16) * head.n;
        cost.work_bytes +=
            JPEG_WORK * samples + SCAN_WORK * head.n_scans * samples / 64 + JPEG_WORK_A_BYTE * len;
        check_work(cost.work_bytes)?;
        // The samples, and for each a coefficient until the last scan.
        let a_sample = if head.n_scans > 1 { 3 } else { 1 };
        cost.held_bytes = cost.held_bytes.max(a_sample * samples + 2 * len);
        Ok(())
    })
}

/// What the frame header of a JPEG says.
struct Head {
    width: u64,
    height: u64,
    /// The samples of a pixel.
    n: u64,
    /// Of a progressive picture, at most so many.
    n_scans: u64,
}

impl Head {
    /// Reads up to the first scan, or to the end of the tables that all pieces share, which have no
    /// frame.
    ///
    /// Anything but tables and the notes that writers of TIFF make is unsupported, and so is a second
    /// frame: a decoder could take it for something else than this does.
    fn read<R: BufRead + Seek>(
        reader: &mut Reader<'_, '_, R>,
        start: u64,
        len: u64,
        is_shared: bool,
    ) -> Result<Option<Self>, Refusal> {
        let (mut at, end) = (start.saturating_add(2), start.saturating_add(len));
        let mut head = None;
        while at + 2 <= end {
            let [first, marker] = reader.array(at)?;
            let is_end = marker == 0xD9 && is_shared;
            if first == 0xFF && is_end {
                return Ok(None);
            }
            let [l1, l0] = reader.array(at + 2)?;
            let segment_len = u64::from(u16::from_be_bytes([l1, l0]));
            match (first, marker, is_shared) {
                (0xFF, 0xC4 | 0xDB | 0xDD | 0xE0 | 0xEE | 0xFE, _) => {}
                (0xFF, 0xC0..=0xC2, false) if head.is_none() => {
                    let [_, h1, h0, w1, w0, n] = reader.array(at + 4)?;
                    head = Some(Self {
                        width: u16::from_be_bytes([w1, w0]).into(),
                        height: u16::from_be_bytes([h1, h0]).into(),
                        n: n.into(),
                        n_scans: u64::from(marker == 0xC2),
                    });
                }
                (0xFF, 0xDA, false) => {
                    if let Some(head) = &mut head
                        && head.n_scans > 0
                    {
                        head.n_scans = reader.count_pairs(at, end, [0xFF, 0xDA])?;
                    }
                    return Ok(head);
                }
                _ => return Err(Refusal::UnsupportedFormat),
            }
            at += 2 + segment_len;
        }
        if is_shared { Ok(None) } else { Err(Refusal::UnsupportedFormat) }
    }
}

#[cfg(test)]
mod tests {
    use crate::sample::{Entries, inspect_bytes, jpeg, tiff};
    use crate::{Level, Refusal};

    /// What slow says of a page whose pieces begin at 4000, where medium accepts it.
    fn slow(entries: Vec<(u16, u16, u32, u32)>, data: &[u8]) -> Option<Refusal> {
        let entries: Entries = Vec::leak(entries);
        let mut file = tiff(false, &[entries]);
        file.resize(4_000, 0);
        file.extend(data);
        assert!(inspect_bytes(&file, Level::Medium).is_ok());
        inspect_bytes(&file, Level::Slow).err()
    }

    /// Case 258: more tiles than their pixels are worth, each with a decoder of its own.
    #[test]
    fn pieces_are_counted() {
        let tiles = |side: u32| {
            let n = side * side;
            let tables = [4_000, 4_000 + 4 * n];
            let n_tiles = usize::try_from(n).unwrap();
            let mut data = 8_u32.to_le_bytes().repeat(n_tiles);
            data.extend(9_u32.to_le_bytes().repeat(n_tiles));
            let size = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 8)];
            let tiles = [(262, 3, 1, 1), (322, 3, 1, 1), (323, 3, 1, 1)];
            let places = [(324, 4, n, tables[0]), (325, 4, n, tables[1])];
            slow([&size[..], &tiles, &places].concat(), &data)
        };
        assert_eq!(tiles(8), Some(Refusal::Corrupt), "no deflate data");
        assert_eq!(tiles(700), Some(Refusal::DecodeBudget));
    }

    /// The entries of a grey page of JPEGs, and of the tables that they share, behind the first one.
    fn jpegs(rows: u32, len: usize, shared: usize) -> Vec<(u16, u16, u32, u32)> {
        let [len, shared] = [len, shared].map(|n| u32::try_from(n).unwrap());
        let mut entries = vec![(256, 4, 1, 8), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 7)];
        entries.extend([(262, 3, 1, 1), (273, 4, 1, 4_000), (278, 4, 1, rows), (279, 4, 1, len)]);
        if shared > 0 {
            entries.push((347, 7, shared, 4_000 + len));
        }
        entries
    }

    fn jpeg_of_side(side: u16) -> Vec<u8> {
        let mut file = jpeg();
        let at = memchr::memmem::find(&file, b"\xff\xc0").unwrap() + 5;
        file[at..at + 4].copy_from_slice([side.to_be_bytes(); 2].as_flattened());
        file
    }

    /// Case 258: a JPEG in a strip says that it is far larger, and its decoder believes it.
    #[test]
    fn jpegs_are_as_large_as_their_piece() {
        let with = |file: &[u8]| slow(jpegs(8, file.len(), 0), file);
        assert_eq!(with(&jpeg_of_side(8)), None);
        assert_eq!(with(&jpeg_of_side(16)), None, "a block that is filled up");
        assert_eq!(with(&jpeg_of_side(17)), Some(Refusal::Corrupt));
        assert_eq!(with(&jpeg_of_side(16_000)), Some(Refusal::Corrupt));
    }

    /// Case 258: what another reader of the same bytes could take for another frame.
    #[test]
    fn only_tables_and_notes_stand_before_a_frame() {
        let (file, frame) = (jpeg_of_side(8), &jpeg_of_side(16_000)[..]);
        let at = memchr::memmem::find(&file, b"\xff\xc0").unwrap();
        let with = |more: &[u8]| {
            let file = [&file[..at], more, &file[at..]].concat();
            slow(jpegs(8, file.len(), 0), &file)
        };
        let unsupported = Some(Refusal::UnsupportedFormat);
        assert_eq!(with(b"\xff\xfe\0\x04hi"), None);
        assert_eq!(with(b"\xff\x01"), unsupported);
        assert_eq!(with(b"\0"), unsupported);
        let frame_header = &frame[at..at + 13];
        assert_eq!(with(frame_header), unsupported);
        let shared =
            |tables: &[u8]| slow(jpegs(8, file.len(), tables.len()), &[&file[..], tables].concat());
        assert_eq!(shared(b"\xff\xd8\xff\xfe\0\x04hi\xff\xd9"), None);
        assert_eq!(shared(&[b"\xff\xd8", frame_header, b"\xff\xd9"].concat()), unsupported);
    }

    /// Case 258: a progressive JPEG, whose coefficients are all kept, with each scan once more.
    #[test]
    fn scans_of_a_jpeg_are_counted() {
        let file = |n_scans: usize| {
            let mut file = jpeg_of_side(8);
            let at = memchr::memmem::find(&file, b"\xff\xc0").unwrap();
            file[at + 1] = 0xC2;
            file.truncate(at + 13);
            let scan = b"\xff\xda\0\x08\x01\x01\0\0\0\0\0";
            [file, scan.repeat(n_scans), b"\xff\xd9".to_vec()].concat()
        };
        // Reckoned from the head: the data is not there.
        let with = |side: u16, n_scans| {
            let mut file = file(n_scans);
            let at = memchr::memmem::find(&file, b"\xff\xc2").unwrap() + 5;
            file[at..at + 4].copy_from_slice([side.to_be_bytes(); 2].as_flattened());
            let mut entries = jpegs(side.into(), file.len(), 0);
            entries[0] = (256, 4, 1, side.into());
            slow(entries, &file)
        };
        assert_ne!(with(40, 400), Some(Refusal::DecodeBudget));
        assert_eq!(with(5_000, 400), Some(Refusal::DecodeBudget));
    }
}
