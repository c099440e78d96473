//! What goes wrong when, and what is wrong at the moment. Both executors ask here, so that the same seed means
//! the same faults in both.

use crate::cluster::NodeIndex;
use crate::random::{Purpose, Random};
use crate::scenario::{Fault, FaultKind, Scenario, Target};
use core::time::Duration;
use std::collections::BTreeMap;

/// A moment at which something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: Duration,
    pub(crate) step: Step,
}

/// What changes. The order is the one in which changes of the same moment happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A fault is over.
    Lift(usize),
    /// A fault strikes.
    Strike(usize),
    /// The network is healed for good.
    HealAll,
}

/// What an executor has to do about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Other pairs of nodes are cut off or stalled than before.
    Network,
    /// Start a node again.
    Start(NodeIndex),
    /// Stop a node.
    Stop(NodeIndex, Stop),
}

/// How a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process dies; its machine lives on.
    Kill,
    /// The machine is gone.
    PowerLoss,
}

/// How two nodes are connected at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// What is sent is lost.
    Cut,
    /// What is sent arrives.
    Open,
    /// What is sent waits.
    Stalled,
}

/// What is wrong at the moment.
#[derive(Debug)]
pub(crate) struct Faults {
    random: Random,
    plan: Vec<Fault>,
    stopped: Vec<Option<Stop>>,
    /// Whom each fault that stops a node has struck.
    struck: BTreeMap<usize, NodeIndex>,
    /// Each fault of the network that lasts, with the group of each node.
    walls: BTreeMap<usize, Vec<Option<usize>>>,
}

impl Faults {
    pub(crate) fn new(scenario: &Scenario, random: Random) -> Self {
        Self {
            random,
            plan: scenario.faults.clone(),
            stopped: vec![None; scenario.nodes as usize],
            struck: BTreeMap::new(),
            walls: BTreeMap::new(),
        }
    }

    /// Returns all changes of a scenario in their order.
    pub(crate) fn changes(scenario: &Scenario, random: Random) -> Vec<Change> {
        let mut changes = Vec::new();
        for (fault, planned) in scenario.faults.iter().enumerate() {
            let who = u64::try_from(fault).unwrap_or_default();
            let at = random.between(planned.at.ends(), Purpose::FaultTime, who, 0);
            changes.push(Change { at, step: Step::Strike(fault) });
            if let Some(lasts) = planned.kind.lasts() {
                changes.push(Change { at: at + lasts, step: Step::Lift(fault) });
            }
        }
        if let Some(liveness) = scenario.liveness {
            changes.push(Change { at: liveness.after, step: Step::HealAll });
        }
        changes.sort_by_key(|change| (change.at, change.step));
        changes
    }

    /// Carries a change out, and says in words what it is; `None` where it means nothing, as a second stop of
    /// the same node.
    pub(crate) fn take(&mut self, step: Step) -> Option<(Effect, String)> {
        match step {
            Step::HealAll => {
                self.walls.clear();
                Some((Effect::Network, "the network is healed for good".to_owned()))
            }
            Step::Lift(fault) => {
                if self.walls.remove(&fault).is_some() {
                    let words = format!("the {} is over", self.plan[fault].kind.name());
                    return Some((Effect::Network, words));
                }
                let node = self.struck.remove(&fault)?;
                self.stopped[node as usize] = None;
                Some((Effect::Start(node), format!("n{node} starts again")))
            }
            Step::Strike(fault) => self.strike(fault),
        }
    }

    fn strike(&mut self, fault: usize) -> Option<(Effect, String)> {
        let (target, stop) = match &self.plan[fault].kind {
            FaultKind::Partition { groups, .. } | FaultKind::Stall { groups, .. } => {
                let mut of_node = vec![None; self.stopped.len()];
                for (group, members) in groups.iter().enumerate() {
                    members.iter().for_each(|&node| of_node[node as usize] = Some(group));
                }
                let words = format!("{} between {}", self.plan[fault].kind.name(), names(groups));
                self.walls.insert(fault, of_node);
                return Some((Effect::Network, words));
            }
            FaultKind::Kill { node, .. } => (*node, Stop::Kill),
            FaultKind::PowerLoss { node, .. } => (*node, Stop::PowerLoss),
        };
        let who = u64::try_from(fault).unwrap_or_default();
        let node = self.pick(target, Purpose::FaultNode, who)?;
        self.stopped[node as usize] = Some(stop);
        self.struck.insert(fault, node);
        let words = match stop {
            Stop::Kill => format!("n{node} is killed"),
            Stop::PowerLoss => format!("n{node} loses power"),
        };
        Some((Effect::Stop(node, stop), words))
    }

    /// Returns the node that a target means now; `None` where it does not run.
    pub(crate) fn pick(&self, target: Target, purpose: Purpose, who: u64) -> Option<NodeIndex> {
        match target {
            Target::Node(node) => self.runs(node).then_some(node),
            Target::Any => {
                let running: Vec<NodeIndex> =
                    (0..).take(self.stopped.len()).filter(|&node| self.runs(node)).collect();
                running.get(self.random.index(running.len(), purpose, who, 0)).copied()
            }
        }
    }

    pub(crate) fn runs(&self, node: NodeIndex) -> bool {
        self.stopped[node as usize].is_none()
    }

    /// Tells whether a node's machine has power, whether or not its process runs.
    pub(crate) fn powered(&self, node: NodeIndex) -> bool {
        self.stopped[node as usize] != Some(Stop::PowerLoss)
    }

    /// Returns how two nodes are connected.
    pub(crate) fn passage(&self, a: NodeIndex, b: NodeIndex) -> Passage {
        if !self.powered(a) || !self.powered(b) {
            return Passage::Cut;
        }
        let mut passage = Passage::Open;
        for (&fault, groups) in &self.walls {
            let apart = matches!((groups[a as usize], groups[b as usize]), (Some(a), Some(b)) if a != b);
            match &self.plan[fault].kind {
                FaultKind::Stall { .. } if apart => passage = Passage::Stalled,
                FaultKind::Partition { .. } if apart => return Passage::Cut,
                FaultKind::Kill { .. }
                | FaultKind::Partition { .. }
                | FaultKind::PowerLoss { .. }
                | FaultKind::Stall { .. } => {}
            }
        }
        passage
    }
}

fn names(groups: &[Vec<u32>]) -> String {
    let group =
        |members: &Vec<u32>| members.iter().map(|node| format!("n{node}")).collect::<Vec<_>>().join(" ");
    groups.iter().map(group).collect::<Vec<_>>().join(" | ")
}
