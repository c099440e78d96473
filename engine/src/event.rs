//! Events for observers: the log, diagnostics, counters, and the simulator's invariants.
//!
//! All observers read this one stream, so nothing is measured in two ways. Observers feed nothing back.

use crate::blobs::Hash;
use crate::error::{DialError, FetchError, PeerFault, StrangerFault, WriteError};
use crate::health::{HealthReason, Verdict};
use crate::ids::{Fingerprint, LinkId, MessageId, NodeId, TaskId, WriteId};
use crate::lifecycle::State;
use crate::observers::alerts::{AlertRule, Severity};
use crate::task::{TaskKind, TaskStatus};
use crate::trace::{SpanId, TraceContext};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Something that happened in a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The condition of an active alert is gone.
    AlertCleared {
        /// The rule.
        rule: AlertRule,
        /// How urgent it was.
        severity: Severity,
        /// The value now.
        value: u64,
        /// The threshold that was crossed.
        threshold: u64,
    },
    /// The condition of a rule has lasted long enough.
    AlertRaised {
        /// The rule.
        rule: AlertRule,
        /// How urgent it is.
        severity: Severity,
        /// The value that crossed the threshold.
        value: u64,
        /// The threshold.
        threshold: u64,
    },
    /// A file was fetched from other nodes and is complete.
    BlobFetched {
        /// Its BLAKE3 hash.
        blob: Hash,
        /// Its size.
        bytes: u64,
        /// Number of nodes that provided pieces.
        peers: u32,
        /// From the request to the end, in microseconds.
        elapsed_micros: u64,
    },
    /// The clocks of a peer and this node differ by more than 30 s.
    ClockDiffers {
        /// The peer.
        peer: NodeId,
        /// How far its clock is ahead, in milliseconds.
        ahead_millis: i64,
    },
    /// The wall clock was set while the node ran, or the machine slept.
    ClockSet {
        /// The difference, in milliseconds; positive if the clock moved forward.
        by_millis: i64,
    },
    /// A dial did not lead to a link.
    DialFailed {
        /// The address that was dialled.
        address: SocketAddr,
        /// Why.
        error: DialError,
    },
    /// The first pieces of a file are being fetched.
    FetchBegun {
        /// Its BLAKE3 hash.
        blob: Hash,
        /// Its size.
        bytes: u64,
        /// Bytes of it that were on disk before.
        present: u64,
    },
    /// A file could not be fetched.
    FetchFailed {
        /// Why.
        error: FetchError,
    },
    /// The verdict of the node's health check, or its reasons, changed.
    HealthChanged {
        /// The new verdict.
        verdict: Verdict,
        /// The reasons, unless the verdict is PASS.
        reasons: Vec<HealthReason>,
    },
    /// Another running node uses this node's key.
    IdentityCopied {
        /// The address that it announces, if known.
        address: Option<SocketAddr>,
        /// Whether this node has isolated itself from the mesh until it is restarted.
        #[serde(rename = "aside")]
        fenced: bool,
    },
    /// Multicast works again on at least one network of this host.
    DiscoveryAvailable,
    /// No network of this host supports multicast: only configured addresses can be dialled.
    DiscoveryUnavailable,
    /// An authenticated link is up: both ends have exchanged hellos.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The node at the other end.
        peer: NodeId,
        /// Its address.
        address: SocketAddr,
        /// Whether this node dialled.
        dialled: bool,
    },
    /// A link went down.
    LinkDown {
        /// The link.
        link: LinkId,
        /// The node at the other end.
        peer: NodeId,
        /// Why.
        reason: LinkDownReason,
    },
    /// A link was refused, by this node or by its peer.
    LinkRefused {
        /// The node at the other end.
        peer: NodeId,
        /// Why.
        reason: RefuseReason,
        /// Whether this node refused.
        by_us: bool,
    },
    /// A member became reachable.
    MemberJoined {
        /// The member.
        member: NodeId,
    },
    /// A member is no longer reachable.
    MemberLeft {
        /// The member.
        member: NodeId,
    },
    /// The destination of a message acknowledged it.
    MessageAcknowledged {
        /// The message.
        message: MessageId,
        /// The node that it was addressed to.
        destination: NodeId,
        /// From its first transmission to the acknowledgement, in microseconds.
        elapsed_micros: u64,
        /// The kind of its payload.
        payload: PayloadKind,
        /// Its trace.
        trace: TraceContext,
    },
    /// A routed message reached its destination here and was processed.
    MessageDelivered {
        /// The message.
        message: MessageId,
        /// The node that sent it.
        origin: NodeId,
        /// Number of links that it crossed.
        hops: u8,
        /// The kind of its payload.
        payload: PayloadKind,
        /// Its trace.
        trace: TraceContext,
    },
    /// A routed message ended here without reaching its destination.
    MessageDropped {
        /// The message.
        message: MessageId,
        /// Why.
        reason: DropReason,
        /// Its trace.
        trace: TraceContext,
    },
    /// A duplicate of a processed message arrived and was ignored.
    MessageDuplicate {
        /// The message.
        message: MessageId,
        /// Its trace.
        trace: TraceContext,
    },
    /// A routed message for another node was forwarded.
    MessageForwarded {
        /// The message.
        message: MessageId,
        /// The peer that got it.
        next: NodeId,
        /// Number of links that it may still cross.
        ttl: u8,
        /// The kind of its payload, as far as a relay can see it.
        payload: PayloadKind,
        /// Its trace.
        trace: TraceContext,
    },
    /// A routed message left its origin.
    MessageSent {
        /// The message.
        message: MessageId,
        /// The node that it is addressed to.
        destination: NodeId,
        /// Number of links that it may cross.
        ttl: u8,
        /// The number of the retry; 0 for the first transmission.
        retry: u8,
        /// The peer that got it; `None` if there is no path to its destination now.
        next: Option<NodeId>,
        /// The kind of its payload.
        payload: PayloadKind,
        /// Its trace.
        trace: TraceContext,
    },
    /// No retry of a message was acknowledged.
    MessageUnacknowledged {
        /// The message.
        message: MessageId,
        /// The node that it was addressed to.
        destination: NodeId,
        /// The kind of its payload.
        payload: PayloadKind,
        /// Its trace.
        trace: TraceContext,
    },
    /// Nodes of this network use one name for different models.
    ModelConflict {
        /// The name.
        model: String,
        /// The models, in ascending order.
        fingerprints: Vec<Fingerprint>,
    },
    /// A model became usable or unusable on this node.
    ModelChanged {
        /// Its name.
        model: String,
        /// Its kind.
        kind: TaskKind,
        /// Whether it is loaded.
        ready: bool,
    },
    /// mDNS found a node.
    NodeFound {
        /// The node.
        node: NodeId,
        /// The address at which it accepts connections.
        address: SocketAddr,
    },
    /// The mDNS announcement of a node expired or was withdrawn.
    NodeLost {
        /// The node.
        node: NodeId,
    },
    /// The failure detector declared a peer DEAD.
    PeerDead {
        /// The peer.
        peer: NodeId,
    },
    /// A peer violated the protocol.
    PeerFault {
        /// The peer.
        peer: NodeId,
        /// The violation.
        fault: PeerFault,
    },
    /// A SLOW peer is ALIVE again.
    PeerRecovered {
        /// The peer.
        peer: NodeId,
    },
    /// A peer left a heartbeat unanswered.
    PeerSlow {
        /// The peer.
        peer: NodeId,
    },
    /// A second outcome of a task arrived and was ignored.
    ResultDuplicate {
        /// The task.
        task: TaskId,
        /// The node that sent it.
        from: NodeId,
        /// The trace of the task.
        trace: TraceContext,
    },
    /// The lifecycle state changed.
    StateChanged {
        /// The state left.
        from: State,
        /// The state entered.
        to: State,
    },
    /// A connection ended before the other end authenticated itself.
    StrangerFault {
        /// Its address.
        remote: SocketAddr,
        /// The reason.
        fault: StrangerFault,
    },
    /// A task was accepted and is durable.
    TaskAccepted {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// The model's name.
        model: String,
        /// The span of the client, if it gave one.
        parent: Option<SpanId>,
        /// Its trace.
        trace: TraceContext,
    },
    /// A task was assigned to a worker.
    TaskAssigned {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: NodeId,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The kind of the task.
        kind: TaskKind,
        /// The best candidates, best first; none if the trace is not kept.
        candidates: Vec<Estimate>,
        /// Number of candidates.
        considered: u32,
        /// The trace of the task.
        trace: TraceContext,
    },
    /// A task ended, and its outcome is durable.
    TaskFinished {
        /// The task.
        task: TaskId,
        /// Its final status.
        status: TaskStatus,
        /// The node that produced the outcome, if any.
        worker: Option<NodeId>,
        /// From acceptance to outcome, in microseconds.
        elapsed_micros: u64,
        /// The kind of the task.
        kind: TaskKind,
        /// Number of attempts.
        attempts: u32,
        /// How long it took to store the outcome, in microseconds.
        store_micros: u64,
        /// Number of requests that waited for the outcome, and are answered now.
        waiters: u32,
        /// The client's span that the task belongs to, if it gave one.
        parent: Option<SpanId>,
        /// The trace of the task.
        trace: TraceContext,
    },
    /// A task was taken from a worker and waits for the next attempt.
    TaskReassigned {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: NodeId,
        /// Why.
        reason: ReassignReason,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The kind of the task.
        kind: TaskKind,
        /// The trace of the task.
        trace: TraceContext,
    },
    /// A task that was accepted before a restart waits for an attempt again.
    TaskRecovered {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// Its trace.
        trace: TraceContext,
    },
    /// This node started an attempt at a task.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// The node that accepted the task.
        origin: NodeId,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The kind of the task.
        kind: TaskKind,
        /// The model's name.
        model: String,
        /// How long the attempt waited here, in microseconds.
        queued_micros: u64,
        /// Number of attempts that run in one job with it, itself included.
        batch: u32,
        /// The trace of the task.
        trace: TraceContext,
    },
    /// A write failed: its records are not durable.
    WriteFailed {
        /// The write.
        write: WriteId,
        /// Why.
        error: WriteError,
    },
    /// A task has an output, but some of its inputs had too many tokens and were truncated.
    InputTruncated {
        /// The task.
        task: TaskId,
        /// Number of truncated inputs.
        inputs: u32,
        /// Number of tokens that the model did not read.
        dropped: u64,
        /// The trace of the task.
        trace: TraceContext,
    },
    /// An attempt at a task ended on this node, its worker. All work that a node does is reported here, for whichever
    /// origin.
    AttemptEnded(Box<AttemptEnd>),
}

