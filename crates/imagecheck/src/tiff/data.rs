//! The strips and tiles of a TIFF: how many a page needs, how long they are, and that they are there.

use super::directory::{Directory, Field, Reader};
use super::variant::{Compression, Samples};
use crate::{MAX_AREA_PX, MAX_SIDE_PX, Refusal, Size};
use std::io::{BufRead, Seek};

/// The values of a table that are read at a time.
const BLOCK_VALUES: u64 = 512;

/// The most pixels of all tiles: they exceed the picture at its right and lower edge, and a decoder
/// inflates them whole.
const MAX_TILED_PX: u64 = MAX_AREA_PX + MAX_AREA_PX / 2;

/// How a page is cut into strips or tiles.
pub(super) struct Layout {
    /// Pieces side by side, and rows of them.
    pub(super) across: u64,
    pub(super) down: u64,
    /// How often the pieces are repeated, once for each plane.
    pub(super) planes: u64,
    /// The size of a piece in pixels.
    pub(super) width: u64,
    pub(super) height: u64,
    /// The rows of the last strip; a tile has all its rows.
    last_height: u64,
}

impl Layout {
    /// The rows of pixels of a piece.
    pub(super) fn rows(&self, piece: u64) -> u64 {
        let is_last = piece % (self.across * self.down) / self.across + 1 == self.down;
        if is_last { self.last_height } else { self.height }
    }
}

/// Checks that the first page has all the data that its size needs.
pub(super) fn check_first<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
    size: Size,
    samples: &Samples,
) -> Result<(), Refusal> {
    let layout = layout(reader, page, size, samples)?;
    let n = layout.across * layout.down * layout.planes;
    let offsets = page.offsets.ok_or(Refusal::Corrupt)?;
    if offsets.count < n {
        return Err(Refusal::Corrupt);
    }
    // Without compression loaders read all pieces that are listed, those that are too many over the first.
    let n_read = if samples.compression == Compression::None { offsets.count } else { n };
    reader.step(n_read)?;
    match (samples.compression, page.lens) {
        (Compression::None, _) if samples.is_planar && n_read > n => {
            Err(Refusal::UnsupportedFormat)
        }
        (Compression::None, _) => check_computed(reader, offsets, &layout, samples),
        (Compression::Some, Some(lens)) if lens.count >= n => {
            check_stated(reader, offsets, lens, n, true)
        }
        // How long the data is can only be guessed, and a cut would not be seen.
        (Compression::Some, _) => Err(Refusal::UnsupportedFormat),
    }
}

/// Checks that the data lies inside the file of which a directory says where it is and how long.
pub(super) fn check_listed<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
) -> Result<(), Refusal> {
    match (page.offsets, page.lens) {
        (Some(offsets), Some(lens)) => {
            let n = offsets.count.min(lens.count);
            reader.step(n)?;
            check_stated(reader, offsets, lens, n, false)
        }
        _ => Ok(()),
    }
}

pub(super) fn layout<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
    size: Size,
    samples: &Samples,
) -> Result<Layout, Refusal> {
    let (width, height) = (u64::from(size.width), u64::from(size.height));
    let planes = if samples.is_planar { samples.count } else { 1 };
    let tile = (reader.value(page.tile_width)?, reader.value(page.tile_height)?);
    if let (Some(tile_width), Some(tile_height)) = tile {
        if tile_width == 0 || tile_height == 0 {
            return Err(Refusal::Corrupt);
        }
        if tile_width > MAX_SIDE_PX || tile_height > MAX_SIDE_PX {
            return Err(Refusal::TooLarge);
        }
        let (across, down) = (width.div_ceil(tile_width), height.div_ceil(tile_height));
        if across * tile_width * down * tile_height > MAX_TILED_PX {
            return Err(Refusal::TooLarge);
        }
        let (width, height, last_height) = (tile_width, tile_height, tile_height);
        return Ok(Layout { across, down, planes, width, height, last_height });
    }
    let rows = reader.value(page.rows_a_strip)?.unwrap_or(height).min(height);
    if rows == 0 {
        return Err(Refusal::Corrupt);
    }
    let down = height.div_ceil(rows);
    let last_height = height - (down - 1) * rows;
    Ok(Layout { across: 1, down, planes, width, height: rows, last_height })
}

/// Checks data without compression, whose length follows from the size, whatever the file says.
fn check_computed<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    offsets: Field,
    layout: &Layout,
    samples: &Samples,
) -> Result<(), Refusal> {
    let samples_a_plane = if samples.is_planar { 1 } else { samples.count };
    let row_bytes = (layout.width * samples.bits * samples_a_plane).div_ceil(8);
    let n = offsets.count;
    let mut from = 0;
    while from < n {
        let block = reader.block(offsets, from, BLOCK_VALUES.min(n - from))?;
        for (at, start) in (from..).zip(block) {
            check_piece(reader, start, row_bytes * layout.rows(at))?;
        }
        from += BLOCK_VALUES;
    }
    Ok(())
}

/// Goes through the first `n` pieces: where each begins, and how long the file says that it is.
pub(super) fn each_piece<'s, 'r, R: BufRead + Seek>(
    reader: &mut Reader<'s, 'r, R>,
    (offsets, lens, n): (Field, Field, u64),
    mut each: impl FnMut(&mut Reader<'s, 'r, R>, u64, u64, u64) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut from = 0;
    while from < n {
        let values = BLOCK_VALUES.min(n - from);
        let starts = reader.block(offsets, from, values)?;
        let lens = reader.block(lens, from, values)?;
        for (at, (start, len)) in (from..).zip(starts.into_iter().zip(lens)) {
            each(reader, at, start, len)?;
        }
        from += values;
    }
    Ok(())
}

/// Checks the first `n` pieces by the lengths that the file states.
fn check_stated<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    offsets: Field,
    lens: Field,
    n: u64,
    is_needed: bool,
) -> Result<(), Refusal> {
    each_piece(reader, (offsets, lens, n), |reader, _, start, len| {
        if is_needed && len == 0 {
            return Err(Refusal::UnsupportedFormat);
        }
        check_piece(reader, start, len)
    })
}

fn check_piece<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    start: u64,
    len: u64,
) -> Result<(), Refusal> {
    if start.saturating_add(len) > reader.len() {
        return Err(Refusal::Truncated);
    }
    reader.take_data(len)
}
