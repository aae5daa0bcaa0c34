//! Which kinds of pixels and of compression loaders read, and which files are a camera's raw data.
//!
//! Source: Pillow, `TiffImagePlugin.OPEN_INFO` and `COMPRESSION_INFO`, less what the libtiff that it
//! comes with cannot decode. Raw data: [DNG](https://helpx.adobe.com/camera-raw/digital-negative.html),
//! chapter 4; other cameras' files have the same two kinds of photometric interpretation.

#[cfg(feature = "decode")]
use super::Support;
use super::directory::{Directory, Reader};
use crate::Refusal;
use std::io::{BufRead, Seek};

/// The most samples of a pixel that loaders read.
const MAX_SAMPLES: u64 = 6;

/// Photometric interpretations: what a sensor saw behind its colour filters, or in linear light.
const SENSOR: [u64; 2] = [32_803, 34_892];

/// How the first page's pixels are stored.
pub(super) struct Samples {
    pub(super) compression: Compression,
    pub(super) is_planar: bool,
    /// The bits of each sample; all have the same.
    pub(super) bits: u64,
    /// The samples of a pixel.
    pub(super) count: u64,
}

/// How the data of a strip or tile is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not: its length follows from the size.
    None,
    /// Somehow: its length is what the file says.
    Some,
}

/// Whether a directory has a sensor's data.
pub(super) fn is_raw<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    directory: &Directory,
) -> Result<bool, Refusal> {
    let photometric = reader.value(directory.photometric)?;
    Ok(directory.is_other_format || photometric.is_some_and(|value| SENSOR.contains(&value)))
}

/// Whether the first page belongs to a camera's raw file: a preview, whose picture is elsewhere.
pub(super) fn has_raw<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    first: &Directory,
) -> Result<bool, Refusal> {
    let is_preview = reader.value(first.kind)?.unwrap_or(0) & 1 == 1;
    Ok(is_preview && first.sub_directories.is_some() || is_raw(reader, first)?)
}

/// How the pixels of the first page are stored, if loaders read it.
pub(super) fn samples<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
) -> Result<Samples, Refusal> {
    let planar = reader.value(page.planar)?;
    if page.planar.is_some() && planar.is_none() {
        // Of another type than a number, it confuses loaders.
        return Err(Refusal::UnsupportedFormat);
    }
    let is_planar = planar == Some(2);
    let mut pixel = pixel(reader, page, is_planar)?;
    let compression = reader.value(page.compression)?.unwrap_or(1);
    let n_bits = pixel.bits;
    let is_read = match compression {
        // Without compression the loader itself reads the data, and as if nothing were subsampled.
        1 => pixel.photometric != 6 || !is_planar && !is_subsampled(reader, page)?,
        // Codes of facsimile machines.
        2..=4 => n_bits == 1 && pixel.count == 1,
        // LZW, deflate in two spellings, and runs of bytes.
        5 | 8 | 32_773 | 32_946 => pixel.photometric != 6 || !is_planar,
        // JPEG. The old kind, 6, is read in part only; of two components no decoder of ours reads any.
        7 => {
            n_bits == 8 && (pixel.photometric != 6 || !is_planar) && (pixel.count != 2 || is_planar)
        }
        _ => false,
    };
    let is_read = is_read && (compression == 1 || is_stored_as_known(reader, page, &pixel)?);
    pixel.has_colours = page.colours.is_some();
    pixel.is_planar_raw = is_planar && compression == 1;
    if !is_read || !pixel.is_read() {
        return Err(Refusal::UnsupportedFormat);
    }
    let count = pixel.count;
    let compression = if compression == 1 { Compression::None } else { Compression::Some };
    Ok(Samples { compression, is_planar, bits: n_bits, count })
}

/// Whether libtiff, which reads compressed data, takes the planes, strips and predictor that the page
/// names. Source: its `tif_dirread.c` and `PredictorSetup` of `tif_predict.c`.
fn is_stored_as_known<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
    pixel: &Pixel,
) -> Result<bool, Refusal> {
    let has_predictor = matches!(reader.value(page.compression)?, Some(5 | 8 | 32_946));
    let is_predictor_known = match reader.value(page.predictor)? {
        Some(2) => matches!(pixel.bits, 8 | 16 | 32 | 64),
        Some(3) => pixel.format == 3 && matches!(pixel.bits, 16 | 24 | 32 | 64),
        predictor => matches!(predictor, None | Some(1)),
    };
    let is_one_number = page.rows_a_strip.is_none_or(|field| field.count == 1);
    let are_planes_known = matches!(reader.value(page.planar)?, None | Some(1 | 2));
    Ok(are_planes_known && is_one_number && (is_predictor_known || !has_predictor))
}

/// What `image` 0.25 with `tiff` 0.11 makes of a page that loaders read.
#[cfg(feature = "decode")]
pub(super) fn support<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
) -> Result<Support, Refusal> {
    let compression = reader.value(page.compression)?.unwrap_or(1);
    let bits = reader.value(page.bits)?.unwrap_or(1);
    let panics = reader.value(page.planar)? == Some(2) && bits > 8;
    match (compression, panics) {
        (1, true) => return Ok(Support::ProvenPanics),
        (1, false) => return Ok(Support::Proven),
        (_, true) => return Ok(Support::Panics),
        (_, false) => {}
    }
    // LZW as it was before TIFF 6.0, with the bits of its codes the other way round.
    let is_old = compression == 5
        && match page.offsets {
            Some(offsets) => reader.starts_with_old_codes(offsets)?,
            None => false,
        };
    let is_part = matches!(compression, 2..=4 | 7) || page.fill_order.is_some() || is_old;
    Ok(if is_part { Support::Part } else { Support::Full })
}

