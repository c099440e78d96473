//! Soon after the last change every node lists exactly the nodes that it can reach over links, and no link stays up at
//! one end only: no node lists a dead member, misses a live one, or has a one-sided link.
//!
//! The true graph is built from both ends of every link. Views may differ while one end has not yet noticed a change,
//! but no longer than detection takes. They are also not compared for that long after a change of the network, when
//! both ends may believe in a link that is cut.
//!
//! Reports of hostile nodes do not count. So a node must list what it can reach over links between honest nodes. It may
//! also list the nodes at links of hostile nodes: whether hostile nodes pass members on to each other is unknown.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation};
use crate::links::Links;
use crate::node_set::{NodeIndex, NodeSet};
use crate::scenario::NodeRole;
use core::time::Duration;
use engine::{Event, Instant, Output};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compares the members that nodes list with the true graph.
#[derive(Debug)]
pub(super) struct ViewIsTrue {
    cluster: Arc<Cluster>,
    links: Links,
    views: Vec<NodeSet>,
    /// Links that are up at one end only, as (that end, the other end), with the time since when.
    half: BTreeMap<(NodeIndex, NodeIndex), Instant>,
    /// Nodes whose process is suspended and that therefore notice nothing.
    suspended: NodeSet,
    changed_at: Instant,
    /// The time from which links that are up can be used.
    usable_at: Instant,
    /// Whether the views were compared since then.
    compared: bool,
    checks: u64,
}

pub(super) const NAME: &str = "view_is_true";

impl ViewIsTrue {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let nodes = cluster.len();
        Self {
            links: Links::new(nodes),
            cluster,
            views: vec![NodeSet::default(); nodes],
            half: BTreeMap::new(),
            suspended: NodeSet::default(),
            changed_at: Instant::ZERO,
            usable_at: Instant::ZERO,
            compared: true,
            checks: 0,
        }
    }

    fn changed(&mut self, now: Instant, node: NodeIndex) {
        self.changed_at = now;
        self.compared = false;
        let before = core::mem::take(&mut self.half);
        // Only this node's links can have changed.
        let untouched = |&(one, other): &(NodeIndex, NodeIndex)| one != node && other != node;
        self.half.extend(before.iter().filter(|(pair, _)| untouched(pair)));
        let cluster = Arc::clone(&self.cluster);
        let all = (0..).take(self.links.len());
        // A node with a link to a copied node may have a link to the copy.
        let counts = |node| cluster.role(node) == NodeRole::Member && !cluster.is_copied(node);
        let all = all.filter(|&other| counts(node) && counts(other));
        let pairs = all.filter(|&other| other != node).flat_map(|other| [(node, other), (other, node)]);
        for pair in pairs {
            if self.is_half(pair) {
                self.half.insert(pair, before.get(&pair).copied().unwrap_or(now));
            }
        }
    }

    fn is_half(&self, (one, other): (NodeIndex, NodeIndex)) -> bool {
        self.links.between(one, other) > 0 && self.links.between(other, one) == 0
    }

    fn check(&mut self, now: Instant) -> Result<(), String> {
        let mut noticing = self.half.iter().filter(|((one, _), _)| !self.suspended.contains(*one));
        let late = noticing.find(|(_, since)| now.since(**since) > DETECTION_TIMEOUT);
        if let Some(((one, other), since)) = late {
            return Err(format!(
                "n{one} has had a link to n{other} since {since}, but n{other} has none to n{one}"
            ));
        }
        let quiet_at = self.changed_at.max(self.usable_at).after(CONVERGENCE_TIMEOUT);
        if self.compared || !self.half.is_empty() || now < quiet_at {
            return Ok(());
        }
        self.compared = true;
        self.checks += 1;
        let mut pieces = Vec::new();
        let (mut placed, mut bridged) = (NodeSet::default(), NodeSet::default());
        for node in (0..).take(self.links.len()) {
            if self.links.runs(node) && !placed.contains(node) {
                let (piece, nodes) = self.piece(node);
                let at_bridge = nodes.iter().any(|&node| self.has_hostile_peer(node));
                nodes.iter().for_each(|&node| placed.set(node, true));
                nodes.iter().for_each(|&node| bridged.set(node, at_bridge));
                pieces.push((piece, nodes, at_bridge));
            }
        }
        for (piece, nodes, at_bridge) in pieces {
            for node in nodes {
                let view = &self.views[node as usize];
                if view.difference(&piece, node).is_none() {
                    continue;
                }
                let may_list = |other| piece.contains(other) || (at_bridge && bridged.contains(other));
                let is_wrong = |other: &NodeIndex| {
                    let is_listed = view.contains(*other);
                    *other != node && if is_listed { !may_list(*other) } else { piece.contains(*other) }
                };
                if let Some(other) = (0..).take(self.links.len()).find(is_wrong) {
                    let what = if piece.contains(other) { "does not know" } else { "still lists" };
                    let changed = self.changed_at;
                    return Err(format!("n{node} {what} n{other}, and nothing changed since {changed}"));
                }
            }
        }
        Ok(())
    }

    fn has_hostile_peer(&self, node: NodeIndex) -> bool {
        self.links.peers(node).any(|peer| self.cluster.role(peer) == NodeRole::Hostile)
    }

    /// Returns the nodes that a node can reach over links between honest nodes, including itself.
    fn piece(&self, node: NodeIndex) -> (NodeSet, Vec<NodeIndex>) {
        let (mut piece, mut nodes, mut next) = (NodeSet::default(), vec![node], 0);
        piece.set(node, true);
        while let Some(&node) = nodes.get(next) {
            next += 1;
            for peer in self.links.peers(node) {
                if self.cluster.role(peer) == NodeRole::Member && !piece.contains(peer) {
                    piece.set(peer, true);
                    nodes.push(peer);
                }
            }
        }
        (piece, nodes)
    }
}

