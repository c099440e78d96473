//! Whom a node dials next, and how many at once.
//!
//! A candidate that is a member is worth a dial while the node has too few links and the member has room for one; one
//! that is no member always is, for it may be a part of the mesh that lost its way. Where no candidate is left, members
//! become candidates.

use super::candidates::Target;
use super::{Fact, Link, LinkState, Member, Peers};
use crate::ids::{DialId, NodeId};
use crate::rng::Rng;
use crate::time::Instant;

impl Peers {
    /// Returns the links that the node dials for: some below the limit, so that there is room for those who dial it.
    fn target(&self) -> usize {
        TARGET_LINKS.min(self.max_peers * 3 / 4).max(2).min(self.max_peers)
    }

    pub(super) fn dial<'a, M>(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        has_room: impl Fn(NodeId) -> Option<bool>,
        members: impl Fn() -> M,
    ) where
        M: Iterator<Item = Member<'a>>,
    {
        self.dial_due = None;
        loop {
            let open = self.links.values().filter(|link| link.state != LinkState::Closing).count()
                + self.dials.len();
            if self.dials.len() >= DIALS_MAX || open >= self.max_peers {
                return;
            }
            let busy = |target: Target, node: Option<NodeId>| {
                let leads_there = |link: &Link| Some(link.node) == node || link.target == Some(target);
                self.dials.values().any(|(dialled, _)| *dialled == target)
                    || self.links.values().any(|link| link.state != LinkState::Closing && leads_there(link))
            };
            let below_target = open < self.target();
            let wanted = |target, node: Option<NodeId>| {
                let worth = match node.and_then(&has_room) {
                    Some(has_room) => below_target && has_room,
                    // Whoever is not in the mesh may be a part of it that lost its way here.
                    None => true,
                };
                worth && !busy(target, node)
            };
            match self.candidates.choose(now, rng, wanted) {
                Ok((target, address, expect)) => {
                    let dial = DialId(self.next_dial);
                    self.next_dial += 1;
                    self.dials.insert(dial, (target, address));
                    self.facts.push(Fact::Dial(dial, address, expect));
                }
                Err(next_due) => {
                    let unknown = |node: NodeId| node != self.me && !self.candidates.contains(node);
                    let useful = |member: &Member<'_>| {
                        unknown(member.node) && member.has_room && !member.addresses.is_empty()
                    };
                    let others: Vec<Member<'_>> =
                        if below_target { members().filter(useful).collect() } else { Vec::new() };
                    let Some(at) = rng.index(others.len()) else {
                        self.dial_due = next_due;
                        return;
                    };
                    self.candidates.add(now, others[at].node, others[at].addresses, rng);
                }
            }
        }
    }
}

/// Dials under way at the same time.
pub(super) const DIALS_MAX: usize = 4;
/// Links that a node dials for; it takes more from others, up to `max_peers`.
const TARGET_LINKS: usize = 8;
