//! Spans of time: the states of nodes, tasks and their attempts, suspicions of peers, and faults.

use crate::faults::Step;
use crate::node_set::NodeIndex;
use engine::task::TaskStatus;
use engine::{JobId, TaskId};
use std::collections::BTreeMap;

/// A node in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateSpan {
    pub(crate) node: NodeIndex,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
    pub(crate) state: &'static str,
}

/// A suspicion of one node against another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SuspicionSpan {
    pub(crate) node: NodeIndex,
    pub(crate) peer: NodeIndex,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
    /// Whether it ended with the peer being declared dead.
    pub(crate) dead: bool,
}

/// A task from its acceptance to its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) origin: NodeIndex,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
    pub(crate) status: Option<TaskStatus>,
    pub(crate) worker: Option<NodeIndex>,
    /// The attempts of the task.
    pub(crate) attempts: Vec<Attempt>,
}

/// One attempt, as the task's origin sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) worker: NodeIndex,
    pub(crate) number: u32,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
    pub(crate) end: String,
}

/// One attempt, as its worker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) node: NodeIndex,
    pub(crate) task: u32,
    pub(crate) attempt: u32,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
    pub(crate) end: &'static str,
    job: Option<JobId>,
}

/// A fault in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultSpan {
    pub(crate) fault: usize,
    pub(crate) words: String,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
    /// The affected nodes, by group; empty for all.
    pub(crate) groups: Vec<(NodeIndex, usize)>,
    pub(crate) stops: bool,
}

/// Growing spans.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    pub(crate) lives: Vec<StateSpan>,
    pub(crate) suspicions: Vec<SuspicionSpan>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) runs: Vec<Run>,
    pub(crate) bands: Vec<FaultSpan>,
    numbers: BTreeMap<TaskId, u32>,
    open_lives: BTreeMap<NodeIndex, usize>,
    open_suspicions: BTreeMap<(NodeIndex, NodeIndex), usize>,
    open_runs: BTreeMap<NodeIndex, Vec<usize>>,
}

impl Spans {
    /// Returns a task's number in the order of acceptance, from 1; 0 if it was not accepted or is beyond the limit.
    pub(crate) fn number(&self, task: TaskId) -> u32 {
        self.numbers.get(&task).copied().unwrap_or_default()
    }

    pub(crate) fn life(&mut self, at: u64, node: NodeIndex, state: Option<&'static str>) {
        if let Some(open) = self.open_lives.remove(&node) {
            self.lives[open].to = Some(at);
        }
        if let Some(state) = state
            && self.lives.len() < SPANS_MAX
        {
            self.open_lives.insert(node, self.lives.len());
            self.lives.push(StateSpan { node, from: at, to: None, state });
        }
    }

    /// Ends the state, the attempts and the suspicions of a process that is gone.
    pub(crate) fn stopped(&mut self, at: u64, node: NodeIndex) {
        self.life(at, node, None);
        self.end_runs(at, node, "lost", |_| true);
        let open: Vec<_> =
            self.open_suspicions.range((node, 0)..=(node, NodeIndex::MAX)).map(|(&key, _)| key).collect();
        for (_, peer) in open {
            self.suspicion_ended(at, node, peer, false);
        }
    }

    pub(crate) fn suspected(&mut self, at: u64, node: NodeIndex, peer: NodeIndex) {
        self.suspicion_ended(at, node, peer, false);
        if self.suspicions.len() < SPANS_MAX {
            self.open_suspicions.insert((node, peer), self.suspicions.len());
            self.suspicions.push(SuspicionSpan { node, peer, from: at, to: None, dead: false });
        }
    }

    pub(crate) fn suspicion_ended(&mut self, at: u64, node: NodeIndex, peer: NodeIndex, dead: bool) {
        if let Some(open) = self.open_suspicions.remove(&(node, peer)) {
            let suspicion = &mut self.suspicions[open];
            (suspicion.to, suspicion.dead) = (Some(at), dead);
        }
    }

