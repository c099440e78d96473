//! The requests that users send to their own node, and its replies.

use crate::blobs::{BlobId, Pin};
use crate::error::Rejection;
use crate::health::HealthReport;
use crate::heartbeat::Liveness;
use crate::ids::{Fingerprint, NodeId, TaskId, TraceId};
use crate::lifecycle::State;
use crate::model::{ModelConflict, ModelOffer};
use crate::node_name::NodeName;
use crate::observers::alerts::{Alert, AlertHistory, AlertsView, Threshold, Thresholds};
use crate::observers::diagnostics::Issue;
use crate::observers::fault_counters::FaultCounters;
use crate::observers::metrics::MetricsView;
use crate::observers::traces::IdPrefix;
use crate::observers::traces::timeline::NodeTrace;
use crate::task::{ResultSummary, TaskKind, TaskSpec, TaskStatus, WaitsFor};
use crate::time::UnixMillis;
use crate::trace::Caller;
use core::net::SocketAddr;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A question or command. Each gets exactly one reply, which may take time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Replies with [`Response::AlertHistory`], newest first.
    AlertHistory {
        /// Maximum number of alerts to return, at most [`LIST_MAX`].
        limit: u32,
        /// Number of the newest alerts to skip.
        offset: u32,
    },
    /// Replies with [`Response::Alerts`].
    Alerts,
    /// Replies with [`Response::Task`] once the task has its outcome.
    AwaitTask(TaskId),
    /// Ends an open task as CANCELLED. Replies with [`Response::Task`] once that is durable.
    Cancel(TaskId),
    /// Replies with [`Response::Diagnosis`].
    Diagnosis,
    /// Fetches a file from other nodes. Replies with [`Response::Fetched`] once it is complete.
    Fetch(FetchSpec),
    /// Replies with [`Response::Fetches`].
    Fetches,
    /// Checks the node's own health. Replies with [`Response::Health`] within two seconds.
    Health,
    /// Replies with [`Response::Members`]: those that a path leads to.
    Members,
    /// Replies with [`Response::Peers`].
    Peers,
    /// Sends messages to a node and waits for their acknowledgements. Replies with [`Response::Ping`].
    Ping(PingSpec),
    /// Replies with [`Response::Route`] once the round trip of each hop is measured.
    Route(NodeId),
    /// Sets thresholds of alerts. Replies with [`Response::Thresholds`] once they are durable and apply.
    SetThresholds {
        /// The thresholds to set, with their values.
        changes: BTreeMap<Threshold, u64>,
        /// Whether all others get their defaults back.
        reset: bool,
    },
    /// Begins the shutdown. Replies with [`Response::ShuttingDown`].
    Shutdown,
    /// Replies with [`Response::Status`].
    Status,
    /// Accepts a task. Replies with [`Response::Submitted`] once it is durable.
    Submit(TaskSpec),
    /// Replies with [`Response::Task`].
    Task(TaskId),
    /// Replies with [`Response::Tasks`], newest first.
    Tasks {
        /// The filter.
        filter: TaskFilter,
        /// Maximum number of tasks to return, at most [`LIST_MAX`].
        limit: u32,
        /// Number of the newest matching tasks to skip.
        offset: u32,
    },
    /// Chooses the model for the tasks of a request. Replies with [`Response::Chosen`].
    Choose(ModelWish),
    /// Accepts one of several tasks that must be computed by the same model. Replies with [`Response::Submitted`] once
    /// it is durable.
    SubmitFor(TaskSpec, Fingerprint),
    /// Gathers the steps of a trace from the nodes that took part. Replies with [`Response::Trace`] within two seconds.
    Trace(IdPrefix),
    /// Accepts a task of a trace that has begun. Replies with [`Response::Submitted`] once it is durable.
    SubmitTraced(Box<TracedTask>),
    /// Replies with [`Response::TaskUpdate`] once a task has more text than was seen, or another status.
    Watch {
        /// The task.
        task: TaskId,
        /// What the user has seen so far.
        seen: Cursor,
    },
    /// Replies with [`Response::Metrics`].
    Metrics,
    /// Replies with [`Response::Dump`].
    Dump,
    /// Replies with [`Response::Attempts`].
    Attempts,
    /// Replies with [`Response::Members`]: those that no path leads to any more, the last to leave first, at most
    /// [`LIST_MAX`].
    FormerMembers,
}

/// A task of a trace that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedTask {
    /// The task.
    pub spec: TaskSpec,
    /// The model that must compute it, if other tasks rely on the same model.
    pub required: Option<Fingerprint>,
    /// The trace.
    pub trace: TraceId,
    /// What the client's trace context adds.
    pub caller: Caller,
}

