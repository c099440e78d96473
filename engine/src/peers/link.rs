//! One connection, from its handshake until it is closed, and what its other end may send.

use super::address_book::Target;
use crate::event::LinkDownReason;
use crate::ids::{LinkId, NodeId};
use crate::rate::Bucket;
use crate::time::Instant;
use crate::wire::SignedAdvert;
use core::net::SocketAddr;

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who is at the other end.
    pub(crate) node: NodeId,
    /// Its address.
    pub(crate) remote: SocketAddr,
    /// The product's version there; empty before the hello.
    pub(crate) version: String,
    /// Where the other end takes connections; 0 before the hello.
    pub(crate) network_port: u16,
    /// When the hellos were exchanged, or the connection came up where they were not yet.
    pub(crate) since: Instant,
    /// Frames received.
    pub(crate) frames_in: u64,
    /// Frames sent.
    pub(crate) frames_out: u64,
    /// Frames that the other end may still send.
    pub(crate) frames: Bucket,
    /// Bytes that the other end may still send.
    pub(crate) bytes: Bucket,
    /// Unknown adverts of others that the other end may still have checked.
    pub(crate) adverts: Bucket,
    pub(super) target: Option<Target>,
    pub(super) incarnation: u64,
    /// The other end took this node's hello.
    pub(super) welcome: bool,
    /// The link to the same node that this one replaces once it is up, and why.
    pub(super) replaces: Option<(LinkId, LinkDownReason)>,
    /// Where a copy of the other end is, to be told once the link is up.
    pub(super) copy: Option<SocketAddr>,
    /// The other end has told of a copy of this node.
    pub(crate) copy_told: bool,
    /// What the other end said of itself, until the link is up.
    pub(super) advert: Option<SignedAdvert>,
    pub(super) state: LinkState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Waits for the other end's hello.
    Greeting,
    /// The other end's hello says that it took the place of one to which there is a link.
    InConflict,
    /// This node took the other end's hello, and waits to hear the same of its own.
    Accepted,
    /// Both took each other's hello.
    Up,
    /// Waits for the connection to close.
    Closing,
}

impl Link {
    /// Makes a connection that came up; `target` is what was dialled, where this node did.
    pub(super) fn new(now: Instant, node: NodeId, remote: SocketAddr, target: Option<Target>) -> Self {
        Self {
            node,
            remote,
            version: String::new(),
            network_port: 0,
            since: now,
            frames_in: 0,
            frames_out: 0,
            frames: Bucket::new(FRAMES_PER_SECOND, FRAMES_PER_SECOND * 2),
            bytes: Bucket::new(BYTES_PER_SECOND, BYTES_PER_SECOND * 2),
            adverts: Bucket::new(ADVERTS_PER_SECOND, ADVERTS_BURST),
            target,
            incarnation: 0,
            welcome: false,
            replaces: None,
            copy: None,
            copy_told: false,
            advert: None,
            state: LinkState::Greeting,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        matches!(self.state, LinkState::Greeting | LinkState::InConflict | LinkState::Accepted)
    }

    pub(super) fn is_in_conflict(&self, incarnation: u64) -> bool {
        self.state == LinkState::InConflict && self.incarnation == incarnation
    }
}

/// Frames that a peer may send: many times what a busy mesh needs.
const FRAMES_PER_SECOND: u64 = 5_000;
/// Bytes that a peer may send.
const BYTES_PER_SECOND: u64 = 64 << 20;
/// New adverts that one peer may have this node check, at some thirty microseconds each.
const ADVERTS_PER_SECOND: u64 = 1_000;
/// New adverts that one peer may have this node check at once: a mesh that joins another.
const ADVERTS_BURST: u64 = 8_192;
