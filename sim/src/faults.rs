//! Fault injection: the plan of a run's faults, and the faults in effect. Both executors use it, so that a seed means
//! the same faults in both.

pub(crate) mod machine;
mod plan;

use crate::node_set::{NodeIndex, NodeSet};
use crate::random::{Purpose, Random};
use crate::scenario::{Disturbance, Fault, FaultKind, MachineFault, NodeRole, Range, Scenario, Target};
use core::time::Duration;
use plan::Injection;
use std::collections::{BTreeMap, BTreeSet};

/// A moment at which something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: Duration,
    pub(crate) step: Step,
}

/// What changes. The order is that of changes at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A fault is cleared.
    Clear(usize),
    /// A fault is injected.
    Inject(usize),
    /// The network is healed until the end of the run.
    HealAll,
}

/// What an executor has to do about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The faults of a node's machine changed.
    Machine(NodeIndex),
    /// Submit that many tasks to a node at once.
    Burst(NodeIndex, u32),
    /// Ask a node to stop.
    Leave(NodeIndex),
    /// More inputs crash the processes that run models on them.
    Poison,
    /// Partitions or stalls changed.
    Network,
    /// Break every connection of a node.
    Reset(NodeIndex),
    /// Start a node again.
    Start(NodeIndex),
    /// Stop a node.
    Stop(NodeIndex, Stop),
}

/// How a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process is killed; its machine keeps running.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// The machine loses power, and some of its unfinished writes complete.
    TornWrite,
}

/// The condition of the link from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkCondition {
    /// What is sent is lost.
    Cut,
    /// What is sent arrives.
    Open,
    /// What is sent is held back.
    Stalled,
}

/// The faults in effect.
#[derive(Debug)]
pub(crate) struct Faults {
    random: Random,
    plan: Vec<Injection>,
    stopped: Vec<Option<Stop>>,
    /// Nodes that users submit tasks to, and nodes that may be stopped, if any node will do.
    origins: NodeSet,
    stoppable: NodeSet,
    /// The node of each injected fault that concerns a single one.
    targets: BTreeMap<usize, NodeIndex>,
    /// The node that each fault has stopped.
    victims: BTreeMap<usize, NodeIndex>,
    /// Each network fault in effect that divides nodes, with the group of each node.
    partitions: BTreeMap<usize, Vec<Option<usize>>>,
    /// Each network fault in effect that delays or alters what is sent.
    impairments: BTreeSet<usize>,
    /// Each injected fault so far, with its exact time and target.
    injected: Vec<Fault>,
    /// Each machine fault in effect, with its node.
    machine: BTreeMap<usize, NodeIndex>,
    /// The tasks whose inputs crash the processes that run them.
    poison: BTreeSet<u32>,
}

impl Faults {
    pub(crate) fn new(scenario: &Scenario, random: Random) -> Self {
        let all = 0..scenario.nodes;
        Self {
            random,
            origins: all.clone().filter(|&node| scenario.role(node) == NodeRole::Member).collect(),
            stoppable: all.filter(|&node| scenario.may_be_stopped(node)).collect(),
            plan: plan::injections(scenario, random),
            stopped: vec![None; scenario.nodes as usize],
            targets: BTreeMap::new(),
            victims: BTreeMap::new(),
            partitions: BTreeMap::new(),
            impairments: BTreeSet::new(),
            injected: Vec::new(),
            machine: BTreeMap::new(),
            poison: BTreeSet::new(),
        }
    }

    /// Returns the injected faults in order, with their exact times and targets.
    pub(crate) fn into_injected(self) -> Vec<Fault> {
        self.injected
    }

    /// Adds a fault to the plan, from a moment on. Returns its changes in order; `None` if it needs a node that runs and
    /// there is none.
    pub(crate) fn plan_another(
        &mut self,
        scenario: &Scenario,
        kind: &FaultKind,
        at: Duration,
    ) -> Option<Vec<Change>> {
        let number = u64::try_from(self.plan.len()).unwrap_or(u64::MAX) | ANOTHER;
        let kind = match kind.target() {
            Some(target) => kind.at(self.pick(target, Purpose::FaultNode, number)?),
            None => kind.clone(),
        };
        let fault = Fault { at: Range { from: at, to: at }, per_million: 1_000_000, kind };
        let mut changes = Vec::new();
        for injection in plan::expand(number, &fault, scenario, self.random) {
            changes.extend(changes_of(self.plan.len(), &injection));
            self.plan.push(injection);
        }
        changes.sort_by_key(|change| (change.at, change.step));
        Some(changes)
    }

