//! Assembles announcements whose records arrive in several packets, and queries for missing records.
//!
//! An answer need not hold more than the name of a node (RFC 6763, section 12). Many reflectors and gateways send no
//! more, and others send each record in a packet of its own. A partial announcement waits here for an SRV, a TXT and an
//! address of the host that the SRV names. Missing records are queried for a few times, then dropped. Entries are
//! bounded, per source and in total.

use super::packet::{ADDRESSES_MAX, Announcement, MissingRecords, TTL_MAX};
use super::parser::{Attributes, Data, KIND_A, KIND_AAAA, KIND_SRV, KIND_TXT, Name, Packet, Question};
use crate::ids::NodeId;
use crate::input::Family;
use crate::rate::Bucket;
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

/// The content of a packet about one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A complete announcement.
    Announcement(Announcement),
    /// A goodbye.
    Goodbye(NodeId),
    /// The node's name only, with its lifetime.
    Mention(NodeId, Duration),
}

/// The partial announcements.
#[derive(Debug)]
pub(super) struct Gathering {
    me: NodeId,
    partial: BTreeMap<NodeId, Partial>,
    bucket: Bucket,
}

#[derive(Debug)]
struct Partial {
    interface: u32,
    from: SocketAddr,
    ttl: Duration,
    server: Option<(u16, Name)>,
    text: Option<Attributes>,
    /// The usable addresses of the host; `None` before the first.
    addresses: Option<Vec<IpAddr>>,
    asked: u32,
    /// When to query (again), or to give up.
    due: Instant,
}

impl Gathering {
    /// Creates an empty collection.
    pub(super) fn new(me: NodeId) -> Self {
        Self { me, partial: BTreeMap::new(), bucket: Bucket::new(QUESTIONS_PER_SECOND, QUESTIONS_BURST) }
    }

    /// Returns the number of partial announcements.
    pub(super) fn len(&self) -> usize {
        self.partial.len()
    }

    /// Tells whether an address record is missing. It may come in a packet that does not name the service.
    pub(super) fn awaits_addresses(&self) -> bool {
        self.partial.values().any(|partial| partial.server.is_some())
    }

    /// Handles an answer. `is_known` tells which nodes need no query. Returns what is complete by now.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        (interface, from): (u32, SocketAddr),
        packet: &Packet,
        is_known: impl Fn(NodeId) -> bool,
        rng: &mut Rng,
    ) -> Vec<Heard> {
        let contents = Contents::from_packet(packet);
        let mut mentioned = contents.mentioned.clone();
        // The address and TXT records may come last.
        for (&node, partial) in &self.partial {
            let host = partial.server.as_ref().map(|(_, host)| host);
            let concerned = host.is_some_and(|host| contents.addresses.contains_key(host))
                || contents.texts.contains_key(&node);
            if concerned {
                mentioned.entry(node).or_insert(partial.ttl);
            }
        }
        let mut heard = Vec::new();
        for (node, ttl) in mentioned {
            if ttl.is_zero() {
                self.partial.remove(&node);
                heard.push(Heard::Goodbye(node));
                continue;
            }
            let mut partial = self.partial.remove(&node).unwrap_or_else(|| Partial::new(interface, from));
            partial.hear(node, ttl, (interface, from), &contents);
            if let Some(announcement) = partial.announcement(node) {
                heard.push(Heard::Announcement(announcement));
            } else if node == self.me || (is_known(node) && partial.server.is_none()) {
                heard.push(Heard::Mention(node, ttl));
            } else {
                self.keep(now, node, partial, rng);
            }
        }
        heard
    }

    fn keep(&mut self, now: Instant, node: NodeId, mut partial: Partial, rng: &mut Rng) {
        let of_source = self.partial.values().filter(|other| other.from.ip() == partial.from.ip()).count();
        if self.partial.len() >= PARTIAL_MAX || of_source >= PARTIAL_MAX / 4 {
            return;
        }
        if partial.asked == 0 {
            partial.due = now.after(rng.between(QUERY_DELAY, QUERY_DELAY + QUERY_JITTER));
        }
        self.partial.insert(node, partial);
    }

    /// Handles another host's query: its answer is multicast to all.
    pub(super) fn handle_question(&mut self, now: Instant, question: &Question, rng: &mut Rng) {
        for (node, partial) in &mut self.partial {
            let wanted = match question.kind {
                KIND_SRV | KIND_TXT => partial.lacks_records() && question.name.instance() == Some(*node),
                KIND_A | KIND_AAAA => partial.server.as_ref().is_some_and(|(_, host)| *host == question.name),
                _ => false,
            };
            if wanted && partial.asked == 0 {
                partial.asked(now, rng);
            }
        }
    }

    /// Returns the records to query for now, and drops those that were queried for too often.
    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) -> Vec<MissingRecords> {
        let mut wanted = Vec::new();
        let bucket = &mut self.bucket;
        self.partial.retain(|&node, partial| {
            if partial.due > now {
                return true;
            }
            if partial.asked >= ASKED_MAX {
                return false;
            }
            if bucket.take(now, 1) {
                wanted.push(partial.wanted(node));
            }
            partial.asked(now, rng);
            true
        });
        wanted
    }

    /// Returns the next deadline.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.partial.values().map(|partial| partial.due).min()
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self) {
        self.partial.clear();
    }
}

