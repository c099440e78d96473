//! Network checks of the doctor: whether multicast works, and whether the port of the node is open.

use super::finding::Finding;
use engine::input::{Family, Interface};
use runtime::multicast::{MulticastOptions, MulticastSocket};
use runtime::ports::{Multicast, MulticastEvent};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Sends a multicast packet on each interface and reports the interfaces on which it does not loop back.
pub(super) async fn check_multicast(names: Option<Vec<String>>) -> Option<Finding> {
    let mut socket =
        MulticastSocket::open(MulticastOptions { interfaces: names, ..MulticastOptions::default() });
    let Ok(MulticastEvent::Interfaces(interfaces)) = timeout(TIMEOUT, socket.next()).await else {
        return Some(Finding::multicast_blocked(&[]));
    };
    if socket.is_taken() {
        return Some(Finding::multicast_taken());
    }
    let beyond = interfaces.iter().any(|interface| !interface.address.is_loopback());
    let matters = |interface: &&Interface| !(beyond && interface.address.is_loopback());
    let mut deaf: BTreeSet<u32> =
        interfaces.iter().filter(matters).map(|interface| interface.index).collect();
    let packet = question();
    let deadline = Instant::now() + TIMEOUT;
    for _ in 0..ATTEMPTS {
        // One address family per interface is enough for discovery.
        for interface in interfaces.iter().filter(|interface| deaf.contains(&interface.index)) {
            socket.send(interface.index, Family::for_address(interface.address), packet.to_vec());
        }
        let until = Instant::now() + TIMEOUT / ATTEMPTS;
        while !deaf.is_empty()
            && let Ok(event) = timeout_at(until.min(deadline), socket.next()).await
        {
            if let MulticastEvent::Packet { interface, bytes, .. } = event
                && bytes == packet
            {
                deaf.remove(&interface);
            }
        }
    }
    let silent = interfaces.iter().filter(|interface| deaf.contains(&interface.index));
    let silent: Vec<IpAddr> = silent.map(|interface| interface.address).collect();
    (!silent.is_empty() || interfaces.is_empty()).then(|| Finding::multicast_blocked(&silent))
}

/// Connects to the port of the node, as a peer on this machine would.
pub(super) async fn check_port(port: u16) -> Option<Finding> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let open = matches!(timeout(TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_)));
    (!open).then(|| Finding::port_closed(port))
}

/// Returns an mDNS packet without a question, identified by its transaction id.
fn question() -> [u8; 12] {
    let mut packet = [0; 12];
    packet[..2].copy_from_slice(&std::process::id().to_be_bytes()[2..]);
    packet
}

/// Timeout of a packet to this machine.
const TIMEOUT: Duration = Duration::from_millis(900);
/// A busy machine may lose a packet.
const ATTEMPTS: u32 = 3;
