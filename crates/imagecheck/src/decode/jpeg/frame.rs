//! The frame of a JPEG: its components, the order of their blocks, and the grey that they make.

use super::bits::Bits;
use super::pass::{Member, Pass, Reader};
use super::plane::{Kept, Plane};
use crate::{Refusal, Size, jpeg, scan::Scan};
use std::io::{BufRead, Seek};

/// Pictures with a shorter side, in pixels, have too few blocks for a hash of the means: the hash
/// looks at 32 x 32 cells.
const MIN_SIDE_OF_MEANS_PX: u32 = 256;

/// The most blocks of an interleaved unit (T.81, B.2.3).
const MAX_UNIT_BLOCKS: u32 = 10;

/// What tells the colours.
#[derive(Debug, Default)]
pub(super) struct Hints {
    pub(super) is_jfif: bool,
    /// The colour transform that an Adobe segment names.
    pub(super) adobe: Option<u8>,
}

/// How components make levels of grey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    /// The first component is grey.
    Luma,
    Rgb,
    /// Four inks, inverted: 255 is none. So does who writes no Adobe segment mean it mostly.
    Cmyk,
    /// The first component is the grey of the colour inks; the last is black, inverted.
    Ycck,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) is_progressive: bool,
    colours: Colours,
    components: Vec<Component>,
    /// Interleaved units, across and down.
    units: (u32, u32),
}

#[derive(Debug)]
struct Component {
    id: u8,
    /// The number of its quantization table.
    table: u8,
    plane: Plane,
}

impl Frame {
    /// Reads a frame header, whose fields level medium has found in range.
    pub(super) fn read(bytes: &[u8], is_progressive: bool, hints: &Hints) -> Result<Self, Refusal> {
        let [precision, h1, h0, w1, w0, _, components @ ..] = bytes else {
            return Err(Refusal::Corrupt);
        };
        if *precision != 8 {
            return Err(Refusal::UnsupportedFormat);
        }
        let size = Size::checked(u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]))?;
        let components = components.as_chunks::<3>().0;
        let colours = hints.colours(components);
        let factors = |sampling: u8| (u32::from(sampling >> 4), u32::from(sampling & 15));
        let most = components.iter().fold((1, 1), |most, [_, sampling, _]| {
            let (across, down) = factors(*sampling);
            (across.max(most.0), down.max(most.1))
        });
        let units = (size.width.div_ceil(8 * most.0), size.height.div_ceil(8 * most.1));
        let component = |(n, [id, sampling, table]): (usize, &[u8; 3])| {
            let (across, down) = factors(*sampling);
            let width = (size.width * across).div_ceil(most.0);
            let height = (size.height * down).div_ceil(most.1);
            let samples = (
                width.try_into().map_err(|_| Refusal::TooLarge)?,
                height.try_into().map_err(|_| Refusal::TooLarge)?,
            );
            let kept = colours.kept(n, size);
            let plane = Plane::new((across, down), samples, units, kept, is_progressive);
            Ok(Component { id: *id, table: *table, plane })
        };
        let components =
            components.iter().enumerate().map(component).collect::<Result<_, Refusal>>()?;
        Ok(Self { is_progressive, colours, components, units })
    }

    /// The component that is member number `n` of a scan.
    pub(super) fn find(&self, id: u8, n: usize) -> Option<usize> {
        jpeg::member(self.components.iter().map(|component| component.id), id, n)
    }

    pub(super) fn has_components(&self, n: usize) -> bool {
        self.components.len() == n
    }

    /// Gives a component its quantization, at its first scan.
    pub(super) fn quantize(
        &mut self,
        component: usize,
        tables: &[Option<[u16; 64]>; 4],
    ) -> Result<(), Refusal> {
        let component = self.components.get_mut(component).ok_or(Refusal::Corrupt)?;
        if component.plane.quantization.is_none() {
            let table = tables.get(usize::from(component.table)).copied().flatten();
            component.plane.quantization = Some(table.ok_or(Refusal::Corrupt)?);
        }
        Ok(())
    }

    /// Reads the data of a scan.
    pub(super) fn read_data<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        pass: Pass,
        members: &mut [Member<'_>],
        interval: u32,
    ) -> Result<(), Refusal> {
        let (across, down) = self.scan_units(members)?;
        let is_single = members.len() == 1;
        let mut reader = Reader { bits: Bits::start(scan), n_empty: 0 };
        let (mut left, mut n_restarts) = (interval, 0_u8);
        for y in 0..down {
            for x in 0..across {
                if interval > 0 && left == 0 {
                    reader.restart(n_restarts, members)?;
                    n_restarts = n_restarts.wrapping_add(1);
                    left = interval;
                }
                left = left.saturating_sub(1);
                for member in members.iter_mut() {
                    let plane = self.plane(member.component)?;
                    let (wide, high) = if is_single { (1, 1) } else { plane.unit() };
                    for y in y * high..(y + 1) * high {
                        for x in x * wide..(x + 1) * wide {
                            let block = plane.block(x, y);
                            reader.block(pass, member, plane, block)?;
                        }
                    }
                }
            }
        }
        reader.bits.end()
    }

    /// How many units a scan has across and down: blocks where it has one component only.
    fn scan_units(&mut self, members: &[Member<'_>]) -> Result<(u32, u32), Refusal> {
        if let [only] = members {
            return Ok(self.plane(only.component)?.blocks());
        }
        let mut n_blocks = 0;
        for member in members {
            let (across, down) = self.plane(member.component)?.unit();
            n_blocks += across * down;
        }
        if n_blocks > MAX_UNIT_BLOCKS { Err(Refusal::Corrupt) } else { Ok(self.units) }
    }

    fn plane(&mut self, component: usize) -> Result<&mut Plane, Refusal> {
        let component = self.components.get_mut(component).ok_or(Refusal::Corrupt)?;
        Ok(&mut component.plane)
    }

    /// The reduced picture in levels of grey.
    pub(super) fn cells(&self) -> Vec<f32> {
        let planes: Vec<Vec<f32>> =
            self.components.iter().map(|component| component.plane.cells()).collect();
        let [first, others @ ..] = &planes[..] else { return Vec::new() };
        let grey = |cell: usize, first: &f32| {
            let [second, third, fourth] = [0, 1, 2].map(|n| {
                others.get(n).and_then(|plane| plane.get(cell)).copied().unwrap_or_default()
            });
            let of_rgb = 0.299 * first + 0.587 * second + 0.114 * third;
            match self.colours {
                Colours::Luma => *first,
                Colours::Rgb => of_rgb,
                Colours::Cmyk => of_rgb * fourth / 255.0,
                Colours::Ycck => first * fourth / 255.0,
            }
        };
        first.iter().enumerate().map(|(cell, first)| grey(cell, first)).collect()
    }
}