/// The records of a packet, by subject.
struct Contents<'a> {
    /// The lifetime of each node's name.
    mentioned: BTreeMap<NodeId, Duration>,
    servers: BTreeMap<NodeId, (u16, &'a Name)>,
    texts: BTreeMap<NodeId, &'a Attributes>,
    addresses: BTreeMap<&'a Name, Vec<IpAddr>>,
}

impl<'a> Contents<'a> {
    fn from_packet(packet: &'a Packet) -> Self {
        let (mut mentioned, mut servers) = (BTreeMap::new(), BTreeMap::new());
        let (mut texts, mut addresses) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
        for record in &packet.records {
            let ttl = record.ttl.min(TTL_MAX);
            match &record.data {
                Data::Pointer(instance) if record.name.is_service() => {
                    mentioned.extend(instance.instance().map(|node| (node, ttl)));
                }
                // A goodbye of a record says nothing about what follows.
                _ if ttl.is_zero() => {}
                Data::Address(address) => addresses.entry(&record.name).or_default().push(*address),
                Data::Pointer(_) => {}
                Data::Server { port, target } => {
                    let node = record.name.instance();
                    servers.extend(node.map(|node| (node, (*port, target))));
                }
                Data::Text(text) => texts.extend(record.name.instance().map(|node| (node, text))),
            }
        }
        // An SRV record proves that a node exists, whether or not this node asked for it.
        for record in packet.records.iter().filter(|record| matches!(record.data, Data::Server { .. })) {
            let node = record.name.instance().filter(|node| servers.contains_key(node));
            if let Some(node) = node {
                mentioned.entry(node).or_insert_with(|| record.ttl.min(TTL_MAX));
            }
        }
        Self { mentioned, servers, texts, addresses }
    }
}

impl Partial {
    fn new(interface: u32, from: SocketAddr) -> Self {
        Self {
            interface,
            from,
            ttl: Duration::ZERO,
            server: None,
            text: None,
            addresses: None,
            asked: 0,
            due: Instant::ZERO,
        }
    }

    /// Adds the records of a packet about the node.
    fn hear(
        &mut self,
        node: NodeId,
        ttl: Duration,
        (interface, from): (u32, SocketAddr),
        contents: &Contents<'_>,
    ) {
        (self.interface, self.from, self.ttl) = (interface, from, ttl);
        if let Some(&(port, target)) = contents.servers.get(&node) {
            if self.server.as_ref().is_some_and(|(_, host)| host != target) {
                self.addresses = None;
            }
            self.server = Some((port, target.clone()));
        }
        if let Some(&text) = contents.texts.get(&node) {
            self.text = Some(text.clone());
        }
        let host = self.server.as_ref().map(|(_, host)| host);
        for &address in host.and_then(|host| contents.addresses.get(host)).into_iter().flatten() {
            let addresses = self.addresses.get_or_insert_default();
            let room = addresses.len() < ADDRESSES_MAX && !addresses.contains(&address);
            if room && is_usable(from, address) {
                addresses.push(address);
            }
        }
    }

