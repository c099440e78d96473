//! Discovery of nodes on the local network: mDNS (RFC 6762) as a state machine.
//!
//! A node announces itself twice on each interface when it becomes ACTIVE or the interface comes up. It repeats the
//! announcement every minute, and soon after a query from a node that does not know it. It says goodbye when it leaves.
//! An announcement is only a hint where to dial: links tell which nodes are alive.
//!
//! Against floods, the table is bounded and divided between the sources of announcements, and lifetimes are clamped.
//! Answers are paced. The rate of packets read is limited per interface and per sender. So a flood costs bounded time
//! and does not hide real nodes.

mod gather;
mod hearing;
mod interface;
mod packet;
mod parser;
mod table;

use crate::ids::NodeId;
use crate::input::{Family, Interface};
use crate::local_networks::is_link_local;
use crate::occupancy::Occupancy;
use crate::place::Place;
use crate::rate::Bucket;
use crate::request::{DiscoveryState, DiscoveryView};
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use gather::{Gathering, PARTIAL_MAX};
use interface::{InterfaceState, Population};
use packet::{ADDRESSES_MAX, Announcement, KNOWN_MAX};
use std::collections::BTreeMap;
use table::{ENTRIES_MAX, FORMER_MAX, Table};

/// A command to the parent or a report to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Multicast works again.
    Available,
    /// A node has answered more than one query, and most likely exists.
    Confirmed(NodeId, Vec<Place>),
    /// Another host announces this node's own id.
    Copied(SocketAddr),
    /// An announcement expired, or was evicted.
    Expired(NodeId),
    /// A node was discovered, or its addresses changed; best first.
    Found(NodeId, Vec<Place>),
    /// A node said goodbye.
    Left(NodeId),
    /// No network supports multicast.
    Unavailable,
}

/// The destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination {
    /// The multicast group.
    Group(Family),
    /// One host that asked by unicast.
    Node(SocketAddr),
}

/// The discovery service of one node.
#[derive(Debug)]
pub(crate) struct Discovery {
    me: NodeId,
    /// The first label of this node's host name, encoded as in packets.
    host_label: Vec<u8>,
    network: String,
    version: String,
    slots: u16,
    port: u16,
    active: bool,
    /// The interfaces as last reported; `None` before the first report.
    reported: Option<Vec<Interface>>,
    /// By the index of the interface.
    interfaces: BTreeMap<u32, InterfaceState>,
    /// Whether multicast works; `None` until it is known.
    available: Option<bool>,
    table: Table,
    gathering: Gathering,
    /// The rate limit of unicast replies to hosts that do not speak mDNS.
    replies: Bucket,
    /// The number of queries on the network, and the time of the last one.
    questions: u32,
    asked_at: Option<Instant>,
    /// Nodes to look up by name, and when.
    lookups: BTreeMap<NodeId, Instant>,
    /// When a duplicate announcement of this node's own id was last reported.
    copied_at: Option<Instant>,
    packets: Vec<(u32, Destination, Vec<u8>)>,
    packets_own: u64,
    packets_heard: u64,
    packets_dropped: u64,
    packets_unusable: u64,
    actions: Vec<Action>,
}

impl Discovery {
    /// Creates an inactive service.
    pub(crate) fn new(me: NodeId, network: String, version: String, slots: u16) -> Self {
        Self {
            me,
            host_label: packet::host_label(me),
            network,
            version,
            slots,
            port: 0,
            active: false,
            reported: None,
            interfaces: BTreeMap::new(),
            available: None,
            table: Table::default(),
            gathering: Gathering::new(me),
            replies: Bucket::new(REPLIES_PER_SECOND, REPLIES_BURST),
            questions: 0,
            asked_at: None,
            lookups: BTreeMap::new(),
            copied_at: None,
            packets: Vec::new(),
            packets_own: 0,
            packets_heard: 0,
            packets_dropped: 0,
            packets_unusable: 0,
            actions: Vec::new(),
        }
    }

    /// Starts to announce the node, which accepts connections on `port`, and to query for others.
    pub(crate) fn handle_active(&mut self, now: Instant, port: u16, rng: &mut Rng) {
        self.port = port;
        self.active = true;
        self.interfaces.values_mut().for_each(|state| state.start(now, rng));
        self.report_availability();
    }

    /// Handles a change of the host's interfaces, best first. On a new interface the node announces itself at once. On
    /// the others it does so only if the addresses to announce changed.
    pub(crate) fn handle_interfaces(&mut self, now: Instant, interfaces: &[Interface], rng: &mut Rng) {
        if self.reported.as_deref() == Some(interfaces) {
            return;
        }
        self.reported = Some(interfaces.to_vec());
        let mut before = core::mem::take(&mut self.interfaces);
        for interface in interfaces {
            if self.interfaces.contains_key(&interface.index) || self.interfaces.len() < INTERFACES_MAX {
                self.interfaces.entry(interface.index).or_insert_with(InterfaceState::new).add(interface);
            }
        }
        for (index, state) in &mut self.interfaces {
            let old = before.remove(index);
            let addresses = old.as_ref().map(|old| old.addresses.clone());
            let reaches_more = old.is_none_or(|old| state.resume(old));
            state.addresses = announced_addresses(interfaces, state);
            if self.active && reaches_more {
                state.start(now, rng);
            } else if self.active && addresses.as_ref() != Some(&state.addresses) {
                state.announce_soon(now, rng);
            }
        }
        self.report_availability();
    }

