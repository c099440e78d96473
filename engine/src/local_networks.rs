//! Which addresses are local. In an open network, a node only has links to these.
//!
//! Local are the ranges that internet routers do not forward (RFC 1918, 3927, 4193, 6598), and the subnets of this
//! host: a campus may use public addresses for its own hosts. A subnet too large for a single link is ignored.

use crate::input::Interface;
use core::net::IpAddr;

/// The addresses that are local to this host.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalNetworks {
    /// An address in each subnet, and the length of the subnet's prefix in bits.
    subnets: Vec<(IpAddr, u8)>,
}

impl LocalNetworks {
    /// Reads the subnets of this host's interfaces.
    pub(crate) fn from_interfaces(interfaces: &[Interface]) -> Self {
        let subnets = interfaces.iter().map(|interface| (interface.address, interface.prefix_length));
        Self { subnets: subnets.filter(|&(address, length)| is_subnet(address, length)).collect() }
    }

    /// Tells whether an address is local.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_private(address) || self.subnets.iter().any(|&(own, length)| shares_prefix(own, address, length))
    }
}

/// Tells whether an address is only valid together with its interface.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Tells whether an address is in a range for local use: loopback, link-local, private, or shared.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// Tells whether a prefix may belong to a single link with several hosts.
fn is_subnet(address: IpAddr, length: u8) -> bool {
    match address {
        IpAddr::V4(_) => (V4_PREFIX_MIN..32).contains(&length),
        IpAddr::V6(_) => (V6_PREFIX_MIN..128).contains(&length),
    }
}

fn shares_prefix(one: IpAddr, other: IpAddr, length: u8) -> bool {
    let length = u32::from(length);
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(32 - length.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(128 - length.min(128)).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// The shortest prefixes that count. Large campuses use 16 bits; a single IPv6 link has 64.
const V4_PREFIX_MIN: u8 = 16;
const V6_PREFIX_MIN: u8 = 56;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn private_addresses_and_those_of_own_subnets_are_local() {
        let interfaces = [
            ("198.51.100.7", 24),
            ("203.0.113.9", 32),
            ("192.0.2.1", 0),
            ("2001:db8:0:7::1", 64),
            ("2002::1", 16),
        ]
        .map(|(address, prefix_length)| Interface { prefix_length, ..Interface::new(2, ip(address)) });
        let local = LocalNetworks::from_interfaces(&interfaces);
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.31.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "198.51.100.0",
            "198.51.100.255",
            "::ffff:198.51.100.1",
            "2001:db8:0:7:ffff::2",
        ] {
            assert!(local.contains(ip(address)), "{address}");
        }
        for address in [
            "198.51.101.1",
            "198.51.99.255",
            "203.0.113.9",
            "203.0.113.10",
            "192.0.2.1",
            "8.8.8.8",
            "2001:db8:0:8::1",
            "2002::2",
            "::ffff:198.51.101.1",
        ] {
            assert!(!local.contains(ip(address)), "{address}");
        }
        assert!(!LocalNetworks::default().contains(ip("198.51.100.7")));
    }
}
