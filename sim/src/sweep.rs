//! Many seeds of one scenario, and what they came to together.
//!
//! A single run must reach all that its scenario says it `sometimes` does; of many it is enough that one of them
//! reaches it, and too little if none does.

use crate::report::{Failure, Report};
use crate::scenario::Scenario;
use core::fmt;
use core::ops::RangeInclusive;
use serde::Serialize;
use std::collections::BTreeMap;

/// What many runs came to.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The scenario's file.
    pub scenario: String,
    /// How many runs there were.
    pub runs: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The first of those, in full.
    pub failures: Vec<Report>,
    /// In how many runs each event of interest was reached.
    pub reached: BTreeMap<&'static str, u64>,
}

impl Sweep {
    /// Runs a scenario under each of the seeds; `each` sees every report as it comes.
    pub fn run(scenario: &Scenario, seeds: RangeInclusive<u64>, mut each: impl FnMut(&Report)) -> Self {
        let mut sweep = Self {
            scenario: scenario.path.clone(),
            runs: 0,
            failed: 0,
            failures: Vec::new(),
            reached: scenario.expect.sometimes.iter().map(|&mark| (mark, 0)).collect(),
        };
        for mut report in crate::run_seeds(scenario, seeds) {
            each(&report);
            sweep.runs += 1;
            for (mark, runs) in &mut sweep.reached {
                *runs += u64::from(report.events.contains_key(mark));
            }
            report.failures.retain(|failure| !matches!(failure, Failure::NotReached(_)));
            if !report.passed() {
                sweep.failed += 1;
                if sweep.failures.len() < FAILURES_MAX {
                    sweep.failures.push(report);
                }
            }
        }
        sweep
    }

    /// Returns the events that no run reached.
    pub fn never_reached(&self) -> impl Iterator<Item = &'static str> {
        self.reached.iter().filter(|(_, runs)| **runs == 0).map(|(mark, _)| *mark)
    }

    /// Tells whether all was as it should be.
    pub fn passed(&self) -> bool {
        self.failed == 0 && self.never_reached().next().is_none()
    }

    /// Returns the outcome for programs.
    pub fn to_json(&self) -> serde_json::Value {
        // Names, numbers and texts: there is nothing that JSON could not say.
        serde_json::to_value(self).expect("a sweep is plain data")
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.failures {
            writeln!(f, "{report}")?;
        }
        writeln!(f, "{}: {} runs, {} failed", self.scenario, self.runs, self.failed)?;
        for (mark, runs) in &self.reached {
            writeln!(f, "  {mark} reached in {runs} runs")?;
        }
        for mark in self.never_reached() {
            writeln!(f, "  no run ever reached `{mark}`")?;
        }
        writeln!(f, "{}", if self.passed() { "passed" } else { "FAILED" })
    }
}

/// Reports of failed runs kept in full.
const FAILURES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(sometimes: &str) -> Sweep {
        let text = format!(
            "nodes = 2\nexecutor = \"event-queue\"\nduration = \"3s\"\n[expect]\nsometimes = [\"{sometimes}\"]\n"
        );
        let mut seen = Vec::new();
        let scenario = Scenario::parse("two.toml", &text).unwrap();
        let sweep = Sweep::run(&scenario, 3..=5, |report| seen.push(report.seed));
        assert_eq!(seen, [3, 4, 5]);
        sweep
    }

    #[test]
    fn what_no_run_reaches_fails_the_sweep() {
        assert!(sweep("link_up").passed());
        let missed = sweep("task_reassigned");
        assert!(!missed.passed());
        assert_eq!((missed.runs, missed.failed), (3, 0));
        assert!(missed.to_string().contains("no run ever reached `task_reassigned`"), "{missed}");
    }
}
