//! Status and health of a node.

use crate::millis;
use crate::models::{Availability, ModelStatus};
use engine::health::{Finding, HealthReport, Verdict};
use engine::lifecycle::State;
use engine::observers::fault_counters::FaultCounters;
use engine::request::{DiscoveryView, ModelView, StatusView};
use engine::task::TaskKind;
use engine::{Fingerprint, NodeId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The answer of a readiness probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// `node_ready` or `node_not_ready`.
    pub status: String,
    /// The wall clock.
    pub timestamp: String,
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

/// How a node is, as far as that can be told at this point of its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StatusResponse {
    /// It is, or was, ACTIVE.
    Full(Box<Status>),
    /// It has not been ACTIVE yet.
    Starting(StartingStatus),
}

/// What is told of a node that has not been ACTIVE yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartingStatus {
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

impl StatusResponse {
    /// Returns the node's lifecycle state.
    pub const fn state(&self) -> State {
        match self {
            Self::Full(status) => status.state,
            Self::Starting(starting) => starting.state,
        }
    }
}

impl StartingStatus {
    /// Returns what is told of a node whose storage is being opened.
    pub fn initializing(now: UnixMillis) -> Self {
        Self {
            state: State::Initializing,
            version: engine::Config::default().version,
            timestamp: now.to_string(),
        }
    }
}

impl From<StatusView> for StatusResponse {
    fn from(view: StatusView) -> Self {
        if view.uptime_millis.is_some() {
            return Self::Full(Box::new(view.into()));
        }
        Self::Starting(StartingStatus {
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

impl Model {
    /// Takes over what is known of it where it runs; the node itself knows only whether it is offered.
    pub fn refine(&mut self, status: &ModelStatus) {
        (self.state, self.ready) = (Availability::new(self.ready, Some(status)), status.ready);
    }
}

impl From<ModelView> for Model {
    fn from(view: ModelView) -> Self {
        let state = Availability::new(view.ready, None);
        let ModelView { name, kind, fingerprint, ready } = view;
        Self { name, kind, fingerprint, ready, state }
    }
}
