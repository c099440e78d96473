//! What the doctor tries out on the network: whether multicast comes back, and whether the node's port is open.

use super::finding::Finding;
use runtime::multicast::{MulticastOptions, MulticastSocket};
use runtime::ports::{Multicast, MulticastEvent};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Sends a packet on each interface, and names those that do not bring it back as multicast does to every listener.
pub(super) async fn deaf_interfaces(names: Option<Vec<String>>) -> Option<Finding> {
    let mut socket =
        MulticastSocket::open(MulticastOptions { interfaces: names, ..MulticastOptions::default() });
    let Ok(MulticastEvent::Interfaces(interfaces)) = timeout(PATIENCE, socket.next()).await else {
        return Some(Finding::multicast_blocked(&[]));
    };
    let mut deaf: BTreeMap<IpAddr, u32> =
        interfaces.iter().map(|interface| (interface.address, interface.index)).collect();
    let beyond = deaf.keys().any(|address| !address.is_loopback());
    let packet = question();
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..TRIES {
        for &interface in deaf.values() {
            socket.send(interface, packet.to_vec());
        }
        let until = Instant::now() + PATIENCE / TRIES;
        while !deaf.is_empty()
            && let Ok(event) = timeout_at(until.min(deadline), socket.next()).await
        {
            if let MulticastEvent::Packet { from, bytes } = event
                && bytes == packet
            {
                deaf.remove(&from.ip());
            }
        }
    }
    // An interface may have several addresses, and packets leave from one of them.
    let heard = |index: u32| {
        interfaces.iter().any(|interface| interface.index == index && !deaf.contains_key(&interface.address))
    };
    let deaf: Vec<IpAddr> = deaf
        .iter()
        .filter(|&(address, &index)| !heard(index) && !(beyond && address.is_loopback()))
        .map(|(&address, _)| address)
        .collect();
    (!deaf.is_empty() || interfaces.is_empty()).then(|| Finding::multicast_blocked(&deaf))
}

/// Connects to the node's own port, as a peer on this machine would.
pub(super) async fn closed_port(port: u16) -> Option<Finding> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let open = matches!(timeout(PATIENCE, TcpStream::connect(address)).await, Ok(Ok(_)));
    (!open).then(|| Finding::port_closed(port))
}

/// An mDNS packet that asks nothing, told from all others by its number.
fn question() -> [u8; 12] {
    let mut packet = [0; 12];
    packet[..2].copy_from_slice(&std::process::id().to_be_bytes()[2..]);
    packet
}

/// How long a packet to this machine itself may take.
const PATIENCE: Duration = Duration::from_millis(900);
/// A packet may be lost where much else is going on.
const TRIES: u32 = 3;
