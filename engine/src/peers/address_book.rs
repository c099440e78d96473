//! Whom a node may dial, where, and when next.

use crate::ids::NodeId;
use crate::mutants::{Mutant, shows};
use crate::place::{Place, Standing};
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

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
pub(super) struct AddressBook {
    me: NodeId,
    entries: BTreeMap<Target, Candidate>,
}

/// A dial that is worth its while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) target: Target,
    pub(super) place: Place,
    /// Who must answer, where that is known.
    pub(super) expect: Option<NodeId>,
}

#[derive(Debug)]
struct Candidate {
    /// Known ones before announced ones, best first.
    places: Vec<Tried>,
    /// Who it is; known from the start of a node, after the first hello of an address.
    node: Option<NodeId>,
    failures: u32,
    due: Instant,
    /// Trying again would end the same way.
    refused: bool,
    /// When something was last known to be there.
    known_at: Instant,
}

/// A place, and how often a dial to it failed.
#[derive(Clone, Copy, Debug)]
struct Tried {
    place: Place,
    failures: u32,
}

impl AddressBook {
    pub(super) fn new(me: NodeId, bootstrap: &[SocketAddr]) -> Self {
        let entry = |&address: &SocketAddr| {
            let candidate = Candidate {
                places: vec![Tried { place: Place::known(address), failures: 0 }],
                node: None,
                failures: 0,
                due: Instant::ZERO,
                refused: false,
                known_at: Instant::ZERO,
            };
            (Target::Address(address), candidate)
        };
        Self { me, entries: bootstrap.iter().take(ENTRIES_MAX / 2).map(entry).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.entries.contains_key(&Target::Node(node))
    }

    /// Adds a node of which it is known where it is, or takes note of its present addresses.
    pub(super) fn add(&mut self, now: Instant, node: NodeId, addresses: &[SocketAddr], rng: &mut Rng) {
        let places: Vec<Place> = addresses.iter().copied().map(Place::known).collect();
        self.update(now, node, &places, |place| place.standing == Standing::Known, rng);
    }

    /// Adds a node that is announced, or takes note of where it is announced now.
    pub(super) fn announce(&mut self, now: Instant, node: NodeId, places: &[Place], rng: &mut Rng) {
        self.update(now, node, places, |place| place.standing != Standing::Known, rng);
    }

    /// Puts `places` in the stead of those that `replaced` tells.
    fn update(
        &mut self,
        now: Instant,
        node: NodeId,
        places: &[Place],
        replaced: impl Fn(&Place) -> bool,
        rng: &mut Rng,
    ) {
        let mut places = places.to_vec();
        places.retain(|place| is_dialable(&place.address));
        if node == self.me || places.is_empty() {
            return;
        }
        self.forget_old(now);
        // The larger of two ids waits, so that two nodes that find each other do not both dial.
        let wait = if self.me > node { LARGER_ID_DELAY } else { Duration::ZERO };
        let due = now.after(wait + rng.between(Duration::ZERO, DIAL_JITTER));
        let target = Target::Node(node);
        if let Some(entry) = self.entries.get_mut(&target) {
            let before = core::mem::take(&mut entry.places);
            let kept = before.iter().map(|tried| tried.place).filter(|place| !replaced(place));
            places.extend(kept);
            places.sort_by_key(|place| place.standing < Standing::Known);
            let mut better = None;
            for place in places {
                if entry.places.iter().any(|tried| tried.place.address == place.address) {
                    continue;
                }
                let tried = before.iter().find(|tried| tried.place.address == place.address);
                // An address counts as new where more is known of it than before.
                let tried = tried.filter(|tried| tried.place.standing >= place.standing);
                if tried.is_none() {
                    better = better.max(Some(place.standing));
                }
                let failures = tried.map_or(0, |tried| tried.failures);
                entry.places.push(Tried { place, failures });
            }
            if let Some(standing) = better {
                entry.refused = false;
                // What anybody may say about a node does not end the pauses between dials to it.
                if standing > Standing::Claimed {
                    entry.failures = 0;
                }
                if entry.failures == 0 {
                    entry.due = entry.due.min(due);
                }
            }
            entry.known_at = now;
        } else if self.entries.len() < ENTRIES_MAX {
            let places = places.into_iter().map(|place| Tried { place, failures: 0 }).collect();
            let candidate =
                Candidate { places, node: Some(node), failures: 0, due, refused: false, known_at: now };
            self.entries.insert(target, candidate);
        }
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.entries.remove(&Target::Node(node));
    }

    /// Takes note that a node is no longer announced: there is nothing to dial but what is known of it otherwise.
    pub(super) fn handle_unannounced(&mut self, node: NodeId) {
        let Some(entry) = self.entries.get_mut(&Target::Node(node)) else { return };
        entry.places.retain(|tried| tried.place.standing == Standing::Known);
        if entry.places.is_empty() {
            self.remove(node);
        }
    }

    /// Takes note that a link to a peer is up.
    pub(super) fn handle_success(
        &mut self,
        now: Instant,
        node: NodeId,
        (target, remote): (Option<Target>, SocketAddr),
        rng: &mut Rng,
    ) {
        for target in [target, Some(Target::Node(node))].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(&target) {
                entry.node = Some(node);
                entry.failures = 0;
                let reached = entry.places.iter_mut().filter(|tried| tried.place.address == remote);
                reached.for_each(|tried| tried.failures = 0);
                entry.refused = false;
                entry.known_at = now;
                // When this link ends, the next dial is not at once.
                entry.due = now.after(rng.between(REDIAL_DELAY, REDIAL_DELAY * 2));
            }
        }
    }

