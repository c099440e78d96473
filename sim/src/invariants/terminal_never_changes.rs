//! The outcome of a task never changes: records, events and answers to users always agree on it, and a task that has
//! ended is never shown as open.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::record::Record;
use engine::request::{Response, TaskView};
use engine::task::TaskStatus;
use engine::{Event, Instant, NodeId, Output, TaskId};
use std::collections::BTreeMap;

/// Tracks the first observed outcome of each task, and its node.
#[derive(Debug, Default)]
pub(super) struct TerminalNeverChanges {
    ends: BTreeMap<TaskId, (NodeIndex, TaskStatus, Option<NodeId>)>,
    checks: u64,
}

pub(super) const NAME: &str = "terminal_never_changes";

impl TerminalNeverChanges {
    fn ended(
        &mut self,
        node: NodeIndex,
        task: TaskId,
        status: TaskStatus,
        worker: Option<NodeId>,
    ) -> Result<(), String> {
        self.checks += 1;
        let &mut (_, first, by) = self.ends.entry(task).or_insert((node, status, worker));
        if (first, by) == (status, worker) {
            return Ok(());
        }
        Err(format!("task {task} was {first}, and then {status}"))
    }

    fn shown(&mut self, node: NodeIndex, view: &TaskView) -> Result<(), String> {
        if view.status.is_terminal() {
            return self.ended(node, view.id, view.status, view.worker);
        }
        match self.ends.get(&view.id) {
            // Until the node knows that its record is durable, it shows the task as open.
            Some((origin, first, _)) if *origin != node => {
                Err(format!("task {} is {first} at n{origin}, and {} here", view.id, view.status))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Invariant for TerminalNeverChanges {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Durable(Record::Result(result)) => {
                let summary = &result.summary;
                if result.outcome.status() != summary.status {
                    return Err(format!("the record of task {} contradicts itself", summary.id));
                }
                self.ended(node, summary.id, summary.status, summary.worker)
            }
            Observation::Output(Output::Event(Event::TaskFinished { task, status, worker, .. })) => {
                self.ended(node, *task, *status, *worker)
            }
            Observation::Output(Output::Reply { answer: Ok(Response::Task(view)), .. }) => {
                self.shown(node, view)
            }
            Observation::Output(Output::Reply { answer: Ok(Response::Tasks { tasks, .. }), .. }) => {
                tasks.iter().try_for_each(|view| self.shown(node, view))
            }
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
    use crate::invariants::testing::{at, finished, result_record};

    const TASK: TaskId = TaskId([1; 16]);

    #[test]
    fn another_end_is_wrong() {
        let mut invariant = TerminalNeverChanges::default();
        assert_eq!(invariant.observe(at(1), 0, Observation::Durable(&result_record(TASK, 9))), Ok(()));
        let same = finished(TASK, TaskStatus::Completed, None);
        assert_eq!(invariant.observe(at(1), 0, Observation::Output(&same)), Ok(()));
        let other = finished(TASK, TaskStatus::Timeout, None);
        assert!(invariant.observe(at(2), 0, Observation::Output(&other)).is_err());
        let by_another = finished(TASK, TaskStatus::Completed, Some(NodeId([2; 16])));
        assert!(invariant.observe(at(2), 0, Observation::Output(&by_another)).is_err());
    }
}