/// Whether the colours of a picture in luminance and chrominance have fewer samples.
fn is_subsampled<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
) -> Result<bool, Refusal> {
    match page.subsampling {
        Some(field) => Ok(reader.values(field, 2)? != [1, 1]),
        // Two by two, unless the file says something.
        None => Ok(true),
    }
}

/// What Pillow's table of modes is asked for.
struct Pixel {
    is_big_endian: bool,
    photometric: u64,
    format: u64,
    is_reversed: bool,
    bits: u64,
    count: u64,
    extra: Vec<u64>,
    has_colours: bool,
    is_planar_raw: bool,
}

fn pixel<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
    is_planar: bool,
) -> Result<Pixel, Refusal> {
    let unsupported = Err(Refusal::UnsupportedFormat);
    let compression = reader.value(page.compression)?.unwrap_or(1);
    let mut count = reader.value(page.samples)?.unwrap_or(if compression == 6 { 3 } else { 1 });
    let mut bits = match page.bits {
        Some(field) => reader.values(field, MAX_SAMPLES + 1)?,
        None => vec![1],
    };
    let mut extra = match page.extra_samples {
        Some(field) => reader.values(field, MAX_SAMPLES + 1)?,
        None => Vec::new(),
    };
    // Further samples that mean nothing, each in a plane of its own, are not looked at.
    if is_planar && !extra.is_empty() && extra.iter().all(|kind| *kind == 0) {
        bits.truncate(bits.len().saturating_sub(extra.len()));
        count = count.saturating_sub(u64::try_from(extra.len()).unwrap_or(u64::MAX));
        extra.clear();
    }
    let n = usize::try_from(count.min(MAX_SAMPLES + 1)).unwrap_or(usize::MAX);
    if let [one] = bits[..] {
        bits.resize(n, one);
    }
    bits.truncate(n);
    let formats = match page.sample_formats {
        Some(field) => reader.values(field, MAX_SAMPLES + 1)?,
        None => vec![1],
    };
    let (Some(&first), Some(&format)) = (bits.first(), formats.first()) else { return unsupported };
    if count > MAX_SAMPLES
        || bits.len() != n
        || bits.iter().any(|bits| *bits != first)
        || formats.iter().any(|other| *other != format)
    {
        return unsupported;
    }
    let is_reversed = match reader.value(page.fill_order)? {
        None | Some(1) => false,
        Some(2) => true,
        Some(_) => return unsupported,
    };
    Ok(Pixel {
        is_big_endian: reader.is_big_endian,
        photometric: reader.value(page.photometric)?.unwrap_or(0),
        format,
        is_reversed,
        bits: first,
        count,
        extra,
        has_colours: false,
        is_planar_raw: false,
    })
}

impl Pixel {
    /// Whether the table of modes has the pixel.
    fn is_read(&self) -> bool {
        // Of the one plane the loader takes the first letter of its mode, which says other bits.
        if self.is_planar_raw && self.count == 1 && !matches!(self.bits, 1 | 8 | 32) {
            return false;
        }
        let is_little = !self.is_big_endian;
        let has_extra = !self.extra.is_empty();
        // The first further sample may be alpha, those behind it must mean nothing.
        let alpha = self.extra.first().copied();
        let is_padded = self.extra.iter().skip(1).all(|kind| *kind == 0);
        match (self.photometric, self.format, self.bits, self.count) {
            (0 | 1, 1, 1 | 2 | 4 | 8, 1) | (3, 1, 1 | 2 | 4 | 8, 1) if !has_extra => {
                self.photometric != 3 || self.has_colours
            }
            (1, 2, 8, 1) | (1, 2, 16, 1) | (1, 2, 32, 1) | (0 | 1, 3, 32, 1) => {
                !has_extra && !self.is_reversed
            }
            (0, 1, 16, 1) => !has_extra && is_little && !self.is_reversed,
            (1, 1, 16, 1) => !has_extra && (is_little || !self.is_reversed),
            (1, 1, 12 | 32, 1) => !has_extra && is_little && !self.is_reversed,
            (1, 1, 8, 2) => matches!(alpha, Some(0..=2)) && self.is_plain(1),
            (3, 1, 8, 2) => matches!(alpha, Some(0 | 2)) && self.is_plain(1) && self.has_colours,
            (2, 1, 8, 3) => !has_extra,
            (2, 1, 16, 3) | (5, 1, 8 | 16, 4) | (6 | 8, 1, 8, 3) | (6, 1, 8, 1) => {
                !has_extra && !self.is_reversed
            }
            (2, 1, 8, 4) => matches!(alpha, None | Some(0..=2 | 999)) && self.is_plain(1),
            (2, 1, 16, 4) => matches!(alpha, None | Some(0..=2)) && self.is_plain(1),
            (2, 1, 8, n @ 5..=6) => {
                matches!(alpha, Some(0..=2)) && is_padded && self.is_plain(n - 3)
            }
            (5, 1, 8, n @ 5..=6) => alpha == Some(0) && is_padded && self.is_plain(n - 4),
            _ => false,
        }
    }

    /// Whether the bits stand in the usual order and there are so many further samples, or none.
    fn is_plain(&self, extra: u64) -> bool {
        let n = u64::try_from(self.extra.len()).unwrap_or(u64::MAX);
        !self.is_reversed && (n == extra || n == 0)
    }
}