    /// Returns the number of injections so far and to come.
    pub(crate) fn planned(&self) -> usize {
        self.plan.len()
    }

    /// Returns the faults in effect, by number.
    pub(crate) fn in_effect(&self) -> Vec<(usize, &FaultKind)> {
        let numbered = self.plan.iter().enumerate();
        numbered
            .filter(|(fault, _)| self.lasts(*fault))
            .map(|(fault, injection)| (fault, &injection.kind))
            .collect()
    }

    /// Returns the fault that was injected last, with its exact time and target.
    pub(crate) fn last_injected(&self) -> Option<&Fault> {
        self.injected.last()
    }

    /// Returns all changes of a scenario in order.
    pub(crate) fn changes(scenario: &Scenario, random: Random) -> Vec<Change> {
        let mut changes = Vec::new();
        for (fault, injection) in plan::injections(scenario, random).into_iter().enumerate() {
            changes.extend(changes_of(fault, &injection));
        }
        if let Some(liveness) = scenario.liveness {
            changes.push(Change { at: liveness.after, step: Step::HealAll });
        }
        changes.sort_by_key(|change| (change.at, change.step));
        changes
    }

    /// Applies a change and describes it; `None` if it has no effect, such as a second stop of the same node.
    pub(crate) fn apply(&mut self, step: Step) -> Option<(Effect, String)> {
        match step {
            Step::HealAll => {
                self.partitions.clear();
                self.impairments.clear();
                let plan = &self.plan;
                let for_good = |fault: &usize| matches!(&plan[*fault].kind, FaultKind::Machine { what, .. } if what.is_permanent());
                self.machine.retain(|fault, _| for_good(fault));
                Some((Effect::Network, "the network is healed for good".to_owned()))
            }
            Step::Clear(fault) => {
                if self.partitions.remove(&fault).is_some() || self.impairments.remove(&fault) {
                    let words = format!("the {} is over", self.plan[fault].kind.name());
                    return Some((Effect::Network, words));
                }
                if let Some(node) = self.machine.remove(&fault) {
                    let words = format!("the {} of n{node} is over", self.plan[fault].kind.name());
                    return Some((Effect::Machine(node), words));
                }
                let node = self.victims.remove(&fault)?;
                self.stopped[node as usize] = None;
                Some((Effect::Start(node), format!("n{node} starts again")))
            }
            Step::Inject(fault) => {
                let effect = self.inject(fault)?;
                let Injection { at, kind, .. } = &self.plan[fault];
                let kind = self.targets.get(&fault).map_or_else(|| kind.clone(), |&node| kind.at(node));
                let at = Range { from: *at, to: *at };
                self.injected.push(Fault { at, per_million: 1_000_000, kind });
                Some(effect)
            }
        }
    }

