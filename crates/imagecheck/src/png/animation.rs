//! The chunks of an animated PNG, as far as loaders read them: up to the frame behind the first.
//!
//! Sources: [PNG, third edition](https://www.w3.org/TR/png-3/), section 11.3.5, and Pillow,
//! `PngImagePlugin.PngStream`, for what makes it raise.

use super::chunk::Chunk;
use crate::{Refusal, Size, scan::Scan};
use std::io::{BufRead, Seek};

/// What is known of the frames.
#[derive(Default)]
pub(super) struct Animation {
    /// Whether there is more than one frame, if the file says so once.
    count: Option<bool>,
    /// The number of the last chunk of a frame.
    sequence: Option<u32>,
    /// Whether loaders have read enough.
    is_done: bool,
}

impl Animation {
    /// Reads a chunk of the animation: `acTL`, `fcTL` or `fdAT`.
    pub(super) fn read<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
        size: Size,
        has_data: bool,
    ) -> Result<(), Refusal> {
        match &chunk.kind {
            // Behind the first data it makes no animation of the file for who has opened it.
            b"acTL" if has_data => field::<8, R>(scan, chunk).map(drop),
            b"acTL" => self.control(scan, chunk),
            b"fcTL" if has_data && self.count == Some(true) => {
                self.is_done = true;
                Ok(())
            }
            _ if self.is_done => Ok(()),
            b"fcTL" => self.frame(scan, chunk, size, has_data),
            _ => self.data(scan, chunk),
        }
    }

    fn control<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
    ) -> Result<(), Refusal> {
        let [n3, n2, n1, n0, ..] = field::<8, R>(scan, chunk)?;
        let n_frames = u32::from_be_bytes([n3, n2, n1, n0]);
        // A count that says nothing, and a second one, make it a still picture.
        self.count = match self.count {
            None if (1..=1 << 31).contains(&n_frames) => Some(n_frames > 1),
            _ => None,
        };
        Ok(())
    }

    fn frame<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
        size: Size,
        has_data: bool,
    ) -> Result<(), Refusal> {
        let fields = field::<26, R>(scan, chunk)?;
        let (words, _) = fields.as_chunks::<4>();
        let [sequence, width, height, left, top, _] =
            <[[u8; 4]; 6]>::try_from(words).map_err(|_| Refusal::Metadata)?.map(u32::from_be_bytes);
        self.follow(sequence)?;
        // The picture itself, when it is the first frame, has the size of the file.
        let is_whole = (left, top, width, height) == (0, 0, size.width, size.height);
        let is_part = has_data && width > 0 && height > 0 && size.holds(left, top, width, height);
        if is_whole || is_part { Ok(()) } else { Err(Refusal::Metadata) }
    }

    fn data<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
    ) -> Result<(), Refusal> {
        let sequence = field::<4, R>(scan, chunk)?;
        self.follow(u32::from_be_bytes(sequence))
    }

    /// The chunks of all frames have consecutive numbers.
    fn follow(&mut self, sequence: u32) -> Result<(), Refusal> {
        let expected = self.sequence.map_or(Some(0), |last| last.checked_add(1));
        self.sequence = Some(sequence);
        if expected == Some(sequence) { Ok(()) } else { Err(Refusal::Metadata) }
    }
}

/// The first bytes of a chunk, which must have them.
fn field<const N: usize, R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    chunk: &mut Chunk,
) -> Result<[u8; N], Refusal> {
    if chunk.left() < u64::try_from(N).unwrap_or(u64::MAX) {
        return Err(Refusal::Metadata);
    }
    chunk.array(scan)
}
