//! The data of a JPEG, code by code, and the picture in small, which the perceptual hash is made of.
//!
//! What a full decode spends most of its time on is left out: the inverse transform, the chroma, the
//! colours. Every code is read; of the values only the means of the blocks are kept, which are the
//! picture at an eighth of its size (of small pictures all values of the planes that make grey).
//!
//! Source: [ITU-T T.81](https://www.w3.org/Graphics/JPEG/itu-t81.pdf), annexes B, F and G. Where it
//! leaves something open, libjpeg-turbo is followed, which the loaders use: sequential pictures
//! without Huffman tables have those of annex K (motion JPEG), the colours are guessed as there, and
//! bytes behind the last code of a scan and codes that lead beyond the last coefficient mean nothing.

mod bits;
mod frame;
mod huffman;
mod pass;
mod plane;
mod standard;

use super::Decoded;
use crate::phash::compute::hash_of_cells;
use crate::{Refusal, jpeg, scan::Scan};
use bits::place;
use frame::{Frame, Hints};
use huffman::{Codes, Decoder};
use pass::{Member, Pass};
use std::io::{BufRead, Seek};

/// What the segments have said so far.
#[derive(Debug, Default)]
struct State {
    quantization: [Option<[u16; 64]>; 4],
    means: [Option<Codes>; 4],
    others: [Option<Codes>; 4],
    /// Units between two restart markers; 0: none.
    interval: u32,
    hints: Hints,
    frame: Option<Frame>,
}

/// Reads all data of a picture that is sound at level medium.
pub(super) fn decode<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Decoded {
    let mut state = State::default();
    scan.skip(2)?;
    loop {
        match jpeg::next_marker(scan)? {
            0xD9 => break,
            0xDA => {
                if state.read_scan(scan)? {
                    break;
                }
            }
            marker @ 0xC0..=0xC2 => {
                state.frame = Some(Frame::read(&content(scan)?, marker == 0xC2, &state.hints)?);
            }
            0xC4 => state.read_codes(&content(scan)?)?,
            0xDB => state.read_quantization(&content(scan)?)?,
            0xDD => match content(scan)?[..] {
                [high, low] => state.interval = u16::from_be_bytes([high, low]).into(),
                _ => return Err(Refusal::Corrupt),
            },
            0xE0 => state.hints.is_jfif |= hint(scan)?.starts_with(b"JFIF\0"),
            0xEE => {
                if let [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..] =
                    hint(scan)?[..]
                {
                    state.hints.adobe = Some(transform);
                }
            }
            marker => jpeg::segment(scan, marker)?,
        }
    }
    let frame = state.frame.ok_or(Refusal::Corrupt)?;
    Ok(hash_of_cells(&frame.cells()))
}

/// The bytes of a segment.
fn content<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Vec<u8>, Refusal> {
    let len = jpeg::segment_len(scan)?;
    read(scan, len)
}

/// The bytes of a segment that is not needed, which may be shorter than its length field.
fn hint<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<Vec<u8>, Refusal> {
    let len = jpeg::lenient_len(scan)?;
    read(scan, len)
}

fn read<R: BufRead + Seek>(scan: &mut Scan<'_, R>, len: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = vec![0; place(len)];
    scan.fill(&mut bytes)?;
    Ok(bytes)
}

impl State {
    fn read_quantization(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((kind, rest)) = bytes.split_first() {
            let n_bytes = if kind >> 4 > 0 { 128 } else { 64 };
            let (values, rest) = rest.split_at_checked(n_bytes).ok_or(Refusal::Corrupt)?;
            let slot = self.quantization.get_mut(usize::from(kind & 15)).ok_or(Refusal::Corrupt)?;
            let mut table = [0; 64];
            for (step, value) in table.iter_mut().zip(values.chunks_exact(n_bytes / 64)) {
                *step = value.iter().fold(0, |high, low| high << 8 | u16::from(*low));
            }
            *slot = Some(table);
            bytes = rest;
        }
        Ok(())
    }

