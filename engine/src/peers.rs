//! The links of this node: which nodes it dials, accepts and refuses.
//!
//! A node dials until it has its target number of links, at most four at once, with exponential backoff. If two nodes
//! dial each other at the same time, they keep exactly one link: the one dialled by the smaller id. A new link never
//! displaces an older one unheard: an older link that may be dead is probed first.

mod address_book;
mod dialling;
mod identity_conflicts;
mod incarnations;
mod link;
mod quarantine;

use crate::error::{DialError, PeerFault};
use crate::event::{LinkDownReason, RefuseReason};
use crate::identity::PublicKey;
use crate::ids::{DialId, LinkId, NodeId};
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::place::Place;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::SignedAdvert;
use address_book::{AddressBook, Target};
use core::net::SocketAddr;
use core::time::Duration;
use identity_conflicts::IdentityConflict;
use incarnations::Incarnations;
use link::LinkState;
use quarantine::Quarantine;
use std::collections::{BTreeMap, VecDeque};

pub(crate) use link::Link;

/// A command to the parent or a report to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the other end that another running node uses its key, and from which address that one connected.
    Copied(LinkId, SocketAddr),
    /// Dial an address, and expect this node there if given.
    Dial(DialId, SocketAddr, Option<NodeId>),
    /// A dial failed. The node that was expected there, if known.
    DialFailed(SocketAddr, DialError, Option<NodeId>),
    /// Close the link.
    Disconnect(LinkId),
    /// Probe the link: it may be dead.
    Probe(LinkId),
    /// The link is no longer up.
    Down(LinkId, NodeId, LinkDownReason),
    /// The peer violated the protocol.
    Fault(NodeId, PeerFault),
    /// Send the reason to the other end, then close the link.
    Refuse(LinkId, NodeId, RefuseReason),
    /// The other end refused the link.
    Refused(NodeId, RefuseReason),
    /// Send this node's hello.
    SayHello(LinkId),
    /// Tell the other end that its hello was accepted.
    SayWelcome(LinkId),
    /// The link is up.
    Up(LinkId, NodeId, SocketAddr, bool),
}

/// The content of a peer's hello. Its form has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Introduction<'a> {
    pub(crate) network: &'a str,
    pub(crate) incarnation: u64,
    pub(crate) version: &'a str,
    pub(crate) addresses: &'a [SocketAddr],
    /// The number of links of the other end.
    pub(crate) links: usize,
}

/// What dialling needs to know of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    pub(crate) node: NodeId,
    pub(crate) addresses: &'a [SocketAddr],
    /// Whether the member accepts one more link.
    pub(crate) has_room: bool,
}

/// The links of one node.
#[derive(Debug)]
pub(crate) struct Peers {
    me: NodeId,
    network: String,
    max_peers: usize,
    accepting: bool,
    /// Whether another node uses this node's key, and this node yields to it.
    fenced: bool,
    incarnations: Incarnations,
    /// Links that wait for the result of a probe. Each is new.
    identity_conflicts: Vec<IdentityConflict>,
    quarantine: Quarantine,
    links: BTreeMap<LinkId, Link>,
    /// The one link to each node that is accepted or up.
    by_node: BTreeMap<NodeId, LinkId>,
    /// The hello deadlines of new links, in ascending order. Some of these links may be past their hello.
    hellos: VecDeque<(Instant, LinkId)>,
    address_book: AddressBook,
    dials: BTreeMap<DialId, (Target, Place)>,
    next_dial: u64,
    /// When the next claimed address may be dialled.
    claimed_due: Instant,
    /// Whether anything has changed since the last search for a node to dial.
    stale: bool,
    dial_due: Option<Instant>,
    actions: Vec<Action>,
}

impl Peers {
    /// Creates a node without links. It dials the bootstrap addresses and the nodes that it learns of.
    pub(crate) fn new(me: NodeId, network: String, max_peers: u16, bootstrap: &[SocketAddr]) -> Self {
        Self {
            me,
            network,
            max_peers: usize::from(max_peers),
            accepting: false,
            fenced: false,
            incarnations: Incarnations::default(),
            identity_conflicts: Vec::new(),
            quarantine: Quarantine::default(),
            links: BTreeMap::new(),
            by_node: BTreeMap::new(),
            hellos: VecDeque::new(),
            address_book: AddressBook::new(me, bootstrap),
            dials: BTreeMap::new(),
            next_dial: 0,
            claimed_due: Instant::ZERO,
            stale: true,
            dial_due: None,
            actions: Vec::new(),
        }
    }

