//! mDNS packets as anybody on the network may forge them (RFC 6762, RFC 6763).

use crate::cluster;
use core::net::IpAddr;

/// Returns a packet that announces a node of `network` at an address for `ttl` seconds; a TTL of 0 says that the node
/// has left.
pub(super) fn announcement(node: &str, network: &str, address: IpAddr, ttl: u32) -> Vec<u8> {
    let instance = [&[node][..], &SERVICE].concat();
    let host = [&node[..12.min(node.len())], "local"];
    let mut packet = vec![0, 0, ANSWER, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let mut record = |owner: &[&str], kind: u8, class: [u8; 2], data: &[u8]| {
        packet.extend(name(owner));
        packet.extend([0, kind]);
        packet.extend(class);
        packet.extend(ttl.to_be_bytes());
        packet.extend(length(data));
        packet.extend(data);
    };
    record(&SERVICE, PTR, SHARED, &name(&instance));
    let [high, low] = cluster::PORT.to_be_bytes();
    record(&instance, SRV, UNIQUE, &[&[0, 0, 0, 0, high, low], &name(&host)[..]].concat());
    let attributes = [format!("net={network}"), "ver=0".to_owned(), "slots=1".to_owned()];
    let text: Vec<u8> = attributes.iter().flat_map(|attribute| label(attribute)).collect();
    record(&instance, TXT, UNIQUE, &text);
    match address {
        IpAddr::V4(address) => record(&host, A, UNIQUE, &address.octets()),
        IpAddr::V6(address) => record(&host, AAAA, UNIQUE, &address.octets()),
    }
    packet
}

fn name(labels: &[&str]) -> Vec<u8> {
    labels.iter().flat_map(|text| label(text)).chain([0]).collect()
}

fn label(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or_default();
    core::iter::once(length).chain(text.bytes()).collect()
}

fn length(data: &[u8]) -> [u8; 2] {
    u16::try_from(data.len()).unwrap_or_default().to_be_bytes()
}

const SERVICE: [&str; 3] = ["_p2p-ai-agents", "_tcp", "local"];
/// The flags of an authoritative answer.
const ANSWER: u8 = 0x84;
const A: u8 = 1;
const PTR: u8 = 12;
const TXT: u8 = 16;
const AAAA: u8 = 28;
const SRV: u8 = 33;
/// The class of a shared record, and that of a unique one.
const SHARED: [u8; 2] = [0, 1];
const UNIQUE: [u8; 2] = [0x80, 1];
