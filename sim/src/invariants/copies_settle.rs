//! Of two running nodes with the same key, the one that started earlier stays. Soon both know of the duplicate and
//! other nodes see one stable member; in the end the later one has no links to other nodes.
//!
//! The time limit counts only while both run, and restarts whenever the network changes: a node that sleeps, is
//! stopped or is partitioned learns of nobody, and nobody learns of it.

use crate::cluster::{self, Cluster};
use crate::invariant::{Invariant, Observation};
use crate::node_set::{NodeIndex, NodeSet};
use crate::scenario::NodeRole;
use core::time::Duration;
use engine::event::RefuseReason;
use engine::{Event, Instant, LinkId, NodeId, Output};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Watches nodes whose key was copied, and the copies.
#[derive(Debug)]
pub(super) struct CopiesSettle {
    cluster: Arc<Cluster>,
    /// When each copy started, and whose key it has.
    copies: BTreeMap<NodeIndex, (Instant, NodeIndex)>,
    /// Nodes that were told of another node with their key.
    notified: BTreeSet<NodeIndex>,
    /// Links of copies.
    links: BTreeMap<LinkId, NodeIndex>,
    running: NodeSet,
    /// Nodes whose process is suspended.
    suspended: NodeSet,
    /// When the network last changed.
    disturbed_at: Instant,
    checks: u64,
}

pub(super) const NAME: &str = "copies_settle";

impl CopiesSettle {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            copies: BTreeMap::new(),
            notified: BTreeSet::new(),
            links: BTreeMap::new(),
            running: NodeSet::default(),
            suspended: NodeSet::default(),
            disturbed_at: Instant::ZERO,
            checks: 0,
        }
    }

    fn notified(&mut self, node: NodeIndex, fenced: bool) -> Result<(), String> {
        self.checks += 1;
        self.notified.insert(node);
        if fenced && self.cluster.role(node) != NodeRole::Copy {
            return Err("it yields to a node with its key that started later".to_owned());
        }
        Ok(())
    }

    fn flapped(&mut self, now: Instant, member: NodeId) -> Result<(), String> {
        let Some(member) = self.cluster.find(member) else { return Ok(()) };
        let of_it = |(since, key): &&(Instant, NodeIndex)| {
            *key == member && now.since(self.disturbed_at.max(*since)) > SETTLING_TIMEOUT
        };
        match self.copies.values().find(of_it) {
            None => Ok(()),
            Some((since, _)) => Err(format!("n{member} comes or goes, long after its copy came at {since}")),
        }
    }

    /// Checks that all copies that had enough time have settled.
    fn settled(&mut self, now: Instant) -> Result<(), String> {
        for (&copy, &(since, original)) in &self.copies {
            let runs = |node: NodeIndex| self.running.contains(node) && !self.suspended.contains(node);
            let quiet = now.since(self.disturbed_at.max(since));
            if quiet <= SETTLING_TIMEOUT || !runs(copy) || !runs(original) {
                continue;
            }
            if quiet > FENCING_TIMEOUT && self.links.values().any(|&node| node == copy) {
                return Err(format!("n{copy}, a copy of n{original} since {since}, has not given way"));
            }
            if let Some(untold) = [copy, original].into_iter().find(|node| !self.notified.contains(node)) {
                return Err(format!("n{untold} was not told that n{copy} has had its key since {since}"));
            }
        }
        Ok(())
    }
}

