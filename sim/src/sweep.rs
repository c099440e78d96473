//! A sweep: one scenario under many seeds, and the combined result.
//!
//! A single run must reach every event that its scenario lists under `sometimes`; of many runs, at least one must. The
//! result depends on the seeds alone, not on how many run at a time: reports come in the order of the seeds, and the
//! first failure is that of the smallest seed.

use crate::parallel::Runs;
use crate::report::{Failure, Report, as_micros};
use crate::run::{Options, run_with};
use crate::scenario::Executor;
use crate::scenario::Scenario;
use core::fmt;
use core::num::NonZero;
use core::ops::RangeInclusive;
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Instant;

/// The result of many runs.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The scenario's file.
    pub scenario: String,
    /// Why the scenario exists.
    pub why: String,
    /// The executor.
    pub executor: Executor,
    /// The number of nodes.
    pub nodes: u32,
    /// The first seed.
    pub first_seed: u64,
    /// The last requested seed.
    pub last_seed: u64,
    /// The number of runs.
    pub runs: u64,
    /// The number of failed runs.
    pub failed: u64,
    /// The reports of the first failed runs.
    pub failures: Vec<Report>,
    /// Whether all seeds ran, without being stopped by a user or a failure.
    pub complete: bool,
    /// The number of runs that reached each expected event.
    pub reached: BTreeMap<&'static str, u64>,
    /// The number of injected faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The total simulated time; microseconds for programs.
    #[serde(rename = "simulated_micros", serialize_with = "as_micros")]
    pub simulated: Duration,
    /// The wall-clock time of the sweep. The only field that differs from sweep to sweep.
    #[serde(rename = "wall_micros", serialize_with = "as_micros")]
    pub wall: Duration,
    /// A hash of the traces of all runs, in the order of their seeds.
    pub trace: String,
}

/// Options of a parallel sweep.
#[derive(Clone, Copy, Debug)]
pub struct Sweeping<'a> {
    /// How many runs are executed at a time.
    pub jobs: NonZero<usize>,
    /// Whether to continue after a failure.
    pub keep_going: bool,
    /// The options of each run.
    pub options: Options,
    /// Once it is set, no further run is awaited.
    pub stop: &'a AtomicBool,
}

impl Sweep {
    /// Runs a scenario under each of the seeds, one after another; `each` gets every report.
    pub fn run(scenario: &Scenario, seeds: RangeInclusive<u64>, each: impl FnMut(&Report)) -> Self {
        let reports = seeds.clone().map(|seed| run_with(scenario, seed, Options::default()));
        Self::collect(scenario, &seeds, true, reports, each)
    }

    /// Runs a scenario under many seeds in parallel; `each` gets every report, in the order of the seeds.
    pub fn run_parallel(
        scenario: &Scenario,
        seeds: RangeInclusive<u64>,
        how: Sweeping<'_>,
        each: impl FnMut(&Report),
    ) -> Self {
        let mut runs = Runs::start(scenario, seeds.clone(), how.jobs, how.options);
        let reports = core::iter::from_fn(|| runs.next(how.stop));
        Self::collect(scenario, &seeds, how.keep_going, reports, each)
    }

    fn collect(
        scenario: &Scenario,
        seeds: &RangeInclusive<u64>,
        keep_going: bool,
        reports: impl Iterator<Item = Report>,
        mut each: impl FnMut(&Report),
    ) -> Self {
        let began = Instant::now();
        let mut sweep = Self::nothing_yet(scenario, seeds);
        let mut traces = Sha256::new();
        for mut report in reports {
            each(&report);
            traces.update(report.trace.hash.as_bytes());
            sweep.complete = report.seed == *seeds.end();
            let failed_before = sweep.failed;
            report.failures.retain(|failure| !matches!(failure, Failure::NotReached(_)));
            sweep.add(report);
            if !keep_going && sweep.failed > failed_before {
                break;
            }
        }
        sweep.wall = began.elapsed();
        sweep.trace = traces.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        sweep
    }

    fn nothing_yet(scenario: &Scenario, seeds: &RangeInclusive<u64>) -> Self {
        Self {
            scenario: scenario.path.clone(),
            why: scenario.why.clone(),
            executor: scenario.executor,
            nodes: scenario.nodes,
            first_seed: *seeds.start(),
            last_seed: *seeds.end(),
            runs: 0,
            failed: 0,
            failures: Vec::new(),
            complete: seeds.is_empty(),
            reached: scenario.expect.sometimes.iter().map(|&mark| (mark, 0)).collect(),
            faults: BTreeMap::new(),
            simulated: Duration::ZERO,
            wall: Duration::ZERO,
            trace: String::new(),
        }
    }

    fn add(&mut self, report: Report) {
        self.runs += 1;
        self.simulated += report.simulated;
        for (mark, runs) in &mut self.reached {
            *runs += u64::from(report.events.contains_key(mark));
        }
        for (kind, count) in &report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        if !report.passed() {
            self.failed += 1;
            if self.failures.len() < FAILURES_MAX {
                self.failures.push(report);
            }
        }
    }

