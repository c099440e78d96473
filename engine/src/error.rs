//! What can be wrong, by who is to blame: the user, a peer, the disk, the model.

use crate::blob::BlobError;
use crate::ids::{NodeId, TaskId};
use crate::task::{InputFault, TaskKind};
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecodeError {
    /// Not the bytes that were written: their checksum is another.
    Damaged,
    /// Cut short, too long, or no such form.
    Malformed,
    /// Larger than any well-formed value.
    TooLarge,
    /// Written by a version that this one does not read.
    Version(u8),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("the bytes are not those that were written"),
            Self::Malformed => f.write_str("the bytes are not well-formed"),
            Self::TooLarge => f.write_str("larger than allowed"),
            Self::Version(found) => write!(f, "written by an unknown version ({found})"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a file could not be fetched from other nodes. What there is of it stays for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchError {
    /// Whoever has a file of this name has another one.
    Forged,
    /// This node leaves.
    Left,
    /// No node that can be reached has it.
    NotFound,
    /// Those that had it cannot be reached any more.
    SourcesLost,
    /// This node's disk does not take it.
    Storage(BlobError),
    /// It is larger than any file that nodes give each other.
    TooLarge,
    /// Too much is fetched, or waited for, at the same time.
    TooMany,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forged => "what the reachable nodes have under this hash is another file",
            Self::Left => "the node is shutting down",
            Self::NotFound => "no node of this network that can be reached has the file",
            Self::SourcesLost => "the nodes that have the file cannot be reached any more",
            Self::Storage(BlobError::Full) => "no space is left for the file",
            Self::Storage(BlobError::Gone | BlobError::Io) => "the disk does not take the file",
            Self::Storage(BlobError::WrongHash) => "what is on the disk is not what was written",
            Self::TooLarge => "the file is larger than nodes give each other",
            Self::TooMany => "too many files are fetched at the same time, or the same one with another size",
        })
    }
}

impl core::error::Error for FetchError {}

/// Why a user's request was refused. Nothing changed because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// A file could not be fetched.
    Fetch(FetchError),
    /// The input is not one that any model could work on.
    Input(InputFault),
    /// The input is longer than any model here takes.
    InputTooLong {
        /// Its length in bytes.
        bytes: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// No model on this network does this kind of work.
    KindUnsupported(TaskKind),
    /// No model of this name and kind on this network.
    ModelUnknown(String),
    /// The node is not ACTIVE yet.
    NodeNotReady,
    /// The node is on its way out.
    NodeShuttingDown,
    /// No such node can be reached.
    NodeUnknown(NodeId),
    /// The queue is full; another try makes sense after the given time.
    QueueFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk did not take the record; nothing was accepted.
    StorageFailed,
    /// The task already has its outcome.
    TaskFinished(TaskId),
    /// No task of this name, or no longer.
    TaskNotFound(TaskId),
    /// The timeout is outside the allowed range.
    TimeoutOutOfRange(Duration),
    /// Too many requests wait for tasks to end.
    TooManyWaiting,
}

impl Rejection {
    /// Returns the reason's stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Fetch(FetchError::Forged) => "file_forged",
            Self::Fetch(FetchError::Left) => "node_shutting_down",
            Self::Fetch(FetchError::NotFound) => "file_not_found",
            Self::Fetch(FetchError::SourcesLost) => "file_sources_lost",
            Self::Fetch(FetchError::Storage(_)) => "storage_failed",
            Self::Fetch(FetchError::TooLarge) => "file_too_large",
            Self::Fetch(FetchError::TooMany) => "too_many_fetches",
            Self::Input(fault) => fault.code(),
            Self::InputTooLong { .. } => "input_exceeds_max_length",
            Self::KindUnsupported(_) => "task_type_unsupported",
            Self::ModelUnknown(_) => "model_unknown",
            Self::NodeNotReady => "node_not_ready",
            Self::NodeShuttingDown => "node_shutting_down",
            Self::NodeUnknown(_) => "node_unknown",
            Self::QueueFull { .. } => "queue_full",
            Self::StorageFailed => "storage_failed",
            Self::TaskFinished(_) => "task_finished",
            Self::TaskNotFound(_) => "task_not_found",
            Self::TimeoutOutOfRange(_) => "timeout_out_of_range",
            Self::TooManyWaiting => "too_many_waiting",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(error) => error.fmt(f),
            Self::Input(fault) => fault.fmt(f),
            Self::InputTooLong { bytes, limit } => {
                write!(f, "the input has {bytes} bytes, more than the {limit} allowed")
            }
            Self::KindUnsupported(kind) => {
                write!(f, "no node of this network has a model for {kind} tasks")
            }
            Self::ModelUnknown(name) => {
                write!(f, "no node of this network has a model called {name:?} for this task type")
            }
            Self::NodeNotReady => f.write_str("the node is not ACTIVE yet"),
            Self::NodeShuttingDown => f.write_str("the node is shutting down"),
            Self::NodeUnknown(id) => write!(f, "Node not found (id: {id})"),
            Self::QueueFull { retry_after } => {
                write!(f, "the queue is full; try again in {} ms", retry_after.as_millis())
            }
            Self::StorageFailed => f.write_str("the task could not be stored, so it was not accepted"),
            Self::TaskFinished(id) => write!(f, "Task has already ended (id: {id})"),
            Self::TaskNotFound(id) => write!(f, "Task not found (id: {id})"),
            Self::TimeoutOutOfRange(timeout) => {
                write!(f, "a timeout of {} s is outside 1 s to 3600 s", timeout.as_secs())
            }
            Self::TooManyWaiting => f.write_str("too many requests wait for tasks to end"),
        }
    }
}

impl core::error::Error for Rejection {}

/// What a peer did wrong. Counted, shown in events, and the end of the link where the protocol is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerFault {
    /// An advert that its member did not sign.
    AdvertForged,
    /// A frame that does not decode.
    FrameMalformed,
    /// A frame larger than allowed.
    FrameTooLarge,
    /// A stream that ended inside of a frame.
    FrameTruncated,
    /// No hello within the time for it.
    HelloLate,
    /// A second hello, or anything but a hello first.
    HelloOutOfOrder,
    /// It takes in too little of what it is sent, or nothing.
    NotReading,
    /// A piece of a file that is not part of it, or a file that is another.
    PieceForged,
    /// More than its share of frames or bytes.
    RateExceeded,
}

/// What somebody did wrong who connected and did not prove who it is. Counted; the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrangerFault {
    /// It spoke something else than the handshake.
    HandshakeBroken,
    /// It did not end the handshake in the time for it.
    HandshakeLate,
    /// It went away before the handshake was over, as port scans do.
    HandshakeLeft,
    /// It came while too many others were at their handshakes, or had links.
    TooMany,
}

/// Why a write did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteError {
    /// No space is left.
    Full,
    /// Reading or writing failed.
    Io,
}

/// Why a piece of inference ended without an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InferenceError {
    /// The engine asked for it to stop.
    Cancelled,
    /// The worker process died while it ran; another try may well end the same way.
    Crashed,
    /// This input cannot be processed; another try would end the same way.
    InputRejected(String),
    /// The model cannot be loaded or run here.
    ModelFailed(String),
    /// One of several inputs cannot be processed; another try would end the same way.
    PartRejected {
        /// Its number, counted from 0.
        part: u32,
        /// Why.
        reason: String,
    },
    /// The model's files were replaced since the job was asked for: what was computed may be of either.
    ModelChanged,
}
