//! The dashboard: the mesh as one node sees it, its changes, the figures of the last hour, and the login of a browser.
//!
//! | route | request | answer |
//! |---|---|---|
//! | `GET /api/v1/dashboard/session` | | [`Session`] |
//! | `POST /api/v1/dashboard/codes` | [`NewCode`] | [`Code`] |
//! | `GET /api/v1/dashboard/topology` | | [`Topology`] |
//! | `GET /api/v1/dashboard/events?after=CURSOR` | | server-sent events, see below |
//! | `GET /api/v1/dashboard/metrics?seconds=N` | | [`MetricsHistory`] |
//! | `GET /api/v1/dashboard/invite` | | [`Invite`] |
//!
//! # Events
//! Each event has a name and one line of JSON. `topology` and `update` also have an id, which is a cursor.
//!
//! | event | data | meaning |
//! |---|---|---|
//! | `state` | [`FeedState`] | the node starts, stops, or cannot be reached; the stream stays open if it can |
//! | `topology` | [`Topology`] | replaces all nodes and links |
//! | `update` | [`Update`] | changes since the event before it, at most ten a second and at least one a second |
//!
//! A stream begins with a `topology`, unless `after` or `Last-Event-ID` is a cursor that the server still has. Then it
//! continues with the updates after it. A `topology` can come at any time: after a restart of the node, or if the client
//! reads too slowly.

use crate::metrics::Number;
use engine::observers::alerts::{AlertRule, Severity};
use engine::task::{TaskKind, TaskStatus};
use engine::{Fingerprint, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The mesh as one node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// Place in the stream of events, as `EPOCH-NUMBER`. The stream after it continues from this topology.
    pub cursor: String,
    /// Wall-clock time at which the node was asked.
    pub timestamp: String,
    /// Node that sees the mesh like this.
    #[serde(rename = "self")]
    pub me: NodeId,
    /// Name of the network.
    pub network: String,
    /// What serves the page.
    pub kind: FeedKind,
    /// Nodes, ordered by id.
    pub nodes: Vec<MeshNode>,
    /// Links, ordered by their ends. Each is here once.
    pub links: Vec<MeshLink>,
    /// Groups of near nodes; empty up to 300 nodes.
    pub groups: Vec<MeshGroup>,
    /// Figures of the last second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<MetricsSample>,
}

/// What serves a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedKind {
    /// The simulated or real nodes of a demo.
    Demo,
    /// A node.
    Node,
    /// A recording or a scenario that is played back.
    Recording,
}

/// A node of the mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeshNode {
    /// Id of the node.
    pub id: NodeId,
    /// Name of the node; only in a demo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Version of the program that it runs.
    pub version: String,
    /// State of the node.
    pub state: MeshState,
    /// Colour and shape of the state.
    pub level: Level,
    /// The reason of the state, in words; absent if all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it left; only for a node that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<String>,
    /// Links between the node that tells this and the node; 0 for itself.
    pub hops: u32,
    /// Addresses that it advertises.
    pub addresses: Vec<SocketAddr>,
    /// Tasks that it has to run; null where this is not known, as of nodes that are no peers.
    pub load: Option<u32>,
    /// Maximum number of jobs that it runs at the same time.
    pub slots: u32,
    /// Models that it offers.
    pub models: Vec<MeshModel>,
    /// Memory that it holds; null for other nodes.
    pub memory_bytes: Option<u64>,
    /// Memory that it may hold; null for other nodes.
    pub memory_bytes_max: Option<u64>,
    /// Place in the picture, 0 to 1 from the left.
    pub x: f64,
    /// Place in the picture, 0 to 1 from the top.
    pub y: f64,
    /// Index of its group in [`Topology::groups`]; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
}

/// State of a node, as far as another node can know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeshState {
    /// It runs and answers.
    Active,
    /// It runs, but a health check warns or fails, or an alert is active.
    Degraded,
    /// It has left the mesh, a short while ago.
    Gone,
    /// It does not answer in time.
    Slow,
    /// It has not become active yet.
    Starting,
    /// It shuts down.
    Stopping,
}

