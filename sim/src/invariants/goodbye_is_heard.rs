//! If the network loses nothing, a peer that receives a goodbye records a departure, not a crash.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation, is_network_reliable};
use crate::node_set::NodeIndex;
use crate::scenario::Scenario;
use engine::event::LinkDownReason;
use engine::wire::Message;
use engine::{Event, Instant, LinkId, Output};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tracks who said goodbye to whom.
#[derive(Debug)]
pub(super) struct GoodbyeIsHeard {
    cluster: Arc<Cluster>,
    goodbye: Vec<u8>,
    peers: BTreeMap<(NodeIndex, LinkId), NodeIndex>,
    /// Who said goodbye, and to whom, until the sender starts again.
    goodbyes: BTreeSet<(NodeIndex, NodeIndex)>,
    applies: bool,
    checks: u64,
}

pub(super) const NAME: &str = "goodbye_is_heard";

impl GoodbyeIsHeard {
    pub(super) fn new(cluster: Arc<Cluster>, scenario: &Scenario) -> Self {
        Self {
            cluster,
            goodbye: Message::Goodbye.encode(),
            peers: BTreeMap::new(),
            goodbyes: BTreeSet::new(),
            applies: is_network_reliable(scenario),
            checks: 0,
        }
    }

    fn down(&mut self, node: NodeIndex, peer: NodeIndex, reason: LinkDownReason) -> Result<(), String> {
        if !self.goodbyes.contains(&(peer, node)) {
            return Ok(());
        }
        self.checks += 1;
        if reason == LinkDownReason::Closed {
            return Err(format!("n{peer} said goodbye, but its link was recorded as broken"));
        }
        Ok(())
    }
}

impl Invariant for GoodbyeIsHeard {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        if !self.applies {
            return Ok(());
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern departures")]
        match observation {
            Observation::Started => {
                self.peers.retain(|(of, _), _| *of != node);
                self.goodbyes.retain(|(by, to)| *by != node && *to != node);
            }
            Observation::Output(Output::Event(Event::LinkUp { link, peer, .. })) => {
                self.cluster.find(*peer).map(|peer| self.peers.insert((node, *link), peer));
            }
            Observation::Output(Output::Event(Event::LinkDown { peer, reason, .. })) => {
                return self.cluster.find(*peer).map_or(Ok(()), |peer| self.down(node, peer, *reason));
            }
            Observation::Output(Output::Send { link, frame, .. }) if *frame == self.goodbye => {
                self.peers.get(&(node, *link)).map(|&peer| self.goodbyes.insert((node, peer)));
            }
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
    use crate::invariants::testing::{at, cluster, down, up};
    use engine::output::Priority;

    #[test]
    fn a_goodbye_that_is_taken_for_a_crash_is_wrong() {
        let cluster = cluster(2);
        let scenario = Scenario::parse("goodbye.toml", "nodes = 2\nduration = \"60s\"\n").unwrap();
        let mut invariant = GoodbyeIsHeard::new(Arc::clone(&cluster), &scenario);
        let mut observe = |node, output: Output| invariant.observe(at(1), node, Observation::Output(&output));
        assert_eq!(observe(0, up(&cluster, 1, 1)), Ok(()));
        assert_eq!(observe(1, up(&cluster, 2, 0)), Ok(()));
        let frame = Message::Goodbye.encode();
        let goodbye = Output::Send { link: LinkId(2), frame, priority: Priority::Control };
        assert_eq!(observe(0, goodbye.clone()), Ok(()), "no link of this node");
        assert_eq!(observe(1, goodbye), Ok(()));
        assert_eq!(observe(1, down(&cluster, 2, 0)), Ok(()));
        assert!(observe(0, down(&cluster, 1, 1)).is_err());
    }
}
