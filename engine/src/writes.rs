//! Durable before promised: what a write, once durable, allows the node to say.

use crate::ids::{RequestId, TaskId, WriteId};
use crate::record::Record;
use crate::task::TaskResult;
use std::collections::BTreeMap;

/// What waits for a write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Promise {
    /// The task is accepted, and this request is told so.
    Accept(TaskId, RequestId),
    /// The task ends with this result.
    End(Box<TaskResult>),
    /// Storage answers.
    HealthCheck,
    /// Nothing: what was forgotten need not be durably so.
    Nothing,
    /// Storage takes writes.
    SelfCheck,
}

/// The writes under way.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    next: u64,
    promised: BTreeMap<WriteId, Promise>,
}

impl Writes {
    /// Begins a write and returns its name.
    pub(crate) fn begin(&mut self, promise: Promise) -> WriteId {
        let id = WriteId(self.next);
        self.next += 1;
        self.promised.insert(id, promise);
        id
    }

    /// Takes note that a write ended, and returns what waited for it.
    pub(crate) fn handle_done(&mut self, id: WriteId) -> Option<Promise> {
        self.promised.remove(&id)
    }

    /// Returns how many writes are under way.
    pub(crate) fn len(&self) -> usize {
        self.promised.len()
    }
}

/// Returns the records that end a task: its result stands in the place of the task.
pub(crate) fn ending(result: TaskResult) -> Vec<Record> {
    let task = result.summary.id;
    vec![Record::Result(Box::new(result)), Record::RemoveTask(task)]
}
