//! What to simulate: nodes, network, work, faults, and what must hold. Read from a TOML file.
//!
//! A [`Scenario`] that exists is valid: every name in it is known, every number within its limit, and the
//! executor it names can model all of it.

mod ailment;
mod check;
mod error;
mod file;
mod host;
mod text;
mod write;

pub use ailment::Ailment;
pub use error::{Place, Problem, ScenarioError};
pub(crate) use host::Standing;
pub use host::{Host, Hostility};

use crate::executor::Executor;
use core::time::Duration;
use engine::task::{TaskKind, TaskStatus};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

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
    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// [`ScenarioError`] where the file cannot be read or is not a valid scenario; it names file, line and fix.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let unreadable = |error| ScenarioError::of_file(&name, Problem::Unreadable(error));
        let file = File::open(path).map_err(unreadable)?;
        let mut text = Vec::new();
        // One byte more than allowed tells a file of the largest size from a larger one.
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        if u64::try_from(text.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
            return Err(ScenarioError::of_file(&name, Problem::FileTooLarge { limit: FILE_BYTES_MAX }));
        }
        let text = String::from_utf8(text).map_err(|_| ScenarioError::of_file(&name, Problem::NotUtf8))?;
        Self::parse(&name, &text)
    }

    /// Reads a scenario from a text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`ScenarioError`] where the text is not a valid scenario.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        if u64::try_from(text.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
            return Err(ScenarioError::of_file(name, Problem::FileTooLarge { limit: FILE_BYTES_MAX }));
        }
        check::scenario(name, text)
    }

    /// Returns the same scenario for another executor.
    ///
    /// # Errors
    /// [`ScenarioError`] where that executor cannot model it.
    pub fn on(&self, executor: Executor) -> Result<Self, ScenarioError> {
        executor
            .refuses(self)
            .map_or(Ok(()), |refusal| Err(ScenarioError::of_file(&self.path, Problem::Refused(refusal))))?;
        Ok(Self { executor, ..self.clone() })
    }
}

/// From the shortest to the longest, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The shortest.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
}

impl Range {
    /// Returns both ends.
    pub const fn ends(self) -> (Duration, Duration) {
        (self.from, self.to)
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

/// What users ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The tasks.
    pub submissions: Submissions,
    /// How long one takes to compute.
    pub compute: Range,
    /// The kind of work.
    pub kind: TaskKind,
    /// How long a task may take.
    pub timeout: Duration,
}

/// The tasks that users submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submissions {
    /// Each by itself, in the order of time.
    Listed(Vec<Submission>),
    /// One after the other.
    Series {
        /// How many.
        tasks: u32,
        /// When the first one is submitted.
        at: Duration,
        /// The time between two.
        every: Duration,
        /// Where they are submitted.
        origin: Target,
        /// The input, to which the task's number is added.
        input: String,
    },
}

/// A task that a user submits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// When.
    pub at: Duration,
    /// Where.
    pub origin: Target,
    /// The text to work on.
    pub input: String,
}

impl Submissions {
    /// Returns how many tasks there are.
    pub fn tasks(&self) -> u32 {
        match self {
            Self::Listed(listed) => u32::try_from(listed.len()).unwrap_or(u32::MAX),
            Self::Series { tasks, .. } => *tasks,
        }
    }

    /// Returns when the task of this number is submitted, and where; `None` where there is none.
    pub fn when_and_where(&self, number: u32) -> Option<(Duration, Target)> {
        match self {
            Self::Listed(listed) => listed.get(number as usize).map(|one| (one.at, one.origin)),
            Self::Series { tasks, at, every, origin, .. } => {
                (number < *tasks).then(|| (at.saturating_add(every.saturating_mul(number)), *origin))
            }
        }
    }

    /// Returns the input of the task of this number; `None` where there is none.
    pub fn input(&self, number: u32) -> Option<String> {
        match self {
            Self::Listed(listed) => listed.get(number as usize).map(|one| one.input.clone()),
            Self::Series { tasks, .. } => self.input_like_these(number).filter(|_| number < *tasks),
        }
    }

    /// Returns the input of a task beside these and like them; `None` where there is none to be like.
    pub fn input_like_these(&self, number: u32) -> Option<String> {
        match self {
            Self::Listed(listed) => listed.last().map(|one| format!("{} {number}", one.input)),
            Self::Series { input, .. } => Some(format!("{input} {number}")),
        }
    }

    /// Returns when the last task is submitted; `None` where there is none.
    pub fn last_at(&self) -> Option<Duration> {
        self.when_and_where(self.tasks().checked_sub(1)?).map(|(at, _)| at)
    }
}

/// A file that some nodes have from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// Its size.
    pub bytes: u32,
    /// Who has it.
    pub holders: Vec<u32>,
}

/// A node that wants a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// When it is asked for.
    pub at: Duration,
    /// Which node.
    pub node: u32,
    /// Which file.
    pub file: u32,
    /// What is known of it.
    pub by: FetchedBy,
}