impl Invariant for ViewIsTrue {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        self.check(now)?;
        if self.links.observe(&self.cluster, node, observation).is_some() {
            self.changed(now, node);
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern members")]
        match observation {
            Observation::Started => self.views[node as usize] = NodeSet::default(),
            Observation::Output(Output::Event(event)) => match event {
                Event::MemberJoined { member } => self.view(node, *member, true),
                Event::MemberLeft { member } => self.view(node, *member, false),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn network_changed(&mut self, now: Instant) {
        self.usable_at = now.after(DETECTION_TIMEOUT);
        self.compared = false;
    }

    fn process_suspended(&mut self, now: Instant, node: NodeIndex, suspended: bool) {
        self.suspended.set(node, suspended);
        // The node could notice nothing before now.
        self.half.iter_mut().filter(|((one, _), _)| *one == node).for_each(|(_, since)| *since = now);
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

impl ViewIsTrue {
    fn view(&mut self, node: NodeIndex, member: engine::NodeId, present: bool) {
        if let Some(member) = self.cluster.find_member(member) {
            self.views[node as usize].set(member, present);
        }
    }
}

/// How long after the last change views may differ from the true graph.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one end of a link may miss that the other end is gone: the failure detector's limit plus slack.
const DETECTION_TIMEOUT: Duration = Duration::from_secs(24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, cluster, down, up};

    struct Two {
        cluster: Arc<Cluster>,
        invariant: ViewIsTrue,
    }

    impl Two {
        /// Two linked nodes, where the first knows the second but not the other way round.
        fn new() -> Self {
            let cluster = cluster(2);
            let mut two = Self { invariant: ViewIsTrue::new(Arc::clone(&cluster)), cluster };
            two.observe(0, 0, Observation::Started).unwrap();
            two.observe(0, 1, Observation::Started).unwrap();
            let (there, back) = (up(&two.cluster, 1, 1), up(&two.cluster, 2, 0));
            two.observe(1, 0, Observation::Output(&there)).unwrap();
            two.observe(1, 1, Observation::Output(&back)).unwrap();
            two.joined(1, 0, 1);
            two
        }

        fn observe(
            &mut self,
            seconds: u64,
            node: NodeIndex,
            observation: Observation<'_>,
        ) -> Result<(), String> {
            self.invariant.observe(at(seconds), node, observation)
        }

        fn joined(&mut self, seconds: u64, node: NodeIndex, member: NodeIndex) {
            let event = Output::Event(Event::MemberJoined { member: self.cluster.id(member) });
            self.observe(seconds, node, Observation::Output(&event)).unwrap();
        }
    }

    #[test]
    fn a_process_that_does_not_run_cannot_notice() {
        let mut two = Two::new();
        let gone = down(&two.cluster, 2, 0);
        two.invariant.process_suspended(at(2), 0, true);
        two.observe(3, 1, Observation::Output(&gone)).unwrap();
        two.observe(60, 1, Observation::Durable(&engine::record::Record::Probe)).unwrap();
        two.invariant.process_suspended(at(61), 0, false);
        two.observe(80, 1, Observation::Durable(&engine::record::Record::Probe)).unwrap();
        two.observe(90, 1, Observation::Durable(&engine::record::Record::Probe)).unwrap_err();
    }

    #[test]
    fn who_does_not_know_a_neighbour_is_wrong_after_five_seconds() {
        let mut two = Two::new();
        assert_eq!(two.observe(5, 0, Observation::Started), Ok(()));
        let mut two = Two::new();
        assert!(two.observe(7, 0, Observation::Started).unwrap_err().contains("n1 does not know n0"));
        let mut two = Two::new();
        two.joined(3, 1, 0);
        assert_eq!(two.observe(7, 0, Observation::Started), Ok(()));
        assert_eq!(two.invariant.checks(), 1);
    }

    #[test]
    fn a_ghost_is_wrong() {
        let mut two = Two::new();
        two.joined(2, 1, 0);
        let (there, back) = (down(&two.cluster, 1, 1), down(&two.cluster, 2, 0));
        two.observe(3, 0, Observation::Output(&there)).unwrap();
        two.observe(4, 1, Observation::Output(&back)).unwrap();
        assert!(two.observe(10, 0, Observation::Started).unwrap_err().contains("still lists"));
    }

    #[test]
    fn only_who_has_a_hostile_peer_may_list_more_than_honest_links_reach() {
        let check = |links: &[NodeIndex], listed: NodeIndex| {
            let text = "nodes = 5\nduration = \"60s\"\n[[host]]\nnode = \"n4\"\nhostile = [\"forge\"]\n";
            let scenario = crate::scenario::Scenario::parse("bridge", text).unwrap();
            let cluster = Arc::new(Cluster::new(&scenario, 1, None));
            let mut three = Two { invariant: ViewIsTrue::new(Arc::clone(&cluster)), cluster };
            (0..3).for_each(|node| three.observe(0, node, Observation::Started).unwrap());
            for &node in links {
                let bridge = up(&three.cluster, 1, 4);
                three.observe(1, node, Observation::Output(&bridge)).unwrap();
            }
            three.joined(1, 0, listed);
            three.observe(7, 0, Observation::Input(&engine::Input::Tick))
        };
        assert_eq!(check(&[0, 1], 1), Ok(()));
        assert!(check(&[1, 2], 1).unwrap_err().contains("still lists"), "no path leads from here");
        assert!(check(&[0, 1], 2).unwrap_err().contains("still lists"), "no path leads there");
        assert!(check(&[0, 1], 3).unwrap_err().contains("still lists"), "it never ran");
    }

    #[test]
    fn a_link_that_only_one_end_believes_in_is_wrong_after_detection() {
        let mut two = Two::new();
        two.observe(2, 1, Observation::Stopped).unwrap();
        assert_eq!(two.observe(26, 0, Observation::Input(&engine::Input::Tick)), Ok(()));
        assert!(
            two.observe(27, 0, Observation::Input(&engine::Input::Tick)).unwrap_err().contains("has none")
        );
    }
}
