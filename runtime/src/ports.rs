//! The ports: what a node needs of the world around it, as the driver sees it.
//!
//! Each world implements every port once. In the real one that is sockets, disk and model processes; in the simulated
//! one, turmoil's network and seeded stand-ins. All `next` futures are cancel-safe: dropping one loses nothing.

use engine::blobs::{BlobOrder, BlobReport};
use engine::error::DialError;
use engine::health::HostFacts;
use engine::ids::{DialId, JobId, ReadId, WriteId};
use engine::input::{Family, Input, Interface, ModelState};
use engine::observers::traces::{Found, TraceOrder};
use engine::output::{InferenceJob, Output};
use engine::record::Record;
use engine::task::{TaskKind, TaskOutput};
use engine::{
    Fingerprint, InferenceError, Instant, Node, NodeId, PublicKey, StrangerFault, UnixMillis, WriteError,
};
use futures::{AsyncRead, AsyncWrite};
use std::future::Future;
use std::net::SocketAddr;

/// Keeps the steps of traces, and finds them again.
pub trait Traces: Send + 'static {
    /// Starts to carry out an order, after all earlier ones. Steps may be dropped if the disk is too slow.
    fn order(&mut self, order: TraceOrder);

    /// Waits for the next search to end.
    fn next(&mut self) -> impl Future<Output = (ReadId, Found)> + Send;
}

/// Provides authenticated, encrypted byte streams between nodes, one per connection.
pub trait Transport: Send + 'static {
    /// A byte stream; dropping it closes the connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Starts to connect. [`Transport::next`] reports the outcome.
    fn dial(&mut self, dial: DialId, address: SocketAddr, expect: Option<NodeId>);

    /// Waits for the next connection or the end of a dial.
    fn next(&mut self) -> impl Future<Output = TransportEvent<Self::Stream>> + Send;
}

/// An event of a transport.
#[derive(Debug)]
pub enum TransportEvent<S> {
    /// A dial did not lead to a connection.
    DialFailed {
        /// The dial.
        dial: DialId,
        /// Why.
        error: DialError,
    },
    /// The transport listens on this port. Reported once, first.
    Listening {
        /// The port.
        port: u16,
    },
    /// A remote end connected and did not prove its identity. The connection is closed.
    StrangerFault {
        /// Its address.
        remote: SocketAddr,
        /// What went wrong.
        fault: StrangerFault,
    },
    /// A connection is up and the other end has proved that it holds the key `peer`.
    Up {
        /// The key of the other end.
        peer: PublicKey,
        /// The address of the other end.
        remote: SocketAddr,
        /// The dial that it came from, or `None` if the other end dialled.
        dial: Option<DialId>,
        /// The byte stream.
        stream: S,
    },
}

/// Sends and receives packets of the multicast group for discovery.
pub trait Multicast: Send + 'static {
    /// Sends a packet to the group of one address family on one interface. A packet that cannot be sent is dropped.
    fn send(&mut self, interface: u32, family: Family, bytes: Vec<u8>);

    /// Sends a packet to one address, from the port of the group. A packet that cannot be sent is dropped.
    fn send_to(&mut self, interface: u32, to: SocketAddr, bytes: Vec<u8>);

    /// Waits for the next packet, or the next change of this host's interfaces.
    fn next(&mut self) -> impl Future<Output = MulticastEvent> + Send;
}

/// An event of a multicast port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MulticastEvent {
    /// All interfaces, at the start and after each change.
    Interfaces(Vec<Interface>),
    /// A packet, possibly one of this host's own.
    Packet {
        /// The interface on which it arrived.
        interface: u32,
        /// Its sender.
        from: SocketAddr,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// Stores records durably.
pub trait Store: Send + 'static {
    /// Starts to write the records, atomically and after all earlier writes.
    fn write(&mut self, id: WriteId, records: Vec<Record>);

    /// Waits for the next write to end.
    fn next(&mut self) -> impl Future<Output = (WriteId, Result<(), WriteError>)> + Send;
}

/// Runs models.
pub trait Inference: Send + 'static {
    /// Starts a job. [`Inference::next`] reports its progress, and its end exactly once. If the name refers to another
    /// model by now, it ends with [`InferenceError::ModelChanged`].
    fn start(&mut self, job: JobId, model: String, fingerprint: Fingerprint, work: InferenceJob);

    /// Cancels a job. It still ends exactly once. An unknown job is ignored.
    fn cancel(&mut self, job: JobId);

    /// Waits for the next report.
    fn next(&mut self) -> impl Future<Output = InferenceEvent> + Send;
}

/// An event of an inference port.
#[derive(Clone, Debug, PartialEq)]
pub enum InferenceEvent {
    /// A job ended, with one result per task in the order of the job, or one error for all.
    Done {
        /// The job.
        job: JobId,
        /// Time spent computing, in microseconds.
        micros: u64,
        /// The results.
        result: Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>,
    },
    /// The state of a model changed.
    Model {
        /// Its name.
        name: String,
        /// The task kind that it supports.
        kind: TaskKind,
        /// The fingerprint of the model, or `None` while its files are being hashed.
        fingerprint: Option<Fingerprint>,
        /// Whether it can be used.
        state: ModelState,
    },
    /// A generation job has produced more text.
    Progress {
        /// The job.
        job: JobId,
        /// The text since the previous report.
        text: String,
        /// Total number of tokens so far.
        tokens: u32,
    },
}

/// Stores files that nodes share.
pub trait Blobs: Send + 'static {
    /// Starts to carry out an order. All but [`BlobOrder::Close`] end with one report.
    fn order(&mut self, order: BlobOrder);

    /// Waits for the next report.
    fn next(&mut self) -> impl Future<Output = BlobReport> + Send;
}

/// Checks the node's own process and files.
pub trait Host: Send + 'static {
    /// Starts a check, unless one is running. [`Host::next`] reports the result.
    fn examine(&mut self);

    /// Waits for the result of the next check.
    fn next(&mut self) -> impl Future<Output = HostFacts> + Send;
}

/// Provides the time.
pub trait Clock: Send + 'static {
    /// Returns the time since this clock's origin. It never decreases.
    fn now(&self) -> Instant;

    /// Returns the wall-clock time.
    fn wall(&self) -> UnixMillis;
}

/// Sees all inputs and outputs of a node, in order. It feeds nothing back.
pub trait Journal: Send + 'static {
    /// Records an input that is about to be handled.
    fn input(&mut self, now: Instant, input: &Input);

    /// Records an output of `node` that is about to be carried out.
    fn output(&mut self, now: Instant, output: &Output, node: &Node);
}