/// What a request needs of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelWish {
    /// The kind of task.
    pub kind: TaskKind,
    /// Whether the request brings the labels of a classification.
    pub labels: bool,
    /// The model's name; `None` for the node's default.
    pub model: Option<String>,
}

/// A filter for tasks. A task matches if all the given fields match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFilter {
    /// The first digits of the id.
    pub id: Option<IdPrefix>,
    /// The status.
    pub status: Option<TaskStatus>,
    /// The node that runs the task or produced its outcome.
    pub worker: Option<NodeId>,
}

impl TaskFilter {
    /// Tells whether a task matches.
    pub fn matches(self, id: TaskId, status: TaskStatus, worker: Option<NodeId>) -> bool {
        self.id.is_none_or(|wanted| wanted.matches(&id.0))
            && self.status.is_none_or(|wanted| wanted == status)
            && self.worker.is_none_or(|wanted| Some(wanted) == worker)
    }
}

/// How much of a task the user has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The last status seen.
    pub status: TaskStatus,
    /// The attempt whose text was seen; 0 for none.
    pub attempt: u32,
    /// Bytes of that text.
    pub bytes: u32,
}

/// A piece of the text that an attempt at a task generates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskUpdate {
    /// The attempt. A new attempt starts its text from the beginning.
    pub attempt: u32,
    /// Bytes of the attempt's text before this piece.
    pub offset: u32,
    /// The text.
    pub text: String,
}

/// The progress of a generation, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    /// Tokens generated so far.
    pub produced: u32,
    /// Maximum number of tokens to generate.
    pub most: u32,
}

/// The reply to one [`Request`].
pub type Answer = Result<Response, Rejection>;

/// A successful reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// A page of past and active alerts.
    AlertHistory(AlertHistory),
    /// The active alerts and the thresholds.
    Alerts(AlertsView),
    /// The model for the tasks of a request: its name, and its fingerprint if known.
    Chosen(String, Option<Fingerprint>),
    /// The problems between this node and others.
    Diagnosis(DiagnosisView),
    /// The file is complete.
    Fetched(Fetched),
    /// The fetches in progress.
    Fetches(Vec<FetchView>),
    /// The report of the health check.
    Health(Box<HealthReport>),
    /// Nodes of the network. The reachable ones are by id, and include this one.
    Members(Vec<MemberView>),
    /// The status of a task, and more of its text. The text is empty once the task has ended, as its outcome has all of
    /// it.
    TaskUpdate(Box<TaskView>, TaskUpdate),
    /// The nodes that this node has a link with, by id.
    Peers(Vec<PeerView>),
    /// The results of the ping.
    Ping(Box<PingView>),
    /// The path of a message.
    Route(Box<RouteView>),
    /// The shutdown has begun.
    ShuttingDown,
    /// The node's status.
    Status(Box<StatusView>),
    /// The task is durable under this id.
    Submitted(TaskId),
    /// The thresholds that are set.
    Thresholds(Thresholds),
    /// One task.
    Task(Box<TaskView>),
    /// The steps of a trace.
    Trace(Box<TraceView>),
    /// A page of the matching tasks, newest first.
    Tasks {
        /// Number of matching tasks on all pages.
        total: u32,
        /// The page.
        tasks: Vec<TaskView>,
    },
    /// The metrics of the node.
    Metrics(Box<MetricsView>),
    /// All that the node reports about itself at one moment.
    Dump(Box<DumpView>),
    /// The attempts that this node runs or has queued: its own ones first, then by origin.
    Attempts(Vec<AttemptView>),
}

/// The steps of a trace at the nodes that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// The trace.
    pub trace: TraceId,
    /// The nodes.
    pub nodes: Vec<NodeTrace>,
}

/// A file to fetch from other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchSpec {
    /// The hash of the file; data that does not match is rejected.
    pub pin: Pin,
    /// Its size.
    pub bytes: u64,
}

/// A file that was fetched from other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The file.
    pub blob: BlobId,
    /// Number of nodes that provided pieces.
    pub peers: u32,
    /// Duration of the fetch, in microseconds.
    pub elapsed_micros: u64,
}

/// The progress of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchView {
    /// The file.
    pub spec: FetchSpec,
    /// Bytes that have arrived, approximately.
    pub present: u64,
    /// Number of nodes known to have the file.
    pub holders: u32,
}

