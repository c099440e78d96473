//! Status and health of a node.

use crate::alerts::Alert;
use crate::millis;
use crate::models::{Availability, ModelStatus};
use crate::work::Work;
use engine::health::{Finding, HealthReport, Verdict};
use engine::lifecycle::State;
use engine::observers::fault_counters::FaultCounters;
use engine::request::{DiscoveryView, ModelView, StatusView};
use engine::task::TaskKind;
use engine::{Fingerprint, NodeId, NodeName, UnixMillis};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Response of the readiness probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// `node_ready` or `node_not_ready`.
    pub status: String,
    /// Wall-clock time of the response.
    pub timestamp: String,
}

/// Response of the liveness probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Liveness {
    /// Always `alive`.
    pub status: String,
    /// Result of the last health check; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Verdict>,
    /// Components that failed or warned, with the reason.
    pub unwell: Vec<Finding>,
    /// Wall-clock time of the response.
    pub timestamp: String,
}

/// Status of a node: complete once it has been ACTIVE, short before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StatusResponse {
    /// The node is or was ACTIVE.
    Full(Box<Status>),
    /// The node has not been ACTIVE yet.
    Starting(StartingStatus),
}

/// Status of a node that has not been ACTIVE yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartingStatus {
    /// Lifecycle state.
    pub state: State,
    /// Version of the program.
    pub version: String,
    /// Wall-clock time of the response.
    pub timestamp: String,
}

/// Status of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Id of the node.
    pub node_id: NodeId,
    /// Name of the node.
    #[serde(default)]
    pub name: NodeName,
    /// Lifecycle state.
    pub state: State,
    /// Version of the program.
    pub version: String,
    /// Name of the network that the node belongs to.
    pub network: String,
    /// TCP port that peers connect to.
    pub network_port: u16,
    /// Addresses that the node advertises to others, best first.
    pub addresses: Vec<SocketAddr>,
    /// Time since the node became ACTIVE; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// Number of peers.
    pub peers: u32,
    /// Number of known members, including the node itself.
    pub members: u32,
    /// Accepted tasks that are queued.
    pub tasks_queued: u32,
    /// Accepted tasks that are running, on this node or on others.
    pub tasks_running: u32,
    /// What the node computes now, for itself and for others.
    #[serde(default)]
    pub work: Work,
    /// Stored results.
    pub results: u32,
    /// Models that the node can run.
    pub models: Vec<Model>,
    /// Names of configured models that cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models_unusable: Vec<String>,
    /// State of mDNS discovery on the local network.
    pub discovery: DiscoveryView,
    /// Protocol violations of other nodes since the start, counted by kind.
    pub faults: FaultCounters,
    /// Verdict of the last health check; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Active alerts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// The wall clock.
    pub timestamp: String,
}

/// Result of a health check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The worst verdict of all components.
    pub status: Verdict,
    /// One finding for each component.
    pub components: Vec<Finding>,
    /// Memory of the node and its workers that the system cannot reclaim; absent if it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory limit of the node and its workers.
    pub memory_bytes_max: u64,
    /// Bytes that the node may still use on the disk of its data; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes_free: Option<u64>,
    /// Bytes in use and free on the disk of its data; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes_total: Option<u64>,
    /// Duration of the check.
    pub took_ms: f64,
}

/// A model in the status of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Name of the model.
    pub name: String,
    /// Task type that the model serves.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Fingerprint of the model; absent while its files are being hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Whether the model is loaded.
    pub ready: bool,
    /// Whether tasks can use the model.
    pub state: Availability,
}

impl StatusResponse {
    /// Returns the lifecycle state of the node.
    pub const fn state(&self) -> State {
        match self {
            Self::Full(status) => status.state,
            Self::Starting(starting) => starting.state,
        }
    }
}

impl StartingStatus {
    /// Returns the status of a node that is opening its storage.
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
            name: view.name,
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
            work: view.work.into(),
            results: view.results,
            models: view.models.into_iter().map(Model::from).collect(),
            models_unusable: Vec::new(),
            discovery: view.discovery,
            faults: view.faults,
            health: view.health.map(Health::from),
            alerts: view.alerts.into_iter().map(Alert::from).collect(),
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
            disk_bytes_free: report.disk.map(|disk| disk.bytes_free),
            disk_bytes_total: report.disk.map(|disk| disk.bytes_total),
            took_ms: millis(report.took_micros),
        }
    }
}

impl Model {
    /// Adds the status of the model's worker; the node itself only knows whether it offers the model.
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
