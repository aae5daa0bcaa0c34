//! What is in a file that is compressed with gzip.

use super::Error;
use flate2::bufread::GzDecoder;
use std::{borrow::Cow, io::Read as _};

/// What every compressed file begins with, and no list does.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The most that a compressed file may unpack to, in MiB: some ten million URLs.
const MOST_UNPACKED_MB: u64 = 1024;

/// The file itself, or what was compressed in it, whatever its name says: some transports unpack
/// without changing the name.
///
/// # Errors
///
/// [`Error::Packed`]
pub(super) fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    unpacked_at_most(bytes, MOST_UNPACKED_MB)
}

/// A small file can unpack to any size.
fn unpacked_at_most(bytes: &[u8], most_mb: u64) -> Result<Cow<'_, [u8]>, Error> {
    if !bytes.starts_with(&GZIP) {
        return Ok(Cow::Borrowed(bytes));
    }
    let most = most_mb << 20;
    let mut unpacked = Vec::new();
    let mut rest = bytes;
    // One after another they are one; zeros behind the last are no more than padding, as for gzip(1).
    while rest.iter().any(|byte| *byte != 0) {
        let room = (most + 1).saturating_sub(u64::try_from(unpacked.len()).unwrap_or(u64::MAX));
        let mut member = GzDecoder::new(rest).take(room);
        member.read_to_end(&mut unpacked).map_err(|error| {
            Error::Packed(format!("is compressed and cannot be unpacked: {error}"))
        })?;
        rest = if member.limit() == 0 { &[] } else { member.into_inner().into_inner() };
    }
    if u64::try_from(unpacked.len()).unwrap_or(u64::MAX) > most {
        let problem = format!("unpacks to more than {most_mb} MiB; split it into jobs");
        return Err(Error::Packed(problem));
    }
    if unpacked.starts_with(&GZIP) {
        let problem = "is compressed twice, gzip inside gzip; unpack it once";
        return Err(Error::Packed(problem.to_owned()));
    }
    Ok(Cow::Owned(unpacked))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::gzip, *};

    #[test]
    fn a_broken_or_endless_archive_is_refused() {
        let whole = gzip("http://a/1\n".repeat(1000).as_bytes());
        let (half, _) = whole.split_at(whole.len() / 2);
        let error = unpacked(half).unwrap_err().to_string();
        assert!(error.contains("cannot be unpacked"), "{error}");
        // Case 267.
        let padded = [whole.clone(), vec![0; 512]].concat();
        assert_eq!(unpacked(&padded).unwrap(), unpacked(&whole).unwrap());
        let error = unpacked(&[whole.clone(), vec![0, 0, 7]].concat()).unwrap_err().to_string();
        assert!(error.contains("cannot be unpacked"), "{error}");
        let bomb = gzip(&vec![b'\n'; (1 << 20) + 1]);
        assert!(bomb.len() < 10_000);
        let error = unpacked_at_most(&bomb, 1).unwrap_err().to_string();
        assert_eq!(error, "the file unpacks to more than 1 MiB; split it into jobs");
        assert_eq!(unpacked_at_most(&bomb, 2).unwrap().len(), (1 << 20) + 1);
        let error = unpacked(&gzip(&whole)).unwrap_err().to_string();
        assert!(error.contains("gzip inside gzip"), "{error}");
    }
}
