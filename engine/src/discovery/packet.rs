//! The packets of the discovery service: what one says, and what one is taken to say.
//!
//! DNS-SD (RFC 6763) over mDNS (RFC 6762): a PTR from the service to the node's instance, an SRV with its port, a TXT
//! with its network and version, an A or AAAA with each address. Every byte is sent each minute by every node, so the
//! host's name is a short one.

use crate::ids::NodeId;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use simple_dns::rdata::{A, AAAA, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) node: NodeId,
    pub(super) network: String,
    pub(super) version: String,
    pub(super) port: u16,
    pub(super) slots: u16,
    /// Where the packet says that the node is; empty where it says nothing usable.
    pub(super) addresses: Vec<IpAddr>,
    /// How long to believe it; zero is a goodbye.
    pub(super) ttl: Duration,
}

/// A packet of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Announcement(Announcement),
    /// Somebody asks who is there.
    Browse {
        /// Whom it need not be told of: it will know them for at least [`KNOWN_FOR`].
        known: Vec<NodeId>,
    },
    /// Somebody asks whether a node is there.
    Resolve(NodeId),
}

/// Encodes the question who is there, besides those known for some more time.
pub(super) fn browse(known: &[(NodeId, Duration)]) -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    packet.questions.push(question(Name::new_unchecked(SERVICE), TYPE::PTR));
    for &(node, left) in known {
        let instance = format!("{node}.{SERVICE}");
        let Ok(name) = Name::new(&instance).map(Name::into_owned) else { continue };
        let data = RData::PTR(PTR(name));
        packet.answers.push(ResourceRecord::new(
            Name::new_unchecked(SERVICE),
            CLASS::IN,
            seconds(left),
            data,
        ));
    }
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

