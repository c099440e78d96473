//! What happened to a live simulation, to repeat it: the tasks that users submitted and the injected faults.
//!
//! Bounded: the newest [`TASKS_MAX`] tasks and [`FAULTS_MAX`] faults are kept, and only the beginning of a text, so that
//! the scenario fits into a file. Texts mean nothing to simulated models.

use crate::node_set::NodeIndex;
use crate::scenario::{
    Executor, Expect, Fault, FaultKind, Liveness, Range, Scenario, Submission, Submissions, Target, Workload,
};
use core::time::Duration;
use engine::Instant;
use engine::request::Request;
use engine::task::{TaskKind, TaskSpec};
use std::collections::{BTreeMap, VecDeque};

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    tasks: VecDeque<PastTask>,
    tasks_left_out: u64,
    faults: VecDeque<PastFault>,
    faults_left_out: u64,
    /// The shortest and the longest job, in microseconds.
    job_micros: Option<(u64, u64)>,
}

#[derive(Debug)]
struct PastTask {
    at: Instant,
    node: NodeIndex,
    kind: TaskKind,
    text: String,
    timeout: Duration,
}

#[derive(Debug)]
struct PastFault {
    fault: usize,
    kind: FaultKind,
    at: Instant,
    /// Whether it lasts until it is cleared.
    lasts: bool,
    /// When it was cleared.
    cleared: Option<Instant>,
}

impl History {
    /// Notes a request of a user to a node.
    pub(crate) fn request(&mut self, at: Instant, node: NodeIndex, request: &Request) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other requests submit no task")]
        let spec = match request {
            Request::Submit(spec) | Request::SubmitFor(spec, _) => spec,
            Request::SubmitTraced(task) => &task.spec,
            _ => return,
        };
        self.task(at, node, spec);
    }

    /// Notes a submitted task.
    pub(crate) fn task(&mut self, at: Instant, node: NodeIndex, spec: &TaskSpec) {
        if self.tasks.len() >= TASKS_MAX {
            self.tasks.pop_front();
            self.tasks_left_out += 1;
        }
        let text = spec.input.texts().first().map(|text| beginning(text)).unwrap_or_default();
        self.tasks.push_back(PastTask { at, node, kind: spec.input.kind(), text, timeout: spec.timeout });
    }

    /// Notes how long a job took.
    pub(crate) fn job(&mut self, micros: u64) {
        let (shortest, longest) = self.job_micros.unwrap_or((micros, micros));
        self.job_micros = Some((shortest.min(micros), longest.max(micros)));
    }

    /// Notes an injected fault.
    pub(crate) fn fault(&mut self, fault: usize, kind: &FaultKind, at: Instant, lasts: bool) {
        if self.faults.len() >= FAULTS_MAX {
            self.faults.pop_front();
            self.faults_left_out += 1;
        }
        self.faults.push_back(PastFault { fault, kind: kind.clone(), at, lasts, cleared: None });
    }

    /// Notes that a fault was cleared.
    pub(crate) fn cleared(&mut self, fault: usize, at: Instant) {
        let of_fault = |past: &&mut PastFault| past.fault == fault && past.cleared.is_none();
        if let Some(past) = self.faults.iter_mut().find(of_fault) {
            past.cleared = Some(at);
        }
    }

    /// Notes that all faults of the network and of machines were cleared.
    pub(crate) fn network_healed(&mut self, at: Instant) {
        for past in self.faults.iter_mut().filter(|past| past.cleared.is_none() && past.lasts) {
            let permanent = matches!(&past.kind, FaultKind::Machine { what, .. } if what.is_permanent());
            if !permanent && !past.kind.stops_node() {
                past.cleared = Some(at);
            }
        }
    }

    /// Returns what happened until `now` as a scenario that repeats it, and notes for its reader.
    pub(crate) fn to_scenario(
        &self,
        original: &Scenario,
        seed: u64,
        now: Duration,
    ) -> (Scenario, Vec<String>) {
        let kinds = self.tasks.iter().fold(BTreeMap::new(), |mut kinds: BTreeMap<TaskKind, u32>, task| {
            *kinds.entry(task.kind).or_default() += 1;
            kinds
        });
        let kind = kinds.iter().max_by_key(|(_, count)| **count).map(|(kind, _)| *kind);
        let mut notes = vec![format!("Recorded from a demo that ran for {} s.", now.as_secs())];
        if self.tasks_left_out > 0 {
            notes.push(format!("{} earlier tasks are left out.", self.tasks_left_out));
        }
        if self.faults_left_out > 0 {
            notes.push(format!("{} earlier faults are left out.", self.faults_left_out));
        }
        if let (Some(kind), 2..) = (kind, kinds.len()) {
            notes
                .push(format!("A scenario has tasks of one type: all are of the most frequent one, {kind}."));
        }
        let tasks = self.tasks.len();
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "the other faults concern no tasks of the workload"
        )]
        let repeatable = |past: &&PastFault| match &past.kind {
            FaultKind::Burst { .. } => tasks > 0,
            FaultKind::PoisonInput { tasks: poisoned } => {
                poisoned.iter().all(|&number| (number as usize) < tasks)
            }
            _ => true,
        };
        let faults = self.faults.iter().filter(repeatable).map(|past| past.to_fault(now)).collect();
        let workload = kind.map(|kind| self.workload(kind));
        let end = now + MARGIN;
        let scenario = Scenario {
            path: "recorded.toml".to_owned(),
            why: "a recorded demo, repeated with simulated models.".to_owned(),
            executor: Executor::EventQueue,
            chosen: Executor::EventQueue,
            seed: Some(seed),
            duration: end + RECOVERY,
            workload,
            faults,
            swarm: None,
            liveness: Some(Liveness { after: end, within: RECOVERY }),
            expect: Expect { always: original.expect.always.clone(), ..Expect::default() },
            ..original.clone()
        };
        (scenario, notes)
    }

    fn workload(&self, kind: TaskKind) -> Workload {
        let micros = |micros: u64| Duration::from_micros(micros).clamp(COMPUTE_MIN, COMPUTE_MAX);
        let (shortest, longest) = self.job_micros.unwrap_or_default();
        let listed = self.tasks.iter().map(|task| Submission {
            at: task.at.since(Instant::ZERO),
            origin: Target::Node(task.node),
            input: task.text.clone(),
        });
        Workload {
            submissions: Submissions::Listed(listed.collect()),
            compute: Range { from: micros(shortest), to: micros(longest) },
            kind,
            timeout: self.tasks.iter().map(|task| task.timeout).max().unwrap_or(COMPUTE_MAX),
        }
    }
}