/// How bad a state is: the colour and the shape of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Green.
    Good,
    /// Yellow.
    Warning,
    /// Red.
    Bad,
}

/// A model that a node offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshModel {
    /// Name of the model.
    pub name: String,
    /// Task type that it serves.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Fingerprint of the model; absent while its files are being hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

/// A link between two nodes. A node measures only its own links, so the figures of others are null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeshLink {
    /// End with the smaller id.
    pub a: NodeId,
    /// End with the larger id.
    pub b: NodeId,
    /// Smoothed round-trip time.
    pub round_trip_ms: Option<f64>,
    /// Messages received from the other end since the link came up.
    pub messages_in: Option<u64>,
    /// Messages sent to the other end since the link came up.
    pub messages_out: Option<u64>,
    /// Bytes of the messages received.
    pub bytes_in: Option<u64>,
    /// Bytes of the messages sent.
    pub bytes_out: Option<u64>,
    /// Messages in both directions in the last second.
    pub messages_per_second: Option<f64>,
    /// Bytes in both directions in the last second.
    pub bytes_per_second: Option<f64>,
    /// Age of the link.
    pub connected_ms: Option<u64>,
}

/// A group of near nodes, drawn as one in a large mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeshGroup {
    /// Member that gives the group its place.
    pub id: NodeId,
    /// Number of nodes in it.
    pub nodes: u32,
    /// Place in the picture, 0 to 1 from the left.
    pub x: f64,
    /// Place in the picture, 0 to 1 from the top.
    pub y: f64,
    /// Radius that holds its nodes, in the same unit.
    pub radius: f64,
}

/// Changes since the event before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Place in the stream of events, as `EPOCH-NUMBER`; also the id of the event.
    pub cursor: String,
    /// Wall-clock time of the update.
    pub timestamp: String,
    /// Nodes that came or changed, whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<MeshNode>,
    /// Nodes that are no longer shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes_removed: Vec<NodeId>,
    /// Links that came up or changed, whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<MeshLink>,
    /// Links that went down: both ends of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links_removed: Vec<[NodeId; 2]>,
    /// All groups, if they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<MeshGroup>>,
    /// Tasks that were submitted, started or ended, each once with its last status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskChange>,
    /// Number of further tasks that changed and were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tasks_left_out: u64,
    /// Alerts that were raised or cleared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertChange>,
    /// Whether the models of the node changed, so that `GET /api/v1/models` has news.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub models_changed: bool,
    /// Figures of the last second, once a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<MetricsSample>,
}

/// A task that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskChange {
    /// Id of the task.
    pub id: TaskId,
    /// Task type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Name of the model; absent if this event does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Status of the task. A task of another node is only seen while it runs here.
    pub status: TaskStatus,
    /// Node that accepted the task.
    pub origin: NodeId,
    /// Node that runs the task or produced its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<NodeId>,
    /// Attempts started.
    pub attempts: u32,
    /// Why the last attempt was taken from its worker; absent if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<String>,
    /// Time from acceptance to outcome; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// When it changed.
    pub timestamp: String,
}

/// An alert that was raised or cleared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertChange {
    /// Rule of the alert.
    pub rule: AlertRule,
    /// Urgency of the alert.
    pub severity: Severity,
    /// Whether the alert is active now.
    pub active: bool,
    /// What happened, in words.
    pub message: String,
    /// When it happened.
    pub timestamp: String,
}