    fn inject(&mut self, fault: usize) -> Option<(Effect, String)> {
        let Injection { kind, who, .. } = &self.plan[fault];
        let (target, stop) = match kind {
            FaultKind::OneWayLoss { from, to, .. } => {
                let words = format!("{} from {} to {}", kind.name(), name(from), name(to));
                let mut of_node = vec![None; self.stopped.len()];
                from.iter().for_each(|&node| of_node[node as usize] = Some(FROM));
                to.iter().for_each(|&node| of_node[node as usize] = Some(TO));
                self.partitions.insert(fault, of_node);
                return Some((Effect::Network, words));
            }
            FaultKind::Partition { groups, .. } | FaultKind::Stall { groups, .. } => {
                let mut of_node = vec![None; self.stopped.len()];
                for (group, members) in groups.iter().enumerate() {
                    members.iter().for_each(|&node| of_node[node as usize] = Some(group));
                }
                let words = format!("{} between {}", kind.name(), names(groups));
                self.partitions.insert(fault, of_node);
                return Some((Effect::Network, words));
            }
            FaultKind::Asymmetry { from, to, .. } => {
                let words = format!("{} from {} to {}", kind.name(), name(from), name(to));
                self.impairments.insert(fault);
                return Some((Effect::Network, words));
            }
            FaultKind::Disturbance { .. } | FaultKind::LatencyStep { .. } => {
                let words = format!("{} for all", kind.name());
                self.impairments.insert(fault);
                return Some((Effect::Network, words));
            }
            FaultKind::ConnectionReset { node } => {
                let node = self.aim(fault, *node, *who)?;
                return Some((Effect::Reset(node), format!("the connections of n{node} break")));
            }
            FaultKind::IsolateOne { node, .. } => {
                let node = self.aim(fault, *node, *who)?;
                let alone = |other| Some(if other == node { FROM } else { TO });
                let groups = (0..).take(self.stopped.len()).map(alone).collect();
                self.partitions.insert(fault, groups);
                return Some((Effect::Network, format!("n{node} is cut off from all others")));
            }
            FaultKind::Machine { node, what, .. } => {
                let words = what.name();
                let node = self.aim(fault, *node, *who)?;
                self.machine.insert(fault, node);
                return Some((Effect::Machine(node), format!("{words} on n{node}")));
            }
            FaultKind::Burst { node, count } => {
                let count = *count;
                let node = self.aim(fault, *node, *who)?;
                return Some((
                    Effect::Burst(node, count),
                    format!("{count} tasks are submitted to n{node} at once"),
                ));
            }
            FaultKind::PoisonInput { tasks } => {
                self.poison.extend(tasks);
                let words = format!("the inputs of tasks {tasks:?} crash the processes that run them");
                return Some((Effect::Poison, words));
            }
            FaultKind::Kill { node, .. } => (*node, Some(Stop::Kill)),
            FaultKind::Leave { node, .. } => (*node, None),
            FaultKind::PowerLoss { node, .. } => (*node, Some(Stop::PowerLoss)),
            FaultKind::TornWrite { node, .. } => (*node, Some(Stop::TornWrite)),
            // The plan contains each of their injections as one of the other kinds.
            FaultKind::Churn { .. }
            | FaultKind::Flap { .. }
            | FaultKind::RollingRestart { .. }
            | FaultKind::SwizzleClog { .. } => {
                return None;
            }
        };
        let node = self.aim(fault, target, *who)?;
        self.stopped[node as usize] = Some(stop.unwrap_or(Stop::Kill));
        self.victims.insert(fault, node);
        self.revive(node, stop);
        Some(match stop {
            None => (Effect::Leave(node), format!("n{node} is asked to stop")),
            Some(Stop::Kill) => (Effect::Stop(node, Stop::Kill), format!("n{node} is killed")),
            Some(Stop::PowerLoss) => (Effect::Stop(node, Stop::PowerLoss), format!("n{node} loses power")),
            Some(Stop::TornWrite) => {
                (Effect::Stop(node, Stop::TornWrite), format!("n{node} loses power during a write"))
            }
        })
    }

    /// Returns the nodes that an applied step affects, by group; empty if it affects all or is over.
    pub(crate) fn scope(&self, step: Step) -> Vec<(NodeIndex, usize)> {
        let Step::Inject(fault) = step else { return Vec::new() };
        let groups = self.partitions.get(&fault).map(Vec::as_slice).unwrap_or_default();
        let in_groups = (0..).zip(groups).filter_map(|(node, group)| group.map(|group| (node, group)));
        let victim = self.victims.get(&fault).or_else(|| self.machine.get(&fault));
        in_groups.chain(victim.map(|&node| (node, 0))).collect()
    }

    /// Returns whether an injected fault is still in effect.
    pub(crate) fn lasts(&self, fault: usize) -> bool {
        self.partitions.contains_key(&fault)
            || self.victims.contains_key(&fault)
            || self.impairments.contains(&fault)
            || self.machine.contains_key(&fault)
    }

    /// Returns whether a step stops a node, rather than changing the network.
    pub(crate) fn stops(&self, step: Step) -> bool {
        matches!(step, Step::Inject(fault) if self.victims.contains_key(&fault))
    }

