//! Faults that delay, duplicate, reorder or alter what is sent, and faults that break connections.
//!
//! A stream delivers each byte once and in order, and altered bytes fail its authentication. So duplicates, reordering
//! and replays affect multicast packets only, and an altered frame ends its connection.

use super::network::{end_of, link_of};
use super::{EventQueue, Scheduled};
use crate::node_set::NodeIndex;
use crate::random::Purpose;
use crate::scenario::Disturbance;
use core::time::Duration;
use std::rc::Rc;

impl EventQueue {
    /// Returns the additional delay of something that is sent now.
    pub(super) fn lateness(&mut self, from: NodeIndex, to: NodeIndex) -> Duration {
        let n = self.moment();
        let (random, pair) = (self.cluster.random, pair(from, to));
        let late = |(fault, add): (usize, crate::scenario::Range)| {
            random.between(add.ends(), Purpose::Slowness, pair ^ fault_key(fault), n)
        };
        let total: Duration = self.faults.delays(from, to).map(late).sum();
        if !total.is_zero() {
            self.observer.mark("frame_late");
        }
        total
    }

    /// Returns whether something that is sent now is disturbed in one way.
    pub(super) fn is_disturbed(&mut self, from: NodeIndex, to: NodeIndex, kind: Disturbance) -> bool {
        let (n, random) = (self.moment(), self.cluster.random);
        let disturbed = self.faults.disturbances().any(|(fault, how, per_million)| {
            let who = pair(from, to) ^ fault_key(fault);
            how == kind && random.below(1_000_000, Purpose::Disturbance, who, n) < u64::from(per_million)
        });
        if disturbed {
            self.observer.mark(match kind {
                Disturbance::Corrupt => "frame_corrupted",
                Disturbance::Duplicate => "packet_duplicated",
                Disturbance::Reorder => "packet_reordered",
                Disturbance::Replay => "packet_replayed",
            });
        }
        disturbed
    }

    /// Sends a packet, with whatever disturbs it.
    pub(super) fn pass(&mut self, from: NodeIndex, to: NodeIndex, latency: Duration, bytes: Rc<[u8]>) {
        let mut latency = latency;
        let mut packet = Rc::clone(&bytes);
        if self.is_disturbed(from, to, Disturbance::Corrupt) {
            let (n, who) = (self.moment(), pair(from, to));
            let bit = self.cluster.random.index(bytes.len() * 8, Purpose::Disturbance, who, n);
            let mut altered = bytes.to_vec();
            if let Some(byte) = altered.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            packet = altered.into();
        }
        if self.is_disturbed(from, to, Disturbance::Reorder) {
            latency += REORDER_DELAY;
        }
        for (kind, later) in [(Disturbance::Duplicate, Duration::ZERO), (Disturbance::Replay, REPLAY_DELAY)] {
            if self.is_disturbed(from, to, kind) {
                let bytes = Rc::clone(&packet);
                self.after(latency + later, Scheduled::Datagram { from, to, bytes });
            }
        }
        self.after(latency, Scheduled::Datagram { from, to, bytes: packet });
    }

    /// Breaks every connection of a node.
    pub(super) fn reset_all(&mut self, node: NodeIndex) {
        let links: Vec<_> = self.hosts[node as usize].links.iter().copied().collect();
        links.into_iter().for_each(|link| self.reset(end_of(link).0));
    }

    /// Breaks a connection; everything in flight on it is lost.
    pub(super) fn reset(&mut self, connection: u32) {
        self.observer.mark("connection_broken");
        for side in [0, 1] {
            let end = &mut self.connections[connection as usize].ends[usize::from(side)];
            end.broken = true;
            if end.open {
                self.later_down(connection, side);
            }
        }
    }

    /// Closes an end; its process learns of it once it has handled its current input.
    fn later_down(&mut self, connection: u32, side: u8) {
        let end = &self.connections[connection as usize].ends[usize::from(side)];
        let (node, incarnation) = (end.node, end.incarnation);
        self.close_end(connection, side);
        self.after(
            Duration::ZERO,
            Scheduled::LinkDown { node, incarnation, link: link_of(connection, side) },
        );
    }

    #[allow(clippy::cast_possible_truncation, reason = "the time only distinguishes draws")]
    fn moment(&self) -> u32 {
        self.now as u32
    }
}

fn pair(from: NodeIndex, to: NodeIndex) -> u64 {
    u64::from(from) << 32 | u64::from(to)
}

/// Distinguishes the draws of one fault from those of another.
fn fault_key(fault: usize) -> u64 {
    u64::try_from(fault + 1).unwrap_or(u64::MAX) << 48
}

/// The additional delay of a packet that others overtake.
const REORDER_DELAY: Duration = Duration::from_secs(2);

/// The delay after which a packet is replayed.
const REPLAY_DELAY: Duration = Duration::from_secs(30);
