//! What users ask of their own node, and what it answers.

use crate::blob::{BlobId, Pin};
use crate::error::Rejection;
use crate::faults::Faults;
use crate::health::HealthReport;
use crate::heartbeat::Liveness;
use crate::ids::{Fingerprint, NodeId, TaskId};
use crate::lifecycle::State;
use crate::model::{ModelConflict, ModelOffer};
use crate::task::{ResultSummary, TaskKind, TaskSpec, TaskStatus};
use crate::time::UnixMillis;
use crate::troubles::Trouble;
use core::net::SocketAddr;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A question or command. Each gets exactly one answer, some of them late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Answered with [`Response::Task`] once the task has its outcome.
    AwaitTask(TaskId),
    /// Ends an open task as CANCELLED; answered with [`Response::Task`] once that is durable.
    Cancel(TaskId),
    /// Answered with [`Response::Diagnosis`].
    Diagnosis,
    /// Fetches a file from other nodes; answered with [`Response::Fetched`] once it is here.
    Fetch(FetchSpec),
    /// Answered with [`Response::Fetches`].
    Fetches,
    /// Looks after the node's own health; answered with [`Response::Health`] within two seconds.
    Health,
    /// Answered with [`Response::Members`].
    Members,
    /// Answered with [`Response::Peers`].
    Peers,
    /// Sends messages to a node and waits for their acknowledgements; answered with [`Response::Ping`].
    Ping(PingSpec),
    /// Answered with [`Response::Route`], once the time of each hop is measured.
    Route(NodeId),
    /// Begins the shutdown; answered with [`Response::ShuttingDown`].
    Shutdown,
    /// Answered with [`Response::Status`].
    Status,
    /// Accepts a task; answered with [`Response::Submitted`] once it is durable.
    Submit(TaskSpec),
    /// Answered with [`Response::Task`].
    Task(TaskId),
    /// Answered with [`Response::Tasks`], newest first.
    Tasks {
        /// Which tasks count.
        which: Which,
        /// The most tasks to list.
        limit: u32,
        /// How many of the newest to leave out.
        offset: u32,
    },
    /// Says which model a request's tasks would be for; answered with [`Response::Chosen`].
    Choose(ModelWish),
    /// Accepts one task of several that must be computed by the same model; answered with [`Response::Submitted`] once
    /// it is durable.
    SubmitFor(TaskSpec, Fingerprint),
    /// Answered with [`Response::News`] once there is more of a task than was seen: text, or another status.
    Watch {
        /// The task.
        task: TaskId,
        /// What is known of it.
        seen: Seen,
    },
}

/// What a request needs of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelWish {
    /// The kind of work.
    pub kind: TaskKind,
    /// Whether there are labels to choose from, where it is a classification.
    pub labels: bool,
    /// The model's name; `None` for the one that the node would choose.
    pub model: Option<String>,
}

/// Some of the tasks: those for which all that is given holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// How they stand.
    pub status: Option<TaskStatus>,
    /// The node that runs them or that made their outcome.
    pub worker: Option<NodeId>,
}

impl Which {
    /// Tells whether a task is one of them.
    pub fn holds(self, status: TaskStatus, worker: Option<NodeId>) -> bool {
        self.status.is_none_or(|wanted| wanted == status)
            && self.worker.is_none_or(|wanted| Some(wanted) == worker)
    }
}

/// What is known of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How it stood.
    pub status: TaskStatus,
    /// The attempt whose text was seen; 0 for none.
    pub attempt: u32,
    /// How many bytes of that text.
    pub bytes: u32,
}

/// More of the text that a task's attempt writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Whose text it is. An attempt that follows another begins anew.
    pub attempt: u32,
    /// How many bytes of that attempt's text come before it.
    pub offset: u32,
    /// The text.
    pub text: String,
}

/// How many tokens there are of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    /// Those produced so far.
    pub produced: u32,
    /// The most that there will be.
    pub most: u32,
}

/// The answer to one [`Request`].
pub type Answer = Result<Response, Rejection>;

