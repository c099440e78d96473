//! The report of a run, for people and for programs.

use crate::invariant::Violation;
use crate::invariants::descriptions;
use crate::observer::Observer;
use crate::observer::flight_recorder::LastEvents;
use crate::observer::narrative::Line;
use crate::observer::trace::TraceSummary;
use crate::scenario::Executor;
use crate::scenario::{Fault, OutcomeKind, Scenario};
use crate::sweep::pluralize;
use core::fmt;
use core::time::Duration;
use engine::Instant;
use engine::observers::alerts::AlertRule;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// The report of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's file.
    pub scenario: String,
    /// Why the scenario exists.
    pub why: String,
    /// The executor.
    pub executor: Executor,
    /// The seed.
    pub seed: u64,
    /// The number of nodes.
    pub nodes: u32,
    /// The simulated time; microseconds for programs.
    #[serde(rename = "simulated_micros", serialize_with = "as_micros")]
    pub simulated: Duration,
    /// The wall-clock time of the run. The only field that differs from run to run.
    #[serde(rename = "wall_micros", serialize_with = "as_micros")]
    pub wall: Duration,
    /// The outcome of each submitted task, in the order of submission.
    pub outcomes: Vec<OutcomeKind>,
    /// The number of rejected tasks by reason.
    pub rejections: BTreeMap<&'static str, u32>,
    /// The narrative of the run.
    pub story: Vec<Line>,
    /// The number of lines beyond the longest narrative.
    pub story_left_out: u64,
    /// How many times each invariant was checked.
    pub invariants: BTreeMap<&'static str, u64>,
    /// How many times each event happened.
    pub events: BTreeMap<&'static str, u64>,
    /// `None` if the scenario does not check liveness; otherwise since when its conditions held, if they did.
    pub liveness: Option<Option<Instant>>,
    /// The trace.
    pub trace: TraceSummary,
    /// The number of injected faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The failures; empty if the run passed.
    pub failures: Vec<Failure>,
    /// The last events of the nodes that a violation is about.
    pub last_events: Vec<LastEvents>,
    /// Each injected fault, with its exact time and target.
    #[serde(skip)]
    pub injected: Vec<Fault>,
    /// The node that each task was submitted to. Tasks that found no running node are missing.
    #[serde(skip)]
    pub asked: BTreeMap<u32, u32>,
    /// The command that repeats the run.
    pub repeat: String,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// An alert is active at the end, although the scenario expects that it is cleared.
    AlertActive {
        /// The rule.
        rule: AlertRule,
        /// One of the nodes.
        node: u32,
    },
    /// No node raised an alert that the scenario expects.
    AlertMissing(AlertRule),
    /// The run never reached an event that the scenario expects.
    NotReached(&'static str),
    /// The number of tasks with an outcome differs from the expected one.
    Outcomes {
        /// The outcome.
        outcome: OutcomeKind,
        /// The expected number.
        expected: u32,
        /// The actual number.
        actual: u32,
    },
    /// An invariant was violated.
    Violated(Violation),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlertActive { rule, node } => {
                write!(f, "the alert `{rule}` is still active on n{node} at the end")
            }
            Self::AlertMissing(rule) => write!(f, "no node raised the alert `{rule}`"),
            Self::NotReached(event) => write!(f, "the run never reached `{event}`"),
            Self::Outcomes { outcome, expected, actual } => {
                let actual = pluralize((*actual).into(), "task");
                write!(f, "{actual} ended as {outcome}, expected {expected}")
            }
            Self::Violated(violation) => write!(f, "violated {violation}"),
        }
    }
}

/// Identifies a failure: a smaller scenario shows the same failure if it has the same symptom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symptom {
    /// Not all tasks end with the expected outcome.
    Outcomes(OutcomeKind),
    /// An invariant is violated.
    Violated(&'static str),
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcomes(outcome) => write!(f, "not all tasks end as {outcome}"),
            Self::Violated(invariant) => f.write_str(invariant),
        }
    }
}

impl Report {
    pub(crate) fn new(scenario: &Scenario, seed: u64, wall: Duration, observer: Observer) -> Self {
        let outcomes = observer.clients.outcomes();
        let last_events = observer.last_events();
        let mut faults = BTreeMap::new();
        for fault in &observer.injected {
            *faults.entry(fault.kind.name()).or_default() += 1;
        }
        let violation = observer.violation.clone();
        let failures = match violation.clone() {
            Some(violation) => vec![Failure::Violated(violation)],
            None => missed_expectations(scenario, &outcomes, &observer),
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
            rejections: observer.clients.rejections(),
            story: observer.narrative.lines,
            story_left_out: observer.narrative.left_out,
            invariants: observer.invariants.iter().map(|one| (one.name(), one.checks())).collect(),
            events: observer.marks,
            liveness: scenario.liveness.map(|_| observer.recovered_at),
            trace: observer.trace.finish(),
            faults,
            failures,
            last_events,
            injected: observer.injected,
            asked: observer.clients.asked,
            repeat,
        }
    }

