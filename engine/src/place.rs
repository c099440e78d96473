//! Where a node may be dialled, and how far to trust who says so.
//!
//! Anybody on a local network can announce anything. What costs a node something (an entry in its list, a dial that
//! waits for an answer) is therefore shared out by trust, so that made-up nodes cannot use up what real ones need.

use core::net::{IpAddr, SocketAddr};

/// How far to trust an address, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Somebody elsewhere announces it.
    Claimed,
    /// It is announced from this very address.
    Own,
    /// So it is, and whoever is there answered more than one question.
    Confirmed,
    /// The user configured it, or a node signed that it is its own.
    Known,
}

/// An address at which a node may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) standing: Standing,
    /// Who says so; its own address where that is of no interest.
    pub(crate) source: IpAddr,
}

impl Place {
    /// Returns a place that is known for sure.
    pub(crate) const fn known(address: SocketAddr) -> Self {
        Self { address, standing: Standing::Known, source: address.ip() }
    }
}
