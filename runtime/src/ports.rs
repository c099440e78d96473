//! The seven things a node needs of the world around it, as the driver sees them.
//!
//! Each world implements them once: sockets, disk and model processes in the real one, turmoil's network and
//! seeded stand-ins in the simulated one. All `next` futures are cancel-safe: dropping one loses nothing.

use engine::blobs::{BlobOrder, BlobReport};
use engine::error::DialError;
use engine::health::HostFacts;
use engine::ids::{DialId, JobId, WriteId};
use engine::input::{Family, Input, Interface, ModelState};
use engine::output::{InferenceJob, Output};
use engine::record::Record;
use engine::task::{TaskKind, TaskOutput};
use engine::{
    Fingerprint, InferenceError, Instant, NodeId, PublicKey, StrangerFault, UnixMillis, WriteError,
};
use futures::{AsyncRead, AsyncWrite};
use std::future::Future;
use std::net::SocketAddr;

/// Gives authenticated, encrypted byte streams between nodes, one per connection.
pub trait Transport: Send + 'static {
    /// A byte stream; dropping it closes the connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Begins to connect; [`Transport::next`] reports the end of it.
    fn dial(&mut self, dial: DialId, address: SocketAddr, expect: Option<NodeId>);

    /// Waits for the next connection, or the end of a dial.
    fn next(&mut self) -> impl Future<Output = TransportEvent<Self::Stream>> + Send;
}

/// What a transport reports.
#[derive(Debug)]
pub enum TransportEvent<S> {
    /// A dial did not lead to a connection.
    DialFailed {
        /// The dial.
        dial: DialId,
        /// Why.
        error: DialError,
    },
    /// The transport takes connections on this port. Reported once, first.
    Listening {
        /// The port.
        port: u16,
    },
    /// Somebody connected and did not prove who it is; the connection is gone.
    StrangerFault {
        /// Its address.
        remote: SocketAddr,
        /// What went wrong.
        fault: StrangerFault,
    },
    /// A connection is up, its other end proved to hold `peer`.
    Up {
        /// The key of the other end.
        peer: PublicKey,
        /// The address of the other end.
        remote: SocketAddr,
        /// The dial that it came from; `None` where the other end dialled.
        dial: Option<DialId>,
        /// The byte stream.
        stream: S,
    },
}

/// Sends and receives the packets of the discovery service's multicast group.
pub trait Multicast: Send + 'static {
    /// Sends a packet to one family's group on one interface; a packet that cannot be sent is lost.
    fn send(&mut self, interface: u32, family: Family, bytes: Vec<u8>);

    /// Sends a packet to one address, from the port of the group; one that cannot be sent is lost.
    fn send_to(&mut self, interface: u32, to: SocketAddr, bytes: Vec<u8>);

    /// Waits for the next packet, or the next change of this host's interfaces.
    fn next(&mut self) -> impl Future<Output = MulticastEvent> + Send;
}

/// What a multicast port reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MulticastEvent {
    /// All interfaces, at first and whenever they change.
    Interfaces(Vec<Interface>),
    /// A packet, this host's own ones included.
    Packet {
        /// The interface that it came in on.
        interface: u32,
        /// Its sender.
        from: SocketAddr,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// Makes records durable.
pub trait Store: Send + 'static {
    /// Begins to write the records, together or not at all, after all earlier writes.
    fn write(&mut self, id: WriteId, records: Vec<Record>);

    /// Waits for the next write to end.
    fn next(&mut self) -> impl Future<Output = (WriteId, Result<(), WriteError>)> + Send;
}

/// Runs models.
pub trait Inference: Send + 'static {
    /// Begins a job; [`Inference::next`] reports its progress and its end, exactly once. Where the name stands for
    /// another model by now, that is [`InferenceError::ModelChanged`].
    fn start(&mut self, job: JobId, model: String, fingerprint: Fingerprint, work: InferenceJob);

    /// Asks a job to stop; it still ends once. An unknown job is ignored.
    fn cancel(&mut self, job: JobId);

    /// Waits for the next report.
    fn next(&mut self) -> impl Future<Output = InferenceEvent> + Send;
}

/// What an inference port reports.
#[derive(Clone, Debug, PartialEq)]
pub enum InferenceEvent {
    /// A job ended: one item per task of the job and in its order, or one reason for all.
    Done {
        /// The job.
        job: JobId,
        /// Time spent computing, in microseconds.
        micros: u64,
        /// What came of it.
        result: Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>,
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
    /// A generation job produced more text.
    Progress {
        /// The job.
        job: JobId,
        /// The piece of text that follows those before.
        text: String,
        /// Tokens produced so far in all.
        tokens: u32,
    },
}

/// Keeps files that nodes give each other.
pub trait Blobs: Send + 'static {
    /// Begins to do something; all but [`BlobOrder::Close`] end with one report.
    fn order(&mut self, order: BlobOrder);

    /// Waits for the next report.
    fn next(&mut self) -> impl Future<Output = BlobReport> + Send;
}

/// Finds out how the node's own process and files are.
pub trait Host: Send + 'static {
    /// Begins to look; [`Host::next`] tells. A look while another is under way is the same look.
    fn examine(&mut self);

    /// Waits for the next look to end.
    fn next(&mut self) -> impl Future<Output = HostFacts> + Send;
}

/// Tells the time.
pub trait Clock: Send + 'static {
    /// Returns the time since this clock's origin. Never goes back.
    fn now(&self) -> Instant;

    /// Returns the wall-clock time.
    fn wall(&self) -> UnixMillis;
}

/// Sees all that goes into a node and comes out of it, in order. Feeds nothing back.
pub trait Journal: Send + 'static {
    /// An input is about to be handled.
    fn input(&mut self, now: Instant, input: &Input);

    /// An output is about to be carried out.
    fn output(&mut self, now: Instant, output: &Output);
}
