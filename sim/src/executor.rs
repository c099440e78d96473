//! The two ways to run a scenario. Both run the same engine; they differ in what they model besides.

pub mod event_queue;
mod turmoil;

use crate::cluster::Cluster;
use crate::observer::Observer;
use crate::scenario::{Ailment, FaultKind, Scenario};
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A way to run a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Executor {
    /// Straight over the engine: thousands of nodes, many seeds.
    EventQueue,
    /// The real driver, framing and handshake over turmoil's network: a few dozen nodes.
    Turmoil,
}

impl Executor {
    /// Returns the executor to take where a scenario does not say: the closest to a real node that is fast
    /// enough for it.
    pub fn suited_to(scenario: &Scenario) -> Self {
        let small = scenario.nodes <= TURMOIL_NODES_UNASKED && scenario.duration <= TURMOIL_TIME_UNASKED;
        if small && Self::Turmoil.refuses(scenario).is_none() { Self::Turmoil } else { Self::EventQueue }
    }

    /// Says what of a scenario this executor cannot model; `None` where it can model all.
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
                    FaultKind::Ailment { what, .. } => match what {
                        Ailment::ClockDrift { .. }
                        | Ailment::MachineAsleep
                        | Ailment::ModelReplaced
                        | Ailment::ModelUnready
                        | Ailment::ProcessStopped => Some(what.name()),
                        Ailment::ClockJump { .. }
                        | Ailment::DiskError { .. }
                        | Ailment::DiskFull
                        | Ailment::DiskSlow { .. }
                        | Ailment::InferenceCrash { .. }
                        | Ailment::InferenceError { .. }
                        | Ailment::InferenceSlow { .. } => None,
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

    /// Runs a scenario to its end, or to the first violation.
    pub(crate) fn run(self, scenario: &Scenario, cluster: &Arc<Cluster>, observer: Observer) -> Observer {
        match self {
            Self::EventQueue => event_queue::run(scenario, cluster, observer),
            Self::Turmoil => turmoil::run(scenario, cluster, observer),
        }
    }
}

impl fmt::Display for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventQueue => "event-queue",
            Self::Turmoil => "turmoil",
        })
    }
}

impl core::str::FromStr for Executor {
    type Err = UnknownExecutor;

    fn from_str(text: &str) -> Result<Self, UnknownExecutor> {
        match text {
            "event-queue" => Ok(Self::EventQueue),
            "turmoil" => Ok(Self::Turmoil),
            _ => Err(UnknownExecutor),
        }
    }
}

/// The text names no executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `event-queue` or `turmoil`")]
pub struct UnknownExecutor;

/// Why an executor cannot run a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// turmoil's network does not do what real ones do.
    #[error("the turmoil executor does not model `{what}`; use executor = \"event-queue\"")]
    NotModelled {
        /// What the scenario asks for.
        what: &'static str,
    },
    /// turmoil cannot hold back and drop what the same two nodes send.
    #[error(
        "the turmoil executor cannot model `stall` together with `partition` or `power_loss`; use executor = \"event-queue\""
    )]
    StallAndCut,
    /// Its cost grows with the cube of the nodes.
    #[error("the turmoil executor runs at most {limit} nodes, not {nodes}; use executor = \"event-queue\"")]
    TooManyNodes {
        /// The nodes of the scenario.
        nodes: u32,
        /// The most that it runs.
        limit: u32,
    },
}

/// The moments between `after` and `after + within` at which to look whether all is well; the last is the one
/// that counts.
pub(crate) fn moments_of_life(scenario: &Scenario) -> Vec<Duration> {
    let Some(liveness) = scenario.liveness else { return Vec::new() };
    let looks =
        u32::try_from(liveness.within.as_millis() / LOOK_EVERY_MS).unwrap_or(LOOKS_MAX).clamp(1, LOOKS_MAX);
    (0..=looks).map(|look| liveness.after + liveness.within * look / looks).collect()
}

const TURMOIL_NODES_MAX: u32 = 50;
const TURMOIL_NODES_UNASKED: u32 = 10;
const TURMOIL_TIME_UNASKED: Duration = Duration::from_secs(600);
const LOOK_EVERY_MS: u128 = 100;
const LOOKS_MAX: u32 = 1_000;
