//! The bodies of the control API, as clients send and get them: times in ISO 8601, durations in milliseconds.

mod tasks;

pub use self::tasks::{Dropped, OutputBody, ResultBody, Score, Summary, Task, Tasks, TruncatedInput};
pub use super::new_task::{InputBody, Message, NewTask, NotATask, OneOrMany};

use super::models::Availability;
use crate::clock;
use crate::inference::ModelStatus;
use engine::health::{Finding, HealthReport, Verdict};
use engine::heartbeat;
use engine::lifecycle::State;
use engine::model::ModelConflict;
use engine::observers::diagnostics::Issue;
use engine::observers::fault_counters::FaultCounters;
use engine::record::RecordKind;
use engine::request::{
    DiagnosisView, DiscoveryView, HopView, MemberView, ModelView, PeerView, PingView, RoundTrips, RouteView,
    StatusView,
};
use engine::task::{TaskKind, TaskStatus};
use engine::{Fingerprint, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// A stable name.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The answer of a readiness probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// `node_ready` or `node_not_ready`.
    pub status: String,
    /// The wall clock.
    pub timestamp: String,
}

/// The name of an accepted task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The task's name.
    pub id: TaskId,
    /// How it stands.
    pub status: TaskStatus,
}

/// How a node is, as far as that can be told at this point of its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StatusAnswer {
    /// It is, or was, ACTIVE.
    Whole(Box<Status>),
    /// It has not been ACTIVE yet.
    Early(Metadata),
}

/// What is told of a node that has not been ACTIVE yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Its lifecycle state.
    pub state: State,
    /// The product's version.
    pub version: String,
    /// The wall clock.
    pub timestamp: String,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
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
    /// Time since it became ACTIVE; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
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
    pub models: Vec<Model>,
    /// Names of models that it should run and cannot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models_unusable: Vec<String>,
    /// How it finds others on the local network.
    pub discovery: DiscoveryView,
    /// How often others did what they should not since it started, by kind.
    pub faults: FaultCounters,
    /// What the last check of its own health found; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The wall clock.
    pub timestamp: String,
}

/// How well a node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The worst of all verdicts.
    pub status: Verdict,
    /// What was found of each component.
    pub components: Vec<Finding>,
    /// Memory that the node and its models hold, and the system cannot take back; absent where nobody could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory that they may hold.
    pub memory_bytes_max: u64,
    /// How long the check took.
    pub took_ms: f64,
}

/// The answer of a liveness probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Liveness {
    /// `alive`.
    pub status: String,
    /// What the last check of its own health found; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Verdict>,
    /// The components that are not well, and why.
    pub unwell: Vec<Finding>,
    /// The wall clock.
    pub timestamp: String,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// What it can do.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Which model it is; absent while its files are being hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Whether it is loaded.
    pub ready: bool,
    /// What that means for whoever has a task for it.
    pub state: Availability,
}

/// What goes wrong between this node and others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Nodes of the network that it hears by mDNS.
    pub heard: u32,
    /// What went wrong lately.
    pub troubles: Vec<RecentTrouble>,
    /// How many stored records are damaged.
    #[serde(default)]
    pub records_damaged: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedRecord>,
    /// Names that nodes give to different models.
    #[serde(default)]
    pub model_conflicts: Vec<Conflict>,
}

/// A stored record that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedRecord {
    /// What it holds.
    pub kind: RecordKind,
    /// Whose.
    pub task: TaskId,
}

/// A name that nodes of the network give to different models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The name.
    pub model: String,
    /// The models that it stands for.
    pub versions: Vec<ModelVersion>,
}

/// One of the models that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Which model it is.
    pub fingerprint: Fingerprint,
    /// The nodes that have it, by id.
    pub nodes: Vec<NodeId>,
}

/// Something that went wrong lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentTrouble {
    /// Time since it was last seen.
    pub age_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub trouble: Issue,
}

/// The nodes that this node has links to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// The peers, by id.
    pub peers: Vec<Peer>,
}

/// A node that this node has a link to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// The other end of the link.
    pub address: SocketAddr,
    /// Where it takes connections.
    pub network_port: u16,
    /// The product's version that it runs.
    pub version: String,
    /// What the failure detector says.
    pub liveness: heartbeat::Liveness,
    /// How long the link has been up.
    pub connected_ms: u64,
    /// Frames received.
    pub messages_in: u64,
    /// Frames sent.
    pub messages_out: u64,
    /// Time since its last sign of life.
    pub last_heartbeat_ms: u64,
    /// Smoothed heartbeat round trip in milliseconds; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
}

/// All nodes known to exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The members, by id.
    pub members: Vec<Member>,
}

/// How a message would travel to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The node.
    pub destination: NodeId,
    /// The nodes that a message passes, the destination last; none where that is the node asked.
    pub hops: Vec<Hop>,
    /// Other paths, shortest first, in the same form.
    pub alternatives: Vec<Vec<NodeId>>,
}

/// One node on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The node.
    pub id: NodeId,
    /// Time that a message took to it and back; absent where no answer came within a second.
    pub round_trip_us: Option<u64>,
}

