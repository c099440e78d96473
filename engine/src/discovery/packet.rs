//! Encodes the packets of the discovery service.
//!
//! DNS-SD (RFC 6763) over mDNS (RFC 6762): a PTR from the service to the node's instance, an SRV with its port, a TXT
//! with its network and version, an A or AAAA record for each address. Every node sends each byte every minute, so the
//! host name is short.

use super::parser::{self, ENUMERATION, NETWORK, SERVICE, SLOTS, VERSION};
use crate::ids::NodeId;
use crate::input::Family;
use core::net::IpAddr;
use core::time::Duration;
use simple_dns::rdata::{A, AAAA, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Label, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// A node's announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) node: NodeId,
    pub(super) network: String,
    pub(super) version: String,
    pub(super) port: u16,
    pub(super) slots: u16,
    pub(super) addresses: Vec<IpAddr>,
    /// Its lifetime; zero is a goodbye.
    pub(super) ttl: Duration,
}

/// Missing records, and the interface to query on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingRecords {
    pub(super) interface: u32,
    pub(super) family: Family,
    pub(super) node: NodeId,
    /// Whether the SRV or the TXT record is missing.
    pub(super) records: bool,
    /// The host whose addresses are missing.
    pub(super) host: Option<parser::Name>,
}

/// Encodes the query for nodes, with those known for some more time.
pub(super) fn browse(known: &[(NodeId, Duration)]) -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    packet.questions.push(question(name(SERVICE), TYPE::PTR));
    for &(node, left) in known {
        let data = RData::PTR(PTR(name(&instance(node))));
        packet.answers.push(ResourceRecord::new(name(SERVICE), CLASS::IN, seconds(left), data));
    }
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

/// Encodes the query for one node.
pub(super) fn resolve(node: NodeId) -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    packet.questions.push(question(name(&instance(node)), TYPE::SRV));
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

/// Encodes queries for the missing records of several nodes.
pub(super) fn ask(wanted: &[MissingRecords]) -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    for wanted in wanted {
        if wanted.records {
            let instance = instance(wanted.node);
            packet.questions.extend([TYPE::SRV, TYPE::TXT].map(|kind| question(name(&instance), kind)));
        }
        if let Some(host) = &wanted.host {
            packet.questions.extend([TYPE::A, TYPE::AAAA].map(|kind| question(as_read(host), kind)));
        }
    }
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

/// Encodes the answer to a query for service types.
pub(super) fn enumeration() -> Vec<u8> {
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet.answers.push(enumerated(ENUMERATION_TTL));
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

/// Encodes the answer to a query in the way of ordinary DNS (RFC 6762, section 6.7); `None` if it is not about this
/// node.
pub(super) fn reply(asked: &parser::Packet, node: &Announcement) -> Option<Vec<u8>> {
    let mut packet = Packet::new_reply(asked.id);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    let node = Announcement { ttl: REPLY_TTL, ..node.clone() };
    let of_node = node.records();
    let is_asked = |record: &ResourceRecord<'_>| {
        asked.questions.iter().any(|question| {
            as_read(&question.name) == record.name
                && QTYPE::try_from(question.kind).is_ok_and(|kind| record.match_qtype(kind))
        })
    };
    let (answers, others): (Vec<_>, Vec<_>) = of_node.into_iter().partition(is_asked);
    if !answers.is_empty() {
        packet.additional_records = others;
    }
    packet.answers = answers;
    packet.answers.extend(Some(enumerated(REPLY_TTL)).filter(is_asked));
    if packet.answers.is_empty() {
        return None;
    }
    for question in &asked.questions {
        let kind = QTYPE::try_from(question.kind).ok()?;
        let labels: Vec<Label<'_>> = question.spelled().map(Label::new_unchecked).collect();
        let name = Name::new_with_labels(&labels);
        packet.questions.push(Question::new(name, kind, QCLASS::CLASS(CLASS::IN), false));
    }
    packet.build_bytes_vec_compressed().ok()
}

