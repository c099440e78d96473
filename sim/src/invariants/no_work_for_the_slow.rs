//! A peer that missed a heartbeat is assigned no task until it responds again.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::{Event, Instant, NodeId, Output};
use std::collections::BTreeSet;

/// Tracks which peers each node considers slow.
#[derive(Debug)]
pub(super) struct NoWorkForTheSlow {
    slow: Vec<BTreeSet<NodeId>>,
    checks: u64,
}

pub(super) const NAME: &str = "no_work_for_the_slow";

impl NoWorkForTheSlow {
    pub(super) fn new(nodes: usize) -> Self {
        Self { slow: vec![BTreeSet::new(); nodes], checks: 0 }
    }
}

impl Invariant for NoWorkForTheSlow {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let slow = &mut self.slow[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern slow peers and assignments")]
        match observation {
            Observation::Started => slow.clear(),
            Observation::Output(Output::Event(event)) => match event {
                Event::PeerSlow { peer } => {
                    slow.insert(*peer);
                }
                Event::PeerRecovered { peer } | Event::LinkDown { peer, .. } => {
                    slow.remove(peer);
                }
                Event::TaskAssigned { task, worker, .. } => {
                    self.checks += 1;
                    if slow.contains(worker) {
                        return Err(format!("task {task} was assigned to {worker}, which does not respond"));
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{assigned, at};
    use engine::TaskId;

    #[test]
    fn work_for_a_slow_peer_is_wrong_until_it_recovers() {
        let mut invariant = NoWorkForTheSlow::new(1);
        let peer = NodeId([1; 16]);
        let mut observe = |event| invariant.observe(at(1), 0, Observation::Output(&Output::Event(event)));
        let assigned = assigned(TaskId([1; 16]), peer, 1);
        assert_eq!(observe(assigned.clone()), Ok(()));
        assert_eq!(observe(Event::PeerSlow { peer }), Ok(()));
        assert!(observe(assigned.clone()).is_err());
        assert_eq!(observe(Event::PeerRecovered { peer }), Ok(()));
        assert_eq!(observe(assigned), Ok(()));
    }
}
