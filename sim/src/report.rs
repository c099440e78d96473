//! What a run came to, for people and for programs.

use crate::executor::Executor;
use crate::invariants::Violation;
use crate::observer::{Line, Observer};
use crate::scenario::{OutcomeKind, Scenario};
use crate::trace::TraceSummary;
use core::fmt;
use core::time::Duration;
use engine::Instant;
use serde::Serialize;
use std::collections::BTreeMap;

/// What one run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's file.
    pub scenario: String,
    /// Why the scenario exists.
    pub why: String,
    /// What ran it.
    pub executor: Executor,
    /// The seed.
    pub seed: u64,
    /// The nodes.
    pub nodes: u32,
    /// How much time was simulated.
    pub simulated: Duration,
    /// How long that took. The only part that differs from run to run.
    pub wall: Duration,
    /// How each submitted task ended, in the order of submission.
    pub outcomes: Vec<OutcomeKind>,
    /// How many tasks were rejected for what reason.
    pub rejections: BTreeMap<&'static str, u32>,
    /// What is worth telling.
    pub story: Vec<Line>,
    /// Lines beyond the longest story.
    pub story_left_out: u64,
    /// How often each invariant was put to the test.
    pub invariants: BTreeMap<&'static str, u64>,
    /// How often each kind of event happened.
    pub events: BTreeMap<&'static str, u64>,
    /// Whether all had to be well again, and since when it was.
    pub liveness: Option<Option<Instant>>,
    /// The trace.
    pub trace: TraceSummary,
    /// What was not as it should be; empty where all was.
    pub failures: Vec<Failure>,
    /// The command that does it all again.
    pub repeat: String,
}

/// Something that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The run never came to an event that the scenario is about.
    NotReached(&'static str),
    /// Another number of tasks than expected ended in one way.
    Outcomes {
        /// The way.
        outcome: OutcomeKind,
        /// How many should have.
        expected: u32,
        /// How many did.
        actual: u32,
    },
    /// A property did not hold.
    Violated(Violation),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReached(event) => write!(f, "the run never reached `{event}`"),
            Self::Outcomes { outcome, expected, actual } => {
                write!(f, "{actual} tasks ended as {outcome}, expected {expected}")
            }
            Self::Violated(violation) => write!(f, "violated {violation}"),
        }
    }
}

impl Report {
    pub(crate) fn new(scenario: &Scenario, seed: u64, wall: Duration, observer: Observer) -> Self {
        let outcomes = observer.users.outcomes();
        let violation = observer.violation;
        let failures = match violation.clone() {
            Some(violation) => vec![Failure::Violated(violation)],
            None => disappointments(scenario, &outcomes, &observer.marks),
        };
        let repeat = format!(
            "p2p-ai-agents sim run {} --seed {seed}{}",
            scenario.path,
            if scenario.executor == scenario.chosen {
                String::new()
            } else {
                format!(" --executor {}", scenario.executor)
            }
        );
        Self {
            scenario: scenario.path.clone(),
            why: scenario.why.clone(),
            executor: scenario.executor,
            seed,
            nodes: scenario.nodes,
            simulated: violation.map_or(scenario.duration, |violation| violation.at.since(Instant::ZERO)),
            wall,
            outcomes,
            rejections: observer.users.rejections(),
            story: observer.story.lines,
            story_left_out: observer.story.left_out,
            invariants: observer.invariants.iter().map(|one| (one.name(), one.checks())).collect(),
            events: observer.marks,
            liveness: scenario.liveness.map(|_| observer.well_at),
            trace: observer.trace.finish(),
            failures,
            repeat,
        }
    }

    /// Tells whether all was as it should be.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Returns how many tasks ended in each way.
    pub fn outcome_counts(&self) -> BTreeMap<OutcomeKind, u32> {
        let mut counts = BTreeMap::new();
        for outcome in &self.outcomes {
            *counts.entry(*outcome).or_default() += 1;
        }
        counts
    }

    /// Returns the report for programs.
    pub fn to_json(&self) -> serde_json::Value {
        // Maps with names for keys, numbers and texts: there is nothing that JSON could not say.
        serde_json::to_value(self).expect("a report is plain data")
    }
}

/// Returns what a run without violations failed to do.
fn disappointments(
    scenario: &Scenario,
    outcomes: &[OutcomeKind],
    marks: &BTreeMap<&'static str, u64>,
) -> Vec<Failure> {
    let missed = scenario.expect.sometimes.iter().filter(|mark| !marks.contains_key(*mark));
    let wrong = scenario.expect.outcomes.iter().filter_map(|(&outcome, &expected)| {
        let count = outcomes.iter().filter(|&&one| one == outcome).count();
        let actual = u32::try_from(count).unwrap_or(u32::MAX);
        (actual != expected).then_some(Failure::Outcomes { outcome, expected, actual })
    });
    missed.map(|&mark| Failure::NotReached(mark)).chain(wrong).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        if !self.why.is_empty() {
            writeln!(f, "  {}", self.why)?;
        }
        writeln!(
            f,
            "  {} nodes on the {} executor, seed {}: {} s simulated in {:.2} s",
            self.nodes,
            self.executor,
            self.seed,
            self.simulated.as_secs_f64(),
            self.wall.as_secs_f64(),
        )?;
        if !self.story.is_empty() {
            writeln!(f, "\nstory")?;
        }
        for line in &self.story {
            writeln!(f, "  {:>10.3} s  {}", line.at.since(Instant::ZERO).as_secs_f64(), line.words)?;
        }
        if self.story_left_out > 0 {
            writeln!(f, "              and {} lines more", self.story_left_out)?;
        }
        self.write_figures(f)?;
        match self.failures.as_slice() {
            [] => writeln!(f, "\npassed  trace {}", self.trace.hash),
            failures => {
                writeln!(f, "\nFAILED  trace {}", self.trace.hash)?;
                for failure in failures {
                    writeln!(f, "  {failure}")?;
                }
                writeln!(f, "  repeat: {}", self.repeat)
            }
        }
    }
}

impl Report {
    fn write_figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.outcomes.is_empty() {
            let counts: Vec<String> =
                self.outcome_counts().iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            writeln!(f, "\ntasks       {}", counts.join(", "))?;
            for (reason, count) in &self.rejections {
                writeln!(f, "            {count} rejected: {reason}")?;
            }
        }
        match self.liveness {
            None => {}
            Some(Some(at)) => writeln!(f, "liveness    all well since {at}")?,
            Some(None) => writeln!(f, "liveness    not all well")?,
        }
        let checks: Vec<String> =
            self.invariants.iter().map(|(name, checks)| format!("{name} ({checks})")).collect();
        writeln!(f, "invariants  {}", checks.join(", "))?;
        writeln!(f, "trace       {} inputs, {} outputs", self.trace.inputs, self.trace.outputs)
    }
}