    /// Returns the node's announcement, once it is complete.
    fn announcement(&self, node: NodeId) -> Option<Announcement> {
        let (port, _) = self.server.as_ref()?;
        let text = self.text.as_ref()?;
        let mut addresses = self.addresses.clone()?;
        if addresses.is_empty() {
            addresses.push(self.from.ip());
        }
        Some(Announcement {
            node,
            network: text.network.clone(),
            version: text.version.clone(),
            port: *port,
            slots: text.slots,
            addresses,
            ttl: self.ttl,
        })
        .filter(|announcement| announcement.port != 0)
    }

    fn lacks_records(&self) -> bool {
        self.server.is_none() || self.text.is_none()
    }

    fn wanted(&self, node: NodeId) -> MissingRecords {
        let host = self.server.as_ref().filter(|_| self.addresses.is_none()).map(|(_, host)| host.clone());
        let (interface, family) = (self.interface, Family::for_address(self.from.ip()));
        MissingRecords { interface, family, node, records: self.lacks_records(), host }
    }

    fn asked(&mut self, now: Instant, rng: &mut Rng) {
        let pause = QUERY_INTERVAL * 3u32.saturating_pow(self.asked);
        self.asked += 1;
        self.due = now.after(rng.between(pause, pause + pause / 10));
    }
}

/// Tells whether an address can lead to the node. A loopback address from another host would make this node dial
/// itself.
fn is_usable(from: SocketAddr, address: IpAddr) -> bool {
    !address.is_unspecified()
        && !address.is_multicast()
        && (!address.is_loopback() || from.ip().is_loopback())
}

