//! What one decode may cost, decided from what the file says before anything is allocated, or counted.
//!
//! The figures are counts of bytes and pixels, so that a picture has the same verdict everywhere. What
//! they are worth in time is measured by `cargo bench -p imagecheck --features decode --bench worst`.

use crate::{MAX_AREA_PX, Refusal, Size};

/// The most bytes that one decode may hold, the decoder's own buffers included: 512 MiB, less what a
/// process and small tables take.
#[cfg(feature = "decode")]
pub(crate) const MAX_HELD_BYTES: u64 = 480 * 1024 * 1024;

/// The most bytes that are decoded for one picture: two seconds at four nanoseconds each. Where a
/// decoder takes longer for a byte, it is counted so much more often.
#[cfg(feature = "decode")]
pub(crate) const MAX_WORK_BYTES: u64 = 512 * 1024 * 1024;

/// The most pixels times scans of a JPEG: fifty scans over the largest picture, where encoders write
/// about ten, and twenty-four if each bit has its own. That is a second, if hardly any of them has data.
const MAX_SCANNED_PX: u64 = 50 * MAX_AREA_PX;

/// Refuses a decode that would hold too many bytes.
#[cfg(feature = "decode")]
pub(crate) fn check_held(bytes: u64) -> Result<(), Refusal> {
    if bytes > MAX_HELD_BYTES { Err(Refusal::DecodeBudget) } else { Ok(()) }
}

/// Refuses a decode of too many bytes.
#[cfg(feature = "decode")]
pub(crate) fn check_work(bytes: u64) -> Result<(), Refusal> {
    if bytes > MAX_WORK_BYTES { Err(Refusal::DecodeBudget) } else { Ok(()) }
}

/// Refuses a JPEG whose decode would take too much time.
///
/// Its memory needs no check: of each block of 64 samples ten bytes are kept at most, or all samples
/// where a side has less than 256 of them. That is below 100 MiB in the largest picture.
pub(crate) fn check_jpeg(size: Size, n_scans: usize) -> Result<(), Refusal> {
    let n_scans = u64::try_from(n_scans).unwrap_or(u64::MAX);
    if size.area().saturating_mul(n_scans) > MAX_SCANNED_PX {
        return Err(Refusal::DecodeBudget);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 253: a JPEG whose scans go over the largest picture again and again.
    #[test]
    fn jpegs_are_refused_for_what_their_decode_would_cost() {
        let cost =
            |width: u32, n_scans| check_jpeg(Size::checked(width, 10_000_u32).unwrap(), n_scans);
        assert_eq!(cost(10_000, 50), Ok(()));
        assert_eq!(cost(10_000, 51), Err(Refusal::DecodeBudget));
        assert_eq!(cost(5_000, 100), Ok(()));
        assert_eq!(cost(5_001, 100), Err(Refusal::DecodeBudget));
    }
}