/// Figures of one second of a node.
///
/// Counts are those of the second. Null means that the figure was not measured: nothing is measured while no page is
/// open, except what the node counts anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsSample {
    /// End of the second, in milliseconds since 1970.
    pub at_ms: u64,
    /// Tasks that the node accepted.
    pub tasks_submitted: u32,
    /// Tasks of the node that were completed, here or elsewhere.
    pub tasks_completed: u32,
    /// Tasks of the node that failed or ran out of time.
    pub tasks_failed: u32,
    /// Tasks that the node's own models ran, for itself and for others.
    pub attempts: u32,
    /// Mean time from acceptance to outcome; null if no task ended.
    pub task_ms: Option<f64>,
    /// Longest time from acceptance to outcome; null if no task ended.
    pub task_max_ms: Option<f64>,
    /// Messages sent and forwarded.
    pub messages_out: u32,
    /// Messages received.
    pub messages_in: u32,
    /// Mean time from a message to its acknowledgement; null if none arrived.
    pub message_ms: Option<f64>,
    /// Bytes sent to peers.
    pub bytes_out: Option<u64>,
    /// Bytes received from peers.
    pub bytes_in: Option<u64>,
    /// Accepted tasks that are queued.
    pub tasks_queued: Option<u32>,
    /// Accepted tasks that are running.
    pub tasks_running: Option<u32>,
    /// Peers of the node.
    pub peers: Option<u32>,
    /// Members of the network, this node included.
    pub members: Option<u32>,
    /// Memory that the node and its models hold.
    pub memory_bytes: Option<u64>,
    /// Memory that they may hold.
    pub memory_bytes_max: Option<u64>,
    /// Processor time of the node's process, in percent of one core.
    pub cpu_percent: Option<f64>,
}

impl MetricsSample {
    /// Returns the value of each field but `at_ms`, under its name.
    pub fn values(&self) -> [(&'static str, Option<Number>); 18] {
        let whole = |count: u32| Some(Number::Whole(count.into()));
        let small = |value: Option<u32>| value.map(|value| Number::Whole(value.into()));
        let (large, real) =
            (|value: Option<u64>| value.map(Number::Whole), |value: Option<f64>| value.map(Number::Real));
        [
            ("attempts", whole(self.attempts)),
            ("bytes_in", large(self.bytes_in)),
            ("bytes_out", large(self.bytes_out)),
            ("cpu_percent", real(self.cpu_percent)),
            ("members", small(self.members)),
            ("memory_bytes", large(self.memory_bytes)),
            ("memory_bytes_max", large(self.memory_bytes_max)),
            ("message_ms", real(self.message_ms)),
            ("messages_in", whole(self.messages_in)),
            ("messages_out", whole(self.messages_out)),
            ("peers", small(self.peers)),
            ("task_max_ms", real(self.task_max_ms)),
            ("task_ms", real(self.task_ms)),
            ("tasks_completed", whole(self.tasks_completed)),
            ("tasks_failed", whole(self.tasks_failed)),
            ("tasks_queued", small(self.tasks_queued)),
            ("tasks_running", small(self.tasks_running)),
            ("tasks_submitted", whole(self.tasks_submitted)),
        ]
    }
}

/// Figures of the last seconds, at most one hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsHistory {
    /// Time between two values.
    pub interval_ms: u64,
    /// End of the first second, in milliseconds since 1970.
    pub from_ms: u64,
    /// Number of values in each column.
    pub length: usize,
    /// One column for each field of [`MetricsSample`] but `at_ms`, oldest value first; null where nothing was measured.
    pub columns: BTreeMap<String, Vec<Option<Number>>>,
}

/// Whether the node behind the stream can be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    /// The state.
    pub state: FeedPhase,
    /// The state in words.
    pub message: String,
    /// What the user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Wall-clock time of the event.
    pub timestamp: String,
}

/// State of the node behind a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedPhase {
    /// The node starts. A `topology` follows.
    Starting,
    /// The node stops. The stream ends.
    Stopping,
    /// The node does not answer. The server tries again, and a `topology` follows.
    Unreachable,
}

/// What a browser may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The rights of the session.
    pub access: Access,
    /// When the session ends.
    pub expires_at: String,
}

/// Rights of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everything.
    Full,
    /// Reading only.
    Read,
}

/// Request for a login code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCode {
    /// Whether the session can only read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A code that starts one session of a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Address to open in the browser, with the code.
    pub url: String,
    /// When the code ends.
    pub expires_at: String,
}

/// How another machine joins the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Name of the network.
    pub network: String,
    /// Address of this node for the other machine; absent if the node has none that another machine reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Command to run on the other machine.
    pub command: String,
    /// Path of the command as a QR code, an SVG picture.
    pub qr: String,
    /// What the user should know before, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as the derive calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