/// What an origin expects of a node that could get a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// The node.
    pub node: NodeId,
    /// The expected time until it has finished the task, in microseconds.
    #[serde(rename = "finish_us")]
    pub finish_micros: u64,
    /// The measured time of one task, in microseconds; `None` if a guess was used.
    #[serde(rename = "service_us")]
    pub service_micros: Option<u64>,
    /// Number of tasks that are ahead of it there.
    pub ahead: u64,
    /// Round trip of a message, in microseconds.
    #[serde(rename = "round_trip_us")]
    pub round_trip_micros: u64,
    /// Whether the model is loaded there.
    pub loaded: bool,
    /// Whether it could not get the task, because it has enough.
    pub full: bool,
}

/// The end of an attempt, at its worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// The task.
    pub task: TaskId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The node that accepted the task.
    pub origin: NodeId,
    /// The kind of the task.
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// How the attempt ended.
    pub ending: AttemptEnding,
    /// From its arrival here to its start, or to its end if it did not start, in microseconds.
    pub queued_micros: u64,
    /// From its start to its end, in microseconds; `None` if it did not start.
    pub run_micros: Option<u64>,
    /// Its share of the time that its job spent computing, in microseconds.
    pub compute_micros: u64,
    /// Number of attempts in its job, itself included; 0 if it did not start.
    pub batch: u32,
    /// Number of tokens that the model read; 0 if unknown.
    pub input_tokens: u64,
    /// Number of tokens that the model generated.
    pub output_tokens: u64,
    /// From its start to the first generated token, in microseconds.
    pub first_token_micros: Option<u64>,
    /// The trace of the task.
    pub trace: TraceContext,
}

