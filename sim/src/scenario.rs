//! What to simulate, as plain data: nodes, network, workload, faults, and what must hold.
//!
//! A [`Scenario`] that exists is valid: every name in it is known, every number is within its limit, and its executor
//! can model all of it. [`crate::scenario_file`] reads it from a TOML file and checks it.

mod executor;
mod fault;
mod host;
mod machine_fault;
mod range;
mod shared_file;
mod target;
mod workload;

pub use executor::{Executor, UnknownExecutor};
pub use fault::{Disturbance, Fault, FaultKind};
pub(crate) use host::NodeRole;
pub use host::{Host, Hostility};
pub use machine_fault::MachineFault;
pub use range::Range;
pub use shared_file::{Fetch, FetchedBy, SharedFile};
pub use target::Target;
pub use workload::{Submission, Submissions, Workload};

use core::time::Duration;
use engine::observers::alerts::AlertRule;
use engine::task::TaskStatus;
use std::collections::BTreeMap;
use std::fmt;

/// A valid scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The file that it was read from, as the user wrote it.
    pub path: String,
    /// Why it exists: the first line of the file if that is a comment.
    pub why: String,
    /// The number of nodes. They are called `n0`, `n1` and so on.
    pub nodes: u32,
    /// The executor that runs it.
    pub executor: Executor,
    /// The executor that would run it if the user had not asked for another one.
    pub chosen: Executor,
    /// The default seed.
    pub seed: Option<u64>,
    /// The simulated time.
    pub duration: Duration,
    /// When nodes start.
    pub start: Range,
    /// The network between the nodes.
    pub network: Network,
    /// How long a write takes to become durable.
    pub disk_latency: Range,
    /// The configuration of every node.
    pub node: NodeSettings,
    /// Nodes that differ from the others.
    pub hosts: Vec<Host>,
    /// The tasks that users submit.
    pub workload: Option<Workload>,
    /// The files that nodes share.
    pub files: Vec<SharedFile>,
    /// The files that nodes fetch.
    pub fetches: Vec<Fetch>,
    /// The faults to inject.
    pub faults: Vec<Fault>,
    /// The fewest and the most faults that a seed draws; `None` for all of them.
    pub swarm: Option<(u32, u32)>,
    /// When the system must have recovered.
    pub liveness: Option<Liveness>,
    /// What must hold, and what must be reached.
    pub expect: Expect,
}

impl Scenario {
    /// Returns how a node differs from the others; `None` if it does not.
    pub fn host(&self, node: u32) -> Option<&Host> {
        self.hosts.iter().find(|host| host.node == node)
    }

    pub(crate) fn role(&self, node: u32) -> NodeRole {
        match self.host(node) {
            Some(host) if !host.hostile.is_empty() => NodeRole::Hostile,
            Some(Host { identity: Some(_), .. }) => NodeRole::Copy,
            Some(_) | None => NodeRole::Member,
        }
    }

    /// Returns whether a fault may stop a node. A node that has a copy would yield to it when it restarts.
    pub(crate) fn may_be_stopped(&self, node: u32) -> bool {
        self.role(node) == NodeRole::Member && self.hosts.iter().all(|host| host.identity != Some(node))
    }

    /// Returns when a node starts.
    pub(crate) fn start_range(&self, node: u32) -> Range {
        self.host(node).and_then(|host| host.start).unwrap_or(self.start)
    }

    /// Returns the times between `after` and `after + within` at which liveness is checked; only the last one decides.
    pub(crate) fn liveness_checks(&self) -> Vec<Duration> {
        let Some(liveness) = self.liveness else { return Vec::new() };
        let looks = u32::try_from(liveness.within.as_millis() / LIVENESS_CHECK_INTERVAL_MS)
            .unwrap_or(LIVENESS_CHECKS_MAX)
            .clamp(1, LIVENESS_CHECKS_MAX);
        (0..=looks).map(|look| liveness.after + liveness.within * look / looks).collect()
    }
}

/// The network between the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The latency of a frame or packet.
    pub latency: Range,
    /// Which nodes can reach each other.
    pub topology: Topology,
    /// Whether nodes discover each other by multicast; otherwise each is configured with its neighbours' addresses.
    pub multicast: bool,
    /// The loss of the network, apart from faults.
    pub loss: Option<Loss>,
    /// The step of simulated time, for an executor that advances in steps (turmoil). Events within one step are
    /// simultaneous.
    pub tick: Duration,
}