/// The status of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its id.
    pub node_id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its lifecycle state.
    pub state: State,
    /// The product's version.
    pub version: String,
    /// The network that it belongs to.
    pub network: String,
    /// The port on which it accepts links.
    pub network_port: u16,
    /// The addresses that it announces, best first.
    pub addresses: Vec<SocketAddr>,
    /// Time since it became ACTIVE, in milliseconds; `None` before.
    pub uptime_millis: Option<u64>,
    /// Number of nodes that it has a link with.
    pub peers: u32,
    /// Number of known nodes, itself included.
    pub members: u32,
    /// Accepted tasks that wait for an attempt.
    pub tasks_queued: u32,
    /// Accepted tasks that run.
    pub tasks_running: u32,
    /// What it computes now.
    pub work: WorkView,
    /// Number of stored results.
    pub results: u32,
    /// The models that it offers.
    pub models: Vec<ModelView>,
    /// The status of mDNS discovery.
    pub discovery: DiscoveryView,
    /// Violations of the protocol by other nodes.
    pub faults: FaultCounters,
    /// The report of the last health check; `None` before the first.
    pub health: Option<HealthReport>,
    /// The active alerts, oldest first.
    pub alerts: Vec<Alert>,
    /// The node's wall-clock time.
    pub timestamp: UnixMillis,
}

/// What a node computes, for itself and for others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkView {
    /// Maximum number of inference jobs that it runs at the same time.
    pub slots: u32,
    /// Number of inference jobs that run. One job may compute several attempts.
    pub slots_busy: u32,
    /// Its attempts by origin: its own ones first, then by id.
    pub origins: Vec<OriginWorkView>,
}

/// What a node computes for one origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginWorkView {
    /// The origin.
    pub node_id: NodeId,
    /// Its name; empty if it is not known here.
    pub name: NodeName,
    /// Number of attempts that run.
    pub running: u32,
    /// Number of attempts that wait for a slot or for their model.
    pub queued: u32,
    /// Time since the start of the oldest attempt that runs, in milliseconds.
    pub running_millis: Option<u64>,
}

/// An attempt that a node runs or has queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// The node that accepted the task.
    pub origin: NodeId,
    /// Its name; empty if it is not known here.
    pub origin_name: NodeName,
    /// The task.
    pub task: TaskId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The kind of the task.
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// From its arrival to its start or until now, in milliseconds.
    pub queued_millis: u64,
    /// Time since its start, in milliseconds; `None` if it waits.
    pub running_millis: Option<u64>,
}

/// All that a node reports about itself at one moment, without the texts of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpView {
    /// Its status.
    pub status: StatusView,
    /// The nodes that it has a link with, by id.
    pub peers: Vec<PeerView>,
    /// The known nodes, including itself, by id.
    pub members: Vec<MemberView>,
    /// The problems between it and others.
    pub diagnosis: DiagnosisView,
    /// How full each of its collections is.
    pub occupancy: Vec<OccupancyView>,
    /// The number of its tasks by status, kind and age.
    pub tasks: Vec<TaskAges>,
}

/// How full a collection of a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccupancyView {
    /// Its name, prefixed with its owner.
    pub name: String,
    /// Number of entries, or bytes.
    pub current: u64,
    /// The limit.
    pub limit: u64,
}

/// The number of tasks with one status and kind, by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAges {
    /// The status.
    pub status: TaskStatus,
    /// The kind.
    pub kind: TaskKind,
    /// The number of tasks younger than each of [`TASK_AGES`] and not counted before; then that of all older ones.
    pub counts: [u32; TASK_AGES.len() + 1],
}

/// The problems between a node and others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosisView {
    /// Number of nodes of its network that it hears by mDNS.
    pub heard: u32,
    /// Recent problems, each with the time since it was last seen, in milliseconds.
    pub issues: Vec<(u64, Issue)>,
    /// Names that nodes use for different models.
    pub conflicts: Vec<ModelConflict>,
}

/// The status of a node's mDNS discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryView {
    /// Whether it works.
    pub state: DiscoveryState,
    /// Number of nodes that it knows.
    pub nodes: u32,
    /// The node's own packets that came back to it, as all should. If none does, a firewall probably drops multicast.
    pub packets_own: u64,
    /// Packets from other nodes that were processed.
    pub packets_heard: u64,
    /// Packets dropped unread because of the rate limit.
    pub packets_dropped: u64,
    /// Packets of this service that are malformed or too large.
    pub packets_unusable: u64,
}

/// Whether discovery works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscoveryState {
    /// At least one network of this host supports multicast.
    Available,
    /// Discovery is disabled, or the node is not ACTIVE.
    Off,
    /// No network of this host supports multicast.
    Unavailable,
}

/// A model that a node offers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: TaskKind,
    /// Its identity; `None` while its files are being hashed.
    pub fingerprint: Option<Fingerprint>,
    /// Whether it is loaded.
    pub ready: bool,
}

