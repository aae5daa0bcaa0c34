//! The image of a WebP, or the frames of its animation, and what they cost.
//!
//! The decoder takes no limits, so its memory and its work are reckoned from the chunks before it
//! runs. Sources as in the walker: RFC 9649, sections 2.5 to 2.7.

mod codes;

use super::{Decoded, Fence, limits, pixels, refusal};
use crate::{
    MAX_AREA_PX, Refusal, Size,
    cost::{MAX_WORK_BYTES, check_held, check_work},
    phash::compute::hash_of,
    scan::Scan,
};
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, ImageDecoder};
use std::io::{BufRead, Seek, SeekFrom};

/// The most pixels decoded of an animation; the frames behind them are only walked. They are decoded on
/// the whole canvas, which makes them dear.
const MAX_ANIMATED_PX: u64 = MAX_AREA_PX / 3;

/// What the decoder takes, in bytes of [`MAX_WORK_BYTES`]: for each pixel of a lossy picture without any
/// codes; at most for its codes; for each byte of them, as a code that is no zero has a bit at least.
const LOSSY_WORK: u64 = 7;
const CODES_WORK: u64 = 14;
const CODES_WORK_A_BYTE: u64 = 70;

/// For each pixel of a lossless picture, and of a channel of alpha.
const LOSSLESS_WORK: u64 = 8;

/// For each pixel of the canvas, with each frame.
const CANVAS_WORK: u64 = 3;

/// The bytes that the decoder holds for each pixel: three planes, of which two are halved, and what it
/// knows of the blocks.
const LOSSY_BYTES: u64 = 2;

/// Four channels, of which alpha becomes one.
const ALPHA_BYTES: u64 = 5;

/// Four channels, the small images of its transforms and the numbers of its codes.
const LOSSLESS_BYTES: u64 = 5;

/// The canvas, a frame in four channels, and what is handed out, twice where it has no alpha.
const FRAME_BYTES: u64 = 11;

/// Decodes the image, or frames until they have [`MAX_ANIMATED_PX`] or are too much work.
pub(super) fn decode<R: BufRead + Seek>(body: &mut Fence<'_, R>, size: Size) -> Decoded {
    let len = body.end;
    let plan = Plan::read(&mut Scan::start(body, len)?, size)?;
    // The decoder would look for chunks behind the end of the container, too.
    body.end = plan.end;
    body.seek(SeekFrom::Start(0)).map_err(|_| Refusal::Truncated)?;
    let mut decoder = WebPDecoder::new(body).map_err(refusal)?;
    decoder.set_limits(limits(size)).map_err(refusal)?;
    size.check_same(decoder.dimensions())?;
    if decoder.has_animation() {
        return frames(decoder, &plan);
    }
    pixels(decoder, plan.held_bytes)
}

/// Decodes the frames of the plan, of which there must be one.
fn frames<R: BufRead + Seek>(decoder: WebPDecoder<R>, plan: &Plan) -> Decoded {
    check_held(plan.held_bytes)?;
    let mut phash = None;
    let mut n_frames = 0;
    for frame in decoder.into_frames().take(plan.n_frames) {
        let frame = frame.map_err(refusal)?;
        if n_frames == 0 {
            phash = hash_of(&frame.into_buffer().into());
        }
        n_frames += 1;
    }
    if n_frames == 0 {
        return Err(Refusal::Corrupt);
    }
    Ok(phash)
}

/// What is decoded of a file, and what that takes.
struct Plan {
    /// The end of the container.
    end: u64,
    /// The frames that are decoded.
    n_frames: usize,
    /// What the decoder holds at most, less the picture that it is asked for.
    held_bytes: u64,
}

impl Plan {
    /// Reads the chunks of a file that is sound at level medium.
    fn read<R: BufRead + Seek>(scan: &mut Scan<'_, R>, size: Size) -> Result<Self, Refusal> {
        let [_, _, _, _, l0, l1, l2, l3, ..] = scan.array::<12>()?;
        let end = (8 + u64::from(u32::from_le_bytes([l0, l1, l2, l3]))).min(scan.len());
        let mut plan = Self { end, n_frames: 0, held_bytes: 0 };
        let mut image = Image::new(size);
        let mut work = 0;
        while let Some(chunk) = Chunk::open(scan, end)? {
            if chunk.kind != *b"ANMF" {
                image.add(&chunk);
                scan.jump(chunk.next(end))?;
                continue;
            }
            let frame = Image::of_frame(scan, &chunk)?;
            let n_frames = u64::try_from(plan.n_frames).unwrap_or(u64::MAX);
            work += frame.work() + CANVAS_WORK * size.area();
            let is_enough = work > MAX_WORK_BYTES || size.area() * n_frames >= MAX_ANIMATED_PX;
            if plan.n_frames > 0 && is_enough {
                return Ok(plan);
            }
            check_work(work)?;
            let held = frame.held_bytes(scan)? + FRAME_BYTES * size.area();
            check_held(held)?;
            plan.held_bytes = plan.held_bytes.max(held);
            plan.n_frames += 1;
            scan.jump(chunk.next(end))?;
        }
        if plan.n_frames == 0 {
            check_work(image.work())?;
            plan.held_bytes = image.held_bytes(scan)?;
        }
        Ok(plan)
    }
}

