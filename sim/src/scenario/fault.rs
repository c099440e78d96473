//! The faults of a scenario: their kinds, and when they are injected.

use super::machine_fault::{DELAY_MAX, MachineFault};
use super::range::Range;
use super::target::Target;
use core::time::Duration;

/// A fault to inject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it is injected; the seed draws the moment.
    pub at: Range,
    /// The share of seeds that inject it, per million.
    pub per_million: u32,
    /// What happens.
    pub kind: FaultKind,
}

/// The kind of a fault, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// One node's machine is faulty.
    Machine {
        /// The node.
        node: Target,
        /// The fault of its machine.
        what: MachineFault,
        /// How long it lasts; `None` until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Many tasks are submitted at once, in addition to the workload and like it.
    Burst {
        /// The node that gets them.
        node: Target,
        /// The number of tasks.
        count: u32,
    },
    /// Nodes stop and start again continually: one per `every`; the seed draws the node and how it stops.
    Churn {
        /// The time between two departures.
        every: Duration,
        /// How long each node stays away.
        away: Range,
        /// How long the churn lasts.
        lasts: Duration,
    },
    /// A link goes down and up repeatedly: groups cannot reach each other during the first half of each `every`.
    Flap {
        /// The groups; nodes in none of them reach all.
        groups: Vec<Vec<u32>>,
        /// The period.
        every: Duration,
        /// How long the flapping lasts.
        lasts: Duration,
    },
    /// All connections of a node break, at both ends at once.
    ConnectionReset {
        /// The node.
        node: Target,
    },
    /// Frames from one set of nodes to another are delayed; the opposite direction is not.
    Asymmetry {
        /// The senders.
        from: Vec<u32>,
        /// The receivers.
        to: Vec<u32>,
        /// The additional delay of each frame.
        add: Range,
        /// How long it lasts; `None` until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Some frames or packets are altered, duplicated or reordered.
    Disturbance {
        /// What happens to them.
        how: Disturbance,
        /// The affected share, per million.
        per_million: u32,
        /// How long it lasts; `None` until everything is healed.
        heal_after: Option<Duration>,
    },
    /// One node is partitioned from all others.
    IsolateOne {
        /// The node.
        node: Target,
        /// How long it lasts; `None` until everything is healed.
        heal_after: Option<Duration>,
    },
    /// A process is killed: its sockets close, and some of its unfinished writes complete.
    Kill {
        /// The node.
        node: Target,
        /// The time until it starts again; `None` for never.
        restart_after: Option<Duration>,
    },
    /// A node is asked to stop and shuts down gracefully.
    Leave {
        /// The node.
        node: Target,
        /// The time until it starts again; `None` for never.
        restart_after: Option<Duration>,
    },
    /// Everything that is sent is delayed.
    LatencyStep {
        /// The additional delay.
        add: Range,
        /// How long it lasts; `None` until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Frames from some nodes to others are lost; the opposite direction works.
    OneWayLoss {
        /// The senders.
        from: Vec<u32>,
        /// The receivers.
        to: Vec<u32>,
        /// How long it lasts; `None` until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Groups cannot reach each other, and all traffic between them is lost.
    Partition {
        /// The groups; nodes in none of them reach all.
        groups: Vec<Vec<u32>>,
        /// How long it lasts; `None` until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Some inputs of the workload crash every process that runs a model on them.
    PoisonInput {
        /// The numbers of the tasks.
        tasks: Vec<u32>,
    },
    /// A machine loses power: its peers get no notice, and all of its unfinished writes are lost.
    PowerLoss {
        /// The node.
        node: Target,
        /// The time until it starts again; `None` for never.
        restart_after: Option<Duration>,
    },
    /// Every node, one after another, is asked to stop and is started again.
    RollingRestart {
        /// The time between two restarts.
        every: Duration,
        /// How long each node stays away.
        away: Range,
        /// How long all restarts together take.
        lasts: Duration,
    },
    /// Frames between groups are held back, and arrive when the stall ends.
    Stall {
        /// The groups; nodes in none of them reach all.
        groups: Vec<Vec<u32>>,
        /// How long it lasts; `None` until everything is healed.
        heal_after: Option<Duration>,
    },
    /// Some nodes, drawn by the seed, are stalled one after another and then released in another order.
    SwizzleClog {
        /// The time between two steps.
        every: Duration,
        /// How long it takes at most.
        lasts: Duration,
    },
    /// A machine loses power during its writes: the first few unfinished writes complete, each as a whole, and the
    /// process never learns of it.
    TornWrite {
        /// The node.
        node: Target,
        /// The time until it starts again; `None` for never.
        restart_after: Option<Duration>,
    },
}

/// What happens to some frames or packets. A stream keeps its order and its bytes whatever the network does, so all
/// but the last affect multicast packets only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// It arrives twice.
    Duplicate,
    /// Later ones overtake it.
    Reorder,
    /// It arrives once more, much later.
    Replay,
    /// One bit is flipped. On a connection the integrity check fails and the connection breaks.
    Corrupt,
}

impl FaultKind {
    /// Returns whether nodes may declare a live node dead under this fault.
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

    /// Returns the kind's name in scenario files.
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

    /// Returns whether the fault stops a node.
    pub const fn stops_node(&self) -> bool {
        matches!(
            self,
            Self::Kill { .. } | Self::Leave { .. } | Self::PowerLoss { .. } | Self::TornWrite { .. }
        )
    }

    /// Returns the node that the fault concerns, if it concerns a single one.
    pub const fn target(&self) -> Option<Target> {
        match self {
            Self::Machine { node, .. }
            | Self::Burst { node, .. }
            | Self::ConnectionReset { node }
            | Self::IsolateOne { node, .. }
            | Self::Kill { node, .. }
            | Self::Leave { node, .. }
            | Self::PowerLoss { node, .. }
            | Self::TornWrite { node, .. } => Some(*node),
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
            | Self::SwizzleClog { .. } => None,
        }
    }

    /// Returns the same fault with another duration, if it is one that may last until everything is healed.
    #[must_use]
    pub(crate) fn lasting(&self, duration: Option<Duration>) -> Self {
        let mut kind = self.clone();
        match &mut kind {
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
            | Self::TornWrite { restart_after: lasts, .. } => *lasts = duration,
            Self::Burst { .. }
            | Self::Churn { .. }
            | Self::ConnectionReset { .. }
            | Self::Flap { .. }
            | Self::PoisonInput { .. }
            | Self::RollingRestart { .. }
            | Self::SwizzleClog { .. } => {}
        }
        kind
    }

    /// Returns the same fault for the given node, if it concerns a single node.
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

    /// Returns how long the fault lasts; `None` if until everything is healed, or for ever.
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