/// A node that this node has a link with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its id.
    pub node_id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// The address of the other end of the link.
    pub address: SocketAddr,
    /// The port on which it accepts links.
    pub network_port: u16,
    /// Its product version.
    pub version: String,
    /// The failure detector's verdict.
    pub liveness: Liveness,
    /// Time since the link came up, in milliseconds.
    pub connected_millis: u64,
    /// Frames received.
    pub messages_in: u64,
    /// Frames sent.
    pub messages_out: u64,
    /// Bytes of the frames received, without encryption and transport.
    pub bytes_in: u64,
    /// Bytes of the frames sent.
    pub bytes_out: u64,
    /// Time since its last sign of life, in milliseconds.
    pub last_heard_millis: u64,
    /// Smoothed round trip of heartbeats, in microseconds; `None` before the first.
    pub round_trip_micros: Option<u64>,
}

/// The path of a message to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// The destination.
    pub destination: NodeId,
    /// The nodes on the path, the destination last; empty if it is this node.
    pub hops: Vec<HopView>,
    /// Other paths in the same form, shortest first.
    pub alternatives: Vec<Vec<NodeId>>,
}

/// One node on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopView {
    /// The node.
    pub node_id: NodeId,
    /// Round trip from this node to it, in microseconds; `None` if no answer came within a second.
    pub round_trip_micros: Option<u64>,
}

/// Messages to send to a node. A value above its limit counts as the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingSpec {
    /// The destination.
    pub destination: NodeId,
    /// Number of messages, at most [`PING_COUNT_MAX`].
    pub count: u32,
    /// Payload bytes of each, at most [`PING_BYTES_MAX`].
    pub bytes: u32,
    /// Maximum number of messages in flight, at most [`PING_AT_ONCE_MAX`].
    pub at_once: u32,
}

/// The results of a [`PingSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingView {
    /// The destination.
    pub destination: NodeId,
    /// Number of links on the path to it at the end; 0 if there is no path any more.
    pub hops: u32,
    /// Messages that were acknowledged.
    pub answered: u32,
    /// Messages that were not acknowledged, despite retries.
    pub lost: u32,
    /// Time from the first message to the last acknowledgement, in microseconds.
    pub elapsed_micros: u64,
    /// Round trips of the acknowledged messages; `None` if there were none.
    pub round_trips: Option<RoundTrips>,
}

/// The distribution of round trips, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// The shortest.
    pub least: u32,
    /// The median.
    pub median: u32,
    /// The 99th percentile.
    pub p99: u32,
    /// The longest.
    pub most: u32,
}

/// A node known through membership gossip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its id.
    pub node_id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// The addresses that it advertises.
    pub addresses: Vec<SocketAddr>,
    /// Its product version.
    pub version: String,
    /// Number of links between this node and it: 0 for itself, 1 for a peer.
    pub hops: u32,
    /// The nodes that it has links with.
    pub links: Vec<NodeId>,
    /// The models that it offers or is about to load.
    pub models: Vec<ModelOffer>,
    /// Maximum number of inference jobs that it runs at the same time.
    pub slots: u16,
    /// Number of tasks that it has to run; `None` if it is no peer, or has not told yet.
    pub load: Option<u16>,
    /// The failure detector's verdict and the time since its last sign of life, in milliseconds; `None` if it is no
    /// peer.
    pub link: Option<(Liveness, u64)>,
    /// Time since it became unreachable, in milliseconds; `None` while a path leads to it.
    pub unreachable_millis: Option<u64>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Its kind.
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// Its status.
    pub status: TaskStatus,
    /// The time at which it was accepted.
    pub submitted_at: UnixMillis,
    /// Time from acceptance to now, or to the outcome, in milliseconds.
    pub elapsed_millis: u64,
    /// Number of attempts begun.
    pub attempts: u32,
    /// The node that runs it or produced its outcome.
    pub worker: Option<NodeId>,
    /// The name of that node; empty if it is not known here.
    pub worker_name: NodeName,
    /// The first 100 characters of the input.
    pub preview: String,
    /// What it waits for, if it is queued and that is known.
    pub waits_for: Option<WaitsFor>,
    /// Tokens of a generation that has not ended.
    pub tokens: Option<TokenCount>,
    /// Estimated time to the outcome, in milliseconds; only while it runs.
    pub remaining_millis: Option<u64>,
    /// The result, if the task has ended.
    pub result: Option<ResultSummary>,
}

/// Maximum number of entries in one reply.
pub const LIST_MAX: u32 = 1_000;

/// The ages that separate the counts of [`TaskAges`], in seconds.
pub const TASK_AGES: [u64; 5] = [1, 10, 60, 600, 3_600];

/// Maximum number of messages of one [`PingSpec`].
pub const PING_COUNT_MAX: u32 = 1_000_000;

/// Maximum payload of one message of a [`PingSpec`], in bytes.
pub const PING_BYTES_MAX: u32 = 64 << 10;

/// Maximum number of messages of one [`PingSpec`] in flight.
pub const PING_AT_ONCE_MAX: u32 = 1_024;

/// The range of timeouts that a task may have.
pub const TIMEOUT_RANGE: core::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