/// Encodes the question whether a node is there.
pub(super) fn resolve(node: NodeId) -> Vec<u8> {
    let instance = format!("{node}.{SERVICE}");
    let mut packet = Packet::new_query(0);
    packet.questions.push(question(Name::new_unchecked(&instance), TYPE::SRV));
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

fn question(name: Name<'_>, kind: TYPE) -> Question<'_> {
    Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Tells without parsing whether a packet can be of this service; most of what a busy network says is not.
pub(super) fn concerns(bytes: &[u8]) -> bool {
    bytes.windows(LABEL.len()).any(|window| window == LABEL)
}

/// Tells whether a packet is cheap to parse. Each name may point to one before it, over and over: a packet of 9000
/// bytes can hold hundreds of names with thousands of steps each. None of this service is large, or has many records.
fn is_bounded(bytes: &[u8]) -> bool {
    let Some(counts) = bytes.get(4..12) else { return false };
    let records: u32 = counts.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    bytes.len() <= PACKET_BYTES_MAX && records <= RECORDS_MAX
}

impl Announcement {
    /// Encodes the announcement.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.build().unwrap_or_default()
    }

    fn build(&self) -> simple_dns::Result<Vec<u8>> {
        let ttl = seconds(self.ttl);
        let instance = format!("{}.{SERVICE}", self.node);
        let mut host = self.node.to_string();
        host.truncate(HOST_CHARACTERS);
        host.push_str(".local");
        let mut packet = Packet::new_reply(0);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        let mut records = Vec::new();
        let srv = SRV { priority: 0, weight: 0, port: self.port, target: Name::new(&host)? };
        let txt = TXT::new()
            .with_attribute(NETWORK, Some(self.network.as_bytes()))?
            .with_attribute(VERSION, Some(self.version.as_bytes()))?
            .with_attribute(SLOTS, Some(self.slots.to_string().as_bytes()))?;
        records.push((instance.as_str(), RData::SRV(srv)));
        records.push((&instance, RData::TXT(txt)));
        for address in &self.addresses {
            let data = match address {
                IpAddr::V4(address) => RData::A(A::from(*address)),
                IpAddr::V6(address) => RData::AAAA(AAAA::from(*address)),
            };
            records.push((&host, data));
        }
        let pointer = RData::PTR(PTR(Name::new(&instance)?));
        packet.answers.push(ResourceRecord::new(Name::new_unchecked(SERVICE), CLASS::IN, ttl, pointer));
        for (name, data) in records {
            let record = ResourceRecord::new(Name::new(name)?, CLASS::IN, ttl, data);
            packet.additional_records.push(record.with_cache_flush(true));
        }
        packet.build_bytes_vec_compressed()
    }
}

/// Understands a packet from `from`; `None` where it is damaged or about something else.
pub(super) fn hear(from: SocketAddr, bytes: &[u8]) -> Option<Heard> {
    if !concerns(bytes) || !is_bounded(bytes) {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    if !packet.has_flags(PacketFlag::RESPONSE) {
        return hear_question(&packet);
    }
    let pointer = packet.answers.iter().find(|record| is_service(&record.name))?;
    let RData::PTR(PTR(instance)) = &pointer.rdata else { return None };
    let node = instance_node(instance)?;
    let mut announcement = Announcement {
        node,
        network: String::new(),
        version: String::new(),
        port: 0,
        slots: 0,
        addresses: Vec::new(),
        ttl: Duration::from_secs(pointer.ttl.into()).min(TTL_MAX),
    };
    let records = packet.answers.iter().chain(&packet.additional_records);
    for record in records {
        if record.name == *instance {
            if let RData::SRV(srv) = &record.rdata {
                announcement.port = srv.port;
            } else if let RData::TXT(txt) = &record.rdata {
                announcement.read_attributes(txt);
            }
        } else if let RData::A(address) = &record.rdata {
            announcement.add_address(from, Ipv4Addr::from(address.address).into());
        } else if let RData::AAAA(address) = &record.rdata {
            announcement.add_address(from, Ipv6Addr::from(address.address).into());
        }
    }
    if announcement.addresses.is_empty() {
        announcement.addresses.push(from.ip());
    }
    (announcement.port != 0).then_some(Heard::Announcement(announcement))
}

fn hear_question(packet: &Packet<'_>) -> Option<Heard> {
    let mut node = None;
    for name in packet.questions.iter().map(|question| &question.qname) {
        if is_service(name) {
            let known = packet.answers.iter().take(KNOWN_MAX).filter(|record| is_fresh(record));
            let known = known.filter_map(|record| {
                let RData::PTR(PTR(instance)) = &record.rdata else { return None };
                instance_node(instance)
            });
            return Some(Heard::Browse { known: known.collect() });
        }
        node = node.or_else(|| instance_node(name));
    }
    node.map(Heard::Resolve)
}

/// Tells whether who knows this answer need not hear it again (RFC 6762, section 7.1).
fn is_fresh(record: &ResourceRecord<'_>) -> bool {
    Duration::from_secs(record.ttl.into()) >= KNOWN_FOR && is_service(&record.name)
}

fn is_service(name: &Name<'_>) -> bool {
    name.as_bytes().eq(SERVICE.split('.').map(str::as_bytes))
}

fn instance_node(instance: &Name<'_>) -> Option<NodeId> {
    let mut labels = instance.as_bytes();
    let node = labels.next()?;
    let is_ours = labels.eq(SERVICE.split('.').map(str::as_bytes));
    core::str::from_utf8(node).ok().filter(|_| is_ours)?.parse().ok()
}

impl Announcement {
    fn read_attributes(&mut self, txt: &TXT<'_>) {
        for (key, value) in txt.iter_raw() {
            let Some(text) = value.and_then(|value| core::str::from_utf8(value).ok()) else { continue };
            if key == NETWORK.as_bytes() {
                text.clone_into(&mut self.network);
            } else if key == VERSION.as_bytes() {
                text.clone_into(&mut self.version);
            } else if key == SLOTS.as_bytes() {
                self.slots = text.parse().unwrap_or_default();
            }
        }
    }

    fn add_address(&mut self, from: SocketAddr, address: IpAddr) {
        // A packet from another machine that names this one's loopback would have the node dial itself.
        let usable = !address.is_unspecified()
            && !address.is_multicast()
            && (!address.is_loopback() || from.ip().is_loopback());
        if usable && self.addresses.len() < ADDRESSES_MAX {
            self.addresses.push(address);
        }
    }
}

const SERVICE: &str = "_p2p-ai-agents._tcp.local";
/// The service's own label as it stands in a packet.
const LABEL: &[u8] = b"_p2p-ai-agents";
/// Characters of the node's id in the name of its host, which nobody relies on to be unique.
const HOST_CHARACTERS: usize = 12;
const NETWORK: &str = "net";
const VERSION: &str = "ver";
const SLOTS: &str = "slots";
/// The largest packet read: one that an Ethernet network carries whole. mDNS allows 9000 (RFC 6762, section 17).
const PACKET_BYTES_MAX: usize = 1472;
/// The most records of a packet that is read, twice what this service says in one.
const RECORDS_MAX: u32 = 64;
/// Addresses taken of one announcement, and given in one.
pub(super) const ADDRESSES_MAX: usize = 8;
/// Known answers given in one question; they fit into one packet of an Ethernet network.
pub(super) const KNOWN_MAX: usize = 24;
/// How long somebody must still know of a node for that node not to answer: half of a lifetime.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(150);
/// Nobody is believed for longer, whatever a packet says.
const TTL_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn announcement() -> Announcement {
        Announcement {
            node: NodeId([7; 16]),
            network: "local".to_owned(),
            version: "0.1.0".to_owned(),
            port: 9000,
            slots: 4,
            addresses: vec!["192.168.0.7".parse().unwrap()],
            ttl: Duration::from_secs(120),
        }
    }

    #[test]
    fn announcements_and_queries_come_back() {
        let from = "192.168.0.7:5353".parse().unwrap();
        let sent = announcement();
        assert_eq!(hear(from, &sent.encode()), Some(Heard::Announcement(sent)));
        assert_eq!(hear(from, &resolve(NodeId([7; 16]))), Some(Heard::Resolve(NodeId([7; 16]))));
        let known = [(NodeId([1; 16]), KNOWN_FOR), (NodeId([2; 16]), KNOWN_FOR - Duration::from_secs(1))];
        assert_eq!(hear(from, &browse(&known)), Some(Heard::Browse { known: vec![NodeId([1; 16])] }));
    }

    #[test]
    fn an_announcement_is_small() {
        assert!(announcement().encode().len() <= 200, "{}", announcement().encode().len());
        let known = [(NodeId([1; 16]), KNOWN_FOR); KNOWN_MAX];
        assert!(browse(&known).len() <= 1400, "{}", browse(&known).len());
    }

    #[test]
    fn packets_of_other_services_are_told_apart_unparsed() {
        assert!(concerns(&announcement().encode()) && concerns(&browse(&[])));
        let mut other = announcement().encode();
        let at = other.windows(LABEL.len()).position(|window| window == LABEL).unwrap();
        other[at] = b'x';
        assert!(!concerns(&other));
    }

    #[test]
    fn foreign_loopback_addresses_are_replaced_by_the_sender() {
        let from = "192.168.0.9:5353".parse().unwrap();
        let mut sent = announcement();
        sent.addresses = vec!["127.0.0.1".parse().unwrap()];
        let Some(Heard::Announcement(heard)) = hear(from, &sent.encode()) else { panic!("not heard") };
        assert_eq!(heard.addresses, vec![from.ip()]);
    }

    #[test]
    fn packets_that_are_costly_to_parse_are_left_alone() {
        let from = "192.168.0.7:5353".parse().unwrap();
        let with_records = |count: u8| {
            let mut packet = announcement().encode();
            let before = usize::from(packet[7]) + usize::from(packet[11]);
            // The root's name, and a record without data.
            let record = [0, 0, 99, 0, 1, 0, 0, 0, 9, 0, 0];
            packet.extend(record.repeat(usize::from(count) - before));
            packet[11] = count - packet[7];
            packet
        };
        assert!(hear(from, &with_records(64)).is_some());
        assert_eq!(hear(from, &with_records(65)), None);
        let mut large = announcement();
        large.network = "n".repeat(200);
        let mut packet = large.encode();
        packet.resize(PACKET_BYTES_MAX, 0);
        assert!(hear(from, &packet).is_some());
        packet.push(0);
        assert_eq!(hear(from, &packet), None);
    }

    #[test]
    fn a_lifetime_is_clamped() {
        let mut sent = announcement();
        sent.ttl = Duration::from_secs(1 << 31);
        let Some(Heard::Announcement(heard)) = hear("10.0.0.1:5353".parse().unwrap(), &sent.encode()) else {
            panic!("not heard")
        };
        assert_eq!(heard.ttl, TTL_MAX);
    }

    proptest! {
        #[test]
        fn hearing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = hear("10.0.0.1:5353".parse().unwrap(), &bytes);
        }

        #[test]
        fn hearing_is_total_near_real_packets(at in 0usize..250, value: u8) {
            let mut bytes = announcement().encode();
            let len = bytes.len();
            bytes[at % len] = value;
            let _ = hear("10.0.0.1:5353".parse().unwrap(), &bytes);
        }

        #[test]
        fn hearing_is_total_on_nonsense_that_names_the_service(
            before in proptest::collection::vec(any::<u8>(), 12..60),
            after in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [&before, LABEL, &after].concat();
            let _ = hear("10.0.0.1:5353".parse().unwrap(), &bytes);
        }
    }
}
