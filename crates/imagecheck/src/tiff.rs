//! TIFF and `BigTIFF`: a chain of directories, whose entries say where everything else lies.
//!
//! Sources: [TIFF 6.0](https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf): header,
//! directories, entries and their types (section 2), strips and the other tags (section 8), tiles
//! (section 15). [BigTIFF](https://www.awaresystems.be/imaging/tiff/bigtiff.html): eight-byte counts
//! and offsets, types 16 to 18. Type 13 is from Adobe's technical note 1 on TIFF trees.

use crate::{Level, Refusal, Size, scan::Scan};
use std::io::{BufRead, Seek};

/// The most pages of one file.
const MAX_PAGES: usize = 1000;

/// The most directory entries, strips and tiles that are read in one file. The largest picture in
/// tiles of 16 x 16 pixels has 390,625 tiles.
const MAX_STEPS: u64 = 1 << 20;

/// The most bytes by which the data of all strips and tiles may exceed the file. Writers store a
/// blank tile once and refer to it often, so some excess is normal.
const MAX_SHARED_BYTES: u64 = 256 * 1024 * 1024;

/// The values of a table that are read at a time.
const BLOCK_VALUES: u64 = 512;

/// Reads the first page's dimensions and, above fast, checks that the data of all pages is there.
///
/// Bytes that no directory of the chain mentions are ignored, and so are directories outside the
/// chain (previews, Exif): the pages do not need them.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    let mut walk = Walk::open(scan)?;
    let first = walk.first;
    let page = walk.page(first)?;
    let size =
        Size::checked(walk.required(page.width.as_ref())?, walk.required(page.height.as_ref())?)?;
    if level != Level::Fast {
        walk.pages(page, size)?;
    }
    Ok(size)
}

/// The fields of a directory that are needed.
#[derive(Default)]
struct Page {
    width: Option<Field>,
    height: Option<Field>,
    samples: Option<Field>,
    planar: Option<Field>,
    rows_a_strip: Option<Field>,
    tile_width: Option<Field>,
    tile_height: Option<Field>,
    offsets: Option<Field>,
    lens: Option<Field>,
    /// The end of the value that ends last in the file.
    end: u64,
    /// The next directory, or zero.
    next: u64,
}

/// The values of a directory entry.
struct Field {
    /// The bytes of one value.
    width: usize,
    /// How many values there are.
    count: u64,
    /// Where they begin.
    at: u64,
}

struct Walk<'s, 'b, R> {
    scan: &'s mut Scan<'b, R>,
    is_big_endian: bool,
    /// `BigTIFF`: offsets of eight bytes.
    is_big: bool,
    /// The offset of the first directory.
    first: u64,
    /// What is left of [`MAX_STEPS`].
    steps_left: u64,
    /// What is left for the data of all strips and tiles.
    bytes_left: u64,
}

impl<'s, 'b, R: BufRead + Seek> Walk<'s, 'b, R> {
    fn open(scan: &'s mut Scan<'b, R>) -> Result<Self, Refusal> {
        let [order, _, m0, m1] = scan.array()?;
        let mut walk = Self {
            bytes_left: scan.len().saturating_add(MAX_SHARED_BYTES),
            scan,
            is_big_endian: order == b'M',
            is_big: m0 == 43 || m1 == 43,
            first: 0,
            steps_left: MAX_STEPS,
        };
        if walk.is_big && (walk.uint(2)?, walk.uint(2)?) != (8, 0) {
            return Err(Refusal::Corrupt);
        }
        walk.first = walk.uint(walk.offset_width())?;
        Ok(walk)
    }

    /// Bytes of an offset.
    fn offset_width(&self) -> usize {
        if self.is_big { 8 } else { 4 }
    }

