//! What happened, for whoever watches: logs, metrics, traces, the dashboard, the simulator's invariants.
//!
//! One stream serves them all, so nothing is observed twice in two ways. Observers feed nothing back.

use crate::blob::Hash;
use crate::error::{FetchError, PeerFault, StrangerFault, WriteError};
use crate::health::{HealthReason, Verdict};
use crate::ids::{Fingerprint, LinkId, MessageId, NodeId, TaskId, WriteId};
use crate::input::DialError;
use crate::lifecycle::State;
use crate::task::{TaskKind, TaskStatus};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// One thing that happened in a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A file that was fetched from others is here.
    BlobFetched {
        /// Its BLAKE3 hash.
        blob: Hash,
        /// Its size.
        bytes: u64,
        /// How many nodes gave pieces of it.
        peers: u32,
        /// From the question to the end, in microseconds.
        elapsed_micros: u64,
    },
    /// The clock of a peer and this node's differ by more than half a minute.
    ClockDiffers {
        /// The peer.
        peer: NodeId,
        /// How far its clock is ahead, in milliseconds.
        ahead_millis: i64,
    },
    /// The wall clock was set while the node ran, or the machine slept.
    ClockSet {
        /// By how much it went forward, in milliseconds.
        by_millis: i64,
    },
    /// A dial did not lead to a link.
    DialFailed {
        /// Where to.
        address: SocketAddr,
        /// Why.
        error: DialError,
    },
    /// Pieces of a file begin to come in.
    FetchBegun {
        /// Its BLAKE3 hash.
        blob: Hash,
        /// Its size.
        bytes: u64,
        /// Bytes of it that were here before.
        present: u64,
    },
    /// A file could not be fetched.
    FetchFailed {
        /// Why.
        error: FetchError,
    },
    /// The node's own health is not what it was.
    HealthChanged {
        /// How it is now.
        verdict: Verdict,
        /// Why, where it is not well.
        reasons: Vec<HealthReason>,
    },
    /// Another running node holds this node's key.
    IdentityCopied {
        /// Where it announces itself, where that was heard.
        address: Option<SocketAddr>,
        /// Whether this node has cut itself off from the mesh for it, until it is restarted.
        aside: bool,
    },
    /// Multicast works again on some network of this host.
    DiscoveryAvailable,
    /// No network of this host takes multicast: other nodes are found by configured addresses only.
    DiscoveryUnavailable,
    /// An authenticated link exchanged hellos.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Who is at the other end.
        peer: NodeId,
        /// Its address.
        address: SocketAddr,
        /// Whether this node dialled.
        dialled: bool,
    },
    /// A link is gone.
    LinkDown {
        /// The link.
        link: LinkId,
        /// Who was at the other end.
        peer: NodeId,
        /// Why.
        reason: LinkDownReason,
    },
    /// A link was turned down, by this node or by the other.
    LinkRefused {
        /// Who is at the other end.
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
    /// A routed message reached its destination here and was handed on.
    MessageDelivered {
        /// The message.
        message: MessageId,
        /// Who sent it.
        origin: NodeId,
        /// Links that it crossed.
        hops: u8,
    },
    /// A routed message ended here without reaching its destination.
    MessageDropped {
        /// The message.
        message: MessageId,
        /// Why.
        reason: DropReason,
    },
    /// A copy of a message that was handed on before arrived and was not handed on again.
    MessageDuplicate {
        /// The message.
        message: MessageId,
    },
    /// A routed message for somebody else went on.
    MessageForwarded {
        /// The message.
        message: MessageId,
        /// The neighbour that got it.
        next: NodeId,
        /// Hops that it may still make.
        ttl: u8,
    },
    /// A routed message left its origin.
    MessageSent {
        /// The message.
        message: MessageId,
        /// Who it is for.
        destination: NodeId,
        /// Hops that it may make.
        ttl: u8,
        /// 0 at first, then the number of the retry.
        retry: u8,
    },
    /// Every retry of a message went unacknowledged.
    MessageUnacknowledged {
        /// The message.
        message: MessageId,
        /// Who it was for.
        destination: NodeId,
    },
    /// Nodes of this network give one name to different models.
    ModelConflict {
        /// The name.
        model: String,
        /// The models, in ascending order.
        fingerprints: Vec<Fingerprint>,
    },
    /// A model can or cannot be used from now on.
    ModelChanged {
        /// Its name.
        model: String,
        /// What it does.
        kind: TaskKind,
        /// Whether it is loaded.
        ready: bool,
    },
    /// mDNS told of a node.
    NodeFound {
        /// The node.
        node: NodeId,
        /// Where it takes connections.
        address: SocketAddr,
    },
    /// mDNS no longer tells of a node.
    NodeLost {
        /// The node.
        node: NodeId,
    },
    /// The failure detector gave a peer up.
    PeerDead {
        /// The peer.
        peer: NodeId,
    },
    /// A peer broke the protocol.
    PeerFault {
        /// The peer.
        peer: NodeId,
        /// How.
        fault: PeerFault,
    },
    /// A peer that was SLOW gave a sign of life.
    PeerRecovered {
        /// The peer.
        peer: NodeId,
    },
    /// A peer left a heartbeat unanswered.
    PeerSlow {
        /// The peer.
        peer: NodeId,
    },
    /// A second outcome of a task arrived and changed nothing.
    ResultDuplicate {
        /// The task.
        task: TaskId,
        /// Who sent it.
        from: NodeId,
    },
    /// The lifecycle moved on.
    StateChanged {
        /// The state left.
        from: State,
        /// The state entered.
        to: State,
    },
    /// Somebody connected and did not prove who it is.
    StrangerFault {
        /// Its address.
        remote: SocketAddr,
        /// What went wrong.
        fault: StrangerFault,
    },
    /// A task was accepted and is durable.
    TaskAccepted {
        /// The task.
        task: TaskId,
        /// The kind of work.
        kind: TaskKind,
    },
    /// A task was given to a worker.
    TaskAssigned {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: NodeId,
        /// Counts from 1.
        attempt: u32,
    },
    /// A task has its one outcome, and it is durable.
    TaskFinished {
        /// The task.
        task: TaskId,
        /// How it ended.
        status: TaskStatus,
        /// Who produced the outcome.
        worker: Option<NodeId>,
        /// From acceptance to outcome, in microseconds.
        elapsed_micros: u64,
    },
    /// A task was taken from a worker and waits again.
    TaskReassigned {
        /// The task.
        task: TaskId,
        /// The worker that had it.
        worker: NodeId,
        /// Why.
        reason: ReassignReason,
    },
    /// A task that was accepted before a restart waits again.
    TaskRecovered {
        /// The task.
        task: TaskId,
    },
    /// This node began to compute a task.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// Who accepted it.
        origin: NodeId,
        /// The attempt.
        attempt: u32,
    },
    /// Records did not become durable.
    WriteFailed {
        /// The write.
        write: WriteId,
        /// Why.
        error: WriteError,
    },
    /// A task has an output, but its model did not read all of its inputs: they have too many tokens.
    InputTruncated {
        /// The task.
        task: TaskId,
        /// How many of its inputs were cut.
        inputs: u32,
        /// Tokens of them that the model did not see.
        dropped: u64,
    },
}

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkDownReason {
    /// The connection closed.
    Closed,
    /// Another link to the same peer is kept instead.
    Duplicate,
    /// The other end broke the protocol.
    Fault,
    /// One of the two nodes said goodbye.
    Goodbye,
    /// It made room for a node that had none.
    Spared,
    /// The peer has restarted, and its new link takes over.
    Restarted,
    /// The failure detector gave the peer up.
    Unanswered,
}

