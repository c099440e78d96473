//! A task has at most one terminal outcome, across all restarts of its origin: one record and one event. The liveness
//! check verifies that it has one in the end.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::record::Record;
use engine::{Event, Output, TaskId};
use std::collections::BTreeSet;

/// Tracks the outcome of each task.
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

    fn observe(
        &mut self,
        _: engine::Instant,
        _: NodeIndex,
        observation: Observation<'_>,
    ) -> Result<(), String> {
        match observation {
            Observation::Durable(Record::Result(result)) => self.recorded(result.summary.id),
            Observation::Output(Output::Event(Event::TaskFinished { task, .. })) => self.finished(*task),
            Observation::Durable(_)
            | Observation::Input(_)
            | Observation::Output(_)
            | Observation::Started
            | Observation::Stopped => Ok(()),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::finished;
    use engine::task::TaskStatus;

    #[test]
    fn finishing_twice_is_wrong() {
        let mut invariant = OneTerminalOutcome::default();
        let finished = |task| finished(TaskId([task; 16]), TaskStatus::Completed, None);
        assert_eq!(invariant.observe(engine::Instant::ZERO, 0, Observation::Output(&finished(1))), Ok(()));
        assert_eq!(invariant.observe(engine::Instant::ZERO, 0, Observation::Output(&finished(2))), Ok(()));
        assert!(invariant.observe(engine::Instant::ZERO, 1, Observation::Output(&finished(1))).is_err());
        assert_eq!(invariant.checks(), 3);
    }
}
