//! The byte stream of one connection. Dropping it closes the connection.

use futures::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// An authenticated, encrypted byte stream to another node.
///
/// Bytes that were written and flushed before the drop still reach the other end, unless it is gone.
#[derive(Debug)]
pub struct LinkStream {
    /// `None` only during the drop.
    stream: Option<libp2p::Stream>,
    /// `None` once it was used.
    dropped: Option<oneshot::Sender<Dropped>>,
    /// Whether the other end has ended the stream.
    ended: bool,
}

/// Which end dropped the stream first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// The other end, so no bytes are expected any more.
    Last,
    /// This end, so bytes may still be in flight.
    First,
}

impl LinkStream {
    /// Creates the stream, and a receiver that resolves when the stream is dropped.
    pub(super) fn new(stream: libp2p::Stream) -> (Self, oneshot::Receiver<Dropped>) {
        let (sender, dropped) = oneshot::channel();
        (Self { stream: Some(stream), dropped: Some(sender), ended: false }, dropped)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut libp2p::Stream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn note(&mut self, read: Poll<io::Result<usize>>, wanted: bool) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = &read {
            self.ended |= wanted && !outcome.as_ref().is_ok_and(|bytes| *bytes > 0);
        }
        read
    }
}

impl Drop for LinkStream {
    fn drop(&mut self) {
        // In this order, so that the connection has the end of the stream before the signal.
        self.stream = None;
        if let Some(dropped) = self.dropped.take() {
            // Fails if the connection is already gone. Then there is nothing to close.
            let _ = dropped.send(if self.ended { Dropped::Last } else { Dropped::First });
        }
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.stream()?.poll_read(cx, buf);
        self.note(read, !buf.is_empty())
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().any(|buf| !buf.is_empty());
        let read = self.stream()?.poll_read_vectored(cx, bufs);
        self.note(read, wanted)
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_close(cx)
    }
}
