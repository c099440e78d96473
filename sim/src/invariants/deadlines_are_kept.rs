//! A task ends when its time is over, and not for that reason before: its time runs from when it was submitted, and anew
//! from each start of its origin.

use super::{Fact, Invariant};
use crate::cluster::NodeIndex;
use crate::scenario::Scenario;
use core::time::Duration;
use engine::record::Record;
use engine::task::TaskStatus;
use engine::time::micros;
use engine::{Event, Instant, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// Remembers until when each open task must have ended.
#[derive(Debug)]
pub(super) struct DeadlinesAreKept {
    timeouts: BTreeMap<TaskId, Duration>,
    /// By origin and task, since when its time runs.
    open: BTreeMap<(NodeIndex, TaskId), Instant>,
    due: BTreeSet<(Instant, NodeIndex, TaskId)>,
    /// How long a write may take, and those before it.
    write: Duration,
    /// How long an end may take.
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
            write,
            slack: SLACK + write,
            checks: 0,
        }
    }

    fn begins(&mut self, now: Instant, node: NodeIndex, task: TaskId) {
        if let Some(&timeout) = self.timeouts.get(&task) {
            self.forget(node, task);
            self.open.insert((node, task), now);
            self.due.insert((now.after(timeout + self.slack), node, task));
        }
    }

    fn forget(&mut self, node: NodeIndex, task: TaskId) -> Option<Instant> {
        let since = self.open.remove(&(node, task))?;
        let timeout = self.timeouts.get(&task).copied().unwrap_or_default();
        self.due.remove(&(since.after(timeout + self.slack), node, task));
        Some(since)
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
        // It was submitted a write before it was accepted.
        if status == TaskStatus::Timeout && elapsed + self.write < timeout {
            let (elapsed, timeout) = (micros(elapsed), micros(timeout));
            return Err(format!("task {task} ran out of time after {elapsed} of {timeout} us"));
        }
        Ok(())
    }
}

impl Invariant for DeadlinesAreKept {
    fn name(&self) -> &'static str {
        NAME
    }

    fn see(&mut self, now: Instant, node: NodeIndex, fact: Fact<'_>) -> Result<(), String> {
        if let Some((by, origin, task)) = self.due.first().filter(|(by, ..)| *by < now) {
            return Err(format!("task {task} of n{origin} should have ended by {by}"));
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these tell of tasks' times")]
        match fact {
            Fact::Stopped => {
                self.open.retain(|(origin, _), _| *origin != node);
                self.due.retain(|(_, origin, _)| *origin != node);
            }
            Fact::Durable(Record::Task(task)) => {
                self.timeouts.insert(task.id, task.spec.timeout);
            }
            Fact::Output(Output::Event(event)) => match event {
                Event::TaskAccepted { task, .. } | Event::TaskRecovered { task } => {
                    self.begins(now, node, *task);
                }
                Event::TaskFinished { task, status, .. } => return self.finished(now, node, *task, *status),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// How long an end may take besides its write.
const SLACK: Duration = Duration::from_secs(2);

/// Writes that the one of a task's end may have to wait for.
const WRITES_BEFORE: u32 = 64;

#[cfg(test)]
mod tests {
    use super::super::testing::{at, finished, task_record};
    use super::*;

    const TASK: TaskId = TaskId([1; 16]);

    fn accepted() -> DeadlinesAreKept {
        let text = "nodes = 1\nduration = \"60s\"\n[disk]\nlatency = \"0s\"\n";
        let mut invariant = DeadlinesAreKept::new(&Scenario::parse("deadlines.toml", text).unwrap());
        invariant.see(at(1), 0, Fact::Durable(&task_record(TASK))).unwrap();
        let recovered = Output::Event(Event::TaskRecovered { task: TASK });
        invariant.see(at(1), 0, Fact::Output(&recovered)).unwrap();
        invariant
    }

    #[test]
    fn an_end_too_early_or_too_late_is_wrong() {
        // The task of the record has 10 s.
        let timeout = finished(TASK, TaskStatus::Timeout, None);
        assert!(accepted().see(at(10), 0, Fact::Output(&timeout)).is_err());
        assert_eq!(accepted().see(at(11), 0, Fact::Output(&timeout)), Ok(()));
        assert!(accepted().see(at(14), 0, Fact::Output(&timeout)).is_err());
        let mut stopped = accepted();
        assert_eq!(stopped.see(at(5), 0, Fact::Stopped), Ok(()));
        assert_eq!(stopped.see(at(14), 0, Fact::Started), Ok(()));
    }
}
