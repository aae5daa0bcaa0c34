//! The directories of a TIFF, and the values that their entries hold or lead to.

use crate::{Refusal, scan::Scan};
use std::io::{BufRead, Seek};

/// The most directory entries, strips and tiles that are read in one file. The largest picture in
/// tiles of 16 x 16 pixels has 390,625 tiles.
const MAX_STEPS: u64 = 1 << 20;

/// The most bytes by which the data of all strips and tiles may exceed the file. Writers store a
/// blank tile once and refer to it often, so some excess is normal.
const MAX_SHARED_BYTES: u64 = 256 * 1024 * 1024;

/// The most bytes of a field that are read at once: tables of a JPEG have about a thousand.
#[cfg(feature = "decode")]
const MAX_BYTES: u64 = 64 * 1024;

/// What says how the data is stored: sizes, bits, compression, photometric interpretation, places, samples,
/// rows, lengths, planes, predictor and tiles.
const STORAGE: [u64; 16] =
    [256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339];

/// Of these, what must be a number: compression, photometric interpretation, samples, planes, predictor.
const NUMBERS: [u64; 5] = [259, 262, 277, 284, 317];

/// The fields of a directory that are needed. Of an entry that is there twice, the first counts.
#[derive(Default)]
pub(super) struct Directory {
    /// Bits that say what the page is; the lowest one, that a larger version is elsewhere.
    pub(super) kind: Option<Field>,
    pub(super) width: Option<Field>,
    pub(super) height: Option<Field>,
    pub(super) bits: Option<Field>,
    pub(super) compression: Option<Field>,
    pub(super) photometric: Option<Field>,
    pub(super) fill_order: Option<Field>,
    pub(super) offsets: Option<Field>,
    pub(super) orientation: Option<Field>,
    pub(super) samples: Option<Field>,
    pub(super) rows_a_strip: Option<Field>,
    pub(super) lens: Option<Field>,
    pub(super) planar: Option<Field>,
    pub(super) colours: Option<Field>,
    pub(super) predictor: Option<Field>,
    pub(super) tile_width: Option<Field>,
    pub(super) tile_height: Option<Field>,
    pub(super) sub_directories: Option<Field>,
    pub(super) extra_samples: Option<Field>,
    pub(super) sample_formats: Option<Field>,
    pub(super) subsampling: Option<Field>,
    /// Of group 3: the lowest bit says that it is in two dimensions.
    #[cfg(feature = "decode")]
    pub(super) facsimile_options: Option<Field>,
    /// Tables that the JPEGs of all pieces share.
    #[cfg(feature = "decode")]
    pub(super) jpeg_tables: Option<Field>,
    pub(super) exif: Option<Field>,
    pub(super) gps: Option<Field>,
    /// Whether a tag says that the file is a digital negative, or a Windows Media Photo.
    pub(super) is_other_format: bool,
    /// The end of the value that ends last in the file.
    end: u64,
    /// The next directory, or zero.
    pub(super) next: u64,
}

/// The values of a directory entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// The bytes of one value.
    width: usize,
    /// Whether the values are whole numbers that loaders take as such.
    is_number: bool,
    /// How many values there are.
    pub(super) count: u64,
    /// Where they begin.
    at: u64,
}

/// Reads directories and values, up to limits for the whole file.
pub(super) struct Reader<'s, 'b, R> {
    scan: &'s mut Scan<'b, R>,
    pub(super) is_big_endian: bool,
    /// `BigTIFF`: offsets of eight bytes.
    is_big: bool,
    /// The offset of the first directory.
    pub(super) first: u64,
    /// What is left of [`MAX_STEPS`].
    steps_left: u64,
    /// What is left for the data of all strips and tiles.
    bytes_left: u64,
}

impl<'s, 'b, R: BufRead + Seek> Reader<'s, 'b, R> {
    pub(super) fn open(scan: &'s mut Scan<'b, R>) -> Result<Self, Refusal> {
        let [order, _, m0, m1] = scan.array()?;
        let mut reader = Self {
            bytes_left: scan.len().saturating_add(MAX_SHARED_BYTES),
            scan,
            is_big_endian: order == b'M',
            is_big: m0 == 43 || m1 == 43,
            first: 0,
            steps_left: MAX_STEPS,
        };
        if reader.is_big && (reader.uint(2)?, reader.uint(2)?) != (8, 0) {
            return Err(Refusal::Corrupt);
        }
        reader.first = reader.uint(reader.offset_width())?;
        if reader.is_big && reader.is_big_endian {
            // Loaders take it for a TIFF of the usual kind, and find nothing.
            return Err(Refusal::UnsupportedFormat);
        }
        Ok(reader)
    }

    /// The length of the file.
    pub(super) fn len(&self) -> u64 {
        self.scan.len()
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

    pub(super) fn step(&mut self, n: u64) -> Result<(), Refusal> {
        self.steps_left = self.steps_left.checked_sub(n).ok_or(Refusal::Corrupt)?;
        Ok(())
    }

    /// Counts data that a decoder reads. It reads each strip or tile, even one that it has read before.
    pub(super) fn take_data(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Refusal::Corrupt)?;
        Ok(())
    }

    /// Reads the directory at an offset.
    pub(super) fn directory(&mut self, at: u64) -> Result<Directory, Refusal> {
        self.scan.jump(at)?;
        let n_entries = self.uint(if self.is_big { 8 } else { 2 })?;
        if at == 0 || n_entries == 0 {
            return Err(Refusal::Corrupt);
        }
        self.step(n_entries)?;
        let mut directory = Directory::default();
        for _ in 0..n_entries {
            self.entry(&mut directory)?;
        }
        directory.next = self.uint(self.offset_width())?;
        Ok(directory)
    }

