//! Which scenarios an executor can model, and which executor suits a scenario.

use crate::scenario::{Executor, FaultKind, MachineFault, Scenario};
use core::time::Duration;

impl Executor {
    /// Returns the default executor of a scenario: the one closest to a real node that is fast enough.
    pub fn suited_to(scenario: &Scenario) -> Self {
        let small =
            scenario.nodes <= TURMOIL_NODES_AUTO_MAX && scenario.duration <= TURMOIL_DURATION_AUTO_MAX;
        if small && Self::Turmoil.refuses(scenario).is_none() { Self::Turmoil } else { Self::EventQueue }
    }

    /// Returns why this executor cannot model a scenario; `None` if it can.
    pub fn refuses(self, scenario: &Scenario) -> Option<Refusal> {
        match self {
            Self::EventQueue => None,
            Self::Turmoil => {
                let nodes = scenario.nodes;
                if nodes > TURMOIL_NODES_MAX {
                    return Some(Refusal::TooManyNodes { nodes, limit: TURMOIL_NODES_MAX });
                }
                if scenario.network.loss.is_some() {
                    return Some(Refusal::NotModelled { what: "loss" });
                }
                if !scenario.hosts.is_empty() {
                    return Some(Refusal::NotModelled { what: "host" });
                }
                let unknown = |kind: &FaultKind| match kind {
                    FaultKind::Machine { what, .. } => match what {
                        MachineFault::ClockDrift { .. }
                        | MachineFault::MachineAsleep
                        | MachineFault::MemoryUsed { .. }
                        | MachineFault::ModelReplaced
                        | MachineFault::ModelUnready
                        | MachineFault::ProcessStopped => Some(what.name()),
                        MachineFault::ClockJump { .. }
                        | MachineFault::DiskError { .. }
                        | MachineFault::DiskFull
                        | MachineFault::DiskSlow { .. }
                        | MachineFault::InferenceCrash { .. }
                        | MachineFault::InferenceError { .. }
                        | MachineFault::InferenceSlow { .. } => None,
                    },
                    FaultKind::Asymmetry { .. }
                    | FaultKind::Churn { .. }
                    | FaultKind::ConnectionReset { .. }
                    | FaultKind::Disturbance { .. }
                    | FaultKind::LatencyStep { .. }
                    | FaultKind::Leave { .. }
                    | FaultKind::OneWayLoss { .. }
                    | FaultKind::RollingRestart { .. } => Some(kind.name()),
                    FaultKind::Burst { .. }
                    | FaultKind::Flap { .. }
                    | FaultKind::IsolateOne { .. }
                    | FaultKind::Kill { .. }
                    | FaultKind::Partition { .. }
                    | FaultKind::PoisonInput { .. }
                    | FaultKind::PowerLoss { .. }
                    | FaultKind::Stall { .. }
                    | FaultKind::SwizzleClog { .. }
                    | FaultKind::TornWrite { .. } => None,
                };
                if let Some(what) = scenario.faults.iter().find_map(|fault| unknown(&fault.kind)) {
                    return Some(Refusal::NotModelled { what });
                }
                let stalls = |kind: &FaultKind| {
                    matches!(kind, FaultKind::Stall { .. } | FaultKind::SwizzleClog { .. })
                };
                let cuts = |kind: &FaultKind| {
                    matches!(
                        kind,
                        FaultKind::Flap { .. }
                            | FaultKind::IsolateOne { .. }
                            | FaultKind::Partition { .. }
                            | FaultKind::PowerLoss { .. }
                            | FaultKind::TornWrite { .. }
                    )
                };
                let any = |which: &dyn Fn(&FaultKind) -> bool| {
                    scenario.faults.iter().any(|fault| which(&fault.kind))
                };
                (any(&stalls) && any(&cuts)).then_some(Refusal::StallAndCut)
            }
        }
    }
}

/// Why an executor cannot run a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// turmoil's network does not model it.
    #[error("the turmoil executor does not model `{what}`; use executor = \"event-queue\"")]
    NotModelled {
        /// The part of the scenario.
        what: &'static str,
    },
    /// turmoil cannot both hold back and drop messages between the same two nodes.
    #[error(
        "the turmoil executor cannot model `stall` together with `partition` or `power_loss`; use executor = \"event-queue\""
    )]
    StallAndCut,
    /// The cost grows with the cube of the number of nodes.
    #[error("the turmoil executor runs at most {limit} nodes, not {nodes}; use executor = \"event-queue\"")]
    TooManyNodes {
        /// The nodes of the scenario.
        nodes: u32,
        /// The most nodes that it runs.
        limit: u32,
    },
}

const TURMOIL_NODES_MAX: u32 = 50;
const TURMOIL_NODES_AUTO_MAX: u32 = 10;
const TURMOIL_DURATION_AUTO_MAX: Duration = Duration::from_secs(600);
