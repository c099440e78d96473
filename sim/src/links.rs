//! The links that nodes report, combined: shared by several invariants.

use crate::cluster::Cluster;
use crate::invariant::Observation;
use crate::node_set::NodeIndex;
use engine::{Event, LinkId, Output};
use std::collections::BTreeMap;

/// The links that are up, as each end sees them.
#[derive(Debug)]
pub(crate) struct Links {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    running: bool,
    /// The number of its starts.
    incarnation: u32,
    /// Each link with the peer at its other end, and that peer's incarnation when the link came up.
    links: BTreeMap<LinkId, (NodeIndex, u32)>,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Down,
    Process,
    Up(NodeIndex),
}

impl Links {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Node::default(); nodes] }
    }

    /// Observes what happened to a node; returns `None` if it did not change any link.
    pub(crate) fn observe(
        &mut self,
        cluster: &Cluster,
        node: NodeIndex,
        observation: Observation<'_>,
    ) -> Option<Change> {
        let state = &mut self.nodes[node as usize];
        match observation {
            Observation::Started => {
                *state = Node { running: true, incarnation: state.incarnation + 1, links: BTreeMap::new() };
                Some(Change::Process)
            }
            Observation::Stopped => {
                state.running = false;
                state.links.clear();
                Some(Change::Process)
            }
            Observation::Output(Output::Event(Event::LinkUp { link, peer, .. })) => {
                let peer = cluster.find(*peer)?;
                let incarnation = self.nodes[peer as usize].incarnation;
                self.nodes[node as usize].links.insert(*link, (peer, incarnation));
                Some(Change::Up(peer))
            }
            Observation::Output(Output::Event(Event::LinkDown { link, .. })) => {
                state.links.remove(link).map(|_| Change::Down)
            }
            Observation::Durable(_) | Observation::Input(_) | Observation::Output(_) => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn runs(&self, node: NodeIndex) -> bool {
        self.nodes[node as usize].running
    }

    /// Returns the number of links of a node.
    pub(crate) fn degree(&self, node: NodeIndex) -> usize {
        self.nodes[node as usize].links.len()
    }

    /// Returns the number of links from a node to a peer.
    pub(crate) fn between(&self, node: NodeIndex, peer: NodeIndex) -> usize {
        self.peers(node).filter(|&other| other == peer).count()
    }

    /// Returns the peers that a node reports.
    pub(crate) fn peers(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        self.nodes[node as usize].links.values().map(|&(peer, _)| peer)
    }

    /// Returns whether a node has a link to the process that runs at a peer now.
    pub(crate) fn is_to_running_process(&self, node: NodeIndex, peer: NodeIndex) -> bool {
        let of_peer = &self.nodes[peer as usize];
        let mut links = self.nodes[node as usize].links.values();
        of_peer.running
            && links.any(|&(other, incarnation)| other == peer && incarnation == of_peer.incarnation)
    }
}
