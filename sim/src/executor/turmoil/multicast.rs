//! The multicast port: one packet to each node that the topology can reach.

use super::Machine;
use crate::cluster::{self, INTERFACE, MULTICAST_PORT};
use crate::node_set::NodeIndex;
use core::future;
use core::net::{Ipv4Addr, SocketAddr};
use engine::input::{Family, Interface};
use runtime::ports::{Multicast, MulticastEvent};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use turmoil::net::UdpSocket;

/// Multicast on a host's only interface.
pub(super) struct SimMulticast {
    node: NodeIndex,
    hearers: Vec<NodeIndex>,
    /// The socket; `None` if the scenario has no multicast.
    socket: Option<UdpSocket>,
    announced: bool,
    /// A host's own packets, which it also receives.
    own: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
}

impl SimMulticast {
    pub(super) async fn bind(machine: Arc<Machine>) -> io::Result<Self> {
        let socket = if machine.scenario.network.multicast {
            Some(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, MULTICAST_PORT)).await?)
        } else {
            None
        };
        Ok(Self {
            node: machine.node,
            hearers: machine.cluster.reachable_from(machine.node),
            socket,
            announced: false,
            own: VecDeque::new(),
            buffer: vec![0; PACKET_BYTES_MAX],
        })
    }
}

impl Multicast for SimMulticast {
    fn send(&mut self, _: u32, _: Family, bytes: Vec<u8>) {
        let Some(socket) = &self.socket else { return };
        for &hearer in &self.hearers {
            // A packet that cannot be sent is lost.
            let _ = socket.try_send_to(&bytes, SocketAddr::new(cluster::ip(hearer), MULTICAST_PORT));
        }
        if self.own.len() < OWN_PACKETS_MAX {
            self.own.push_back(bytes);
        }
    }

    fn send_to(&mut self, _: u32, to: SocketAddr, bytes: Vec<u8>) {
        if let Some(socket) = &self.socket {
            let _ = socket.try_send_to(&bytes, to);
        }
    }

    async fn next(&mut self) -> MulticastEvent {
        if !self.announced {
            self.announced = true;
            let address = cluster::ip(self.node);
            return MulticastEvent::Interfaces(vec![Interface::new(INTERFACE, address)]);
        }
        if let Some(bytes) = self.own.pop_front() {
            let from = SocketAddr::new(cluster::ip(self.node), MULTICAST_PORT);
            return MulticastEvent::Packet { interface: INTERFACE, from, bytes };
        }
        let Some(socket) = &self.socket else { return future::pending().await };
        loop {
            if let Ok((length, from)) = socket.recv_from(&mut self.buffer).await {
                let bytes = self.buffer[..length].to_vec();
                return MulticastEvent::Packet { interface: INTERFACE, from, bytes };
            }
        }
    }
}

const PACKET_BYTES_MAX: usize = 9_000;
const OWN_PACKETS_MAX: usize = 256;
