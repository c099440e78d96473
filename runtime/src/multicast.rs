//! The UDP sockets of the discovery service.
//!
//! There is one socket per interface and address family, bound to the address of the multicast group. It receives that
//! group on that interface only, takes no unicast packets away from another mDNS service of this host, and sends from
//! port 5353 as RFC 6762 requires. Loopback is included, so that nodes of one machine find each other without a
//! network. Nothing here fails: an interface on which multicast does not work is reported as one without it.

mod interfaces;
mod pace;
mod watch;

use crate::ports::{Multicast, MulticastEvent};
use engine::input::{Family, Interface};
pub(crate) use interfaces::has_interface;
use interfaces::{Found, find_interfaces};
use pace::Pace;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockRef, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use watch::InterfaceWatcher;

/// The group, port and interfaces for multicast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MulticastOptions {
    /// The IPv4 multicast group.
    pub group: Ipv4Addr,
    /// The IPv6 multicast group, with link-local scope.
    pub group_v6: Ipv6Addr,
    /// The names of the interfaces to use, or `None` for all that are up.
    pub interfaces: Option<Vec<String>>,
    /// The UDP port.
    pub port: u16,
}

impl Default for MulticastOptions {
    fn default() -> Self {
        Self {
            group: Ipv4Addr::new(224, 0, 0, 251),
            group_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb),
            interfaces: None,
            port: 5353,
        }
    }
}

/// The multicast port on this host's interfaces.
#[derive(Debug)]
pub struct MulticastSocket {
    options: MulticastOptions,
    /// The last state of the interfaces, or `None` before the first read.
    found: Option<Vec<Found>>,
    /// The last report, or `None` before the first.
    reported: Option<Vec<Interface>>,
    sockets: BTreeMap<Wire, GroupSocket>,
    /// Interfaces on which another program holds the port exclusively.
    taken: BTreeSet<Wire>,
    /// Interfaces on which a send failed, until one succeeds or the interfaces change.
    blocked: BTreeSet<Wire>,
    /// The socket that received last. The others are polled first.
    heard: Wire,
    watch: InterfaceWatcher,
    buffer: Box<[u8]>,
}

/// One address family on one interface.
type Wire = (u32, Family);

#[derive(Debug)]
struct GroupSocket {
    address: IpAddr,
    group: SockAddr,
    socket: UdpSocket,
    pace: Pace,
}

impl MulticastSocket {
    /// Opens a socket on each interface. Must be called inside a tokio runtime.
    pub fn open(options: MulticastOptions) -> Self {
        Self {
            options,
            found: None,
            reported: None,
            sockets: BTreeMap::new(),
            taken: BTreeSet::new(),
            blocked: BTreeSet::new(),
            heard: (0, Family::V4),
            watch: InterfaceWatcher::new(),
            buffer: vec![0; PACKET_BYTES_MAX + 1].into_boxed_slice(),
        }
    }

    /// Tells whether another program of this host holds the port exclusively on some interface.
    pub fn is_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Reads the interfaces again.
    fn rescan(&mut self) {
        let found = find_interfaces(self.options.interfaces.as_deref());
        if self.found.as_ref() != Some(&found) {
            self.blocked.clear();
        }
        self.update_sockets(&found);
        self.found = Some(found);
    }

    /// Returns the interfaces if they differ from the last report.
    fn news(&mut self) -> Option<Vec<Interface>> {
        let interface = |found: &Found| {
            let wire = found.wire();
            let multicast = self.sockets.contains_key(&wire) && !self.blocked.contains(&wire);
            let Found { index, address, prefix_length, bridge, .. } = *found;
            Interface { index, address, prefix_length, bridge, multicast }
        };
        let interfaces: Vec<Interface> = self.found.as_ref()?.iter().map(interface).collect();
        if self.reported.as_ref() == Some(&interfaces) {
            return None;
        }
        self.reported = Some(interfaces.clone());
        Some(interfaces)
    }

