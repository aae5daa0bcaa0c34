//! Strips and tiles of a variant that the decoder of level slow does not know: each is unpacked, and must
//! give as many bytes as its pixels need. What they look like is not found out.
//!
//! Sources: [TIFF 6.0](https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf): runs of bytes
//! (section 9), LZW (section 13), chrominance with fewer samples (section 21); deflate is of Adobe's technical
//! note 2, and so is JPEG. LZW as it was before: libtiff, `tif_lzw.c`, `LZWDecodeCompat`.

mod facsimile;

use super::{
    data::{each_piece, layout},
    directory::{Directory, Reader},
    variant::{Compression, Samples, samples},
};
use crate::{
    Format, Level, Refusal, Size,
    cost::{check_held, check_work},
    decode, jpeg,
    scan::Scan,
};
use facsimile::Rows;
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{BufRead, Cursor, Seek};
use weezl::{BitOrder, LzwStatus, decode::Decoder};

/// What is unpacked at a time.
const BLOCK_BYTES: usize = 8 * 1024;

/// The most strips and tiles: each begins with empty tables, which takes longer than a small one itself.
const MAX_PIECES: u64 = 1 << 15;

/// How data is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Jpeg,
    Lzw,
    OldLzw,
    Deflate,
    Runs,
    Facsimile(Rows),
}

/// Checks that the data of the first page, which the walk has found in the file, gives all its pixels.
///
/// # Errors
///
/// [`Refusal::UnsupportedFormat`] for other ways to compress; [`Refusal::Corrupt`] when pixels are missing.
pub(super) fn check<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
    size: Size,
) -> Result<(), Refusal> {
    let samples = samples(reader, page)?;
    let packing = packing(reader, page)?;
    let is_reversed = reader.value(page.fill_order)? == Some(2);
    let layout = layout(reader, page, size, &samples)?;
    let unit = unit(reader, page, &samples)?;
    let (Some(offsets), Some(lens), Compression::Some) =
        (page.offsets, page.lens, samples.compression)
    else {
        return Err(Refusal::Corrupt);
    };
    let n = layout.across * layout.down * layout.planes;
    if n > MAX_PIECES {
        return Err(Refusal::DecodeBudget);
    }
    let tables = match page.jpeg_tables {
        Some(field) if packing == Packing::Jpeg => reader.bytes(field)?,
        _ => Vec::new(),
    };
    let bytes = |at: u64| unit.bytes(layout.width, layout.rows(at));
    let mut work = bytes(0).saturating_mul(n);
    each_piece(reader, (offsets, lens, n), |reader, at, start, len| {
        if matches!(packing, Packing::Facsimile(_)) {
            work = work.saturating_add(facsimile::WORK_A_BYTE.saturating_mul(len));
        }
        check_work(work)?;
        let data = reader.data(start)?;
        let size = (layout.width, layout.rows(at));
        let stream = match packing {
            Packing::Jpeg => return decode_jpeg(data, len, &tables, size),
            Packing::Facsimile(rows) => {
                return facsimile::check(data, len, rows, size, is_reversed);
            }
            Packing::Lzw => Stream::Lzw(Box::new(Decoder::with_tiff_size_switch(BitOrder::Msb, 8))),
            Packing::OldLzw => Stream::Lzw(Box::new(Decoder::new(BitOrder::Lsb, 8))),
            Packing::Deflate => Stream::Deflate(Box::new(Decompress::new(true))),
            Packing::Runs => Stream::Runs(Runs::default()),
        };
        unpack(data, len, bytes(at), stream, is_reversed)
    })
}

fn packing<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
) -> Result<Packing, Refusal> {
    let options = reader.value(page.facsimile_options)?.unwrap_or(0);
    Ok(match (reader.value(page.compression)?, page.offsets) {
        (Some(2), _) => Packing::Facsimile(Rows::Bytes),
        (Some(3), _) => Packing::Facsimile(Rows::Marked { in_two_dimensions: options & 1 == 1 }),
        (Some(4), _) => Packing::Facsimile(Rows::Dense),
        (Some(5), Some(offsets)) if reader.starts_with_old_codes(offsets)? => Packing::OldLzw,
        (Some(5), _) => Packing::Lzw,
        (Some(7), _) => Packing::Jpeg,
        (Some(8 | 32_946), _) => Packing::Deflate,
        (Some(32_773), _) => Packing::Runs,
        _ => return Err(Refusal::UnsupportedFormat),
    })
}

/// The smallest rectangle of pixels that has bytes of its own.
struct Unit {
    width: u64,
    height: u64,
    bits: u64,
}

impl Unit {
    fn bytes(&self, width: u64, height: u64) -> u64 {
        (width.div_ceil(self.width) * self.bits).div_ceil(8) * height.div_ceil(self.height)
    }
}

