//! TIFF and `BigTIFF`: a chain of directories, whose entries say where everything else lies.
//!
//! Sources: [TIFF 6.0](https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf): header,
//! directories, entries and their types (section 2), strips and the other tags (section 8), tiles
//! (section 15). [BigTIFF](https://www.awaresystems.be/imaging/tiff/bigtiff.html): eight-byte counts
//! and offsets, types 16 to 18. Type 13 and sub-directories are from Adobe's technical note 1 on TIFF
//! trees.

#[cfg(feature = "decode")]
mod cost;
mod data;
mod directory;
#[cfg(feature = "decode")]
mod unpacked;
mod variant;

use crate::{Level, Refusal, Size, scan::Scan};
use directory::{Directory, Reader};
use std::io::{BufRead, Seek};

/// The most pages of one file.
const MAX_PAGES: usize = 1000;

/// The most sub-directories of a page that are looked at.
const MAX_SUB_DIRECTORIES: u64 = 64;

/// Reads the first page's dimensions and, above fast, checks that loaders read that page, and that the
/// data of all pages is there.
///
/// Bytes that no directory mentions are ignored.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    let (mut reader, first) = open(scan)?;
    let size = stored_size(&mut reader, &first)?;
    // Loaders turn the picture when they open it, and of no other format.
    let is_turned = matches!(reader.value(first.orientation)?, Some(5..=8));
    if level != Level::Fast {
        first_page(&mut reader, &first, size)?;
        other_pages(&mut reader, &first)?;
    }
    Ok(if is_turned { Size { width: size.height, height: size.width } } else { size })
}

/// The reader of a file, and the directory of its first page.
fn open<'s, 'b, R: BufRead + Seek>(
    scan: &'s mut Scan<'b, R>,
) -> Result<(Reader<'s, 'b, R>, Directory), Refusal> {
    let mut reader = Reader::open(scan)?;
    let first = reader.directory(reader.first)?;
    Ok((reader, first))
}

fn stored_size<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
) -> Result<Size, Refusal> {
    match (reader.value(page.width)?, reader.value(page.height)?) {
        (Some(width), Some(height)) => Size::checked(width, height),
        _ => Err(Refusal::Corrupt),
    }
}

/// What the decoder of level slow makes of a variant.
#[cfg(feature = "decode")]
pub(crate) enum Support {
    /// It panics, which writes lines to the standard error output.
    Panics,
    /// The pixels are not compressed, and the walk has proved that they are there. It may not know
    /// their variant.
    Proven,
    /// As [`Support::Proven`], and it panics.
    ProvenPanics,
    /// It reads some files; an error does not say that the file is wrong.
    Part,
    /// It reads all files.
    Full,
}

/// The size of the first page before it is turned.
#[cfg(feature = "decode")]
pub(crate) fn size<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Size, Refusal> {
    let (mut reader, first) = open(scan)?;
    stored_size(&mut reader, &first)
}

/// What the decoder of level slow makes of the first page.
#[cfg(feature = "decode")]
pub(crate) fn support<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Support, Refusal> {
    let (mut reader, first) = open(scan)?;
    variant::support(&mut reader, &first)
}

/// Proves the pixels of the first page where the decoder of level slow cannot read them.
#[cfg(feature = "decode")]
pub(crate) fn check_unpacked<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    size: Size,
) -> Result<(), Refusal> {
    let (mut reader, first) = open(scan)?;
    unpacked::check(&mut reader, &first, size)
}

/// What the decode of the first page takes.
#[cfg(feature = "decode")]
pub(crate) fn cost<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    size: Size,
) -> Result<cost::Cost, Refusal> {
    let (mut reader, first) = open(scan)?;
    cost::of(&mut reader, &first, size)
}

fn first_page<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
    size: Size,
) -> Result<(), Refusal> {
    reader.check_end(page)?;
    let has_raw = variant::has_raw(reader, page)?;
    let has_raw = sub_directories(reader, page)? || has_raw;
    if has_raw {
        return Err(Refusal::UnsupportedFormat);
    }
    let samples = variant::samples(reader, page)?;
    data::check_first(reader, page, size, &samples)
}

/// Pages that loaders do not show may be without data; what they have must be there.
fn other_pages<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    first: &Directory,
) -> Result<(), Refusal> {
    let mut seen = vec![reader.first];
    let mut next = first.next;
    // Loaders take a chain that leads back for one that ends.
    while next != 0 && !seen.contains(&next) {
        if seen.len() == MAX_PAGES {
            return Err(Refusal::Corrupt);
        }
        seen.push(next);
        let page = reader.directory(next)?;
        reader.check_end(&page)?;
        data::check_listed(reader, &page)?;
        let has_raw = variant::is_raw(reader, &page)?;
        if sub_directories(reader, &page)? || has_raw {
            return Err(Refusal::UnsupportedFormat);
        }
        next = page.next;
    }
    Ok(())
}

