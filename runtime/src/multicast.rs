//! The UDP sockets under the discovery service.
//!
//! One socket for each interface, bound to the group's own address: it hears that group on that interface and
//! nothing else, takes no unicast away from another mDNS service of this host, and sends from port 5353 as
//! RFC 6762 wants. Loopback takes part, so that nodes of one machine find each other without any network.
//! Nothing here fails: a host without multicast hears nothing, and the log says so once.

use crate::ports::{Multicast, MulticastEvent};
use engine::input::Interface;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Where and on which interfaces to listen and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MulticastOptions {
    /// The multicast group.
    pub group: Ipv4Addr,
    /// The names of the interfaces to use; `None` for all that are up.
    pub interfaces: Option<Vec<String>>,
    /// The UDP port.
    pub port: u16,
}

impl Default for MulticastOptions {
    fn default() -> Self {
        Self { group: Ipv4Addr::new(224, 0, 0, 251), interfaces: None, port: 5353 }
    }
}

/// The multicast port on this host's interfaces.
#[derive(Debug)]
pub struct MulticastSocket {
    options: MulticastOptions,
    /// What was reported last; `None` before the first report.
    reported: Option<Vec<Interface>>,
    /// By interface index.
    sockets: BTreeMap<u32, GroupSocket>,
    /// The index of the interface that was heard last; the others go first.
    heard: u32,
    rescan: Interval,
    /// Whether the log already says that there is nobody to hear.
    warned: bool,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct GroupSocket {
    address: Ipv4Addr,
    socket: UdpSocket,
}

/// One IPv4 address of one interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    name: String,
    index: u32,
    address: Ipv4Addr,
    loopback: bool,
    multicast: bool,
}

impl MulticastSocket {
    /// Opens a socket on each interface. Must be called inside a tokio runtime.
    pub fn open(options: MulticastOptions) -> Self {
        let mut rescan = interval(RESCAN_INTERVAL);
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            options,
            reported: None,
            sockets: BTreeMap::new(),
            heard: 0,
            rescan,
            warned: false,
            buffer: vec![0; PACKET_BYTES_MAX + 1].into_boxed_slice(),
        }
    }

    /// Reads the interfaces anew; returns them where they changed.
    fn rescan(&mut self) -> Option<Vec<Interface>> {
        let found = find_interfaces(self.options.interfaces.as_deref());
        self.update_sockets(&found);
        let interfaces: Vec<Interface> = found
            .iter()
            .map(|found| Interface { index: found.index, address: IpAddr::V4(found.address) })
            .collect();
        if self.reported.as_ref() == Some(&interfaces) {
            return None;
        }
        self.reported = Some(interfaces.clone());
        Some(interfaces)
    }

    fn update_sockets(&mut self, found: &[Found]) {
        self.sockets.retain(|index, socket| {
            found.iter().any(|found| found.index == *index && found.address == socket.address)
        });
        for found in found.iter().filter(|found| found.multicast) {
            if self.sockets.contains_key(&found.index) {
                continue;
            }
            match open_socket(&self.options, found) {
                Ok(socket) => {
                    self.sockets.insert(found.index, GroupSocket { address: found.address, socket });
                }
                Err(error) => tracing::debug!(interface = found.name, %error, "no multicast on this interface"),
            }
        }
        if self.sockets.is_empty() && !self.warned {
            tracing::warn!(
                "no interface of this host takes multicast: other nodes are found by configured addresses only"
            );
        }
        self.warned = self.sockets.is_empty();
    }

    /// Takes one packet from whichever interface has one.
    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<MulticastEvent> {
        let (before, after) = (0..=self.heard, self.heard.saturating_add(1)..);
        for (&index, socket) in self.sockets.range(after).chain(self.sockets.range(before)) {
            // Bounded, so that a socket that only fails does not hold the node.
            for _ in 0..RECEIVE_ATTEMPTS {
                let mut buffer = ReadBuf::new(&mut self.buffer);
                match socket.socket.poll_recv_from(cx, &mut buffer) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(from)) if buffer.filled().len() <= PACKET_BYTES_MAX => {
                        let bytes = buffer.filled().to_vec();
                        self.heard = index;
                        return Poll::Ready(MulticastEvent::Packet { from, bytes });
                    }
                    Poll::Ready(Ok(from)) => tracing::debug!(%from, "a packet is too large and was dropped"),
                    Poll::Ready(Err(error)) => tracing::debug!(%error, "a packet could not be received"),
                }
            }
        }
        Poll::Pending
    }
}

