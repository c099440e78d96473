//! A store in memory, for tests of its users.

use crate::ports::Store;
use engine::WriteError;
use engine::ids::{TaskId, WriteId};
use engine::observers::alerts::SavedAlerts;
use engine::record::{Record, Saved};
use engine::task::{StoredTask, TaskResult};
use std::collections::{BTreeMap, VecDeque};

/// Keeps records in memory. Each write is complete at once.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    alerts: SavedAlerts,
    tasks: BTreeMap<TaskId, StoredTask>,
    results: BTreeMap<TaskId, TaskResult>,
    /// Completed writes that `next` has not reported yet.
    done: VecDeque<WriteId>,
}

impl MemoryStore {
    /// Returns the records as a starting node would load them.
    pub fn saved(&self) -> Saved {
        let mut results: Vec<_> = self.results.values().map(|result| result.summary.clone()).collect();
        results.sort_by_key(|summary| (summary.completed_at, summary.id));
        Saved { alerts: self.alerts.clone(), tasks: self.tasks.values().cloned().collect(), results }
    }

    /// Returns a result with its output.
    pub fn result(&self, id: TaskId) -> Option<&TaskResult> {
        self.results.get(&id)
    }
}

impl Store for MemoryStore {
    fn write(&mut self, id: WriteId, records: Vec<Record>) {
        for record in records {
            match record {
                Record::Alerts(alerts) => self.alerts = *alerts,
                Record::Probe => {}
                Record::RemoveResult(task) => drop(self.results.remove(&task)),
                Record::RemoveTask(task) => drop(self.tasks.remove(&task)),
                Record::Result(result) => drop(self.results.insert(result.summary.id, *result)),
                Record::Task(task) => drop(self.tasks.insert(task.id, *task)),
            }
        }
        self.done.push_back(id);
    }

    async fn next(&mut self) -> (WriteId, Result<(), WriteError>) {
        match self.done.pop_front() {
            Some(id) => (id, Ok(())),
            // Nothing can complete before a write starts, and a write needs this future to be dropped.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_are_done_in_order_and_removals_remove() {
        let mut store = MemoryStore::default();
        store.write(WriteId(1), vec![Record::Probe]);
        store.write(
            WriteId(2),
            vec![Record::RemoveTask(TaskId([1; 16])), Record::RemoveResult(TaskId([1; 16]))],
        );
        assert_eq!(store.next().await, (WriteId(1), Ok(())));
        assert_eq!(store.next().await, (WriteId(2), Ok(())));
        assert_eq!((store.saved(), store.result(TaskId([1; 16]))), (Saved::default(), None));
    }
}
