//! The explicit plan of a run, and the ways to make a plan smaller.

use crate::observer::liveness;
use crate::report::{Failure, Report, Symptom};
use crate::scenario::{Fault, FaultKind, Host, Range, Scenario, Submission, Submissions, Target};
use core::time::Duration;
use engine::time::micros;

/// Returns a scenario that repeats a run: each injected fault and each task that found a node, at its exact time and
/// node. It expects no events.
pub(super) fn explicit(scenario: &Scenario, seed: u64, report: &Report, symptom: Symptom) -> Scenario {
    let mut plan = named(scenario, seed, report);
    // The injected faults are what the seed drew of the swarm.
    plan.swarm = None;
    plan.faults = report.injected.clone();
    if let Some(workload) = &mut plan.workload {
        let submissions = &workload.submissions;
        let one = |number| {
            let (at, target) = submissions.when_and_where(number)?;
            let origin = match report.asked.get(&number) {
                Some(node) => Target::Node(*node),
                // The task was not submitted before the failure.
                None => target,
            };
            Some(Submission { at, origin, input: submissions.input(number)? })
        };
        workload.submissions = Submissions::Listed((0..submissions.tasks()).filter_map(one).collect());
    }
    if let Symptom::Violated(_) = symptom {
        // Tasks that found no running node, or came after the failure, did not matter.
        let asked = |(number, _): &(u32, Submission)| report.asked.contains_key(number);
        let listed = listed(&plan);
        let taken: Vec<_> = (0..).zip(listed).filter(asked).map(|(_, one)| one).collect();
        return with_tasks(&plan, taken);
    }
    plan
}

/// Returns the scenario with the run's seed and executor, without expected events.
pub(super) fn named(scenario: &Scenario, seed: u64, report: &Report) -> Scenario {
    let mut plan = scenario.clone();
    plan.seed = Some(seed);
    plan.executor = report.executor;
    plan.chosen = report.executor;
    plan.expect.sometimes.clear();
    let outcome_failed = report.failures.iter().find_map(|failure| match failure {
        Failure::Outcomes { outcome, .. } => Some(*outcome),
        Failure::AlertActive { .. }
        | Failure::AlertMissing(_)
        | Failure::NotReached(_)
        | Failure::Violated(_) => None,
    });
    plan.expect.outcomes.retain(|outcome, _| Some(*outcome) == outcome_failed);
    plan
}

fn listed(plan: &Scenario) -> Vec<Submission> {
    match plan.workload.as_ref().map(|workload| &workload.submissions) {
        Some(Submissions::Listed(listed)) => listed.clone(),
        Some(Submissions::Series { .. }) | None => Vec::new(),
    }
}

/// Returns the plan with these tasks only. Expected outcomes become fewer with them.
pub(super) fn with_tasks(plan: &Scenario, tasks: Vec<Submission>) -> Scenario {
    let mut plan = plan.clone();
    let count = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
    plan.expect.outcomes.values_mut().for_each(|expected| *expected = count);
    // Faults of removed tasks are removed, and so are bursts that have no task to imitate.
    plan.faults.retain_mut(|fault| {
        if let FaultKind::PoisonInput { tasks } = &mut fault.kind {
            tasks.retain(|number| *number < count);
            return !tasks.is_empty();
        }
        count > 0 || !matches!(fault.kind, FaultKind::Burst { .. })
    });
    match &mut plan.workload {
        Some(workload) if count > 0 => workload.submissions = Submissions::Listed(tasks),
        Some(_) | None => plan.workload = None,
    }
    plan
}

/// Returns the plan with these nodes only, renumbered by position; `None` if none is left.
pub(super) fn with_nodes(plan: &Scenario, left: &[u32]) -> Option<Scenario> {
    let nodes = u32::try_from(left.len()).ok().filter(|&nodes| nodes > 0)?;
    let called = |node: u32| left.iter().position(|&one| one == node).and_then(|at| u32::try_from(at).ok());
    let mut fewer = Scenario { nodes, ..plan.clone() };
    let kept = |fault: &Fault| {
        let kind = renumbered(&fault.kind, nodes, &called)?;
        Some(Fault { kind, ..fault.clone() })
    };
    fewer.faults = plan.faults.iter().filter_map(kept).collect();
    fewer.hosts = plan.hosts.iter().filter_map(|host| moved_host(host, &called)).collect();
    let moved = |task: Submission| Some(Submission { origin: at(task.origin, &called)?, ..task });
    match plan.workload.as_ref().map(|workload| &workload.submissions) {
        Some(Submissions::Listed(_)) => {
            Some(with_tasks(&fewer, listed(plan).into_iter().filter_map(moved).collect()))
        }
        Some(Submissions::Series { origin, .. }) => {
            let moved = at(*origin, &called)?;
            if let Some(Submissions::Series { origin, .. }) =
                fewer.workload.as_mut().map(|workload| &mut workload.submissions)
            {
                *origin = moved;
            }
            Some(fewer)
        }
        None => Some(fewer),
    }
}

