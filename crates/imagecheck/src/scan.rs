//! A forward reader over a body whose length is known.

use crate::Refusal;
use std::io::{BufRead, Seek, SeekFrom};

/// Reads a body piece by piece; a step past its end is [`Refusal::Truncated`].
#[derive(Debug)]
pub(crate) struct Scan<'a, R> {
    body: &'a mut R,
    len: u64,
    at: u64,
}

impl<'a, R: BufRead + Seek> Scan<'a, R> {
    /// Rewinds the body.
    pub(crate) fn start(body: &'a mut R, len: u64) -> Result<Self, Refusal> {
        body.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        Ok(Self { body, len, at: 0 })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The position of the next byte.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    /// The buffered bytes at the current position: at least one, none after the body's end.
    pub(crate) fn peek(&mut self) -> Result<&[u8], Refusal> {
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        let bytes = self.body.fill_buf().map_err(unreadable)?;
        match bytes.get(..left.min(bytes.len())) {
            Some(bytes) if !bytes.is_empty() => Ok(bytes),
            _ => Err(Refusal::Truncated),
        }
    }

    /// Takes bytes that [`Scan::peek`] has shown.
    pub(crate) fn consume(&mut self, n: usize) {
        self.body.consume(n);
        self.at = self.at.saturating_add(n.try_into().unwrap_or(u64::MAX));
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        let n = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if n > self.left() {
            return Err(Refusal::Truncated);
        }
        self.body.read_exact(bytes).map_err(unreadable)?;
        self.at += n;
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Refusal> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Steps over `n` bytes, all of which must be there.
    pub(crate) fn skip(&mut self, n: u64) -> Result<(), Refusal> {
        if n > self.left() {
            return Err(Refusal::Truncated);
        }
        self.jump(self.at + n)
    }

    /// Goes to an absolute position, at most the end of the body.
    pub(crate) fn jump(&mut self, to: u64) -> Result<(), Refusal> {
        if to > self.len {
            return Err(Refusal::Truncated);
        }
        let (Ok(from), Ok(target)) = (i64::try_from(self.at), i64::try_from(to)) else {
            return Err(Refusal::Truncated);
        };
        // A relative seek, because a buffered reader then keeps what it has read ahead.
        self.body.seek_relative(target - from).map_err(unreadable)?;
        self.at = to;
        Ok(())
    }

    /// Steps over everything up to the first `byte`, and over that one.
    pub(crate) fn skip_past(&mut self, byte: u8) -> Result<(), Refusal> {
        loop {
            let bytes = self.peek()?;
            match memchr::memchr(byte, bytes) {
                Some(found) => {
                    self.consume(found + 1);
                    return Ok(());
                }
                None => {
                    let n = bytes.len();
                    self.consume(n);
                }
            }
        }
    }
}

fn unreadable(_: std::io::Error) -> Refusal {
    Refusal::Truncated
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    #[test]
    fn steps_past_the_end_are_refused_and_change_nothing() {
        let mut body = Cursor::new(b"abcdef");
        let mut scan = Scan::start(&mut body, 6).unwrap();
        scan.skip(4).unwrap();
        assert_eq!(scan.skip(3), Err(Refusal::Truncated));
        assert_eq!(scan.jump(7), Err(Refusal::Truncated));
        assert_eq!(scan.array::<3>(), Err(Refusal::Truncated));
        assert_eq!(scan.array(), Ok(*b"ef"));
        assert_eq!(scan.byte(), Err(Refusal::Truncated));
        assert_eq!(scan.peek(), Err(Refusal::Truncated));
    }

    #[test]
    fn the_given_length_bounds_a_longer_body() {
        let mut body = Cursor::new(b"abcdef");
        let mut scan = Scan::start(&mut body, 3).unwrap();
        assert_eq!(scan.peek(), Ok(&b"abc"[..]));
        assert_eq!(scan.skip_past(b'e'), Err(Refusal::Truncated));
    }

    #[test]
    fn a_body_shorter_than_announced_is_truncated() {
        let mut body = Cursor::new(b"abc");
        let mut scan = Scan::start(&mut body, 9).unwrap();
        assert_eq!(scan.array::<9>(), Err(Refusal::Truncated));
        let mut scan = Scan::start(&mut body, 9).unwrap();
        assert_eq!(scan.skip_past(b'x'), Err(Refusal::Truncated));
    }

    #[test]
    fn a_byte_is_found_across_buffers() {
        let mut body = BufReader::with_capacity(2, Cursor::new(b"abcdef"));
        let mut scan = Scan::start(&mut body, 6).unwrap();
        scan.skip_past(b'e').unwrap();
        assert_eq!((scan.at(), scan.byte()), (5, Ok(b'f')));
        scan.jump(1).unwrap();
        assert_eq!(scan.byte(), Ok(b'b'));
    }
}