    /// Clears the faults that suspended a process or machine which is gone.
    fn revive(&mut self, node: NodeIndex, stop: Option<Stop>) {
        let plan = &self.plan;
        self.machine.retain(|fault, of| {
            let FaultKind::Machine { what, .. } = &plan[*fault].kind else { return true };
            let holds_up = matches!(what, MachineFault::MachineAsleep | MachineFault::ProcessStopped);
            *of != node || !holds_up || stop.is_none()
        });
    }

    /// Returns the faults of a node's machine, by number.
    pub(crate) fn machine_faults(&self, node: NodeIndex) -> impl Iterator<Item = (usize, &MachineFault)> {
        self.machine.iter().filter(move |(_, of)| **of == node).filter_map(|(&fault, _)| {
            let FaultKind::Machine { what, .. } = &self.plan[fault].kind else { return None };
            Some((fault, what))
        })
    }

    fn sleeps(&self, node: NodeIndex) -> bool {
        !self.machine.is_empty()
            && self.machine_faults(node).any(|(_, what)| *what == MachineFault::MachineAsleep)
    }

    /// Returns the tasks whose inputs crash the processes that run them.
    pub(crate) fn poison(&self) -> &BTreeSet<u32> {
        &self.poison
    }

    /// Resolves the target of a fault, and remembers it.
    fn aim(&mut self, fault: usize, target: Target, who: u64) -> Option<NodeIndex> {
        let node = self.pick(target, Purpose::FaultNode, who)?;
        self.targets.insert(fault, node);
        Some(node)
    }

    /// Resolves a target to a node; `None` if it does not run.
    pub(crate) fn pick(&self, target: Target, purpose: Purpose, who: u64) -> Option<NodeIndex> {
        match target {
            Target::Node(node) => self.runs(node).then_some(node),
            Target::Any => {
                let eligible = if purpose == Purpose::Origin { &self.origins } else { &self.stoppable };
                let all = (0..).take(self.stopped.len());
                let running: Vec<NodeIndex> =
                    all.filter(|&node| self.runs(node) && eligible.contains(node)).collect();
                running.get(self.random.index(running.len(), purpose, who, 0)).copied()
            }
        }
    }

    /// Cuts the power of a node until the end of the run.
    pub(crate) fn cut_power(&mut self, node: NodeIndex) {
        self.stopped[node as usize] = Some(Stop::PowerLoss);
    }

    /// Restores the power of a node that is to lose it later.
    pub(crate) fn postpone(&mut self, node: NodeIndex) {
        self.stopped[node as usize] = None;
    }

    /// Cuts the power of a node that was to lose it during a write.
    pub(crate) fn tear(&mut self, node: NodeIndex) {
        self.stopped[node as usize] = Some(Stop::TornWrite);
    }

    pub(crate) fn runs(&self, node: NodeIndex) -> bool {
        self.stopped[node as usize].is_none()
    }

    /// Returns whether a node's machine has power, whether or not its process runs.
    pub(crate) fn powered(&self, node: NodeIndex) -> bool {
        !matches!(self.stopped[node as usize], Some(Stop::PowerLoss | Stop::TornWrite))
    }

    /// Returns the condition of the link from one node to another.
    pub(crate) fn link_condition(&self, from: NodeIndex, to: NodeIndex) -> LinkCondition {
        if !self.powered(from) || !self.powered(to) || self.sleeps(from) || self.sleeps(to) {
            return LinkCondition::Cut;
        }
        let mut condition = LinkCondition::Open;
        for (&fault, groups) in &self.partitions {
            let (Some(from), Some(to)) = (groups[from as usize], groups[to as usize]) else { continue };
            let kind = &self.plan[fault].kind;
            if from == to {
                continue;
            } else if matches!(kind, FaultKind::Stall { .. }) {
                condition = LinkCondition::Stalled;
            } else if !matches!(kind, FaultKind::OneWayLoss { .. }) || from == FROM {
                return LinkCondition::Cut;
            }
        }
        condition
    }

