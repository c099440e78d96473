//! Expands the faults of a scenario into single injections.

use crate::random::{Purpose, Random};
use crate::scenario::{Fault, FaultKind, Scenario, Target};
use core::time::Duration;
use std::collections::BTreeSet;

/// One fault at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Injection {
    pub(super) at: Duration,
    /// Never a kind that consists of other faults.
    pub(super) kind: FaultKind,
    /// Distinguishes its draws from those of others.
    pub(super) who: u64,
}

/// Returns all injections of the faults that the seed draws.
pub(super) fn injections(scenario: &Scenario, random: Random) -> Vec<Injection> {
    let drawn = drawn(scenario, random);
    let faults = (0_u64..).zip(&scenario.faults).filter(|(number, _)| drawn.contains(number));
    faults.flat_map(|(number, fault)| expand(number, fault, scenario, random)).collect()
}

/// Returns the numbers of the faults that a seed draws: each by its own probability, and then a swarm's share of those
/// by lot. No fault's draw depends on which others there are.
fn drawn(scenario: &Scenario, random: Random) -> BTreeSet<u64> {
    let numbered = (0_u64..).zip(&scenario.faults);
    let by_chance = numbered.filter(|(number, fault)| {
        random.below(1_000_000, Purpose::FaultDrawn, *number, 0) < u64::from(fault.per_million)
    });
    let mut drawn: Vec<u64> = by_chance.map(|(number, _)| number).collect();
    if let Some((from, to)) = scenario.swarm {
        let span = u64::from(to.saturating_sub(from)) + 1;
        let count = u64::from(from) + random.below(span, Purpose::SwarmSize, 0, 0);
        drawn.sort_by_key(|&number| random.draw(Purpose::SwarmLot, number, 0));
        drawn.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    }
    drawn.into_iter().collect()
}

/// Returns the injections of one fault.
pub(super) fn expand(number: u64, fault: &Fault, scenario: &Scenario, random: Random) -> Vec<Injection> {
    let begins = random.between(fault.at.ends(), Purpose::FaultTime, number, 0);
    let injection = |n: u32, at: Duration, kind| Injection { at, kind, who: number | u64::from(n) << 32 };
    match &fault.kind {
        FaultKind::Churn { every, away, lasts } => (0..times(*lasts, *every))
            .map(|n| {
                let node = Target::Any;
                let restart_after = Some(random.between(away.ends(), Purpose::ChurnAway, number, n));
                let kind = match random.index(3, Purpose::ChurnKind, number, n) {
                    0 => FaultKind::Kill { node, restart_after },
                    1 => FaultKind::Leave { node, restart_after },
                    _ => FaultKind::PowerLoss { node, restart_after },
                };
                let within = random.between((Duration::ZERO, *every), Purpose::ChurnTime, number, n);
                injection(n, begins + *every * n + within, kind)
            })
            .collect(),
        FaultKind::Flap { groups, every, lasts } => (0..times(*lasts, *every))
            .map(|n| {
                let kind = FaultKind::Partition { groups: groups.clone(), heal_after: Some(*every / 2) };
                injection(n, begins + *every * n, kind)
            })
            .collect(),
        FaultKind::RollingRestart { every, away, .. } => (0..scenario.nodes)
            .filter(|&node| scenario.may_be_stopped(node))
            .map(|n| {
                let restart_after = Some(random.between(away.ends(), Purpose::ChurnAway, number, n));
                let kind = FaultKind::Leave { node: Target::Node(n), restart_after };
                injection(n, begins + *every * n, kind)
            })
            .collect(),
        FaultKind::SwizzleClog { every, .. } => swizzle(number, *every, scenario.nodes, random)
            .into_iter()
            .map(|(n, kind)| injection(n, begins + *every * n, kind))
            .collect(),
        FaultKind::Machine { .. }
        | FaultKind::Asymmetry { .. }
        | FaultKind::Burst { .. }
        | FaultKind::ConnectionReset { .. }
        | FaultKind::Disturbance { .. }
        | FaultKind::IsolateOne { .. }
        | FaultKind::Kill { .. }
        | FaultKind::LatencyStep { .. }
        | FaultKind::Leave { .. }
        | FaultKind::OneWayLoss { .. }
        | FaultKind::Partition { .. }
        | FaultKind::PoisonInput { .. }
        | FaultKind::PowerLoss { .. }
        | FaultKind::Stall { .. }
        | FaultKind::TornWrite { .. } => vec![injection(0, begins, fault.kind.clone())],
    }
}

/// Stalls some nodes one after another, each towards all others, and releases them in another order.
fn swizzle(number: u64, every: Duration, nodes: u32, random: Random) -> Vec<(u32, FaultKind)> {
    let mut clogged: Vec<u32> = (0..nodes).collect();
    random.shuffle(&mut clogged, Purpose::Swizzle, number);
    clogged.truncate(1 + random.index(clogged.len(), Purpose::Swizzle, number, 0));
    let mut released: Vec<u32> = (0_u32..).take(clogged.len()).collect();
    random.shuffle(&mut released, Purpose::Unswizzle, number);
    let count = u32::try_from(clogged.len()).unwrap_or(u32::MAX);
    (0_u32..)
        .zip(clogged.iter().zip(released))
        .map(|(n, (&node, turn))| {
            let others = (0..nodes).filter(|&other| other != node).collect();
            let heal_after = Some(every * (count - n + turn));
            (n, FaultKind::Stall { groups: vec![vec![node], others], heal_after })
        })
        .collect()
}