/// Why a node turns a link down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefuseReason {
    /// Another link to this peer is kept.
    Duplicate,
    /// It has as many peers as it may.
    Full,
    /// Another running node holds the peer's key, and is the one to keep.
    IdentityCopied,
    /// The peer is at an address that is not of a local network.
    NotLocal,
    /// The peer belongs to another network.
    OtherNetwork,
    /// The peer speaks another version of the protocol.
    OtherVersion,
    /// The peer broke the protocol of late, and is left alone for a while.
    Quarantined,
    /// The peer holds this node's own key.
    SameIdentity,
    /// It is on its way out.
    ShuttingDown,
    /// Another running node holds its key, and it gives way to that one.
    StandsAside,
}

/// Why a routed message ended on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// No path to the destination is known.
    NoRoute,
    /// The link that it was to take has too much waiting; or it begins a session, of which too many were begun in this
    /// second.
    Overload,
    /// It was opened before, or is too old to tell.
    Replayed,
    /// It came to the node in whose name it goes: in a circle, or from somebody who lies.
    Returned,
    /// It belongs to a session that its destination does not know, or no longer.
    SessionLost,
    /// It made as many hops as it might.
    TtlExceeded,
    /// It is not what its alleged origin sent.
    Unauthentic,
}

/// Why a task is taken from its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReassignReason {
    /// What ran it died, and its node said so.
    Crashed,
    /// The worker handed it back before it left.
    HandedBack,
    /// The lease ran out.
    LeaseExpired,
    /// The worker had no room, or no such model.
    Refused,
    /// The worker is no longer reachable, or does not answer.
    Unreachable,
    /// The worker said that it does not have it any more.
    Missing,
    /// The files of the worker's model were replaced while it had the task.
    ModelChanged,
}
