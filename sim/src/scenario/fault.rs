//! What goes wrong in a scenario: kinds of faults, and when they strike.

use super::machine_fault::{DELAY_MAX, MachineFault};
use super::range::Range;
use super::target::Target;
use core::time::Duration;

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
    Machine {
        /// Whose.
        node: Target,
        /// What.
        what: MachineFault,
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
    pub(crate) fn may_hide_live_nodes(&self) -> bool {
        match self {
            Self::Machine { what, .. } => what.may_hide_live_nodes(),
            Self::Asymmetry { add, .. } | Self::LatencyStep { add, .. } => add.to > DELAY_MAX,
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
            Self::Machine { what, .. } => what.name(),
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
            Self::Machine { node: target, .. }
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
            Self::Machine { heal_after: lasts, .. }
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
