//! Alters frames between the network and the process of a node that speaks another protocol version or is hostile. The
//! process itself is an ordinary node.

use super::{Adversary, Attack};
use crate::cluster::Cluster;
use crate::executor::event_queue::{EventQueue, Scheduled};
use crate::node_set::NodeIndex;
use crate::observer::coverage_marks;
use crate::scenario::{Hostility, Scenario};
use core::time::Duration;
use engine::wire::{self, PROTOCOL_VERSION};

/// Alters frames on their way into and out of a process.
#[derive(Debug)]
pub(in crate::executor::event_queue) struct FrameFilter {
    /// The protocol version that others see.
    protocol: u16,
    adversary: Option<Adversary>,
}

impl FrameFilter {
    /// Returns the filter of a node; `None` if it needs none.
    pub(in crate::executor::event_queue) fn for_node(
        scenario: &Scenario,
        cluster: &Cluster,
        node: NodeIndex,
    ) -> Option<Self> {
        let host = scenario.host(node)?;
        let adversary = (!host.hostile.is_empty()).then(|| Adversary::new(cluster, host));
        Some(Self { protocol: cluster.protocol(node), adversary })
    }

    /// Alters an incoming frame.
    pub(in crate::executor::event_queue) fn filter_incoming(&mut self, frame: &mut [u8]) {
        self.translate(frame);
        if let Some(adversary) = &mut self.adversary {
            adversary.observe_frame(frame);
        }
    }

    /// Alters an outgoing frame; returns the attack that altered it, or as an error the attack that drops it.
    fn filter_outgoing(&mut self, now: u64, frame: &mut Vec<u8>) -> Result<Option<Hostility>, Hostility> {
        self.translate(frame);
        self.adversary.as_mut().map_or(Ok(None), |adversary| adversary.alter_frame(now, frame))
    }

    /// Swaps the two version numbers in either direction: the process takes its own version for the usual one, and the
    /// usual one for a foreign one.
    fn translate(&self, frame: &mut [u8]) {
        if let Some(version) = wire::hello_version(frame) {
            let (usual, other) = (PROTOCOL_VERSION.to_be_bytes(), self.protocol.to_be_bytes());
            if *version == usual {
                *version = other;
            } else if *version == other {
                *version = usual;
            }
        }
    }
}

impl EventQueue {
    /// Returns the frame that leaves the node when its process sends one; `None` if it is dropped.
    pub(in crate::executor::event_queue) fn filter_frame(
        &mut self,
        node: NodeIndex,
        mut frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let Some(filter) = &mut self.hosts[node as usize].filter else { return Some(frame) };
        match filter.filter_outgoing(self.now, &mut frame) {
            Ok(kind) => {
                kind.into_iter().for_each(|kind| self.observer.mark(coverage_marks::for_hostility(kind)));
                Some(frame)
            }
            Err(kind) => {
                self.observer.mark(coverage_marks::for_hostility(kind));
                None
            }
        }
    }

    /// Lets a hostile node attack, and schedules the next attack.
    pub(in crate::executor::event_queue) fn attack(&mut self, node: NodeIndex) {
        self.after(ATTACK_INTERVAL, Scheduled::Attack(node));
        let host = &mut self.hosts[node as usize];
        let links: Vec<_> = host.links.iter().copied().collect();
        let Some(adversary) = host.filter.as_mut().and_then(|filter| filter.adversary.as_mut()) else {
            return;
        };
        if host.node.is_none() {
            return;
        }
        for (kind, attack) in adversary.attacks(&links) {
            self.observer.mark(coverage_marks::for_hostility(kind));
            match attack {
                Attack::Frame { link, bytes, times } => {
                    (0..times).for_each(|_| self.send_unfiltered(node, link, bytes.clone()));
                }
                Attack::Packet(bytes) => self.multicast(node, bytes.into()),
            }
        }
    }
}

/// The interval between the attacks of a hostile node.
const ATTACK_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use engine::UnixMillis;
    use engine::error::DecodeError;
    use engine::wire::{Hello, Message, SharedBytes, Signature, SignedAdvert};

    #[test]
    fn nodes_of_two_versions_refuse_each_other_and_those_of_one_do_not() {
        let advert = SignedAdvert { body: SharedBytes([1].into()), signature: Signature([4; 64]) };
        let hello = Hello { network: String::new(), incarnation: 7, advert, sent_at: UnixMillis(6) };
        let hello = Message::Hello(Box::new(hello));
        let mut other = FrameFilter { protocol: 9, adversary: None };
        let mut spoken = hello.encode();
        other.filter_outgoing(0, &mut spoken).unwrap();
        assert_eq!(Message::decode(&spoken), Err(DecodeError::Version(9)), "to the usual one");
        other.filter_incoming(&mut spoken);
        assert_eq!(Message::decode(&spoken), Ok(hello.clone()), "to one of its own");
        let mut heard = hello.encode();
        other.filter_incoming(&mut heard);
        assert_eq!(Message::decode(&heard), Err(DecodeError::Version(9)), "from the usual one");
    }
}
