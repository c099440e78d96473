//! Parses packets of the discovery service: names, questions and the relevant records, in bounded time.
//!
//! All mDNS packets of the network are read here, and most are about other services. Irrelevant records are skipped
//! unparsed, so one odd record does not make the others useless. A name may point to an earlier one, repeatedly. So the
//! steps of all names of a packet are counted, and a packet that takes too many is dropped. Names and keys are compared
//! without regard to case (RFC 6762, section 16; RFC 6763, section 6.4).

use crate::ids::NodeId;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

/// A name: its labels in lower case, each after its length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(Vec<u8>);

/// A packet, with its relevant questions and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) id: u16,
    pub(super) is_response: bool,
    pub(super) questions: Vec<Question>,
    pub(super) records: Vec<Record>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: u16,
    /// The name in its original case, which a reply repeats.
    spelled: Vec<u8>,
}

/// A record of a relevant type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) ttl: Duration,
    pub(super) data: Data,
}

/// The data of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Pointer(Name),
    Server { port: u16, target: Name },
    Text(Attributes),
}

/// The attributes in a node's TXT record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) network: String,
    pub(super) version: String,
    pub(super) slots: u16,
}

/// Parses a packet; `None` if it is malformed, too costly, or neither an mDNS query nor an answer.
pub(super) fn read(bytes: &[u8]) -> Option<Packet> {
    if bytes.len() > PACKET_BYTES_MAX {
        return None;
    }
    let mut reader = Reader { bytes, at: 0, steps: 0 };
    let [id, flags, questions, answers, authorities, additional] = [(); 6].map(|()| reader.number());
    let (id, flags) = (id?, flags?);
    // Other opcodes and response codes are silently ignored (RFC 6762, sections 18.3 and 18.11).
    if flags & (OPCODE | RESPONSE_CODE) != 0 {
        return None;
    }
    let mut packet =
        Packet { id, is_response: flags & RESPONSE != 0, questions: Vec::new(), records: Vec::new() };
    for _ in 0..questions? {
        let spelled = reader.spelled()?;
        let (kind, class) = (reader.number()?, reader.number()? & !TOP_BIT);
        if matches!(class, CLASS_IN | CLASS_ANY) && packet.questions.len() < QUESTIONS_MAX {
            packet.questions.push(Question { name: Name(spelled.to_ascii_lowercase()), kind, spelled });
        }
    }
    let records = u32::from(answers?) + u32::from(authorities?) + u32::from(additional?);
    for _ in 0..records {
        let record = reader.record()?;
        if packet.records.len() < RECORDS_MAX {
            packet.records.extend(record);
        }
    }
    Some(packet)
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Labels and pointers read so far.
    steps: u32,
}

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u16> {
        let [high, low] = *self.take(2)? else { return None };
        Some(u16::from_be_bytes([high, low]))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn name(&mut self) -> Option<Name> {
        let mut name = self.spelled()?;
        // No length of a label is the code of a letter.
        name.make_ascii_lowercase();
        Some(Name(name))
    }

    /// Reads a name in its original case.
    fn spelled(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        // Where to continue after the name, once a pointer leads elsewhere.
        let mut end = None;
        loop {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return None;
            }
            let length = *self.take(1)?.first()?;
            match length {
                0 => break,
                1..=LABEL_BYTES_MAX => {
                    name.push(length);
                    name.extend(self.take(length.into())?);
                    if name.len() >= NAME_BYTES_MAX {
                        return None;
                    }
                }
                POINTER.. => {
                    let low = *self.take(1)?.first()?;
                    end = end.or(Some(self.at));
                    self.at = usize::from(u16::from_be_bytes([length & !POINTER, low]));
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(self.at);
        Some(name)
    }

    /// Reads a record. The inner option is `None` if it is irrelevant, or itself malformed.
    fn record(&mut self) -> Option<Option<Record>> {
        let name = self.name()?;
        let (kind, class) = (self.number()?, self.number()? & !TOP_BIT);
        let (high, low) = (self.number()?, self.number()?);
        let ttl = Duration::from_secs((u64::from(high) << 16) | u64::from(low));
        let length = usize::from(self.number()?);
        let mut inside = *self;
        let data = self.take(length)?;
        let is_ours = || name.is_service() || name.is_enumeration() || name.instance().is_some();
        let data = match kind {
            _ if class != CLASS_IN => None,
            KIND_A => <[u8; 4]>::try_from(data).ok().map(|data| Data::Address(Ipv4Addr::from(data).into())),
            KIND_AAAA => {
                <[u8; 16]>::try_from(data).ok().map(|data| Data::Address(Ipv6Addr::from(data).into()))
            }
            KIND_PTR if is_ours() => inside.name().map(Data::Pointer),
            KIND_SRV if is_ours() => inside.server(),
            KIND_TXT if is_ours() => Some(Data::Text(Attributes::read(data))),
            _ => None,
        };
        self.steps = inside.steps.max(self.steps);
        Some(data.map(|data| Record { name, ttl, data }))
    }

    fn server(&mut self) -> Option<Data> {
        let (_priority, _weight, port) = (self.number()?, self.number()?, self.number()?);
        Some(Data::Server { port, target: self.name()? })
    }
}

impl Name {
    /// Builds a name from labels. No label may exceed the maximum length.
    pub(super) fn new(labels: &str) -> Self {
        let mut name = Vec::new();
        for label in labels.split('.') {
            name.push(u8::try_from(label.len()).unwrap_or(LABEL_BYTES_MAX));
            name.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        Self(name)
    }

    /// Returns the name's labels.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }

    pub(super) fn is_service(&self) -> bool {
        self.labels().eq(SERVICE.split('.').map(str::as_bytes))
    }

    /// Tells whether it is the name under which all service types are listed (RFC 6763, section 9).
    pub(super) fn is_enumeration(&self) -> bool {
        self.labels().eq(ENUMERATION.split('.').map(str::as_bytes))
    }

    /// Returns the node whose service instance it names.
    pub(super) fn instance(&self) -> Option<NodeId> {
        let mut labels = self.labels();
        let node = core::str::from_utf8(labels.next()?).ok()?;
        let is_ours = labels.eq(SERVICE.split('.').map(str::as_bytes));
        if is_ours { node.parse().ok() } else { None }
    }
}

impl Question {
    /// Returns the labels of the name in their original case.
    pub(super) fn spelled(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.spelled)
    }

    /// Tells whether records of a type are asked for.
    pub(super) fn asks_for(&self, kind: u16) -> bool {
        self.kind == kind || self.kind == KIND_ANY
    }
}

fn labels(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (&length, after) = rest.split_first()?;
        let (label, next) = after.split_at_checked(length.into())?;
        rest = next;
        Some(label)
    })
}

