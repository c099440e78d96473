//! One link, from its handshake until it is closed, and its rate limits.

use super::address_book::Target;
use crate::event::LinkDownReason;
use crate::ids::{LinkId, NodeId};
use crate::rate::Bucket;
use crate::time::Instant;
use crate::wire::SignedAdvert;
use core::net::SocketAddr;

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    /// The node at the other end.
    pub(crate) node: NodeId,
    /// The address of the other end.
    pub(crate) remote: SocketAddr,
    /// The product version of the other end; empty before its hello.
    pub(crate) version: String,
    /// The port on which the other end accepts connections; 0 before its hello.
    pub(crate) network_port: u16,
    /// When the hellos were exchanged; before that, when the connection came up.
    pub(crate) since: Instant,
    /// Frames received.
    pub(crate) frames_in: u64,
    /// Frames sent.
    pub(crate) frames_out: u64,
    /// Bytes of the frames received.
    pub(crate) bytes_in: u64,
    /// Bytes of the frames sent.
    pub(crate) bytes_out: u64,
    /// The rate limit of received frames.
    pub(crate) frames: Bucket,
    /// The rate limit of received bytes.
    pub(crate) bytes: Bucket,
    /// The rate limit of signature checks of unknown adverts.
    pub(crate) adverts: Bucket,
    pub(super) target: Option<Target>,
    pub(super) incarnation: u64,
    /// The other end has accepted this node's hello.
    pub(super) welcome: bool,
    /// The link to the same node that this one replaces once it is up, and the reason.
    pub(super) replaces: Option<(LinkId, LinkDownReason)>,
    /// The address of a duplicate of the other end, to report to it once the link is up.
    pub(super) duplicate: Option<SocketAddr>,
    /// The other end has reported a duplicate of this node.
    pub(crate) duplicate_reported: bool,
    /// The advert in the other end's hello, until the link is up.
    pub(super) advert: Option<SignedAdvert>,
    pub(super) state: LinkState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Waits for the other end's hello.
    Greeting,
    /// Waits for the probe of an older link to another incarnation of the node.
    InConflict,
    /// This node has accepted the other end's hello, and waits for the acceptance of its own.
    Accepted,
    /// Both ends have accepted each other's hello.
    Up,
    /// Waits for the connection to close.
    Closing,
}

impl Link {
    /// Creates a link whose connection came up. `target` is what this node dialled, if it did.
    pub(super) fn new(now: Instant, node: NodeId, remote: SocketAddr, target: Option<Target>) -> Self {
        Self {
            node,
            remote,
            version: String::new(),
            network_port: 0,
            since: now,
            frames_in: 0,
            frames_out: 0,
            bytes_in: 0,
            bytes_out: 0,
            frames: Bucket::new(FRAMES_PER_SECOND, FRAMES_PER_SECOND * 2),
            bytes: Bucket::new(BYTES_PER_SECOND, BYTES_PER_SECOND * 2),
            adverts: Bucket::new(ADVERTS_PER_SECOND, ADVERTS_BURST),
            target,
            incarnation: 0,
            welcome: false,
            replaces: None,
            duplicate: None,
            duplicate_reported: false,
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

/// Frames that a peer may send per second: many times what a busy mesh needs.
const FRAMES_PER_SECOND: u64 = 5_000;
/// Bytes that a peer may send per second.
const BYTES_PER_SECOND: u64 = 64 << 20;
/// New adverts that a peer may have checked per second, at about 30 µs each.
const ADVERTS_PER_SECOND: u64 = 1_000;
/// New adverts that a peer may have checked in a burst: a mesh that joins another.
const ADVERTS_BURST: u64 = 8_192;
