//! A connection whose answers are as the rules want them, whatever the server sends.

use super::{
    super::head::{Broken, HeadReader},
    chunks::ChunkMender,
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
}

#[derive(Debug)]
enum State {
    /// A request is under way: the next bytes are a head.
    Head(Box<HeadReader>),
    /// The body: bytes that were read already, from a place on, then what comes.
    Body { read: Vec<u8>, at: usize, chunks: Option<Box<ChunkMender>> },
}

/// Everything passes as it is.
const PLAIN: State = State::Body { read: Vec::new(), at: 0, chunks: None };

impl<S> Mended<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, state: State::Head(Box::default()), is_reused: false }
    }

    /// Requests have no body and are sent one after another, so bytes written after an answer are
    /// the next request.
    fn requested(&mut self) {
        if matches!(self.state, State::Body { .. }) {
            self.state = State::Head(Box::default());
            self.is_reused = true;
        }
    }
}

impl<S: Read + Unpin> Mended<S> {
    /// Reads until there are bytes for the HTTP library, or may be passed to it unread.
    fn poll_mended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_to_read() {
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut self.inner).poll_read(cx, piece.unfilled()))?;
            let piece = piece.filled();
            if piece.is_empty() {
                self.state = PLAIN;
            }
            self.mend(piece)?;
        }
        Poll::Ready(Ok(()))
    }

    fn has_to_read(&self) -> bool {
        match &self.state {
            State::Head(_) => true,
            State::Body { read, at, chunks } => chunks.is_some() && read.len() == *at,
        }
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
                let mut chunks = reader.has_chunks().then(|| Box::new(ChunkMender::new()));
                let body = piece.get(used..).unwrap_or_default();
                match &mut chunks {
                    Some(chunks) => read.extend(chunks.push(body)?),
                    None => read.extend_from_slice(body),
                }
                self.state = State::Body { read, at: 0, chunks };
            }
            State::Body { read, at, chunks: Some(chunks) } => {
                (*read, *at) = (chunks.push(piece)?, 0);
            }
            State::Body { chunks: None, .. } => {}
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
        if let State::Body { read, at, chunks } = &mut self.state
            && let Some(rest @ [_, ..]) = read.get(*at..)
        {
            let (now, later) = rest.split_at(rest.len().min(to.remaining()));
            to.put_slice(now);
            *at += now.len();
            if later.is_empty() && chunks.is_none() {
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
