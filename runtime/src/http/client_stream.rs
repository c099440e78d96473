//! The server's end of a connection, with what hyper has no timers for: a write that makes no progress, and the end.
//!
//! A connection that is closed while the client still sends is reset by the kernel, and the answer may be lost with it.
//! So after a refusal the rest is read and thrown away, for a moment (RFC 9112, 9.6).

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
    /// Runs while the rest of what the client sends is thrown away.
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

    /// Passes on how a write went, and fails one that has made no progress for too long.
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

    /// Throws away what the client still sends, until it stops or the time is over.
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
        // Others have their turn.
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
        // hyper's buffer shows nothing of what is in it.
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
/// How long a refused client may go on sending.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
/// Reads in a row before others have their turn.
const DISCARDS_AT_ONCE: usize = 16;
