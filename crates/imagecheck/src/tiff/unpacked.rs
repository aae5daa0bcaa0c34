//! Strips and tiles of a variant that the decoder of level slow does not know: each is unpacked, and must
//! give as many bytes as its pixels need. What they look like is not found out.
//!
//! Sources: [TIFF 6.0](https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf): runs of bytes
//! (section 9), LZW (section 13), chrominance with fewer samples (section 21); deflate is of Adobe's technical
//! note 2, and so is JPEG. LZW as it was before: libtiff, `tif_lzw.c`, `LZWDecodeCompat`.

use super::{
    data::{BLOCK_VALUES, layout},
    directory::{Directory, Reader},
    variant::{Compression, Samples, samples},
};
use crate::{
    Format, Level, Refusal, Size,
    cost::{check_held, check_work},
    decode, jpeg,
    scan::Scan,
};
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
    check_work(bytes(0).saturating_mul(n))?;
    let mut from = 0;
    while from < n {
        let values = BLOCK_VALUES.min(n - from);
        let starts = reader.block(offsets, from, values)?;
        let lens = reader.block(lens, from, values)?;
        for (at, (start, len)) in (from..).zip(starts.into_iter().zip(lens)) {
            let data = reader.data(start)?;
            match Stream::new(packing) {
                Some(stream) => unpack(data, len, bytes(at), stream, is_reversed)?,
                None => decode_jpeg(data, len, &tables, (layout.width, layout.rows(at)))?,
            }
        }
        from += values;
    }
    Ok(())
}