impl Multicast for MulticastSocket {
    fn send(&mut self, interface: u32, bytes: Vec<u8>) {
        let Some(socket) = self.sockets.get(&interface) else { return };
        let group = SocketAddr::from((self.options.group, self.options.port));
        // Not through tokio, which refuses to try before it has seen the socket ready once. The socket does not
        // block: what the operating system cannot take now is lost, as any packet may be.
        if let Err(error) = SockRef::from(&socket.socket).send_to(&bytes, &group.into()) {
            tracing::debug!(interface, %error, "a packet could not be sent");
        }
    }

    async fn next(&mut self) -> MulticastEvent {
        poll_fn(|cx| {
            while self.rescan.poll_tick(cx).is_ready() {
                if let Some(interfaces) = self.rescan() {
                    return Poll::Ready(MulticastEvent::Interfaces(interfaces));
                }
            }
            let polled = self.poll_packet(cx);
            if polled.is_pending() && self.sockets.is_empty() && self.reported.is_none() {
                cx.waker().wake_by_ref();
            }
            polled
        })
        .await
    }
}

/// Lists the IPv4 addresses of the interfaces that are up, most useful ones first.
fn find_interfaces(only: Option<&[String]>) -> Vec<Found> {
    let addresses = match getifaddrs() {
        Ok(addresses) => addresses,
        Err(error) => {
            tracing::warn!(%error, "the network interfaces cannot be read");
            return Vec::new();
        }
    };
    let mut found: Vec<Found> = addresses
        .filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP))
        .filter(|entry| only.is_none_or(|names| names.contains(&entry.interface_name)))
        .filter_map(|entry| {
            let loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            Some(Found {
                index: if_nametoindex(entry.interface_name.as_str()).ok()?,
                address: entry.address?.as_sockaddr_in()?.ip(),
                loopback,
                // Linux does not flag loopback as capable, yet it delivers to whoever joined there.
                multicast: loopback || entry.flags.contains(InterfaceFlags::IFF_MULTICAST),
                name: entry.interface_name,
            })
        })
        .collect();
    found.sort_by_key(|found| (usefulness(found), found.index, found.address));
    found.truncate(INTERFACES_MAX);
    found
}

/// Real interfaces before loopback before those that containers and virtual machines make.
fn usefulness(found: &Found) -> u8 {
    const VIRTUAL: [&str; 11] =
        ["br-", "bridge", "cali", "cni", "docker", "flannel", "lxc", "podman", "veth", "virbr", "vmnet"];
    if VIRTUAL.iter().any(|prefix| found.name.starts_with(prefix)) {
        2
    } else {
        u8::from(found.loopback)
    }
}

fn open_socket(options: &MulticastOptions, found: &Found) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Other mDNS services of this host, and other nodes, listen on the same port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.set_multicast_if_v4(&found.address)?;
    socket.join_multicast_v4_n(&options.group, &InterfaceIndexOrAddress::Index(found.index))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(options.group, options.port).into())?;
    UdpSocket::from_std(socket.into())
}

/// The largest packet taken, in bytes (RFC 6762, section 17).
const PACKET_BYTES_MAX: usize = 9000;

/// Bytes that the operating system keeps for one socket until the node reads them; it drops what comes then.
const RECEIVE_BUFFER_BYTES: usize = 256 << 10;

/// Addresses used; beyond, the least useful ones are left out.
const INTERFACES_MAX: usize = 64;

/// Reads of one socket before the next has its turn.
const RECEIVE_ATTEMPTS: usize = 4;

/// How often the interfaces are read anew.
const RESCAN_INTERVAL: Duration = Duration::from_secs(10);