/// A good answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// The model for the tasks of a request: its name, and which one it is where that is known by now.
    Chosen(String, Option<Fingerprint>),
    /// What goes wrong between this node and others.
    Diagnosis(DiagnosisView),
    /// The file is here.
    Fetched(Fetched),
    /// The files that are being fetched.
    Fetches(Vec<FetchView>),
    /// How well the node is.
    Health(Box<HealthReport>),
    /// Who exists, this node included, by id.
    Members(Vec<MemberView>),
    /// How a task stands, and more of its text; none once it has ended, as its outcome has it all.
    News(Box<TaskView>, News),
    /// Who this node has a link to, by id.
    Peers(Vec<PeerView>),
    /// How messages fared.
    Ping(Box<PingView>),
    /// How a message would travel.
    Route(Box<RouteView>),
    /// The shutdown has begun.
    ShuttingDown,
    /// How the node is.
    Status(Box<StatusView>),
    /// The task is durable under this name.
    Submitted(TaskId),
    /// How one task stands.
    Task(Box<TaskView>),
    /// A part of the tasks, newest first.
    Tasks {
        /// How many of those that count there are in all.
        total: u32,
        /// The part asked for.
        tasks: Vec<TaskView>,
    },
}

/// A file to fetch from other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchSpec {
    /// By which it is known; nothing else is taken.
    pub pin: Pin,
    /// Its size.
    pub bytes: u64,
}

/// A file that was fetched from other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The file.
    pub blob: BlobId,
    /// How many nodes gave pieces of it.
    pub peers: u32,
    /// How long it took, in microseconds.
    pub elapsed_micros: u64,
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchView {
    /// What is fetched.
    pub spec: FetchSpec,
    /// Bytes that are here, about.
    pub present: u64,
    /// Nodes that are known to have it.
    pub holders: u32,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its id.
    pub node_id: NodeId,
    /// Its lifecycle state.
    pub state: State,
    /// The product's version.
    pub version: String,
    /// The network that it belongs to.
    pub network: String,
    /// Where peers connect.
    pub network_port: u16,
    /// Where it tells others to connect, best first.
    pub addresses: Vec<SocketAddr>,
    /// Time since it became ACTIVE; `None` before.
    pub uptime_millis: Option<u64>,
    /// Nodes that it has a link to.
    pub peers: u32,
    /// Nodes that it knows to exist, itself included.
    pub members: u32,
    /// Accepted tasks that wait.
    pub tasks_queued: u32,
    /// Accepted tasks that run.
    pub tasks_running: u32,
    /// Results kept.
    pub results: u32,
    /// The models that it can run.
    pub models: Vec<ModelView>,
    /// How it finds others on the local network.
    pub discovery: DiscoveryView,
    /// What others did that they should not.
    pub faults: Faults,
    /// What the last check of its own health found; `None` before the first.
    pub health: Option<HealthReport>,
    /// The wall clock.
    pub timestamp: UnixMillis,
}

/// What goes wrong between a node and others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosisView {
    /// Nodes of its network that it hears by mDNS.
    pub heard: u32,
    /// What went wrong lately, and how many milliseconds ago it was last seen.
    pub troubles: Vec<(u64, Trouble)>,
    /// Names that nodes give to different models.
    pub conflicts: Vec<ModelConflict>,
}

/// How a node's discovery service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryView {
    /// Whether it works.
    pub state: DiscoveryState,
    /// Nodes that it knows of.
    pub nodes: u32,
    /// The node's own packets that came back to it, as each should: none says that a firewall drops multicast.
    pub packets_own: u64,
    /// Packets taken in from others.
    pub packets_heard: u64,
    /// Packets dropped unread, because too many came at once.
    pub packets_dropped: u64,
    /// Packets that name this service and make no sense, or are too large.
    pub packets_unusable: u64,
}

/// Whether discovery works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscoveryState {
    /// Some network of this host takes multicast.
    Available,
    /// It is switched off, or the node is not ACTIVE.
    Off,
    /// No network of this host takes multicast.
    Unavailable,
}

/// A model that a node can run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// What it can do.
    pub kind: TaskKind,
    /// Which model it is; `None` while its files are being hashed.
    pub fingerprint: Option<Fingerprint>,
    /// Whether it is loaded.
    pub ready: bool,
}