impl PastFault {
    fn to_fault(&self, now: Duration) -> Fault {
        let at = self.at.since(Instant::ZERO);
        let end = self.cleared.map_or(now + MARGIN / 2, |cleared| cleared.since(Instant::ZERO));
        let kind = match self.lasts {
            // At least a microsecond, as a fault that is cleared at once is no fault in a file.
            true => self.kind.lasting(Some(end.saturating_sub(at).max(Duration::from_micros(1)))),
            false => self.kind.clone(),
        };
        Fault { at: Range { from: at, to: at }, per_million: 1_000_000, kind }
    }
}

/// Returns the beginning of a text; at least one character, because no task of a scenario has an empty input.
fn beginning(text: &str) -> String {
    let beginning: String = text.chars().take(TEXT_CHARS_MAX).collect();
    if beginning.trim().is_empty() { "text".to_owned() } else { beginning }
}

/// The newest tasks that are kept. With the texts, they fill about half of the largest scenario file.
const TASKS_MAX: usize = 4_000;
/// The newest faults that are kept.
const FAULTS_MAX: usize = 500;
/// The characters of a text that are kept.
const TEXT_CHARS_MAX: usize = 24;
/// The time between the last recorded moment and the healing of everything.
const MARGIN: Duration = Duration::from_secs(1);
/// The time in which the system must recover.
const RECOVERY: Duration = Duration::from_secs(120);
const COMPUTE_MIN: Duration = Duration::from_millis(1);
const COMPUTE_MAX: Duration = Duration::from_secs(30);
