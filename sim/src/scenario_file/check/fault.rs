//! Checks the faults of a scenario file: each kind has its own keys and takes no others.

use super::Source;
use crate::scenario::{
    Disturbance, FAULTS_MAX, Fault, FaultKind, INJECTIONS_MAX, MachineFault, Range, Scenario, Target,
};
use crate::scenario_file::error::ScenarioError;
use crate::scenario_file::format as file;
use crate::scenario_file::units::Period;
use core::time::Duration;
use std::collections::BTreeSet;
use toml::Spanned;

impl Source<'_> {
    pub(super) fn faults(
        &self,
        sections: &[Spanned<file::Fault>],
        nodes: u32,
        tasks: Option<u32>,
        quiet: Duration,
    ) -> Result<Vec<Fault>, ScenarioError> {
        if let Some(beyond) = sections.get(FAULTS_MAX) {
            return Err(self.inconsistent(beyond, format!("more than {FAULTS_MAX} faults")));
        }
        sections.iter().map(|section| self.fault(section, nodes, tasks, quiet)).collect()
    }

    /// Checks that no fault stops a node that is hostile, a copy or copied.
    pub(super) fn stops(
        &self,
        sections: &[Spanned<file::Fault>],
        scenario: &Scenario,
    ) -> Result<(), ScenarioError> {
        for (section, fault) in sections.iter().zip(&scenario.faults) {
            let (FaultKind::Kill { node, .. }
            | FaultKind::Leave { node, .. }
            | FaultKind::PowerLoss { node, .. }
            | FaultKind::TornWrite { node, .. }) = fault.kind
            else {
                continue;
            };
            if let (Target::Node(node), Some(name)) = (node, &section.as_ref().node)
                && !scenario.may_be_stopped(node)
            {
                let words = format!("n{node} is hostile, a copy or copied; no fault may stop it");
                return Err(self.inconsistent(name, words));
            }
        }
        Ok(())
    }

    fn fault(
        &self,
        section: &Spanned<file::Fault>,
        nodes: u32,
        tasks: Option<u32>,
        quiet: Duration,
    ) -> Result<Fault, ScenarioError> {
        let fault = section.as_ref();
        let at = fault.at.as_ref().0;
        let taken = keys(fault.kind);
        if let Some((key, _)) = written(fault).into_iter().find(|(key, used)| *used && !taken.contains(key)) {
            return Err(self.inconsistent(section, format!("this kind of fault does not take `{key}`")));
        }
        let kind = self.kind(section, nodes, tasks)?;
        let ends = at.to.saturating_add(kind.lasts().unwrap_or_default());
        if ends > quiet {
            let words = format!(
                "the fault would last until {ends:?}, after {quiet:?}, when all activity must have ended"
            );
            return Err(self.inconsistent(&fault.at, words));
        }
        let per_million = fault.probability.as_ref().map_or(1_000_000, |share| share.as_ref().0);
        Ok(Fault { at, per_million, kind })
    }

    fn kind(
        &self,
        section: &Spanned<file::Fault>,
        nodes: u32,
        tasks: Option<u32>,
    ) -> Result<FaultKind, ScenarioError> {
        let fault = section.as_ref();
        let period = |value: &Option<Spanned<Period>>| value.as_ref().map(|value| value.as_ref().0);
        let (restart_after, heal_after) = (period(&fault.restart_after), period(&fault.heal_after));
        let node = self.target(fault.node.as_ref(), nodes)?;
        let groups = || self.groups(section, nodes);
        let machine = |what| FaultKind::Machine { node, what, heal_after };
        Ok(match fault.kind {
            file::FaultKind::ClockDrift => machine(MachineFault::ClockDrift { ppm: self.ppm(section)? }),
            file::FaultKind::ClockJump => machine(MachineFault::ClockJump { millis: self.offset(section)? }),
            file::FaultKind::DiskError => {
                machine(MachineFault::DiskError { per_million: self.share(section)? })
            }
            file::FaultKind::DiskFull => machine(MachineFault::DiskFull),
            file::FaultKind::DiskSlow => machine(MachineFault::DiskSlow { add: self.add(section)? }),
            file::FaultKind::InferenceCrash => {
                machine(MachineFault::InferenceCrash { per_million: self.share(section)? })
            }
            file::FaultKind::InferenceError => {
                machine(MachineFault::InferenceError { per_million: self.share(section)? })
            }
            file::FaultKind::InferenceSlow => {
                machine(MachineFault::InferenceSlow { add: self.add(section)? })
            }
            file::FaultKind::MachineAsleep => machine(MachineFault::MachineAsleep),
            file::FaultKind::MemoryUsed => {
                machine(MachineFault::MemoryUsed { per_million: self.share(section)? })
            }
            file::FaultKind::ModelReplaced => machine(MachineFault::ModelReplaced),
            file::FaultKind::ModelUnready => machine(MachineFault::ModelUnready),
            file::FaultKind::ProcessStopped => machine(MachineFault::ProcessStopped),
            file::FaultKind::Burst => FaultKind::Burst { node, count: self.burst(section, tasks)? },
            file::FaultKind::PoisonInput => FaultKind::PoisonInput { tasks: self.poison(section, tasks)? },
            file::FaultKind::TornWrite => FaultKind::TornWrite { node, restart_after },
            file::FaultKind::Asymmetry => {
                let (from, to) = self.ways(section, nodes)?;
                FaultKind::Asymmetry { from, to, add: self.add(section)?, heal_after }
            }
            file::FaultKind::ConnectionReset => FaultKind::ConnectionReset { node },
            file::FaultKind::CorruptFrame => self.disturbance(section, Disturbance::Corrupt)?,
            file::FaultKind::Duplicate => self.disturbance(section, Disturbance::Duplicate)?,
            file::FaultKind::Reorder => self.disturbance(section, Disturbance::Reorder)?,
            file::FaultKind::Replay => self.disturbance(section, Disturbance::Replay)?,
            file::FaultKind::IsolateOne => FaultKind::IsolateOne { node, heal_after },
            file::FaultKind::LatencyStep => FaultKind::LatencyStep { add: self.add(section)?, heal_after },
            file::FaultKind::SwizzleClog => {
                // Each node is stalled and released once.
                let all = period(&fault.every).map(|every| every.saturating_mul(nodes.saturating_mul(2)));
                let (every, lasts) = self.pace(section, all)?;
                FaultKind::SwizzleClog { every, lasts }
            }
            file::FaultKind::Churn => {
                let (every, lasts) = self.pace(section, period(&fault.lasts))?;
                FaultKind::Churn { every, away: self.away(section)?, lasts }
            }
            file::FaultKind::Flap => {
                let (every, lasts) = self.pace(section, period(&fault.lasts))?;
                FaultKind::Flap { groups: groups()?, every, lasts }
            }
            file::FaultKind::Kill => FaultKind::Kill { node, restart_after },
            file::FaultKind::Leave => FaultKind::Leave { node, restart_after },
            file::FaultKind::OneWayLoss => {
                let (from, to) = self.ways(section, nodes)?;
                FaultKind::OneWayLoss { from, to, heal_after }
            }
            file::FaultKind::Partition => FaultKind::Partition { groups: groups()?, heal_after },
            file::FaultKind::PowerLoss => FaultKind::PowerLoss { node, restart_after },
            file::FaultKind::RollingRestart => {
                let all = period(&fault.every).map(|every| every.saturating_mul(nodes));
                let (every, lasts) = self.pace(section, all)?;
                FaultKind::RollingRestart { every, away: self.away(section)?, lasts }
            }
            file::FaultKind::Stall => FaultKind::Stall { groups: groups()?, heal_after },
        })
    }

    /// Reads the senders and the receivers that a fault affects.
    fn ways(
        &self,
        section: &Spanned<file::Fault>,
        nodes: u32,
    ) -> Result<(Vec<u32>, Vec<u32>), ScenarioError> {
        let (from, to) = (section.as_ref().from.as_ref(), section.as_ref().to.as_ref());
        let Some((from, to)) = from.zip(to) else {
            let words = "this kind of fault needs `from` and `to`, such as [\"n0\"]".to_owned();
            return Err(self.inconsistent(section, words));
        };
        let mut seen = BTreeSet::new();
        let from = self.group("from", from.as_ref(), nodes, &mut seen)?;
        Ok((from, self.group("to", to.as_ref(), nodes, &mut seen)?))
    }

    pub(super) fn add(&self, section: &Spanned<file::Fault>) -> Result<Range, ScenarioError> {
        let words = || "this kind of fault needs `add`, such as \"50ms..200ms\"".to_owned();
        let written = section.as_ref().add.as_ref();
        written.map(|add| add.as_ref().0).ok_or_else(|| self.inconsistent(section, words()))
    }

    fn disturbance(
        &self,
        section: &Spanned<file::Fault>,
        how: Disturbance,
    ) -> Result<FaultKind, ScenarioError> {
        let fault = section.as_ref();
        let Some(share) = &fault.share else {
            return Err(
                self.inconsistent(section, "this kind of fault needs `share`, such as \"5%\"".to_owned())
            );
        };
        let per_million = share.as_ref().0;
        let heal_after = fault.heal_after.as_ref().map(|value| value.as_ref().0);
        Ok(FaultKind::Disturbance { how, per_million, heal_after })
    }

    /// Reads the interval and the duration of a fault that is injected repeatedly.
    fn pace(
        &self,
        section: &Spanned<file::Fault>,
        lasts: Option<Duration>,
    ) -> Result<(Duration, Duration), ScenarioError> {
        let fault = section.as_ref();
        let Some((every, lasts)) = fault.every.as_ref().zip(lasts) else {
            let words = "this kind of fault needs `every`, and `churn` and `flap` need `lasts`".to_owned();
            return Err(self.inconsistent(section, words));
        };
        let pause = every.as_ref().0;
        if pause.is_zero() || lasts.as_micros() / pause.as_micros() > u128::from(INJECTIONS_MAX) {
            let words = format!("the fault would be injected more than {INJECTIONS_MAX} times");
            return Err(self.inconsistent(every, words));
        }
        Ok((pause, lasts))
    }

    fn away(&self, section: &Spanned<file::Fault>) -> Result<Range, ScenarioError> {
        let words = || "this kind of fault needs `away`, such as \"1s..10s\"".to_owned();
        let written = section.as_ref().away.as_ref();
        written.map(|away| away.as_ref().0).ok_or_else(|| self.inconsistent(section, words()))
    }

    fn groups(&self, section: &Spanned<file::Fault>, nodes: u32) -> Result<Vec<Vec<u32>>, ScenarioError> {
        let Some(written) = &section.as_ref().groups else {
            let words = "this kind of fault needs `groups`, such as [[\"n0\"], [\"n1\", \"n2\"]]".to_owned();
            return Err(self.inconsistent(section, words));
        };
        if written.as_ref().len() < 2 {
            return Err(self.inconsistent(written, "`groups` needs at least two groups".to_owned()));
        }
        let mut seen = BTreeSet::new();
        written.as_ref().iter().map(|names| self.group("groups", names, nodes, &mut seen)).collect()
    }

    /// Reads the names of some nodes. A name that is in `seen` is an error.
    fn group(
        &self,
        key: &str,
        names: &[Spanned<String>],
        nodes: u32,
        seen: &mut BTreeSet<u32>,
    ) -> Result<Vec<u32>, ScenarioError> {
        let mut group = Vec::new();
        for name in names {
            let member = self.member(name, nodes)?;
            if !seen.insert(member) {
                return Err(self.inconsistent(name, format!("`n{member}` is in `{key}` twice")));
            }
            group.push(member);
        }
        Ok(group)
    }
}