/// The data of a chunk.
#[derive(Clone, Copy)]
struct Chunk {
    kind: [u8; 4],
    at: u64,
    len: u64,
}

impl Chunk {
    /// The next chunk before `end`.
    fn open<R: BufRead + Seek>(scan: &mut Scan<'_, R>, end: u64) -> Result<Option<Self>, Refusal> {
        if scan.at() + 8 > end {
            return Ok(None);
        }
        let [k0, k1, k2, k3, l0, l1, l2, l3] = scan.array()?;
        let len = u64::from(u32::from_le_bytes([l0, l1, l2, l3])).min(end - scan.at());
        Ok(Some(Self { kind: [k0, k1, k2, k3], at: scan.at(), len }))
    }

    /// Where the next one begins.
    fn next(&self, end: u64) -> u64 {
        (self.at + self.len).next_multiple_of(2).min(end)
    }
}

/// The bitstreams of an image. Of several of a kind the first counts.
struct Image {
    size: Size,
    lossy: Option<Chunk>,
    lossless: Option<Chunk>,
    alpha: Option<Chunk>,
}

impl Image {
    fn new(size: Size) -> Self {
        Self { size, lossy: None, lossless: None, alpha: None }
    }

    /// The image of a frame, whose header comes next.
    fn of_frame<R: BufRead + Seek>(scan: &mut Scan<'_, R>, frame: &Chunk) -> Result<Self, Refusal> {
        let [_, _, _, _, _, _, w0, w1, w2, h0, h1, h2, ..] = scan.array::<16>()?;
        let [width, height] = [[w0, w1, w2, 0], [h0, h1, h2, 0]].map(u32::from_le_bytes);
        let mut image = Self::new(Size::checked(width + 1, height + 1)?);
        let end = frame.at + frame.len;
        while let Some(chunk) = Chunk::open(scan, end)? {
            image.add(&chunk);
            scan.jump(chunk.next(end))?;
        }
        Ok(image)
    }

    fn add(&mut self, chunk: &Chunk) {
        let slot = match &chunk.kind {
            b"VP8 " => &mut self.lossy,
            b"VP8L" => &mut self.lossless,
            b"ALPH" => &mut self.alpha,
            _ => return,
        };
        slot.get_or_insert(*chunk);
    }

    /// The bytes that the decode counts for.
    fn work(&self) -> u64 {
        let area = self.size.area();
        let lossy = self.lossy.map_or(0, |chunk| {
            LOSSY_WORK * area + (CODES_WORK * area).min(CODES_WORK_A_BYTE * chunk.len)
        });
        let lossless = [self.lossless, self.alpha].into_iter().flatten().count();
        lossy + LOSSLESS_WORK * area * u64::try_from(lossless).unwrap_or(u64::MAX)
    }

    /// The bytes that the decoder holds, beside the picture that it is asked for.
    fn held_bytes<R: BufRead + Seek>(&self, scan: &mut Scan<'_, R>) -> Result<u64, Refusal> {
        let area = self.size.area();
        let mut held = 0;
        if let Some(chunk) = self.lossy {
            // The partitions are read twice.
            held += LOSSY_BYTES * area + 2 * chunk.len;
        }
        if let Some(chunk) = self.alpha {
            held += ALPHA_BYTES * area + codes::alpha_bytes(scan, chunk.at, chunk.len, self.size)?;
        }
        if let Some(chunk) = self.lossless {
            held += LOSSLESS_BYTES * area + codes::bytes(scan, chunk.at, chunk.len, self.size)?;
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use crate::sample::{animation, canvas, inspect_bytes, lossless, lossy, webp};
    use crate::{Level, Refusal};

    fn slow(bytes: &[u8]) -> Option<Refusal> {
        assert!(inspect_bytes(bytes, Level::Medium).is_ok());
        inspect_bytes(bytes, Level::Slow).err()
    }

    /// Case 254: thirty bytes whose decode would hold 700 MB.
    #[test]
    fn the_decoders_own_buffers_count() {
        let of = |width, height| slow(&webp(&[(b"VP8L", &lossless(width, height)[..5])]));
        assert_eq!(of(8_000, 7_900), Some(Refusal::DecodeBudget));
        assert_eq!(of(12_000, 8_333), Some(Refusal::DecodeBudget));
        assert_eq!(of(80, 79), Some(Refusal::Corrupt), "there are no pixels");
    }

    /// Case 254: frames of a canvas that takes all the memory there is.
    #[test]
    fn animations_of_large_canvases_are_refused() {
        let mut file = animation(&[(0, 0)]);
        file[24..30].copy_from_slice(&canvas(2, 7_000, 7_000)[4..]);
        assert_eq!(slow(&file), Some(Refusal::DecodeBudget));
    }

    /// Case 255: the codes of a lossy picture may cost a bit each, which its dimensions do not tell.
    #[test]
    fn large_lossy_pictures_are_refused_for_their_codes() {
        let of = |side: u16, n_bytes: usize| {
            let mut data = lossy(side, side);
            data.resize(n_bytes, 0x55);
            slow(&webp(&[(b"VP8 ", &data)]))
        };
        assert_eq!(of(9_000, 2_000_000), Some(Refusal::DecodeBudget));
    }
}
