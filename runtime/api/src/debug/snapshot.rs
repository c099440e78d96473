//! A snapshot of a node, which people attach to an issue.
//!
//! It is redacted by construction. Every field is a number, a value of a closed set, a [`Word`] or a [`ShortId`]. So it
//! holds no texts of tasks, no keys or tokens, no paths and no addresses.

use super::closed::{ShortId, Word};
use super::log_level::{LogLevel, LogLevels};
use crate::millis;
use crate::models::{Availability, ModelAvailability};
use crate::status::Health;
use engine::Fingerprint;
use engine::error::{DialError, PeerFault, StrangerFault};
use engine::event::RefuseReason;
use engine::heartbeat::Liveness;
use engine::lifecycle::State;
use engine::observers::diagnostics::Issue;
use engine::observers::fault_counters::FaultCounters;
use engine::request::{DiscoveryView, MemberView, OccupancyView, PeerView, TaskAges};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of [`Snapshot`]. It changes when a reader of the old format would misread the new one.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// All figures of a node at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The format, [`SNAPSHOT_FORMAT`].
    pub format: u32,
    /// When it was taken.
    pub taken_at: Word,
    /// How long the node took to gather it, in microseconds.
    pub took_us: u64,
    /// The program.
    pub program: ProgramFigures,
    /// The machine.
    pub machine: MachineFigures,
    /// The node.
    pub node: NodeFigures,
    /// The settings, by key.
    pub settings: BTreeMap<Word, SettingFigure>,
    /// The last health check; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How full each collection of the node is.
    pub occupancy: Vec<OccupancyFigures>,
    /// The nodes that the node has a link with.
    pub peers: Vec<PeerFigures>,
    /// The known nodes, including itself.
    pub members: Vec<MemberFigures>,
    /// The models.
    pub models: Vec<ModelFigures>,
    /// The number of tasks by status, type and age. The ages are those of `engine::request::TASK_AGES`.
    pub tasks: Vec<TaskAges>,
    /// Recent problems with other nodes.
    pub issues: Vec<IssueFigures>,
    /// Violations of the protocol by other nodes, since the start.
    pub faults: FaultCounters,
    /// Number of model names that stand for different models.
    pub model_conflicts: u32,
    /// The storage.
    pub storage: StorageFigures,
    /// The log.
    pub log: LogFigures,
    /// The process of the node, then those of its models.
    pub processes: Vec<ProcessFigures>,
}

/// The program of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramFigures {
    /// Its version.
    pub version: Word,
    /// The version of the protocol between nodes.
    pub protocol: u16,
    /// Whether it was built without optimisation.
    pub debug_build: bool,
}

/// The machine of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFigures {
    /// The operating system.
    pub system: Word,
    /// The release of its kernel.
    pub kernel: Word,
    /// The processor's architecture.
    pub architecture: Word,
    /// Processors that the node may use.
    pub processors: u32,
    /// Features of the processor that matter for models.
    pub features: Vec<Word>,
    /// Memory of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory that programs can still get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_bytes: Option<u64>,
    /// Memory limit of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
}

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFigures {
    /// The start of its id.
    pub id: ShortId,
    /// Its lifecycle state.
    pub state: State,
    /// Time since it became ACTIVE; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// Number of addresses that it announces.
    pub addresses: u32,
    /// Accepted tasks that wait.
    pub tasks_queued: u32,
    /// Accepted tasks that run.
    pub tasks_running: u32,
    /// Stored results.
    pub results: u32,
    /// Nodes heard by mDNS.
    pub heard: u32,
    /// The status of mDNS.
    pub discovery: DiscoveryView,
}

/// A setting, as far as its value is not a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingFigure {
    /// The value.
    pub value: SettingValue,
    /// Whether the user has set it.
    pub explicit: bool,
}

/// The value of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingValue {
    /// The number of entries of a list.
    Entries(u64),
    /// A log level.
    Level(LogLevel),
    /// A number.
    Number(u64),
    /// A switch.
    Switch(bool),
    /// A text, such as a path or a name: whether it is set.
    Text(bool),
}

/// How full a collection is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccupancyFigures {
    /// Its name, prefixed with its owner.
    pub name: Word,
    /// Number of entries, or bytes.
    pub current: u64,
    /// The limit.
    pub limit: u64,
}

/// A node that the node has a link with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerFigures {
    /// The start of its id.
    pub id: ShortId,
    /// Its version.
    pub version: Word,
    /// The verdict of the failure detector.
    pub liveness: Liveness,
    /// Age of the link.
    pub connected_ms: u64,
    /// Frames received.
    pub messages_in: u64,
    /// Frames sent.
    pub messages_out: u64,
    /// Time since its last sign of life.
    pub last_heard_ms: u64,
    /// Smoothed round trip of heartbeats; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
}

/// A known node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFigures {
    /// The start of its id.
    pub id: ShortId,
    /// Its version.
    pub version: Word,
    /// Links between the node and it.
    pub hops: u32,
    /// Number of addresses that it announces.
    pub addresses: u32,
    /// Its peers.
    pub links: Vec<ShortId>,
    /// Number of models that it offers.
    pub models: u32,
}

