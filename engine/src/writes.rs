//! Durable before promised: the promises that the node keeps back until a write is durable.

use crate::ids::{RequestId, TaskId, WriteId};
use crate::record::Record;
use crate::task::TaskResult;
use crate::time::Instant;
use std::collections::BTreeMap;

/// What the node does once a write is durable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Promise {
    /// Accepts the task and replies to this request.
    Accept(TaskId, RequestId),
    /// Tells the alerts that they are stored.
    Alerts,
    /// Ends the task with this result.
    End(Box<TaskResult>),
    /// Reports to the health check that storage works.
    HealthCheck,
    /// Nothing. A deletion may be lost.
    Nothing,
    /// Reports to the self-check that storage works.
    SelfCheck,
}

/// The writes in progress.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    next: u64,
    promised: BTreeMap<WriteId, (Promise, Instant)>,
}

impl Writes {
    /// Begins a write and returns its id.
    pub(crate) fn begin(&mut self, now: Instant, promise: Promise) -> WriteId {
        let id = WriteId(self.next);
        self.next += 1;
        self.promised.insert(id, (promise, now));
        id
    }

    /// Ends a write. Returns its promise, and the time at which it began.
    pub(crate) fn handle_done(&mut self, id: WriteId) -> Option<(Promise, Instant)> {
        self.promised.remove(&id)
    }

    /// Returns the number of writes in progress.
    pub(crate) fn len(&self) -> usize {
        self.promised.len()
    }
}

/// Returns the records that end a task: its result replaces the task.
pub(crate) fn ending(result: TaskResult) -> Vec<Record> {
    let task = result.summary.id;
    vec![Record::Result(Box::new(result)), Record::RemoveTask(task)]
}
