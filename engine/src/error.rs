//! Errors, one enum per operation, split by who is to blame: the user, a peer, the disk, the model.

use crate::blobs::BlobError;
use crate::bounded_text::{FailureReason, UnknownModelName};
use crate::ids::{NodeId, TaskId, TraceId};
use crate::observers::alerts::ThresholdFault;
use crate::task::{InputFault, TaskKind};
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecodeError {
    /// The checksum does not match.
    Damaged,
    /// Truncated, too long, or not a valid encoding.
    Malformed,
    /// Larger than any valid value.
    TooLarge,
    /// Written by an unsupported version of the format.
    Version(u8),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("the checksum does not match, so the bytes are damaged"),
            Self::Malformed => f.write_str("the bytes are malformed"),
            Self::TooLarge => f.write_str("the value is larger than allowed"),
            Self::Version(found) => write!(f, "the bytes were written by an unsupported version ({found})"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DialError {
    /// The other end authenticated with another key than expected, or not at all.
    Authentication,
    /// Nothing listens there, or it is unreachable.
    Refused,
    /// No answer within the timeout.
    Timeout,
}

/// Why a file could not be fetched from other nodes. Pieces that have arrived are kept for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchError {
    /// The reachable nodes have a different file under this hash.
    Forged,
    /// This node is shutting down.
    Left,
    /// No reachable node has it.
    NotFound,
    /// The nodes that had it are no longer reachable.
    SourcesLost,
    /// This node's disk did not store it.
    Storage(BlobError),
    /// It is larger than any file that nodes transfer.
    TooLarge,
    /// Too many fetches are in progress or waiting.
    TooMany,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forged => "the reachable nodes have a different file under this hash",
            Self::Left => "the node is shutting down",
            Self::NotFound => "no reachable node of this network has the file",
            Self::SourcesLost => "the nodes that have the file are no longer reachable",
            Self::Storage(BlobError::Full) => "the disk is full, so the file cannot be stored",
            Self::Storage(BlobError::Gone | BlobError::Io) => "the disk failed to store the file",
            Self::Storage(BlobError::WrongHash) => "the file on the disk does not match its hash",
            Self::TooLarge => "the file is larger than nodes may transfer",
            Self::TooMany => {
                "too many files are being fetched, or the same file with another size; try again later"
            }
        })
    }
}

impl core::error::Error for FetchError {}

/// Why a user's request was rejected. A rejected request changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// A file could not be fetched.
    Fetch(FetchError),
    /// No model could process the input.
    Input(InputFault),
    /// The input exceeds the limit of this node.
    InputTooLong {
        /// Its length in bytes.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// No model on this network supports this kind of task.
    KindUnsupported(TaskKind),
    /// No model on this network has this name and kind.
    ModelUnknown(UnknownModelName),
    /// The node is not ACTIVE yet.
    NodeNotReady,
    /// The node is shutting down.
    NodeShuttingDown,
    /// No node with this id is reachable.
    NodeUnknown(NodeId),
    /// The queue is full.
    QueueFull {
        /// The delay before the next try.
        retry_after: Duration,
    },
    /// The disk did not store the record, so nothing was accepted.
    StorageFailed,
    /// The task already has its outcome.
    TaskFinished(TaskId),
    /// No task has this id, or its result has expired.
    TaskNotFound(TaskId),
    /// A threshold of an alert is outside its range.
    ThresholdOutOfRange(ThresholdFault),
    /// The timeout is outside the allowed range.
    TimeoutOutOfRange(Duration),
    /// Several traces begin with the given prefix. Some of them are named.
    TraceAmbiguous(Vec<TraceId>),
    /// No reachable node knows a trace or a task with this id.
    TraceNotFound,
    /// Too many requests wait for tasks to end.
    TooManyWaiting,
}

impl Rejection {
    /// Returns the stable error id.
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
            Self::ThresholdOutOfRange(_) => "threshold_out_of_range",
            Self::TimeoutOutOfRange(_) => "timeout_out_of_range",
            Self::TooManyWaiting => "too_many_waiting",
            Self::TraceAmbiguous(_) => "trace_ambiguous",
            Self::TraceNotFound => "trace_not_found",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(error) => error.fmt(f),
            Self::Input(fault) => fault.fmt(f),
            Self::InputTooLong { bytes, limit } => {
                write!(f, "the input has {bytes} bytes; at most {limit} are allowed")
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
            Self::ThresholdOutOfRange(fault) => fault.fmt(f),
            Self::TimeoutOutOfRange(timeout) => {
                write!(f, "the timeout is {} s; 1 s to 3600 s are allowed", timeout.as_secs())
            }
            Self::TooManyWaiting => f.write_str("too many requests wait for tasks to end; try again later"),
            Self::TraceAmbiguous(traces) => {
                f.write_str("several traces begin like this:")?;
                traces.iter().try_for_each(|trace| write!(f, " {trace}"))
            }
            Self::TraceNotFound => f.write_str("no reachable node has a trace or a task with this id"),
        }
    }
}

impl core::error::Error for Rejection {}

/// A peer's violation of the protocol. It is counted, reported as an event, and ends the link if the protocol is
/// broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerFault {
    /// The peer sent an advert whose signature does not match.
    AdvertForged,
    /// The peer sent a frame that does not decode.
    FrameMalformed,
    /// The peer sent a frame larger than allowed.
    FrameTooLarge,
    /// The stream ended inside a frame.
    FrameTruncated,
    /// No hello arrived within the timeout.
    HelloLate,
    /// The first message was not a hello, or a second hello followed.
    HelloOutOfOrder,
    /// The peer reads too slowly, or not at all.
    NotReading,
    /// The peer sent a piece that does not match the file's hash, or a different file.
    PieceForged,
    /// The peer exceeded its rate limit of frames or bytes.
    RateExceeded,
}

/// Why an unauthenticated connection was closed. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrangerFault {
    /// The other end did not follow the handshake protocol.
    HandshakeBroken,
    /// The other end did not complete the handshake within the timeout.
    HandshakeLate,
    /// The other end disconnected before the handshake was complete, as port scanners do.
    HandshakeLeft,
    /// Too many connections were in their handshake or established.
    TooMany,
}

/// Why a write did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteError {
    /// The disk is full.
    Full,
    /// An I/O operation failed.
    Io,
}

/// Why an inference job, or one task of it, ended without an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InferenceError {
    /// The engine cancelled the job.
    Cancelled,
    /// The model process died while the job ran. Another try is likely to end the same way.
    Crashed,
    /// The model cannot process this input. Another try would fail the same way.
    InputRejected(FailureReason),
    /// The model cannot be loaded or run on this node.
    ModelFailed(FailureReason),
    /// The model cannot process one of several inputs. Another try would fail the same way.
    PartRejected {
        /// The index of the input, from 0.
        part: u32,
        /// The reason, as shown to users.
        reason: FailureReason,
    },
    /// The model's files were replaced after the job was requested, so the output may come from either version.
    ModelChanged,
}