impl Attributes {
    /// Parses the attributes. Of a repeated key, the first counts (RFC 6763, section 6.4).
    fn read(mut data: &[u8]) -> Self {
        let (mut network, mut version, mut slots) = (None, None, None);
        while let Some((&length, rest)) = data.split_first() {
            let Some((text, next)) = rest.split_at_checked(length.into()) else { break };
            data = next;
            let Some(at) = text.iter().position(|byte| *byte == b'=') else { continue };
            let Ok(value) = core::str::from_utf8(&text[at + 1..]) else { continue };
            let key = &text[..at];
            if key.eq_ignore_ascii_case(NETWORK.as_bytes()) {
                network = network.or(Some(value));
            } else if key.eq_ignore_ascii_case(VERSION.as_bytes()) {
                version = version.or(Some(value));
            } else if key.eq_ignore_ascii_case(SLOTS.as_bytes()) {
                slots = slots.or(Some(value));
            }
        }
        Self {
            network: network.unwrap_or_default().to_owned(),
            version: version.unwrap_or_default().to_owned(),
            slots: slots.and_then(|slots| slots.parse().ok()).unwrap_or_default(),
        }
    }
}

/// The name of the service type.
pub(super) const SERVICE: &str = "_p2p-ai-agents._tcp.local";
/// The name under which all service types are listed.
pub(super) const ENUMERATION: &str = "_services._dns-sd._udp.local";
pub(super) const NETWORK: &str = "net";
pub(super) const VERSION: &str = "ver";
pub(super) const SLOTS: &str = "slots";
/// The maximum size of a packet (RFC 6762, section 17).
const PACKET_BYTES_MAX: usize = 9_000;
/// Maximum number of labels and pointers in all names of one packet. A full packet of short records has half as many.
const STEPS_MAX: u32 = 8_192;
/// Maximum number of relevant questions and records taken from one packet.
const QUESTIONS_MAX: usize = 64;
const RECORDS_MAX: usize = 256;
const LABEL_BYTES_MAX: u8 = 63;
const NAME_BYTES_MAX: usize = 255;
/// Marks a pointer in place of a label's length.
const POINTER: u8 = 0xc0;
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const RESPONSE_CODE: u16 = 0x000f;
/// In a class: the answer may be sent by unicast, or cached records are to be flushed.
const TOP_BIT: u16 = 0x8000;
const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;
pub(super) const KIND_A: u16 = 1;
pub(super) const KIND_PTR: u16 = 12;
pub(super) const KIND_TXT: u16 = 16;
pub(super) const KIND_AAAA: u16 = 28;
pub(super) const KIND_SRV: u16 = 33;
pub(super) const KIND_ANY: u16 = 255;

