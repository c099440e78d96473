//! From the faults of a scenario to the single strikes that they consist of.

use crate::random::{Purpose, Random};
use crate::scenario::{Fault, FaultKind, Scenario, Target};
use core::time::Duration;

/// One thing that goes wrong at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strike {
    pub(super) at: Duration,
    /// Never one of those that consist of others.
    pub(super) kind: FaultKind,
    /// By which its draws are told from others'.
    pub(super) who: u64,
}

/// Returns all strikes of a scenario's faults.
pub(super) fn strikes(scenario: &Scenario, random: Random) -> Vec<Strike> {
    let faults = (0_u64..).zip(&scenario.faults);
    faults.flat_map(|(number, fault)| of_fault(number, fault, scenario, random)).collect()
}

fn of_fault(number: u64, fault: &Fault, scenario: &Scenario, random: Random) -> Vec<Strike> {
    let begins = random.between(fault.at.ends(), Purpose::FaultTime, number, 0);
    let strike = |n: u32, at: Duration, kind| Strike { at, kind, who: number | u64::from(n) << 32 };
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
                strike(n, begins + *every * n + within, kind)
            })
            .collect(),
        FaultKind::Flap { groups, every, lasts } => (0..times(*lasts, *every))
            .map(|n| {
                let kind = FaultKind::Partition { groups: groups.clone(), heal_after: Some(*every / 2) };
                strike(n, begins + *every * n, kind)
            })
            .collect(),
        FaultKind::RollingRestart { every, away, .. } => (0..scenario.nodes)
            .filter(|&node| scenario.may_stop(node))
            .map(|n| {
                let restart_after = Some(random.between(away.ends(), Purpose::ChurnAway, number, n));
                let kind = FaultKind::Leave { node: Target::Node(n), restart_after };
                strike(n, begins + *every * n, kind)
            })
            .collect(),
        FaultKind::Kill { .. }
        | FaultKind::Leave { .. }
        | FaultKind::OneWayLoss { .. }
        | FaultKind::Partition { .. }
        | FaultKind::PowerLoss { .. }
        | FaultKind::Stall { .. } => vec![strike(0, begins, fault.kind.clone())],
    }
}

/// Returns how many whole periods fit; a scenario that exists has at most `STRIKES_MAX`.
fn times(lasts: Duration, every: Duration) -> u32 {
    u32::try_from(lasts.as_micros() / every.as_micros().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes_of(fault: &str) -> Vec<Strike> {
        let text = format!("nodes = 3\nduration = \"60s\"\n[[fault]]\nat = \"5s\"\n{fault}");
        strikes(&Scenario::parse("plan.toml", &text).unwrap(), Random::new(1))
    }

    #[test]
    fn a_flapping_link_is_down_for_half_the_time() {
        let strikes =
            strikes_of("kind = \"flap\"\ngroups = [[\"n0\"], [\"n1\"]]\nevery = \"4s\"\nlasts = \"11s\"\n");
        let cut =
            FaultKind::Partition { groups: vec![vec![0], vec![1]], heal_after: Some(Duration::from_secs(2)) };
        let seen: Vec<_> = strikes.iter().map(|strike| (strike.at.as_secs(), strike.kind.clone())).collect();
        assert_eq!(seen, [(5, cut.clone()), (9, cut)]);
    }

    #[test]
    fn a_rolling_restart_comes_to_each_node_once() {
        let strikes = strikes_of("kind = \"rolling_restart\"\nevery = \"3s\"\naway = \"1s\"\n");
        let leave =
            |node| FaultKind::Leave { node: Target::Node(node), restart_after: Some(Duration::from_secs(1)) };
        let seen: Vec<_> = strikes.iter().map(|strike| (strike.at.as_secs(), strike.kind.clone())).collect();
        assert_eq!(seen, [(5, leave(0)), (8, leave(1)), (11, leave(2))]);
    }

    #[test]
    fn churn_goes_on_as_long_as_it_is_told_and_in_every_way() {
        let strikes = strikes_of("kind = \"churn\"\nevery = \"1s\"\naway = \"1s..2s\"\nlasts = \"30s\"\n");
        assert_eq!(strikes.len(), 30);
        let within = |strike: &Strike| (5..=35).contains(&strike.at.as_secs());
        assert!(strikes.iter().all(within), "{strikes:?}");
        for name in ["kill", "leave", "power_loss"] {
            assert!(strikes.iter().any(|strike| strike.kind.name() == name), "{name}");
        }
    }
}