/// What is known of a file that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FetchedBy {
    /// The hash against which each piece can be checked.
    #[default]
    Blake3,
    /// One against which only the whole can be.
    Sha256,
}

/// One node of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One that runs at the time, chosen by the seed.
    Any,
    /// This one.
    Node(u32),
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When; the seed chooses the moment.
    pub at: Range,
    /// Under how many of a million seeds.
    pub per_million: u32,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Something is wrong with one node's machine.
    Ailment {
        /// Whose.
        node: Target,
        /// What.
        what: Ailment,
        /// How long it lasts, if not until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Many tasks are submitted at once, beside the workload and like it.
    Burst {
        /// Where.
        node: Target,
        /// How many.
        count: u32,
    },
    /// Nodes go and come back all the time: one each `every`, chosen by the seed, and so is how it goes.
    Churn {
        /// The time between two departures.
        every: Duration,
        /// How long each stays away.
        away: Range,
        /// How long it goes on.
        lasts: Duration,
    },
    /// A link goes down and up again: nothing gets from one group to another during the first half of each `every`.
    Flap {
        /// The groups; nodes of none reach all.
        groups: Vec<Vec<u32>>,
        /// From one time that it goes down to the next.
        every: Duration,
        /// How long it goes on.
        lasts: Duration,
    },
    /// Every connection of a node breaks, at both ends at once.
    ConnectionReset {
        /// Whose.
        node: Target,
    },
    /// What one part of the nodes sends to another takes longer, and no longer in the other direction.
    Asymmetry {
        /// Whose frames are late.
        from: Vec<u32>,
        /// On the way to whom.
        to: Vec<u32>,
        /// How much longer each takes.
        add: Range,
        /// How long it lasts, if not until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Some of what is sent does not arrive as it was sent, or not once.
    Disturbance {
        /// In which way.
        how: Disturbance,
        /// How many of a million.
        per_million: u32,
        /// How long it lasts, if not until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Nothing gets to one node or from it.
    IsolateOne {
        /// Which.
        node: Target,
        /// How long it lasts, if not until everything is healed.
        heal_after: Option<Duration>,
    },
    /// A process dies; its sockets close, and some of its unfinished writes get through.
    Kill {
        /// Whose.
        node: Target,
        /// How long after it starts again, if ever.
        restart_after: Option<Duration>,
    },
    /// A node is told to stop, and does so in good order.
    Leave {
        /// Which.
        node: Target,
        /// How long after it starts again, if ever.
        restart_after: Option<Duration>,
    },
    /// Everything that is sent takes longer.
    LatencyStep {
        /// How much longer.
        add: Range,
        /// How long it lasts, if not until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Nothing gets from some nodes to some others, which still reach them.
    OneWayLoss {
        /// Whose frames are lost.
        from: Vec<u32>,
        /// On the way to whom.
        to: Vec<u32>,
        /// How long it lasts, if not until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Nothing gets from one group to another, and what is sent is lost.
    Partition {
        /// The groups; nodes of none reach all.
        groups: Vec<Vec<u32>>,
        /// How long it lasts, if not until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Some of the workload's inputs kill every process that runs a model on them.
    PoisonInput {
        /// The numbers of the tasks.
        tasks: Vec<u32>,
    },
    /// A node vanishes without a word, and all of its unfinished writes are lost.
    PowerLoss {
        /// Which.
        node: Target,
        /// How long after it starts again, if ever.
        restart_after: Option<Duration>,
    },
    /// One node after another is told to stop and started again.
    RollingRestart {
        /// From one to the next.
        every: Duration,
        /// How long each stays away.
        away: Range,
        /// How long it takes for all.
        lasts: Duration,
    },
    /// What one group sends to another waits, and arrives when it is over.
    Stall {
        /// The groups; nodes of none reach all.
        groups: Vec<Vec<u32>>,
        /// How long it lasts, if not until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Some nodes, chosen by the seed, are stalled one after the other, and then let go in another order.
    SwizzleClog {
        /// From one to the next.
        every: Duration,
        /// How long it takes at most.
        lasts: Duration,
    },
    /// A node vanishes without a word in the middle of its writes: the first few of those under way got through, each
    /// whole, and nobody was told.
    TornWrite {
        /// Which.
        node: Target,
        /// How long after it starts again, if ever.
        restart_after: Option<Duration>,
    },
}

/// What becomes of some of what is sent. A stream keeps its order and its bytes whatever the network does, so all but
/// the last are about packets to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// It arrives twice.
    Duplicate,
    /// Later ones overtake it.
    Reorder,
    /// It arrives once more, long after.
    Replay,
    /// A bit of it is flipped. A connection on which that happens fails its integrity check and breaks.
    Corrupt,
}

impl FaultKind {
    /// Tells whether, under this fault, nodes may take one for dead that lives.
    pub(crate) fn hides_the_living(&self) -> bool {
        match self {
            Self::Ailment { what, .. } => what.hides_the_living(),
            Self::Asymmetry { add, .. } | Self::LatencyStep { add, .. } => add.to > LATE_MAX,
            Self::Flap { .. }
            | Self::IsolateOne { .. }
            | Self::OneWayLoss { .. }
            | Self::Partition { .. }
            | Self::Stall { .. }
            | Self::SwizzleClog { .. } => true,
            Self::Burst { .. }
            | Self::Churn { .. }
            | Self::ConnectionReset { .. }
            | Self::Disturbance { .. }
            | Self::Kill { .. }
            | Self::Leave { .. }
            | Self::PoisonInput { .. }
            | Self::PowerLoss { .. }
            | Self::RollingRestart { .. }
            | Self::TornWrite { .. } => false,
        }
    }

    /// Returns the kind's name in a scenario file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ailment { what, .. } => what.name(),
            Self::Asymmetry { .. } => "asymmetry",
            Self::Burst { .. } => "burst",
            Self::Churn { .. } => "churn",
            Self::ConnectionReset { .. } => "connection_reset",
            Self::Disturbance { how, .. } => match how {
                Disturbance::Duplicate => "duplicate",
                Disturbance::Reorder => "reorder",
                Disturbance::Replay => "replay",
                Disturbance::Corrupt => "corrupt_frame",
            },
            Self::Flap { .. } => "flap",
            Self::IsolateOne { .. } => "isolate_one",
            Self::Kill { .. } => "kill",
            Self::LatencyStep { .. } => "latency_step",
            Self::Leave { .. } => "leave",
            Self::OneWayLoss { .. } => "one_way_loss",
            Self::Partition { .. } => "partition",
            Self::PoisonInput { .. } => "poison_input",
            Self::PowerLoss { .. } => "power_loss",
            Self::RollingRestart { .. } => "rolling_restart",
            Self::Stall { .. } => "stall",
            Self::SwizzleClog { .. } => "swizzle_clog",
            Self::TornWrite { .. } => "torn_write",
        }
    }

    /// Returns the same fault for one node, where it is about a single one.
    #[must_use]
    pub fn at(&self, node: u32) -> Self {
        let mut kind = self.clone();
        match &mut kind {
            Self::Ailment { node: target, .. }
            | Self::Burst { node: target, .. }
            | Self::ConnectionReset { node: target }
            | Self::IsolateOne { node: target, .. }
            | Self::Kill { node: target, .. }
            | Self::Leave { node: target, .. }
            | Self::PowerLoss { node: target, .. }
            | Self::TornWrite { node: target, .. } => *target = Target::Node(node),
            Self::Asymmetry { .. }
            | Self::Churn { .. }
            | Self::Disturbance { .. }
            | Self::Flap { .. }
            | Self::LatencyStep { .. }
            | Self::OneWayLoss { .. }
            | Self::Partition { .. }
            | Self::PoisonInput { .. }
            | Self::RollingRestart { .. }
            | Self::Stall { .. }
            | Self::SwizzleClog { .. } => {}
        }
        kind
    }

    /// Returns how long the fault lasts, if not until everything is healed, or for ever.
    pub const fn lasts(&self) -> Option<Duration> {
        match self {
            Self::Burst { .. } | Self::ConnectionReset { .. } | Self::PoisonInput { .. } => None,
            Self::Ailment { heal_after: lasts, .. }
            | Self::Asymmetry { heal_after: lasts, .. }
            | Self::Disturbance { heal_after: lasts, .. }
            | Self::IsolateOne { heal_after: lasts, .. }
            | Self::Kill { restart_after: lasts, .. }
            | Self::LatencyStep { heal_after: lasts, .. }
            | Self::Leave { restart_after: lasts, .. }
            | Self::OneWayLoss { heal_after: lasts, .. }
            | Self::Partition { heal_after: lasts, .. }
            | Self::PowerLoss { restart_after: lasts, .. }
            | Self::Stall { heal_after: lasts, .. }
            | Self::TornWrite { restart_after: lasts, .. } => *lasts,
            Self::Flap { lasts, .. } | Self::SwizzleClog { lasts, .. } => Some(*lasts),
            Self::Churn { lasts, away, .. } | Self::RollingRestart { lasts, away, .. } => {
                Some(lasts.saturating_add(away.to))
            }
        }
    }
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
    pub const fn of(status: TaskStatus) -> Option<Self> {
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
pub const STRIKES_MAX: u32 = 10_000;

/// The most of a million frames that a network loses.
pub const LOSS_PER_MILLION_MAX: u32 = 500_000;

/// The longest time that a scenario simulates, and the longest of any duration in it.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How late what is sent may be without anybody's counting as dead.
const LATE_MAX: Duration = Duration::from_secs(1);

/// The longest input of a task, in bytes, before its number is added.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
