//! A task times out when its timeout has elapsed, and never earlier. The timeout counts from submission, and again
//! from each start of its origin, on the origin's clock, which stops while that machine sleeps.
//!
//! While an origin's process is suspended, no task of it ends. A task whose timeout elapses meanwhile ends soon after.

use crate::invariant::{Invariant, Observation};
use crate::node_set::{NodeIndex, NodeSet};
use crate::scenario::Scenario;
use core::time::Duration;
use engine::record::Record;
use engine::task::TaskStatus;
use engine::time::micros;
use engine::{Event, Instant, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// Tracks the deadline of each open task.
#[derive(Debug)]
pub(super) struct DeadlinesAreKept {
    timeouts: BTreeMap<TaskId, Duration>,
    /// When the timeout of each task began to count and when the task must have ended, by origin and task.
    open: BTreeMap<(NodeIndex, TaskId), (Instant, Instant)>,
    due: BTreeSet<(Instant, NodeIndex, TaskId)>,
    /// Origins that are suspended.
    suspended: NodeSet,
    /// When each stopped clock stopped.
    stopped_clocks: BTreeMap<NodeIndex, Instant>,
    /// The longest time for a write and the writes queued before it.
    write: Duration,
    /// The longest time that ending a task may take.
    slack: Duration,
    checks: u64,
}

pub(super) const NAME: &str = "deadlines_are_kept";

impl DeadlinesAreKept {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let write = scenario.disk_latency.to * WRITES_BEFORE;
        Self {
            timeouts: BTreeMap::new(),
            open: BTreeMap::new(),
            due: BTreeSet::new(),
            suspended: NodeSet::default(),
            stopped_clocks: BTreeMap::new(),
            write,
            slack: SLACK + write,
            checks: 0,
        }
    }

    fn begins(&mut self, now: Instant, node: NodeIndex, task: TaskId) {
        if let Some(&timeout) = self.timeouts.get(&task) {
            self.forget(node, task);
            let by = now.after(timeout + self.slack);
            self.open.insert((node, task), (now, by));
            self.due.insert((by, node, task));
        }
    }

    fn forget(&mut self, node: NodeIndex, task: TaskId) -> Option<Instant> {
        let (since, by) = self.open.remove(&(node, task))?;
        self.due.remove(&(by, node, task));
        Some(since)
    }

    /// Changes the deadlines of all tasks of an origin.
    fn change(&mut self, node: NodeIndex, change: impl Fn(Instant, Instant) -> (Instant, Instant)) {
        let all = (node, TaskId([0; 16]))..=(node, TaskId([0xff; 16]));
        for (&(_, task), (since, by)) in self.open.range_mut(all) {
            self.due.remove(&(*by, node, task));
            (*since, *by) = change(*since, *by);
            self.due.insert((*by, node, task));
        }
    }

    /// Returns a task that should have ended.
    fn late(&self, now: Instant) -> Option<(Instant, NodeIndex, TaskId)> {
        let over = self.due.iter().take_while(|(by, ..)| *by < now);
        over.copied().find(|(_, origin, _)| {
            !self.suspended.contains(*origin) && !self.stopped_clocks.contains_key(origin)
        })
    }

    fn finished(
        &mut self,
        now: Instant,
        node: NodeIndex,
        task: TaskId,
        status: TaskStatus,
    ) -> Result<(), String> {
        self.checks += 1;
        let Some(since) = self.forget(node, task) else { return Ok(()) };
        let timeout = self.timeouts.get(&task).copied().unwrap_or_default();
        let elapsed = now.since(since);
        // The task was submitted one write before it was accepted.
        if status == TaskStatus::Timeout && elapsed + self.write < timeout {
            let (elapsed, timeout) = (micros(elapsed), micros(timeout));
            return Err(format!("task {task} timed out after {elapsed} of {timeout} us"));
        }
        Ok(())
    }
}

