//! TCP sockets that listen and dial.
//!
//! libp2p's own TCP transport binds with `SO_REUSEPORT`: a second node of the same user would silently share the port
//! and take half of its connections. Here one process owns a port. A port that is in use is an error, found before the
//! transport exists.

use futures::FutureExt;
use futures::future::{BoxFuture, Ready, ready};
use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use socket2::{Domain, SockRef, Socket, Type};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// Why the node cannot listen on a configured address.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// No address was given, or none of this host's kind.
    #[error("there is no address to listen on")]
    NoAddress,
    /// A process listens on the port already.
    #[error("Port {0} already in use")]
    PortTaken(u16),
}

/// A TCP transport for libp2p, over listeners that are already bound.
pub(super) struct Tcp {
    listeners: Vec<(ListenerId, TcpListener)>,
    /// The listener to poll first, so that a flood on one does not starve another.
    first: usize,
    /// Set while the process has no free file descriptor for another connection.
    backoff: Option<Pin<Box<Sleep>>>,
}

impl Tcp {
    /// Binds every address to one port. Port 0 selects a free one. Must be called inside a tokio runtime.
    ///
    /// A wildcard address of a family that this host lacks is left out.
    pub(super) fn bind(addresses: &[SocketAddr]) -> Result<(Self, u16), BindError> {
        let mut listeners = Vec::new();
        let mut port = None;
        for &address in addresses {
            let address = SocketAddr::new(address.ip(), port.unwrap_or_else(|| address.port()));
            match listen(address) {
                Ok(listener) => {
                    port = port.or_else(|| listener.local_addr().ok().map(|bound| bound.port()));
                    listeners.push((ListenerId::next(), listener));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(BindError::PortTaken(address.port()));
                }
                Err(error) if address.ip().is_unspecified() && lacks_family(&error) => {
                    tracing::debug!(%address, %error, "this host lacks the address family");
                }
                Err(source) => return Err(BindError::Address { address, source }),
            }
        }
        let port = port.ok_or(BindError::NoAddress)?;
        Ok((Self { listeners, first: 0, backoff: None }, port))
    }

    pub(super) fn listeners(&self) -> Vec<ListenerId> {
        self.listeners.iter().map(|(id, _)| *id).collect()
    }

    fn poll_backoff(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.backoff {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.backoff = None;
        }
        Poll::Ready(())
    }
}

impl libp2p::Transport for Tcp {
    type Output = Compat<TcpStream>;
    type Error = TcpError;
    type ListenerUpgrade = Ready<Result<Self::Output, TcpError>>;
    type Dial = BoxFuture<'static, Result<Self::Output, TcpError>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<TcpError>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let before = self.listeners.len();
        self.listeners.retain(|(listener, _)| *listener != id);
        self.listeners.len() != before
    }

    fn dial(&mut self, to: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<TcpError>> {
        let address = match socket_address(&to) {
            Some(address) if address.port() != 0 && !address.ip().is_unspecified() => address,
            Some(_) | None => return Err(TransportError::MultiaddrNotSupported(to)),
        };
        Ok(async move {
            let stream = TcpStream::connect(address).await.map_err(TcpError)?;
            prepare(&stream).map_err(TcpError)?;
            Ok(stream.compat())
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, TcpError>> {
        let this = &mut *self;
        let (mut asked, count) = (0, this.listeners.len());
        while asked < count {
            if this.poll_backoff(cx).is_pending() {
                return Poll::Pending;
            }
            let (id, listener) = &this.listeners[(this.first + asked) % count];
            match listener.poll_accept(cx) {
                Poll::Ready(Ok((stream, remote))) => {
                    let local = listener.local_addr().unwrap_or(remote);
                    let event = TransportEvent::Incoming {
                        listener_id: *id,
                        upgrade: ready(prepare(&stream).map(|()| stream.compat()).map_err(TcpError)),
                        local_addr: multiaddress(local),
                        send_back_addr: multiaddress(remote),
                    };
                    this.first = (this.first + asked + 1) % count;
                    return Poll::Ready(event);
                }
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    this.backoff = Some(Box::pin(tokio::time::sleep(ACCEPT_BACKOFF)));
                }
                Poll::Pending => asked += 1,
            }
        }
        Poll::Pending
    }
}

/// A connection failed below the handshakes.
#[derive(Debug, thiserror::Error)]
#[error("the connection failed")]
pub(super) struct TcpError(#[source] io::Error);

/// Parses `/ip4/…/tcp/…`, `/ip6/…/tcp/…` and, for link-local addresses, `/ip6zone/…/ip6/…/tcp/…`, where the zone is the
/// interface index.
pub(super) fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let mut first = parts.next()?;
    let mut scope = 0;
    if let Protocol::Ip6zone(zone) = &first {
        scope = zone.parse().ok()?;
        first = parts.next()?;
    }
    let Some(Protocol::Tcp(port)) = parts.next() else { return None };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
    match first {
        Protocol::Ip4(ip) if scope == 0 => Some((ip, port).into()),
        Protocol::Ip6(ip) => Some(SocketAddrV6::new(ip, port, 0, scope).into()),
        _ => None,
    }
}

/// The inverse of [`socket_address`].
pub(super) fn multiaddress(address: SocketAddr) -> Multiaddr {
    let zone = match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => {
            Multiaddr::from(Protocol::Ip6zone(address.scope_id().to_string().into()))
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => Multiaddr::empty(),
    };
    zone.with(address.ip().into()).with(Protocol::Tcp(address.port()))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Lets a restarted node bind while old connections linger. It does not share a port in use.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn lacks_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(code) if code == nix::libc::EAFNOSUPPORT || code == nix::libc::EADDRNOTAVAIL)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Without it, a peer that stops reading could hold a closing connection open for ever.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(stream).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(())
}

/// Maximum number of connections that the operating system completes before the node accepts them.
const BACKLOG: i32 = 1024;

/// The delay after a failed accept, which is nearly always caused by a lack of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long sent bytes may stay unacknowledged. Longer than the failure detector needs to declare a peer DEAD, so that
/// it, and not the operating system, decides about slow peers.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_interface_on_the_way_through_libp2p() {
        for text in ["10.0.0.1:9000", "[fd00::1]:9000", "[fe80::1%7]:9000", "[::1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_address(&multiaddress(address)), Some(address), "{text}");
        }
        for text in ["/ip6zone/eth0/ip6/fe80::1/tcp/1", "/ip6zone/2/ip4/10.0.0.1/tcp/1", "/ip6/fe80::1/udp/1"]
        {
            assert_eq!(socket_address(&text.parse().unwrap()), None, "{text}");
        }
    }
}