    fn read_codes(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((kind, rest)) = bytes.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(Refusal::Corrupt)?;
            let n: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(n).ok_or(Refusal::Corrupt)?;
            let slots = if kind & 16 == 0 { &mut self.means } else { &mut self.others };
            let slot = slots.get_mut(usize::from(kind & !16)).ok_or(Refusal::Corrupt)?;
            *slot = Some(Codes { counts: *counts, symbols: symbols.to_vec() });
            bytes = rest;
        }
        Ok(())
    }

    /// Reads a scan; whether nothing more is needed.
    fn read_scan<R: BufRead + Seek>(&mut self, scan: &mut Scan<'_, R>) -> Result<bool, Refusal> {
        let header = content(scan)?;
        let Some((_, header)) = header.split_first() else { return Err(Refusal::Corrupt) };
        let (wanted, band) = header.split_last_chunk::<3>().ok_or(Refusal::Corrupt)?;
        let wanted = wanted.as_chunks::<2>().0;
        let frame = self.frame.as_mut().ok_or(Refusal::Corrupt)?;
        let pass = match frame.is_progressive {
            true => Pass::progressive(*band, wanted.len()).ok_or(Refusal::Corrupt)?,
            false => Pass::Sequential,
        };
        if !frame.is_progressive {
            standard::fill(&mut self.means, &mut self.others);
        }
        let decoders = Decoders::new(pass, &self.means, &self.others);
        let mut members = Vec::with_capacity(wanted.len());
        for (n, [id, tables]) in wanted.iter().enumerate() {
            let component = frame.find(*id, n).ok_or(Refusal::Corrupt)?;
            if members.iter().any(|member: &Member<'_>| member.component == component) {
                return Err(Refusal::Corrupt);
            }
            frame.quantize(component, &self.quantization)?;
            let [means, others] = decoders.of(*tables)?;
            members.push(Member { component, means, others, mean: 0 });
        }
        match frame.read_data(scan, pass, &mut members, self.interval) {
            // What a sequential scan of a part of the coefficients holds, nobody can tell: libjpeg reads
            // it as one of all of them, and makes of it what it can.
            Err(Refusal::Corrupt) if !frame.is_progressive && *band != [0, 63, 0] => {}
            whole => whole?,
        }
        Ok(!frame.is_progressive && frame.has_components(members.len()))
    }
}

/// The tables that a scan decodes with, of means and of other coefficients, where it has such.
#[derive(Debug)]
struct Decoders {
    means: Option<[Option<Decoder>; 4]>,
    others: Option<[Option<Decoder>; 4]>,
}

impl Decoders {
    fn new(pass: Pass, means: &[Option<Codes>; 4], others: &[Option<Codes>; 4]) -> Self {
        let (has_means, has_others) = pass.codes();
        let mean = |codes: &Option<Codes>| Decoder::of_means(codes.as_ref()?);
        let other = |codes: &Option<Codes>| {
            let decoder = Decoder::new(codes.as_ref()?)?;
            Some(if has_means { decoder.with_steps() } else { decoder })
        };
        Self {
            means: has_means.then(|| means.each_ref().map(mean)),
            others: has_others.then(|| others.each_ref().map(other)),
        }
    }

