//! The bodies of the control API, as clients send and get them: times in ISO 8601, durations in milliseconds.

pub use super::new_task::{InputBody, Message, NewTask, NotATask, OneOrMany};

use super::models::Availability;
use crate::clock;
use crate::inference::ModelStatus;
use engine::faults::Faults;
use engine::health::{Finding, HealthReport, Verdict};
use engine::heartbeat;
use engine::lifecycle::State;
use engine::request::{
    DiagnosisView, DiscoveryView, HopView, MemberView, ModelView, PeerView, PingView, RoundTrips, RouteView,
    StatusView, TaskView,
};
use engine::task::{FinishReason, Outcome, ResultSummary, TaskKind, TaskOutput, TaskResult, TaskStatus};
use engine::troubles::Trouble;
use engine::{NodeId, TaskId, TraceId};
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
    pub faults: Faults,
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
}

/// Something that went wrong lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentTrouble {
    /// Time since it was last seen.
    pub age_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub trouble: Trouble,
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

/// A part of the tasks, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// How many there are in all, of those asked for.
    pub total: u32,
    /// The part asked for.
    pub tasks: Vec<Task>,
}

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The kind of work.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// How it stands.
    pub status: TaskStatus,
    /// When it was accepted.
    pub submitted_at: String,
    /// From acceptance to now, or to the outcome.
    pub elapsed_ms: u64,
    /// Attempts begun.
    pub attempts: u32,
    /// The node that runs it or that made its outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<NodeId>,
    /// The first 100 characters of the input.
    pub preview: String,
    /// Tokens so far, of a generation that has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// The most that there will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How much longer it will take, by what was measured; only while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// Terminal tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Summary>,
}

/// How a task ended, without its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// When it ended.
    pub completed_at: String,
    /// When it will be forgotten.
    pub expires_at: String,
    /// Time spent computing.
    pub execution_ms: f64,
    /// Size of the output as stored.
    pub output_bytes: u64,
    /// The first 100 characters of the output.
    #[serde(default)]
    pub output_preview: String,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
    /// Ties the steps of the task together across nodes.
    pub trace_id: TraceId,
}

/// How a task ended, with its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultBody {
    /// The task's name.
    pub id: TaskId,
    /// The kind of work.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// The terminal status.
    pub status: TaskStatus,
    /// The node that made the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<NodeId>,
    /// When it was accepted.
    pub submitted_at: String,
    /// From acceptance to the outcome.
    pub elapsed_ms: u64,
    /// Attempts made.
    pub attempts: u32,
    /// How it ended.
    #[serde(flatten)]
    pub summary: Summary,
    /// Completed tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputBody>,
}

/// What a completed task produced; its `type` is that of the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutputBody {
    /// Of a classification.
    Classification {
        /// The most probable label.
        label: String,
        /// All labels, most probable first.
        scores: Vec<Score>,
    },
    /// Of an embedding of one input.
    Embedding {
        /// The vector's components.
        vector: Vec<f32>,
        /// Tokens of the input that the model saw.
        tokens: u32,
    },
    /// Of an embedding of several inputs.
    Embeddings {
        /// A vector for each input, in their order.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs together that the model saw.
        tokens: u32,
    },
    /// Of a generation.
    Generation {
        /// The text, without the prompt.
        text: String,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens produced.
        tokens: u32,
        /// Why there is no more: `stop` or `length`.
        finish_reason: FinishReason,
    },
    /// Of a reranking.
    Reranking {
        /// How well each text answers the query, in their order.
        scores: Vec<f32>,
        /// Tokens of all pairs together that the model saw.
        tokens: u32,
    },
}

/// One label of a classification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The label.
    pub label: String,
    /// Its probability.
    pub score: f32,
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
        Self { name: view.name, kind: view.kind, ready: view.ready, state }
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
        Self { heard: view.heard, troubles: view.troubles.into_iter().map(recent).collect() }
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

impl From<TaskView> for Task {
    fn from(view: TaskView) -> Self {
        Self {
            id: view.id,
            kind: view.kind,
            model: view.model,
            status: view.status,
            submitted_at: view.submitted_at.to_string(),
            elapsed_ms: view.elapsed_millis,
            attempts: view.attempts,
            worker: view.worker,
            preview: view.preview,
            tokens: view.tokens.map(|tokens| tokens.produced),
            max_tokens: view.tokens.map(|tokens| tokens.most),
            remaining_ms: view.remaining_millis,
            result: view.result.as_ref().map(Summary::from),
        }
    }
}

impl From<&ResultSummary> for Summary {
    fn from(summary: &ResultSummary) -> Self {
        Self {
            completed_at: summary.completed_at.to_string(),
            expires_at: summary.expires_at.to_string(),
            execution_ms: millis(summary.execution_micros),
            output_bytes: summary.output_bytes,
            output_preview: summary.output_preview.clone(),
            error: summary.failure.as_ref().map(|failure| ErrorDetail {
                code: failure.code().to_owned(),
                message: failure.to_string(),
                hint: None,
            }),
            trace_id: summary.trace,
        }
    }
}

impl From<TaskResult> for ResultBody {
    fn from(result: TaskResult) -> Self {
        let summary = result.summary;
        Self {
            id: summary.id,
            kind: summary.kind,
            status: summary.status,
            worker: summary.worker,
            submitted_at: summary.submitted_at.to_string(),
            elapsed_ms: summary.completed_at.0.saturating_sub(summary.submitted_at.0),
            attempts: summary.attempts,
            summary: Summary::from(&summary),
            model: summary.model,
            output: match result.outcome {
                Outcome::Completed(output) => Some(OutputBody::from(output)),
                Outcome::Cancelled | Outcome::Failed(_) | Outcome::Timeout => None,
            },
        }
    }
}

impl From<TaskOutput> for OutputBody {
    fn from(output: TaskOutput) -> Self {
        match output {
            TaskOutput::Classification { label, scores } => Self::Classification {
                label,
                scores: scores.into_iter().map(|(label, score)| Score { label, score }).collect(),
            },
            TaskOutput::Embedding { mut vectors, tokens } if vectors.len() == 1 => {
                Self::Embedding { vector: vectors.pop().unwrap_or_default(), tokens }
            }
            TaskOutput::Embedding { vectors, tokens } => Self::Embeddings { vectors, tokens },
            TaskOutput::Generation { text, prompt_tokens, tokens, finish } => {
                Self::Generation { text, prompt_tokens, tokens, finish_reason: finish }
            }
            TaskOutput::Reranking { scores, tokens } => Self::Reranking { scores, tokens },
        }
    }
}

/// Shown with three decimals at most; exact up to 2^53 microseconds.
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
