//! Faults that let everything through, but late, twice, overtaken or altered, and connections that break.
//!
//! A stream delivers each byte once and in order, and what was altered on its way does not pass its authentication: so
//! duplicates, overtakers and replays are packets to all, and an altered frame is the end of its connection.

use super::network::{end_of, link_of};
use super::{EventQueue, Scheduled};
use crate::node_set::NodeIndex;
use crate::random::Purpose;
use crate::scenario::Disturbance;
use core::time::Duration;
use std::rc::Rc;

impl EventQueue {
    /// Returns by how much something that is sent now is late.
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

    /// Tells whether something that is sent now is disturbed in one way.
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

    /// Sends a packet on its way, and whatever else becomes of it.
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

    /// Breaks a connection; what is on its way is lost.
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

    /// Closes an end whose process learns of it as soon as it has done what it is at.
    fn later_down(&mut self, connection: u32, side: u8) {
        let end = &self.connections[connection as usize].ends[usize::from(side)];
        let (node, incarnation) = (end.node, end.incarnation);
        self.close_end(connection, side);
        self.after(
            Duration::ZERO,
            Scheduled::LinkDown { node, incarnation, link: link_of(connection, side) },
        );
    }

    #[allow(clippy::cast_possible_truncation, reason = "the time only tells draws apart")]
    fn moment(&self) -> u32 {
        self.now as u32
    }
}

fn pair(from: NodeIndex, to: NodeIndex) -> u64 {
    u64::from(from) << 32 | u64::from(to)
}

/// Tells the draws of one fault from those of another.
fn fault_key(fault: usize) -> u64 {
    u64::try_from(fault + 1).unwrap_or(u64::MAX) << 48
}

/// How much later than usual a packet comes that others overtake.
const REORDER_DELAY: Duration = Duration::from_secs(2);

/// How much later a packet comes once more.
const REPLAY_DELAY: Duration = Duration::from_secs(30);
