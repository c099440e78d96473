//! A disk contains exactly what became durable on it: a node that restarts loads exactly that, and reports exactly
//! that to users.
//!
//! The model of a disk is two maps, and the alerts.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::observers::alerts::SavedAlerts;
use engine::record::{Record, Saved};
use engine::request::{Response, TaskView};
use engine::task::{ResultSummary, StoredTask};
use engine::{Event, Instant, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// The models of all disks.
#[derive(Debug)]
pub(crate) struct Store {
    disks: Vec<Disk>,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    alerts: SavedAlerts,
    tasks: BTreeMap<TaskId, StoredTask>,
    results: BTreeMap<TaskId, ResultSummary>,
    /// What the node has loaded since it started, until loading is complete.
    found: Option<BTreeSet<TaskId>>,
}

pub(crate) const NAME: &str = "store_is_its_model";

impl Store {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { disks: vec![Disk::default(); nodes], checks: 0 }
    }
}

impl Disk {
    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Alerts(alerts) => self.alerts.clone_from(alerts),
            Record::Probe => {}
            Record::Task(task) => {
                self.tasks.insert(task.id, (**task).clone());
                if self.results.contains_key(&task.id) {
                    return Err(format!("task {} is stored as open but has an outcome", task.id));
                }
            }
            Record::RemoveTask(task) => {
                self.tasks.remove(task);
            }
            Record::Result(result) => {
                self.results.insert(result.summary.id, result.summary.clone());
            }
            Record::RemoveResult(task) => {
                self.results.remove(task);
            }
        }
        Ok(())
    }

    fn compare(&self, saved: &Saved) -> Result<(), String> {
        let tasks: BTreeMap<TaskId, &StoredTask> = saved.tasks.iter().map(|task| (task.id, task)).collect();
        let results: BTreeMap<TaskId, &ResultSummary> =
            saved.results.iter().map(|result| (result.id, result)).collect();
        if tasks.len() != saved.tasks.len() || results.len() != saved.results.len() {
            return Err("the disk contains a record twice".to_owned());
        }
        if saved.alerts != self.alerts {
            return Err("the alerts on the disk are not those that became durable".to_owned());
        }
        if !tasks.into_iter().eq(self.tasks.iter().map(|(id, task)| (*id, task))) {
            return Err("the open tasks on the disk are not those that became durable".to_owned());
        }
        if !results.into_iter().eq(self.results.iter().map(|(id, result)| (*id, result))) {
            return Err("the results on the disk are not those that became durable".to_owned());
        }
        Ok(())
    }

    fn shown(&self, view: &TaskView) -> Result<(), String> {
        match &view.result {
            Some(result) if self.results.get(&view.id) != Some(result) => {
                Err(format!("the result of task {} shown to a user differs from the disk", view.id))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Invariant for Store {
    fn name(&self) -> &'static str {
        NAME
    }

    fn state_loaded(&mut self, node: NodeIndex, saved: &Saved) -> Result<(), String> {
        self.checks += 1;
        self.disks[node as usize].compare(saved)
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let disk = &mut self.disks[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern stored records")]
        match observation {
            Observation::Started => disk.found = Some(BTreeSet::new()),
            Observation::Durable(record) => return disk.apply(record),
            Observation::Output(Output::Event(Event::TaskRecovered { task, .. })) => {
                disk.found.as_mut().map(|found| found.insert(*task));
            }
            // A node's first write comes after it has loaded everything.
            Observation::Output(Output::Write { .. }) => {
                if let Some(found) = disk.found.take() {
                    self.checks += 1;
                    if !found.iter().eq(disk.tasks.keys()) {
                        let (found, kept) = (found.len(), disk.tasks.len());
                        return Err(format!("it recovers {found} tasks, but its disk has {kept}"));
                    }
                }
            }
            Observation::Output(Output::Reply { answer: Ok(Response::Task(view)), .. }) => {
                self.checks += 1;
                return disk.shown(view);
            }
            Observation::Output(Output::Reply { answer: Ok(Response::Tasks { tasks, .. }), .. }) => {
                return tasks.iter().try_for_each(|view| disk.shown(view));
            }
            _ => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, recovered, result_record, task_record};
    use engine::WriteId;

    const TASK: TaskId = TaskId([1; 16]);

    #[test]
    fn a_task_that_is_not_found_again_is_missed() {
        let first_write = Output::Write { id: WriteId(0), records: vec![Record::Probe] };
        let recovered = Output::Event(recovered(TASK));
        for (found, good) in [(true, true), (false, false)] {
            let mut store = Store::new(1);
            let mut observe = |observation: Observation<'_>| store.observe(at(1), 0, observation);
            assert_eq!(observe(Observation::Durable(&task_record(TASK))), Ok(()));
            assert_eq!(observe(Observation::Started), Ok(()));
            if found {
                assert_eq!(observe(Observation::Output(&recovered)), Ok(()));
            }
            assert_eq!(observe(Observation::Output(&first_write)).is_ok(), good);
        }
    }

    #[test]
    fn a_disk_that_differs_is_wrong() {
        let mut store = Store::new(1);
        assert_eq!(store.state_loaded(0, &Saved::default()), Ok(()));
        store.observe(at(1), 0, Observation::Durable(&task_record(TASK))).unwrap();
        assert!(store.state_loaded(0, &Saved::default()).is_err());
        store.observe(at(1), 0, Observation::Durable(&result_record(TASK, 9))).unwrap();
        store.observe(at(1), 0, Observation::Durable(&Record::RemoveTask(TASK))).unwrap();
        assert!(store.state_loaded(0, &Saved::default()).is_err());
        assert!(
            store.observe(at(1), 0, Observation::Durable(&task_record(TASK))).is_err(),
            "it has its outcome"
        );
    }
}
