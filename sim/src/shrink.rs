//! Shrinks a failing seed to a scenario that fails in the same way and is as small as possible.
//!
//! The faults and tasks of the failing run become explicit, each with its exact time and node. Then faults, nodes,
//! tasks and time are removed in that order while the rest still violates the same invariant, until nothing more can
//! be removed (delta debugging; Zeller and Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", IEEE TSE
//! 2002). The time that the scenario grants for recovery is never removed, so a correct engine passes the result.

mod ddmin;
mod plan;

use crate::invariants::descriptions;
use crate::report::{Report, Symptom};
use crate::run::{Options, run_with};
use crate::scenario::{Executor, Scenario, Submission, Submissions};
use crate::scenario_file::ScenarioError;
use crate::sweep::pluralize;
use core::fmt;
use core::time::Duration;
use ddmin::minimize;
use serde::Serialize;
use std::time::Instant;

/// The limits of a search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most runs.
    pub runs: u32,
    /// The time after which no further run starts.
    pub time: Duration,
}

/// The size of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Single faults.
    pub faults: usize,
    /// Nodes.
    pub nodes: u32,
    /// Tasks.
    pub tasks: u32,
    /// Simulated time, in milliseconds.
    pub millis: u64,
}

/// The progress of a search.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The number of runs so far.
    pub runs: u32,
    /// The size of the smallest failing scenario so far.
    pub size: Size,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small scenario. It contains its seed, unless it fails with any.
    pub scenario: Scenario,
    /// The scenario as a file.
    pub text: String,
    /// The report of its failure.
    pub report: Report,
    /// The size of the explicit plan.
    pub from: Size,
    /// The size of the small scenario.
    pub to: Size,
    /// The number of runs.
    pub runs: u32,
    /// The duration of the search.
    pub wall: Duration,
    /// Whether nothing more can be removed; otherwise a limit was reached.
    pub complete: bool,
}

/// Why there is no small scenario.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// The run passes.
    #[error("seed {seed} passes: there is nothing to shrink")]
    Passes {
        /// The seed.
        seed: u64,
    },
    /// The result cannot be written as a file that reads as the same scenario.
    #[error("the result of {runs} runs is not a valid scenario: {error}")]
    Unwritable {
        /// The number of runs.
        runs: u32,
        /// What is wrong with it.
        #[source]
        error: Box<ScenarioError>,
    },
    /// The run only missed an expectation.
    #[error("seed {seed} fails because {why}; a missed expectation cannot be shrunk")]
    Unshrinkable {
        /// The seed.
        seed: u64,
        /// The missed expectation.
        why: String,
    },
    /// The seed must be written into a file, and TOML has no larger numbers.
    #[error("seeds above {} cannot be written to a file", i64::MAX)]
    SeedTooLarge,
    /// The result fails in another way than its origin.
    #[error("the small scenario does not fail again: the simulator is not deterministic")]
    NotAgain,
}

impl Size {
    fn of_scenario(scenario: &Scenario) -> Self {
        Self {
            faults: scenario.faults.len(),
            nodes: scenario.nodes,
            tasks: scenario.workload.as_ref().map_or(0, |workload| workload.submissions.tasks()),
            millis: u64::try_from(scenario.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, nodes, tasks, millis } = self;
        let seconds = Duration::from_millis(*millis).as_secs_f64();
        let counts = [(*faults as u64, "fault"), (u64::from(*nodes), "node"), (u64::from(*tasks), "task")];
        counts.iter().try_for_each(|(count, what)| write!(f, "{}, ", pluralize(*count, what)))?;
        write!(f, "{seconds} s")
    }
}

/// Shrinks the failure of a scenario under a seed; `tell` gets the progress of every step.
///
/// # Errors
/// [`ShrinkError`] if the seed does not fail, or its failure cannot be shrunk.
pub fn shrink(
    scenario: &Scenario,
    seed: u64,
    options: Options,
    limits: Limits,
    tell: impl FnMut(Progress),
) -> Result<Shrunk, ShrinkError> {
    if i64::try_from(seed).is_err() {
        return Err(ShrinkError::SeedTooLarge);
    }
    let began = Instant::now();
    let first = run_with(scenario, seed, options);
    let Some(symptom) = first.symptom() else {
        return Err(first.failures.first().map_or(ShrinkError::Passes { seed }, |failure| {
            ShrinkError::Unshrinkable { seed, why: failure.to_string() }
        }));
    };
    let best = plan::explicit(scenario, seed, &first, symptom);
    let grace = plan::grace(scenario);
    let (runs, exhausted) = (1, false);
    let mut search = Search { symptom, options, limits, began, runs, exhausted, best, seed, grace, tell };
    search.choose_plan(scenario, &first);
    let from = Size::of_scenario(&search.best);
    search.until_nothing_more_can_go();
    search.round();
    search.drop_seed();
    search.finish(scenario, seed, from)
}

/// A search in progress. The best scenario always fails with the symptom under its seed.
struct Search<F> {
    symptom: Symptom,
    options: Options,
    limits: Limits,
    began: Instant,
    runs: u32,
    exhausted: bool,
    best: Scenario,
    seed: u64,
    /// The time that the scenario granted between its last change and the end of all activity.
    grace: Duration,
    tell: F,
}

impl<F: FnMut(Progress)> Search<F> {
    /// Runs a scenario; `None` if the limits do not allow it.
    fn run(&mut self, scenario: &Scenario, seed: u64) -> Option<Report> {
        if self.runs >= self.limits.runs || self.began.elapsed() >= self.limits.time {
            self.exhausted = true;
            return None;
        }
        self.runs += 1;
        let report = run_with(scenario, seed, self.options);
        (self.tell)(Progress { runs: self.runs, size: Size::of_scenario(&self.best) });
        Some(report)
    }