/// Checks the directories that a page leads to, smaller pictures and Exif, and says whether one of
/// them has what the sensor of a camera saw.
fn sub_directories<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
) -> Result<bool, Refusal> {
    let mut has_raw = false;
    for field in [page.sub_directories, page.exif, page.gps].into_iter().flatten() {
        for at in reader.values(field, MAX_SUB_DIRECTORIES)? {
            if at == 0 {
                continue;
            }
            let directory = reader.directory(at)?;
            reader.check_end(&directory)?;
            data::check_listed(reader, &directory)?;
            has_raw |= variant::is_raw(reader, &directory)?;
        }
    }
    Ok(has_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Entries, GRAY, inspect_bytes, refusal, size, tiff};

    fn page(entries: Entries) -> Option<Refusal> {
        refusal(&tiff(false, &[entries]))
    }

    #[test]
    fn both_byte_orders_are_read() {
        for is_big_endian in [false, true] {
            assert_eq!(size(&tiff(is_big_endian, &[GRAY])), Ok((2, 2)));
        }
    }

    #[test]
    fn big_tiff_is_read() {
        let mut file = b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0".to_vec();
        for (tag, value) in [(256_u16, 1_u64), (257, 1), (273, 0), (279, 1)] {
            file.extend(tag.to_le_bytes());
            file.extend(b"\x10\0\x01\0\0\0\0\0\0\0");
            file.extend(value.to_le_bytes());
        }
        file.extend([0; 8]);
        assert_eq!(size(&file), Ok((1, 1)));
        for cut in 0..file.len() {
            assert!(inspect_bytes(&file[..cut], Level::Medium).is_err());
        }
        file[4] = 4;
        assert_eq!(refusal(&file), Some(Refusal::Corrupt));
    }

    #[test]
    fn sides_are_checked_before_anything_behind_them() {
        let sides = |entries: Entries| inspect_bytes(&tiff(false, &[entries]), Level::Fast).err();
        assert_eq!(sides(&[(256, 4, 1, 1 << 31), (257, 4, 1, 1 << 31)]), Some(Refusal::TooLarge));
        assert_eq!(sides(&[(256, 4, 1, 0), (257, 4, 1, 1)]), Some(Refusal::Corrupt));
        assert_eq!(sides(&[(257, 4, 1, 1)]), Some(Refusal::Corrupt));
        assert_eq!(sides(&[(256, 4, 0, 1), (257, 4, 1, 1)]), Some(Refusal::Corrupt));
    }

    /// Case 100: the chain of directories leads back, which loaders take for its end.
    #[test]
    fn loops_end_the_chain() {
        let mut file = tiff(false, &[GRAY, GRAY]);
        let at = file.len() - 4;
        for first_or_self in [8, 122] {
            file[at] = first_or_self;
            assert_eq!(size(&file), Ok((2, 2)));
        }
    }

    #[test]
    fn pages_are_limited() {
        const PAGE: Entries = &[(256, 3, 1, 2)];
        let file = |n_pages| refusal(&tiff(false, &[&[GRAY][..], &vec![PAGE; n_pages]].concat()));
        assert_eq!(file(MAX_PAGES - 1), None);
        assert_eq!(file(MAX_PAGES), Some(Refusal::Corrupt));
    }

    /// Case 100: directories, values and data past the end.
    #[test]
    fn offsets_lead_into_the_file() {
        assert_eq!(refusal(b"II\x2a\0\xff\xff\0\0"), Some(Refusal::Truncated));
        assert_eq!(refusal(b"II\x2a\0\0\0\0\0"), Some(Refusal::Corrupt));
        assert_eq!(refusal(b"II\x2a\0\x08\0\0\0\0\0\0\0\0\0"), Some(Refusal::Corrupt));
        let sides = || [(256, 3, 1, 2), (257, 3, 1, 2), (262, 3, 1, 1)];
        let with = |more: &[(u16, u16, u32, u32)]| {
            let entries = [&sides()[..], more].concat();
            page(Vec::leak(entries))
        };
        assert_eq!(with(&[(273, 4, 1, 4), (279, 4, 1, 4)]), None);
        assert_eq!(with(&[(273, 4, 1, u32::MAX), (279, 4, 1, 1)]), Some(Refusal::Truncated));
        assert_eq!(with(&[(273, 4, u32::MAX, 8), (279, 4, 1, 1)]), Some(Refusal::Truncated));
        assert_eq!(with(&[(282, 5, u32::MAX, u32::MAX)]), Some(Refusal::Truncated));
        // A kind of value that is not known is not followed.
        let unknown = (60_000, 99, u32::MAX, u32::MAX);
        assert_eq!(with(&[(273, 4, 1, 4), (279, 4, 1, 4), unknown]), None);
    }

    /// The page of a picture without compression of 20 x 20 pixels, in grey of 8 bits.
    fn plain(more: &[(u16, u16, u32, u32)]) -> Option<Refusal> {
        refusal(&plain_file(more))
    }

    /// Its pixels lie behind the directory.
    fn plain_file(more: &[(u16, u16, u32, u32)]) -> Vec<u8> {
        let page = [(256, 3, 1, 20), (257, 3, 1, 20), (258, 3, 1, 8), (262, 3, 1, 1)];
        let mut file = tiff(false, &[Vec::leak([&page[..], more].concat())]);
        file.resize(file.len().max(200) + 400, 7);
        file
    }

    /// Case 483: loaders give out pictures of these orientations turned.
    #[test]
    fn a_turned_picture_has_the_size_that_loaders_show() {
        const PAGE: Entries =
            &[(256, 3, 1, 4), (257, 3, 1, 2), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 0)];
        for (kind, orientation) in (1..=9).map(|n| (3, n)).chain([(4, 6), (1, 6)]) {
            let entries = [PAGE, &[(274, kind, 1, orientation)]].concat();
            let file = tiff(false, &[Vec::leak(entries)]);
            let is_turned = kind != 1 && (5..=8).contains(&orientation);
            let expected = if is_turned { (2, 4) } else { (4, 2) };
            for &level in Level::ALL {
                let size = inspect_bytes(&file, level).map(|info| (info.width, info.height));
                assert_eq!(size, Ok(expected), "{kind} {orientation} {level:?}");
            }
        }
    }

    #[test]
    fn strips_and_tiles_cover_the_picture() {
        let (offset, len) = ((273, 4, 1, 200), (279, 4, 1, 400));
        assert_eq!(plain(&[offset, len]), None);
        assert_eq!(plain(&[len]), Some(Refusal::Corrupt));
        assert_eq!(plain(&[offset, len, (278, 3, 1, 10)]), Some(Refusal::Corrupt));
        assert_eq!(plain(&[offset, len, (278, 3, 1, 0)]), Some(Refusal::Corrupt));
        let planes = [(284, 3, 1, 2), (277, 3, 1, 3), (262, 3, 1, 2)];
        let planes = [&[offset, len][..], &planes].concat();
        assert_eq!(plain(&planes), Some(Refusal::UnsupportedFormat));
        assert_eq!(plain(&[(273, 3, 2, 200), (278, 3, 1, 10)]), None);
        let tiles = [(322, 3, 1, 16), (323, 3, 1, 16)];
        assert_eq!(plain(&[&tiles[..], &[(324, 1, 4, 0)]].concat()), None);
        assert_eq!(plain(&[&tiles[..], &[(324, 1, 3, 0)]].concat()), Some(Refusal::Corrupt));
    }

    /// Without compression the length follows from the size, whatever the file says.
    #[test]
    fn lengths_are_computed_where_they_can_be() {
        let offset = (273, 4, 1, 200);
        for lens in [vec![], vec![(279, 4, 1, 0)], vec![(279, 4, 1, 9)], vec![(279, 4, 1, 9999)]] {
            let file = plain_file(&[&[offset][..], &lens].concat());
            assert_eq!(size(&file), Ok((20, 20)), "{lens:?}");
            assert_eq!(refusal(&file[..599]), Some(Refusal::Truncated), "{lens:?}");
        }
        // Loaders read all strips that are listed, also those that the size does not need.
        let twice = |second: u32| plain(&[(273, 3, 2, 200 | second << 16)]);
        assert_eq!([200, 201].map(twice), [None, Some(Refusal::Truncated)]);
        // With compression it does not, and a cut could not be seen.
        for lens in [vec![], vec![(279, 4, 1, 0)]] {
            let entries = [&[offset, (259, 3, 1, 5)][..], &lens].concat();
            assert_eq!(plain(&entries), Some(Refusal::UnsupportedFormat), "{lens:?}");
        }
        assert_eq!(plain(&[offset, (259, 3, 1, 5), (279, 4, 1, 401)]), Some(Refusal::Truncated));
    }

    /// Tiles of which each is far larger than the picture inflate to any size.
    #[test]
    fn tiles_are_limited() {
        let tiles = |width, height| {
            let size = [(322, 4, 1, width), (323, 4, 1, height)];
            plain(&[&size[..], &[(324, 4, 1, 8), (325, 4, 1, 8), (259, 3, 1, 5)]].concat())
        };
        assert_eq!(tiles(32, 32), None);
        assert_eq!(tiles(16 << 20, 1), Some(Refusal::TooLarge));
        assert_eq!(tiles(12_000, 12_000), None);
        assert_eq!(tiles(12_000, 12_001), Some(Refusal::TooLarge));
        assert_eq!(tiles(0, 16), Some(Refusal::Corrupt));
    }

    /// Variants that loaders do not read: compression, bits, samples, formats, interpretation.
    #[test]
    fn what_loaders_do_not_read_is_unsupported() {
        let with = |more: &[(u16, u16, u32, u32)]| {
            let place = [(273, 4, 1, 200), (279, 4, 1, 100)];
            // Of two entries with the same tag the first counts.
            let page = [(256, 3, 1, 20), (257, 3, 1, 20)];
            let grey = [(258, 3, 1, 8), (262, 3, 1, 1)];
            let entries = [&page[..], more, &grey, &place].concat();
            let mut file = tiff(false, &[Vec::leak(entries)]);
            file.resize(4000, 0);
            refusal(&file)
        };
        let unsupported = Some(Refusal::UnsupportedFormat);
        for compression in [1, 5, 7, 8, 32_773, 32_946] {
            assert_eq!(with(&[(259, 3, 1, compression)]), None, "{compression}");
        }
        for compression in [2, 6, 9, 34_661, 34_676, 34_925, 50_000, 50_001, 65_535] {
            assert_eq!(with(&[(259, 3, 1, compression)]), unsupported, "{compression}");
        }
        assert_eq!(with(&[(259, 3, 1, 4), (258, 3, 1, 1)]), None);
        for bits in [1, 2, 4, 8, 12, 16, 32] {
            assert_eq!(with(&[(258, 3, 1, bits)]), None, "{bits}");
        }
        for bits in [3, 6, 10, 14, 24, 64] {
            assert_eq!(with(&[(258, 3, 1, bits)]), unsupported, "{bits}");
        }
        for samples in [3, 4] {
            assert_eq!(with(&[(277, 3, 1, samples), (262, 3, 1, 2)]), None, "{samples}");
        }
        for samples in [1, 2, 5, 7, u32::from(u16::MAX)] {
            assert_eq!(with(&[(277, 3, 1, samples), (262, 3, 1, 2)]), unsupported, "{samples}");
        }
        assert_eq!(with(&[(339, 3, 1, 3), (258, 3, 1, 32)]), None);
        assert_eq!(with(&[(339, 3, 1, 3), (258, 3, 1, 16)]), unsupported);
        assert_eq!(with(&[(262, 3, 1, 3)]), unsupported);
        assert_eq!(with(&[(262, 3, 1, 3), (320, 3, 2, 0)]), None);
        for photometric in [4, 7, 9, 10, 32_844] {
            assert_eq!(with(&[(262, 3, 1, photometric)]), unsupported, "{photometric}");
        }
    }

    /// Cameras' files: a preview first, the sensor's data in another directory.
    #[test]
    fn raw_files_are_unsupported() {
        let place = [(273, 4, 1, 200), (279, 4, 1, 400)];
        let with = |more: &[(u16, u16, u32, u32)]| plain(&[&place[..], more].concat());
        let unsupported = Some(Refusal::UnsupportedFormat);
        assert_eq!(with(&[(50_706, 1, 4, 0x401)]), unsupported);
        assert_eq!(with(&[(254, 4, 1, 1)]), None);
        for photometric in [32_803, 34_892] {
            let raw: Entries = Vec::leak(vec![(262, 3, 1, photometric)]);
            let mut file = tiff(false, &[GRAY, raw]);
            assert_eq!(refusal(&file), unsupported);
            // The same directory, but as a sub-directory of the first.
            let at = u32::try_from(file.len() - 18).unwrap();
            let first: Entries = Vec::leak([GRAY, &[(330, 4, 1, at + 12)]].concat());
            file = tiff(false, &[first, raw]);
            let next = file.len() - 18 - 4;
            file[next..next + 4].fill(0);
            assert_eq!(refusal(&file), unsupported);
        }
    }
}