fn unit<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
    samples: &Samples,
) -> Result<Unit, Refusal> {
    let count = if samples.is_planar { 1 } else { samples.count };
    if reader.value(page.photometric)? != Some(6) || count != 3 {
        return Ok(Unit { width: 1, height: 1, bits: samples.bits * count });
    }
    // Two by two, unless the file says something.
    let sides = match page.subsampling {
        Some(field) => reader.values(field, 2)?,
        None => vec![2, 2],
    };
    match sides[..] {
        [width @ (1 | 2 | 4), height @ (1 | 2 | 4)] => {
            Ok(Unit { width, height, bits: samples.bits * (width * height + 2) })
        }
        _ => Err(Refusal::UnsupportedFormat),
    }
}

/// Unpacks one strip or tile until it has given the bytes that are wanted.
fn unpack<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    len: u64,
    mut wanted: u64,
    mut stream: Stream,
    is_reversed: bool,
) -> Result<(), Refusal> {
    let mut out = [0; BLOCK_BYTES];
    let mut turned = [0; BLOCK_BYTES];
    let end = scan.at().saturating_add(len);
    while wanted > 0 {
        let left = usize::try_from(end.saturating_sub(scan.at())).unwrap_or(usize::MAX);
        let input = if left == 0 { &[] } else { scan.peek()? };
        let input = input.get(..left.min(input.len()).min(BLOCK_BYTES)).unwrap_or_default();
        let turned = turned.get_mut(..input.len()).unwrap_or_default();
        for (to, from) in turned.iter_mut().zip(input) {
            *to = if is_reversed { from.reverse_bits() } else { *from };
        }
        let most = usize::try_from(wanted).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let (taken, given) = stream.push(turned, out.get_mut(..most).unwrap_or_default())?;
        if (taken, given) == (0, 0) {
            return Err(Refusal::Corrupt);
        }
        scan.consume(taken);
        wanted = wanted.saturating_sub(u64::try_from(given).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// Decodes a strip or tile that is a JPEG, with the tables that all of them share.
fn decode_jpeg<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    len: u64,
    tables: &[u8],
    (width, height): (u64, u64),
) -> Result<(), Refusal> {
    check_held(len.saturating_mul(4))?;
    let mut piece = vec![0; usize::try_from(len).map_err(|_| Refusal::DecodeBudget)?];
    scan.fill(&mut piece)?;
    // The tables are a JPEG without picture: its end and the other's start are left out.
    if let [tables @ .., 0xFF, 0xD9] = tables {
        let picture = piece.get(2..).unwrap_or_default();
        piece = [tables, picture].concat();
    }
    let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
    let mut body = Cursor::new(piece);
    let size = jpeg::inspect(&mut Scan::start(&mut body, len)?, Level::Slow)?;
    if u64::from(size.width) != width || u64::from(size.height) < height {
        return Err(Refusal::Corrupt);
    }
    decode::decode(&mut body, len, Format::Jpeg, size).map(drop)
}

enum Stream {
    Lzw(Box<Decoder>),
    Deflate(Box<Decompress>),
    Runs(Runs),
}

/// Runs of bytes; they are counted and not written.
#[derive(Default)]
struct Runs {
    /// How many bytes of the run are to come.
    left: usize,
    /// They are one byte over and over.
    is_one: bool,
    /// That byte is still to be read.
    is_due: bool,
}

impl Stream {
    /// How many bytes were taken, and how many they gave; none of both at the end.
    fn push(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), Refusal> {
        match self {
            Self::Lzw(decoder) => {
                let result = decoder.decode_bytes(input, out);
                match result.status {
                    Ok(LzwStatus::Ok | LzwStatus::Done | LzwStatus::NoProgress) => {
                        Ok((result.consumed_in, result.consumed_out))
                    }
                    Err(_) => Err(Refusal::Corrupt),
                }
            }
            Self::Deflate(stream) => {
                let before = (stream.total_in(), stream.total_out());
                match stream.decompress(input, out, FlushDecompress::None) {
                    Ok(Status::Ok | Status::BufError | Status::StreamEnd) => {}
                    Err(_) => return Err(Refusal::Corrupt),
                }
                let since = |now: u64, before| usize::try_from(now - before).unwrap_or(usize::MAX);
                Ok((since(stream.total_in(), before.0), since(stream.total_out(), before.1)))
            }
            Self::Runs(runs) => Ok(runs.follow(input, out.len())),
        }
    }
}

impl Runs {
    /// How many bytes were taken, and how many they gave, at most so many.
    fn follow(&mut self, input: &[u8], most: usize) -> (usize, usize) {
        let (mut taken, mut given) = (0, 0);
        while given < most {
            if self.left > 0 && !self.is_due {
                let there = if self.is_one { self.left } else { input.len() - taken };
                let n = self.left.min(there).min(most - given);
                if n == 0 {
                    break;
                }
                taken += if self.is_one { 0 } else { n };
                (given, self.left) = (given + n, self.left - n);
                continue;
            }
            let Some(byte) = input.get(taken) else { break };
            taken += 1;
            if std::mem::take(&mut self.is_due) {
                continue;
            }
            self.is_one = *byte > 128;
            self.is_due = self.is_one;
            self.left = match *byte {
                128 => 0,
                head if self.is_one => 257 - usize::from(head),
                head => usize::from(head) + 1,
            };
        }
        (taken, given)
    }
}

#[cfg(test)]
mod tests;