    fn update_sockets(&mut self, found: &[Found]) {
        self.taken.retain(|wire| found.iter().any(|found| found.wire() == *wire));
        self.sockets.retain(|wire, socket| {
            found.iter().any(|found| found.wire() == *wire && found.address == socket.address)
        });
        for found in found.iter().filter(|found| found.multicast) {
            if self.sockets.contains_key(&found.wire()) {
                continue;
            }
            let opened = open_socket(&self.options, found);
            let wire = found.wire();
            let taken = matches!(&opened, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
            if !taken {
                self.taken.remove(&wire);
            } else if self.taken.insert(wire) {
                let port = self.options.port;
                tracing::warn!(
                    interface = found.name,
                    port,
                    "another program holds the mDNS port exclusively"
                );
            }
            match opened {
                Ok(socket) => _ = self.sockets.insert(wire, socket),
                Err(error) => {
                    tracing::debug!(interface = found.name, %error, "no multicast on this interface");
                }
            }
        }
    }

    /// Receives one packet from any interface.
    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<MulticastEvent> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let heard = self.heard;
        let order: Vec<Wire> = self
            .sockets
            .range((Excluded(heard), Unbounded))
            .chain(self.sockets.range((Unbounded, Included(heard))))
            .map(|(&wire, _)| wire)
            .collect();
        let mut busy = false;
        for wire in order {
            let Some(socket) = self.sockets.get_mut(&wire) else { continue };
            if socket.pace.poll_ready(cx).is_pending() {
                continue;
            }
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match socket.socket.poll_recv_from(cx, &mut buffer) {
                Poll::Pending => continue,
                Poll::Ready(Ok(from)) if buffer.filled().len() <= PACKET_BYTES_MAX => {
                    let bytes = buffer.filled().to_vec();
                    socket.pace.spend();
                    self.heard = wire;
                    return Poll::Ready(MulticastEvent::Packet { interface: wire.0, from, bytes });
                }
                Poll::Ready(Ok(from)) => tracing::debug!(%from, "a packet is too large and was dropped"),
                Poll::Ready(Err(error)) => tracing::debug!(%error, "a packet could not be received"),
            }
            socket.pace.spend();
            busy = true;
        }
        if busy {
            // More may follow the dropped packet. The rest of the node gets its turn first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Multicast for MulticastSocket {
    fn send(&mut self, interface: u32, family: Family, bytes: Vec<u8>) {
        let wire = (interface, family);
        let Some(socket) = self.sockets.get(&wire) else { return };
        // Not through tokio, which would wait until it has seen the socket ready once. The socket does not block: a
        // packet that the operating system cannot take now is dropped.
        match SockRef::from(&socket.socket).send_to(&bytes, &socket.group) {
            Ok(_) => _ = self.blocked.remove(&wire),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(interface, ?family, %error, "a packet could not be sent");
                self.blocked.insert(wire);
            }
        }
    }

    fn send_to(&mut self, interface: u32, to: SocketAddr, bytes: Vec<u8>) {
        let Some(socket) = self.sockets.get(&(interface, Family::for_address(to.ip()))) else { return };
        if let Err(error) = SockRef::from(&socket.socket).send_to(&bytes, &to.into()) {
            tracing::debug!(interface, %to, %error, "a reply could not be sent");
        }
    }

    async fn next(&mut self) -> MulticastEvent {
        poll_fn(|cx| {
            while self.watch.poll_change(cx).is_ready() {
                self.rescan();
            }
            match self.news() {
                Some(interfaces) => Poll::Ready(MulticastEvent::Interfaces(interfaces)),
                None => self.poll_packet(cx),
            }
        })
        .await
    }
}

fn open_socket(options: &MulticastOptions, found: &Found) -> io::Result<GroupSocket> {
    let domain = if found.address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    // Other mDNS services and other nodes of this host listen on the same port.
    socket.set_reuse_address(true)?;
    // Linux gives a unicast packet to any of the sockets that share a port in this way. Its interface would be wrong,
    // and the answer would go elsewhere.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    let group: SocketAddr = match found.address {
        IpAddr::V4(address) => {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            socket.set_multicast_all_v4(false)?;
            socket.set_multicast_loop_v4(true)?;
            socket.set_multicast_ttl_v4(255)?;
            socket.set_multicast_if_v4(&address)?;
            socket.join_multicast_v4_n(&options.group, &InterfaceIndexOrAddress::Index(found.index))?;
            SocketAddrV4::new(options.group, options.port).into()
        }
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            #[cfg(any(target_os = "linux", target_os = "android"))]
            socket.set_multicast_all_v6(false)?;
            socket.set_multicast_loop_v6(true)?;
            socket.set_multicast_hops_v6(255)?;
            socket.set_multicast_if_v6(found.index)?;
            socket.join_multicast_v6(&options.group_v6, found.index)?;
            SocketAddrV6::new(options.group_v6, options.port, 0, found.index).into()
        }
    };
    socket.set_nonblocking(true)?;
    let group = group.into();
    socket.bind(&group)?;
    let socket = UdpSocket::from_std(socket.into())?;
    Ok(GroupSocket { address: found.address, group, socket, pace: Pace::new() })
}

/// Maximum size of a received packet, in bytes (RFC 6762, section 17).
const PACKET_BYTES_MAX: usize = 9000;

/// Size of a socket's receive buffer. The operating system drops packets that do not fit.
const RECEIVE_BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