fn at(target: Target, called: &dyn Fn(u32) -> Option<u32>) -> Option<Target> {
    match target {
        Target::Any => Some(Target::Any),
        Target::Node(node) => called(node).map(Target::Node),
    }
}

/// Returns the host of a renumbered node; `None` if the node, or the one whose key it copied, was removed.
fn moved_host(host: &Host, called: &dyn Fn(u32) -> Option<u32>) -> Option<Host> {
    let identity = match host.identity {
        Some(original) => Some(called(original)?),
        None => None,
    };
    Some(Host { node: called(host.node)?, identity, ..host.clone() })
}

/// Returns a fault for renumbered nodes; `None` if it concerns removed ones.
fn renumbered(kind: &FaultKind, nodes: u32, called: &dyn Fn(u32) -> Option<u32>) -> Option<FaultKind> {
    let mut kind = kind.clone();
    let group = |group: &mut Vec<u32>| *group = group.iter().filter_map(|&node| called(node)).collect();
    match &mut kind {
        FaultKind::Churn { .. }
        | FaultKind::Disturbance { .. }
        | FaultKind::LatencyStep { .. }
        | FaultKind::PoisonInput { .. } => {}
        FaultKind::Flap { groups, .. }
        | FaultKind::Partition { groups, .. }
        | FaultKind::Stall { groups, .. } => {
            groups.iter_mut().for_each(group);
            groups.retain(|group| !group.is_empty());
            if groups.len() < 2 {
                return None;
            }
        }
        FaultKind::Machine { node, .. }
        | FaultKind::Burst { node, .. }
        | FaultKind::ConnectionReset { node }
        | FaultKind::IsolateOne { node, .. }
        | FaultKind::Kill { node, .. }
        | FaultKind::Leave { node, .. }
        | FaultKind::PowerLoss { node, .. }
        | FaultKind::TornWrite { node, .. } => {
            *node = at(*node, called)?;
        }
        FaultKind::Asymmetry { from, to, .. } | FaultKind::OneWayLoss { from, to, .. } => {
            group(from);
            group(to);
            if from.is_empty() || to.is_empty() {
                return None;
            }
        }
        FaultKind::RollingRestart { every, lasts, .. } => *lasts = every.saturating_mul(nodes),
        FaultKind::SwizzleClog { every, lasts } => *lasts = every.saturating_mul(2 * nodes),
    }
    Some(kind)
}

/// Returns the plan without the time after the last relevant moment; `None` if all of it is relevant.
pub(super) fn shorter(
    plan: &Scenario,
    report: &Report,
    symptom: Symptom,
    grace: Duration,
) -> Option<Scenario> {
    let mut shorter = plan.clone();
    let at_end = match symptom {
        Symptom::Outcomes(_) => true,
        Symptom::Violated(invariant) => invariant == liveness::NAME,
    };
    if at_end {
        // The time granted for recovery after the last fault and task stays.
        let early = self::grace(plan).saturating_sub(grace).as_secs();
        let early = Duration::from_secs(early);
        if let Some(liveness) = &mut shorter.liveness {
            liveness.after -= early;
            shorter.duration = liveness.after + liveness.within;
        } else {
            shorter.duration -= early;
        }
    } else {
        shorter.liveness = None;
        let end = micros(report.simulated) / 1_000_000 + 1;
        let end = Duration::from_secs(end).max(last_change(plan));
        shorter.duration = end.min(plan.duration);
    }
    (shorter != *plan).then_some(shorter)
}

/// Returns the time granted between the last change and the end of all activity.
pub(super) fn grace(plan: &Scenario) -> Duration {
    let quiet = plan.liveness.map_or(plan.duration, |liveness| liveness.after);
    quiet.saturating_sub(last_change(plan))
}

/// Returns when the last fault has ended and the last task is submitted.
fn last_change(plan: &Scenario) -> Duration {
    let faults =
        plan.faults.iter().map(|fault| fault.at.to.saturating_add(fault.kind.lasts().unwrap_or_default()));
    let tasks = plan.workload.as_ref().and_then(|workload| workload.submissions.last_at());
    faults.chain(tasks).chain([plan.start.to]).max().unwrap_or_default()
}

/// Rounds the times of a fault down; `false` if they are round already.
pub(super) fn round_fault(fault: &mut Fault, unit: u64) -> bool {
    let before = fault.clone();
    let rounded = |time: Duration| Duration::from_micros(micros(time) / unit * unit);
    let Range { from, to } = &mut fault.at;
    (*from, *to) = (rounded(*from), rounded(*to));
    if let Some(lasts) = end_of(&mut fault.kind) {
        // A fault without duration would be another fault.
        *lasts = Some(rounded(*lasts)).filter(|lasts| !lasts.is_zero()).unwrap_or(*lasts);
    }
    *fault != before
}