    /// Returns the expected events that no run reached, if all seeds have run.
    pub fn never_reached(&self) -> impl Iterator<Item = &'static str> {
        self.reached.iter().filter(|(_, runs)| self.complete && **runs == 0).map(|(mark, _)| *mark)
    }

    /// Returns whether all seeds ran and passed.
    pub fn passed(&self) -> bool {
        self.complete && self.failed == 0 && self.never_reached().next().is_none()
    }

    /// Returns the result as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        // Names, numbers and strings always serialize.
        serde_json::to_value(self).expect("a sweep is plain data")
    }

    /// Returns the runs per second, and the simulated seconds per second.
    fn speed(&self) -> (f64, f64) {
        let wall = self.wall.as_secs_f64().max(1e-6);
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let runs = self.runs as f64;
        (runs / wall, self.simulated.as_secs_f64() / wall)
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.failures {
            writeln!(f, "{report}")?;
        }
        writeln!(f, "{}", self.scenario)?;
        if !self.why.is_empty() {
            writeln!(f, "  {}", self.why)?;
        }
        writeln!(
            f,
            "  {} on the {} executor, seeds {} to {}\n",
            pluralize(self.nodes.into(), "node"),
            self.executor,
            self.first_seed,
            self.last_seed
        )?;
        writeln!(f, "seeds       {}, {} failed", pluralize(self.runs, "run"), self.failed)?;
        let (seeds, ratio) = self.speed();
        writeln!(
            f,
            "simulated   {} in {:.1} s: {seeds:.1} seeds/s, {ratio:.0} times real time",
            hours(self.simulated),
            self.wall.as_secs_f64(),
        )?;
        let list = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        if !self.faults.is_empty() {
            writeln!(f, "faults      {}", list(&self.faults))?;
        }
        for (position, (mark, runs)) in self.reached.iter().enumerate() {
            let title = if position == 0 { "reached" } else { "" };
            writeln!(f, "{title:<10}  {mark} in {}", pluralize(*runs, "run"))?;
        }
        writeln!(f, "trace       {}", self.trace)?;
        self.write_end(f)
    }
}

impl Sweep {
    fn write_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed() {
            return writeln!(f, "\npassed");
        }
        if self.complete || self.failed > 0 {
            writeln!(f, "\nFAILED")?;
        } else {
            writeln!(f, "\nstopped")?;
        }
        for mark in self.never_reached() {
            writeln!(f, "  no run ever reached `{mark}`")?;
        }
        match self.failures.first() {
            Some(first) => writeln!(f, "  first at seed {}; repeat it:  {}", first.seed, first.repeat),
            None => Ok(()),
        }
    }
}

/// Formats a number with its noun, in the plural if needed.
pub fn pluralize(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn hours(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 360.0 { format!("{seconds:.1} s") } else { format!("{:.1} h", seconds / 3600.0) }
}

/// The most reports of failed runs that are kept.
const FAILURES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn two(rest: &str) -> Scenario {
        let text = format!("nodes = 2\nexecutor = \"event-queue\"\nduration = \"3s\"\n{rest}");
        Scenario::parse("two.toml", &text).unwrap()
    }

    fn sweep(sometimes: &str) -> Sweep {
        let mut seen = Vec::new();
        let scenario = two(&format!("[expect]\nsometimes = [\"{sometimes}\"]\n"));
        let sweep = Sweep::run(&scenario, 3..=5, |report| seen.push(report.seed));
        assert_eq!(seen, [3, 4, 5]);
        sweep
    }

    #[test]
    fn an_event_that_no_run_reaches_fails_the_sweep() {
        assert!(sweep("link_up").passed());
        let missed = sweep("task_reassigned");
        assert!(!missed.passed());
        assert_eq!((missed.runs, missed.failed), (3, 0));
        assert!(missed.to_string().contains("no run ever reached `task_reassigned`"), "{missed}");
    }

    /// Returns a scenario that fails under some seeds: whether both links come up in time depends on when the nodes
    /// start.
    fn at_times_too_late() -> Scenario {
        two("start = \"0s..200ms\"\n[liveness]\nafter = \"0s\"\nwithin = \"500ms\"\n")
    }

    fn parallel(jobs: usize, keep_going: bool) -> Sweep {
        let stop = AtomicBool::new(false);
        let jobs = NonZero::new(jobs).unwrap();
        let how = Sweeping { jobs, keep_going, options: Options::default(), stop: &stop };
        let mut sweep = Sweep::run_parallel(&at_times_too_late(), 0..=63, how, |_| {});
        sweep.wall = Duration::ZERO;
        sweep.failures.iter_mut().for_each(|report| report.wall = Duration::ZERO);
        sweep
    }

    #[test]
    fn the_number_of_jobs_changes_nothing() {
        for keep_going in [false, true] {
            let one = parallel(1, keep_going);
            assert_eq!(one.to_json(), parallel(5, keep_going).to_json());
            assert_eq!(one.complete, keep_going);
            assert!(one.failed >= 1 && one.runs > 1 && one.failed < one.runs, "{one}");
        }
        let failed = Sweep::run(&at_times_too_late(), 0..=63, |_| {});
        assert_eq!(parallel(3, false).failures[0].seed, failed.failures[0].seed);
    }

    #[test]
    fn a_sweep_that_was_stopped_has_not_passed() {
        let stop = AtomicBool::new(true);
        let jobs = NonZero::<usize>::MIN;
        let how = Sweeping { jobs, keep_going: true, options: Options::default(), stop: &stop };
        let sweep = Sweep::run_parallel(&two(""), 0..=9, how, |_| {});
        assert_eq!((sweep.runs, sweep.passed()), (0, false));
        assert!(sweep.to_string().ends_with("stopped\n"), "{sweep}");
    }
}
