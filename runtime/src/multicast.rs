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
                Err(error) => {
                    tracing::debug!(interface = found.name, %error, "no multicast on this interface")
                }
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
        let mut busy = false;
        for (&index, socket) in self.sockets.range(after).chain(self.sockets.range(before)) {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match socket.socket.poll_recv_from(cx, &mut buffer) {
                Poll::Pending => continue,
                Poll::Ready(Ok(from)) if buffer.filled().len() <= PACKET_BYTES_MAX => {
                    let bytes = buffer.filled().to_vec();
                    self.heard = index;
                    return Poll::Ready(MulticastEvent::Packet { from, bytes });
                }
                Poll::Ready(Ok(from)) => tracing::debug!(%from, "a packet is too large and was dropped"),
                Poll::Ready(Err(error)) => tracing::debug!(%error, "a packet could not be received"),
            }
            busy = true;
        }
        if busy {
            // There may be more behind what was dropped; the rest of the node gets its turn first.
            cx.waker().wake_by_ref();
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
            self.poll_packet(cx)
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
    if VIRTUAL.iter().any(|prefix| found.name.starts_with(prefix)) { 2 } else { u8::from(found.loopback) }
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

/// How often the interfaces are read anew.
const RESCAN_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::process::Command;
    use tokio::time::timeout;

    const NETNS: &str = "MULTICAST_TEST_IN_NAMESPACE";

    fn loopback_only(port: u16) -> MulticastOptions {
        MulticastOptions { interfaces: Some(vec!["lo".to_owned()]), port, ..MulticastOptions::default() }
    }

    async fn next(socket: &mut MulticastSocket) -> MulticastEvent {
        timeout(Duration::from_secs(5), socket.next()).await.expect("an event in time")
    }

    async fn interfaces(socket: &mut MulticastSocket) -> Vec<Interface> {
        match next(socket).await {
            MulticastEvent::Interfaces(interfaces) => interfaces,
            MulticastEvent::Packet { .. } => panic!("a packet before the interfaces"),
        }
    }

    async fn packet(socket: &mut MulticastSocket) -> (SocketAddr, Vec<u8>) {
        match next(socket).await {
            MulticastEvent::Packet { from, bytes } => (from, bytes),
            MulticastEvent::Interfaces(interfaces) => panic!("{interfaces:?}"),
        }
    }

    /// Two sockets, each of which hears the other and itself over loopback.
    async fn meet(options: MulticastOptions) {
        let port = options.port;
        let (mut a, mut b) = (MulticastSocket::open(options.clone()), MulticastSocket::open(options));
        let (seen_a, seen_b) = (interfaces(&mut a).await, interfaces(&mut b).await);
        let loopback = Interface { index: 1, address: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        assert_eq!((seen_a, seen_b), (vec![loopback], vec![loopback]));
        let mut sockets = [a, b];
        for (sender, bytes) in [(0, b"from a".to_vec()), (1, vec![7; PACKET_BYTES_MAX])] {
            sockets[sender].send(1, bytes.clone());
            for socket in &mut sockets {
                let expected = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), bytes.clone());
                assert_eq!(packet(socket).await, expected);
            }
        }
    }

    #[tokio::test]
    async fn nodes_on_loopback_hear_each_other_and_themselves() {
        meet(loopback_only(45_353)).await;
    }

    #[tokio::test]
    async fn a_host_with_nothing_but_loopback_is_enough() {
        if std::env::var_os(NETNS).is_some() {
            return meet(MulticastOptions::default()).await;
        }
        let script = "ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture";
        let name = "multicast::tests::a_host_with_nothing_but_loopback_is_enough";
        let exe = std::env::current_exe().unwrap();
        let probe = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).output();
        if !probe.is_ok_and(|probe| probe.status.success()) {
            eprintln!("skipped: this host does not let the test make a network namespace");
            return;
        }
        let child = Command::new("unshare")
            .args(["-rn", "sh", "-c", script])
            .arg(exe)
            .arg(name)
            .env(NETNS, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    }

    #[tokio::test]
    async fn without_any_interface_nothing_fails() {
        let options =
            MulticastOptions { interfaces: Some(vec!["nowhere0".to_owned()]), ..MulticastOptions::default() };
        let mut socket = MulticastSocket::open(options);
        assert_eq!(interfaces(&mut socket).await, []);
        socket.send(1, b"lost".to_vec());
        assert!(timeout(Duration::from_millis(50), socket.next()).await.is_err());
    }

    #[tokio::test]
    async fn a_flood_is_dropped_beyond_the_buffer_and_too_large_packets_always() {
        let options = loopback_only(45_354);
        let (mut a, mut b) = (MulticastSocket::open(options.clone()), MulticastSocket::open(options));
        interfaces(&mut a).await;
        interfaces(&mut b).await;
        for _ in 0..4 {
            a.send(1, vec![0; PACKET_BYTES_MAX + 1]);
            a.send(1, vec![0; 20_000]);
        }
        for _ in 0..2_000 {
            a.send(1, vec![1; 1000]);
        }
        let mut received = 0;
        while let Ok(event) = timeout(Duration::from_millis(200), b.next()).await {
            let MulticastEvent::Packet { bytes, .. } = event else { panic!("{event:?}") };
            assert_eq!(bytes.len(), 1000);
            received += 1;
        }
        assert!(received > 0 && received < 1_000, "{received}");
        a.send(1, b"after".to_vec());
        assert_eq!(packet(&mut b).await.1, b"after");
    }

    #[test]
    fn container_interfaces_come_last() {
        let found = |name: &str, loopback| Found {
            name: name.to_owned(),
            index: 1,
            address: Ipv4Addr::LOCALHOST,
            loopback,
            multicast: true,
        };
        let ranks = [("eth0", false), ("lo", true), ("docker0", false), ("veth12", false), ("br-9f", false)]
            .map(|(name, loopback)| usefulness(&found(name, loopback)));
        assert_eq!(ranks, [0, 1, 2, 2, 2]);
    }
}
