//! Finding nodes on the local network: mDNS (RFC 6762) as a state machine.
//!
//! A node announces itself twice on each interface when it becomes ACTIVE or the interface comes up, again every
//! minute, and soon after somebody asked who did not know it; it says goodbye when it leaves. What it hears is a hint
//! where to dial, never the truth about who is alive: that comes from links. The list is bounded and shared out between
//! those that announce something, lifetimes are clamped, answers are paced and packets are read at a bounded rate, of
//! all together and of each sender: so a flood costs little and bounded work, and does not hide who is there.

mod packet;
mod table;
mod wire;

use crate::ids::NodeId;
use crate::input::{Family, Interface};
use crate::local_networks::is_link_local;
use crate::occupancy::Occupancy;
use crate::place::Place;
use crate::request::{DiscoveryState, DiscoveryView};
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use packet::{ADDRESSES_MAX, Announcement, Heard, KNOWN_FOR, KNOWN_MAX};
use std::collections::BTreeMap;
use table::{Claim, ENTRIES_MAX, FORMER_MAX, Table};
use wire::{Company, Wire};

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Multicast works again.
    Available,
    /// A node answered more than once, and is most likely there.
    Confirmed(NodeId, Vec<Place>),
    /// This node's own id is announced from elsewhere.
    Copied(SocketAddr),
    /// A node was not heard of for as long as it said, or gave way to another.
    Expired(NodeId),
    /// A node is there, or is at other addresses than before; best first.
    Found(NodeId, Vec<Place>),
    /// A node said goodbye.
    Left(NodeId),
    /// No network takes multicast.
    Unavailable,
}

/// The discovery service of one node.
#[derive(Debug)]
pub(crate) struct Discovery {
    me: NodeId,
    network: String,
    version: String,
    slots: u16,
    port: u16,
    active: bool,
    /// `None` before the first report.
    interfaces: Option<Vec<Interface>>,
    /// By interface.
    wires: BTreeMap<u32, Wire>,
    /// `None` until it is known.
    available: Option<bool>,
    table: Table,
    /// How often it was asked who is there, and when last.
    questions: u32,
    asked_at: Option<Instant>,
    /// Nodes to ask for by name, and when.
    doubts: BTreeMap<NodeId, Instant>,
    /// When this node's own id was last reported to be announced from elsewhere.
    copied_at: Option<Instant>,
    packets: Vec<(u32, Family, Vec<u8>)>,
    packets_own: u64,
    packets_heard: u64,
    packets_dropped: u64,
    packets_unusable: u64,
    facts: Vec<Fact>,
}

impl Discovery {
    /// Makes a silent service.
    pub(crate) fn new(me: NodeId, network: String, version: String, slots: u16) -> Self {
        Self {
            me,
            network,
            version,
            slots,
            port: 0,
            active: false,
            interfaces: None,
            wires: BTreeMap::new(),
            available: None,
            table: Table::default(),
            questions: 0,
            asked_at: None,
            doubts: BTreeMap::new(),
            copied_at: None,
            packets: Vec::new(),
            packets_own: 0,
            packets_heard: 0,
            packets_dropped: 0,
            packets_unusable: 0,
            facts: Vec::new(),
        }
    }

    /// Begins to announce the node, which takes connections on `port`, and to ask for others.
    pub(crate) fn handle_active(&mut self, now: Instant, port: u16, rng: &mut Rng) {
        self.port = port;
        self.active = true;
        self.wires.values_mut().for_each(|wire| wire.start(now, rng));
        self.report_availability();
    }