/// Returns the keys that a kind of fault takes besides `at` and `kind`.
const fn keys(kind: file::FaultKind) -> &'static [&'static str] {
    match kind {
        file::FaultKind::Asymmetry => &["from", "to", "add", "heal_after"],
        file::FaultKind::Burst => &["node", "count"],
        file::FaultKind::ClockDrift => &["node", "ppm"],
        file::FaultKind::ClockJump => &["node", "offset", "heal_after"],
        file::FaultKind::DiskError
        | file::FaultKind::InferenceCrash
        | file::FaultKind::InferenceError
        | file::FaultKind::MemoryUsed => &["node", "share", "heal_after"],
        file::FaultKind::DiskFull
        | file::FaultKind::MachineAsleep
        | file::FaultKind::ModelReplaced
        | file::FaultKind::ModelUnready
        | file::FaultKind::ProcessStopped => &["node", "heal_after"],
        file::FaultKind::DiskSlow | file::FaultKind::InferenceSlow => &["node", "add", "heal_after"],
        file::FaultKind::PoisonInput => &["tasks"],
        file::FaultKind::Churn => &["every", "away", "lasts"],
        file::FaultKind::ConnectionReset => &["node"],
        file::FaultKind::CorruptFrame
        | file::FaultKind::Duplicate
        | file::FaultKind::Reorder
        | file::FaultKind::Replay => &["share", "heal_after"],
        file::FaultKind::IsolateOne => &["node", "heal_after"],
        file::FaultKind::LatencyStep => &["add", "heal_after"],
        file::FaultKind::SwizzleClog => &["every"],
        file::FaultKind::Flap => &["groups", "every", "lasts"],
        file::FaultKind::Kill
        | file::FaultKind::Leave
        | file::FaultKind::PowerLoss
        | file::FaultKind::TornWrite => &["node", "restart_after"],
        file::FaultKind::OneWayLoss => &["from", "to", "heal_after"],
        file::FaultKind::Partition | file::FaultKind::Stall => &["groups", "heal_after"],
        file::FaultKind::RollingRestart => &["every", "away"],
    }
}

/// Returns each key that some kind of fault takes, and whether it is present here.
fn written(fault: &file::Fault) -> [(&'static str, bool); 15] {
    [
        ("count", fault.count.is_some()),
        ("offset", fault.offset.is_some()),
        ("ppm", fault.ppm.is_some()),
        ("tasks", fault.tasks.is_some()),
        ("add", fault.add.is_some()),
        ("share", fault.share.is_some()),
        ("groups", fault.groups.is_some()),
        ("heal_after", fault.heal_after.is_some()),
        ("node", fault.node.is_some()),
        ("restart_after", fault.restart_after.is_some()),
        ("from", fault.from.is_some()),
        ("to", fault.to.is_some()),
        ("every", fault.every.is_some()),
        ("away", fault.away.is_some()),
        ("lasts", fault.lasts.is_some()),
    ]
}