    pub(crate) fn accepted(&mut self, at: u64, node: NodeIndex, task: TaskId) {
        if self.tasks.len() < SPANS_MAX && !self.numbers.contains_key(&task) {
            let attempts = Vec::new();
            let task =
                Task { id: task, origin: node, from: at, to: None, status: None, worker: None, attempts };
            let id = task.id;
            self.tasks.push(task);
            self.numbers.insert(id, u32::try_from(self.tasks.len()).unwrap_or(u32::MAX));
        }
    }

    pub(crate) fn assigned(&mut self, at: u64, task: TaskId, worker: NodeIndex, number: u32) {
        if let Some(task) = self.task(task) {
            task.end_attempts(at, "given to another", |_| true);
            if task.attempts.len() < ATTEMPTS_MAX {
                task.attempts.push(Attempt { worker, number, from: at, to: None, end: String::new() });
            }
        }
    }

    pub(crate) fn taken_back(&mut self, at: u64, task: TaskId, worker: NodeIndex, why: &str) {
        if let Some(task) = self.task(task) {
            task.end_attempts(at, why, |attempt| attempt.worker == worker);
        }
    }

    pub(crate) fn finished(&mut self, at: u64, task: TaskId, status: TaskStatus, worker: Option<NodeIndex>) {
        if let Some(task) = self.task(task) {
            task.end_attempts(at, "finished", |_| true);
            (task.to, task.status, task.worker) = (Some(at), Some(status), worker);
        }
    }

    pub(crate) fn begun(&mut self, at: u64, node: NodeIndex, task: TaskId, attempt: u32) {
        let task = self.number(task);
        self.end_runs(at, node, "superseded", |run| run.task == task);
        if self.runs.len() < SPANS_MAX {
            self.open_runs.entry(node).or_default().push(self.runs.len());
            self.runs.push(Run { node, task, attempt, from: at, to: None, end: "", job: None });
        }
    }

    /// Assigns the most recently started attempts to a job, one for each of its items.
    pub(crate) fn job(&mut self, node: NodeIndex, job: JobId, items: usize) {
        let open = self.open_runs.entry(node).or_default();
        for &run in open.iter().rev().take(items) {
            self.runs[run].job.get_or_insert(job);
        }
    }

    pub(crate) fn job_done(&mut self, at: u64, node: NodeIndex, job: JobId, end: &'static str) {
        self.end_runs(at, node, end, |run| run.job == Some(job));
    }

    pub(crate) fn fault(
        &mut self,
        at: u64,
        step: Step,
        words: &str,
        groups: Vec<(NodeIndex, usize)>,
        stops: bool,
    ) {
        let mut close = |which: &dyn Fn(&FaultSpan) -> bool| {
            self.bands
                .iter_mut()
                .filter(|band| band.to.is_none() && which(band))
                .for_each(|band| band.to = Some(at));
        };
        match step {
            Step::Clear(fault) => close(&|band| band.fault == fault),
            Step::HealAll => close(&|band| !band.stops),
            Step::Inject(fault) => {
                if self.bands.len() < SPANS_MAX {
                    let words = words.to_owned();
                    self.bands.push(FaultSpan { fault, words, from: at, to: None, groups, stops });
                }
            }
        }
    }

    fn task(&mut self, task: TaskId) -> Option<&mut Task> {
        let number = self.number(task).checked_sub(1)?;
        self.tasks.get_mut(number as usize)
    }

    fn end_runs(&mut self, at: u64, node: NodeIndex, end: &'static str, which: impl Fn(&Run) -> bool) {
        let runs = &mut self.runs;
        if let Some(open) = self.open_runs.get_mut(&node) {
            open.retain(|&index| {
                let run = &mut runs[index];
                let ends = which(run);
                if ends {
                    (run.to, run.end) = (Some(at), end);
                }
                !ends
            });
        }
    }
}

impl Task {
    fn end_attempts(&mut self, at: u64, end: &str, which: impl Fn(&Attempt) -> bool) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.to.is_none() && which(attempt)) {
            attempt.to = Some(at);
            end.clone_into(&mut attempt.end);
        }
    }
}

/// The most spans of one kind; further ones are not shown.
const SPANS_MAX: usize = 100_000;

/// The most attempts of one task that are shown.
const ATTEMPTS_MAX: usize = 64;
