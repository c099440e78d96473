//! A task has at most one terminal outcome, across all restarts of its origin: one record, one event, and one
//! answer however often its user asks. That it has one at all in the end is for [`crate::liveness`] to see.

use super::{Fact, Invariant};
use crate::cluster::NodeIndex;
use engine::record::Record;
use engine::request::Response;
use engine::task::TaskStatus;
use engine::{Event, NodeId, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// Remembers each task's outcome.
#[derive(Debug, Default)]
pub(super) struct OneTerminalOutcome {
    recorded: BTreeSet<TaskId>,
    finished: BTreeSet<TaskId>,
    shown: BTreeMap<TaskId, (TaskStatus, Option<NodeId>)>,
    checks: u64,
}

pub(super) const NAME: &str = "one_terminal_outcome";

impl OneTerminalOutcome {
    fn recorded(&mut self, task: TaskId) -> Result<(), String> {
        self.checks += 1;
        if self.recorded.insert(task) {
            return Ok(());
        }
        Err(format!("task {task} got a second result record"))
    }

    fn finished(&mut self, task: TaskId) -> Result<(), String> {
        self.checks += 1;
        if self.finished.insert(task) {
            return Ok(());
        }
        Err(format!("task {task} finished a second time"))
    }

    fn shown(&mut self, task: TaskId, outcome: (TaskStatus, Option<NodeId>)) -> Result<(), String> {
        self.checks += 1;
        let first = *self.shown.entry(task).or_insert(outcome);
        if first == outcome {
            return Ok(());
        }
        Err(format!("task {task} was shown as {}, and then as {}", first.0, outcome.0))
    }
}

impl Invariant for OneTerminalOutcome {
    fn name(&self) -> &'static str {
        NAME
    }

    fn see(&mut self, _: engine::Instant, _: NodeIndex, fact: Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Durable(Record::Result(result)) => self.recorded(result.summary.id),
            Fact::Output(Output::Event(Event::TaskFinished { task, .. })) => self.finished(*task),
            Fact::Output(Output::Reply { answer: Ok(Response::Task(view)), .. })
                if view.status.is_terminal() =>
            {
                self.shown(view.id, (view.status, view.worker))
            }
            Fact::Durable(_) | Fact::Input(_) | Fact::Output(_) | Fact::Started | Fact::Stopped => Ok(()),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finishing_twice_is_wrong() {
        let mut invariant = OneTerminalOutcome::default();
        let finished = |task| {
            Output::Event(Event::TaskFinished {
                task: TaskId([task; 16]),
                status: TaskStatus::Completed,
                worker: None,
                elapsed_micros: 1,
            })
        };
        assert_eq!(invariant.see(engine::Instant::ZERO, 0, Fact::Output(&finished(1))), Ok(()));
        assert_eq!(invariant.see(engine::Instant::ZERO, 0, Fact::Output(&finished(2))), Ok(()));
        assert!(invariant.see(engine::Instant::ZERO, 1, Fact::Output(&finished(1))).is_err());
        assert_eq!(invariant.checks(), 3);
    }
}
