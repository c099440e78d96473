//! Checks the faults of a scenario file: each kind has its own keys and takes no others.

use super::Source;
use crate::scenario::{
    Disturbance, FAULTS_MAX, Fault, FaultKind, INJECTIONS_MAX, MachineFault, Range, Scenario, Target,
};
use crate::scenario_file::error::{Problem, ScenarioError, names};
use crate::scenario_file::fault_kind::FaultKind as Kind;
use crate::scenario_file::format as file;
use crate::scenario_file::manual;
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
        self.keys(fault)?;
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

    /// Checks that a fault has the keys of its kind and no others.
    fn keys(&self, fault: &file::Fault) -> Result<(), ScenarioError> {
        let kind = *fault.kind.as_ref();
        let (keys, written) = (kind.keys(), written(fault));
        let other = written.iter().find_map(|(key, place)| {
            let place = place.clone().filter(|_| keys.all().all(|own| own != *key))?;
            Some((*key, place))
        });
        if let Some((key, place)) = other {
            let own: Vec<&str> = ["at"].into_iter().chain(keys.all()).chain(["probability"]).collect();
            let words = format!("`{}` takes no `{key}`; it takes {}", kind.name(), names(&own, "and"));
            return Err(self.at(self.key(key, place), Problem::Inconsistent(words)));
        }
        let missing = |key: &&&str| written.iter().any(|(other, place)| *other == **key && place.is_none());
        match keys.needed.iter().find(missing) {
            None => Ok(()),
            Some(key) => {
                let example = manual::fault_key(key).map(|key| key.example).unwrap_or_default();
                let words = format!("`{}` needs `{key}`, such as {key} = {example}", kind.name());
                Err(self.inconsistent(&fault.kind, words))
            }
        }
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
        Ok(match fault.kind.as_ref() {
            Kind::ClockDrift => machine(MachineFault::ClockDrift { ppm: self.ppm(section)? }),
            Kind::ClockJump => machine(MachineFault::ClockJump { millis: self.offset(section)? }),
            Kind::DiskError => machine(MachineFault::DiskError { per_million: self.share(section)? }),
            Kind::DiskFull => machine(MachineFault::DiskFull),
            Kind::DiskSlow => machine(MachineFault::DiskSlow { add: self.add(section)? }),
            Kind::InferenceCrash => {
                machine(MachineFault::InferenceCrash { per_million: self.share(section)? })
            }
            Kind::InferenceError => {
                machine(MachineFault::InferenceError { per_million: self.share(section)? })
            }
            Kind::InferenceSlow => machine(MachineFault::InferenceSlow { add: self.add(section)? }),
            Kind::MachineAsleep => machine(MachineFault::MachineAsleep),
            Kind::MemoryUsed => machine(MachineFault::MemoryUsed { per_million: self.share(section)? }),
            Kind::ModelReplaced => machine(MachineFault::ModelReplaced),
            Kind::ModelUnready => machine(MachineFault::ModelUnready),
            Kind::ProcessStopped => machine(MachineFault::ProcessStopped),
            Kind::Burst => FaultKind::Burst { node, count: self.burst(section, tasks)? },
            Kind::PoisonInput => FaultKind::PoisonInput { tasks: self.poison(section, tasks)? },
            Kind::TornWrite => FaultKind::TornWrite { node, restart_after },
            Kind::Asymmetry => {
                let (from, to) = self.ways(section, nodes)?;
                FaultKind::Asymmetry { from, to, add: self.add(section)?, heal_after }
            }
            Kind::ConnectionReset => FaultKind::ConnectionReset { node },
            Kind::CorruptFrame => self.disturbance(section, Disturbance::Corrupt)?,
            Kind::Duplicate => self.disturbance(section, Disturbance::Duplicate)?,
            Kind::Reorder => self.disturbance(section, Disturbance::Reorder)?,
            Kind::Replay => self.disturbance(section, Disturbance::Replay)?,
            Kind::IsolateOne => FaultKind::IsolateOne { node, heal_after },
            Kind::LatencyStep => FaultKind::LatencyStep { add: self.add(section)?, heal_after },
            Kind::SwizzleClog => {
                // Each node is stalled and released once.
                let all = period(&fault.every).map(|every| every.saturating_mul(nodes.saturating_mul(2)));
                let (every, lasts) = self.pace(section, all)?;
                FaultKind::SwizzleClog { every, lasts }
            }
            Kind::Churn => {
                let (every, lasts) = self.pace(section, period(&fault.lasts))?;
                FaultKind::Churn { every, away: self.away(section)?, lasts }
            }
            Kind::Flap => {
                let (every, lasts) = self.pace(section, period(&fault.lasts))?;
                FaultKind::Flap { groups: groups()?, every, lasts }
            }
            Kind::Kill => FaultKind::Kill { node, restart_after },
            Kind::Leave => FaultKind::Leave { node, restart_after },
            Kind::OneWayLoss => {
                let (from, to) = self.ways(section, nodes)?;
                FaultKind::OneWayLoss { from, to, heal_after }
            }
            Kind::Partition => FaultKind::Partition { groups: groups()?, heal_after },
            Kind::PowerLoss => FaultKind::PowerLoss { node, restart_after },
            Kind::RollingRestart => {
                let all = period(&fault.every).map(|every| every.saturating_mul(nodes));
                let (every, lasts) = self.pace(section, all)?;
                FaultKind::RollingRestart { every, away: self.away(section)?, lasts }
            }
            Kind::Stall => FaultKind::Stall { groups: groups()?, heal_after },
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

/// Returns each key that some kind of fault takes, and where its value is.
fn written(fault: &file::Fault) -> [(&'static str, Option<core::ops::Range<usize>>); 15] {
    [
        ("count", place(&fault.count)),
        ("offset", place(&fault.offset)),
        ("ppm", place(&fault.ppm)),
        ("tasks", place(&fault.tasks)),
        ("add", place(&fault.add)),
        ("share", place(&fault.share)),
        ("groups", place(&fault.groups)),
        ("heal_after", place(&fault.heal_after)),
        ("node", place(&fault.node)),
        ("restart_after", place(&fault.restart_after)),
        ("from", place(&fault.from)),
        ("to", place(&fault.to)),
        ("every", place(&fault.every)),
        ("away", place(&fault.away)),
        ("lasts", place(&fault.lasts)),
    ]
}

fn place<T>(value: &Option<Spanned<T>>) -> Option<core::ops::Range<usize>> {
    value.as_ref().map(Spanned::span)
}
