//! A connection whose answers begin with a head as the rules want it, and end as connections end.

use super::super::head::HeadReader;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Bytes asked for at once while a head is awaited.
const HEAD_PIECE: usize = 8 * 1024;

/// A connection that reads heads with [`HeadReader`].
#[derive(Debug)]
pub(super) struct Mended<S> {
    inner: S,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A request is under way: the next bytes are a head.
    Head(Box<HeadReader>),
    /// The head, and what of the body came with it, on the way to the HTTP library.
    Passing(Vec<u8>, usize),
    /// Everything passes as it is.
    Body,
}

impl<S> Mended<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, state: State::Head(Box::default()) }
    }

    /// Requests have no body and are sent one after another, so bytes written after an answer are
    /// the next request.
    fn requested(&mut self) {
        if matches!(self.state, State::Body) {
            self.state = State::Head(Box::default());
        }
    }
}

impl<S: Read + Unpin> Mended<S> {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let State::Head(reader) = &mut self.state {
            let mut piece = [0; HEAD_PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(ended(Pin::new(&mut self.inner).poll_read(cx, piece.unfilled())))?;
            let piece = piece.filled();
            if piece.is_empty() {
                self.state = State::Body;
                return Poll::Ready(Ok(()));
            }
            let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            if let Some((mut head, used)) = reader.push(piece).map_err(broken)? {
                head.extend_from_slice(piece.get(used..).unwrap_or_default());
                self.state = State::Passing(head, 0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Read + Unpin> Read for Mended<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_head(cx))?;
        if let State::Passing(bytes, at) = &mut self.state {
            let rest = bytes.get(*at..).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(to.remaining()));
            to.put_slice(now);
            let is_done = later.is_empty();
            *at += now.len();
            if is_done {
                self.state = State::Body;
            }
            return Poll::Ready(Ok(()));
        }
        ended(Pin::new(&mut self.inner).poll_read(cx, to))
    }
}

/// Many servers end TLS without saying so. What the library then takes for a failure is an end like
/// that of a plain connection: whether the body is whole is decided by its length, or by the picture.
fn ended(read: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    read.map(|result| match result {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other,
    })
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
        Pin::new(&mut self.inner).poll_flush(cx)
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

impl<S: Connection> Connection for Mended<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}
