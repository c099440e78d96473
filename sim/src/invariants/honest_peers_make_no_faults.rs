//! An honest node never violates the protocol, and no sealed message reuses a message number.
//!
//! A hello may be late if the network delays it.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use crate::scenario::NodeRole;
use engine::event::DropReason;
use engine::{Event, Instant, Output, PeerFault};
use std::sync::Arc;

/// Watches which nodes are accused of a violation.
#[derive(Debug)]
pub(super) struct HonestPeersMakeNoFaults {
    cluster: Arc<Cluster>,
    /// Whether a hostile node may replay messages of others.
    hostile: bool,
    checks: u64,
}

pub(super) const NAME: &str = "honest_peers_make_no_faults";

impl HonestPeersMakeNoFaults {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let hostile = cluster.has_hostile();
        Self { cluster, hostile, checks: 0 }
    }
}

impl Invariant for HonestPeersMakeNoFaults {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, _: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these are accusations")]
        match observation {
            Observation::Output(Output::Event(Event::PeerFault { peer, fault })) => {
                self.checks += 1;
                match self.cluster.find(*peer) {
                    Some(peer)
                        if *fault != PeerFault::HelloLate && self.cluster.role(peer) != NodeRole::Hostile =>
                    {
                        Err(format!("n{peer} was accused of a protocol violation: {fault:?}"))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Observation::Output(Output::Event(Event::MessageDropped {
                message,
                reason: DropReason::Replayed,
                ..
            })) if !self.hostile => Err(format!("message {message} was rejected as a replay")),
            Observation::Output(Output::Event(Event::MessageDelivered { .. })) => {
                self.checks += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, cluster};
    use engine::{MessageId, NodeId, TraceContext};

    #[test]
    fn only_strangers_and_late_hellos_may_be_accused() {
        let cluster = cluster(2);
        let mut invariant = HonestPeersMakeNoFaults::new(Arc::clone(&cluster));
        let mut observe = |event| invariant.observe(at(1), 0, Observation::Output(&Output::Event(event)));
        let (peer, stranger) = (cluster.id(1), NodeId([9; 16]));
        assert_eq!(observe(Event::PeerFault { peer: stranger, fault: PeerFault::AdvertForged }), Ok(()));
        assert_eq!(observe(Event::PeerFault { peer, fault: PeerFault::HelloLate }), Ok(()));
        assert!(observe(Event::PeerFault { peer, fault: PeerFault::AdvertForged }).is_err());
        let message = MessageId([1; 16]);
        assert!(
            observe(Event::MessageDropped {
                message,
                reason: DropReason::Replayed,
                trace: TraceContext::NONE
            })
            .is_err()
        );
    }
}
