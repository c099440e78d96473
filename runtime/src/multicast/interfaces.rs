//! The interfaces of this host, the most useful first.

use super::Wire;
use engine::input::Family;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// One address of an interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) address: IpAddr,
    /// Length of the prefix of its subnet.
    pub(super) prefix_length: u8,
    /// Whether containers or virtual machines created it.
    pub(super) bridge: bool,
    /// Whether it supports multicast.
    pub(super) multicast: bool,
}

impl Found {
    pub(super) fn wire(&self) -> Wire {
        (self.index, Family::for_address(self.address))
    }
}

/// Lists the addresses of the interfaces that are up, the most useful first.
pub(super) fn find_interfaces(only: Option<&[String]>) -> Vec<Found> {
    let addresses = match getifaddrs() {
        Ok(addresses) => addresses,
        Err(error) => {
            tracing::warn!(%error, "the network interfaces cannot be read");
            return Vec::new();
        }
    };
    let unusable = unusable_v6(&std::fs::read_to_string(IF_INET6).unwrap_or_default());
    let mut found: Vec<Found> = addresses
        .filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP))
        .filter(|entry| only.is_none_or(|names| names.contains(&entry.interface_name)))
        .filter_map(|entry| {
            let address = ip_address(&entry.address?)?;
            let loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            Some(Found {
                index: if_nametoindex(entry.interface_name.as_str()).ok()?,
                address,
                prefix_length: prefix_length(address, entry.netmask.as_ref().and_then(ip_address)),
                bridge: is_bridge(&entry.interface_name),
                // Linux does not flag loopback as capable, but it delivers to members of the group there.
                multicast: loopback || entry.flags.contains(InterfaceFlags::IFF_MULTICAST),
                name: entry.interface_name,
            })
        })
        // On one host, a second family is not needed.
        .filter(|found| found.address != IpAddr::V6(Ipv6Addr::LOCALHOST))
        .filter(|found| !unusable.contains(&found.address))
        .collect();
    found.sort_by_key(|found| (usefulness(found), found.index, found.address));
    found.truncate(ADDRESSES_MAX);
    found
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    match address.as_sockaddr_in() {
        Some(address) => Some(address.ip().into()),
        None => Some(address.as_sockaddr_in6()?.ip().into()),
    }
}

/// Returns the prefix length of a subnet. An address without a mask is alone in its subnet.
fn prefix_length(address: IpAddr, mask: Option<IpAddr>) -> u8 {
    let ones = match (address, mask) {
        (IpAddr::V4(_), Some(IpAddr::V4(mask))) => mask.to_bits().leading_ones(),
        (IpAddr::V6(_), Some(IpAddr::V6(mask))) => mask.to_bits().leading_ones(),
        (IpAddr::V4(_), _) => 32,
        (IpAddr::V6(_), _) => 128,
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

/// Tells whether this host has an interface of this name, up or down.
pub(crate) fn has_interface(name: &str) -> bool {
    if_nametoindex(name).is_ok()
}

/// Sort order: physical interfaces, loopback, then those of containers and virtual machines.
fn usefulness(found: &Found) -> u8 {
    if found.bridge { 2 } else { u8::from(found.address.is_loopback()) }
}

fn is_bridge(name: &str) -> bool {
    const PREFIXES: [&str; 11] =
        ["br-", "bridge", "cali", "cni", "docker", "flannel", "lxc", "podman", "veth", "virbr", "vmnet"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Reads which IPv6 addresses must not be used: tentative, duplicate and deprecated ones. A line holds address, index,
/// prefix length, scope, flags and name; numbers are hexadecimal.
fn unusable_v6(table: &str) -> BTreeSet<IpAddr> {
    let read = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        let checked = flags & TENTATIVE == 0 || flags & OPTIMISTIC != 0;
        let bad = !checked || flags & (FAILED | DEPRECATED) != 0;
        bad.then_some(IpAddr::V6(Ipv6Addr::from_bits(address)))
    };
    table.lines().filter_map(read).collect()
}

/// Where Linux lists IPv6 addresses with their flags. On other systems the file does not exist, and every address
/// counts.
const IF_INET6: &str = "/proc/net/if_inet6";
/// Address flags, from Linux's `if_addr.h`.
const OPTIMISTIC: u32 = 0x04;
const FAILED: u32 = 0x08;
const DEPRECATED: u32 = 0x20;
const TENTATIVE: u32 = 0x40;

/// Maximum number of addresses. Beyond, the least useful ones are left out.
const ADDRESSES_MAX: usize = 64;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn container_interfaces_come_last() {
        let found = |name: &str, address: &str| Found {
            name: name.to_owned(),
            index: 1,
            address: address.parse().unwrap(),
            prefix_length: 24,
            bridge: is_bridge(name),
            multicast: true,
        };
        let names = ["eth0", "br0", "docker0", "veth12", "br-9f", "virbr0", "cni0", "podman1"];
        let ranks = names.map(|name| usefulness(&found(name, "10.0.0.1")));
        assert_eq!(ranks, [0, 0, 2, 2, 2, 2, 2, 2]);
        assert_eq!(usefulness(&found("lo", "127.0.0.1")), 1);
    }

    #[test]
    fn subnets_are_as_large_as_their_masks_say() {
        let of = |address: &str, mask: Option<&str>| {
            prefix_length(address.parse().unwrap(), mask.map(|mask| mask.parse().unwrap()))
        };
        assert_eq!(of("198.51.100.7", Some("255.255.255.0")), 24);
        assert_eq!(of("198.51.100.7", Some("255.255.254.0")), 23);
        assert_eq!(of("198.51.100.7", None), 32);
        assert_eq!(of("2001:db8::1", Some("ffff:ffff:ffff:ffff::")), 64);
        assert_eq!(of("2001:db8::1", None), 128);
        let loopback = find_interfaces(Some(&["lo".to_owned()]));
        assert!(loopback.iter().all(|found| found.prefix_length == 8), "{loopback:?}");
    }

    #[test]
    fn addresses_whose_uniqueness_is_not_known_yet_are_left_out() {
        let table = "fe800000000000000000000000000001 02 40 20 40     eth0\n\
                     fe800000000000000000000000000002 03 40 20 80     eth1\n\
                     fd000000000000000000000000000003 03 40 00 48     eth1\n\
                     fd000000000000000000000000000004 03 40 00 44     eth1\n\
                     fd000000000000000000000000000005 03 40 00 20     eth1\n\
                     nonsense\n";
        let expected = ["fe80::1", "fd00::3", "fd00::5"].map(|address| address.parse().unwrap());
        assert_eq!(unusable_v6(table), BTreeSet::from(expected));
    }
}