    /// Returns the additional delays from one node to another, by fault.
    pub(crate) fn delays(&self, from: NodeIndex, to: NodeIndex) -> impl Iterator<Item = (usize, Range)> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults neither delay nor alter frames")]
        self.impairments.iter().filter_map(move |&fault| match &self.plan[fault].kind {
            FaultKind::LatencyStep { add, .. } => Some((fault, *add)),
            FaultKind::Asymmetry { from: senders, to: receivers, add, .. } => {
                (senders.contains(&from) && receivers.contains(&to)).then_some((fault, *add))
            }
            _ => None,
        })
    }

    /// Returns the disturbances in effect with their shares per million, by fault.
    pub(crate) fn disturbances(&self) -> impl Iterator<Item = (usize, Disturbance, u32)> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults neither delay nor alter frames")]
        self.impairments.iter().filter_map(|&fault| match self.plan[fault].kind {
            FaultKind::Disturbance { how, per_million, .. } => Some((fault, how, per_million)),
            _ => None,
        })
    }
}

fn changes_of(fault: usize, injection: &Injection) -> impl Iterator<Item = Change> {
    let cleared = injection.kind.lasts().map(|lasts| injection.at.saturating_add(lasts));
    let clear = cleared.map(|at| Change { at, step: Step::Clear(fault) });
    [Change { at: injection.at, step: Step::Inject(fault) }].into_iter().chain(clear)
}

fn names(groups: &[Vec<u32>]) -> String {
    groups.iter().map(|group| name(group)).collect::<Vec<_>>().join(" | ")
}

fn name(group: &[u32]) -> String {
    group.iter().map(|node| format!("n{node}")).collect::<Vec<_>>().join(" ")
}

/// Distinguishes the draws of faults that a scenario does not contain.
const ANOTHER: u64 = 1 << 31;