#[cfg(test)]
mod tests {
    use super::super::packet::{self, Announcement, KNOWN_ANSWER_TTL_MIN};
    use super::*;
    use proptest::prelude::*;

    fn announcement() -> Announcement {
        Announcement {
            node: NodeId([0xab; 16]),
            network: "local".to_owned(),
            version: "0.1.0".to_owned(),
            port: 9000,
            slots: 4,
            addresses: vec!["192.168.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            ttl: Duration::from_secs(120),
        }
    }

    /// The root name, and a TXT record in it without any text.
    const EMPTY: [u8; 11] = [0, 0, 16, 0, 1, 0, 0, 0, 9, 0, 0];

    #[test]
    fn what_a_node_sends_is_read_whatever_the_case() {
        let node = NodeId([0xab; 16]);
        let mut shouted = announcement().encode();
        for word in ["_p2p-ai-agents", "_tcp", "local", "abababababab", "net", "slots"] {
            while let Some(at) = shouted.windows(word.len()).position(|window| window == word.as_bytes()) {
                shouted[at..at + word.len()].make_ascii_uppercase();
            }
        }
        for bytes in [announcement().encode(), shouted] {
            let packet = read(&bytes).unwrap();
            assert!(packet.is_response && packet.questions.is_empty());
            let [pointer, server, text, v4, v6] = &packet.records[..] else { panic!("{packet:?}") };
            assert!(pointer.name.is_service());
            assert!(matches!(&pointer.data, Data::Pointer(name) if name.instance() == Some(node)));
            let target = packet::host(node);
            assert_eq!(server.data, Data::Server { port: 9000, target: target.clone() });
            assert!(matches!(&text.data, Data::Text(text) if text.network.eq_ignore_ascii_case("local")));
            assert_eq!(v4.data, Data::Address("192.168.0.7".parse().unwrap()));
            assert_eq!(v6.data, Data::Address("fd00::7".parse().unwrap()));
            assert!(v4.name == target && v6.name == target);
            assert!(packet.records.iter().all(|record| record.ttl == Duration::from_secs(120)));
        }
        let query = read(&packet::browse(&[(NodeId([1; 16]), KNOWN_ANSWER_TTL_MIN)])).unwrap();
        assert!(!query.is_response && query.questions[0].name.is_service());
        assert_eq!(query.records.len(), 1);
    }

    #[test]
    fn of_a_key_that_comes_twice_the_first_counts() {
        let text = b"\x05NET=a\x05net=b\x03Ver\x07slots=x\x05SLOTS\x09";
        let read = Attributes::read(text);
        assert_eq!((read.network.as_str(), read.version.as_str(), read.slots), ("a", "", 0));
    }

    #[test]
    fn many_records_are_read_and_odd_ones_left_out() {
        let mut packet = announcement().encode();
        packet.extend(EMPTY.repeat(300));
        // An address of three bytes, and a service whose target leads nowhere.
        packet.extend([0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 3, 1, 2, 3]);
        packet.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 9, 0, 8, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
        packet[6..8].copy_from_slice(&307_u16.to_be_bytes());
        assert_eq!(read(&packet).unwrap().records.len(), 5);
        packet.pop();
        assert_eq!(read(&packet), None, "cut short");
    }

    #[test]
    fn packets_that_are_costly_to_read_are_left_alone() {
        // Names that point back over a thousand steps each.
        let mut packet = vec![0, 0, 0x84, 0, 0, 0, 1, 0, 0, 0, 0, 0];
        packet.extend([0, 0, 16, 0, 1, 0, 0, 0, 9]);
        packet.extend(2000_u16.to_be_bytes());
        let first = u16::try_from(packet.len()).unwrap();
        for step in 0..1000 {
            let to = if step == 0 { 12 } else { first + (step - 1) * 2 };
            packet.extend((0xc000 | to).to_be_bytes());
        }
        let last = (0xc000 | (first + 1998)).to_be_bytes();
        while packet.len() < 8_900 {
            packet.extend([&last[..], &EMPTY[1..]].concat());
        }
        assert_eq!(read(&packet), None);
        // A name that points to itself.
        assert_eq!(read(&[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 16, 0, 1]), None);
        let mut large = announcement().encode();
        large.resize(PACKET_BYTES_MAX, 0);
        assert!(read(&large).is_some());
        large.push(0);
        assert_eq!(read(&large), None);
    }

    proptest! {
        #[test]
        fn reading_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn reading_is_total_near_real_packets(at in 0usize..250, value: u8) {
            let mut bytes = announcement().encode();
            let len = bytes.len();
            bytes[at % len] = value;
            let _ = read(&bytes);
        }
    }
}