/// How an attempt ended at its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnding {
    /// Its origin is gone.
    Abandoned,
    /// Its origin no longer needs it.
    Cancelled,
    /// It has an output.
    Completed,
    /// The model process died.
    Crashed,
    /// The time of its task is over.
    Expired,
    /// The worker returned it, because it shuts down.
    HandedBack,
    /// The model rejected its input.
    InputRejected,
    /// The model was replaced by another one.
    ModelChanged,
    /// The model could not be loaded or run.
    ModelFailed,
}

/// The kind of a routed message's payload: the variants of [`crate::wire::Payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// Acknowledges messages.
    Ack,
    /// Assigns an attempt.
    Assign,
    /// Cancels an attempt.
    Cancel,
    /// Asks which attempts a worker has.
    Check,
    /// Declines an attempt.
    Decline,
    /// Returns an attempt.
    HandBack,
    /// Names the file that its sender has.
    Held,
    /// Names attempts that its sender has.
    Here,
    /// Asks for a file.
    Look,
    /// Names attempts that its sender does not have.
    Missing,
    /// The outcome of an attempt.
    Outcome,
    /// A piece of a file.
    Piece,
    /// Rejects the request for a piece.
    PieceRefused,
    /// Requests a piece of a file.
    PieceWanted,
    /// Measures a round trip.
    Probe,
    /// Generated text.
    Progress,
    /// Renews leases.
    Renew,
    /// Hidden from a relay by its seal.
    Sealed,
    /// Reports that an attempt has started.
    Started,
    /// The steps of a trace.
    TraceFound,
    /// Asks for the steps of a trace.
    TraceWanted,
    /// Reports that a message could not be forwarded.
    Undeliverable,
    /// Unknown to this version.
    Unknown,
}

