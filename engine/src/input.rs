//! The inputs of a node.

use crate::blobs::BlobReport;
use crate::bounded_text::FailureReason;
use crate::error::{DialError, InferenceError, StrangerFault, WriteError};
use crate::health::HostFacts;
use crate::identity::PublicKey;
use crate::ids::{DialId, Fingerprint, JobId, LinkId, ReadId, RequestId, WriteId};
use crate::observers::traces::Found;
use crate::request::Request;
use crate::task::{TaskKind, TaskOutput};
use crate::time::UnixMillis;
use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};

/// Whether a model can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelState {
    /// Not now, but it may be added or come back.
    Away,
    /// It is loaded, or its first job loads it.
    Ready,
    /// Never, for this reason; waiting does not help.
    Unusable(FailureReason),
}

impl ModelState {
    /// Returns the state of a model that is ready, or temporarily unavailable.
    pub const fn from_ready(ready: bool) -> Self {
        if ready { Self::Ready } else { Self::Away }
    }
}

/// Something that happened outside the node. Inputs may arrive in any order; inputs that make no sense (an unknown
/// link, an unsolicited answer) are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// Result of a file operation.
    Blob(BlobReport),
    /// The wall clock was set, or time passed that the driver's clock did not count. Carries the new wall-clock time.
    ClockSet(UnixMillis),
    /// A multicast packet of the discovery service arrived.
    Datagram {
        /// The operating system's index of the interface on which it arrived.
        interface: u32,
        /// Its sender.
        from: SocketAddr,
        /// Its payload.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
    },
    /// The facts about the node's process and files that [`crate::Output::Examine`] asked for.
    Examined(HostFacts),
    /// A dial did not lead to a link.
    DialFailed {
        /// The dial.
        dial: DialId,
        /// The reason.
        error: DialError,
    },
    /// A complete frame arrived.
    Frame {
        /// The link on which it arrived.
        link: LinkId,
        /// Its payload.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
    },
    /// Several complete frames arrived. Equivalent to as many [`Input::Frame`]s, but cheaper.
    Frames {
        /// The link on which they arrived.
        link: LinkId,
        /// Their payloads, in order.
        frames: Vec<Vec<u8>>,
    },
    /// The driver stopped reading a link, because the peer announced a frame above the limit.
    FrameTooLarge {
        /// The link; the driver closes it.
        link: LinkId,
    },
    /// The stream ended inside a frame.
    FrameTruncated {
        /// The link; it goes down next.
        link: LinkId,
    },
    /// A job ended: with one result per task, in the order of the job, or with one error for all.
    InferenceDone {
        /// The job.
        job: JobId,
        /// Time spent computing, in microseconds.
        micros: u64,
        /// The results.
        result: Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>,
    },
    /// A generation job produced more text.
    InferenceProgress {
        /// The job.
        job: JobId,
        /// The text that follows the earlier pieces.
        text: String,
        /// Number of tokens produced so far.
        tokens: u32,
    },
    /// The addresses of this host, best first. Sent whenever they change.
    Interfaces(Vec<Interface>),
    /// A link went down.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// The peer reads too slowly.
    LinkStalled {
        /// The link; it goes down next.
        link: LinkId,
    },
    /// An authenticated connection is ready for frames.
    LinkUp {
        /// Its handle from now on.
        link: LinkId,
        /// The key that the peer authenticated with.
        peer: PublicKey,
        /// The address of the other end.
        remote: SocketAddr,
        /// The dial that led to it; `None` if the peer dialled.
        dial: Option<DialId>,
    },
    /// The transport accepts connections.
    Listening {
        /// The port that it is bound to.
        port: u16,
    },
    /// A model became usable or unusable.
    Model {
        /// Its name.
        name: String,
        /// Its kind.
        kind: TaskKind,
        /// Its identity; `None` while its files are being hashed.
        fingerprint: Option<Fingerprint>,
        /// Whether it can be used.
        state: ModelState,
    },
    /// A user's request.
    Request {
        /// Its handle, repeated in the reply.
        id: RequestId,
        /// The request.
        request: Request,
    },
    /// A user no longer waits for a reply.
    RequestDropped {
        /// The request.
        id: RequestId,
    },
    /// A frame without control priority could not be sent, because the link's queue is full.
    Shed {
        /// The link.
        link: LinkId,
        /// The frame's payload.
        frame: Vec<u8>,
    },
    /// A connection ended before the other end authenticated itself.
    StrangerFault {
        /// Its address.
        remote: SocketAddr,
        /// The reason.
        fault: StrangerFault,
    },
    /// Time passed: a deadline may be due.
    Tick,
    /// What [`crate::observers::traces::TraceOrder::Find`] found.
    TracesFound {
        /// The search.
        read: ReadId,
        /// The result.
        found: Found,
    },
    /// A write ended.
    WriteDone {
        /// The write.
        id: WriteId,
        /// Whether its records are durable.
        result: Result<(), WriteError>,
    },
}

/// One address of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interface {
    /// The operating system's index of the interface.
    pub index: u32,
    /// Its address.
    pub address: IpAddr,
    /// The length of the subnet's prefix, in bits.
    pub prefix_length: u8,
    /// Whether it only leads to containers or virtual machines of this host. Other hosts use such an address as a last
    /// resort.
    pub bridge: bool,
    /// Whether multicast packets of the address's family can be sent and received there.
    pub multicast: bool,
}

impl Interface {
    /// Creates an interface that supports multicast and is alone in its subnet.
    pub const fn new(index: u32, address: IpAddr) -> Self {
        let prefix_length = if address.is_ipv4() { 32 } else { 128 };
        Self { index, address, prefix_length, bridge: false, multicast: true }
    }
}

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// Version 4.
    V4,
    /// Version 6.
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub const fn for_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}