    /// Returns the symptom of the failure; `None` if there is none, or none that can be shrunk.
    pub fn symptom(&self) -> Option<Symptom> {
        self.failures.iter().find_map(|failure| match failure {
            Failure::AlertActive { .. } | Failure::AlertMissing(_) | Failure::NotReached(_) => None,
            // If some tasks should end in one way and some in another, none can be removed.
            Failure::Outcomes { outcome, expected, .. } => {
                (*expected as usize == self.outcomes.len()).then_some(Symptom::Outcomes(*outcome))
            }
            Failure::Violated(violation) => Some(Symptom::Violated(violation.invariant)),
        })
    }

    /// Returns whether the run passed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Returns whether the run failed. One that only missed an expected event does not count: one of many runs may
    /// reach it.
    pub fn failed(&self) -> bool {
        self.failures.iter().any(|failure| !matches!(failure, Failure::NotReached(_)))
    }

    /// Returns the number of tasks with each outcome.
    pub fn outcome_counts(&self) -> BTreeMap<OutcomeKind, u32> {
        let mut counts = BTreeMap::new();
        for outcome in &self.outcomes {
            *counts.entry(*outcome).or_default() += 1;
        }
        counts
    }

    /// Returns the report as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        // Maps with string keys, numbers and strings always serialize.
        serde_json::to_value(self).expect("a report is plain data")
    }
}

pub(crate) fn as_micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(engine::time::micros(*duration))
}