    /// Takes note of the host's interfaces, best first. One that came up is announced on at once; on the others
    /// there is news only where the addresses to announce changed.
    pub(crate) fn handle_interfaces(&mut self, now: Instant, interfaces: &[Interface], rng: &mut Rng) {
        if self.interfaces.as_deref() == Some(interfaces) {
            return;
        }
        self.interfaces = Some(interfaces.to_vec());
        let mut before = core::mem::take(&mut self.wires);
        for interface in interfaces {
            if self.wires.contains_key(&interface.index) || self.wires.len() < INTERFACES_MAX {
                self.wires.entry(interface.index).or_insert_with(Wire::new).add(interface);
            }
        }
        for (index, wire) in &mut self.wires {
            let old = before.remove(index);
            let addresses = old.as_ref().map(|old| old.addresses.clone());
            let reaches_more = old.is_none_or(|old| wire.resume(old));
            wire.addresses = announced_addresses(interfaces, wire);
            if self.active && reaches_more {
                wire.start(now, rng);
            } else if self.active && addresses.as_ref() != Some(&wire.addresses) {
                wire.announce_soon(now, rng);
            }
        }
        self.report_availability();
    }

    /// Says goodbye and falls silent.
    pub(crate) fn handle_leave(&mut self) {
        if core::mem::take(&mut self.active) {
            for index in self.wires.keys().copied().collect::<Vec<_>>() {
                let families = self.wires.get(&index).map(Wire::all_families).unwrap_or_default();
                self.announce(index, &families, Duration::ZERO);
            }
            self.wires.values_mut().for_each(Wire::stop);
            self.doubts.clear();
        }
    }

    /// Falls silent, and leaves the name to another node that has the same.
    pub(crate) fn handle_copied(&mut self) {
        self.active = false;
        self.wires.values_mut().for_each(Wire::stop);
        self.doubts.clear();
    }

    /// Takes note that a node is no longer there, whatever its announcement promised, and asks for it soon in case
    /// that it is.
    pub(crate) fn handle_gone(&mut self, now: Instant, node: NodeId, rng: &mut Rng) {
        if self.table.handle_gone(node) {
            self.facts.push(Fact::Expired(node));
            if self.active && self.doubts.len() < DOUBTS_MAX {
                self.doubts.insert(node, now.after(rng.between(ASK_AFTER, ASK_AFTER * 2)));
            }
        }
    }

    /// Takes note that a node is a member of the mesh, and so is there.
    pub(crate) fn handle_known(&mut self, node: NodeId) {
        self.table.handle_known(node);
    }

    /// Takes note that a node could not be reached at an address.
    pub(crate) fn handle_unreached(&mut self, now: Instant, node: NodeId, address: SocketAddr) {
        self.table.handle_unreached(now, node, address);
    }