    /// Starts to dial and to accept links.
    pub(crate) fn handle_active(&mut self) {
        self.accepting = true;
        self.stale = true;
    }

    /// Refuses new links from now on. Existing links stay.
    pub(crate) fn handle_leave(&mut self) {
        self.accepting = false;
    }

    /// Fences this node off because another one uses its key: closes every link, and accepts and makes none.
    pub(crate) fn handle_fenced(&mut self) {
        self.accepting = false;
        self.fenced = true;
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.refuse(link, RefuseReason::StandsAside);
        }
    }

    /// Marks an incarnation of a node as a duplicate of one that started earlier. A link to the duplicate stays for
    /// now: over it, the duplicate learns of the other and yields.
    pub(crate) fn handle_duplicate(&mut self, now: Instant, node: NodeId, duplicate: u64) {
        self.incarnations.handle_duplicate(now, node, duplicate);
    }

    /// Records where a node is announced.
    pub(crate) fn handle_found(&mut self, now: Instant, node: NodeId, places: &[Place], rng: &mut Rng) {
        self.address_book.announce(now, node, places, rng);
        self.stale = true;
    }

    /// Handles the expiry of a node's announcement.
    pub(crate) fn handle_unannounced(&mut self, node: NodeId) {
        self.address_book.handle_unannounced(node);
    }

    /// Handles a node's goodbye: removes its addresses.
    pub(crate) fn handle_left(&mut self, node: NodeId) {
        self.address_book.remove(node);
    }

    /// Handles a new connection.
    pub(crate) fn handle_link_up(
        &mut self,
        now: Instant,
        link: LinkId,
        key: PublicKey,
        remote: SocketAddr,
        is_local: bool,
        dial: Option<DialId>,
    ) {
        let node = key.node_id();
        let dialled = dial.and_then(|dial| self.dials.remove(&dial));
        self.stale = true;
        let entry = Link::new(now, node, remote, dialled.map(|(target, _)| target));
        self.links.insert(link, entry);
        let new = self.links.values().filter(|link| link.is_new()).count();
        if !is_local {
            self.refuse(link, RefuseReason::NotLocal);
        } else if node == self.me {
            self.refuse(link, RefuseReason::SameIdentity);
        } else if !self.accepting {
            self.refuse(link, self.why_closed());
        } else if let Some(until) = self.quarantine.holds(now, node) {
            self.address_book.postpone(node, dialled.map(|(target, _)| target), until);
            self.refuse(link, RefuseReason::Quarantined);
        } else if new > NEW_MAX {
            self.refuse(link, RefuseReason::Full);
        } else {
            if self.hellos.len() >= NEW_MAX * 2 {
                let links = &self.links;
                self.hellos.retain(|(_, link)| links.get(link).is_some_and(Link::is_new));
            }
            self.hellos.push_back((now.after(HELLO_TIMEOUT), link));
            self.actions.push(Action::SayHello(link));
        }
    }

    /// Accepts or refuses the other end's hello. `advert` is the advert in it. `spare` names a peer whose link may be
    /// closed. It is asked if this node is full and the other end has no link at all, so that a full mesh leaves no
    /// node out.
    pub(crate) fn handle_hello(
        &mut self,
        now: Instant,
        link: LinkId,
        hello: &Introduction<'_>,
        advert: SignedAdvert,
        spare: impl FnOnce() -> Option<NodeId>,
        rng: &mut Rng,
    ) {
        let Some(entry) = self.links.get(&link) else { return };
        if entry.state != LinkState::Greeting {
            return self.handle_fault(now, link, PeerFault::HelloOutOfOrder);
        }
        let (node, target) = (entry.node, entry.target);
        if hello.network != self.network {
            return self.refuse(link, RefuseReason::OtherNetwork);
        }
        if !self.accepting {
            return self.refuse(link, self.why_closed());
        }
        let max_peers = self.max_peers + usize::from(shows(Mutant::MaxPeersOffByOne));
        let older = self.by_node.get(&node).copied().filter(|_| !shows(Mutant::TwoLinksKept));
        let held = older.and_then(|older| self.links.get(&older)).map(|older| older.incarnation);
        if self.incarnations.handle_hello(now, node, held, hello.incarnation) {
            self.address_book.handle_unneeded(now, node, target, rng);
            return self.refuse(link, RefuseReason::IdentityCopied);
        }
        let mut replaces = None;
        let other = held.filter(|held| *held != hello.incarnation);
        if let Some(older) = older {
            if other.is_none() && !self.replaces(older, link) {
                self.address_book.handle_unneeded(now, node, target, rng);
                self.refuse(link, RefuseReason::Duplicate);
                return self.actions.push(Action::Probe(older));
            }
            if self.is_in_conflict(older, hello.incarnation) {
                self.address_book.handle_unneeded(now, node, target, rng);
                return self.refuse(link, RefuseReason::Duplicate);
            }
            let reason = if other.is_some() { LinkDownReason::Restarted } else { LinkDownReason::Duplicate };
            replaces = Some((older, reason));
        } else if self.by_node.len() >= max_peers && !self.make_room(hello, spare) {
            self.address_book.handle_unneeded(now, node, target, rng);
            return self.refuse(link, RefuseReason::Full);
        }
        let Some(entry) = self.links.get_mut(&link) else { return };
        entry.replaces = replaces;
        entry.advert = Some(advert);
        entry.incarnation = hello.incarnation;
        hello.version.clone_into(&mut entry.version);
        entry.network_port = hello.addresses.first().map_or(0, SocketAddr::port);
        match (older.and_then(|older| self.peer_of(older).map(|_| older)), other) {
            (Some(older), Some(other)) if !self.incarnations.is_duplicate(now, node, other) => {
                return self.open_conflict(now, link, older);
            }
            (Some(_) | None, _) => {}
        }
        self.address_book.add(now, node, hello.addresses, rng);
        self.accept(now, link, rng);
    }

    /// Accepts the other end's hello.
    fn accept(&mut self, now: Instant, link: LinkId, rng: &mut Rng) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        entry.state = LinkState::Accepted;
        self.by_node.entry(entry.node).or_insert(link);
        self.actions.push(Action::SayWelcome(link));
        self.establish(now, link, rng);
    }

    fn make_room(&mut self, hello: &Introduction<'_>, spare: impl FnOnce() -> Option<NodeId>) -> bool {
        let spared = (hello.links == 0).then(spare).flatten().and_then(|peer| self.link_to(peer));
        if let Some(link) = spared {
            self.close(link, LinkDownReason::Spared);
        }
        spared.is_some()
    }

    /// Handles the other end's acceptance of this node's hello.
    pub(crate) fn handle_welcome(&mut self, now: Instant, link: LinkId, rng: &mut Rng) {
        match self.links.get_mut(&link) {
            Some(entry) if !entry.welcome => entry.welcome = true,
            Some(_) => return self.handle_fault(now, link, PeerFault::HelloOutOfOrder),
            None => return,
        }
        self.establish(now, link, rng);
    }

    /// Marks the link as up once both ends have accepted each other's hello. So neither end relies on a link that the
    /// other has refused.
    fn establish(&mut self, now: Instant, link: LinkId, rng: &mut Rng) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        if entry.state != LinkState::Accepted || !entry.welcome {
            return;
        }
        entry.state = LinkState::Up;
        entry.since = now;
        let (node, remote, duplicate) = (entry.node, entry.remote, entry.duplicate.take());
        let up = Action::Up(link, node, remote, entry.target.is_some());
        self.address_book.handle_success(now, node, (entry.target, remote), rng);
        if let Some((older, reason)) = entry.replaces.take() {
            self.close(older, reason);
        }
        self.by_node.insert(node, link);
        self.actions.push(up);
        self.actions.extend(duplicate.map(|at| Action::Copied(link, at)));
    }

    /// Refuses a link: sends the reason and closes.
    pub(crate) fn refuse(&mut self, link: LinkId, reason: RefuseReason) {
        let Some(entry) = self.links.get_mut(&link).filter(|entry| entry.state != LinkState::Closing) else {
            return;
        };
        let before = core::mem::replace(&mut entry.state, LinkState::Closing);
        let (node, target) = (entry.node, entry.target);
        self.actions.push(Action::Refuse(link, node, reason));
        if is_lasting(reason) {
            self.address_book.handle_refused(node, target);
        }
        self.unlink(link, node, before, LinkDownReason::Closed);
    }

    /// Handles a refusal by the other end, which closes the link.
    pub(crate) fn handle_refused(&mut self, now: Instant, link: LinkId, reason: RefuseReason, rng: &mut Rng) {
        let Some(entry) = self.links.get(&link) else { return };
        let (node, target) = (entry.node, entry.target);
        self.actions.push(Action::Refused(node, reason));
        if is_lasting(reason) {
            self.address_book.handle_refused(node, target);
        } else {
            self.address_book.handle_failure(now, target.unwrap_or(Target::Node(node)), None, rng);
        }
        self.close(link, LinkDownReason::Closed);
    }

    /// Handles a protocol violation: closes the link and bans the peer if the violation warrants it.
    pub(crate) fn handle_fault(&mut self, now: Instant, link: LinkId, fault: PeerFault) {
        if let Some(entry) = self.links.get(&link).filter(|entry| entry.state != LinkState::Closing) {
            let (node, target) = (entry.node, entry.target);
            self.actions.push(Action::Fault(node, fault));
            if let Some(until) = self.quarantine.handle_fault(now, node, fault) {
                self.address_book.postpone(node, target, until);
            }
            self.close(link, LinkDownReason::Fault);
        }
    }

    /// Handles a stream that ended inside a frame. It is reported but not punished, as the other node may just have
    /// died.
    pub(crate) fn handle_truncated(&mut self, link: LinkId) {
        if let Some(entry) = self.links.get(&link).filter(|entry| entry.state != LinkState::Closing) {
            self.actions.push(Action::Fault(entry.node, PeerFault::FrameTruncated));
        }
    }

    /// Closes a link.
    pub(crate) fn close(&mut self, link: LinkId, reason: LinkDownReason) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        let before = core::mem::replace(&mut entry.state, LinkState::Closing);
        let node = entry.node;
        if before == LinkState::Closing {
            return;
        }
        self.actions.push(Action::Disconnect(link));
        self.unlink(link, node, before, reason);
        if reason == LinkDownReason::Goodbye {
            self.address_book.remove(node);
        }
        self.stale = true;
    }

    /// Handles the end of a connection.
    pub(crate) fn handle_link_down(&mut self, now: Instant, link: LinkId, rng: &mut Rng) {
        self.hand_over(now, link, rng);
        let Some(entry) = self.links.remove(&link) else { return };
        self.stale = true;
        self.unlink(link, entry.node, entry.state, LinkDownReason::Closed);
        match entry.state {
            LinkState::Greeting | LinkState::InConflict | LinkState::Accepted => {
                let target = entry.target.unwrap_or(Target::Node(entry.node));
                self.address_book.handle_failure(now, target, Some(entry.remote), rng);
            }
            LinkState::Closing | LinkState::Up => {}
        }
    }

    /// Removes a link from the index of its node. `state` is its state before.
    fn unlink(&mut self, link: LinkId, node: NodeId, state: LinkState, reason: LinkDownReason) {
        if self.by_node.get(&node) == Some(&link) {
            // The slot passes to a link that has been accepted in its place. Otherwise another node could take it
            // meanwhile.
            let mut links = self.links.iter();
            let next = links.find(|(_, entry)| entry.node == node && entry.state == LinkState::Accepted);
            match next.map(|(next, _)| *next) {
                Some(next) => self.by_node.insert(node, next),
                None => self.by_node.remove(&node),
            };
        }
        if state == LinkState::Up {
            self.actions.push(Action::Down(link, node, reason));
        }
    }

    /// Handles a failed dial.
    pub(crate) fn handle_dial_failed(&mut self, now: Instant, dial: DialId, error: DialError, rng: &mut Rng) {
        let Some((target, place)) = self.dials.remove(&dial) else { return };
        let node = match target {
            Target::Address(_) => None,
            Target::Node(node) => Some(node),
        };
        self.actions.push(Action::DialFailed(place.address, error, node));
        if error == DialError::Authentication {
            self.address_book.handle_wrong(target, place.address);
        }
        self.address_book.handle_failure(now, target, Some(place.address), rng);
        self.stale = true;
    }

    /// Handles due timeouts, and dials. `members` are the known members and their addresses; `has_room` tells whether a
    /// member accepts one more link. A node that is in the address book but not a member may be in a part of the mesh
    /// that is partitioned from this one.
    pub(crate) fn handle_timeout<'a, M>(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        has_room: impl Fn(NodeId) -> Option<bool>,
        members: impl Fn() -> M,
    ) where
        M: Iterator<Item = Member<'a>>,
    {
        while let Some(&(due, link)) = self.hellos.front() {
            let waits = self.is_new(link);
            if waits && due > now {
                break;
            }
            self.hellos.pop_front();
            if waits {
                self.handle_fault(now, link, PeerFault::HelloLate);
            }
        }
        self.settle_conflicts(now, rng);
        if self.accepting && (self.stale || self.dial_due.is_some_and(|due| due <= now)) {
            self.stale = false;
            self.dial(now, rng, has_room, members);
        }
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let hello = self.hellos.iter().find(|(_, link)| self.is_new(*link)).map(|(due, _)| *due);
        [hello, self.conflicts_due(), self.dial_due.filter(|_| self.accepting)].into_iter().flatten().min()
    }

    /// Returns the queued actions, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns the link to a peer that is up.
    pub(crate) fn link_to(&self, node: NodeId) -> Option<LinkId> {
        let link = *self.by_node.get(&node)?;
        self.peer_of(link).map(|_| link)
    }

    /// Returns a link.
    pub(crate) fn link_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    /// Returns the peer of a link that is up.
    pub(crate) fn peer_of(&self, link: LinkId) -> Option<NodeId> {
        self.links.get(&link).filter(|entry| entry.state == LinkState::Up).map(|entry| entry.node)
    }

    /// Tells whether a link is neither up nor closing.
    pub(crate) fn is_new(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(Link::is_new)
    }

    /// Tells whether the other end's hello has been accepted.
    pub(crate) fn has_accepted(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|entry| matches!(entry.state, LinkState::Accepted | LinkState::Up))
    }

    /// Takes the advert from the other end's hello.
    pub(crate) fn take_advert(&mut self, link: LinkId) -> Option<SignedAdvert> {
        self.links.get_mut(&link)?.advert.take()
    }

    /// Returns the links that are up, in the order of their peers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        let links = self.by_node.values().filter_map(|link| Some((*link, self.links.get(link)?)));
        links.filter(|(_, entry)| entry.state == LinkState::Up)
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 8] {
        let (replaced, duplicates) = self.incarnations.len();
        [
            Occupancy::new("peers.by_node", self.by_node.len(), self.max_peers),
            Occupancy::new("peers.new", self.links.values().filter(|link| link.is_new()).count(), NEW_MAX),
            Occupancy::new("peers.dials", self.dials.len(), dialling::DIALS_MAX),
            Occupancy::new("peers.replaced", replaced, incarnations::INCARNATIONS_MAX),
            Occupancy::new("peers.duplicates", duplicates, incarnations::INCARNATIONS_MAX),
            Occupancy::new("peers.identity_conflicts", self.identity_conflicts.len(), NEW_MAX),
            Occupancy::new("peers.quarantine", self.quarantine.len(), quarantine::OFFENDERS_MAX),
            Occupancy::new("peers.address_book", self.address_book.len(), address_book::ENTRIES_MAX),
        ]
    }

    fn why_closed(&self) -> RefuseReason {
        if self.fenced { RefuseReason::StandsAside } else { RefuseReason::ShuttingDown }
    }

    /// Tells whether a newer link to a node replaces the older one.
    fn replaces(&self, older: LinkId, newer: LinkId) -> bool {
        let (Some(old), Some(new)) = (self.links.get(&older), self.links.get(&newer)) else { return true };
        let dialler = |link: &Link| if link.target.is_some() { self.me } else { new.node };
        // A node does not dial a peer that it has a link to. So if it did, its end of the older link is gone.
        dialler(old) == dialler(new) || dialler(new) < dialler(old)
    }
}

/// Tells whether a retry would be refused again.
fn is_lasting(reason: RefuseReason) -> bool {
    match reason {
        RefuseReason::NotLocal
        | RefuseReason::OtherNetwork
        | RefuseReason::OtherVersion
        | RefuseReason::SameIdentity => true,
        RefuseReason::Duplicate
        | RefuseReason::Full
        | RefuseReason::IdentityCopied
        | RefuseReason::Quarantined
        | RefuseReason::ShuttingDown
        | RefuseReason::StandsAside => false,
    }
}

/// Maximum number of links whose hellos are not complete.
const NEW_MAX: usize = 64;
/// How long the exchange of hellos may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
