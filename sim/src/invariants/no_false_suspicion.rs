//! If the network neither loses nor stalls frames, no live peer is declared slow, and no lease of a live worker
//! expires.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation, is_network_reliable};
use crate::links::Links;
use crate::node_set::NodeIndex;
use crate::scenario::{FaultKind, Scenario};
use engine::event::ReassignReason;
use engine::{Event, Instant, Output};
use std::sync::Arc;

/// Watches which peers are suspected.
#[derive(Debug)]
pub(super) struct NoFalseSuspicion {
    cluster: Arc<Cluster>,
    links: Links,
    /// Whether no path of several links can lead over a machine that has silently lost power.
    all_is_heard: bool,
    applies: bool,
    checks: u64,
}

pub(super) const NAME: &str = "no_false_suspicion";

impl NoFalseSuspicion {
    pub(super) fn new(cluster: Arc<Cluster>, scenario: &Scenario) -> Self {
        let silent = |kind: &FaultKind| matches!(kind, FaultKind::PowerLoss { .. } | FaultKind::Churn { .. });
        Self {
            links: Links::new(cluster.len()),
            cluster,
            all_is_heard: !scenario.faults.iter().any(|fault| silent(&fault.kind)),
            // Messages for a node may reach its copy instead, and a hostile relay may drop them.
            applies: is_network_reliable(scenario)
                && scenario.network.loss.is_none()
                && scenario.hosts.is_empty(),
            checks: 0,
        }
    }
}

impl Invariant for NoFalseSuspicion {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        if !self.applies {
            return Ok(());
        }
        self.links.observe(&self.cluster, node, observation);
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern suspicions")]
        let suspect = match observation {
            Observation::Output(Output::Event(Event::PeerSlow { peer })) => peer,
            Observation::Output(Output::Event(Event::TaskReassigned { worker, reason, .. }))
                if *reason == ReassignReason::LeaseExpired && self.all_is_heard =>
            {
                worker
            }
            _ => return Ok(()),
        };
        self.checks += 1;
        match self.cluster.find(*suspect) {
            Some(suspect) if self.links.is_to_running_process(node, suspect) => {
                Err(format!("n{suspect} was declared slow, but is alive and reachable"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, cluster, up};

    #[test]
    fn a_live_peer_is_not_slow_unless_something_is_in_the_way() {
        let cluster = cluster(2);
        for (fault, good) in
            [("", false), ("[[fault]]\nat = \"1s\"\nkind = \"stall\"\ngroups = [[\"n0\"], [\"n1\"]]\n", true)]
        {
            let text = format!("nodes = 2\nduration = \"60s\"\n{fault}");
            let scenario = Scenario::parse("suspicion.toml", &text).unwrap();
            let mut invariant = NoFalseSuspicion::new(Arc::clone(&cluster), &scenario);
            for node in [0, 1] {
                invariant.observe(at(0), node, Observation::Started).unwrap();
            }
            invariant.observe(at(1), 0, Observation::Output(&up(&cluster, 1, 1))).unwrap();
            let slow = Output::Event(Event::PeerSlow { peer: cluster.id(1) });
            assert_eq!(invariant.observe(at(2), 0, Observation::Output(&slow)).is_ok(), good);
        }
    }
}