/// How messages to a node fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The node.
    pub destination: NodeId,
    /// Links on the way to it.
    pub hops: u32,
    /// Messages that were acknowledged.
    pub answered: u32,
    /// Messages that were not, although they were sent again.
    pub lost: u32,
    /// Time from the first message to the last acknowledgement.
    pub elapsed_us: u64,
    /// Times there and back; absent where nothing was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<RoundTrips>,
}

/// A node known to exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Where it says that it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// The product's version that it runs.
    pub version: String,
    /// Links between this node and it: 0 for itself, 1 for a peer.
    pub hops: u32,
    /// The nodes that it has links to.
    pub links: Vec<NodeId>,
}

impl StatusAnswer {
    /// Returns the node's lifecycle state.
    pub const fn state(&self) -> State {
        match self {
            Self::Whole(status) => status.state,
            Self::Early(metadata) => metadata.state,
        }
    }
}

impl Metadata {
    /// Returns what is told of a node whose storage is being opened.
    pub fn initializing() -> Self {
        Self {
            state: State::Initializing,
            version: engine::Config::default().version,
            timestamp: clock::wall().to_string(),
        }
    }
}

impl From<StatusView> for StatusAnswer {
    fn from(view: StatusView) -> Self {
        if view.uptime_millis.is_some() {
            return Self::Whole(Box::new(view.into()));
        }
        Self::Early(Metadata {
            state: view.state,
            version: view.version,
            timestamp: view.timestamp.to_string(),
        })
    }
}

impl From<StatusView> for Status {
    fn from(view: StatusView) -> Self {
        Self {
            node_id: view.node_id,
            state: view.state,
            version: view.version,
            network: view.network,
            network_port: view.network_port,
            addresses: view.addresses,
            uptime_ms: view.uptime_millis,
            peers: view.peers,
            members: view.members,
            tasks_queued: view.tasks_queued,
            tasks_running: view.tasks_running,
            results: view.results,
            models: view.models.into_iter().map(Model::from).collect(),
            models_unusable: Vec::new(),
            discovery: view.discovery,
            faults: view.faults,
            health: view.health.map(Health::from),
            timestamp: view.timestamp.to_string(),
        }
    }
}

impl From<HealthReport> for Health {
    fn from(report: HealthReport) -> Self {
        Self {
            status: report.verdict,
            components: report.findings,
            memory_bytes: report.memory_bytes,
            memory_bytes_max: report.memory_bytes_max,
            took_ms: millis(report.took_micros),
        }
    }
}

impl From<ModelView> for Model {
    fn from(view: ModelView) -> Self {
        let state = if view.ready { Availability::Loaded } else { Availability::Loading };
        let ModelView { name, kind, fingerprint, ready } = view;
        Self { name, kind, fingerprint, ready, state }
    }
}

impl Model {
    /// Takes over what is known of it where it runs; the node itself knows only whether it is offered.
    pub(super) fn refine(&mut self, status: &ModelStatus) {
        (self.state, self.ready) = (Availability::of(status, self.ready), status.ready);
    }
}

impl From<DiagnosisView> for Diagnosis {
    fn from(view: DiagnosisView) -> Self {
        let recent = |(age_ms, trouble)| RecentTrouble { age_ms, trouble };
        let troubles = view.issues.into_iter().map(recent).collect();
        let model_conflicts = view.conflicts.into_iter().map(Conflict::from).collect();
        Self { heard: view.heard, troubles, records_damaged: 0, damaged: Vec::new(), model_conflicts }
    }
}

impl From<ModelConflict> for Conflict {
    fn from(conflict: ModelConflict) -> Self {
        let version = |(fingerprint, nodes)| ModelVersion { fingerprint, nodes };
        Self { model: conflict.name, versions: conflict.models.into_iter().map(version).collect() }
    }
}

impl From<PeerView> for Peer {
    fn from(view: PeerView) -> Self {
        Self {
            id: view.node_id,
            address: view.address,
            network_port: view.network_port,
            version: view.version,
            liveness: view.liveness,
            connected_ms: view.connected_millis,
            messages_in: view.messages_in,
            messages_out: view.messages_out,
            last_heartbeat_ms: view.last_heard_millis,
            round_trip_ms: view.round_trip_micros.map(millis),
        }
    }
}

impl From<MemberView> for Member {
    fn from(view: MemberView) -> Self {
        Self {
            id: view.node_id,
            addresses: view.addresses,
            version: view.version,
            hops: view.hops,
            links: view.links,
        }
    }
}

impl From<RouteView> for Route {
    fn from(view: RouteView) -> Self {
        let hop = |hop: HopView| Hop { id: hop.node_id, round_trip_us: hop.round_trip_micros };
        Self {
            destination: view.destination,
            hops: view.hops.into_iter().map(hop).collect(),
            alternatives: view.alternatives,
        }
    }
}

impl From<PingView> for Ping {
    fn from(view: PingView) -> Self {
        Self {
            destination: view.destination,
            hops: view.hops,
            answered: view.answered,
            lost: view.lost,
            elapsed_us: view.elapsed_micros,
            round_trip_us: view.round_trips,
        }
    }
}

/// Shown with three decimals at most; exact up to 2^53 microseconds.
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
