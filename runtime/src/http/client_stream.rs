//! Server side of a connection, with the timeouts that hyper lacks: a write without progress, and the close.
//!
//! If a server closes a connection while the client still sends, the kernel resets it and the response may be lost. So
//! after a rejection the rest is read and dropped until a timeout (RFC 9112, section 9.6).

use super::connections::Connection;
use super::framing::FramingScanner;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A stream to one client.
pub(super) struct ClientStream {
    io: TokioIo<TcpStream>,
    connection: Arc<Connection>,
    scanner: FramingScanner,
    /// Runs while a write makes no progress.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Runs while remaining input is read and dropped.
    discard_timer: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self {
            io: TokioIo::new(stream),
            connection,
            scanner: FramingScanner::new(),
            write_timer: None,
            discard_timer: None,
        }
    }

    /// Tracks the progress of a write, and fails one that has stalled for too long.
    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.write_timer.take().is_some() {
                self.connection.mark_progress();
            }
            return written;
        }
        let timer = self.write_timer.get_or_insert_with(|| {
            self.connection.mark_stalled();
            Box::pin(sleep(self.connection.write_timeout()))
        });
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }

    /// Reads and drops input until the client stops or the timeout expires.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.discard_timer.get_or_insert_with(|| Box::pin(sleep(DISCARD_TIMEOUT)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        for _ in 0..DISCARDS_AT_ONCE {
            let mut bytes = [0; 4096];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut self.io).poll_read(cx, buffer.unfilled());
            match ready!(read) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        // Yield to other tasks.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Read for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // The cursor of hyper does not expose the bytes that it holds.
        let mut bytes = [0; READ_BYTES_MAX];
        let room = buffer.remaining().min(READ_BYTES_MAX);
        let mut read = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.io).poll_read(cx, read.unfilled()))?;
        self.connection.mark_received();
        self.scanner.scan(read.filled());
        if self.scanner.is_ambiguous() {
            self.connection.mark_ambiguous();
        }
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.discard_timer.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            if !self.connection.discards_rest() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_discard(cx).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.written(cx, written)
    }
}

const READ_BYTES_MAX: usize = 16 << 10;
/// How long a rejected client's input is read and dropped.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
/// Reads in a row before yielding.
const DISCARDS_AT_ONCE: usize = 16;