/// Returns how many whole periods fit; a valid scenario has at most `INJECTIONS_MAX`.
fn times(lasts: Duration, every: Duration) -> u32 {
    u32::try_from(lasts.as_micros() / every.as_micros().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injections_of(fault: &str) -> Vec<Injection> {
        let text = format!("nodes = 3\nduration = \"60s\"\n[[fault]]\nat = \"5s\"\n{fault}");
        injections(&Scenario::parse("plan.toml", &text).unwrap(), Random::new(1))
    }

    const SWARM: &str = "nodes = 3\nduration = \"60s\"\n[swarm]\nfaults = \"1..2\"\n";

    fn nodes_killed(text: &str, seed: u64) -> Vec<u32> {
        let scenario = Scenario::parse("plan.toml", text).unwrap();
        let node = |injection: &Injection| {
            let FaultKind::Kill { node: Target::Node(node), .. } = injection.kind else { return None };
            Some(node)
        };
        injections(&scenario, Random::new(seed)).iter().filter_map(node).collect()
    }

    fn kill(node: u32, more: &str) -> String {
        format!("[[fault]]\nat = \"5s\"\nkind = \"kill\"\nnode = \"n{node}\"\n{more}")
    }

    #[test]
    fn a_swarm_draws_a_number_in_its_range_and_every_fault_at_times() {
        let text = format!("{SWARM}{}{}{}", kill(0, ""), kill(1, ""), kill(2, ""));
        let drawn: Vec<_> = (0..60).map(|seed| nodes_killed(&text, seed)).collect();
        assert!(drawn.iter().all(|nodes| (1..=2).contains(&nodes.len())), "{drawn:?}");
        assert!(drawn.contains(&vec![0]) && drawn.contains(&vec![1, 2]) && drawn.contains(&vec![0, 2]));
    }

    #[test]
    fn a_fault_strikes_under_its_share_of_the_seeds_whatever_others_there_are() {
        let [rare, sure] = ["probability = \"30%\"\n", "probability = \"100%\"\n"].map(|more| kill(1, more));
        let with = |faults: &str| format!("nodes = 3\nduration = \"60s\"\n{faults}");
        let alone: Vec<bool> = (0..300).map(|seed| !nodes_killed(&with(&rare), seed).is_empty()).collect();
        let hits = alone.iter().filter(|hit| **hit).count();
        assert!((60..120).contains(&hits), "{hits}");
        let beside = |seed| nodes_killed(&with(&(rare.clone() + &kill(2, ""))), seed).contains(&1);
        assert_eq!(alone, (0..300).map(beside).collect::<Vec<_>>());
        assert!((0..20).all(|seed| nodes_killed(&with(&sure), seed) == [1]));
    }

    #[test]
    fn a_flapping_link_is_down_for_half_the_time() {
        let injections = injections_of(
            "kind = \"flap\"\ngroups = [[\"n0\"], [\"n1\"]]\nevery = \"4s\"\nlasts = \"11s\"\n",
        );
        let cut =
            FaultKind::Partition { groups: vec![vec![0], vec![1]], heal_after: Some(Duration::from_secs(2)) };
        let seen: Vec<_> =
            injections.iter().map(|injection| (injection.at.as_secs(), injection.kind.clone())).collect();
        assert_eq!(seen, [(5, cut.clone()), (9, cut)]);
    }

    #[test]
    fn a_swizzle_stalls_some_one_by_one_and_lets_them_go_in_another_order() {
        let text = "nodes = 6\nduration = \"60s\"\n[[fault]]\nat = \"5s\"\nkind = \"swizzle_clog\"\nevery = \"2s\"\n";
        let scenario = Scenario::parse("plan.toml", text).unwrap();
        let (mut sizes, mut reordered) = (Vec::new(), false);
        for seed in 0..40 {
            let injections = injections(&scenario, Random::new(seed));
            let last = injections.last().unwrap().at;
            let released: Vec<_> = injections.iter().map(|one| one.at + one.kind.lasts().unwrap()).collect();
            assert!(released.iter().all(|at| *at > last && at.as_secs() <= 29), "{injections:?}");
            let mut sorted = released.clone();
            sorted.sort_unstable();
            reordered |= sorted != released;
            sorted.dedup();
            assert_eq!(sorted.len(), released.len(), "one by one: {injections:?}");
            sizes.push(injections.len());
        }
        assert!(reordered && sizes.contains(&1) && sizes.contains(&6), "{sizes:?}");
    }

    #[test]
    fn a_rolling_restart_comes_to_each_node_once() {
        let injections = injections_of("kind = \"rolling_restart\"\nevery = \"3s\"\naway = \"1s\"\n");
        let leave =
            |node| FaultKind::Leave { node: Target::Node(node), restart_after: Some(Duration::from_secs(1)) };
        let seen: Vec<_> =
            injections.iter().map(|injection| (injection.at.as_secs(), injection.kind.clone())).collect();
        assert_eq!(seen, [(5, leave(0)), (8, leave(1)), (11, leave(2))]);
    }

    #[test]
    fn churn_lasts_its_duration_and_stops_nodes_in_every_way() {
        let injections =
            injections_of("kind = \"churn\"\nevery = \"1s\"\naway = \"1s..2s\"\nlasts = \"30s\"\n");
        assert_eq!(injections.len(), 30);
        let within = |injection: &Injection| (5..=35).contains(&injection.at.as_secs());
        assert!(injections.iter().all(within), "{injections:?}");
        for name in ["kill", "leave", "power_loss"] {
            assert!(injections.iter().any(|injection| injection.kind.name() == name), "{name}");
        }
    }
}
