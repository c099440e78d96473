//! A simulated disk: writes in flight, and durable records. It outlives the process that writes to it.
//!
//! A write is durable once it completes, and writes complete in the order in which they were started. A power loss
//! loses all writes in flight. If a process is killed, or power fails during a write, the first few writes in flight
//! may complete. A write is atomic, as a store promises: all of its records or none.

use engine::observers::alerts::SavedAlerts;
use engine::record::{Record, Saved};
use engine::task::{StoredTask, TaskResult};
use engine::{TaskId, WriteId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Results, each with the number of the write that first made it durable, which gives its age.
pub(crate) type Results = BTreeMap<TaskId, (u64, TaskResult)>;

/// One node's disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    alerts: SavedAlerts,
    tasks: BTreeMap<TaskId, StoredTask>,
    /// Also read from outside the simulation.
    results: Arc<Mutex<Results>>,
    in_flight: VecDeque<(WriteId, Vec<Record>)>,
    /// The number of writes started over the disk's lifetime.
    pub(crate) begun: u32,
    completed: u64,
}

impl Disk {
    /// Returns a new disk whose results can be read from elsewhere, too.
    pub(crate) fn with_results(results: Arc<Mutex<Results>>) -> Self {
        Self { results, ..Self::default() }
    }

    /// Starts a write.
    pub(crate) fn begin(&mut self, id: WriteId, records: Vec<Record>) {
        self.begun = self.begun.wrapping_add(1);
        self.in_flight.push_back((id, records));
    }

    /// Completes the oldest write in flight and returns it; `None` if there is none.
    pub(crate) fn complete(&mut self) -> Option<(WriteId, Vec<Record>)> {
        let (id, records) = self.in_flight.pop_front()?;
        self.completed += 1;
        for record in &records {
            self.apply(record);
        }
        Some((id, records))
    }

    /// Fails the oldest write in flight, so that nothing of it is durable, and returns it; `None` if there is none.
    pub(crate) fn fail(&mut self) -> Option<WriteId> {
        self.in_flight.pop_front().map(|(id, _)| id)
    }

    /// Returns the number of the oldest write in flight, over the disk's lifetime.
    pub(crate) fn oldest(&self) -> u32 {
        self.begun.wrapping_sub(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX))
    }

    /// Returns the number of writes in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Discards every write in flight.
    pub(crate) fn lose_in_flight(&mut self) {
        self.in_flight.clear();
    }

    /// Returns what a starting node reads.
    pub(crate) fn saved(&self) -> Saved {
        let stored = lock(&self.results);
        let mut results: Vec<_> = stored.values().collect();
        results.sort_by_key(|(age, result)| (result.summary.completed_at, *age));
        Saved {
            alerts: self.alerts.clone(),
            tasks: self.tasks.values().cloned().collect(),
            results: results.into_iter().map(|(_, result)| result.summary.clone()).collect(),
        }
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Alerts(alerts) => self.alerts.clone_from(alerts),
            Record::Probe => {}
            Record::RemoveResult(task) => {
                lock(&self.results).remove(task);
            }
            Record::RemoveTask(task) => {
                self.tasks.remove(task);
            }
            Record::Result(result) => {
                let entry = (self.completed, (**result).clone());
                lock(&self.results).insert(result.summary.id, entry);
            }
            Record::Task(task) => {
                self.tasks.insert(task.id, (**task).clone());
            }
        }
    }
}

/// Locks results, whatever became of another thread that had locked them.
pub(crate) fn lock(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::task::{TaskInput, TaskKind, TaskSpec};
    use engine::{TraceId, UnixMillis};

    fn task(number: u8) -> Record {
        let spec = TaskSpec {
            input: TaskInput::from_text(TaskKind::Embedding, "hello".to_owned()),
            model: None,
            timeout: core::time::Duration::from_secs(30),
        };
        Record::Task(Box::new(StoredTask {
            id: TaskId([number; 16]),
            spec,
            submitted_at: UnixMillis(0),
            trace: TraceId([0; 16]),
            attempts: 0,
            choice: None,
            caller: None,
        }))
    }

    fn saved_tasks(disk: &Disk) -> Vec<TaskId> {
        disk.saved().tasks.iter().map(|task| task.id).collect()
    }

    #[test]
    fn only_completed_writes_survive() {
        let mut disk = Disk::default();
        disk.begin(WriteId(1), vec![task(1)]);
        disk.begin(WriteId(2), vec![task(2)]);
        assert_eq!(saved_tasks(&disk), []);
        assert_eq!(disk.complete().map(|(id, _)| id), Some(WriteId(1)));
        disk.lose_in_flight();
        assert_eq!(disk.complete(), None);
        assert_eq!(saved_tasks(&disk), [TaskId([1; 16])]);
        disk.begin(WriteId(3), vec![Record::RemoveTask(TaskId([1; 16])), task(3), Record::Probe]);
        disk.complete();
        assert_eq!(saved_tasks(&disk), [TaskId([3; 16])]);
    }
}