impl Invariant for CopiesSettle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn applies_to(&self, role: NodeRole) -> bool {
        role != NodeRole::Hostile
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        if matches!(observation, Observation::Started | Observation::Stopped) {
            self.running.set(node, matches!(observation, Observation::Started));
            if self.cluster.is_copied(node) || self.cluster.role(node) == NodeRole::Copy {
                self.disturbed_at = now;
            }
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern copies and members")]
        match observation {
            Observation::Started if self.cluster.role(node) == NodeRole::Copy => {
                self.copies.insert(node, (now, self.cluster.key_of(node)));
                self.links.retain(|_, other| *other != node);
            }
            Observation::Output(Output::Event(event)) => match event {
                Event::IdentityCopied { fenced, .. } => self.notified(node, *fenced)?,
                // Every other node tells it so, before its own view of the mesh could.
                Event::LinkRefused { reason: RefuseReason::IdentityCopied, by_us: false, .. } => {
                    self.notified(node, false)?;
                }
                Event::LinkUp { link, address, .. } if self.copies.contains_key(&node) => {
                    // Two copies that no other node accepts may stay linked to each other.
                    let peer = cluster::node_at(address.ip(), self.cluster.len());
                    if peer.is_none_or(|peer| self.cluster.role(peer) != NodeRole::Copy) {
                        self.links.insert(*link, node);
                    }
                }
                Event::LinkDown { link, .. } => {
                    self.links.remove(link);
                }
                Event::MemberJoined { member } | Event::MemberLeft { member }
                    if self.cluster.role(node) == NodeRole::Member =>
                {
                    self.flapped(now, *member)?;
                }
                _ => {}
            },
            _ => {}
        }
        self.settled(now)
    }

    fn network_changed(&mut self, now: Instant) {
        self.disturbed_at = now;
    }

    fn process_suspended(&mut self, now: Instant, node: NodeIndex, suspended: bool) {
        self.suspended.set(node, suspended);
        self.disturbed_at = now;
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// The most time until both nodes with one key know of each other and others see only one of them.
const SETTLING_TIMEOUT: Duration = Duration::from_secs(10);

/// The most time during which the later node may still link to peers that know the earlier one only by gossip. Then
/// such a peer tells it to yield.
const FENCING_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::at;
    use crate::scenario::Scenario;

    fn invariant() -> CopiesSettle {
        let text =
            "nodes = 3\nduration = \"60s\"\n[[host]]\nnode = \"n2\"\nidentity = \"n0\"\nstart = \"5s\"\n";
        let scenario = Scenario::parse("copy", text).unwrap();
        let mut invariant = CopiesSettle::new(Arc::new(Cluster::new(&scenario, 1, None)));
        invariant.observe(at(0), 0, Observation::Started).unwrap();
        invariant.observe(at(5), 2, Observation::Started).unwrap();
        invariant
    }

    fn notified(invariant: &mut CopiesSettle, node: NodeIndex, fenced: bool) -> Result<(), String> {
        let notified = Output::Event(Event::IdentityCopied { address: None, fenced });
        invariant.observe(at(6), node, Observation::Output(&notified))
    }

    #[test]
    fn the_later_one_yields_and_both_are_notified() {
        let mut one = invariant();
        assert_eq!(notified(&mut one, 2, true), Ok(()));
        assert_eq!(notified(&mut one, 0, false), Ok(()));
        assert_eq!(one.observe(at(20), 1, Observation::Stopped), Ok(()));
        let left = Output::Event(Event::MemberLeft { member: one.cluster.id(2) });
        assert!(one.observe(at(21), 1, Observation::Output(&left)).unwrap_err().contains("comes or goes"));
        assert!(notified(&mut invariant(), 0, true).unwrap_err().contains("yields"));
    }

    #[test]
    fn a_node_that_is_not_notified_in_time_is_wrong() {
        let mut one = invariant();
        assert_eq!(notified(&mut one, 2, true), Ok(()));
        assert_eq!(one.observe(at(15), 1, Observation::Stopped), Ok(()));
        assert!(one.observe(at(16), 1, Observation::Stopped).unwrap_err().contains("was not told"));
        let mut one = invariant();
        assert_eq!(notified(&mut one, 0, false), Ok(()));
        assert!(one.observe(at(16), 1, Observation::Stopped).unwrap_err().contains("n2 was not told"));
    }

    #[test]
    fn one_that_keeps_a_link_has_not_given_way() {
        let mut one = invariant();
        notified(&mut one, 0, false).unwrap();
        notified(&mut one, 2, true).unwrap();
        let link = crate::invariants::testing::up(&one.cluster, 1, 1);
        one.observe(at(7), 2, Observation::Output(&link)).unwrap();
        assert_eq!(one.observe(at(65), 1, Observation::Stopped), Ok(()));
        assert!(one.observe(at(66), 1, Observation::Stopped).unwrap_err().contains("has not given way"));
    }
}