/// The loss of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The lost frames and packets per million.
    pub per_million: u32,
    /// Whether a lost heartbeat is retransmitted, as TCP does with everything; otherwise it is gone, as in a datagram
    /// protocol. All other frames are always retransmitted.
    pub retransmission: bool,
}

/// Which nodes can reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Every node reaches every other. Without multicast, each is configured with the addresses of eight others.
    Full,
    /// Each node reaches the one before and the one after it.
    Line,
    /// As a line, with the last node next to the first.
    Ring,
}

/// The configuration of every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// The most links of a node.
    pub max_peers: u16,
    /// The most inference jobs that run at the same time.
    pub max_concurrent_tasks: u16,
    /// The most accepted tasks that are waiting or running.
    pub queue_tasks_max: u32,
}

/// When the system must have recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// When the network is healed until the end of the run.
    pub after: Duration,
    /// The time after that until every task must have its outcome and the mesh must be whole.
    pub within: Duration,
}

/// What must hold, and what must be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The invariants to check after every step.
    pub always: Vec<&'static str>,
    /// Events that the run must reach at least once.
    pub sometimes: Vec<&'static str>,
    /// The alert rules that at least one node must raise.
    pub alerts: Vec<AlertRule>,
    /// The alert rules that at least one node must raise, and that are active on no running node at the end.
    pub alerts_cleared: Vec<AlertRule>,
    /// The alert rules that no node may raise.
    pub never_alerts: Vec<AlertRule>,
    /// How many tasks must end with each outcome; an outcome that is not listed may have any number.
    pub outcomes: BTreeMap<OutcomeKind, u32>,
}

/// The outcome of a submitted task, as its user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeKind {
    /// A user cancelled it.
    Cancelled,
    /// It ended with an output.
    Completed,
    /// It ended with an error.
    Failed,
    /// It was accepted and had no outcome when the run ended.
    Open,
    /// It was not accepted.
    Rejected,
    /// Its timeout elapsed.
    Timeout,
    /// Its node stopped before it answered, or no node was there to ask.
    Unanswered,
}

impl OutcomeKind {
    /// Every kind, by name.
    pub const ALL: [Self; 7] = [
        Self::Cancelled,
        Self::Completed,
        Self::Failed,
        Self::Open,
        Self::Rejected,
        Self::Timeout,
        Self::Unanswered,
    ];

    /// Returns the kind's name in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Open => "open",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Unanswered => "unanswered",
        }
    }

    /// Returns what happened to the task, as a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Cancelled => "A user cancelled the task.",
            Self::Completed => "The task ended with an output.",
            Self::Failed => "The task ended with an error.",
            Self::Open => "The task was accepted and had no outcome when the run ended.",
            Self::Rejected => "The task was not accepted.",
            Self::Timeout => "The timeout of the task elapsed.",
            Self::Unanswered => "The node stopped before it answered, or no node was there to ask.",
        }
    }

    /// Returns the kind of a terminal status; `None` for the others.
    pub const fn from_status(status: TaskStatus) -> Option<Self> {
        match status {
            TaskStatus::Cancelled => Some(Self::Cancelled),
            TaskStatus::Completed => Some(Self::Completed),
            TaskStatus::Failed => Some(Self::Failed),
            TaskStatus::Timeout => Some(Self::Timeout),
            TaskStatus::Queued | TaskStatus::Running => None,
        }
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The largest scenario file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most nodes of a scenario.
pub const NODES_MAX: u32 = 100_000;

/// The most tasks of a scenario.
pub const TASKS_MAX: u32 = 100_000;

/// The most files of a scenario.
pub const FILES_MAX: usize = 16;

/// The largest shared file, in bytes.
pub const FILE_CONTENT_BYTES_MAX: u32 = 32 << 20;

/// The most faults of a scenario.
pub const FAULTS_MAX: usize = 1_000;

/// The most tasks of one burst.
pub const BURST_MAX: u32 = 10_000;

/// The largest clock drift, in parts per million: ten times that of a bad quartz.
pub const DRIFT_PPM_MAX: i32 = 1_000;

/// The most injections of one fault.
pub const INJECTIONS_MAX: u32 = 10_000;

/// The largest loss, in frames per million.
pub const LOSS_PER_MILLION_MAX: u32 = 500_000;

/// The longest simulated time, and the longest of any duration in a scenario.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest input of a task, in bytes, before its number is appended.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

const LIVENESS_CHECK_INTERVAL_MS: u128 = 100;
const LIVENESS_CHECKS_MAX: u32 = 1_000;
