//! Finding nodes on the local network: mDNS (RFC 6762) as a state machine.
//!
//! A node announces itself twice when it becomes ACTIVE, again every minute, and soon after somebody asked; it says
//! goodbye when it leaves. What it hears is a hint where to dial, never the truth about who is alive: that comes from
//! links. The list is bounded, lifetimes are clamped, and answers are paced, so a flood costs little and bounded work.

mod packet;

use crate::ids::NodeId;
use crate::input::Interface;
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use packet::{Announcement, Heard};
use std::collections::BTreeMap;

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// This node's own id is announced from elsewhere.
    Copied(SocketAddr),
    /// A node is there, or is at other addresses than before.
    Found(NodeId, Vec<SocketAddr>),
    /// A node said goodbye.
    Left(NodeId),
    /// A node was not heard of for as long as it said.
    Expired(NodeId),
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
    interfaces: Vec<Interface>,
    entries: BTreeMap<NodeId, Entry>,
    /// No entry expires before this; kept so that nothing scans the list on each input.
    next_expiry: Option<Instant>,
    next_announcement: Option<Instant>,
    announced: u32,
    last_announcement: Option<Instant>,
    next_query: Option<Instant>,
    queries: u32,
    /// When this node's own id was last reported to be announced from elsewhere.
    copied_at: Option<Instant>,
    packets: Vec<(u32, Vec<u8>)>,
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
            interfaces: Vec::new(),
            entries: BTreeMap::new(),
            next_expiry: None,
            next_announcement: None,
            announced: 0,
            last_announcement: None,
            next_query: None,
            queries: 0,
            copied_at: None,
            packets: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// Begins to announce the node, which takes connections on `port`, and to ask for others.
    pub(crate) fn handle_active(&mut self, now: Instant, port: u16, rng: &mut Rng) {
        self.port = port;
        self.active = true;
        self.restart(now, rng);
    }

    /// Takes note of the host's interfaces; a change is a reason to announce anew.
    pub(crate) fn handle_interfaces(&mut self, now: Instant, interfaces: &[Interface], rng: &mut Rng) {
        if self.interfaces != interfaces {
            self.interfaces = interfaces.iter().copied().take(INTERFACES_MAX).collect();
            if self.active {
                self.restart(now, rng);
            }
        }
    }

    /// Says goodbye and falls silent.
    pub(crate) fn handle_leave(&mut self) {
        if core::mem::take(&mut self.active) {
            self.announce(Duration::ZERO);
            self.next_announcement = None;
            self.next_query = None;
        }
    }

    /// Falls silent, and leaves the name to another node that has the same.
    pub(crate) fn handle_copied(&mut self) {
        self.active = false;
        self.next_announcement = None;
        self.next_query = None;
    }

    /// Takes note that a node is no longer there, whatever its announcement promised, and asks again soon in case
    /// that it is.
    pub(crate) fn handle_gone(&mut self, now: Instant, node: NodeId, rng: &mut Rng) {
        if self.entries.remove(&node).is_some() {
            self.facts.push(Fact::Expired(node));
            let again = now.after(rng.between(QUERY_AGAIN, QUERY_AGAIN * 2));
            self.next_query =
                self.next_query.map(|next| next.min(again)).or_else(|| self.active.then_some(again));
        }
    }

    /// Takes in a packet.
    pub(crate) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8], rng: &mut Rng) {
        if !self.active {
            return;
        }
        match packet::hear(from, bytes) {
            Some(Heard::Query) => self.handle_query(now, rng),
            Some(Heard::Announcement(heard)) if heard.node != self.me && heard.network == self.network => {
                self.handle_announcement(now, &heard);
            }
            Some(Heard::Announcement(heard)) if heard.node == self.me && heard.network == self.network => {
                self.handle_own_announcement(now, &heard);
            }
            Some(Heard::Announcement(_)) | None => {}
        }
    }

    /// Tells the echo of this node's own announcement from that of another node with its key.
    fn handle_own_announcement(&mut self, now: Instant, heard: &Announcement) {
        let own = |at: &IpAddr| self.interfaces.iter().any(|interface| interface.address == *at);
        let elsewhere = heard.addresses.iter().find(|&at| heard.port != self.port || !own(at));
        let lately = self.copied_at.is_some_and(|then| now.since(then) < COPIED_PAUSE);
        if let Some(&address) = elsewhere.filter(|_| !lately && !heard.ttl.is_zero()) {
            self.copied_at = Some(now);
            self.facts.push(Fact::Copied(SocketAddr::new(address, heard.port)));
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) {
        if self.next_announcement.is_some_and(|due| due <= now) {
            self.announce(LIFETIME);
            self.announced = self.announced.saturating_add(1);
            self.last_announcement = Some(now);
            let pause = if self.announced < 2 { SECOND_ANNOUNCEMENT } else { REFRESH };
            self.next_announcement = Some(now.after(rng.between(pause, pause + pause / 10)));
        }
        if self.next_query.is_some_and(|due| due <= now) {
            let query = packet::query();
            self.packets.extend(self.interfaces.iter().map(|interface| (interface.index, query.clone())));
            self.queries = self.queries.saturating_add(1);
            // A node that found somebody has no need to ask; one that is alone keeps asking, ever more rarely.
            let pause = QUERY_AGAIN * 3u32.saturating_pow(self.queries - 1).min(QUERY_PACE_MAX);
            let wanted = self.queries < QUERIES_FIRST || self.entries.is_empty();
            self.next_query = wanted.then(|| now.after(rng.between(pause, pause + pause / 10)));
        }
        if self.next_expiry.is_some_and(|due| due <= now) {
            let gone: Vec<NodeId> = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.expires <= now)
                .map(|(&node, _)| node)
                .collect();
            for node in gone {
                self.entries.remove(&node);
                self.facts.push(Fact::Expired(node));
            }
            self.next_expiry = self.entries.values().map(|entry| entry.expires).min();
        }
    }

    /// Returns when something will be due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.next_announcement, self.next_query, self.next_expiry].into_iter().flatten().min()
    }

    /// Returns the packets to send, each with its interface.
    pub(crate) fn poll_packets(&mut self) -> Vec<(u32, Vec<u8>)> {
        core::mem::take(&mut self.packets)
    }

    /// Returns what was found out, in order.
    pub(crate) fn poll_facts(&mut self) -> Vec<Fact> {
        core::mem::take(&mut self.facts)
    }

    /// Returns how many other nodes are heard.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the node that announces itself at an address.
    pub(crate) fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.entries.iter().find(|(_, entry)| entry.addresses.contains(&address)).map(|(&node, _)| node)
    }

    fn restart(&mut self, now: Instant, rng: &mut Rng) {
        self.announced = 0;
        self.queries = 0;
        self.next_query = Some(now.after(rng.between(Duration::ZERO, FIRST_QUERY_WITHIN)));
        let delay = rng.between(FIRST_QUERY_WITHIN, FIRST_QUERY_WITHIN + ANSWER_SPREAD);
        self.next_announcement = Some(now.after(delay));
    }

    fn handle_query(&mut self, now: Instant, rng: &mut Rng) {
        // A shared answer waits a random 20 to 120 ms and is not repeated within a second (RFC 6762, section 6).
        let delay = rng.between(ANSWER_DELAY, ANSWER_DELAY + ANSWER_SPREAD);
        let earliest = self.last_announcement.map_or(now, |last| last.after(ANSWER_PAUSE));
        let due = now.after(delay).max(earliest);
        self.next_announcement = self.next_announcement.map(|next| next.min(due));
    }

    fn handle_announcement(&mut self, now: Instant, heard: &Announcement) {
        if heard.ttl.is_zero() {
            if self.entries.remove(&heard.node).is_some() {
                self.facts.push(Fact::Left(heard.node));
            }
            return;
        }
        let expires = now.after(heard.ttl);
        let addresses = heard.addresses.iter().map(|&address| SocketAddr::new(address, heard.port));
        if let Some(entry) = self.entries.get_mut(&heard.node) {
            entry.expires = expires;
            let before = entry.addresses.len();
            // Each interface announces its own address, so the packets of one node add up.
            let same_port = entry.addresses.first().is_some_and(|address| address.port() == heard.port);
            if !same_port {
                entry.addresses.clear();
            }
            for address in addresses {
                if !entry.addresses.contains(&address) && entry.addresses.len() < ADDRESSES_MAX {
                    entry.addresses.push(address);
                }
            }
            if !same_port || entry.addresses.len() > before {
                self.facts.push(Fact::Found(heard.node, entry.addresses.clone()));
            }
        } else if self.entries.len() < ENTRIES_MAX {
            let addresses: Vec<SocketAddr> = addresses.collect();
            self.facts.push(Fact::Found(heard.node, addresses.clone()));
            self.entries.insert(heard.node, Entry { addresses, expires });
        }
        self.next_expiry = Some(self.next_expiry.map_or(expires, |next| next.min(expires)));
    }

    fn announce(&mut self, ttl: Duration) {
        for interface in &self.interfaces {
            let announcement = Announcement {
                node: self.me,
                network: self.network.clone(),
                version: self.version.clone(),
                port: self.port,
                slots: self.slots,
                addresses: vec![interface.address].into_iter().filter(IpAddr::is_ipv4).collect(),
                ttl,
            };
            self.packets.push((interface.index, announcement.encode()));
        }
    }
}

