//! JPEG: segments up to the frame header, then segments and scans up to the end of the image.
//!
//! Source: [ITU-T T.81](https://www.w3.org/Graphics/JPEG/itu-t81.pdf), annex B: markers and fill
//! bytes (B.1.1.2, table B.1), marker segments (B.1.1.4), stuffed zeros (B.1.1.5), the order of
//! frames and scans (B.2.1), frame header (B.2.2), scan header (B.2.3), DNL (B.2.5).

mod application;
mod tables;
#[cfg(test)]
mod tests;

use crate::{Level, Refusal, Size, cost, scan::Scan};
use application::Application;
use std::io::{BufRead, Seek};
use tables::Tables;

/// The most scans of one image. Encoders write about ten, and each scan makes a decoder go over the
/// whole picture once more.
const MAX_SCANS: usize = 100;

/// The most blocks of one unit of an interleaved scan (B.2.3).
const MAX_BLOCKS: u32 = 10;

/// What the frame header says.
struct Frame {
    size: Size,
    /// One, three or four.
    components: Vec<Component>,
    is_progressive: bool,
}

/// A component of the frame. Several may have the same identifier.
#[derive(Clone, Copy)]
struct Component {
    id: u8,
    /// The sampling factors, from 1 to 4.
    across: u8,
    down: u8,
    quantization: u8,
}

/// What segments between scans define.
#[derive(Default)]
struct State {
    tables: Tables,
    application: Application,
}

/// Reads the dimensions and, above fast, walks to the end of the image.
///
/// Bytes behind the end of the image are ignored: cameras and web servers append some.
pub(crate) fn inspect<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    level: Level,
) -> Result<Size, Refusal> {
    scan.skip(2)?;
    let mut state = State::default();
    let frame = read_frame(scan, &mut state)?;
    if level != Level::Fast {
        let n_scans = walk(scan, &frame, &mut state)?;
        if level.decodes() {
            cost::check_jpeg(frame.size, n_scans)?;
        }
    }
    Ok(frame.size)
}

fn read_frame<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    state: &mut State,
) -> Result<Frame, Refusal> {
    loop {
        match next_marker(scan)? {
            marker @ 0xC0..=0xC2 => return frame_header(scan, marker == 0xC2),
            0xD9 | 0xDA => return Err(Refusal::Corrupt),
            marker => define(scan, marker, state)?,
        }
    }
}

/// Walks to the end of the image and counts the scans.
fn walk<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    frame: &Frame,
    state: &mut State,
) -> Result<usize, Refusal> {
    let mut n_scans = 0;
    loop {
        match next_marker(scan)? {
            0xD9 if n_scans > 0 => return Ok(n_scans),
            0xDA if n_scans == MAX_SCANS => return Err(Refusal::TooLarge),
            0xDA => {
                if n_scans == 0 {
                    state.application.check()?;
                }
                n_scans += 1;
                scan_header(scan, frame, &state.tables)?;
            }
            // No scan, or a second frame header.
            0xD9 | 0xC0..=0xC2 => return Err(Refusal::Corrupt),
            // Loaders look at what stands before the first scan only.
            marker @ 0xE0..=0xEF if n_scans > 0 => segment(scan, marker)?,
            marker => define(scan, marker, state)?,
        }
    }
}

/// Finds the next marker that begins a segment or ends the image.
///
/// It steps over the entropy-coded data of a scan, and in the same way over stray bytes between
/// segments, as decoders do.
pub(crate) fn next_marker<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<u8, Refusal> {
    loop {
        scan.skip_past(0xFF)?;
        let mut code = scan.byte()?;
        while code == 0xFF {
            code = scan.byte()?;
        }
        // A stuffed zero, TEM and the restarts stand alone.
        if !matches!(code, 0x00 | 0x01 | 0xD0..=0xD7) {
            return Ok(code);
        }
    }
}

/// Reads a segment that says something of the picture.
fn define<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    marker: u8,
    state: &mut State,
) -> Result<(), Refusal> {
    match marker {
        // Lossless, hierarchical (also 0xDE and 0xDF), arithmetic coding, and extensions like JPEG-LS
        // (0xF7): no browser shows them, and loaders only some.
        0xC3 | 0xC5..=0xCB | 0xCD..=0xCF | 0xDE | 0xDF | 0xF0..=0xFD => {
            Err(Refusal::UnsupportedFormat)
        }
        0xC4 => state.tables.define_huffman(scan),
        0xDB => state.tables.define_quantization(scan),
        0xDD => match segment_len(scan)? {
            2 => scan.skip(2),
            _ => Err(Refusal::Corrupt),
        },
        0xE0..=0xEF => state.application.read(scan, marker),
        _ => segment(scan, marker),
    }
}