/// Returns the expectations that a run without violations did not meet.
fn missed_expectations(scenario: &Scenario, outcomes: &[OutcomeKind], observer: &Observer) -> Vec<Failure> {
    let expect = &scenario.expect;
    let missed = expect.sometimes.iter().filter(|mark| !observer.marks.contains_key(*mark));
    let wanted = expect.alerts.iter().chain(&expect.alerts_cleared);
    let unraised = wanted.filter(|rule| !observer.alerts.was_raised(**rule));
    let unraised = unraised.map(|&rule| Failure::AlertMissing(rule));
    let active = expect.alerts_cleared.iter().filter_map(|&rule| {
        let node = observer.alerts.active_on(rule).find(|node| observer.links.runs(*node))?;
        Some(Failure::AlertActive { rule, node })
    });
    let wrong = scenario.expect.outcomes.iter().filter_map(|(&outcome, &expected)| {
        let count = outcomes.iter().filter(|&&one| one == outcome).count();
        let actual = u32::try_from(count).unwrap_or(u32::MAX);
        (actual != expected).then_some(Failure::Outcomes { outcome, expected, actual })
    });
    missed.map(|&mark| Failure::NotReached(mark)).chain(unraised).chain(active).chain(wrong).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        if !self.why.is_empty() {
            writeln!(f, "  {}", self.why)?;
        }
        writeln!(
            f,
            "  {} on the {} executor, seed {}: {} s simulated in {:.2} s",
            pluralize(self.nodes.into(), "node"),
            self.executor,
            self.seed,
            self.simulated.as_secs_f64(),
            self.wall.as_secs_f64(),
        )?;
        if !self.story.is_empty() {
            writeln!(f, "\nstory")?;
        }
        for line in &self.story {
            writeln!(f, "  {:>10.3} s  {}", line.at.since(Instant::ZERO).as_secs_f64(), line.text)?;
        }
        if self.story_left_out > 0 {
            writeln!(f, "              and {} more lines", self.story_left_out)?;
        }
        self.write_figures(f)?;
        match self.failures.as_slice() {
            [] => writeln!(f, "\npassed  trace {}", self.trace.hash),
            failures => {
                writeln!(f, "\nFAILED  trace {}", self.trace.hash)?;
                for failure in failures {
                    writeln!(f, "  {failure}")?;
                    failure.description().map_or(Ok(()), |description| writeln!(f, "    {description}"))?;
                }
                self.write_last_events(f)?;
                writeln!(f, "\nrepeat it:  {}", self.repeat)?;
                match self.shrink() {
                    Some(command) => writeln!(f, "shrink it:  {command}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Failure {
    /// Returns what the violated invariant demands.
    fn description(&self) -> Option<String> {
        match self {
            Self::AlertActive { .. }
            | Self::AlertMissing(_)
            | Self::NotReached(_)
            | Self::Outcomes { .. } => None,
            Self::Violated(violation) => descriptions::for_invariant(violation.invariant),
        }
    }
}

impl Report {
    /// Returns the command that shrinks this failure; `None` if it cannot be shrunk.
    pub fn shrink(&self) -> Option<String> {
        self.symptom()?;
        Some(self.repeat.replacen("sim run", "sim shrink", 1))
    }

    fn write_last_events(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for LastEvents { node, events } in &self.last_events {
            writeln!(f, "\nlast events of n{node}")?;
            for Line { at, text } in events {
                writeln!(f, "  {:>10.3} s  {text}", at.since(Instant::ZERO).as_secs_f64())?;
            }
        }
        Ok(())
    }

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
            Some(Some(at)) => writeln!(
                f,
                "recovery    at {:.3} s every task had its outcome and the mesh was whole",
                at.since(Instant::ZERO).as_secs_f64()
            )?,
            Some(None) => {
                writeln!(f, "recovery    not seen: a task had no outcome, or the mesh was not whole")?
            }
        }
        if !self.faults.is_empty() {
            let faults: Vec<String> =
                self.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            writeln!(f, "faults      {}", faults.join(", "))?;
        }
        let checks: u64 = self.invariants.values().sum();
        let violated = self.failures.iter().any(|failure| matches!(failure, Failure::Violated(_)));
        let end = if violated { "one was violated" } else { "none was violated" };
        writeln!(f, "properties  {} checked {checks} times, {end}", self.invariants.len())
    }

    /// Returns how often each property was checked and each event happened, in lines.
    pub fn details(&self) -> String {
        let counts = |title: &str, counts: &BTreeMap<&'static str, u64>| {
            let line =
                |(name, count): (&&str, &u64)| format!("  {name:<width$}  {count:>8}\n", width = NAME_WIDTH);
            format!("\n{title}\n") + &counts.iter().map(line).collect::<String>()
        };
        let TraceSummary { inputs, outputs, .. } = &self.trace;
        counts("checks of each property", &self.invariants)
            + &counts("number of each event", &self.events)
            + &format!("\nthe nodes together had {inputs} inputs and {outputs} outputs\n")
    }
}

/// The width of the names of properties and events.
const NAME_WIDTH: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failures: Vec<Failure>) -> Report {
        Report {
            scenario: "scenarios/worker_dies.toml".to_owned(),
            why: "a worker that dies mid-task must not lose the task.".to_owned(),
            executor: Executor::EventQueue,
            seed: 7,
            nodes: 3,
            simulated: Duration::from_secs(60),
            wall: Duration::from_millis(12),
            outcomes: vec![OutcomeKind::Completed, OutcomeKind::Completed, OutcomeKind::Rejected],
            rejections: BTreeMap::from([("queue_full", 1)]),
            story: vec![Line { at: Instant::from_micros(5_000_000), text: "n1 loses power".to_owned() }],
            story_left_out: 2,
            invariants: BTreeMap::from([("one_terminal_outcome", 4)]),
            events: BTreeMap::from([("link_up", 6)]),
            liveness: Some(Some(Instant::from_micros(30_000_000))),
            trace: TraceSummary { hash: "0123456789abcdef".to_owned(), inputs: 10, outputs: 20 },
            faults: BTreeMap::from([("power_loss", 1)]),
            failures,
            last_events: vec![LastEvents {
                node: 1,
                events: vec![Line { at: Instant::from_micros(8_999_000), text: "task_started".to_owned() }],
            }],
            injected: Vec::new(),
            asked: BTreeMap::new(),
            repeat: "p2p-ai-agents sim run scenarios/worker_dies.toml --seed 7".to_owned(),
        }
    }

    #[test]
    fn people_read_a_story_and_its_end() {
        insta::assert_snapshot!(report(Vec::new()));
    }

    #[test]
    fn a_failure_names_what_is_wrong_and_how_to_see_it_again() {
        let violation = Violation {
            invariant: "one_terminal_outcome",
            at: Instant::from_micros(9_000_000),
            step: 1_234,
            node: Some(1),
            description: "task x finished a second time".to_owned(),
        };
        insta::assert_snapshot!(report(vec![
            Failure::Violated(violation),
            Failure::NotReached("task_reassigned")
        ]));
    }

    #[test]
    fn programs_get_json() {
        let json = report(Vec::new()).to_json();
        assert_eq!(json["simulated_micros"], 60_000_000);
        assert_eq!(json["outcomes"][2], "rejected");
        assert_eq!(json["trace"]["hash"], "0123456789abcdef");
    }
}