    /// Takes note that a dial to `address` failed, where it is known to which.
    pub(super) fn handle_failure(
        &mut self,
        now: Instant,
        target: Target,
        address: Option<SocketAddr>,
        rng: &mut Rng,
    ) {
        let Some(entry) = self.entries.get_mut(&target) else { return };
        if let Some(tried) = entry.places.iter_mut().find(|tried| Some(tried.place.address) == address) {
            tried.failures = tried.failures.saturating_add(1);
        }
        entry.failures = entry.failures.saturating_add(1);
        let pause = BACKOFF_MIN.saturating_mul(1 << (entry.failures - 1).min(5)).min(BACKOFF_MAX);
        let pause = if shows(Mutant::NoBackoff) { Duration::ZERO } else { pause };
        entry.due = now.after(rng.between(pause * 3 / 4, pause * 5 / 4));
    }

    /// Takes note that somebody else than the node was found at an address of it.
    pub(super) fn handle_wrong(&mut self, target: Target, wrong: SocketAddr) {
        let Some(entry) = self.entries.get_mut(&target) else { return };
        if let Target::Node(_) = target {
            entry.places.retain(|tried| tried.place.address != wrong);
            entry.refused = entry.places.is_empty();
        }
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

    /// Chooses among those that are due, `wanted` and `free` to be dialled: of the best standing, and at random; else
    /// tells when the next such will be due. Each source of announcements has the same chance, however many nodes it
    /// announces.
    pub(super) fn choose(
        &self,
        now: Instant,
        rng: &mut Rng,
        wanted: impl Fn(Target, Option<NodeId>, Standing) -> bool,
        free: impl Fn(&Place) -> bool,
    ) -> Result<Choice, Option<Instant>> {
        let (mut due, mut next_due) = (Vec::new(), None);
        for (&target, entry) in self.entries.iter().filter(|(_, entry)| !entry.refused) {
            let Some(place) = entry.next_place(&free) else { continue };
            if entry.due > now && next_due.is_some_and(|next| next <= entry.due) {
                continue;
            }
            if !wanted(target, entry.node, place.standing) {
                continue;
            }
            if entry.due <= now {
                due.push((target, place));
            } else {
                next_due = Some(entry.due);
            }
        }
        let best = due.iter().map(|(_, place)| place.standing).max();
        due.retain(|(_, place)| Some(place.standing) == best);
        if best < Some(Standing::Known) {
            let sources: BTreeSet<IpAddr> = due.iter().map(|(_, place)| place.source).collect();
            let source = rng.index(sources.len()).and_then(|at| sources.iter().nth(at));
            due.retain(|(_, place)| Some(&place.source) == source);
        }
        let Some(at) = rng.index(due.len()) else { return Err(next_due) };
        let (target, place) = due[at];
        let expect = match target {
            Target::Address(_) => None,
            Target::Node(node) => Some(node),
        };
        Ok(Choice { target, place, expect })
    }

    /// Makes room: a node that was not heard of for long is no longer dialled.
    fn forget_old(&mut self, now: Instant) {
        if self.entries.len() >= ENTRIES_MAX / 2 {
            self.entries.retain(|target, entry| {
                matches!(target, Target::Address(_)) || now.since(entry.known_at) < ENTRY_RETENTION
            });
        }
    }
}

impl Candidate {
    /// Returns where to dial it next: where that failed least often, and there where it is most likely to be.
    fn next_place(&self, free: impl Fn(&Place) -> bool) -> Option<Place> {
        let usable = self.places.iter().filter(|tried| free(&tried.place));
        let order = |tried: &&Tried| (tried.failures, core::cmp::Reverse(tried.place.standing));
        usable.min_by_key(order).map(|tried| tried.place)
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
pub(super) const ENTRIES_MAX: usize = 2048;
const ENTRY_RETENTION: Duration = Duration::from_secs(600);
const LARGER_ID_DELAY: Duration = Duration::from_millis(500);
const DIAL_JITTER: Duration = Duration::from_millis(50);
const REDIAL_DELAY: Duration = Duration::from_millis(500);
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_node_was_reached_is_dialled_first_again() {
        let (me, node, rng) = (NodeId([1; 16]), NodeId([2; 16]), &mut Rng::new([3; 32]));
        let addresses: Vec<SocketAddr> =
            ["10.0.0.1:9", "10.0.0.2:9"].map(|text| text.parse().unwrap()).into();
        let [reached, other] = [addresses[0], addresses[1]];
        let mut address_book = AddressBook::new(me, &[]);
        address_book.add(Instant::ZERO, node, &addresses, rng);
        let target = Target::Node(node);
        for address in [reached, other, reached] {
            address_book.handle_failure(Instant::ZERO, target, Some(address), rng);
        }
        let next =
            |address_book: &AddressBook| address_book.entries[&target].next_place(|_| true).unwrap().address;
        assert_eq!(next(&address_book), other);
        address_book.handle_success(Instant::ZERO, node, (Some(target), reached), rng);
        assert_eq!(next(&address_book), reached);
    }
}
