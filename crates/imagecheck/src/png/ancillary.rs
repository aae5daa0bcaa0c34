//! The chunks beside the pixels, as far as they stop a loader.
//!
//! Source: Pillow, `PngImagePlugin.PngStream`: what each chunk must have, the most that a compressed
//! text or profile may inflate to, and the most that all texts may have.

use super::{Header, animation::Animation, chunk::Chunk};
use crate::{
    Refusal,
    exif::{self, Faults},
    scan::Scan,
};
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{BufRead, Seek};

/// The most bytes that a text or profile may inflate to: a loader refuses the picture for one more.
const MAX_INFLATED_BYTES: u64 = 1 << 20;

/// The most bytes that all texts may have.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The most bytes that are inflated for one picture; more is a bomb, whatever loaders do.
const MAX_ALL_INFLATED_BYTES: u64 = 2 * MAX_TEXT_BYTES;

/// Compressed data is at least a 1032nd of what it inflates to: less than this is not too much.
const HARMLESS_BYTES: u64 = MAX_INFLATED_BYTES / 1033;

/// What is inflated at a time.
const BLOCK_BYTES: usize = 8 * 1024;

/// What the chunks so far add up to.
#[derive(Default)]
pub(super) struct Ancillary {
    text_bytes: u64,
    inflated_bytes: u64,
    /// The last Exif, which is the one that counts.
    exif: Vec<u8>,
    animation: Animation,
}

impl Ancillary {
    /// Looks at a chunk that is neither the header nor the palette, data or end.
    pub(super) fn read<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
        header: &Header,
        has_data: bool,
    ) -> Result<(), Refusal> {
        let shortest = match &chunk.kind {
            b"tRNS" => match header.colour {
                0 => 2,
                2 => 6,
                _ => 0,
            },
            b"gAMA" => 4,
            b"cHRM" => 32,
            b"sRGB" => 1,
            b"pHYs" => 9,
            _ => 0,
        };
        if chunk.left() < shortest {
            return Err(Refusal::Metadata);
        }
        match &chunk.kind {
            b"iCCP" => self.profile(scan, chunk),
            b"tEXt" => self.text(scan, chunk),
            b"zTXt" => self.compressed_text(scan, chunk),
            b"iTXt" => self.international_text(scan, chunk),
            b"eXIf" => self.exif(scan, chunk),
            b"acTL" | b"fcTL" | b"fdAT" => self.animation.read(scan, chunk, header.size, has_data),
            _ => Ok(()),
        }
    }

    /// The judgement at the end of the picture.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if Faults::of(&self.exif).stop_loaders() { Err(Refusal::Metadata) } else { Ok(()) }
    }

    /// Section 11.3.2.3: a name, a zero, the method, and the compressed profile.
    fn profile<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
    ) -> Result<(), Refusal> {
        chunk.skip_past_zero(scan)?;
        if chunk.left() == 0 || chunk.array(scan)? != [0] {
            return Err(Refusal::Metadata);
        }
        if chunk.left() > HARMLESS_BYTES {
            self.inflate(scan, chunk)?;
        }
        Ok(())
    }

    /// Section 11.3.3.2: a keyword, a zero, the text. Without a keyword it is dropped.
    fn text<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
    ) -> Result<(), Refusal> {
        let has_keyword = chunk.skip_past_zero(scan)? > 0;
        let bytes = chunk.left();
        self.count(if has_keyword { bytes } else { 0 })
    }

    /// Section 11.3.3.3: a keyword, a zero, the method, and the compressed text.
    fn compressed_text<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
    ) -> Result<(), Refusal> {
        let has_keyword = chunk.skip_past_zero(scan)? > 0;
        if chunk.left() > 0 && chunk.array(scan)? != [0] {
            return Err(Refusal::Metadata);
        }
        let bytes = self.inflate(scan, chunk)?;
        self.count(if has_keyword { bytes } else { 0 })
    }

    /// Section 11.3.3.4: a keyword, a zero, whether it is compressed, the method, a language, a zero,
    /// the keyword in that language, a zero, the text.
    fn international_text<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
    ) -> Result<(), Refusal> {
        chunk.skip_past_zero(scan)?;
        if chunk.left() < 2 {
            return Ok(());
        }
        let [is_compressed, method] = chunk.array(scan)?;
        chunk.skip_past_zero(scan)?;
        chunk.skip_past_zero(scan)?;
        let bytes = match (is_compressed, method) {
            (0, _) => chunk.left(),
            (_, 0) => self.inflate(scan, chunk)?,
            _ => 0,
        };
        self.count(bytes)
    }

    fn exif<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
    ) -> Result<(), Refusal> {
        let len = usize::try_from(chunk.left()).unwrap_or(usize::MAX).min(exif::MAX_BYTES);
        self.exif.resize(len, 0);
        chunk.fill(scan, &mut self.exif)?;
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.text_bytes += bytes;
        if self.text_bytes > MAX_TEXT_BYTES { Err(Refusal::Metadata) } else { Ok(()) }
    }

    /// How many bytes the rest of a chunk inflates to. A stream that is broken counts as empty.
    fn inflate<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        chunk: &mut Chunk,
    ) -> Result<u64, Refusal> {
        let mut stream = Decompress::new(true);
        let mut block = [0; BLOCK_BYTES];
        loop {
            let before = (stream.total_in(), stream.total_out());
            let mut status = Ok(Status::Ok);
            let mut inflate = |bytes: &[u8]| {
                status = stream.decompress(bytes, &mut block, FlushDecompress::None);
                usize::try_from(stream.total_in() - before.0).unwrap_or(usize::MAX)
            };
            if chunk.left() > 0 {
                chunk.piece(scan, inflate)?;
            } else {
                // What was read may not be given in full yet.
                inflate(&[]);
            }
            self.inflated_bytes += stream.total_out() - before.1;
            if self.inflated_bytes > MAX_ALL_INFLATED_BYTES {
                return Err(Refusal::TooLarge);
            }
            if stream.total_out() > MAX_INFLATED_BYTES {
                return Err(Refusal::Metadata);
            }
            match status {
                Ok(Status::StreamEnd) => break,
                Ok(_) if (stream.total_in(), stream.total_out()) != before => {}
                // The end of data that is cut, which loaders take as it is.
                Ok(_) => break,
                Err(_) => return Ok(0),
            }
        }
        Ok(stream.total_out())
    }
}
