//! A task has at most one terminal outcome, across all restarts of its origin: one record, and one event. That it has
//! one at all in the end is for [`crate::liveness`] to see.

use crate::invariant::{Fact, Invariant};
use crate::node_set::NodeIndex;
use engine::record::Record;
use engine::{Event, Output, TaskId};
use std::collections::BTreeSet;

/// Remembers each task's outcome.
#[derive(Debug, Default)]
pub(super) struct OneTerminalOutcome {
    recorded: BTreeSet<TaskId>,
    finished: BTreeSet<TaskId>,
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
}

impl Invariant for OneTerminalOutcome {
    fn name(&self) -> &'static str {
        NAME
    }

    fn see(&mut self, _: engine::Instant, _: NodeIndex, fact: Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Durable(Record::Result(result)) => self.recorded(result.summary.id),
            Fact::Output(Output::Event(Event::TaskFinished { task, .. })) => self.finished(*task),
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
    use engine::task::TaskStatus;

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
