//! The application segments of a JPEG, as far as they stop a loader.
//!
//! Source: Pillow, `JpegImagePlugin.APP`, which reads fields of segments without looking at their
//! lengths. Segments that are only odd are taken, as loaders take them.

use super::lenient_len;
use crate::{
    Refusal,
    exif::{self, Faults},
    scan::Scan,
};
use std::io::{BufRead, Seek};

/// The most bytes that are looked at, from the beginning of a segment other than Exif.
const HEAD_BYTES: usize = 26;

/// What the segments before the first scan said.
#[derive(Default)]
pub(super) struct Application {
    exif: Option<Faults>,
    has_resolution: bool,
}

impl Application {
    /// Reads an application segment.
    pub(super) fn read<R: BufRead + Seek>(
        &mut self,
        scan: &mut Scan<'_, R>,
        marker: u8,
    ) -> Result<(), Refusal> {
        let len = lenient_len(scan)?;
        let mut head = [0; HEAD_BYTES];
        let n = usize::try_from(len).unwrap_or(usize::MAX).min(HEAD_BYTES);
        let head = head.get_mut(..n).unwrap_or_default();
        scan.fill(head)?;
        let left = len.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
        // Further segments go on with what the first one began.
        match head.strip_prefix(exif::PREFIX) {
            Some(head) if marker == 0xE1 && self.exif.is_none() => {
                let mut exif = head.to_vec();
                exif.resize(head.len() + usize::try_from(left).unwrap_or_default(), 0);
                scan.fill(exif.get_mut(head.len()..).unwrap_or_default())?;
                self.exif = Some(Faults::of(&exif));
            }
            _ => scan.skip(left)?,
        }
        self.judge(marker, head)
    }

    fn judge(&mut self, marker: u8, head: &[u8]) -> Result<(), Refusal> {
        let is_cut = match marker {
            0xE0 if head.starts_with(b"JFIF") => {
                self.has_resolution |= matches!(head.get(7), Some(1 | 2)) && head.len() >= 12;
                head.len() < 7
            }
            0xE2 if head.starts_with(b"ICC_PROFILE\0") => head.len() < 14,
            0xEE if head.starts_with(b"Adobe") => head.len() < 7,
            _ => false,
        };
        if is_cut { Err(Refusal::Metadata) } else { Ok(()) }
    }

    /// The judgement at the first scan.
    ///
    /// Where the file states no resolution, Pillow looks for one in Exif, forgives Exif without a header
    /// then, and never reads it again.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let exif = self.exif.unwrap_or_default();
        let is_bad = if self.has_resolution { exif.header } else { exif.resolution };
        if is_bad || exif.rewrite { Err(Refusal::Metadata) } else { Ok(()) }
    }
}
