//! From a seed that fails to a scenario that fails in the same way, and is as small as can be.
//!
//! The faults and tasks of the failing run become explicit, each with its exact time and node. Then faults, nodes,
//! tasks and time are taken away in that order, as long as what is left violates the same property, until nothing
//! more can go (delta debugging; Zeller and Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", IEEE TSE
//! 2002). Time that the scenario grants for recovery is never taken away, so that a right engine passes the result.

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

/// How much may be spent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most runs.
    pub runs: u32,
    /// The longest time after which another run begins.
    pub time: Duration,
}

/// How large a scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Single faults.
    pub faults: usize,
    /// Nodes.
    pub nodes: u32,
    /// Tasks.
    pub tasks: u32,
    /// Time simulated, in milliseconds.
    pub millis: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Runs so far.
    pub runs: u32,
    /// The smallest scenario that fails so far.
    pub size: Size,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small scenario; its seed is in it, unless it fails with any.
    pub scenario: Scenario,
    /// The scenario as a file.
    pub text: String,
    /// How it fails.
    pub report: Report,
    /// The size of the explicit plan.
    pub from: Size,
    /// The size of the small scenario.
    pub to: Size,
    /// How many runs it took.
    pub runs: u32,
    /// How long it took.
    pub wall: Duration,
    /// Whether nothing more can go; else the limits were reached.
    pub complete: bool,
}

/// Why there is no small scenario.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// There is no failure.
    #[error("seed {seed} passes: there is nothing to shrink")]
    Passes {
        /// The seed.
        seed: u64,
    },
    /// What is left cannot be written as a file that reads as the same scenario.
    #[error("what is left after {runs} runs is no scenario: {error}")]
    Unwritable {
        /// How many runs there were.
        runs: u32,
        /// What is wrong with it.
        #[source]
        error: Box<ScenarioError>,
    },
    /// The run only failed to do something.
    #[error("seed {seed} fails because {why}, and of what a run did not do no part can be left out")]
    Unshrinkable {
        /// The seed.
        seed: u64,
        /// What it did not do.
        why: String,
    },
    /// The result must fail as a file, and TOML has no larger numbers.
    #[error("seeds above {} cannot stand in a file", i64::MAX)]
    SeedTooLarge,
    /// The result fails in another way than what it was made from.
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

/// Shrinks the failure of a scenario under a seed; `tell` sees every step.
///
/// # Errors
/// [`ShrinkError`] where the seed does not fail, or there is nothing to make smaller.
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

/// A search under way. The best scenario always fails with the symptom under its seed.
struct Search<F> {
    symptom: Symptom,
    options: Options,
    limits: Limits,
    began: Instant,
    runs: u32,
    exhausted: bool,
    best: Scenario,
    seed: u64,
    /// What the scenario granted between its last change and the moment from which all must be quiet.
    grace: Duration,
    tell: F,
}

impl<F: FnMut(Progress)> Search<F> {
    /// Runs a scenario; `None` where the limits do not allow it.
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

    /// Takes a scenario for the best where it fails too.
    fn try_out(&mut self, scenario: Scenario) -> bool {
        let fails = self.fails(&scenario, self.seed);
        if fails {
            self.best = scenario;
        }
        fails
    }

    /// Begins with the explicit plan, on the faster executor where it fails on that one too.
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
            // Something in it is not explicit enough; the original can still be made smaller.
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

    /// Leaves nodes out. The others are renumbered, so they have other keys than before and other luck: some more
    /// seeds are tried.
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

    /// Leaves out the time after the last thing that matters.
    fn cut_end(&mut self) {
        let Some(report) = self.run(&self.best.clone(), self.seed) else { return };
        if let Some(shorter) = plan::shorter(&self.best, &report, self.symptom, self.grace) {
            self.try_out(shorter);
        }
    }

    /// Makes times round where it does not matter.
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

    /// Does without a seed where any will do.
    fn drop_seed(&mut self) {
        let best = Scenario { seed: None, ..self.best.clone() };
        if (0..EXTRA_SEEDS).all(|seed| self.fails(&best, seed)) {
            self.best = best;
            self.seed = 0;
        } else {
            self.best.seed = Some(self.seed);
        }
    }

    /// Writes the best scenario, reads it again, and sees it fail.
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

/// Seeds tried besides the own where nodes are left out, and those that must fail for a scenario to need none.
const EXTRA_SEEDS: u64 = 4;

/// To which times are rounded, in microseconds, the coarsest first.
const ROUNDING_UNITS: [u64; 3] = [1_000_000, 100_000, 1_000];
