//! Addresses at which a node may be dialled, and how far each is trusted.
//!
//! Any host on a local network can announce anything. Table entries and dials are limited resources, so they are
//! allocated by trust: made-up nodes cannot exhaust those that real nodes need.

use core::net::{IpAddr, SocketAddr};

/// How far an address is trusted, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Announced by another host.
    Claimed,
    /// Announced from this address.
    Own,
    /// Announced from this address, and the host there answered more than one query.
    Confirmed,
    /// Configured by the user, or signed by the node itself.
    Known,
}

/// An address at which a node may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) standing: Standing,
    /// The host that announced it; the address itself if that does not matter.
    pub(crate) source: IpAddr,
}

impl Place {
    /// Returns an address of the highest trust.
    pub(crate) const fn known(address: SocketAddr) -> Self {
        Self { address, standing: Standing::Known, source: address.ip() }
    }
}