fn packing<R: BufRead + Seek>(
    reader: &mut Reader<'_, '_, R>,
    page: &Directory,
) -> Result<Packing, Refusal> {
    Ok(match (reader.value(page.compression)?, page.offsets) {
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
    /// None: a JPEG is no stream of pixels.
    fn new(packing: Packing) -> Option<Self> {
        Some(match packing {
            Packing::Jpeg => return None,
            Packing::Lzw => Self::Lzw(Box::new(Decoder::with_tiff_size_switch(BitOrder::Msb, 8))),
            Packing::OldLzw => Self::Lzw(Box::new(Decoder::new(BitOrder::Lsb, 8))),
            Packing::Deflate => Self::Deflate(Box::new(Decompress::new(true))),
            Packing::Runs => Self::Runs(Runs::default()),
        })
    }

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
mod tests {
    use super::*;
    use crate::sample::{Entries, inspect_bytes, segment, tiff};
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write as _;
    use weezl::encode::Encoder;

    /// A page of a few tags more, with one strip.
    fn file(more: &[(u16, u16, u32, u32)], data: &[u8]) -> Vec<u8> {
        let len = u32::try_from(data.len()).unwrap();
        let at = u32::try_from(8 + 2 + 12 * (more.len() + 2) + 4).unwrap();
        let mut entries = [&[(273, 4, 1, at), (279, 4, 1, len)], more].concat();
        entries.sort_unstable();
        let entries: Entries = Vec::leak(entries);
        [tiff(false, &[entries]), data.to_vec()].concat()
    }

    /// At medium and at slow, without a hash.
    fn verdict(file: &[u8]) -> Result<(), Refusal> {
        assert!(inspect_bytes(file, Level::Medium).is_ok());
        inspect_bytes(file, Level::Slow).map(|info| assert_eq!(info.phash, None))
    }

    /// 2 x 2 pixels of three samples.
    fn pixels(compression: u32, photometric: u32) -> Vec<(u16, u16, u32, u32)> {
        let tags = [(256, 2), (257, 2), (258, 8), (259, compression), (262, photometric), (277, 3)];
        tags.map(|(tag, value)| (tag, 3, 1, value)).to_vec()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn lzw(bytes: &[u8]) -> Vec<u8> {
        Encoder::with_tiff_size_switch(BitOrder::Msb, 8).encode(bytes).unwrap()
    }

    fn old_lzw(bytes: &[u8]) -> Vec<u8> {
        Encoder::new(BitOrder::Lsb, 8).encode(bytes).unwrap()
    }

    fn runs(bytes: &[u8]) -> Vec<u8> {
        let (first, rest) = bytes.split_at(3);
        [&[128, 2], first, &[128, u8::try_from(257 - rest.len()).unwrap(), 7]].concat()
    }

    /// Case 223: Lab in every way to pack it; the same with a byte less is corrupt.
    #[test]
    fn variants_that_the_decoder_does_not_know_are_unpacked() {
        type Pack = fn(&[u8]) -> Vec<u8>;
        let packs: [(u32, Pack); 5] =
            [(5, lzw), (5, old_lzw), (8, deflate), (32_946, deflate), (32_773, runs)];
        for (compression, pack) in packs {
            let file = |n| file(&pixels(compression, 8), &pack(&vec![7; n]));
            assert_eq!(verdict(&file(12)), Ok(()), "{compression}");
            assert_eq!(verdict(&file(13)), Ok(()), "{compression}");
            assert_eq!(verdict(&file(11)), Err(Refusal::Corrupt), "{compression}");
            let mut cut = file(12);
            cut.truncate(cut.len() - 1);
            assert!(inspect_bytes(&cut, Level::Medium).is_err());
        }
    }

    /// Case 223: chrominance with fewer samples, and bits the other way round.
    #[test]
    fn what_is_stored_differently_needs_other_bytes() {
        let sampled = |tag, n| file(&[&pixels(5, 6)[..], tag].concat(), &lzw(&vec![7; n]));
        let one_by_one = [(530, 3, 2, 0x0001_0001)];
        let two_by_one = [(530, 3, 2, 0x0001_0002)];
        for (tag, n) in [(&[][..], 6), (&one_by_one, 12), (&two_by_one, 8)] {
            assert_eq!(verdict(&sampled(tag, n)), Ok(()), "{n}");
            assert_eq!(verdict(&sampled(tag, n - 1)), Err(Refusal::Corrupt), "{n}");
        }
        let turned: Vec<u8> = lzw(&[7; 12]).into_iter().map(u8::reverse_bits).collect();
        let more = [&pixels(5, 2)[..], &[(266, 3, 1, 2)]].concat();
        assert_eq!(verdict(&file(&more, &turned)), Ok(()));
    }

    /// Case 223: what libtiff takes of planes and predictors, and what it does not.
    #[test]
    fn predictors_and_planes_are_known_ones() {
        let with = |tag, value| {
            let more = [&pixels(5, 2)[..], &[(tag, 3, 1, value)]].concat();
            inspect_bytes(&file(&more, &lzw(&[7; 12])), Level::Medium).err()
        };
        let unsupported = Some(Refusal::UnsupportedFormat);
        assert_eq!([1, 2, 3, 4].map(|n| with(317, n)), [None, None, unsupported, unsupported]);
        assert_eq!([1, 0, 3].map(|n| with(284, n)), [None, unsupported, unsupported]);
    }

    /// Without compression the length that the file states means nothing, to the decoder either.
    #[test]
    fn a_stated_length_that_is_not_needed_is_ignored() {
        let mut file = file(&pixels(1, 2), &[7; 12]);
        let at = file.windows(2).position(|tag| tag == 279_u16.to_le_bytes()).unwrap() + 8;
        file[at + 3] = 0x40;
        assert_eq!(verdict(&file), Ok(()));
    }

    /// Case 223: JPEG in luminance and chrominance, whole or with its tables elsewhere.
    #[test]
    fn jpegs_are_decoded() {
        let frame = segment(0xC0, &[8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
        let scan = segment(0xDA, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);
        let picture = |data: &[u8]| [&frame, &scan, data, &[0xFF, 0xD9]].concat();
        let huffman = |class| segment(0xC4, &[&[class, 1][..], &[0; 15], &[0]].concat());
        let tables = [segment(0xDB, &[[0].as_slice(), &[1; 64]].concat()), huffman(0), huffman(16)];
        let tables = tables.concat();
        let tags = [(256, 8), (257, 8), (258, 8), (259, 7), (262, 6), (277, 3)];
        let tags = tags.map(|(tag, value)| (tag, 3, 1, value));
        let whole = |data: &[u8]| [&[0xFF, 0xD8][..], &tables, &picture(data)].concat();
        assert_eq!(verdict(&file(&tags, &whole(&[3]))), Ok(()));
        assert_eq!(verdict(&file(&tags, &whole(&[0xFF, 0]))), Err(Refusal::Corrupt));
        // The tables lie behind the strip.
        let data = [&[0xFF, 0xD8][..], &picture(&[3])].concat();
        let shared = [&[0xFF, 0xD8][..], &tables, &[0xFF, 0xD9]].concat();
        let at = u32::try_from(8 + 2 + 12 * 9 + 4 + data.len()).unwrap();
        let table = (347, 7, u32::try_from(shared.len()).unwrap(), at);
        let entries = [&tags[..], &[table]].concat();
        let with = |shared: &[u8]| {
            let strip = file(&entries, &data);
            [&strip, shared].concat()
        };
        assert_eq!(verdict(&with(&shared)), Ok(()));
        let unsupported = Err(Refusal::UnsupportedFormat);
        assert_eq!(verdict(&with(&vec![0; shared.len()])), unsupported, "they are no tables");
    }
}