/// Steps over a segment whose content only a decoder needs.
pub(crate) fn segment<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    marker: u8,
) -> Result<(), Refusal> {
    // Reserved codes, and a second start of an image.
    if matches!(marker, 0x02..=0xBF | 0xD8) {
        return Err(Refusal::Corrupt);
    }
    let len = lenient_len(scan)?;
    scan.skip(len)
}

/// The bytes of a segment after its length.
pub(crate) fn segment_len<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<u64, Refusal> {
    let len = u64::from(u16::from_be_bytes(scan.array()?));
    len.checked_sub(2).ok_or(Refusal::Corrupt)
}

/// The bytes of a segment that nobody needs: a length below two counts as none, as for decoders.
pub(crate) fn lenient_len<R: BufRead + Seek>(scan: &mut Scan<'_, R>) -> Result<u64, Refusal> {
    Ok(u64::from(u16::from_be_bytes(scan.array()?)).saturating_sub(2))
}

fn frame_header<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    is_progressive: bool,
) -> Result<Frame, Refusal> {
    let len = segment_len(scan)?;
    let [precision, h1, h0, w1, w0, n_components] = scan.array()?;
    // A height of zero announces a DNL segment behind the first scan. Decoders refuse that too.
    let size = Size::checked(u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]))?;
    if !matches!(precision, 8 | 12)
        || !(1..=4).contains(&n_components)
        || len != 6 + 3 * u64::from(n_components)
    {
        return Err(Refusal::Corrupt);
    }
    let mut components = Vec::with_capacity(4);
    for _ in 0..n_components {
        let [id, sampling, quantization] = scan.array()?;
        let (across, down) = (sampling >> 4, sampling & 15);
        let in_range = |factor| (1..=4).contains(&factor);
        if !in_range(across) || !in_range(down) || quantization > 3 {
            return Err(Refusal::Corrupt);
        }
        components.push(Component { id, across, down, quantization });
    }
    let max = |factor: fn(&Component) -> u8| components.iter().map(factor).max().unwrap_or(1);
    let (across, down) = (max(|c| c.across), max(|c| c.down));
    // Loaders know grey, three colours and four, of eight bits, and no factors like two thirds.
    if precision != 8
        || n_components == 2
        || components.iter().any(|c| across % c.across != 0 || down % c.down != 0)
    {
        return Err(Refusal::UnsupportedFormat);
    }
    Ok(Frame { size, components, is_progressive })
}

/// Which component of the frame the member number `n` of a scan is. Where several have the same
/// identifier, their order tells them apart.
pub(crate) fn member(ids: impl Iterator<Item = u8>, id: u8, n: usize) -> Option<usize> {
    ids.enumerate().skip(n).find(|(_, own)| *own == id).map(|(at, _)| at)
}

fn scan_header<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    frame: &Frame,
    tables: &Tables,
) -> Result<(), Refusal> {
    let len = segment_len(scan)?;
    let n_components = scan.byte()?;
    if !(1..=4).contains(&n_components) || len != 4 + 2 * u64::from(n_components) {
        return Err(Refusal::Corrupt);
    }
    let mut named: Vec<(usize, Component, u8)> = Vec::with_capacity(4);
    for n in 0..usize::from(n_components) {
        let [id, entropy] = scan.array()?;
        let at = member(frame.components.iter().map(|c| c.id), id, n).ok_or(Refusal::Corrupt)?;
        let component = frame.components.get(at).ok_or(Refusal::Corrupt)?;
        if named.iter().any(|(place, ..)| *place == at) {
            return Err(Refusal::Corrupt);
        }
        tables.needs_quantization(component.quantization)?;
        named.push((at, *component, entropy));
    }
    let blocks: u32 = named.iter().map(|(_, c, _)| u32::from(c.across) * u32::from(c.down)).sum();
    if named.len() > 1 && blocks > MAX_BLOCKS {
        return Err(Refusal::Corrupt);
    }
    let [first, last, approximation] = scan.array()?;
    let (high, low) = (approximation >> 4, approximation & 15);
    let is_dc = first == 0;
    if frame.is_progressive {
        let is_band =
            if is_dc { last == 0 } else { first <= last && last < 64 && named.len() == 1 };
        if !is_band || low > 13 || high != 0 && high != low + 1 {
            return Err(Refusal::Corrupt);
        }
    }
    for (.., entropy) in named {
        let is_sequential = !frame.is_progressive;
        if is_sequential || is_dc && high == 0 {
            tables.needs_dc(entropy >> 4, is_sequential)?;
        }
        if is_sequential || !is_dc {
            tables.needs_ac(entropy & 15, is_sequential)?;
        }
    }
    Ok(())
}
