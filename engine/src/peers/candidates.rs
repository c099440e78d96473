//! Whom a node may dial, where, and when next.

use crate::ids::NodeId;
use crate::mutants::{Mutant, shows};
use crate::rng::Rng;
use crate::time::Instant;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

/// Somebody to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Whoever answers at a configured address.
    Address(SocketAddr),
    /// A node that was found, or that a link led to.
    Node(NodeId),
}

/// Whom a node may dial.
#[derive(Debug)]
pub(super) struct Candidates {
    me: NodeId,
    entries: BTreeMap<Target, Candidate>,
}

#[derive(Debug)]
struct Candidate {
    addresses: Vec<SocketAddr>,
    /// Who it is; known from the start of a node, after the first hello of an address.
    node: Option<NodeId>,
    failures: u32,
    due: Instant,
    /// Trying again would end the same way.
    refused: bool,
    /// When something was last known to be there.
    known_at: Instant,
}

impl Candidates {
    pub(super) fn new(me: NodeId, bootstrap: &[SocketAddr]) -> Self {
        let entry = |&address: &SocketAddr| {
            let candidate = Candidate {
                addresses: vec![address],
                node: None,
                failures: 0,
                due: Instant::ZERO,
                refused: false,
                known_at: Instant::ZERO,
            };
            (Target::Address(address), candidate)
        };
        Self { me, entries: bootstrap.iter().take(CANDIDATES_MAX / 2).map(entry).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.entries.contains_key(&Target::Node(node))
    }

    /// Adds a node, or takes note of its present addresses.
    pub(super) fn add(&mut self, now: Instant, node: NodeId, addresses: &[SocketAddr], rng: &mut Rng) {
        let mut addresses = addresses.to_vec();
        addresses.retain(is_dialable);
        if node == self.me || addresses.is_empty() {
            return;
        }
        self.forget_old(now);
        // The larger of two ids waits, so that two nodes that find each other do not both dial.
        let wait = if self.me > node { LARGER_WAITS } else { Duration::ZERO };
        let due = now.after(wait + rng.between(Duration::ZERO, DIAL_SPREAD));
        let target = Target::Node(node);
        if let Some(entry) = self.entries.get_mut(&target) {
            if entry.addresses != addresses {
                entry.addresses = addresses;
                entry.refused = false;
                entry.failures = 0;
                entry.due = entry.due.min(due);
            }
            entry.known_at = now;
        } else if self.entries.len() < CANDIDATES_MAX {
            let candidate =
                Candidate { addresses, node: Some(node), failures: 0, due, refused: false, known_at: now };
            self.entries.insert(target, candidate);
        }
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.entries.remove(&Target::Node(node));
    }

    /// Takes note that a link to a peer is up.
    pub(super) fn handle_success(
        &mut self,
        now: Instant,
        node: NodeId,
        target: Option<Target>,
        rng: &mut Rng,
    ) {
        for target in [target, Some(Target::Node(node))].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(&target) {
                entry.node = Some(node);
                entry.failures = 0;
                entry.refused = false;
                entry.known_at = now;
                // When this link ends, the next dial is not at once.
                entry.due = now.after(rng.between(REDIAL_PAUSE, REDIAL_PAUSE * 2));
            }
        }
    }

    /// Takes note that a dial failed; `wrong` is an address at which somebody else was found.
    pub(super) fn handle_failure(
        &mut self,
        now: Instant,
        target: Target,
        wrong: Option<SocketAddr>,
        rng: &mut Rng,
    ) {
        let Some(entry) = self.entries.get_mut(&target) else { return };
        if let (Target::Node(_), Some(wrong)) = (target, wrong) {
            entry.addresses.retain(|&address| address != wrong);
            entry.refused = entry.addresses.is_empty();
        }
        entry.failures = entry.failures.saturating_add(1);
        let pause = BACKOFF_FIRST.saturating_mul(1 << (entry.failures - 1).min(5)).min(BACKOFF_MAX);
        let pause = if shows(Mutant::NoBackoff) { Duration::ZERO } else { pause };
        entry.due = now.after(rng.between(pause * 3 / 4, pause * 5 / 4));
    }

    /// Takes note that a dial led to a node to which no further link is wanted now: who it is is known from now on,
    /// and the next dial is not at once.
    pub(super) fn handle_unneeded(
        &mut self,
        now: Instant,
        node: NodeId,
        target: Option<Target>,
        rng: &mut Rng,
    ) {
        let Some(target) = target else { return };
        if let Some(entry) = self.entries.get_mut(&target) {
            entry.node = Some(node);
            entry.known_at = now;
        }
        self.handle_failure(now, target, None, rng);
    }

    /// Takes note that a node and this one cannot be peers.
    pub(super) fn handle_refused(&mut self, node: NodeId, target: Option<Target>) {
        for target in [target, Some(Target::Node(node))].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(&target) {
                entry.refused = true;
            }
        }
    }

    /// Takes note that nobody wants a link to a node before some time.
    pub(super) fn postpone(&mut self, node: NodeId, target: Option<Target>, until: Instant) {
        for target in [target, Some(Target::Node(node))].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(&target) {
                entry.due = entry.due.max(until);
            }
        }
    }

    /// Chooses at random among those that are due and `wanted`; else tells when the next such will be due.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        wanted: impl Fn(Target, Option<NodeId>) -> bool,
    ) -> Result<(Target, SocketAddr, Option<NodeId>), Option<Instant>> {
        let possible = self.entries.iter().filter(|(target, entry)| {
            !entry.refused && !entry.addresses.is_empty() && wanted(**target, entry.node)
        });
        let (mut due, mut next_due) = (Vec::new(), None);
        for (&target, entry) in possible {
            if entry.due <= now {
                due.push(target);
            } else {
                next_due = Some(next_due.map_or(entry.due, |next: Instant| next.min(entry.due)));
            }
        }
        let Some(target) = rng.index(due.len()).map(|at| due[at]) else { return Err(next_due) };
        let Some(entry) = self.entries.get(&target) else { return Err(next_due) };
        // After a failure the next address has its turn.
        let at = usize::try_from(entry.failures).unwrap_or_default() % entry.addresses.len();
        let expect = match target {
            Target::Address(_) => None,
            Target::Node(node) => Some(node),
        };
        Ok((target, entry.addresses[at], expect))
    }

    /// Makes room: a node that was not heard of for long is no longer dialled.
    fn forget_old(&mut self, now: Instant) {
        if self.entries.len() >= CANDIDATES_MAX / 2 {
            self.entries.retain(|target, entry| {
                matches!(target, Target::Address(_)) || now.since(entry.known_at) < FORGET_AFTER
            });
        }
    }
}

/// Tells whether an address leads anywhere: a link-local one does only together with its interface, which the node
/// itself does not know and which those that hear it on their own network fill in.
fn is_dialable(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(address) => !address.ip().is_unicast_link_local() || address.scope_id() != 0,
    }
}

/// Nodes and addresses remembered; beyond, new ones are ignored until one goes.
pub(super) const CANDIDATES_MAX: usize = 2048;
const FORGET_AFTER: Duration = Duration::from_secs(600);
const LARGER_WAITS: Duration = Duration::from_millis(500);
const DIAL_SPREAD: Duration = Duration::from_millis(50);
const REDIAL_PAUSE: Duration = Duration::from_millis(500);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
