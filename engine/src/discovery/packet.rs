//! The packets of the discovery service: what one says, and what one is taken to say.
//!
//! DNS-SD (RFC 6763) over mDNS (RFC 6762): a PTR from the service to the node's instance, an SRV with its port, a TXT
//! with its network and version, an A or AAAA with its address.

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
    Query,
}

/// Encodes the question who is there.
pub(super) fn query() -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    let question =
        Question::new(Name::new_unchecked(SERVICE), QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN), false);
    packet.questions.push(question);
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

impl Announcement {
    /// Encodes the announcement.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.build().unwrap_or_default()
    }

    fn build(&self) -> simple_dns::Result<Vec<u8>> {
        let ttl = u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX);
        let instance = format!("{}.{SERVICE}", self.node);
        let host = format!("{}.local", self.node);
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
    if bytes.len() > PACKET_BYTES_MAX {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    if !packet.has_flags(PacketFlag::RESPONSE) {
        let asks = packet.questions.iter().any(|question| question.qname.to_string() == SERVICE);
        return asks.then_some(Heard::Query);
    }
    let pointer = packet.answers.iter().find(|record| record.name.to_string() == SERVICE)?;
    let RData::PTR(PTR(instance)) = &pointer.rdata else { return None };
    let instance = instance.to_string();
    let node: NodeId = instance.strip_suffix(SERVICE)?.strip_suffix('.')?.parse().ok()?;
    let mut announcement = Announcement {
        node,
        network: String::new(),
        version: String::new(),
        port: 0,
        slots: 0,
        addresses: Vec::new(),
        ttl: Duration::from_secs(pointer.ttl.into()).min(TTL_MAX),
    };
    let records = packet.answers.iter().chain(&packet.additional_records).take(RECORDS_MAX);
    for record in records {
        if record.name.to_string() == instance {
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
const NETWORK: &str = "net";
const VERSION: &str = "ver";
const SLOTS: &str = "slots";
/// The largest packet that mDNS allows (RFC 6762, section 17).
const PACKET_BYTES_MAX: usize = 9000;
const RECORDS_MAX: usize = 32;
const ADDRESSES_MAX: usize = 4;
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
        assert_eq!(hear(from, &query()), Some(Heard::Query));
    }

    #[test]
    fn an_announcement_is_small() {
        assert!(announcement().encode().len() < 260, "{}", announcement().encode().len());
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
    }
}