    /// Takes in a packet.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        interface: u32,
        from: SocketAddr,
        bytes: &[u8],
        rng: &mut Rng,
    ) {
        let Some(wire) = self.wires.get_mut(&interface).filter(|_| self.active && packet::concerns(bytes))
        else {
            return;
        };
        if !wire.admit(now, from.ip()) {
            self.packets_dropped = self.packets_dropped.saturating_add(1);
            return;
        }
        let Some(heard) = packet::hear(from, bytes) else {
            self.packets_unusable = self.packets_unusable.saturating_add(1);
            return;
        };
        self.packets_heard = self.packets_heard.saturating_add(1);
        match heard {
            Heard::Browse { .. } if wire.is_echo(now, from, bytes) => {}
            Heard::Browse { known } => {
                // Where this node knows all whom the asker names, it would learn nothing more.
                if known.iter().all(|node| self.table.contains(*node)) && wire.handle_same_query(now, rng) {
                    self.questions = self.questions.wrapping_add(1);
                    self.asked_at = Some(now);
                }
                if !known.contains(&self.me) {
                    wire.announce_soon(now, rng);
                }
            }
            Heard::Resolve(node) => {
                self.doubts.remove(&node);
                if node == self.me {
                    wire.announce_soon(now, rng);
                }
            }
            Heard::Announcement(heard) if heard.node == self.me => {
                self.packets_heard -= 1;
                self.packets_own = self.packets_own.saturating_add(1);
                // A goodbye in this node's name: it is still there (RFC 6762, section 6.6).
                if heard.ttl < KNOWN_FOR {
                    wire.announce_soon(now, rng);
                }
                if heard.network == self.network {
                    self.handle_own_announcement(now, &heard);
                }
            }
            Heard::Announcement(heard) if heard.network == self.network => {
                self.handle_announcement(now, interface, from, &heard, rng);
            }
            Heard::Announcement(_) => {}
        }
    }

    /// Tells the echo of this node's own announcement from that of another node with its key.
    fn handle_own_announcement(&mut self, now: Instant, heard: &Announcement) {
        let own = |at: &IpAddr| self.wires.values().any(|wire| wire.own.contains(at));
        let elsewhere = heard.addresses.iter().find(|&at| heard.port != self.port || !own(at));
        let lately = self.copied_at.is_some_and(|then| now.since(then) < COPIED_PAUSE);
        if let Some(&address) = elsewhere.filter(|_| !lately && !heard.ttl.is_zero()) {
            self.copied_at = Some(now);
            self.facts.push(Fact::Copied(SocketAddr::new(address, heard.port)));
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) {
        let due: Vec<u32> =
            self.wires.iter().filter(|(_, wire)| is_due(wire, now)).map(|(&index, _)| index).collect();
        let company = if due.is_empty() { Company::Alone } else { self.company() };
        for index in due {
            let Some(wire) = self.wires.get_mut(&index) else { continue };
            let due = wire.handle_timeout(now, company, rng);
            let families = wire.all_families();
            self.announce(index, &due.announce, LIFETIME);
            if due.query {
                self.ask(now, index, families);
            }
        }
        if self.doubts.values().any(|&due| due <= now) {
            self.ask_for_doubted(now);
        }
        let gone = self.table.expire(now);
        self.facts.extend(gone);
    }

    /// Returns when something will be due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let wires = self.wires.values().filter_map(Wire::poll_timeout);
        wires.chain(self.doubts.values().copied()).chain(self.table.poll_timeout()).min()
    }

    /// Returns the packets to send, each with its interface and family.
    pub(crate) fn poll_packets(&mut self) -> Vec<(u32, Family, Vec<u8>)> {
        core::mem::take(&mut self.packets)
    }

    /// Returns what was found out, in order.
    pub(crate) fn poll_facts(&mut self) -> Vec<Fact> {
        core::mem::take(&mut self.facts)
    }

    /// Says how full everything is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 3] {
        [
            Occupancy::new("discovery.entries", self.table.len(), ENTRIES_MAX),
            Occupancy::new("discovery.former", self.table.former(), FORMER_MAX),
            Occupancy::new("discovery.doubts", self.doubts.len(), DOUBTS_MAX),
        ]
    }

    /// Returns how many other nodes are heard.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns the node that is announced at an address.
    pub(crate) fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.table.node_at(address)
    }

    /// Returns how the service is.
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

    /// Loopback alone is enough only for a host that has nothing else.
    fn report_availability(&mut self) {
        if !self.active || self.interfaces.is_none() {
            return;
        }
        let alone = self.wires.values().all(Wire::is_loopback);
        let available =
            self.wires.values().any(|wire| wire.takes_multicast() && (alone || !wire.is_loopback()));
        let before = self.available.replace(available);
        if available && before == Some(false) {
            self.facts.push(Fact::Available);
        } else if !available && before != Some(false) {
            self.facts.push(Fact::Unavailable);
        }
    }

    fn handle_announcement(
        &mut self,
        now: Instant,
        interface: u32,
        from: SocketAddr,
        heard: &Announcement,
        rng: &mut Rng,
    ) {
        if heard.ttl.is_zero() {
            return self.table.handle_goodbye(now, heard.node, from.ip());
        }
        self.doubts.remove(&heard.node);
        let heard_at = |&address: &IpAddr| socket_address(address, heard.port, interface);
        let lately = self.asked_at.is_some_and(|asked| now.since(asked) < ANSWER_WITHIN);
        let claim = Claim {
            addresses: heard.addresses.iter().map(heard_at).collect(),
            source: from.ip(),
            ttl: heard.ttl,
            question: lately.then_some(self.questions),
        };
        let facts = self.table.hear(now, heard.node, &claim, rng);
        self.facts.extend(facts);
    }

    fn company(&self) -> Company {
        match self.table.company() {
            0 => Company::Alone,
            1..KNOWN_MAX => Company::Few,
            KNOWN_MAX.. => Company::Many,
        }
    }

    /// Asks who is there, besides those that are known for some more time.
    fn ask(&mut self, now: Instant, index: u32, families: Vec<Family>) {
        self.questions = self.questions.wrapping_add(1);
        self.asked_at = Some(now);
        let query = packet::browse(&self.table.known(now));
        if let Some(wire) = self.wires.get_mut(&index) {
            wire.expect_echo(now, &families, &query);
        }
        self.packets.extend(families.into_iter().map(|family| (index, family, query.clone())));
    }

    fn announce(&mut self, index: u32, families: &[Family], ttl: Duration) {
        let Some(wire) = self.wires.get(&index).filter(|_| !families.is_empty()) else { return };
        let announcement = Announcement {
            node: self.me,
            network: self.network.clone(),
            version: self.version.clone(),
            port: self.port,
            slots: self.slots,
            addresses: wire.addresses.clone(),
            ttl,
        };
        let bytes = announcement.encode();
        self.packets.extend(families.iter().map(|&family| (index, family, bytes.clone())));
    }

    fn ask_for_doubted(&mut self, now: Instant) {
        let due: Vec<NodeId> =
            self.doubts.iter().filter(|(_, due)| **due <= now).map(|(&node, _)| node).collect();
        for node in due {
            self.doubts.remove(&node);
            let query = packet::resolve(node);
            for (&index, wire) in &self.wires {
                let families = wire.all_families().into_iter();
                self.packets.extend(families.map(|family| (index, family, query.clone())));
            }
        }
    }
}

