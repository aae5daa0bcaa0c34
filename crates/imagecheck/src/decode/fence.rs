//! The last fence around a decoder: a reader that ends with an error when its thread has worked too
//! long.
//!
//! What a decode costs is counted beforehand, where a file says it (`cost`). What it does not say, as
//! blocks of deflate that build tables and give nothing, is stopped here: every decoder but that of
//! lossy WebP and of JPEG in TIFF reads as it goes, so it ends at its next step. The limit is far from
//! any picture that is none of these: the dearest take two thirds of it.

use nix::time::{ClockId, clock_gettime};
use std::io::{BufRead, Error, Read, Result, Seek, SeekFrom};
use std::time::Duration;

/// The most CPU time of a decode. Without optimization decoders are thirty times slower.
pub(super) const CPU_LIMIT: Duration =
    Duration::from_millis(if cfg!(debug_assertions) { 60_000 } else { 1_800 });

/// The clock is read after so many bytes, which an inflater takes milliseconds for at worst ...
const CHECKED_BYTES: usize = 64 * 1024;

/// ... and after so many calls: a decoder may go on with what it has, and a bit reader calls for each
/// pixel, where a reading of the clock is dear.
const CHECKED_CALLS: u32 = 1024;

/// A body as its decoder sees it.
#[derive(Debug)]
pub(super) struct Fence<'a, R> {
    body: &'a mut R,
    at: u64,
    /// Where the body ends for the decoder.
    pub(super) end: u64,
    /// What the thread had worked, in CPU time, when it ought to have ended.
    limit: Duration,
    calls_left: u32,
    bytes_left: usize,
    /// Whether the decoder was stopped.
    pub(super) is_over: bool,
}

impl<'a, R: BufRead + Seek> Fence<'a, R> {
    /// Rewinds the body, and gives its decoder this much CPU time.
    pub(super) fn new(body: &'a mut R, len: u64, limit: Duration) -> Result<Self> {
        body.seek(SeekFrom::Start(0))?;
        let limit = worked().saturating_add(limit);
        // The first call looks at the clock.
        Ok(Self { body, at: 0, end: len, limit, calls_left: 0, bytes_left: 0, is_over: false })
    }

    #[cold]
    fn check(&mut self) -> Result<()> {
        self.calls_left = CHECKED_CALLS;
        self.bytes_left = CHECKED_BYTES;
        self.is_over |= worked() > self.limit;
        if self.is_over { Err(Error::other("the decode takes too long")) } else { Ok(()) }
    }
}

/// The CPU time of this thread. A clock that cannot be read is a fence that does not stand.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

impl<R: BufRead + Seek> BufRead for Fence<'_, R> {
    #[inline]
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.calls_left == 0 || self.bytes_left == 0 {
            self.check()?;
        }
        self.calls_left -= 1;
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let bytes = self.body.fill_buf()?;
        let n = bytes.len().min(left).min(CHECKED_BYTES);
        Ok(bytes.get(..n).unwrap_or_default())
    }

    #[inline]
    fn consume(&mut self, n: usize) {
        self.body.consume(n);
        self.at = self.at.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        self.bytes_left = self.bytes_left.saturating_sub(n);
    }
}

impl<R: BufRead + Seek> Read for Fence<'_, R> {
    #[inline]
    fn read(&mut self, room: &mut [u8]) -> Result<usize> {
        let mut bytes = self.fill_buf()?;
        let n = bytes.read(room)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead + Seek> Seek for Fence<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        // From the end that the decoder sees.
        let to = match to {
            SeekFrom::End(offset) => {
                let to = self.end.checked_add_signed(offset);
                SeekFrom::Start(to.ok_or(std::io::ErrorKind::InvalidInput)?)
            }
            to => to,
        };
        self.at = self.body.seek(to)?;
        Ok(self.at)
    }

    fn seek_relative(&mut self, offset: i64) -> Result<()> {
        self.body.seek_relative(offset)?;
        self.at = self.at.saturating_add_signed(offset);
        Ok(())
    }

    fn stream_position(&mut self) -> Result<u64> {
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_decoder_that_works_too_long_gets_no_more_bytes() {
        let mut body = Cursor::new(vec![7; 3 * CHECKED_BYTES]);
        let mut fence = Fence::new(&mut body, 3 * 65_536, Duration::MAX).unwrap();
        let mut room = vec![0; CHECKED_BYTES + 1];
        assert_eq!(fence.read(&mut room).unwrap(), CHECKED_BYTES);
        fence.limit = Duration::ZERO;
        assert!(fence.read(&mut room).is_err());
        assert!(fence.is_over);
        // By calls, too.
        let mut fence = Fence::new(&mut body, 3 * 65_536, Duration::MAX).unwrap();
        fence.fill_buf().unwrap();
        fence.limit = Duration::ZERO;
        let n = (0..2 * CHECKED_CALLS).take_while(|_| fence.fill_buf().is_ok()).count();
        assert_eq!(n + 1, usize::try_from(CHECKED_CALLS).unwrap());
    }

    #[test]
    fn a_decoder_sees_its_body_and_nothing_behind_it() {
        let mut body = Cursor::new(b"abcdefgh");
        let mut fence = Fence::new(&mut body, 6, Duration::MAX).unwrap();
        let mut rest = Vec::new();
        assert_eq!(fence.seek(SeekFrom::End(-2)).unwrap(), 4);
        fence.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"ef");
        fence.seek_relative(-5).unwrap();
        assert_eq!(fence.stream_position().unwrap(), 1);
        assert_eq!(fence.fill_buf().unwrap(), b"bcdef");
    }
}
