//! A connection whose answers are as the rules want them, whatever the server sends.

use super::{
    super::head::{Broken, HeadReader},
    chunks::ChunkMender,
    packed::Unpacker,
};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Bytes asked for at once while they are mended.
const PIECE: usize = 32 * 1024;

/// A connection that reads heads with [`HeadReader`].
#[derive(Debug)]
pub(super) struct Mended<S> {
    inner: S,
    state: State,
    /// There was an answer on it before.
    is_reused: bool,
    /// A request is being written: its rest is not the next one, even if its answer has begun.
    is_writing: bool,
}

#[derive(Debug)]
enum State {
    /// A request is under way: the next bytes are a head.
    Head(Box<HeadReader>),
    /// The body: bytes that were read already, from a place on, then what comes.
    Body { read: Vec<u8>, at: usize, mender: Option<Box<Mender>> },
}

/// Everything passes as it is.
const PLAIN: State = State::Body { read: Vec::new(), at: 0, mender: None };

/// What the bytes of a body go through.
#[derive(Debug)]
struct Mender {
    way: Way,
    /// Those that came with the head, and were not mended yet.
    waiting: Vec<u8>,
}

#[derive(Debug)]
enum Way {
    Chunks(ChunkMender),
    Packed(Unpacker),
}

impl Mender {
    /// None: the body is as it should be.
    fn new(head: &HeadReader, waiting: &[u8]) -> Option<Box<Self>> {
        let way = match (head.has_chunks(), head.is_packed()) {
            (true, is_packed) => {
                Way::Chunks(ChunkMender::new(is_packed.then_some(Unpacker::Start)))
            }
            (false, true) => Way::Packed(Unpacker::Start),
            (false, false) => return None,
        };
        Some(Box::new(Self { way, waiting: waiting.to_vec() }))
    }

    /// How many bytes may be mended at once.
    fn most(&self) -> usize {
        match &self.way {
            Way::Chunks(chunks) if !chunks.is_packed() => PIECE,
            Way::Chunks(_) | Way::Packed(_) => Unpacker::PIECE,
        }
    }

    fn push(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        match &mut self.way {
            Way::Chunks(chunks) => chunks.push(piece),
            Way::Packed(unpacker) => unpacker.push(piece),
        }
    }
}

impl<S> Mended<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, state: State::Head(Box::default()), is_reused: false, is_writing: false }
    }

    /// Requests have no body and are sent one after another, each until it is flushed: the first bytes
    /// that are written after that are the next one.
    fn requested(&mut self) {
        if !std::mem::replace(&mut self.is_writing, true)
            && matches!(self.state, State::Body { .. })
        {
            self.state = State::Head(Box::default());
            self.is_reused = true;
        }
    }
}

impl<S: Read + Unpin> Mended<S> {
    /// Reads until there are bytes for the HTTP library, or may be passed to it unread.
    fn poll_mended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(most) = self.has_to_read() {
            if let Some(piece) = self.waiting(most) {
                self.mend(&piece)?;
                continue;
            }
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(piece.get_mut(..most).unwrap_or_default());
            ready!(Pin::new(&mut self.inner).poll_read(cx, piece.unfilled()))?;
            let piece = piece.filled();
            if piece.is_empty() {
                self.state = PLAIN;
            }
            self.mend(piece)?;
        }
        Poll::Ready(Ok(()))
    }

    /// How many bytes have to be read before there are any for the library; none: there are some.
    fn has_to_read(&self) -> Option<usize> {
        match &self.state {
            State::Head(_) => Some(PIECE),
            State::Body { read, at, mender: Some(mender) } if read.len() == *at => {
                Some(mender.most())
            }
            State::Body { .. } => None,
        }
    }

    /// Bytes that were read and not mended, at most so many.
    fn waiting(&mut self, most: usize) -> Option<Vec<u8>> {
        let State::Body { mender: Some(mender), .. } = &mut self.state else { return None };
        let n = mender.waiting.len().min(most);
        (n > 0).then(|| mender.waiting.drain(..n).collect())
    }

    fn mend(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.state {
            State::Head(reader) => {
                // What comes late of an earlier answer says nothing about this URL: it is asked again.
                let is_late = |error| self.is_reused && error == Broken::NotHttp;
                let broken = |error| match is_late(error) {
                    true => io::Error::new(io::ErrorKind::ConnectionReset, error),
                    false => io::Error::new(io::ErrorKind::InvalidData, error),
                };
                let Some((mut read, used)) = reader.push(piece).map_err(broken)? else {
                    return Ok(());
                };
                let body = piece.get(used..).unwrap_or_default();
                let mender = Mender::new(reader, body);
                if mender.is_none() {
                    read.extend_from_slice(body);
                }
                self.state = State::Body { read, at: 0, mender };
            }
            State::Body { read, at, mender: Some(mender) } => {
                (*read, *at) = (mender.push(piece)?, 0);
            }
            State::Body { mender: None, .. } => {}
        }
        Ok(())
    }
}

impl<S: Read + Unpin> Read for Mended<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_mended(cx))?;
        if let State::Body { read, at, mender } = &mut self.state
            && let Some(rest @ [_, ..]) = read.get(*at..)
        {
            let (now, later) = rest.split_at(rest.len().min(to.remaining()));
            to.put_slice(now);
            *at += now.len();
            if later.is_empty() && mender.is_none() {
                self.state = PLAIN;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, to)
    }
}

impl<S: Write + Unpin> Write for Mended<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.requested();
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.is_writing = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.requested();
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    /// A connection that takes so many bytes before the other side reads them.
    fn connection(takes: usize) -> (TokioIo<Mended<TokioIo<DuplexStream>>>, DuplexStream) {
        let (client, server) = duplex(takes);
        (TokioIo::new(Mended::new(TokioIo::new(client))), server)
    }

    async fn read(client: &mut TokioIo<Mended<TokioIo<DuplexStream>>>, n: usize) -> String {
        let mut bytes = vec![0; n];
        client.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Case 220: an answer that comes while its request is still being sent is read to its end, and the
    /// next one is read as an answer.
    #[tokio::test]
    async fn a_request_in_parts_is_one_request() {
        const HEAD: &str = "HTTP/1.1 200\r\ncontent-length: 4\r\n\r\n";
        let (mut client, mut server) = connection(64);
        for n in 0..2 {
            let request = [b'a'; 100];
            let sent = client.write(&request).await.unwrap();
            assert!(sent < request.len(), "it is taken in parts");
            server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo").await.unwrap();
            assert_eq!(read(&mut client, HEAD.len()).await, HEAD, "{n}");
            let mut taken = vec![0; sent];
            server.read_exact(&mut taken).await.unwrap();
            client.write_all(&request[sent..]).await.unwrap();
            client.flush().await.unwrap();
            server.write_all(b"dy").await.unwrap();
            assert_eq!(read(&mut client, 4).await, "body", "{n}");
            server.read_exact(&mut vec![0; 100 - sent]).await.unwrap();
        }
    }
}
