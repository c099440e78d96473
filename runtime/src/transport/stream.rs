//! The byte stream of one connection, which closes the connection when it is dropped.

use futures::{AsyncRead, AsyncWrite};
use std::convert::Infallible;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// An authenticated, encrypted byte stream to another node.
///
/// Bytes that were written before the drop still go out; a close of the write side lets the other end read to a
/// clean end of file.
#[derive(Debug)]
pub struct LinkStream {
    // Dropped before `_open`, so that the connection sees the end of the stream before it is told to close.
    stream: libp2p::Stream,
    /// Its drop is what the connection's handler waits for. Nothing is ever sent.
    _open: oneshot::Sender<Infallible>,
}

impl LinkStream {
    /// Makes the stream, and the end of it that becomes ready when it is dropped.
    pub(super) fn new(stream: libp2p::Stream) -> (Self, oneshot::Receiver<Infallible>) {
        let (open, dropped) = oneshot::channel();
        (Self { stream, _open: open }, dropped)
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
