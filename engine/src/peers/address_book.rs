//! The address book: the nodes and addresses that may be dialled, and the backoff of each after a failed dial.

use crate::ids::NodeId;
use crate::mutants::{Mutant, shows};
use crate::place::{Place, Standing};
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// A target to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Any node that answers at a configured address.
    Address(SocketAddr),
    /// A node that was discovered, or that a link has led to.
    Node(NodeId),
}

/// The addresses of nodes, with their backoff.
#[derive(Debug)]
pub(super) struct AddressBook {
    me: NodeId,
    entries: BTreeMap<Target, Candidate>,
}

/// A target that is due, and the address to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) target: Target,
    pub(super) place: Place,
    /// The node that must answer there, if known.
    pub(super) expect: Option<NodeId>,
}

#[derive(Debug)]
struct Candidate {
    /// Known places before announced ones, best first.
    places: Vec<Tried>,
    /// The node. For a configured address it is known after the first hello.
    node: Option<NodeId>,
    failures: u32,
    due: Instant,
    /// The node refused for a reason that persists.
    refused: bool,
    /// When the target was last known to exist.
    known_at: Instant,
}

/// A place, and the number of failed dials to it.
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

    /// Adds a node with known addresses, or replaces its known addresses.
    pub(super) fn add(&mut self, now: Instant, node: NodeId, addresses: &[SocketAddr], rng: &mut Rng) {
        let places: Vec<Place> = addresses.iter().copied().map(Place::known).collect();
        self.update(now, node, &places, |place| place.standing == Standing::Known, rng);
    }

    /// Adds an announced node, or replaces its announced addresses.
    pub(super) fn announce(&mut self, now: Instant, node: NodeId, places: &[Place], rng: &mut Rng) {
        self.update(now, node, places, |place| place.standing != Standing::Known, rng);
    }

    /// Replaces the places for which `replaced` holds by `places`.
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
        // The larger id waits, so that two nodes that discover each other do not both dial.
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
                // An address counts as new if its standing has improved.
                let tried = tried.filter(|tried| tried.place.standing >= place.standing);
                if tried.is_none() {
                    better = better.max(Some(place.standing));
                }
                let failures = tried.map_or(0, |tried| tried.failures);
                entry.places.push(Tried { place, failures });
            }
            if let Some(standing) = better {
                entry.refused = false;
                // A claim that anybody can make does not reset the backoff.
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

    /// Handles the expiry of an announcement: only the node's known addresses stay.
    pub(super) fn handle_unannounced(&mut self, node: NodeId) {
        let Some(entry) = self.entries.get_mut(&Target::Node(node)) else { return };
        entry.places.retain(|tried| tried.place.standing == Standing::Known);
        if entry.places.is_empty() {
            self.remove(node);
        }
    }

    /// Resets the backoff of a peer whose link is up.
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
                // If this link ends, the next dial is delayed.
                entry.due = now.after(rng.between(REDIAL_DELAY, REDIAL_DELAY * 2));
            }
        }
    }

    /// Handles a failed dial. `address` is the address dialled, if known.
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

    /// Removes an address at which another node answered.
    pub(super) fn handle_wrong(&mut self, target: Target, wrong: SocketAddr) {
        let Some(entry) = self.entries.get_mut(&target) else { return };
        if let Target::Node(_) = target {
            entry.places.retain(|tried| tried.place.address != wrong);
            entry.refused = entry.places.is_empty();
        }
    }

    /// Handles a dial that led to a node to which no further link is wanted. The node is known from now on, and the
    /// backoff grows.
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

    /// Stops dialling a node that refused for a reason that persists.
    pub(super) fn handle_refused(&mut self, node: NodeId, target: Option<Target>) {
        for target in [target, Some(Target::Node(node))].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(&target) {
                entry.refused = true;
            }
        }
    }

    /// Postpones the next dial to a node.
    pub(super) fn postpone(&mut self, node: NodeId, target: Option<Target>, until: Instant) {
        for target in [target, Some(Target::Node(node))].into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(&target) {
                entry.due = entry.due.max(until);
            }
        }
    }

    /// Chooses a target that is due, `wanted` and at a `free` place: of the best standing, at random. Otherwise returns
    /// when the next one is due. Each source of announcements has the same probability, however many nodes it
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

    /// Makes room: removes nodes that have not been heard of for long.
    fn forget_old(&mut self, now: Instant) {
        if self.entries.len() >= ENTRIES_MAX / 2 {
            self.entries.retain(|target, entry| {
                matches!(target, Target::Address(_)) || now.since(entry.known_at) < ENTRY_RETENTION
            });
        }
    }
}

impl Candidate {
    /// Returns the place to dial next: the one with the fewest failures, and of these the one with the best standing.
    fn next_place(&self, free: impl Fn(&Place) -> bool) -> Option<Place> {
        let usable = self.places.iter().filter(|tried| free(&tried.place));
        let order = |tried: &&Tried| (tried.failures, core::cmp::Reverse(tried.place.standing));
        usable.min_by_key(order).map(|tried| tried.place)
    }
}

/// Tells whether an address can be dialled. A link-local address needs the index of its interface, which only the host
/// that hears it knows.
fn is_dialable(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(address) => !address.ip().is_unicast_link_local() || address.scope_id() != 0,
    }
}

/// Maximum number of nodes and addresses. When it is full, new ones are ignored.
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
