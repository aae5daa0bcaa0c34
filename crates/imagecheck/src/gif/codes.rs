//! The codes of a GIF's frame: every one must be right, and there must be a pixel for every place.

use super::next_sub_block;
use crate::{Refusal, scan::Scan};
use std::io::{BufRead, Seek};
use weezl::{BitOrder, LzwStatus, decode::Decoder};

/// Unpacks a frame's codes up to the end of its blocks, which may be missing. What is behind the last pixel is
/// not looked at; what comes before it goes into the room, again and again where that is smaller.
pub(crate) fn unpack<R: BufRead + Seek>(
    scan: &mut Scan<'_, R>,
    code_size: u8,
    mut left: u64,
    room: &mut [u8],
) -> Result<(), Refusal> {
    let mut decoder = Decoder::new(BitOrder::Lsb, code_size);
    let mut at = 0;
    let mut block = [0; 255];
    loop {
        let Some(n) = next_sub_block(scan)? else {
            return if left == 0 { Ok(()) } else { Err(Refusal::Truncated) };
        };
        let codes = block.get_mut(..n.into()).unwrap_or_default();
        if codes.is_empty() {
            return if left == 0 { Ok(()) } else { Err(Refusal::Corrupt) };
        }
        scan.fill(codes)?;
        let mut codes = &*codes;
        while left > 0 {
            if at == room.len() {
                at = 0;
            }
            let free = room.len() - at;
            let free = room.get_mut(at..at + to_usize(left).min(free)).unwrap_or_default();
            let result = decoder.decode_bytes(codes, free);
            codes = codes.get(result.consumed_in..).unwrap_or_default();
            at += result.consumed_out;
            left = left.saturating_sub(u64::try_from(result.consumed_out).unwrap_or(u64::MAX));
            match result.status {
                // Pixels of codes that were taken may still be to come.
                Ok(LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
                Ok(LzwStatus::Ok | LzwStatus::NoProgress) => break,
                Ok(LzwStatus::Done) if left == 0 => break,
                Ok(LzwStatus::Done) | Err(_) => return Err(Refusal::Corrupt),
            }
        }
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
