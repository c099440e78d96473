//! What to simulate: nodes, network, work, faults, and what must hold, as plain data.
//!
//! A [`Scenario`] that exists is valid: every name in it is known, every number within its limit, and the
//! executor it names can model all of it. [`crate::scenario_file`] reads it from a TOML file and checks it.

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
use engine::task::TaskStatus;
use std::collections::BTreeMap;
use std::fmt;

/// One story to simulate, valid throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Where it was read from, as the user wrote it.
    pub path: String,
    /// Why it exists: its first line, if that is a comment.
    pub why: String,
    /// How many nodes there are, called `n0`, `n1` and so on.
    pub nodes: u32,
    /// What runs it.
    pub executor: Executor,
    /// What would run it if nobody had asked for another executor.
    pub chosen: Executor,
    /// The seed to take where nobody asks for another one.
    pub seed: Option<u64>,
    /// How much time is simulated.
    pub duration: Duration,
    /// When nodes start.
    pub start: Range,
    /// What lies between the nodes.
    pub network: Network,
    /// How long a write takes to become durable.
    pub disk_latency: Range,
    /// What every node is told.
    pub node: NodeSettings,
    /// Nodes that are not like the others.
    pub hosts: Vec<Host>,
    /// What users ask for.
    pub workload: Option<Workload>,
    /// Files that nodes give each other.
    pub files: Vec<SharedFile>,
    /// Who wants which of them.
    pub fetches: Vec<Fetch>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// How many of the faults each seed draws, from the fewest to the most; all where it is not said.
    pub swarm: Option<(u32, u32)>,
    /// When all must be well again.
    pub liveness: Option<Liveness>,
    /// What must hold, and what must be reached.
    pub expect: Expect,
}

impl Scenario {
    /// Returns what is special about a node; `None` where nothing is.
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

    /// Tells whether a fault may stop a node: one that has a copy would give way to it when it came back.
    pub(crate) fn may_be_stopped(&self, node: u32) -> bool {
        self.role(node) == NodeRole::Member && self.hosts.iter().all(|host| host.identity != Some(node))
    }

    /// Returns when a node starts.
    pub(crate) fn start_range(&self, node: u32) -> Range {
        self.host(node).and_then(|host| host.start).unwrap_or(self.start)
    }

    /// Returns the moments between `after` and `after + within` at which to look whether all is well; the last is the
    /// one that counts.
    pub(crate) fn liveness_checks(&self) -> Vec<Duration> {
        let Some(liveness) = self.liveness else { return Vec::new() };
        let looks = u32::try_from(liveness.within.as_millis() / LIVENESS_CHECK_INTERVAL_MS)
            .unwrap_or(LIVENESS_CHECKS_MAX)
            .clamp(1, LIVENESS_CHECKS_MAX);
        (0..=looks).map(|look| liveness.after + liveness.within * look / looks).collect()
    }
}

/// What lies between the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// How long a frame or packet travels.
    pub latency: Range,
    /// Who can reach whom.
    pub topology: Topology,
    /// Whether nodes find each other by multicast; else each is told its neighbours' addresses.
    pub multicast: bool,
    /// What gets lost on the way, faults aside.
    pub loss: Option<Loss>,
    /// The step of simulated time, where time goes in steps: with turmoil. What happens within one is simultaneous.
    pub tick: Duration,
}

/// What gets lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// How many of a million frames and packets.
    pub per_million: u32,
    /// Whether a heartbeat that was lost is sent again, as TCP does with all that it carries; else it is gone, as
    /// it would be in a datagram. Whatever is no heartbeat is always sent again.
    pub retransmission: bool,
}

/// Who can reach whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Everybody everybody; without multicast, each is told the addresses of eight others.
    Full,
    /// Each node the one before and the one after it.
    Line,
    /// As in a line, and the last the first.
    Ring,
}

/// What every node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// The most links that a node keeps.
    pub max_peers: u16,
    /// Jobs that run at the same time.
    pub max_concurrent_tasks: u16,
    /// Accepted tasks that may wait or run at the same time.
    pub queue_tasks_max: u32,
}

/// When all must be well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// When the network is healed for good.
    pub after: Duration,
    /// How long after that every task must have its outcome and the mesh be whole.
    pub within: Duration,
}

/// What must hold, and what must be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Invariants to check after every step.
    pub always: Vec<&'static str>,
    /// Events that the run must reach at least once.
    pub sometimes: Vec<&'static str>,
    /// How many tasks must end how; those not named may be any number.
    pub outcomes: BTreeMap<OutcomeKind, u32>,
}

/// How a submitted task can end, as its user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeKind {
    /// Cancelled by a user.
    Cancelled,
    /// Ended with an output.
    Completed,
    /// Ended with a reason.
    Failed,
    /// Accepted, and without an outcome when the run ended.
    Open,
    /// Not accepted.
    Rejected,
    /// Its time was over.
    Timeout,
    /// Its node went away before it answered, or none was there to ask.
    Unanswered,
}

impl OutcomeKind {
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
        f.write_str(match self {
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Open => "open",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Unanswered => "unanswered",
        })
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

/// The most bytes of a file.
pub const FILE_CONTENT_BYTES_MAX: u32 = 32 << 20;

/// The most faults of a scenario.
pub const FAULTS_MAX: usize = 1_000;

/// The most tasks of one burst.
pub const BURST_MAX: u32 = 10_000;

/// The most by which clocks drift, in parts of a million: ten times what a bad quartz does.
pub const DRIFT_PPM_MAX: i32 = 1_000;

/// The most times that one fault strikes.
pub const INJECTIONS_MAX: u32 = 10_000;

/// The most of a million frames that a network loses.
pub const LOSS_PER_MILLION_MAX: u32 = 500_000;

/// The longest time that a scenario simulates, and the longest of any duration in it.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest input of a task, in bytes, before its number is added.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

const LIVENESS_CHECK_INTERVAL_MS: u128 = 100;
const LIVENESS_CHECKS_MAX: u32 = 1_000;
