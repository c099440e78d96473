//! What goes into a node.

use crate::blob::BlobReport;
use crate::error::{InferenceError, StrangerFault, WriteError};
use crate::health::HostFacts;
use crate::identity::PublicKey;
use crate::ids::{DialId, Fingerprint, JobId, LinkId, RequestId, WriteId};
use crate::request::Request;
use crate::task::{TaskKind, TaskOutput};
use crate::time::UnixMillis;
use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};

/// Whether a model can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelState {
    /// Not now; it may come, or come back.
    Away,
    /// It is loaded, or its first job loads it.
    Ready,
    /// It cannot, and waiting does not help; why.
    Unusable(String),
}

impl ModelState {
    /// Returns the state of a model that is ready, or not for now.
    pub const fn of(ready: bool) -> Self {
        if ready { Self::Ready } else { Self::Away }
    }
}

/// Something that happened in the world around a node. Anything at all may arrive in any order: what makes no
/// sense (an unknown link, an answer to nothing) is ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// What became of something that was to be done with files.
    Blob(BlobReport),
    /// The wall clock was set, or time passed that the driver's clock did not count: this is what it shows now.
    ClockSet(UnixMillis),
    /// A multicast packet of the discovery service arrived.
    Datagram {
        /// The operating system's number of the interface that it came in on.
        interface: u32,
        /// Its sender.
        from: SocketAddr,
        /// Its payload.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
    },
    /// What was found out about the node's process and its files.
    Examined(HostFacts),
    /// A dial did not lead to a link.
    DialFailed {
        /// The dial.
        dial: DialId,
        /// Why.
        error: DialError,
    },
    /// One whole frame arrived.
    Frame {
        /// The link that it came over.
        link: LinkId,
        /// Its payload.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
    },
    /// Several whole frames arrived at once: the same as so many of [`Input::Frame`], but for less.
    Frames {
        /// The link that they came over.
        link: LinkId,
        /// Their payloads, in order.
        frames: Vec<Vec<u8>>,
    },
    /// The world cannot read on: the peer announced a frame above the limit.
    FrameTooLarge {
        /// The link that it came over; the driver closes it.
        link: LinkId,
    },
    /// The stream ended inside of a frame.
    FrameTruncated {
        /// The link that it came over; it goes down next.
        link: LinkId,
    },
    /// A job ended: one item per task of the job and in its order, or one reason for all.
    InferenceDone {
        /// The job.
        job: JobId,
        /// Time spent computing, in microseconds.
        micros: u64,
        /// What came of it.
        result: Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>,
    },
    /// A generation job produced more text.
    InferenceProgress {
        /// The job.
        job: JobId,
        /// The piece of text that follows those before.
        text: String,
        /// Tokens produced so far in all.
        tokens: u32,
    },
    /// The addresses at which this host can be reached, best first, whenever they change.
    Interfaces(Vec<Interface>),
    /// A link is gone.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// The other end takes in too little of what it is sent.
    LinkStalled {
        /// The link; it goes down next.
        link: LinkId,
    },
    /// An authenticated connection is ready for frames.
    LinkUp {
        /// Its name from now on.
        link: LinkId,
        /// The key that the other end proved to hold.
        peer: PublicKey,
        /// The address of the other end.
        remote: SocketAddr,
        /// The dial that it came from; `None` where the other end dialled.
        dial: Option<DialId>,
    },
    /// The transport takes connections.
    Listening {
        /// The port that it bound.
        port: u16,
    },
    /// A model can or cannot be used from now on.
    Model {
        /// Its name.
        name: String,
        /// What it can do.
        kind: TaskKind,
        /// Which model it is; `None` while its files are being hashed.
        fingerprint: Option<Fingerprint>,
        /// Whether it can be used.
        state: ModelState,
    },
    /// A user asks something.
    Request {
        /// Names the question in its answer.
        id: RequestId,
        /// The question.
        request: Request,
    },
    /// A user no longer waits for an answer.
    RequestDropped {
        /// The question.
        id: RequestId,
    },
    /// A frame that is not of control could not be sent, for its link has as much waiting as it may.
    Shed {
        /// The link.
        link: LinkId,
        /// The frame's payload.
        frame: Vec<u8>,
    },
    /// Somebody connected and did not prove who it is; the connection is gone.
    StrangerFault {
        /// Its address.
        remote: SocketAddr,
        /// What went wrong.
        fault: StrangerFault,
    },
    /// Time passed: some deadline may have been reached.
    Tick,
    /// A write ended.
    WriteDone {
        /// The write.
        id: WriteId,
        /// Whether its records are durable now.
        result: Result<(), WriteError>,
    },
}

/// One network interface with one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interface {
    /// The operating system's number for it.
    pub index: u32,
    /// Its address.
    pub address: IpAddr,
    /// The length of the prefix that the hosts of its subnet share with it, in bits.
    pub prefix_length: u8,
    /// Whether it leads to containers or virtual machines of this host only: a last resort for everybody else.
    pub bridge: bool,
    /// Whether the discovery service's packets go out and come in there, in the address's family.
    pub multicast: bool,
}

impl Interface {
    /// Makes an ordinary interface that takes multicast, alone in its subnet.
    pub const fn new(index: u32, address: IpAddr) -> Self {
        let prefix_length = if address.is_ipv4() { 32 } else { 128 };
        Self { index, address, prefix_length, bridge: false, multicast: true }
    }
}

/// A version of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// Version 4.
    V4,
    /// Version 6.
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Why a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DialError {
    /// Whoever answered proved to hold another key than expected, or none.
    Authentication,
    /// Nothing listens there, or it cannot be reached.
    Refused,
    /// No answer in time.
    Timeout,
}