impl Invariant for DeadlinesAreKept {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        if let Some((by, origin, task)) = self.late(now) {
            return Err(format!("task {task} of n{origin} should have ended by {by}"));
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern timeouts")]
        match observation {
            Observation::Stopped => {
                self.open.retain(|(origin, _), _| *origin != node);
                self.due.retain(|(_, origin, _)| *origin != node);
            }
            Observation::Durable(Record::Task(task)) => {
                self.timeouts.insert(task.id, task.spec.timeout);
            }
            Observation::Output(Output::Event(event)) => match event {
                Event::TaskAccepted { task, .. } | Event::TaskRecovered { task, .. } => {
                    self.begins(now, node, *task);
                }
                Event::TaskFinished { task, status, .. } => return self.finished(now, node, *task, *status),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn clock_stopped(&mut self, now: Instant, node: NodeIndex, stopped: bool) {
        if stopped {
            self.stopped_clocks.insert(node, now);
        } else if let Some(then) = self.stopped_clocks.remove(&node) {
            let pause = now.since(then);
            self.change(node, |since, by| (since.after(pause), by.after(pause)));
        }
    }

    fn process_suspended(&mut self, now: Instant, node: NodeIndex, suspended: bool) {
        self.suspended.set(node, suspended);
        let soon = now.after(self.slack);
        self.change(node, |since, by| (since, by.max(soon)));
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// The longest time that ending a task may take, besides the write.
const SLACK: Duration = Duration::from_secs(2);

/// The most writes that may be queued before the write that ends a task.
const WRITES_BEFORE: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, finished, recovered, task_record};

    const TASK: TaskId = TaskId([1; 16]);

    fn accepted() -> DeadlinesAreKept {
        let text = "nodes = 1\nduration = \"60s\"\n[disk]\nlatency = \"0s\"\n";
        let mut invariant = DeadlinesAreKept::new(&Scenario::parse("deadlines.toml", text).unwrap());
        invariant.observe(at(1), 0, Observation::Durable(&task_record(TASK))).unwrap();
        let recovered = Output::Event(recovered(TASK));
        invariant.observe(at(1), 0, Observation::Output(&recovered)).unwrap();
        invariant
    }

    #[test]
    fn an_end_too_early_or_too_late_is_wrong() {
        // The task of the record has a timeout of 10 s.
        let timeout = finished(TASK, TaskStatus::Timeout, None);
        assert!(accepted().observe(at(10), 0, Observation::Output(&timeout)).is_err());
        assert_eq!(accepted().observe(at(11), 0, Observation::Output(&timeout)), Ok(()));
        assert!(accepted().observe(at(14), 0, Observation::Output(&timeout)).is_err());
        let mut slept = accepted();
        slept.clock_stopped(at(2), 0, true);
        assert_eq!(slept.observe(at(60), 1, Observation::Started), Ok(()));
        slept.clock_stopped(at(62), 0, false);
        assert!(slept.observe(at(70), 0, Observation::Output(&timeout)).is_err(), "its time was not over");
        let mut slept = accepted();
        slept.clock_stopped(at(2), 0, true);
        slept.clock_stopped(at(62), 0, false);
        assert_eq!(slept.observe(at(73), 1, Observation::Started), Ok(()));
        assert!(slept.observe(at(74), 1, Observation::Started).is_err());
        let mut suspended = accepted();
        suspended.process_suspended(at(2), 0, true);
        assert_eq!(suspended.observe(at(60), 1, Observation::Started), Ok(()));
        suspended.process_suspended(at(60), 0, false);
        assert_eq!(suspended.observe(at(62), 0, Observation::Output(&timeout)), Ok(()));
        let mut stopped = accepted();
        assert_eq!(stopped.observe(at(5), 0, Observation::Stopped), Ok(()));
        assert_eq!(stopped.observe(at(14), 0, Observation::Started), Ok(()));
    }
}