    fn uint(&mut self, width: usize) -> Result<u64, Refusal> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..width).ok_or(Refusal::Corrupt)?;
        self.scan.fill(bytes)?;
        Ok(self.number(bytes))
    }

    fn number(&self, bytes: &[u8]) -> u64 {
        let shift = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.is_big_endian {
            bytes.iter().fold(0, shift)
        } else {
            bytes.iter().rev().fold(0, shift)
        }
    }

    fn step(&mut self, n: u64) -> Result<(), Refusal> {
        self.steps_left = self.steps_left.checked_sub(n).ok_or(Refusal::Corrupt)?;
        Ok(())
    }

    fn pages(&mut self, first: Page, size: Size) -> Result<(), Refusal> {
        let mut seen = vec![self.first];
        let mut next = first.next;
        self.check(&first, Some(size))?;
        while next != 0 {
            if seen.contains(&next) || seen.len() == MAX_PAGES {
                return Err(Refusal::Corrupt);
            }
            seen.push(next);
            let page = self.page(next)?;
            self.check(&page, None)?;
            next = page.next;
        }
        Ok(())
    }

    /// Reads the directory at an offset.
    fn page(&mut self, at: u64) -> Result<Page, Refusal> {
        self.scan.jump(at)?;
        let n_entries = self.uint(if self.is_big { 8 } else { 2 })?;
        if at == 0 || n_entries == 0 {
            return Err(Refusal::Corrupt);
        }
        self.step(n_entries)?;
        let mut page = Page::default();
        for _ in 0..n_entries {
            self.entry(&mut page)?;
        }
        page.next = self.uint(self.offset_width())?;
        Ok(page)
    }

    fn entry(&mut self, page: &mut Page) -> Result<(), Refusal> {
        let (tag, kind) = (self.uint(2)?, self.uint(2)?);
        let count = self.uint(self.offset_width())?;
        let inline = self.scan.at();
        let value = self.uint(self.offset_width())?;
        let width = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            // A type of a later standard: the length of its values is not known.
            _ => return Ok(()),
        };
        let len = count.saturating_mul(width);
        let is_inline = usize::try_from(len).is_ok_and(|len| len <= self.offset_width());
        let at = if is_inline { inline } else { value };
        page.end = page.end.max(at.saturating_add(len));
        let field =
            Field { width: usize::try_from(width).map_err(|_| Refusal::Corrupt)?, count, at };
        page.keep(tag, field);
        Ok(())
    }

    /// The first value of a field.
    fn value(&mut self, field: Option<&Field>) -> Result<Option<u64>, Refusal> {
        match field {
            Some(field) if field.count > 0 => {
                self.scan.jump(field.at)?;
                self.uint(field.width).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn required(&mut self, field: Option<&Field>) -> Result<u64, Refusal> {
        self.value(field)?.ok_or(Refusal::Corrupt)
    }

    /// Checks that the values and the data of a page lie inside the file.
    ///
    /// The first page must have all the data that its size needs.
    fn check(&mut self, page: &Page, size: Option<Size>) -> Result<(), Refusal> {
        if page.end > self.scan.len() {
            return Err(Refusal::Truncated);
        }
        match (&page.offsets, &page.lens) {
            (Some(offsets), Some(lens)) => {
                if let Some(size) = size
                    && self.pieces(page, size)? > offsets.count
                {
                    return Err(Refusal::Corrupt);
                }
                self.check_data(offsets, lens)
            }
            _ if size.is_some() => Err(Refusal::Corrupt),
            _ => Ok(()),
        }
    }

    /// The number of strips or tiles that cover the picture.
    fn pieces(&mut self, page: &Page, size: Size) -> Result<u64, Refusal> {
        let (width, height) = (u64::from(size.width), u64::from(size.height));
        let rows = self.value(page.rows_a_strip.as_ref())?.unwrap_or(height);
        let tile_width = self.value(page.tile_width.as_ref())?.unwrap_or(width);
        let tile_height = self.value(page.tile_height.as_ref())?.unwrap_or(rows);
        if tile_width == 0 || tile_height == 0 {
            return Err(Refusal::Corrupt);
        }
        let planes = match self.value(page.planar.as_ref())? {
            Some(2) => self.value(page.samples.as_ref())?.unwrap_or(1),
            _ => 1,
        };
        (width.div_ceil(tile_width) * height.div_ceil(tile_height))
            .checked_mul(planes)
            .ok_or(Refusal::Corrupt)
    }

    fn check_data(&mut self, offsets: &Field, lens: &Field) -> Result<(), Refusal> {
        if offsets.count != lens.count {
            return Err(Refusal::Corrupt);
        }
        self.step(offsets.count)?;
        let mut from = 0;
        while from < offsets.count {
            let n = BLOCK_VALUES.min(offsets.count - from);
            let starts = self.block(offsets, from, n)?;
            let lens = self.block(lens, from, n)?;
            for (start, len) in starts.iter().zip(lens) {
                if start.saturating_add(len) > self.scan.len() {
                    return Err(Refusal::Truncated);
                }
                // A decoder reads each strip or tile, even one that it has read before.
                self.bytes_left = self.bytes_left.checked_sub(len).ok_or(Refusal::Corrupt)?;
            }
            from += n;
        }
        Ok(())
    }

    /// Reads `n` values of a table, beginning with value `from`.
    fn block(&mut self, field: &Field, from: u64, n: u64) -> Result<Vec<u64>, Refusal> {
        let width = u64::try_from(field.width).map_err(|_| Refusal::Corrupt)?;
        self.scan.jump(field.at.saturating_add(from * width))?;
        (0..n).map(|_| self.uint(field.width)).collect()
    }
}

impl Page {
    fn keep(&mut self, tag: u64, field: Field) {
        let slot = match tag {
            256 => &mut self.width,
            257 => &mut self.height,
            273 | 324 => &mut self.offsets,
            277 => &mut self.samples,
            278 => &mut self.rows_a_strip,
            279 | 325 => &mut self.lens,
            284 => &mut self.planar,
            322 => &mut self.tile_width,
            323 => &mut self.tile_height,
            _ => return,
        };
        *slot = Some(field);
    }
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

    /// Case 100: the chain of directories leads back.
    #[test]
    fn loops_are_corrupt() {
        let mut file = tiff(false, &[GRAY, GRAY]);
        let at = file.len() - 4;
        for first_or_self in [8, 122] {
            file[at] = first_or_self;
            assert_eq!(refusal(&file), Some(Refusal::Corrupt));
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
        let sides = || [(256, 3, 1, 2), (257, 3, 1, 2)];
        let with = |more: &[(u16, u16, u32, u32)]| {
            let entries = [&sides()[..], more].concat();
            page(Vec::leak(entries))
        };
        assert_eq!(with(&[(273, 4, 1, 4), (279, 4, 1, 4)]), None);
        assert_eq!(with(&[(273, 4, 1, 4), (279, 4, 1, 999)]), Some(Refusal::Truncated));
        assert_eq!(with(&[(273, 4, 1, u32::MAX), (279, 4, 1, 1)]), Some(Refusal::Truncated));
        assert_eq!(with(&[(273, 4, u32::MAX, 8), (279, 4, 1, 1)]), Some(Refusal::Truncated));
        assert_eq!(with(&[(282, 5, u32::MAX, u32::MAX)]), Some(Refusal::Truncated));
        // A kind of value that is not known is not followed.
        let unknown = (60_000, 99, u32::MAX, u32::MAX);
        assert_eq!(with(&[(273, 4, 1, 4), (279, 4, 1, 4), unknown]), None);
    }

    #[test]
    fn strips_and_tiles_cover_the_picture() {
        let with = |more: &[(u16, u16, u32, u32)]| {
            let sides = [(256, 3, 1, 20), (257, 3, 1, 20)];
            page(Vec::leak([&sides[..], more].concat()))
        };
        let (offset, len) = ((273, 4, 1, 4), (279, 4, 1, 4));
        assert_eq!(with(&[offset, len]), None);
        assert_eq!(with(&[offset]), Some(Refusal::Corrupt));
        assert_eq!(with(&[len]), Some(Refusal::Corrupt));
        assert_eq!(with(&[(273, 4, 2, 8), len]), Some(Refusal::Corrupt));
        assert_eq!(with(&[offset, len, (278, 3, 1, 10)]), Some(Refusal::Corrupt));
        assert_eq!(with(&[offset, len, (278, 3, 1, 0)]), Some(Refusal::Corrupt));
        assert_eq!(with(&[(273, 3, 2, 8), (279, 3, 2, 8), (278, 3, 1, 10)]), None);
        assert_eq!(with(&[offset, len, (284, 3, 1, 2), (277, 3, 1, 3)]), Some(Refusal::Corrupt));
        let tiles = [(322, 3, 1, 16), (323, 3, 1, 16)];
        assert_eq!(with(&[&tiles[..], &[(324, 1, 4, 0), (325, 1, 4, 0)]].concat()), None);
        let missing = [&tiles[..], &[(324, 1, 3, 0), (325, 1, 3, 0)]].concat();
        assert_eq!(with(&missing), Some(Refusal::Corrupt));
    }
}