/// A node that this node has a link to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its id.
    pub node_id: NodeId,
    /// The other end of the link.
    pub address: SocketAddr,
    /// Where it takes connections.
    pub network_port: u16,
    /// The product's version that it runs.
    pub version: String,
    /// What the failure detector says.
    pub liveness: Liveness,
    /// How long the link has been up.
    pub connected_millis: u64,
    /// Frames received.
    pub messages_in: u64,
    /// Frames sent.
    pub messages_out: u64,
    /// Time since its last sign of life.
    pub last_heard_millis: u64,
    /// Smoothed heartbeat round trip; `None` before the first.
    pub round_trip_micros: Option<u64>,
}

/// How a message would travel to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// The node.
    pub destination: NodeId,
    /// The nodes that a message passes, the destination last; none where that is this node.
    pub hops: Vec<HopView>,
    /// Other paths, shortest first, in the same form.
    pub alternatives: Vec<Vec<NodeId>>,
}

/// One node on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopView {
    /// The node.
    pub node_id: NodeId,
    /// Time that a message took from here to it and back; `None` where no answer came within a second.
    pub round_trip_micros: Option<u64>,
}

/// Messages to send to a node. What is above its limit counts as the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingSpec {
    /// The node.
    pub destination: NodeId,
    /// How many messages, at most [`PING_COUNT_MAX`].
    pub count: u32,
    /// Bytes that each carries besides its head, at most [`PING_BYTES_MAX`].
    pub bytes: u32,
    /// How many may be on their way at the same time, at most [`PING_AT_ONCE_MAX`].
    pub at_once: u32,
}

/// How the messages of a [`PingSpec`] fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingView {
    /// The node.
    pub destination: NodeId,
    /// Links on the way to it at the end; 0 where there is no way any more.
    pub hops: u32,
    /// Messages that were acknowledged.
    pub answered: u32,
    /// Messages that were not, although they were sent again.
    pub lost: u32,
    /// Time from the first message to the last acknowledgement.
    pub elapsed_micros: u64,
    /// Times from a message to its acknowledgement; `None` where there was none.
    pub round_trips: Option<RoundTrips>,
}

/// How long messages took there and back, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// The shortest.
    pub least: u32,
    /// Half of them took no longer.
    pub median: u32,
    /// Of a hundred, one took longer.
    pub p99: u32,
    /// The longest.
    pub most: u32,
}

/// A node known to exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its id.
    pub node_id: NodeId,
    /// Where it says that it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// The product's version that it runs.
    pub version: String,
    /// Links between this node and it: 0 for itself, 1 for a peer.
    pub hops: u32,
    /// The nodes that it has links to.
    pub links: Vec<NodeId>,
    /// The models that it runs, or is about to load.
    pub models: Vec<ModelOffer>,
}

/// How one task stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its name.
    pub id: TaskId,
    /// The kind of work.
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// How it stands.
    pub status: TaskStatus,
    /// When it was accepted.
    pub submitted_at: UnixMillis,
    /// From acceptance to now, or to the outcome.
    pub elapsed_millis: u64,
    /// Attempts begun.
    pub attempts: u32,
    /// The node that runs it or that made its outcome.
    pub worker: Option<NodeId>,
    /// The first 100 characters of the input.
    pub preview: String,
    /// Tokens so far, of a generation that has not ended.
    pub tokens: Option<TokenCount>,
    /// How much longer it will take, by what was measured; only while it runs.
    pub remaining_millis: Option<u64>,
    /// Terminal tasks only.
    pub result: Option<ResultSummary>,
}

/// The longest list that one answer carries.
pub const LIST_MAX: u32 = 1_000;

/// The most messages of one [`PingSpec`].
pub const PING_COUNT_MAX: u32 = 1_000_000;

/// The most bytes that one message of a [`PingSpec`] carries.
pub const PING_BYTES_MAX: u32 = 64 << 10;

/// The most messages of one [`PingSpec`] on their way at the same time.
pub const PING_AT_ONCE_MAX: u32 = 1_024;

/// The timeouts that a task may ask for.
pub const TIMEOUT_RANGE: core::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
