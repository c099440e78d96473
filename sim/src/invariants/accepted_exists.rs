//! A task that is durable at its origin stays there until it has an outcome, and the outcome stays for its retention
//! time. Until then the disk keeps it and the node never answers that the task is unknown.

use crate::cluster;
use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::record::Record;
use engine::{Instant, Output, Rejection, TaskId, UnixMillis};
use std::collections::BTreeMap;

/// Tracks what each node must still have.
#[derive(Debug)]
pub(super) struct AcceptedExists {
    nodes: Vec<Kept>,
    results_max: usize,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    /// Each task, with the end of its retention time once it has an outcome.
    tasks: BTreeMap<TaskId, Option<UnixMillis>>,
    results: usize,
}

pub(super) const NAME: &str = "accepted_exists";

impl AcceptedExists {
    pub(super) fn new(nodes: usize, results_max: u32) -> Self {
        let results_max = usize::try_from(results_max).unwrap_or(usize::MAX);
        Self { nodes: vec![Kept::default(); nodes], results_max, checks: 0 }
    }

    fn durable(&mut self, now: Instant, node: NodeIndex, record: &Record) -> Result<(), String> {
        let kept = &mut self.nodes[node as usize];
        match record {
            Record::Alerts(_) | Record::Probe => {}
            Record::Task(task) => {
                kept.tasks.entry(task.id).or_insert(None);
            }
            Record::Result(result) => {
                let expires = Some(result.summary.expires_at);
                let before = kept.tasks.insert(result.summary.id, expires).flatten();
                kept.results += usize::from(before.is_none());
            }
            Record::RemoveTask(task) => {
                self.checks += 1;
                if kept.tasks.get(task) == Some(&None) {
                    return Err(format!("task {task} went from the disk, and has no outcome"));
                }
            }
            Record::RemoveResult(task) => {
                self.checks += 1;
                let too_many = kept.results > self.results_max;
                if let Some(expires) = kept.tasks.remove(task).flatten() {
                    kept.results -= 1;
                    if cluster::wall(now.as_micros()) < expires && !too_many {
                        return Err(format!("the outcome of task {task} went from the disk before its time"));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Invariant for AcceptedExists {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Durable(record) => self.durable(now, node, record),
            Observation::Output(Output::Reply { answer: Err(Rejection::TaskNotFound(task)), .. }) => {
                self.checks += 1;
                let kept = &self.nodes[node as usize];
                let until = kept.tasks.get(task);
                let over = until.copied().flatten().is_some_and(|until| {
                    cluster::wall(now.as_micros()) >= until || kept.results > self.results_max
                });
                if until.is_none() || over {
                    return Ok(());
                }
                Err(format!("a user was told that there is no task {task}"))
            }
            Observation::Input(_) | Observation::Output(_) | Observation::Started | Observation::Stopped => {
                Ok(())
            }
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, result_record, task_record};
    use engine::RequestId;

    const TASK: TaskId = TaskId([1; 16]);

    #[test]
    fn an_open_task_stays_on_the_disk_and_is_known() {
        let mut invariant = AcceptedExists::new(1, 10);
        let unknown = Output::Reply { id: RequestId(1), answer: Err(Rejection::TaskNotFound(TASK)) };
        assert_eq!(invariant.observe(at(1), 0, Observation::Output(&unknown)), Ok(()));
        assert_eq!(invariant.observe(at(1), 0, Observation::Durable(&task_record(TASK))), Ok(()));
        assert!(invariant.observe(at(1), 0, Observation::Output(&unknown)).is_err());
        assert!(invariant.observe(at(2), 0, Observation::Durable(&Record::RemoveTask(TASK))).is_err());
    }

    #[test]
    fn an_outcome_stays_for_its_time() {
        let mut invariant = AcceptedExists::new(1, 10);
        for (removed, good) in [(9, false), (11, true)] {
            let keep = result_record(TASK, 10);
            assert_eq!(invariant.observe(at(1), 0, Observation::Durable(&keep)), Ok(()));
            assert_eq!(invariant.observe(at(1), 0, Observation::Durable(&Record::RemoveTask(TASK))), Ok(()));
            let gone = invariant.observe(at(removed), 0, Observation::Durable(&Record::RemoveResult(TASK)));
            assert_eq!(gone.is_ok(), good, "removed after {removed} s");
        }
    }
}
