//! Matches each arriving frame with the sent one: the last frame in flight between the two nodes with the same bytes,
//! because an earlier copy was most likely lost. This needs no help from an executor, so it works the same for all.

use crate::node_set::NodeIndex;
use engine::LinkId;
use std::collections::{BTreeMap, VecDeque};

/// Frames and packets in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    peers: BTreeMap<(NodeIndex, LinkId), NodeIndex>,
    frames: BTreeMap<(NodeIndex, NodeIndex), VecDeque<(u64, u64)>>,
    packets: BTreeMap<NodeIndex, VecDeque<(u64, Packet)>>,
}

/// A multicast packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) sent: u64,
    pub(super) text: u32,
}

impl InFlight {
    pub(super) fn up(&mut self, node: NodeIndex, link: LinkId, peer: NodeIndex) {
        self.peers.insert((node, link), peer);
    }

    pub(super) fn down(&mut self, node: NodeIndex, link: LinkId) {
        self.peers.remove(&(node, link));
    }

    /// Removes all links of a process that is gone.
    pub(super) fn stopped(&mut self, node: NodeIndex) {
        self.peers.retain(|(of, _), _| *of != node);
    }

    pub(super) fn peer(&self, node: NodeIndex, link: LinkId) -> Option<NodeIndex> {
        self.peers.get(&(node, link)).copied()
    }

    pub(super) fn sent(&mut self, from: NodeIndex, to: NodeIndex, bytes: &[u8], row: u64) {
        let queue = self.frames.entry((from, to)).or_default();
        if queue.len() >= FRAMES_IN_FLIGHT_MAX {
            queue.pop_front();
        }
        queue.push_back((digest(bytes), row));
    }

    /// Returns the row of the sent frame that arrives here.
    pub(super) fn arrived(&mut self, from: NodeIndex, to: NodeIndex, bytes: &[u8]) -> Option<u64> {
        let queue = self.frames.get_mut(&(from, to))?;
        let digest = digest(bytes);
        let position = queue.iter().rposition(|(other, _)| *other == digest)?;
        queue.remove(position).map(|(_, row)| row)
    }

    pub(super) fn sent_to_all(&mut self, from: NodeIndex, bytes: &[u8], packet: Packet) {
        let queue = self.packets.entry(from).or_default();
        if queue.len() >= PACKETS_IN_FLIGHT_MAX {
            queue.pop_front();
        }
        queue.push_back((digest(bytes), packet));
    }

    /// Returns the last packet with these bytes; each packet arrives at many nodes.
    pub(super) fn packet(&self, from: NodeIndex, bytes: &[u8]) -> Option<Packet> {
        let digest = digest(bytes);
        let mut newest_first = self.packets.get(&from)?.iter().rev();
        newest_first.find(|(other, _)| *other == digest).map(|(_, packet)| *packet)
    }
}

/// 64 bits of FNV-1a: a rare wrong arrow in a picture does no harm.
fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The most frames in flight between two nodes; the oldest beyond that count as lost.
const FRAMES_IN_FLIGHT_MAX: usize = 1_024;

/// The most packets in flight per node.
const PACKETS_IN_FLIGHT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_matched_by_content_and_direction() {
        let mut in_flight = InFlight::default();
        in_flight.sent(0, 1, b"ping", 1);
        in_flight.sent(0, 1, b"ping", 2);
        in_flight.sent(1, 0, b"ping", 3);
        in_flight.sent(0, 1, b"pong", 4);
        assert_eq!(in_flight.arrived(0, 1, b"pong"), Some(4));
        assert_eq!(in_flight.arrived(0, 1, b"ping"), Some(2));
        assert_eq!(in_flight.arrived(0, 1, b"ping"), Some(1));
        assert_eq!(in_flight.arrived(0, 1, b"ping"), None);
        assert_eq!(in_flight.arrived(1, 0, b"ping"), Some(3));
    }

    #[test]
    fn a_node_that_stops_has_no_links() {
        let mut in_flight = InFlight::default();
        in_flight.up(0, LinkId(1), 2);
        in_flight.up(1, LinkId(1), 3);
        in_flight.stopped(0);
        assert_eq!((in_flight.peer(0, LinkId(1)), in_flight.peer(1, LinkId(1))), (None, Some(3)));
    }
}
