//! yamux with small limits.
//!
//! libp2p's own yamux upgrade lets one peer grow the receive buffers of a connection to 1 GiB, and offers no setting
//! for that. This one differs in its limits only.

use futures::future::{Ready, ready};
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

/// Negotiates yamux on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yamux;

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Multiplexer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Multiplexer<C>, Infallible>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Multiplexer::new(socket, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Multiplexer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Multiplexer<C>, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Multiplexer::new(socket, yamux::Mode::Client)))
    }
}

/// A connection that carries several streams.
pub(super) struct Multiplexer<C> {
    connection: yamux::Connection<C>,
    /// Streams that the other end opened and that are not accepted yet, at most [`STREAMS_MAX`].
    inbound: VecDeque<yamux::Stream>,
    waiting: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Multiplexer<C> {
    fn new(socket: C, mode: yamux::Mode) -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(RECEIVE_WINDOW_BYTES_MAX));
        let connection = yamux::Connection::new(socket, config, mode);
        Self { connection, inbound: VecDeque::new(), waiting: None }
    }

    fn poll_connection(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, yamux::ConnectionError>> {
        let next = ready!(self.connection.poll_next_inbound(cx));
        Poll::Ready(next.unwrap_or(Err(yamux::ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Multiplexer<C> {
    type Substream = yamux::Stream;
    type Error = yamux::ConnectionError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, yamux::ConnectionError>> {
        if let Some(stream) = self.inbound.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let polled = self.poll_connection(cx);
        if polled.is_pending() {
            self.waiting = Some(cx.waker().clone());
        }
        polled
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, yamux::ConnectionError>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), yamux::ConnectionError>> {
        self.connection.poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, yamux::ConnectionError>> {
        let stream = ready!(self.poll_connection(cx))?;
        // yamux rejects streams beyond STREAMS_MAX. A stream dropped here frees its place.
        if self.inbound.len() < STREAMS_MAX {
            self.inbound.push_back(stream);
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
        // There may be more to read. Other connections get their turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Maximum number of streams per connection. One is used; the others allow for streams that are closing.
const STREAMS_MAX: usize = 8;

/// Maximum number of unread bytes in all streams of a connection. yamux requires at least 256 KiB a stream.
const RECEIVE_WINDOW_BYTES_MAX: usize = 4 << 20;