/// Tells, without parsing, whether a packet can be about this service or a host. Most packets of a busy network are
/// not.
pub(super) fn concerns(bytes: &[u8], host: &[u8]) -> bool {
    [LABEL, ENUMERATION_LABEL, host].iter().any(|label| {
        bytes.windows(label.len()).any(|window| window[0] == label[0] && window.eq_ignore_ascii_case(label))
    })
}

/// Tells whether a packet is an answer.
pub(super) fn is_answer(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// Returns the first label of a node's host name, encoded as in packets.
pub(super) fn host_label(node: NodeId) -> Vec<u8> {
    let host = host_of(node);
    core::iter::once(u8::try_from(host.len()).unwrap_or_default()).chain(host.bytes()).collect()
}

/// Returns a node's host name.
pub(super) fn host(node: NodeId) -> parser::Name {
    parser::Name::new(&format!("{}.local", host_of(node)))
}

impl Announcement {
    /// Encodes the announcement.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut packet = Packet::new_reply(0);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        let records = self.records().into_iter();
        // All records except the PTR belong to this node alone, so they flush cached ones.
        packet.answers = records
            .map(|record| {
                let unique = !matches!(record.rdata, RData::PTR(_));
                record.with_cache_flush(unique)
            })
            .collect();
        packet.build_bytes_vec_compressed().unwrap_or_default()
    }

    fn records(&self) -> Vec<ResourceRecord<'static>> {
        let (instance, host) = (instance(self.node), format!("{}.local", host_of(self.node)));
        let ttl = seconds(self.ttl);
        let record = |owner: &str, data| ResourceRecord::new(name(owner), CLASS::IN, ttl, data);
        let server = SRV { priority: 0, weight: 0, port: self.port, target: name(&host) };
        let mut records =
            vec![record(SERVICE, RData::PTR(PTR(name(&instance)))), record(&instance, RData::SRV(server))];
        records.extend(self.text().map(|text| record(&instance, RData::TXT(text))));
        records.extend(self.addresses.iter().map(|address| {
            let data = match address {
                IpAddr::V4(address) => RData::A(A::from(*address)),
                IpAddr::V6(address) => RData::AAAA(AAAA::from(*address)),
            };
            record(&host, data)
        }));
        records
    }

    fn text(&self) -> Option<TXT<'static>> {
        let slots = self.slots.to_string();
        let text = TXT::new()
            .with_attribute(NETWORK, Some(self.network.as_bytes()))
            .and_then(|text| text.with_attribute(VERSION, Some(self.version.as_bytes())))
            .and_then(|text| text.with_attribute(SLOTS, Some(slots.as_bytes())));
        text.ok()
    }
}

fn question(name: Name<'_>, kind: TYPE) -> Question<'_> {
    Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false)
}

fn enumerated(ttl: Duration) -> ResourceRecord<'static> {
    let data = RData::PTR(PTR(name(SERVICE)));
    ResourceRecord::new(name(ENUMERATION), CLASS::IN, seconds(ttl), data)
}

fn instance(node: NodeId) -> String {
    format!("{node}.{SERVICE}")
}

fn host_of(node: NodeId) -> String {
    let mut host = node.to_string();
    host.truncate(HOST_CHARACTERS);
    host
}

fn name(text: &str) -> Name<'static> {
    Name::new_unchecked(text).into_owned()
}

fn as_read(name: &parser::Name) -> Name<'_> {
    let labels: Vec<Label<'_>> = name.labels().map(Label::new_unchecked).collect();
    Name::new_with_labels(&labels)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// The service's own label, encoded as in packets.