    fn fails(&mut self, scenario: &Scenario, seed: u64) -> bool {
        let symptom = self.symptom;
        self.run(scenario, seed).is_some_and(|report| report.symptom() == Some(symptom))
    }

    /// Makes a scenario the best one if it also fails.
    fn try_out(&mut self, scenario: Scenario) -> bool {
        let fails = self.fails(&scenario, self.seed);
        if fails {
            self.best = scenario;
        }
        fails
    }

    /// Starts with the explicit plan, on the faster executor if it fails there too.
    fn choose_plan(&mut self, scenario: &Scenario, first: &Report) {
        let explicit = self.best.clone();
        let fast = scenario.on(Executor::EventQueue).ok().filter(|fast| fast.executor != scenario.executor);
        if let Some(fast) = fast
            && let Some(report) = self.run(&fast, self.seed)
            && report.symptom() == Some(self.symptom)
            && self.try_out(plan::explicit(&fast, self.seed, &report, self.symptom))
        {
            return;
        }
        if !self.try_out(explicit) {
            // Something in it is not explicit enough; the original can still be shrunk.
            self.best = plan::named(scenario, self.seed, first);
        }
    }

    fn until_nothing_more_can_go(&mut self) {
        loop {
            let before = Size::of_scenario(&self.best);
            self.cut_end();
            self.faults();
            self.nodes();
            self.tasks();
            self.cut_end();
            if Size::of_scenario(&self.best) == before || self.exhausted {
                return;
            }
        }
    }

    fn faults(&mut self) {
        let faults = self.best.faults.clone();
        minimize(&faults, |left| {
            let faults = left.to_vec();
            self.try_out(Scenario { faults, ..self.best.clone() })
        });
    }

    /// Removes nodes. The others are renumbered and so have other keys and other draws, which is why some more seeds
    /// are tried.
    fn nodes(&mut self) {
        let all: Vec<u32> = (0..self.best.nodes).collect();
        let whole = self.best.clone();
        minimize(&all, |left| {
            let Some(fewer) = plan::with_nodes(&whole, left) else { return false };
            let seeds = [self.seed].into_iter().chain(0..EXTRA_SEEDS);
            for seed in seeds {
                if self.fails(&fewer, seed) {
                    self.seed = seed;
                    self.best = fewer;
                    return true;
                }
            }
            false
        });
    }

    fn tasks(&mut self) {
        let Some(workload) = self.best.workload.clone() else { return };
        let Submissions::Listed(listed) = &workload.submissions else { return };
        minimize(listed, |left: &[Submission]| {
            let fewer = plan::with_tasks(&self.best, left.to_vec());
            self.try_out(fewer)
        });
    }

    /// Removes the time after the last relevant moment.
    fn cut_end(&mut self) {
        let Some(report) = self.run(&self.best.clone(), self.seed) else { return };
        if let Some(shorter) = plan::shorter(&self.best, &report, self.symptom, self.grace) {
            self.try_out(shorter);
        }
    }

    /// Rounds times whose exact value does not matter.
    fn round(&mut self) {
        for index in 0..self.best.faults.len() {
            for unit in ROUNDING_UNITS {
                let mut rounder = self.best.clone();
                if plan::round_fault(&mut rounder.faults[index], unit) && self.try_out(rounder) {
                    break;
                }
            }
        }
        self.cut_end();
    }

    /// Removes the seed if any seed fails.
    fn drop_seed(&mut self) {
        let best = Scenario { seed: None, ..self.best.clone() };
        if (0..EXTRA_SEEDS).all(|seed| self.fails(&best, seed)) {
            self.best = best;
            self.seed = 0;
        } else {
            self.best.seed = Some(self.seed);
        }
    }

    /// Writes the best scenario, reads it back, and checks that it still fails.
    fn finish(mut self, scenario: &Scenario, seed: u64, from: Size) -> Result<Shrunk, ShrinkError> {
        let (symptom, to) = (self.symptom, Size::of_scenario(&self.best));
        self.best.why = format!("{symptom} was violated; shrunk from {}, seed {seed}.", scenario.path);
        if let Symptom::Outcomes(_) = symptom {
            self.best.why = format!("{symptom}; shrunk from {}, seed {seed}.", scenario.path);
        }
        let guards = match symptom {
            Symptom::Outcomes(_) => None,
            Symptom::Violated(invariant) => {
                descriptions::for_invariant(invariant).map(|words| format!("Demanded: {words}"))
            }
        };
        let notes: Vec<String> = guards.into_iter().chain([format!("It was: {from}.")]).collect();
        let text = self.best.to_toml(&notes);
        let unwritable = |error| ShrinkError::Unwritable { runs: self.runs, error: Box::new(error) };
        let read = Scenario::parse(&scenario.path, &text).map_err(unwritable)?;
        let report = run_with(&read, self.seed, self.options);
        if report.symptom() != Some(symptom) {
            return Err(ShrinkError::NotAgain);
        }
        let (runs, complete) = (self.runs + 1, !self.exhausted);
        Ok(Shrunk { scenario: read, text, report, from, to, runs, wall: self.began.elapsed(), complete })
    }
}

/// The seeds tried besides the own one when nodes are removed, and the seeds that must all fail for a scenario to need
/// none.
const EXTRA_SEEDS: u64 = 4;

/// The units to which times are rounded, in microseconds, the coarsest first.
const ROUNDING_UNITS: [u64; 3] = [1_000_000, 100_000, 1_000];