/// The groups of a one-way loss.
const FROM: usize = 0;
const TO: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(faults: &str) -> Scenario {
        let text = format!("nodes = 4\nduration = \"60s\"\nexecutor = \"event-queue\"\n{faults}");
        Scenario::parse("faults.toml", &text).unwrap()
    }

    const PARTITIONS: &str = "[[fault]]\nat = \"1s\"\nkind = \"partition\"\n\
        groups = [[\"n0\"], [\"n1\", \"n2\"]]\nheal_after = \"2s\"\n\
        [[fault]]\nat = \"2s\"\nkind = \"stall\"\ngroups = [[\"n1\"], [\"n0\", \"n2\"]]\n\
        [liveness]\nafter = \"9s\"\nwithin = \"9s\"\n";

    #[test]
    fn partitions_divide_groups_until_they_are_cleared() {
        let scenario = scenario(PARTITIONS);
        let random = Random::new(1);
        let mut faults = Faults::new(&scenario, random);
        let conditions =
            |faults: &Faults| [(0, 1), (1, 2), (0, 3), (2, 1)].map(|(a, b)| faults.link_condition(a, b));
        let seen: Vec<_> = Faults::changes(&scenario, random)
            .iter()
            .map(|change| {
                faults.apply(change.step).unwrap();
                (change.at.as_secs(), conditions(&faults))
            })
            .collect();
        let (cut, open, stalled) = (LinkCondition::Cut, LinkCondition::Open, LinkCondition::Stalled);
        let expected = [
            (1, [cut, open, open, open]),
            (2, [cut, stalled, open, stalled]),
            (3, [stalled, stalled, open, stalled]),
            (9, [open; 4]),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_loss_in_one_direction_leaves_the_other_open() {
        let text =
            "[[fault]]\nat = \"1s\"\nkind = \"one_way_loss\"\nfrom = [\"n0\"]\nto = [\"n1\", \"n2\"]\n";
        let mut faults = Faults::new(&scenario(text), Random::new(1));
        faults.apply(Step::Inject(0)).unwrap();
        let conditions =
            [(0, 1), (0, 2), (1, 0), (1, 2), (0, 3)].map(|(from, to)| faults.link_condition(from, to));
        let (cut, open) = (LinkCondition::Cut, LinkCondition::Open);
        assert_eq!(conditions, [cut, cut, open, open, open]);
    }

    #[test]
    fn one_node_is_isolated_from_all() {
        let text = "[[fault]]\nat = \"1s\"\nkind = \"isolate_one\"\nheal_after = \"2s\"\n";
        let mut alone = BTreeSet::new();
        for seed in 0..20 {
            let mut faults = Faults::new(&scenario(text), Random::new(seed));
            faults.apply(Step::Inject(0)).unwrap();
            let cut = |node| {
                (0..4)
                    .filter(|&to| to != node && faults.link_condition(node, to) == LinkCondition::Cut)
                    .count()
            };
            let counts: Vec<usize> = (0..4).map(cut).collect();
            let node = counts.iter().position(|&count| count == 3).unwrap();
            assert_eq!(counts.iter().sum::<usize>(), 6, "{counts:?}");
            alone.insert(node);
            faults.apply(Step::Clear(0)).unwrap();
            assert_eq!(faults.link_condition(0, 1), LinkCondition::Open);
        }
        assert_eq!(alone.len(), 4);
    }

    #[test]
    fn delays_apply_in_their_direction_until_they_are_cleared() {
        let text = "[[fault]]\nat = \"1s\"\nkind = \"asymmetry\"\nfrom = [\"n0\"]\nto = [\"n1\"]\nadd = \"2s\"\n\
            [[fault]]\nat = \"1s\"\nkind = \"latency_step\"\nadd = \"1s\"\nheal_after = \"3s\"\n\
            [[fault]]\nat = \"1s\"\nkind = \"duplicate\"\nshare = \"5%\"\n";
        let mut faults = Faults::new(&scenario(text), Random::new(1));
        let late =
            |faults: &Faults, from, to| faults.delays(from, to).map(|(_, add)| add.to.as_secs()).sum::<u64>();
        assert_eq!(late(&faults, 0, 1), 0);
        (0..3).for_each(|fault| drop(faults.apply(Step::Inject(fault)).unwrap()));
        assert_eq!([late(&faults, 0, 1), late(&faults, 1, 0), late(&faults, 2, 3)], [3, 1, 1]);
        let disturbed: Vec<_> = faults.disturbances().collect();
        assert_eq!(disturbed, [(2, Disturbance::Duplicate, 50_000)]);
        faults.apply(Step::Clear(1)).unwrap();
        assert_eq!([late(&faults, 0, 1), late(&faults, 1, 0)], [2, 0]);
        faults.apply(Step::HealAll).unwrap();
        assert_eq!((late(&faults, 0, 1), faults.disturbances().count()), (0, 0));
    }

    #[test]
    fn a_node_stops_once_and_starts_once() {
        let stops = "[[fault]]\nat = \"1s\"\nkind = \"kill\"\nnode = \"n1\"\nrestart_after = \"5s\"\n\
            [[fault]]\nat = \"2s\"\nkind = \"power_loss\"\nnode = \"n1\"\nrestart_after = \"1s\"\n\
            [[fault]]\nat = \"2s\"\nkind = \"power_loss\"\n";
        let scenario = scenario(stops);
        let mut faults = Faults::new(&scenario, Random::new(1));
        let mut effects = Vec::new();
        for change in Faults::changes(&scenario, Random::new(1)) {
            effects.extend(faults.apply(change.step).map(|(effect, _)| effect));
        }
        let [first, any, last] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!((first, last), (&Effect::Stop(1, Stop::Kill), &Effect::Start(1)));
        let Effect::Stop(victim, Stop::PowerLoss) = any else { panic!("{any:?}") };
        assert_ne!(*victim, 1);
        assert!(!faults.powered(*victim) && !faults.runs(*victim) && faults.runs(1));
        assert_eq!(faults.link_condition(*victim, 1), LinkCondition::Cut);
    }

    #[test]
    fn removing_a_fault_leaves_the_others_where_they_were() {
        let fault = |node: &str| format!("[[fault]]\nat = \"1s..20s\"\nkind = \"kill\"\nnode = \"{node}\"\n");
        let random = Random::new(5);
        let both = Faults::changes(&scenario(&(fault("n0") + &fault("n1"))), random);
        let first = Faults::changes(&scenario(&fault("n0")), random);
        let of_first = |changes: &[Change]| {
            changes.iter().find(|change| change.step == Step::Inject(0)).map(|change| change.at)
        };
        assert_eq!(of_first(&both), of_first(&first));
    }
}