const LABEL: &[u8] = b"\x0e_p2p-ai-agents";
const ENUMERATION_LABEL: &[u8] = b"\x07_dns-sd";
/// Characters of the node's id in its host name. It need not be unique.
const HOST_CHARACTERS: usize = 12;
/// Maximum number of addresses in an announcement, sent or received.
pub(super) const ADDRESSES_MAX: usize = 8;
/// Maximum number of known answers in a query. They fit into one Ethernet frame.
pub(super) const KNOWN_MAX: usize = 24;
/// A known answer with at least this lifetime suppresses a node's answer: half of a full lifetime.
pub(super) const KNOWN_ANSWER_TTL_MIN: Duration = Duration::from_secs(150);
/// The maximum lifetime, whatever a packet says.
pub(super) const TTL_MAX: Duration = Duration::from_secs(300);
/// The lifetime of the announcement of the service type (RFC 6762, section 10).
pub(super) const ENUMERATION_TTL: Duration = Duration::from_secs(4_500);
/// The lifetime of a unicast reply, whose receiver hears no goodbye (RFC 6762, section 6.7).
const REPLY_TTL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::parser::{Data, read};
    use super::*;

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
    fn an_announcement_is_small() {
        assert!(announcement().encode().len() <= 200, "{}", announcement().encode().len());
        let known = [(NodeId([1; 16]), KNOWN_ANSWER_TTL_MIN); KNOWN_MAX];
        assert!(browse(&known).len() <= 1400, "{}", browse(&known).len());
    }

    #[test]
    fn packets_of_other_services_are_told_apart_unparsed() {
        let host = host_label(NodeId([7; 16]));
        let concerns = |bytes: &[u8]| concerns(bytes, &host);
        assert!(concerns(&announcement().encode()) && concerns(&browse(&[])) && concerns(&enumeration()));
        assert!(concerns(&announcement().encode().to_ascii_uppercase()));
        let mut other = announcement().encode();
        for label in [LABEL, &host] {
            while let Some(at) = other.windows(label.len()).position(|window| window == label) {
                other[at] = b'x';
            }
        }
        assert!(!concerns(&other));
    }

    /// A host that does not speak mDNS gets an ordinary DNS answer.
    #[test]
    fn an_ordinary_question_gets_an_ordinary_answer() {
        let asked = |name: &str, kind: TYPE| {
            let mut packet = Packet::new_query(0x1234);
            packet.questions.push(question(Name::new_unchecked(name), kind));
            read(&packet.build_bytes_vec().unwrap()).unwrap()
        };
        let instance = instance(NodeId([7; 16]));
        for (name, kind, answers, all) in [
            ("_P2P-ai-agents._TCP.local", TYPE::PTR, 1, 4),
            (&instance, TYPE::SRV, 1, 4),
            ("070707070707.LOCAL", TYPE::A, 1, 4),
            (ENUMERATION, TYPE::PTR, 1, 1),
        ] {
            let bytes = reply(&asked(name, kind), &announcement()).unwrap();
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.id(), packet.questions.len()), (0x1234, 1));
            assert_eq!(packet.questions[0].qname.to_string(), name, "as it was spelled");
            assert_eq!(packet.answers.len(), answers, "{name}");
            let records: Vec<_> = packet.answers.iter().chain(&packet.additional_records).collect();
            assert_eq!(records.len(), all, "{name}");
            assert!(records.iter().all(|record| record.ttl == 10 && !record.cache_flush));
        }
        for (name, kind) in [("070707070707.local", TYPE::AAAA), ("other.local", TYPE::A)] {
            assert_eq!(reply(&asked(name, kind), &announcement()), None);
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_in_one_packet() {
        use crate::input::Family;
        let host = parser::Name::new("printer.local");
        let wanted = |node, records, host| MissingRecords {
            interface: 1,
            family: Family::V4,
            node: NodeId([node; 16]),
            records,
            host,
        };
        let packet = read(&ask(&[wanted(1, true, None), wanted(2, false, Some(host.clone()))])).unwrap();
        let asked: Vec<_> =
            packet.questions.iter().map(|question| (question.name.clone(), question.kind)).collect();
        let one = parser::Name::new(&instance(NodeId([1; 16])));
        assert_eq!(asked, [(one.clone(), 33), (one, 16), (host.clone(), 1), (host, 28)]);
        assert!(packet.records.is_empty());
        let packet = read(&enumeration()).unwrap();
        assert!(matches!(&packet.records[0].data, Data::Pointer(name) if name.is_service()));
    }
}
