//! Finding nodes on the local network: mDNS (RFC 6762) as a state machine.
//!
//! A node announces itself twice on each interface when it becomes ACTIVE or the interface comes up, again every
//! minute, and soon after somebody asked who did not know it; it says goodbye when it leaves. What it hears is a hint
//! where to dial, never the truth about who is alive: that comes from links. The list is bounded and what is in it is
//! never pushed out, lifetimes are clamped, answers are paced and packets are read at a bounded rate, so a flood
//! costs little and bounded work.

mod packet;
mod wire;

use crate::ids::NodeId;
use crate::input::{Family, Interface};
use crate::local_networks::is_link_local;
use crate::occupancy::Occupancy;
use crate::request::{DiscoveryState, DiscoveryView};
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use packet::{ADDRESSES_MAX, Announcement, Heard, KNOWN_FOR, KNOWN_MAX};
use std::collections::BTreeMap;
use wire::{Company, Wire};

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Multicast works again.
    Available,
    /// This node's own id is announced from elsewhere.
    Copied(SocketAddr),
    /// A node was not heard of for as long as it said.
    Expired(NodeId),
    /// A node is there, or is at other addresses than before; best first.
    Found(NodeId, Vec<SocketAddr>),
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
    entries: BTreeMap<NodeId, Entry>,
    /// No entry expires before this; kept so that nothing scans the list on each input.
    next_expiry: Option<Instant>,
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

