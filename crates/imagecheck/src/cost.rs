//! What a decode may cost, decided from the dimensions before anything is allocated.

use crate::{MAX_AREA_PX, Refusal, Size};

/// The most bytes that one decode may hold: the largest picture at four bytes a pixel, and room for
/// the decoder. A picture that needs more, in 16 bit or progressive, is too large for level slow.
pub(crate) const MAX_DECODED_BYTES: u64 = 512 * 1024 * 1024;

/// The most pixels times scans of a JPEG: ten scans, the usual number, over the largest picture.
const MAX_SCANNED_PX: u64 = 10 * MAX_AREA_PX;

/// Refuses a decode that would hold too many bytes.
pub(crate) fn check_bytes(bytes: u64) -> Result<(), Refusal> {
    if bytes > MAX_DECODED_BYTES {
        return Err(Refusal::TooLarge);
    }
    Ok(())
}

/// Refuses a JPEG whose decode would take too much memory or time.
///
/// A decoder keeps a coefficient of two bytes for every sample, unless a single sequential scan
/// brings all of them.
pub(crate) fn check_jpeg(
    size: Size,
    n_components: usize,
    n_scans: usize,
    is_progressive: bool,
) -> Result<(), Refusal> {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let coefficients = if is_progressive || n_scans > 1 { 2 * count(n_components) } else { 0 };
    if size.area().saturating_mul(count(n_scans)) > MAX_SCANNED_PX {
        return Err(Refusal::TooLarge);
    }
    check_bytes(size.area().saturating_mul(3 + coefficients))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpegs_are_refused_for_what_their_decode_would_cost() {
        let cost = |width: u32, n_scans, is_progressive| {
            check_jpeg(Size::checked(width, 10_000_u32).unwrap(), 3, n_scans, is_progressive)
        };
        assert_eq!(cost(10_000, 1, false), Ok(()));
        assert_eq!(cost(5_900, 10, true), Ok(()));
        assert_eq!(cost(6_000, 10, true), Err(Refusal::TooLarge));
        assert_eq!(cost(6_000, 3, false), Err(Refusal::TooLarge));
        assert_eq!(cost(1_000, 100, true), Ok(()));
        assert_eq!(cost(1_001, 100, true), Err(Refusal::TooLarge));
    }
}