/// Nodes remembered; beyond, new ones are ignored until one goes.
const ENTRIES_MAX: usize = 1024;
/// Addresses remembered of one node.
const ADDRESSES_MAX: usize = 8;
/// Interfaces announced on.
const INTERFACES_MAX: usize = 32;
/// How long others may believe an announcement: two refreshes.
const LIFETIME: Duration = Duration::from_secs(120);
const REFRESH: Duration = Duration::from_secs(54);
const SECOND_ANNOUNCEMENT: Duration = Duration::from_secs(1);
const FIRST_QUERY_WITHIN: Duration = Duration::from_millis(20);
const QUERY_AGAIN: Duration = Duration::from_secs(1);
/// Queries that every node sends; a node that still knows nobody sends more.
const QUERIES_FIRST: u32 = 3;
/// The longest pause between queries, in first pauses.
const QUERY_PACE_MAX: u32 = 60;
const ANSWER_DELAY: Duration = Duration::from_millis(20);
const ANSWER_SPREAD: Duration = Duration::from_millis(100);
const ANSWER_PAUSE: Duration = Duration::from_secs(1);
/// How often another node with this node's key is reported.
const COPIED_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const LO: Interface = Interface { index: 1, address: IpAddr::V4(core::net::Ipv4Addr::LOCALHOST) };

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    fn node(id: u8, rng: &mut Rng) -> Discovery {
        let mut discovery = Discovery::new(NodeId([id; 16]), "local".to_owned(), "1".to_owned(), 4);
        discovery.handle_interfaces(at(0), &[LO], rng);
        discovery.handle_active(at(0), 9000 + u16::from(id), rng);
        discovery
    }

    /// Runs the nodes on one wire until `end` and returns packets sent and facts found.
    fn run(nodes: &mut [Discovery], rng: &mut Rng, end: Instant) -> (usize, Vec<(usize, Fact)>) {
        let (mut packets, mut facts) = (0, Vec::new());
        let wire = SocketAddr::new(LO.address, 5353);
        while let Some(now) = nodes.iter().filter_map(Discovery::poll_timeout).min().filter(|&due| due <= end)
        {
            let mut sent = Vec::new();
            for node in nodes.iter_mut() {
                node.handle_timeout(now, rng);
                sent.extend(node.poll_packets());
            }
            packets += sent.len();
            for (_, bytes) in &sent {
                nodes.iter_mut().for_each(|node| node.handle_datagram(now, wire, bytes, rng));
            }
            for (index, node) in nodes.iter_mut().enumerate() {
                facts.extend(node.poll_facts().into_iter().map(|fact| (index, fact)));
            }
        }
        (packets, facts)
    }

    #[test]
    fn nodes_find_each_other_within_a_second_and_say_little_after() {
        let mut rng = Rng::new([1; 32]);
        let mut nodes = [node(1, &mut rng), node(2, &mut rng)];
        let (_, facts) = run(&mut nodes, &mut rng, at(1000));
        let found = |me: usize, id: u8| {
            let address = SocketAddr::new(LO.address, 9000 + u16::from(id));
            (me, Fact::Found(NodeId([id; 16]), vec![address]))
        };
        assert!(
            facts == vec![found(0, 2), found(1, 1)] || facts == vec![found(1, 1), found(0, 2)],
            "{facts:?}"
        );
        run(&mut nodes, &mut rng, at(20_000));
        let (packets, facts) = run(&mut nodes, &mut rng, at(620_000));
        assert!((20..=24).contains(&packets), "{packets} packets in ten minutes");
        assert_eq!(facts, vec![]);
    }

    #[test]
    fn silence_expires() {
        let mut rng = Rng::new([2; 32]);
        let mut nodes = [node(1, &mut rng), node(2, &mut rng), node(3, &mut rng)];
        run(&mut nodes, &mut rng, at(2000));
        let (_, facts) = run(&mut nodes[..1], &mut rng, at(130_000));
        assert_eq!(facts, vec![(0, Fact::Expired(NodeId([2; 16]))), (0, Fact::Expired(NodeId([3; 16])))]);
    }

    #[test]
    fn a_goodbye_removes_at_once() {
        let mut rng = Rng::new([2; 32]);
        let mut nodes = [node(1, &mut rng), node(2, &mut rng)];
        run(&mut nodes, &mut rng, at(2000));
        nodes[1].handle_leave();
        for (_, bytes) in nodes[1].poll_packets() {
            nodes[0].handle_datagram(at(2001), SocketAddr::new(LO.address, 5353), &bytes, &mut rng);
        }
        assert_eq!(nodes[0].poll_facts(), vec![Fact::Left(NodeId([2; 16]))]);
    }

    #[test]
    fn other_networks_are_not_heard() {
        let mut rng = Rng::new([3; 32]);
        let mut nodes = [node(1, &mut rng), node(2, &mut rng)];
        nodes[1].network = "other".to_owned();
        assert_eq!(run(&mut nodes, &mut rng, at(5000)).1, vec![]);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut rng = Rng::new([4; 32]);
        let mut nodes = [node(1, &mut rng)];
        let mut liar = Discovery::new(NodeId([0; 16]), "local".to_owned(), "1".to_owned(), 4);
        liar.handle_interfaces(at(0), &[LO], &mut rng);
        liar.port = 9000;
        for _ in 0..2000 {
            liar.me = NodeId(rng.id());
            liar.announce(LIFETIME);
            for (_, bytes) in liar.poll_packets() {
                nodes[0].handle_datagram(at(10), SocketAddr::new(LO.address, 5353), &bytes, &mut rng);
            }
        }
        assert_eq!(nodes[0].entries.len(), ENTRIES_MAX);
    }
}