    /// Says goodbye on all interfaces, and stops.
    pub(crate) fn handle_leave(&mut self) {
        if core::mem::take(&mut self.active) {
            for index in self.interfaces.keys().copied().collect::<Vec<_>>() {
                let families =
                    self.interfaces.get(&index).map(InterfaceState::all_families).unwrap_or_default();
                self.announce(index, &families, Duration::ZERO);
            }
            self.fall_silent();
        }
    }

    /// Stops without a goodbye, because another node uses the same id.
    pub(crate) fn handle_fenced(&mut self) {
        self.active = false;
        self.fall_silent();
    }

    fn fall_silent(&mut self) {
        self.interfaces.values_mut().for_each(InterfaceState::stop);
        self.lookups.clear();
        self.gathering.clear();
    }

    /// Removes a node that left the mesh, whatever its announcement promised, and looks it up soon in case it is still
    /// there.
    pub(crate) fn handle_gone(&mut self, now: Instant, node: NodeId, rng: &mut Rng) {
        if let Some(action) = self.table.handle_gone(node) {
            let said_so = matches!(action, Action::Left(_));
            self.actions.push(action);
            if !said_so && self.active && self.lookups.len() < LOOKUPS_MAX {
                self.lookups.insert(node, now.after(rng.between(LOOKUP_DELAY, LOOKUP_DELAY * 2)));
            }
        }
    }

    /// Marks a node as a member of the mesh, and so as existing.
    pub(crate) fn handle_known(&mut self, node: NodeId) {
        self.table.handle_known(node);
    }

    /// Records a failed dial to an address of a node.
    pub(crate) fn handle_unreached(&mut self, now: Instant, node: NodeId, address: SocketAddr) {
        self.table.handle_unreached(now, node, address);
    }

