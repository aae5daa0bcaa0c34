//! Chunks as curl and browsers read them: lines may end with LF alone, where the HTTP library asks for CR
//! LF, and extensions and trailers, which nobody needs, are left out within a limit for the whole body.
//! Chunks of a few bytes are put together: each would cost as much as a large one on its whole way.

use super::packed::Unpacker;
use std::io;

/// Bytes of extensions and trailers of a body, beyond those of its data: signatures of chunks may take a
/// tenth of it.
const MAX_EXTRA_BYTES: usize = 16 * 1024;

/// Writes chunks again with the line ends of RFC 9112, section 7.1: all data that came at once as one.
#[derive(Debug)]
pub(super) struct ChunkMender {
    state: State,
    /// The line under way.
    line: Vec<u8>,
    /// Bytes of the lines before that were left out.
    extra: usize,
    /// Bytes of data so far.
    data: usize,
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
        Self { state: State::Size, line: Vec::new(), extra: 0, data: 0, unpacker }
    }

    pub(super) fn is_packed(&self) -> bool {
        self.unpacker.is_some()
    }

    /// What the library gets for these bytes.
    ///
    /// # Errors
    ///
    /// `InvalidData` when a line does not end, or a chunk goes on behind its end, and those of
    /// [`Unpacker`].
    pub(super) fn push(&mut self, mut rest: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Written::new(rest.len());
        while !rest.is_empty() {
            rest = match self.state {
                State::Over => {
                    out.raw(rest);
                    &[]
                }
                State::Data(left) => {
                    let (data, after) = rest.split_at(left.min(rest.len()));
                    self.data = self.data.saturating_add(data.len());
                    match &mut self.unpacker {
                        None => out.bytes.extend_from_slice(data),
                        Some(unpacker) => out.bytes.extend(unpacker.push(data)?),
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
        out.end_chunk();
        Ok(out.bytes)
    }

    /// Takes bytes up to the end of a line, if it is there.
    fn take<'a>(&mut self, rest: &'a [u8], out: &mut Written) -> io::Result<&'a [u8]> {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (piece, after) = rest.split_at(end);
        let line = self.line.len() + piece.len();
        if line > MAX_EXTRA_BYTES || line + self.extra > MAX_EXTRA_BYTES.saturating_add(self.data) {
            return Err(invalid("invalid chunk: endless lines"));
        }
        if self.line.is_empty() && piece.ends_with(b"\n") {
            self.end_line(piece, out)?;
            return Ok(after);
        }
        self.line.extend_from_slice(piece);
        if self.line.ends_with(b"\n") {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line, out)?;
        }
        Ok(after)
    }

    fn end_line(&mut self, line: &[u8], out: &mut Written) -> io::Result<()> {
        let bare = line.trim_ascii();
        match self.state {
            State::Size => match size(bare) {
                Some(0) => {
                    self.add_extension(bare);
                    if let Some(unpacker) = &mut self.unpacker {
                        out.bytes.extend(unpacker.finish()?);
                    }
                    out.raw(b"0\r\n");
                    self.state = State::Trailers;
                }
                Some(n) => {
                    self.add_extension(bare);
                    self.state = State::Data(n);
                }
                None => {
                    out.raw(line);
                    self.state = State::Over;
                }
            },
            State::DataEnd if bare.is_empty() => self.state = State::Size,
            State::DataEnd => return Err(invalid("invalid chunk: it is longer than it says")),
            State::Trailers if bare.is_empty() => {
                out.raw(b"\r\n");
                self.state = State::Over;
            }
            State::Trailers => self.extra += line.len(),
            State::Data(_) | State::Over => {}
        }
        Ok(())
    }

    fn add_extension(&mut self, line: &[u8]) {
        self.extra += line.iter().skip_while(|byte| byte.is_ascii_hexdigit()).count();
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Room for the size of a chunk whose data is still under way: sixteen digits and the end of the line.
const SIZE_LINE: usize = 18;

/// What is written: perhaps a chunk, then bytes as they are.
struct Written {
    bytes: Vec<u8>,
    /// The chunk is not written, or not ended.
    is_open: bool,
}

impl Written {
    fn new(len: usize) -> Self {
        let mut bytes = Vec::with_capacity(SIZE_LINE + len + 2);
        bytes.resize(SIZE_LINE, 0);
        Self { bytes, is_open: true }
    }

    /// Writes the size before the data; a chunk without any would end the body.
    fn end_chunk(&mut self) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        match self.bytes.split_first_chunk_mut::<SIZE_LINE>() {
            Some((_, [])) | None => self.bytes.clear(),
            Some((size, data)) => {
                let line = format!("{:016x}\r\n", data.len());
                size.iter_mut().zip(line.bytes()).for_each(|(to, byte)| *to = byte);
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.end_chunk();
        self.bytes.extend_from_slice(bytes);
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

    /// What a body of the library's chunks holds, and what stands behind it.
    fn read(mut written: &[u8]) -> (Vec<u8>, &[u8]) {
        let mut data = Vec::new();
        loop {
            let end = written.windows(2).position(|two| two == b"\r\n").expect("a size line");
            let n = size(&written[..end]).expect("a size");
            let (chunk, after) = written[end + 2..].split_at(n);
            data.extend_from_slice(chunk);
            written = after.strip_prefix(b"\r\n").expect("the end of a chunk");
            if n == 0 {
                return (data, written);
            }
        }
    }

    /// Case 174: wherever the bytes are cut, what comes out is the same body, and what follows it.
    #[test]
    fn chunks_with_bare_line_ends_are_written_again() {
        let bytes = b"5;a=b\nhello\n 6 \nwo\nrld\n00\nX-A: b\n\nnext";
        for size in 1..=bytes.len() {
            let mut mender = ChunkMender::new(None);
            let pieces = bytes.chunks(size).map(|piece| mender.push(piece).unwrap());
            let written: Vec<u8> = pieces.flatten().collect();
            let (data, after) = read(&written);
            assert_eq!((&data[..], after), (&b"hellowo\nrld"[..], &b"next"[..]), "{size}");
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
        let chunk =
            |data: &[u8]| [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
        let mut bytes: Vec<u8> = packed.chunks(5).flat_map(chunk).collect();
        bytes.extend_from_slice(b"0\r\nX-A: b\r\n\r\n");
        for size in [1, 2, 9, bytes.len()] {
            let mut mender = ChunkMender::new(Some(Unpacker::Start));
            let pieces = bytes.chunks(size).map(|piece| mender.push(piece).unwrap());
            let written: Vec<u8> = pieces.flatten().collect();
            assert_eq!(read(&written), (b"hello world".to_vec(), &b""[..]), "{size}");
        }
        let mut mender = ChunkMender::new(Some(Unpacker::Start));
        let cut = [&bytes[..10], b"0\r\n\r\n"].concat();
        assert!(mender.push(&cut).is_err(), "the end of the gzip is missing");
    }

    /// Case 245: chunks of one byte go on as one chunk for each read, which says how long it is.
    #[test]
    fn tiny_chunks_go_on_together() {
        let mut mender = ChunkMender::new(None);
        let written = mender.push(&b"1\r\na\r\n".repeat(5000)).unwrap();
        assert_eq!(written.len(), SIZE_LINE + 5000 + 2);
        assert!(written.starts_with(b"0000000000001388\r\naaa") && written.ends_with(b"aa\r\n"));
        assert_eq!(mender.push(b"1").unwrap(), b"", "nothing that would end the body");
        assert_eq!(read(&mender.push(b"\r\nb\r\n0\r\n\r\n").unwrap()), (vec![b'b'], &b""[..]));
    }

    /// Case 224: each chunk has a signature, and together these are longer than a line may be.
    #[test]
    fn extensions_grow_with_the_data() {
        let signature = "0".repeat(64);
        let chunk = format!("400;chunk-signature={signature}\r\n{}\r\n", "x".repeat(1024));
        let mut mender = ChunkMender::new(None);
        for n in 0..1000 {
            let data =
                read(&[&mender.push(chunk.as_bytes()).unwrap()[..], b"0\r\n\r\n"].concat()).0;
            assert_eq!(data.len(), 1024, "{n}");
        }
    }

    /// Case 174: what is no chunk goes on as it is; what does not end as it says is given up.
    #[test]
    fn what_is_no_chunk_is_left_to_the_library() {
        assert_eq!(ChunkMender::new(None).push(b"x\nabc").unwrap(), b"x\nabc");
        for cut in 1..7 {
            let (start, end) = b"1\nabc\r\n".split_at(cut);
            let mut mender = ChunkMender::new(None);
            assert!(mender.push(start).and_then(|_| mender.push(end)).is_err(), "{cut}");
        }
        for endless in ["1;aaaaaaaa", "0\nX-A: b\n"] {
            let (start, more) = endless.split_at(2);
            let mut mender = ChunkMender::new(None);
            mender.push(start.as_bytes()).unwrap();
            let sent = (0..MAX_EXTRA_BYTES).find(|_| mender.push(more.as_bytes()).is_err());
            assert!(sent.is_some(), "{endless}");
        }
    }
}