/// Maximum number of partial announcements. Others are ignored until their next announcement. Each source may have a
/// quarter.
pub(super) const PARTIAL_MAX: usize = 256;
/// How often missing records are queried for.
const ASKED_MAX: u32 = 3;
/// The rate limit of queried nodes, and its burst: as many as a reflector may have behind it.
const QUESTIONS_PER_SECOND: u64 = 10;
const QUESTIONS_BURST: u64 = 64;
/// The minimum delay of a query, in case another host asks first.
const QUERY_DELAY: Duration = Duration::from_millis(20);
const QUERY_JITTER: Duration = Duration::from_millis(100);
const QUERY_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::packet::{self, KNOWN_ANSWER_TTL_MIN};
    use super::super::parser::{Record, SERVICE, read};
    use super::*;

    fn id(node: u8) -> NodeId {
        NodeId([node; 16])
    }

    fn announcement(node: u8) -> Announcement {
        Announcement {
            node: id(node),
            network: "local".to_owned(),
            version: "1".to_owned(),
            port: 9000,
            slots: 4,
            addresses: vec![IpAddr::from([10, 0, 0, node])],
            ttl: KNOWN_ANSWER_TTL_MIN,
        }
    }

    /// Returns the records in which a node announces itself: PTR, SRV, TXT and A.
    fn records(node: u8) -> Vec<Record> {
        read(&announcement(node).encode()).unwrap().records
    }

    fn packet(records: &[Record]) -> Packet {
        Packet { id: 0, is_response: true, questions: Vec::new(), records: records.to_vec() }
    }

    struct World {
        gathering: Gathering,
        rng: Rng,
    }

    impl World {
        fn new() -> Self {
            Self { gathering: Gathering::new(id(200)), rng: Rng::new([1; 32]) }
        }

        fn hear_from(&mut self, source: u8, millis: u64, records: &[Record]) -> Vec<Heard> {
            let from = SocketAddr::from(([10, 0, 0, source], 5353));
            let now = Instant::from_micros(millis * 1000);
            self.gathering.hear(now, (2, from), &packet(records), |node| node == id(9), &mut self.rng)
        }

        fn hear(&mut self, records: &[Record]) -> Vec<Heard> {
            self.hear_from(66, 0, records)
        }

        fn asked(&mut self, millis: u64) -> Vec<MissingRecords> {
            self.gathering.handle_timeout(Instant::from_micros(millis * 1000), &mut self.rng)
        }
    }

    #[test]
    fn records_of_one_node_come_in_any_packets_and_any_order() {
        let all = records(1);
        let whole = [Heard::Announcement(announcement(1))];
        for order in [[0, 1, 2, 3], [1, 0, 2, 3], [1, 3, 0, 2], [0, 2, 1, 3]] {
            let mut world = World::new();
            let (last, first) = order.split_last().unwrap();
            for at in first {
                assert_eq!(world.hear(&all[*at..=*at]), [], "{order:?}");
            }
            assert_eq!(world.hear(&all[*last..=*last]), whole, "{order:?}");
            assert_eq!(world.gathering.len(), 0);
        }
        assert_eq!(World::new().hear(&all), whole);
    }

    #[test]
    fn every_node_of_a_packet_is_heard_and_each_has_the_addresses_of_its_own_host() {
        let printer = Record { name: Name::new("printer.local"), ..records(3)[3].clone() };
        let all = [records(1), vec![printer], records(2)].concat();
        let both = [1, 2].map(|node| Heard::Announcement(announcement(node)));
        assert_eq!(World::new().hear(&all), both);
    }

    #[test]
    fn what_is_missing_is_asked_for_three_times() {
        let mut world = World::new();
        let wanted = |records, host: Option<&str>| MissingRecords {
            interface: 2,
            family: Family::V4,
            node: id(1),
            records,
            host: host.map(Name::new),
        };
        assert_eq!(world.hear(&records(1)[..1]), []);
        assert_eq!(world.asked(10), []);
        assert_eq!(world.asked(130), [wanted(true, None)]);
        assert_eq!(world.hear_from(66, 200, &records(1)[1..3]), []);
        assert_eq!(world.asked(1_300), [wanted(false, Some("010101010101.local"))]);
        assert_eq!(world.asked(5_000).len(), 1);
        assert_eq!((world.asked(10_000), world.gathering.len()), (vec![], 1));
        assert_eq!((world.asked(16_000), world.gathering.len()), (vec![], 0));
        // If another host asked for the same, its answer is multicast to all.
        world.hear_from(66, 16_000, &records(1)[..1]);
        let query = read(&packet::resolve(id(1))).unwrap();
        world.gathering.handle_question(
            Instant::from_micros(16_010_000),
            &query.questions[0],
            &mut world.rng,
        );
        assert_eq!(world.asked(16_900), []);
        assert_eq!(world.asked(17_200).len(), 1);
    }

    #[test]
    fn a_pointer_alone_is_a_goodbye_or_a_sign_of_life() {
        let mut world = World::new();
        let gone = Record { ttl: Duration::ZERO, ..records(1)[0].clone() };
        assert_eq!(world.hear(&[gone]), [Heard::Goodbye(id(1))]);
        assert_eq!(world.hear(&records(9)[..1]), [Heard::Mention(id(9), KNOWN_ANSWER_TTL_MIN)]);
        assert_eq!(world.hear(&records(200)[..1]), [Heard::Mention(id(200), KNOWN_ANSWER_TTL_MIN)], "itself");
        assert_eq!(world.gathering.len(), 0);
    }

    #[test]
    fn nobody_is_believed_for_long_and_addresses_that_lead_nowhere_are_replaced_by_the_sender() {
        let mut all = records(1);
        all.iter_mut().for_each(|record| record.ttl = Duration::from_secs(1 << 31));
        all[3].data = Data::Address(IpAddr::from([127, 0, 0, 1]));
        let addresses = vec![IpAddr::from([10, 0, 0, 66])];
        let heard = Announcement { addresses, ttl: TTL_MAX, ..announcement(1) };
        assert_eq!(World::new().hear(&all), [Heard::Announcement(heard)]);
    }

    #[test]
    fn who_only_names_nodes_costs_little() {
        let mut world = World::new();
        for n in 0..10_000_u32 {
            let mut node = [0; 16];
            node[..4].copy_from_slice(&n.to_be_bytes());
            let instance = Name::new(&format!("{}.{SERVICE}", NodeId(node)));
            let record = Record { data: Data::Pointer(instance), ..records(1)[0].clone() };
            world.hear_from(u8::try_from(n % 2).unwrap(), 0, &[record]);
        }
        assert_eq!(world.gathering.len(), PARTIAL_MAX / 2);
        assert_eq!(world.asked(130).len(), 64);
    }
}