    /// Those that a component of the scan names, as far as the scan has such codes.
    fn of(&self, tables: u8) -> Result<[Option<&Decoder>; 2], Refusal> {
        let named = [(&self.means, tables >> 4), (&self.others, tables & 15)];
        let mut found = [None; 2];
        for (decoder, (all, n)) in found.iter_mut().zip(named) {
            if let Some(all) = all {
                let named = all.get(usize::from(n)).and_then(Option::as_ref);
                *decoder = Some(named.ok_or(Refusal::Corrupt)?);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use crate::sample::{frame_header, inspect_bytes, jpeg, jpeg_of, jpeg_scan, segment};
    use crate::{Level, Refusal};

    const EOI: [u8; 2] = [0xFF, 0xD9];

    /// With the tables of `jpeg_of` a block is two bits that are 0.
    fn file(pieces: &[Vec<u8>]) -> Vec<u8> {
        jpeg_of(&[pieces, &[EOI.to_vec()]].concat())
    }

    fn slow(pieces: &[Vec<u8>]) -> Result<(), Refusal> {
        inspect_bytes(&file(pieces), Level::Slow).map(|_| ())
    }

    /// What slow says of data that medium does not look at.
    fn data(pieces: &[Vec<u8>]) -> Result<(), Refusal> {
        let file = file(pieces);
        assert!(inspect_bytes(&file, Level::Medium).is_ok(), "{file:x?}");
        slow(pieces)
    }

    fn grey_scan(data: &[u8]) -> Vec<u8> {
        [segment(0xDA, &[1, 1, 0, 0, 63, 0]), data.to_vec()].concat()
    }

    #[test]
    fn every_block_must_have_its_codes() {
        let five_blocks = |bytes: &[u8]| data(&[frame_header(40, 8), grey_scan(bytes)]);
        assert_eq!(five_blocks(&[0, 0x3F]), Ok(()));
        assert_eq!(five_blocks(&[0]), Err(Refusal::Corrupt));
        assert_eq!(five_blocks(&[]), Err(Refusal::Corrupt));
        // A marker ends the data, whichever it is.
        assert_eq!(five_blocks(&[0, 0xFF, 0xD0, 0x3F]), Err(Refusal::Corrupt));
        // No code is all ones.
        assert_eq!(five_blocks(&[0, 0xFF, 0]), Err(Refusal::Corrupt));
    }

    #[test]
    fn bytes_behind_the_last_code_mean_nothing() {
        assert_eq!(data(&[frame_header(8, 8), grey_scan(b"\x3f junk\xff\0\xff\xd3 junk")]), Ok(()));
    }

    #[test]
    fn restarts_are_where_they_should_be() {
        let two_blocks =
            |bytes: &[u8]| data(&[segment(0xDD, &[0, 1]), frame_header(16, 8), grey_scan(bytes)]);
        assert_eq!(two_blocks(b"\x3f\xff\xd0\x3f"), Ok(()));
        assert_eq!(two_blocks(b"\x3f\xff\xff\xd0\x3f"), Ok(()));
        assert_eq!(two_blocks(b"\x3f\xff\xd1\x3f"), Err(Refusal::Corrupt));
        assert_eq!(two_blocks(b"\x0f"), Err(Refusal::Corrupt));
        assert_eq!(two_blocks(b"\x3f\xff\xd0"), Err(Refusal::Corrupt));
        let corrupt = slow(&[segment(0xDD, &[0, 1, 0]), frame_header(8, 8), jpeg_scan()]);
        assert_eq!(corrupt, Err(Refusal::Corrupt));
    }

    /// Pictures that loaders read, and strict decoders do not.
    #[test]
    fn motion_jpegs_have_the_usual_tables() {
        let quantization = segment(0xDB, &[[0].as_slice(), &[1; 64]].concat());
        let start = [[0xFF, 0xD8].to_vec(), quantization].concat();
        // No difference in two bits, the end of the block in four.
        let image = |frame: Vec<u8>, scan: Vec<u8>| {
            let file = [start.clone(), frame, scan, EOI.to_vec()].concat();
            inspect_bytes(&file, Level::Slow).map(|_| ())
        };
        assert_eq!(image(frame_header(8, 8), grey_scan(&[0b0010_1011])), Ok(()));
        let progressive = segment(0xC2, &[8, 0, 8, 0, 8, 1, 1, 0x11, 0]);
        let scan = [segment(0xDA, &[1, 1, 0, 0, 0, 0]), vec![0x3F]].concat();
        assert_eq!(image(progressive, scan), Err(Refusal::Corrupt));
    }

    #[test]
    fn tables_must_be_there_and_whole() {
        let frame = |table: u8| segment(0xC0, &[8, 0, 8, 0, 8, 1, 1, 0x11, table]);
        let scan =
            |tables: u8| [segment(0xDA, &[1, 1, tables, 0, 63, 0]), vec![0x3F, 0, 0]].concat();
        assert_eq!(slow(&[frame(0), scan(0)]), Ok(()));
        assert_eq!(slow(&[frame(1), scan(0)]), Err(Refusal::Corrupt));
        assert_eq!(slow(&[frame(0), scan(0x20)]), Err(Refusal::Corrupt));
        assert_eq!(slow(&[frame(0), scan(0x02)]), Err(Refusal::Corrupt));
        assert_eq!(slow(&[frame(0), scan(0x04)]), Err(Refusal::Corrupt));
        let with = |marker, table: &[u8]| slow(&[segment(marker, table), frame(0), scan(0)]);
        let deep = [[0x10].as_slice(), &[0, 1].repeat(64)].concat();
        assert_eq!(with(0xDB, &deep), Ok(()), "of 16 bits");
        assert_eq!(with(0xDB, &deep[..128]), Err(Refusal::Corrupt));
        assert_eq!(with(0xDB, &[[4].as_slice(), &[1; 64]].concat()), Err(Refusal::Corrupt));
        let codes = |kind: u8, symbol: u8| [&[kind, 1][..], &[0; 15], &[symbol]].concat();
        assert_eq!(with(0xC4, &codes(0, 15)), Ok(()));
        assert_eq!(with(0xC4, &codes(0, 16)), Err(Refusal::Corrupt), "no length of a difference");
        assert_eq!(with(0xC4, &codes(4, 0)), Err(Refusal::Corrupt));
        assert_eq!(with(0xC4, &codes(0x20, 0)), Err(Refusal::Corrupt));
        assert_eq!(with(0xC4, &codes(0, 0)[..17]), Err(Refusal::Corrupt));
    }

    fn colour(sampling: [u8; 3]) -> Vec<u8> {
        let [a, b, c] = sampling;
        segment(0xC0, &[8, 0, 8, 0, 32, 3, 1, a, 0, 2, b, 0, 3, c, 0])
    }

    #[test]
    fn units_are_as_the_sampling_says() {
        let all = [3, 1, 0, 2, 0, 3, 0, 0, 63, 0];
        let with =
            |frame, bytes: &[u8]| data(&[frame, [segment(0xDA, &all), bytes.to_vec()].concat()]);
        // One unit of six blocks; four units of three.
        assert_eq!(with(colour([0x41, 0x11, 0x11]), &[0, 0x0F]), Ok(()));
        assert_eq!(with(colour([0x41, 0x11, 0x11]), &[0]), Err(Refusal::Corrupt));
        assert_eq!(with(colour([0x11, 0x11, 0x11]), &[0; 3]), Ok(()));
        assert_eq!(with(colour([0x11, 0x11, 0x11]), &[0; 2]), Err(Refusal::Corrupt));
        let scan = [segment(0xDA, &all), vec![0; 9]].concat();
        let too_many = slow(&[colour([0x44, 0x11, 0x11]), scan]);
        assert_eq!(too_many, Err(Refusal::Corrupt), "18 blocks");
    }

    /// What libjpeg reads with a warning about the scan's header, whatever its data are.
    #[test]
    fn sequential_scans_of_a_band_are_not_judged() {
        let scan = |band: [u8; 3], bytes: &[u8]| {
            let header = segment(0xDA, &[&[1, 1, 0][..], &band].concat());
            slow(&[frame_header(40, 8), [header, bytes.to_vec()].concat()])
        };
        assert_eq!(scan([0, 63, 0], &[0]), Err(Refusal::Corrupt));
        for band in [[1, 5, 2], [0, 0, 1], [0, 63, 0x10]] {
            assert_eq!(scan(band, &[0]), Ok(()), "{band:?}");
            assert_eq!(scan(band, &[0, 0x3F]), Ok(()), "{band:?}");
        }
    }

    #[test]
    fn components_may_come_one_by_one_in_the_order_of_the_frame() {
        let one =
            |id: u8, data: &[u8]| [segment(0xDA, &[1, id, 0, 0, 63, 0]), data.to_vec()].concat();
        let frame = || colour([0x41, 0x11, 0x11]);
        assert_eq!(slow(&[frame(), one(3, &[0x3F]), one(1, &[0]), one(2, &[0x3F])]), Ok(()));
        assert_eq!(slow(&[frame(), one(1, &[]), one(2, &[0x3F])]), Err(Refusal::Corrupt));
        let two = [segment(0xDA, &[2, 2, 0, 1, 0, 0, 63, 0]), vec![0; 3]].concat();
        assert_eq!(slow(&[frame(), two]), Err(Refusal::Corrupt));
    }

    #[test]
    fn a_sequential_picture_ends_with_the_scan_of_all_its_components() {
        let broken = grey_scan(&[0xFF, 0]);
        assert_eq!(data(&[frame_header(8, 8), jpeg_scan(), broken]), Ok(()));
        let file = [jpeg(), jpeg()].concat();
        assert!(inspect_bytes(&file, Level::Slow).is_ok());
    }

    #[test]
    fn progressive_scans_are_followed() {
        let frame = || segment(0xC2, &[8, 0, 8, 0, 16, 1, 1, 0x11, 0]);
        // The only code means no difference, or the end of one block.
        let scan = |band: [u8; 3], data: u8| {
            [segment(0xDA, &[&[1, 1, 0][..], &band].concat()), vec![data]].concat()
        };
        let all = [[0, 0, 1], [0, 0, 0x10], [1, 5, 1], [6, 63, 1], [1, 63, 0x10]];
        let scans: Vec<Vec<u8>> = all.map(|band| scan(band, 0x3F)).to_vec();
        assert_eq!(slow(&[&[frame()][..], &scans].concat()), Ok(()));
        // Where loaders go on without a scan, so does this.
        assert_eq!(slow(&[&[frame()][..], &scans[2..]].concat()), Ok(()));
        for (n, band) in all.into_iter().enumerate() {
            let mut scans = scans.clone();
            scans[n].pop();
            assert_eq!(slow(&[&[frame()][..], &scans].concat()), Err(Refusal::Corrupt), "{n}");
            if n != 1 {
                scans[n] = [&scans[n][..], &[0x7F]].concat();
                let verdict = slow(&[&[frame()][..], &scans].concat());
                assert_eq!(verdict, Err(Refusal::Corrupt), "{band:?}");
            }
        }
        for band in [[0, 63, 0], [5, 4, 0], [1, 64, 0], [0, 0, 14], [0, 0, 0x20], [1, 1, 0x11]] {
            assert_eq!(slow(&[frame(), scan(band, 0x3F)]), Err(Refusal::Corrupt), "{band:?}");
        }
    }
}