/// A model of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFigures {
    /// Its name, unless it is a path.
    pub name: Word,
    /// The task types that it serves.
    pub kinds: Vec<Word>,
    /// Its fingerprint; absent while its files are being hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Whether tasks can use it.
    pub state: Availability,
    /// Size of its files.
    pub bytes: u64,
    /// Memory of its process; absent while it is not loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// A recent problem with another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueFigures {
    /// Time since it was last seen.
    pub age_ms: u64,
    /// The problem.
    #[serde(flatten)]
    pub issue: IssueKind,
}

/// A problem with another node, without its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "issue", rename_all = "snake_case")]
pub enum IssueKind {
    /// The clocks differ.
    ClockDiffers {
        /// The peer.
        peer: ShortId,
        /// How far its clock is ahead.
        ahead_ms: i64,
    },
    /// An address could not be dialled.
    DialFailed {
        /// The error.
        error: DialError,
    },
    /// Another running node uses this node's key.
    IdentityCopied {
        /// Whether this node has isolated itself.
        fenced: bool,
    },
    /// A link was refused.
    LinkRefused {
        /// The peer.
        peer: ShortId,
        /// The reason.
        reason: RefuseReason,
        /// Whether this node refused.
        by_us: bool,
    },
    /// A peer violated the protocol.
    PeerFault {
        /// The peer.
        peer: ShortId,
        /// The violation.
        fault: PeerFault,
    },
    /// An unauthenticated connection failed.
    StrangerFault {
        /// The error.
        fault: StrangerFault,
    },
}

/// The storage of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageFigures {
    /// Size of the data file.
    pub file_bytes: u64,
    /// Free space on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Number of damaged records.
    pub records_damaged: u64,
}

/// The log of a node since its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFigures {
    /// The levels in force.
    pub levels: LogLevels,
    /// Lines that were dropped.
    pub dropped: u64,
    /// How often each line was logged.
    pub lines: Vec<LineFigures>,
}

/// How often a line was logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFigures {
    /// The level.
    pub level: LogLevel,
    /// The component.
    pub component: Word,
    /// Its name, or its place in the source.
    pub name: Word,
    /// Number of lines.
    pub count: u64,
    /// Time since the last one.
    pub age_ms: u64,
}

/// A process of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFigures {
    /// What it does.
    pub role: ProcessRole,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Resident memory that belongs to no file.
    pub anonymous_bytes: u64,
    /// The largest resident memory so far.
    pub resident_bytes_max: u64,
    /// Processor time used.
    pub cpu_ms: u64,
    /// Threads.
    pub threads: u32,
    /// Open files; absent where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessRole {
    /// It runs a model.
    Model,
    /// It is the node.
    Node,
}

impl From<OccupancyView> for OccupancyFigures {
    fn from(view: OccupancyView) -> Self {
        Self { name: Word::new(&view.name), current: view.current, limit: view.limit }
    }
}

impl From<PeerView> for PeerFigures {
    fn from(view: PeerView) -> Self {
        Self {
            id: view.node_id.into(),
            version: Word::new(&view.version),
            liveness: view.liveness,
            connected_ms: view.connected_millis,
            messages_in: view.messages_in,
            messages_out: view.messages_out,
            last_heard_ms: view.last_heard_millis,
            round_trip_ms: view.round_trip_micros.map(millis),
        }
    }
}

impl From<MemberView> for MemberFigures {
    fn from(view: MemberView) -> Self {
        Self {
            id: view.node_id.into(),
            version: Word::new(&view.version),
            hops: view.hops,
            addresses: count(view.addresses.len()),
            links: view.links.into_iter().map(ShortId::from).collect(),
            models: count(view.models.len()),
        }
    }
}

impl From<ModelAvailability> for ModelFigures {
    fn from(model: ModelAvailability) -> Self {
        Self {
            name: Word::new(&model.status.name),
            kinds: model.status.kinds.iter().map(|kind| Word::new(kind)).collect(),
            fingerprint: model.status.fingerprint,
            state: model.state,
            bytes: model.status.bytes,
            memory_bytes: model.status.memory_bytes,
        }
    }
}

impl From<(u64, Issue)> for IssueFigures {
    fn from((age_ms, issue): (u64, Issue)) -> Self {
        let issue = match issue {
            Issue::ClockDiffers { peer, ahead_millis } => {
                IssueKind::ClockDiffers { peer: peer.into(), ahead_ms: ahead_millis }
            }
            Issue::DialFailed { address: _, error } => IssueKind::DialFailed { error },
            Issue::IdentityCopied { address: _, fenced } => IssueKind::IdentityCopied { fenced },
            Issue::LinkRefused { peer, reason, by_us } => {
                IssueKind::LinkRefused { peer: peer.into(), reason, by_us }
            }
            Issue::PeerFault { peer, fault } => IssueKind::PeerFault { peer: peer.into(), fault },
            Issue::StrangerFault { address: _, fault } => IssueKind::StrangerFault { fault },
        };
        Self { age_ms, issue }
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