impl PayloadKind {
    /// Returns the kind of an encoded payload, without decoding the rest.
    pub(crate) const fn of(payload: &[u8]) -> Self {
        // The encoding begins with the number of the variant.
        match payload.first() {
            Some(0) => Self::Ack,
            Some(1) => Self::Assign,
            Some(2) => Self::Cancel,
            Some(3) => Self::Decline,
            Some(4) => Self::Held,
            Some(5) => Self::HandBack,
            Some(6) => Self::Look,
            Some(7) => Self::Outcome,
            Some(8) => Self::Progress,
            Some(9) => Self::Piece,
            Some(10) => Self::PieceRefused,
            Some(11) => Self::PieceWanted,
            Some(12) => Self::Probe,
            Some(13) => Self::Renew,
            Some(14) => Self::Started,
            Some(15) => Self::Undeliverable,
            Some(16) => Self::Check,
            Some(17) => Self::Missing,
            Some(18) => Self::Here,
            Some(19) => Self::TraceFound,
            Some(20) => Self::TraceWanted,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// Why a link went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkDownReason {
    /// The connection closed.
    Closed,
    /// Another link to the same peer is kept.
    Duplicate,
    /// The peer violated the protocol.
    Fault,
    /// One of the two nodes said goodbye.
    Goodbye,
    /// It was closed to make room for a node that had no link.
    Spared,
    /// The peer restarted, and its new link replaces this one.
    Restarted,
    /// The failure detector declared the peer DEAD.
    Unanswered,
}

/// Why a node refuses a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefuseReason {
    /// Another link to this peer is kept.
    Duplicate,
    /// The node that refuses has reached its maximum of peers.
    Full,
    /// Two running nodes use the peer's key, and the other one is kept.
    IdentityCopied,
    /// The peer's address is not on a local network.
    NotLocal,
    /// The peer belongs to another network.
    OtherNetwork,
    /// The peer uses another version of the protocol.
    OtherVersion,
    /// The peer is banned for a while after a violation of the protocol.
    Quarantined,
    /// The peer uses this node's own key.
    SameIdentity,
    /// The node that refuses is shutting down.
    ShuttingDown,
    /// The node that refuses has isolated itself, as another running node uses its key.
    StandsAside,
}

/// Why a routed message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// No path to the destination is known.
    NoRoute,
    /// The next link's queue is full, or the message begins a session and too many sessions were begun within a second.
    Overload,
    /// The message was opened before, or is too old to tell.
    Replayed,
    /// The message came back to its alleged origin: by a loop, or from a node that lies.
    Returned,
    /// The destination does not know the message's session, or no longer.
    SessionLost,
    /// The message has crossed the maximum number of links.
    TtlExceeded,
    /// The message does not authenticate as sent by its alleged origin.
    Unauthentic,
}

/// Why a task was taken from its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReassignReason {
    /// The model process died, and its node reported it.
    Crashed,
    /// The worker returned the task before it shut down.
    HandedBack,
    /// The lease expired.
    LeaseExpired,
    /// The worker's queue was full, or it does not have the model.
    Refused,
    /// The worker is unreachable or does not answer.
    Unreachable,
    /// The worker reported that it does not have the task.
    Missing,
    /// The files of the worker's model were replaced while it had the task.
    ModelChanged,
}
