//! Counts protocol violations and other faults of remote nodes since the node started.
//!
//! An observer of events. Memory is bounded by the number of kinds.

use crate::error::{PeerFault, StrangerFault};
use crate::event::{DropReason, Event, RefuseReason};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The number of faults by kind. Kinds that never occurred are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCounters {
    /// Protocol violations by peers.
    pub peers: BTreeMap<PeerFault, u64>,
    /// Links that this node refused.
    pub refused: BTreeMap<RefuseReason, u64>,
    /// Routed messages that this node dropped.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Connections that failed before authentication.
    pub strangers: BTreeMap<StrangerFault, u64>,
}

impl FaultCounters {
    /// Counts an event if it reports a fault.
    pub(crate) fn handle_event(&mut self, event: &Event) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "most events are nobody's fault")]
        match *event {
            Event::LinkRefused { reason, by_us: true, .. } => count(&mut self.refused, reason),
            Event::MessageDropped { reason, .. } => count(&mut self.dropped, reason),
            Event::PeerFault { fault, .. } => count(&mut self.peers, fault),
            Event::StrangerFault { fault, .. } => count(&mut self.strangers, fault),
            _ => {}
        }
    }
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, kind: K) {
    let count = counts.entry(kind).or_default();
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MessageId, NodeId};
    use crate::trace::TraceContext;

    #[test]
    fn each_kind_is_counted() {
        let mut counters = FaultCounters::default();
        let (peer, remote) = (NodeId([1; 16]), ([10, 0, 0, 1], 5).into());
        let refused = |by_us| Event::LinkRefused { peer, reason: RefuseReason::Full, by_us };
        for event in [
            Event::PeerFault { peer, fault: PeerFault::NotReading },
            Event::PeerFault { peer, fault: PeerFault::NotReading },
            Event::StrangerFault { remote, fault: StrangerFault::TooMany },
            Event::MessageDropped {
                message: MessageId([2; 16]),
                reason: DropReason::Unauthentic,
                trace: TraceContext::NONE,
            },
            refused(true),
            refused(false),
            Event::DiscoveryAvailable,
        ] {
            counters.handle_event(&event);
        }
        let expected = FaultCounters {
            peers: BTreeMap::from([(PeerFault::NotReading, 2)]),
            refused: BTreeMap::from([(RefuseReason::Full, 1)]),
            dropped: BTreeMap::from([(DropReason::Unauthentic, 1)]),
            strangers: BTreeMap::from([(StrangerFault::TooMany, 1)]),
        };
        assert_eq!(counters, expected);
    }
}