#[derive(Debug)]
struct Entry {
    addresses: Vec<SocketAddr>,
    expires: Instant,
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
            entries: BTreeMap::new(),
            next_expiry: None,
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
        if self.entries.remove(&node).is_some() {
            self.facts.push(Fact::Expired(node));
            if self.active && self.doubts.len() < DOUBTS_MAX {
                self.doubts.insert(node, now.after(rng.between(ASK_AFTER, ASK_AFTER * 2)));
            }
        }
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
        if !wire.admit(now) {
            self.packets_dropped = self.packets_dropped.saturating_add(1);
            return;
        }
        let Some(heard) = packet::hear(from, bytes) else {
            self.packets_unusable = self.packets_unusable.saturating_add(1);
            return;
        };
        self.packets_heard = self.packets_heard.saturating_add(1);
        match heard {
            Heard::Browse { known } => {
                // Where this node knows all whom the asker names besides itself, it would learn nothing more.
                let unknown = known.iter().filter(|node| !self.entries.contains_key(node));
                if unknown.count() <= 1 {
                    wire.handle_same_query(now, rng);
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
                if heard.network == self.network {
                    self.handle_own_announcement(now, &heard);
                }
            }
            Heard::Announcement(heard) if heard.network == self.network => {
                self.handle_announcement(now, interface, &heard);
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
        let company = match self.entries.len() {
            0 => Company::Alone,
            1..KNOWN_MAX => Company::Few,
            KNOWN_MAX.. => Company::Many,
        };
        for index in due {
            let Some(wire) = self.wires.get_mut(&index) else { continue };
            let due = wire.handle_timeout(now, company, rng);
            let families = wire.all_families();
            self.announce(index, &due.announce, LIFETIME);
            if due.query {
                let query = packet::browse(&self.known(now));
                self.packets.extend(families.into_iter().map(|family| (index, family, query.clone())));
            }
        }
        if self.doubts.values().any(|&due| due <= now) {
            self.ask_for_doubted(now);
        }
        if self.next_expiry.is_some_and(|due| due <= now) {
            self.expire(now);
        }
    }

    /// Returns when something will be due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let wires = self.wires.values().filter_map(Wire::poll_timeout);
        wires.chain(self.doubts.values().copied()).chain(self.next_expiry).min()
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
    pub(crate) fn occupancy(&self) -> [Occupancy; 2] {
        [
            Occupancy::new("discovery.entries", self.entries.len(), ENTRIES_MAX),
            Occupancy::new("discovery.doubts", self.doubts.len(), DOUBTS_MAX),
        ]
    }

    /// Returns how many other nodes are heard.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the node that announces itself at an address.
    pub(crate) fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.entries.iter().find(|(_, entry)| entry.addresses.contains(&address)).map(|(&node, _)| node)
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
            nodes: u32::try_from(self.entries.len()).unwrap_or(u32::MAX),
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

    fn handle_announcement(&mut self, now: Instant, interface: u32, heard: &Announcement) {
        if heard.ttl.is_zero() {
            if self.entries.remove(&heard.node).is_some() {
                self.facts.push(Fact::Left(heard.node));
            }
            return;
        }
        self.doubts.remove(&heard.node);
        let expires = now.after(heard.ttl);
        let heard_at = |&address: &IpAddr| socket_address(address, heard.port, interface);
        let addresses: Vec<SocketAddr> = heard.addresses.iter().map(heard_at).collect();
        if let Some(entry) = self.entries.get_mut(&heard.node) {
            entry.expires = expires;
            let merged = merge(&entry.addresses, &addresses);
            // In which order they come depends on the interface that was heard last; that alone is no news.
            if merged.len() != entry.addresses.len() || merged.iter().any(|at| !entry.addresses.contains(at))
            {
                entry.addresses.clone_from(&merged);
                self.facts.push(Fact::Found(heard.node, merged));
            }
        } else if self.entries.len() < ENTRIES_MAX {
            self.facts.push(Fact::Found(heard.node, addresses.clone()));
            self.entries.insert(heard.node, Entry { addresses, expires });
        } else {
            return;
        }
        self.next_expiry = Some(self.next_expiry.map_or(expires, |next| next.min(expires)));
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

    /// Returns the nodes that need not answer a question: this one, which hears it too, and those it knows.
    fn known(&self, now: Instant) -> Vec<(NodeId, Duration)> {
        let left = self.entries.iter().map(|(&node, entry)| (node, entry.expires.since(now)));
        let others = left.filter(|(_, left)| *left >= KNOWN_FOR);
        core::iter::once((self.me, LIFETIME)).chain(others).take(KNOWN_MAX).collect()
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

    fn expire(&mut self, now: Instant) {
        let gone: Vec<NodeId> =
            self.entries.iter().filter(|(_, entry)| entry.expires <= now).map(|(&node, _)| node).collect();
        for node in gone {
            self.entries.remove(&node);
            self.facts.push(Fact::Expired(node));
        }
        self.next_expiry = self.entries.values().map(|entry| entry.expires).min();
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

/// Adds up what the packets of one node say on several interfaces: each names all of its routable addresses, and
/// those besides that mean something there only.
fn merge(before: &[SocketAddr], heard: &[SocketAddr]) -> Vec<SocketAddr> {
    let loopback_only = heard.iter().all(|address| address.ip().is_loopback());
    let routable = if loopback_only { before } else { heard };
    let is_routable = |address: &&SocketAddr| !address.ip().is_loopback() && !is_link_local(address.ip());
    let mut merged: Vec<SocketAddr> = routable.iter().filter(is_routable).copied().collect();
    let port = heard.first().map(SocketAddr::port);
    let mut local: Vec<SocketAddr> =
        before.iter().chain(heard).filter(|at| !is_routable(at)).copied().collect();
    local.retain(|address| Some(address.port()) == port);
    local.sort_by_key(|address| (address.ip().is_loopback(), *address));
    local.dedup();
    merged.retain(|address| Some(address.port()) == port);
    merged.extend(local);
    merged.truncate(ADDRESSES_MAX);
    merged
}

/// Adds to a link-local address the interface that it was heard on, without which it leads nowhere.
fn socket_address(address: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if is_link_local(address) => SocketAddrV6::new(v6, port, 0, interface).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(address, port),
    }
}

/// Nodes remembered; beyond, new ones are ignored until one goes.
const ENTRIES_MAX: usize = 1024;
/// Interfaces spoken on; beyond, the least useful ones are left out.
const INTERFACES_MAX: usize = 32;
/// Nodes asked for by name; beyond, one that is missed is found by its next refresh.
const DOUBTS_MAX: usize = 64;
/// How long others may believe an announcement: two refreshes in each family, and some.
const LIFETIME: Duration = Duration::from_secs(300);
/// How often another node with this node's key is reported.
const COPIED_PAUSE: Duration = Duration::from_secs(60);
/// The shortest wait until a node is asked for that seems to be gone.
const ASK_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