fn is_due(wire: &Wire, now: Instant) -> bool {
    wire.poll_timeout().is_some_and(|due| due <= now)
}

/// Returns the addresses to announce on a wire, best first: its own before those of other interfaces, those of
/// container bridges after all others, and those that mean something on this wire only at the end.
fn announced_addresses(interfaces: &[Interface], wire: &Wire) -> Vec<IpAddr> {
    if wire.is_loopback() {
        return wire.own.clone();
    }
    let mut routable: Vec<&Interface> = interfaces
        .iter()
        .filter(|interface| !interface.address.is_loopback() && !is_link_local(interface.address))
        .collect();
    routable.sort_by_key(|interface| (interface.bridge, !wire.own.contains(&interface.address)));
    let mut addresses: Vec<IpAddr> = Vec::new();
    let link_local = wire.own.iter().copied().filter(|&address| is_link_local(address)).take(1);
    let room = ADDRESSES_MAX - link_local.clone().count();
    for interface in routable {
        if addresses.len() < room && !addresses.contains(&interface.address) {
            addresses.push(interface.address);
        }
    }
    addresses.extend(link_local);
    addresses
}

/// Adds to a link-local address the interface that it was heard on, without which it leads nowhere.
fn socket_address(address: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if is_link_local(address) => SocketAddrV6::new(v6, port, 0, interface).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(address, port),
    }
}

/// Interfaces spoken on; beyond, the least useful ones are left out.
const INTERFACES_MAX: usize = 32;
/// Nodes asked for by name; beyond, one that is missed is found by its next refresh.
const DOUBTS_MAX: usize = 64;
/// How long others may believe an announcement: two refreshes in each family, and some.
const LIFETIME: Duration = Duration::from_secs(300);
/// How often another node with this node's key is reported.
const COPIED_PAUSE: Duration = Duration::from_secs(60);
/// How long after a question an announcement may be an answer to it: who just spoke waits for a second.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_200);
/// The shortest wait until a node is asked for that seems to be gone.
const ASK_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
