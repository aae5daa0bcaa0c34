//! A connection whose answers are taken: who takes nothing of one for long is not waited for.

use crate::dashboard::room::Room;
use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Interval, interval_at},
};

/// How long nothing of an answer is taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same while others wait for room: even two hundred such connections keep nobody out for a minute.
const PATIENCE_OF_OTHERS: Duration = Duration::from_secs(1);

/// The connection, and since when it takes nothing.
pub(super) struct Taken {
    stream: TcpStream,
    room: Room,
    stall: Option<(Instant, Interval)>,
}

impl Taken {
    pub(super) fn new(stream: TcpStream, room: Room) -> Self {
        Self { stream, room, stall: None }
    }

    /// What became of a write: an error, when the last one that took something was too long ago.
    fn judged(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let (since, tick) = self.stall.get_or_insert_with(|| {
            let now = Instant::now();
            (now, interval_at(now + PATIENCE_OF_OTHERS, PATIENCE_OF_OTHERS))
        });
        loop {
            ready!(tick.poll_tick(cx));
            if since.elapsed() >= PATIENCE || self.room.is_wanted() {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
        }
    }
}

impl AsyncWrite for Taken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judged(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judged(cx, written)
    }

    /// Else all bytes of an answer would be copied.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Taken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}