    fn entry(&mut self, directory: &mut Directory) -> Result<(), Refusal> {
        let (tag, kind) = (self.uint(2)?, self.uint(2)?);
        let count = self.uint(self.offset_width())?;
        let inline = self.scan.at();
        let value = self.uint(self.offset_width())?;
        let width = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            // Of what says how the data is stored loaders take no other type.
            _ if STORAGE.contains(&tag) => return Err(Refusal::UnsupportedFormat),
            // A type of a later standard: the length of its values is not known.
            _ => return Ok(()),
        };
        let len = count.saturating_mul(width);
        let is_inline = usize::try_from(len).is_ok_and(|len| len <= self.offset_width());
        let at = if is_inline { inline } else { value };
        directory.end = directory.end.max(at.saturating_add(len));
        let width = usize::try_from(width).map_err(|_| Refusal::Corrupt)?;
        let is_number = matches!(kind, 3 | 4 | 6 | 8 | 9 | 13 | 16);
        if !is_number && NUMBERS.contains(&tag) {
            return Err(Refusal::UnsupportedFormat);
        }
        directory.keep(tag, Field { width, is_number, count, at });
        Ok(())
    }

    /// The bytes of a field, whatever they mean.
    #[cfg(feature = "decode")]
    pub(super) fn bytes(&mut self, field: Field) -> Result<Vec<u8>, Refusal> {
        let width = u64::try_from(field.width).map_err(|_| Refusal::Corrupt)?;
        let len = field.count.saturating_mul(width).min(MAX_BYTES);
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| Refusal::Corrupt)?];
        self.scan.jump(field.at)?;
        self.scan.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The file from here on, where data lies.
    #[cfg(feature = "decode")]
    pub(super) fn data(&mut self, start: u64) -> Result<&mut Scan<'b, R>, Refusal> {
        self.scan.jump(start)?;
        Ok(self.scan)
    }

    /// Whether the first strip begins like LZW codes of the old kind, as libtiff tells them.
    #[cfg(feature = "decode")]
    pub(super) fn starts_with_old_codes(&mut self, offsets: Field) -> Result<bool, Refusal> {
        let at = self.values(offsets, 1)?.first().copied().unwrap_or_default();
        self.scan.jump(at)?;
        let [first, second] = self.scan.array()?;
        Ok(first == 0 && second & 1 == 1)
    }

    /// The bytes at an offset.
    #[cfg(feature = "decode")]
    pub(super) fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Refusal> {
        self.scan.jump(at)?;
        self.scan.array()
    }

    /// How often two bytes stand behind each other.
    #[cfg(feature = "decode")]
    pub(super) fn count_pairs(
        &mut self,
        from: u64,
        to: u64,
        pair: [u8; 2],
    ) -> Result<u64, Refusal> {
        let [first, second] = pair;
        self.scan.jump(from)?;
        let mut n = 0;
        while self.scan.at() + 1 < to && self.scan.skip_past(first).is_ok() {
            n += u64::from(self.scan.left() > 0 && self.scan.peek()?.first() == Some(&second));
        }
        Ok(n)
    }

    /// Checks that the values of a directory lie inside the file.
    pub(super) fn check_end(&self, directory: &Directory) -> Result<(), Refusal> {
        if directory.end > self.scan.len() { Err(Refusal::Truncated) } else { Ok(()) }
    }

    /// The first value of a field, if it has one that is a whole number.
    pub(super) fn value(&mut self, field: Option<Field>) -> Result<Option<u64>, Refusal> {
        match field {
            Some(field) if field.count > 0 && field.is_number => {
                self.scan.jump(field.at)?;
                self.uint(field.width).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The first values of a field, at most so many.
    pub(super) fn values(&mut self, field: Field, most: u64) -> Result<Vec<u64>, Refusal> {
        self.block(field, 0, field.count.min(most))
    }

    /// Reads `n` values of a table, beginning with value `from`.
    pub(super) fn block(&mut self, field: Field, from: u64, n: u64) -> Result<Vec<u64>, Refusal> {
        let width = u64::try_from(field.width).map_err(|_| Refusal::Corrupt)?;
        self.scan.jump(field.at.saturating_add(from.saturating_mul(width)))?;
        (0..n).map(|_| self.uint(field.width)).collect()
    }
}

impl Field {
    /// Where the values begin.
    #[cfg(feature = "decode")]
    pub(super) fn at(self) -> u64 {
        self.at
    }
}

impl Directory {
    fn keep(&mut self, tag: u64, field: Field) {
        let slot = match tag {
            254 => &mut self.kind,
            256 => &mut self.width,
            257 => &mut self.height,
            258 => &mut self.bits,
            259 => &mut self.compression,
            262 => &mut self.photometric,
            266 => &mut self.fill_order,
            273 | 324 => &mut self.offsets,
            274 => &mut self.orientation,
            277 => &mut self.samples,
            278 => &mut self.rows_a_strip,
            279 | 325 => &mut self.lens,
            284 => &mut self.planar,
            317 => &mut self.predictor,
            320 => &mut self.colours,
            322 => &mut self.tile_width,
            323 => &mut self.tile_height,
            330 => &mut self.sub_directories,
            338 => &mut self.extra_samples,
            339 => &mut self.sample_formats,
            #[cfg(feature = "decode")]
            292 => &mut self.facsimile_options,
            #[cfg(feature = "decode")]
            347 => &mut self.jpeg_tables,
            530 => &mut self.subsampling,
            34_665 => &mut self.exif,
            34_853 => &mut self.gps,
            // A digital negative says its version; a Windows Media Photo has its own pixel format.
            50_706 | 48_129 => {
                self.is_other_format = true;
                return;
            }
            _ => return,
        };
        if slot.is_none() && field.count > 0 {
            *slot = Some(field);
        }
    }
}
