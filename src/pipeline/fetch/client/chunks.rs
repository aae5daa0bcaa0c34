//! Chunks as curl and browsers read them: lines may end with LF alone, where the HTTP library asks for CR
//! LF, and extensions and trailers, which nobody needs, are left out within a limit for the whole body.

use super::packed::Unpacker;
use std::io;

/// Bytes of extensions and trailers of a body.
const MAX_EXTRA_BYTES: usize = 16 * 1024;

/// Writes chunks again with the line ends of RFC 9112, section 7.1.
#[derive(Debug)]
pub(super) struct ChunkMender {
    state: State,
    /// The line under way.
    line: Vec<u8>,
    /// Bytes of the lines before that were left out.
    extra: usize,
    /// For a body that may be packed: its chunks come out as other ones.
    unpacker: Option<Unpacker>,
}

#[derive(Debug)]
enum State {
    Size,
    Data(usize),
    DataEnd,
    Trailers,
    /// Behind the body, or behind what is no chunk: the library sees it as it is.
    Over,
}

impl ChunkMender {
    pub(super) fn new(unpacker: Option<Unpacker>) -> Self {
        Self { state: State::Size, line: Vec::new(), extra: 0, unpacker }
    }

    pub(super) fn is_packed(&self) -> bool {
        self.unpacker.is_some()
    }

    /// What the library gets for these bytes.
    ///
    /// # Errors
    ///
    /// `InvalidData` when a line does not end, and those of [`Unpacker`].
    pub(super) fn push(&mut self, mut rest: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(rest.len() + 16);
        while !rest.is_empty() {
            rest = match self.state {
                State::Over => {
                    out.extend_from_slice(rest);
                    &[]
                }
                State::Data(left) => {
                    let (data, after) = rest.split_at(left.min(rest.len()));
                    match &mut self.unpacker {
                        None => out.extend_from_slice(data),
                        Some(unpacker) => push_chunk(&unpacker.push(data)?, &mut out),
                    }
                    self.state = match left - data.len() {
                        0 => State::DataEnd,
                        left => State::Data(left),
                    };
                    after
                }
                State::Size | State::DataEnd | State::Trailers => self.take(rest, &mut out)?,
            };
        }
        Ok(out)
    }

    /// Takes bytes up to the end of a line, if it is there.
    fn take<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> io::Result<&'a [u8]> {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (piece, after) = rest.split_at(end);
        self.line.extend_from_slice(piece);
        if self.line.len() + self.extra > MAX_EXTRA_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "invalid chunk: endless lines"));
        }
        if self.line.ends_with(b"\n") {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line, out)?;
        }
        Ok(after)
    }

    fn end_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let bare = line.trim_ascii();
        match self.state {
            State::Size => match size(bare) {
                Some(n) => {
                    self.extra += bare.iter().skip_while(|byte| byte.is_ascii_hexdigit()).count();
                    self.end_size(n, out)?;
                }
                None => self.give_up(line, out),
            },
            State::DataEnd if bare.is_empty() => {
                out.extend_from_slice(if self.is_packed() { b"" } else { b"\r\n" });
                self.state = State::Size;
            }
            State::Trailers if bare.is_empty() => {
                out.extend_from_slice(b"\r\n");
                self.state = State::Over;
            }
            State::Trailers => self.extra += line.len(),
            State::DataEnd | State::Data(_) | State::Over => self.give_up(line, out),
        }
        Ok(())
    }

    fn end_size(&mut self, n: usize, out: &mut Vec<u8>) -> io::Result<()> {
        self.state = if n == 0 { State::Trailers } else { State::Data(n) };
        match &mut self.unpacker {
            Some(_) if n > 0 => return Ok(()),
            Some(unpacker) => push_chunk(&unpacker.finish()?, out),
            None => {}
        }
        out.extend_from_slice(format!("{n:x}\r\n").as_bytes());
        Ok(())
    }

    fn give_up(&mut self, line: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(line);
        self.state = State::Over;
    }
}

/// A chunk of this data, if there is any: one without is the last.
fn push_chunk(data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// The number that a line begins with.
fn size(line: &[u8]) -> Option<usize> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let digits = str::from_utf8(line.get(..digits)?).ok()?;
    usize::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 174: wherever the bytes are cut, what comes out is the same.
    #[test]
    fn chunks_with_bare_line_ends_are_written_again() {
        let bytes = b"5;a=b\nhello\n 6 \nwo\nrld\n00\nX-A: b\n\nnext";
        let wanted = "5\r\nhello\r\n6\r\nwo\nrld\r\n0\r\n\r\nnext";
        for size in 1..bytes.len() {
            let mut mender = ChunkMender::new(None);
            let pieces = bytes.chunks(size).map(|piece| mender.push(piece).unwrap());
            assert_eq!(String::from_utf8(pieces.flatten().collect()).unwrap(), wanted, "{size}");
        }
    }

    /// Case 219: the chunks of a packed body are written again as chunks of what it is.
    #[test]
    fn packed_chunks_are_unpacked() {
        use flate2::{Compression, write::GzEncoder};
        use std::io::Write as _;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"hello world").unwrap();
        let packed = encoder.finish().unwrap();
        let mut bytes = Vec::new();
        packed.chunks(5).for_each(|data| push_chunk(data, &mut bytes));
        bytes.extend_from_slice(b"0\r\nX-A: b\r\n\r\n");
        for size in [1, 2, 9, bytes.len()] {
            let mut mender = ChunkMender::new(Some(Unpacker::Start));
            let pieces = bytes.chunks(size).map(|piece| mender.push(piece).unwrap());
            let text = String::from_utf8(pieces.flatten().collect()).unwrap();
            assert!(text.ends_with("\r\n0\r\n\r\n"), "{size}: {text}");
            let data: String = text.split("\r\n").skip(1).step_by(2).collect();
            assert_eq!(data, "hello world", "{size}");
        }
        let mut mender = ChunkMender::new(Some(Unpacker::Start));
        let cut = [&bytes[..10], b"0\r\n\r\n"].concat();
        assert!(mender.push(&cut).is_err(), "the end of the gzip is missing");
    }

    /// Case 174: what is no chunk goes on as it is; what does not end is given up.
    #[test]
    fn what_is_no_chunk_is_left_to_the_library() {
        assert_eq!(ChunkMender::new(None).push(b"x\nabc").unwrap(), b"x\nabc");
        assert_eq!(ChunkMender::new(None).push(b"1\nabc\n").unwrap(), b"1\r\nabc\n");
        for endless in ["1;aaaaaaaa", "0\nX-A: b\n"] {
            let (start, more) = endless.split_at(2);
            let mut mender = ChunkMender::new(None);
            mender.push(start.as_bytes()).unwrap();
            let sent = (0..MAX_EXTRA_BYTES).find(|_| mender.push(more.as_bytes()).is_err());
            assert!(sent.is_some(), "{endless}");
        }
    }
}