    /// Sends the announcements, queries and lookups that are due, and expires entries.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) {
        let due: Vec<u32> =
            self.interfaces.iter().filter(|(_, state)| is_due(state, now)).map(|(&index, _)| index).collect();
        let population = if due.is_empty() { Population::Alone } else { self.population() };
        for index in due {
            let Some(state) = self.interfaces.get_mut(&index) else { continue };
            let due = state.handle_timeout(now, population, rng);
            let families = state.all_families();
            self.announce(index, &due.announce, LIFETIME);
            if due.enumerate {
                let bytes = packet::enumeration();
                let packet = |&family: &Family| (index, Destination::Group(family), bytes.clone());
                self.packets.extend(families.iter().map(packet));
            }
            if due.query {
                self.ask(now, index, families);
            }
        }
        self.ask_for_missing(now, rng);
        if self.lookups.values().any(|&due| due <= now) {
            self.send_lookups(now);
        }
        let gone = self.table.expire(now);
        self.actions.extend(gone);
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let interfaces = self.interfaces.values().filter_map(InterfaceState::poll_timeout);
        let others = [self.table.poll_timeout(), self.gathering.poll_timeout()].into_iter().flatten();
        interfaces.chain(self.lookups.values().copied()).chain(others).min()
    }

    /// Returns the packets to send, each with its interface and destination.
    pub(crate) fn poll_packets(&mut self) -> Vec<(u32, Destination, Vec<u8>)> {
        core::mem::take(&mut self.packets)
    }

    /// Returns the queued actions, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 4] {
        [
            Occupancy::new("discovery.entries", self.table.len(), ENTRIES_MAX),
            Occupancy::new("discovery.partial", self.gathering.len(), PARTIAL_MAX),
            Occupancy::new("discovery.former", self.table.former(), FORMER_MAX),
            Occupancy::new("discovery.lookups", self.lookups.len(), LOOKUPS_MAX),
        ]
    }

    /// Returns the number of announced nodes.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns the node that is announced at an address.
    pub(crate) fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.table.node_at(address)
    }

    /// Returns the status of the service.
    pub(crate) fn view(&self) -> DiscoveryView {
        let state = match self.available {
            Some(true) if self.active => DiscoveryState::Available,
            Some(false) if self.active => DiscoveryState::Unavailable,
            Some(_) | None => DiscoveryState::Off,
        };
        DiscoveryView {
            state,
            nodes: u32::try_from(self.table.len()).unwrap_or(u32::MAX),
            packets_own: self.packets_own,
            packets_heard: self.packets_heard,
            packets_dropped: self.packets_dropped,
            packets_unusable: self.packets_unusable,
        }
    }

    /// Reports whether multicast works. Loopback alone suffices only for a host that has nothing else.
    fn report_availability(&mut self) {
        if !self.active || self.reported.is_none() {
            return;
        }
        let alone = self.interfaces.values().all(InterfaceState::is_loopback);
        let available =
            self.interfaces.values().any(|state| state.takes_multicast() && (alone || !state.is_loopback()));
        let before = self.available.replace(available);
        if available && before == Some(false) {
            self.actions.push(Action::Available);
        } else if !available && before != Some(false) {
            self.actions.push(Action::Unavailable);
        }
    }

    fn population(&self) -> Population {
        match self.table.population() {
            0 => Population::Alone,
            1..KNOWN_MAX => Population::Few,
            KNOWN_MAX.. => Population::Many,
        }
    }

    /// Sends a query that lists the nodes known for some more time, so that they do not answer.
    fn ask(&mut self, now: Instant, index: u32, families: Vec<Family>) {
        self.questions = self.questions.wrapping_add(1);
        self.asked_at = Some(now);
        let query = packet::browse(&self.table.known(now));
        if let Some(state) = self.interfaces.get_mut(&index) {
            state.expect_echo(now, &families, &query);
        }
        let packet = |family| (index, Destination::Group(family), query.clone());
        self.packets.extend(families.into_iter().map(packet));
    }

    fn announce(&mut self, index: u32, families: &[Family], ttl: Duration) {
        let Some(announcement) = self.announcement(index, ttl).filter(|_| !families.is_empty()) else {
            return;
        };
        let bytes = announcement.encode();
        let packet = |&family: &Family| (index, Destination::Group(family), bytes.clone());
        self.packets.extend(families.iter().map(packet));
    }

    /// Returns this node's announcement on an interface.
    fn announcement(&self, index: u32, ttl: Duration) -> Option<Announcement> {
        let addresses = self.interfaces.get(&index)?.addresses.clone();
        Some(Announcement {
            node: self.me,
            network: self.network.clone(),
            version: self.version.clone(),
            port: self.port,
            slots: self.slots,
            addresses,
            ttl,
        })
    }

    /// Queries for records that were missing in answers.
    fn ask_for_missing(&mut self, now: Instant, rng: &mut Rng) {
        let mut wanted = self.gathering.handle_timeout(now, rng);
        wanted.sort_by_key(|wanted| (wanted.interface, wanted.family));
        for together in wanted.chunk_by(|a, b| (a.interface, a.family) == (b.interface, b.family)) {
            for some in together.chunks(QUESTIONS_PER_PACKET) {
                let (interface, to) = (some[0].interface, Destination::Group(some[0].family));
                self.packets.push((interface, to, packet::ask(some)));
            }
        }
    }

    fn send_lookups(&mut self, now: Instant) {
        let due: Vec<NodeId> =
            self.lookups.iter().filter(|(_, due)| **due <= now).map(|(&node, _)| node).collect();
        for node in due {
            self.lookups.remove(&node);
            let query = packet::resolve(node);
            for (&index, state) in &self.interfaces {
                let families = state.all_families().into_iter();
                let packet = |family| (index, Destination::Group(family), query.clone());
                self.packets.extend(families.map(packet));
            }
        }
    }
}

fn is_due(state: &InterfaceState, now: Instant) -> bool {
    state.poll_timeout().is_some_and(|due| due <= now)
}

/// Returns the addresses to announce on an interface, best first. Its own come before those of other interfaces, then
/// those of container bridges. Addresses that are valid on this interface only come last.
fn announced_addresses(interfaces: &[Interface], state: &InterfaceState) -> Vec<IpAddr> {
    if state.is_loopback() {
        return state.own.clone();
    }
    let mut routable: Vec<&Interface> = interfaces
        .iter()
        .filter(|interface| !interface.address.is_loopback() && !is_link_local(interface.address))
        .collect();
    routable.sort_by_key(|interface| (interface.bridge, !state.own.contains(&interface.address)));
    let mut addresses: Vec<IpAddr> = Vec::new();
    let link_local = state.own.iter().copied().filter(|&address| is_link_local(address)).take(1);
    let room = ADDRESSES_MAX - link_local.clone().count();
    for interface in routable {
        if addresses.len() < room && !addresses.contains(&interface.address) {
            addresses.push(interface.address);
        }
    }
    addresses.extend(link_local);
    addresses
}

/// Maximum number of interfaces used. The least useful ones are left out.
const INTERFACES_MAX: usize = 32;
/// Maximum number of lookups. A node whose lookup is dropped is found by its next announcement.
const LOOKUPS_MAX: usize = 64;
/// The lifetime of an announcement: two refreshes in each address family, with a margin.
const LIFETIME: Duration = Duration::from_secs(300);
/// Nodes to query for in one packet. It fits into one Ethernet frame.
const QUESTIONS_PER_PACKET: usize = 8;
/// The rate limit of unicast replies, and its burst. It limits amplification with a spoofed sender.
const REPLIES_PER_SECOND: u64 = 20;
const REPLIES_BURST: u64 = 50;
/// The minimum delay before a node that seems to be gone is looked up.
const LOOKUP_DELAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