impl Hints {
    /// What the components show, as libjpeg guesses it.
    fn colours(&self, components: &[[u8; 3]]) -> Colours {
        let ids = || components.iter().map(|[id, ..]| *id);
        match (components.len(), self.adobe) {
            (4, None | Some(0)) => Colours::Cmyk,
            (4, Some(_)) => Colours::Ycck,
            (3, Some(0)) if !self.is_jfif => Colours::Rgb,
            (3, None) if !self.is_jfif && ids().eq(*b"RGB") => Colours::Rgb,
            _ => Colours::Luma,
        }
    }
}

impl Colours {
    /// What of component `n` makes levels of grey.
    fn kept(self, n: usize, size: Size) -> Kept {
        let is_seen = match self {
            Self::Luma => n == 0,
            Self::Ycck => n == 0 || n == 3,
            Self::Rgb | Self::Cmyk => true,
        };
        match is_seen {
            false => Kept::Nothing,
            true if size.width.min(size.height) < MIN_SIDE_OF_MEANS_PX => Kept::All,
            true => Kept::Mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::phash::compute::hash_of;
    use crate::sample::{inspect_bytes, segment};
    use crate::{Level, PerceptualHash};
    use image::{DynamicImage, Rgb, RgbImage};

    /// Writes a JPEG whose blocks have these means and nothing else, with the usual tables left out.
    fn jpeg(
        blocks: (u16, u16),
        ids: &[u8],
        more: &[u8],
        mean: impl Fn(u16, u16, usize) -> u8,
    ) -> Vec<u8> {
        let (mut bits, mut n_bits, mut data) = (0_u32, 0, Vec::new());
        let mut put = |value: u32, n: u32| {
            bits = bits << n | value;
            n_bits += n;
            while n_bits >= 8 {
                n_bits -= 8;
                let byte = u8::try_from(bits >> n_bits & 0xFF).unwrap();
                data.push(byte);
                if byte == 0xFF {
                    data.push(0);
                }
            }
        };
        let mut before = vec![128_i32; ids.len()];
        for y in 0..blocks.1 {
            for x in 0..blocks.0 {
                for (n, before) in before.iter_mut().enumerate() {
                    let mean = i32::from(mean(x, y, n));
                    let (difference, sign) = (mean - *before, u32::from(mean < *before));
                    *before = mean;
                    let n_bits = 32 - difference.unsigned_abs().leading_zeros();
                    // The code of a length, the difference, and the end of the block.
                    let code = [0, 2, 3, 4, 5, 6, 14, 30, 62][usize::try_from(n_bits).unwrap()];
                    put(code, [2, 3, 3, 3, 3, 3, 4, 5, 6][usize::try_from(n_bits).unwrap()]);
                    let inverted = (1 << n_bits) - 1;
                    put(difference.unsigned_abs() ^ (inverted * sign), n_bits);
                    put(0b1010, 4);
                }
            }
        }
        put(0x7F, 7);
        let [[h1, h0], [w1, w0]] = [blocks.1 * 8, blocks.0 * 8].map(u16::to_be_bytes);
        let n = u8::try_from(ids.len()).unwrap();
        let frame: Vec<u8> = ids.iter().flat_map(|id| [*id, 0x11, 0]).collect();
        let members: Vec<u8> = ids.iter().flat_map(|id| [*id, 0]).collect();
        [
            &[0xFF, 0xD8],
            more,
            &segment(0xDB, &[[0].as_slice(), &[8; 64]].concat()),
            &segment(0xC0, &[&[8, h1, h0, w1, w0, n][..], &frame].concat()),
            &segment(0xDA, &[&[n][..], &members, &[0, 63, 0]].concat()),
            &data,
            &[0xFF, 0xD9],
        ]
        .concat()
    }

    /// Light and shade of one channel.
    fn scene(x: u16, y: u16, channel: usize) -> u8 {
        let [across, down] = [[2, 3], [5, 2], [3, 4], [7, 8]][channel];
        let n = u32::from(x / across) * 37 + u32::from(y / down) * 101;
        u8::try_from(20 + n * n / 7 % 200).unwrap()
    }

    fn hash_of_jpeg(file: &[u8]) -> PerceptualHash {
        inspect_bytes(file, Level::Slow).unwrap().phash.unwrap()
    }

    fn hash_of_blocks(blocks: (u16, u16), pixel: impl Fn(u16, u16) -> [u8; 3]) -> PerceptualHash {
        let picture = RgbImage::from_fn((blocks.0 * 8).into(), (blocks.1 * 8).into(), |x, y| {
            Rgb(pixel(u16::try_from(x / 8).unwrap(), u16::try_from(y / 8).unwrap()))
        });
        hash_of(&DynamicImage::from(picture)).unwrap()
    }

    /// Closer than any two of the tests' pictures.
    const FAR: u32 = 48;

    const ADOBE: &[u8] = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0";

    /// The grey of each kind of JPEG is that of the pixels, in a small picture and in one whose means are
    /// the samples.
    #[test]
    fn every_kind_of_colour_has_the_hash_of_its_pixels() {
        for blocks in [(20, 15), (64, 40), (45, 33)] {
            let grey = hash_of_blocks(blocks, |x, y| [scene(x, y, 0); 3]);
            let rgb = hash_of_blocks(blocks, |x, y| [0, 1, 2].map(|n| scene(x, y, n)));
            let ink =
                |x, y, n| u8::try_from(u16::from(scene(x, y, n)) * u16::from(scene(x, y, 3)) / 255);
            let inks = hash_of_blocks(blocks, |x, y| [0, 1, 2].map(|n| ink(x, y, n).unwrap()));
            let luma_and_black = hash_of_blocks(blocks, |x, y| [ink(x, y, 0).unwrap(); 3]);
            let adobe = |transform: u8| [ADOBE, &[transform]].concat();
            let jfif = segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
            for (ids, more, expected) in [
                (&b"\x01"[..], Vec::new(), grey),
                (b"\x01\x02\x03", Vec::new(), grey),
                (b"\x01\x02\x03", adobe(1), grey),
                (b"RGB", jfif, grey),
                (b"\x01\x02\x03", adobe(0), rgb),
                (b"RGB", Vec::new(), rgb),
                (b"\x01\x02\x03\x04", Vec::new(), inks),
                (b"\x01\x02\x03\x04", adobe(0), inks),
                (b"\x01\x02\x03\x04", adobe(2), luma_and_black),
            ] {
                let distance = hash_of_jpeg(&jpeg(blocks, ids, &more, scene)).distance(expected);
                assert!(distance <= FAR / 3, "{blocks:?} {ids:?} {more:?}: {distance}");
            }
            for (n, a) in [grey, rgb, inks, luma_and_black].into_iter().enumerate() {
                for b in [grey, rgb, inks, luma_and_black].into_iter().skip(n + 1) {
                    assert!(a.distance(b) > FAR, "{blocks:?} {n}: {}", a.distance(b));
                }
            }
        }
    }

    /// What fills the last blocks is not looked at.
    #[test]
    fn the_hash_ends_where_the_picture_does() {
        let mut file = jpeg((64, 40), b"\x01", &[], scene);
        let at = file.windows(2).position(|two| two == [0xFF, 0xC0]).unwrap();
        file[at + 5..at + 9].copy_from_slice(&[1, 0x39, 1, 0xF9]);
        let cut = RgbImage::from_fn(505, 313, |x, y| {
            Rgb([scene(u16::try_from(x / 8).unwrap(), u16::try_from(y / 8).unwrap(), 0); 3])
        });
        let distance = hash_of_jpeg(&file).distance(hash_of(&cut.into()).unwrap());
        assert!(distance <= 16, "{distance}");
    }
}