fn end_of(kind: &mut FaultKind) -> Option<&mut Duration> {
    match kind {
        FaultKind::Machine { heal_after: end, .. }
        | FaultKind::Asymmetry { heal_after: end, .. }
        | FaultKind::Disturbance { heal_after: end, .. }
        | FaultKind::IsolateOne { heal_after: end, .. }
        | FaultKind::Kill { restart_after: end, .. }
        | FaultKind::LatencyStep { heal_after: end, .. }
        | FaultKind::Leave { restart_after: end, .. }
        | FaultKind::OneWayLoss { heal_after: end, .. }
        | FaultKind::Partition { heal_after: end, .. }
        | FaultKind::PowerLoss { restart_after: end, .. }
        | FaultKind::Stall { heal_after: end, .. }
        | FaultKind::TornWrite { restart_after: end, .. } => end.as_mut(),
        FaultKind::Burst { .. }
        | FaultKind::Churn { .. }
        | FaultKind::ConnectionReset { .. }
        | FaultKind::Flap { .. }
        | FaultKind::PoisonInput { .. }
        | FaultKind::RollingRestart { .. }
        | FaultKind::SwizzleClog { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Executor, run};
    use std::path::Path;

    fn load(name: &str) -> Scenario {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{name}.toml"));
        Scenario::load(&file).unwrap().on(Executor::EventQueue).unwrap()
    }

    #[test]
    fn the_explicit_plan_does_exactly_the_same() {
        for (name, seed) in [("everything_goes_wrong", 3), ("flapping_link", 4), ("rolling_restart", 5)] {
            let scenario = load(name);
            let report = run(&scenario, seed);
            let plan = explicit(&scenario, seed, &report, Symptom::Violated("any"));
            assert!(plan.faults.iter().all(|fault| fault.at.from == fault.at.to), "{:?}", plan.faults);
            assert!(plan.faults.len() >= 4, "{:?}", plan.faults);
            assert!(listed(&plan).iter().all(|task| task.origin != Target::Any));
            assert_eq!(run(&plan, seed).trace, report.trace, "{name}");
            assert_ne!(run(&plan, seed + 1).trace, report.trace, "{name}");
        }
    }

    fn three() -> Scenario {
        let text = "nodes = 4\nduration = \"60s\"\nexecutor = \"event-queue\"\n[workload]\ncompute = \"1s\"\n\
            [[workload.task]]\nat = \"1s\"\norigin = \"n1\"\ninput = \"one\"\n\
            [[workload.task]]\nat = \"2s\"\norigin = \"n3\"\ninput = \"two\"\n\
            [[fault]]\nat = \"3s\"\nkind = \"kill\"\nnode = \"n1\"\nrestart_after = \"2345ms\"\n\
            [[fault]]\nat = \"4s\"\nkind = \"partition\"\ngroups = [[\"n0\", \"n1\"], [\"n2\"], [\"n3\"]]\n\
            heal_after = \"6s\"\n[liveness]\nafter = \"30s\"\nwithin = \"20s\"\n\
            [expect]\noutcomes = { completed = 2 }\n";
        Scenario::parse("three.toml", text).unwrap()
    }

    #[test]
    fn faults_of_removed_nodes_are_removed() {
        let fewer = with_nodes(&three(), &[0, 3]).unwrap();
        assert_eq!((fewer.nodes, fewer.faults.len()), (2, 1));
        let FaultKind::Partition { groups, .. } = &fewer.faults[0].kind else { panic!("{fewer:?}") };
        assert_eq!(groups, &[vec![0], vec![1]]);
        let origins: Vec<Target> = listed(&fewer).iter().map(|task| task.origin).collect();
        assert_eq!(origins, [Target::Node(1)]);
        assert_eq!(fewer.expect.outcomes.values().copied().collect::<Vec<_>>(), [1]);
        assert_eq!(with_nodes(&three(), &[]), None);
        let one = with_nodes(&three(), &[2]).unwrap();
        assert_eq!((one.faults.len(), one.workload), (0, None));
    }

    #[test]
    fn time_for_recovery_is_never_taken_away() {
        let (whole, report) = (three(), run(&three(), 1));
        let granted = grace(&whole);
        assert_eq!(granted, Duration::from_secs(20));
        let liveness = Symptom::Violated(liveness::NAME);
        assert_eq!(
            shorter(&whole, &report, liveness, granted).map(|shorter| shorter.duration),
            Some(Duration::from_secs(50))
        );
        let mut early = whole;
        early.faults.pop();
        let early = shorter(&early, &report, liveness, granted).unwrap();
        assert_eq!((grace(&early).as_secs(), early.duration.as_secs()), (20, 46));
        assert_eq!(shorter(&early, &report, liveness, granted), None);
    }

    #[test]
    fn times_become_round_and_nothing_lasts_no_time() {
        let mut fault = three().faults[0].clone();
        assert!(round_fault(&mut fault, 1_000_000));
        assert_eq!(fault.kind.lasts(), Some(Duration::from_secs(2)));
        assert!(!round_fault(&mut fault, 1_000_000));
        assert!(!round_fault(&mut fault, 60_000_000) || fault.kind.lasts() == Some(Duration::from_secs(2)));
    }
}
