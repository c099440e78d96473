//! An origin handles its tasks as its model does: a task waits, is assigned to one worker with the next attempt
//! number, is taken back from it only for a true reason, and ends once; no task stays with a worker that is
//! unresponsive or gone; and the number of open tasks stays within its limit.
//!
//! The model of an origin is a map from each task to its place.

use crate::cluster::Cluster;
use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use core::time::Duration;
use engine::event::{LinkDownReason, ReassignReason};
use engine::lifecycle::State;
use engine::record::Record;
use engine::request::{Response, TaskView};
use engine::task::TaskStatus;
use engine::{Event, Instant, NodeId, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The models of all origins.
#[derive(Debug)]
pub(crate) struct Origins {
    cluster: Arc<Cluster>,
    origins: Vec<Origin>,
    /// Nodes that have left gracefully so far.
    left: BTreeSet<NodeId>,
    open_max: usize,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct Origin {
    tasks: BTreeMap<TaskId, Task>,
    open: usize,
    members: BTreeSet<NodeId>,
    slow: BTreeSet<NodeId>,
    /// Nodes that in this step turned out to be unreachable or restarted.
    lost: BTreeSet<NodeId>,
    /// Nodes that in this step lost a task and must be told so.
    untold: BTreeSet<NodeId>,
    /// Whether a node was lost in this step, so that no task may remain assigned to it after the step.
    check_due: bool,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    place: Place,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ended(TaskStatus),
    /// The outcome is being written.
    Ending,
    Waiting,
    With(NodeId, Instant),
}

pub(crate) const NAME: &str = "origin_follows_its_model";

impl Origins {
    pub(crate) fn new(cluster: Arc<Cluster>, open_max: u32) -> Self {
        let origins = vec![Origin::default(); cluster.len()];
        let open_max = usize::try_from(open_max).unwrap_or(usize::MAX);
        Self { cluster, origins, left: BTreeSet::new(), open_max, checks: 0 }
    }

    fn event(&mut self, now: Instant, node: NodeIndex, event: &Event) -> Result<(), String> {
        let me = self.cluster.id(node);
        let origin = &mut self.origins[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern tasks and workers")]
        match event {
            Event::TaskAccepted { task, .. } => {
                self.checks += 1;
                origin.begins(*task)?;
                if origin.open > self.open_max {
                    return Err(format!(
                        "{} tasks are open, but the limit is {}",
                        origin.open, self.open_max
                    ));
                }
            }
            Event::TaskRecovered { task, .. } => origin.begins(*task)?,
            Event::TaskAssigned { task, worker, attempt, .. } => {
                self.checks += 1;
                origin.assigned(now, *task, *worker, *attempt)?;
            }
            Event::TaskReassigned { task, worker, reason, .. } => {
                self.checks += 1;
                let left = self.left.contains(worker);
                origin.returned(now, me, *task, *worker, *reason, left)?;
                let may_go_on = matches!(reason, ReassignReason::LeaseExpired | ReassignReason::Unreachable);
                if may_go_on && origin.members.contains(worker) {
                    origin.untold.insert(*worker);
                }
            }
            Event::MessageSent { destination, .. } => {
                origin.untold.remove(destination);
            }
            Event::TaskFinished { task, status, .. } => {
                self.checks += 1;
                let place = origin.tasks.get(task).map(|task| task.place);
                if place != Some(Place::Ended(*status)) {
                    return Err(format!("task {task} finished as {status} in place {place:?}"));
                }
            }
            Event::MemberJoined { member } => {
                origin.members.insert(*member);
            }
            Event::MemberLeft { member } => {
                origin.members.remove(member);
                origin.untold.remove(member);
                origin.check_due = true;
            }
            Event::PeerSlow { peer } => {
                origin.slow.insert(*peer);
                origin.check_due = true;
            }
            Event::PeerRecovered { peer } => {
                origin.slow.remove(peer);
            }
            Event::LinkDown { peer, reason, .. } => {
                origin.slow.remove(peer);
                if *reason == LinkDownReason::Restarted {
                    origin.lost.insert(*peer);
                }
            }
            Event::MessageUnacknowledged { destination, .. } => {
                origin.lost.insert(*destination);
            }
            Event::StateChanged { to: State::ShuttingDown, .. } => {
                self.left.insert(me);
            }
            _ => {}
        }
        Ok(())
    }

    fn step_ends(&mut self, node: NodeIndex) -> Result<(), String> {
        let me = self.cluster.id(node);
        let origin = &mut self.origins[node as usize];
        if !origin.lost.is_empty() {
            origin.lost.clear();
        }
        if let Some(worker) = origin.untold.pop_first() {
            return Err(format!("a task was taken from {worker}, which was not told"));
        }
        if !core::mem::take(&mut origin.check_due) {
            return Ok(());
        }
        for (task, Task { place, .. }) in &origin.tasks {
            let Place::With(worker, _) = *place else { continue };
            let answers = origin.members.contains(&worker) && !origin.slow.contains(&worker);
            if worker != me && !answers {
                return Err(format!("task {task} stays with {worker}, which does not respond"));
            }
        }
        Ok(())
    }
}

impl Origin {
    fn begins(&mut self, task: TaskId) -> Result<(), String> {
        self.open += 1;
        match self.tasks.insert(task, Task { place: Place::Waiting, attempts: 0 }) {
            None => Ok(()),
            Some(_) => Err(format!("task {task} starts a second time")),
        }
    }

    fn assigned(&mut self, now: Instant, task: TaskId, worker: NodeId, attempt: u32) -> Result<(), String> {
        match self.tasks.get_mut(&task) {
            Some(known) if known.place == Place::Waiting && attempt == known.attempts + 1 => {
                *known = Task { place: Place::With(worker, now), attempts: attempt };
                Ok(())
            }
            known => Err(format!("attempt {attempt} of task {task} starts in state {known:?}")),
        }
    }

    fn returned(
        &mut self,
        now: Instant,
        me: NodeId,
        task: TaskId,
        worker: NodeId,
        reason: ReassignReason,
        left: bool,
    ) -> Result<(), String> {
        let Some(known) = self.tasks.get_mut(&task) else {
            return Err(format!("task {task} is taken back but unknown"));
        };
        let Place::With(holder, since) = known.place else {
            return Err(format!("task {task} is taken back in state {known:?}"));
        };
        let reached = self.members.contains(&worker) || worker == me;
        let is_true = match reason {
            ReassignReason::Crashed
            | ReassignReason::Missing
            | ReassignReason::ModelChanged
            | ReassignReason::Refused => true,
            ReassignReason::HandedBack => left,
            ReassignReason::LeaseExpired => now.since(since) >= LEASE,
            ReassignReason::Unreachable => {
                !reached || self.slow.contains(&worker) || self.lost.contains(&worker)
            }
        };
        if holder != worker || !is_true {
            return Err(format!("task {task} is taken from {worker} for an untrue reason ({reason:?})"));
        }
        known.place = Place::Waiting;
        Ok(())
    }

    fn ended(&mut self, task: TaskId, status: TaskStatus, attempts: u32) -> Result<(), String> {
        let Some(known) = self.tasks.get_mut(&task) else { return Ok(()) };
        if !matches!(known.place, Place::Ended(_)) {
            self.open = self.open.saturating_sub(1);
        }
        known.place = Place::Ended(status);
        if known.attempts == attempts {
            return Ok(());
        }
        Err(format!("task {task} ended after {attempts} attempts, but there were {}", known.attempts))
    }

    fn shown(&self, view: &TaskView) -> Result<(), String> {
        match self.tasks.get(&view.id) {
            Some(known) if known.attempts != view.attempts => {
                Err(format!("task {} is shown with {} attempts: {known:?}", view.id, view.attempts))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Invariant for Origins {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::INPUTS | Interests::OUTPUTS
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Input(_) => self.step_ends(node),
            Observation::Started => {
                self.origins[node as usize] = Origin::default();
                Ok(())
            }
            Observation::Durable(Record::Result(result)) => {
                let summary = &result.summary;
                self.origins[node as usize].ended(summary.id, summary.status, summary.attempts)
            }
            Observation::Output(Output::Event(event)) => self.event(now, node, event),
            Observation::Output(Output::Write { records, .. }) => {
                for record in records {
                    if let Record::Result(result) = record
                        && let Some(known) = self.origins[node as usize].tasks.get_mut(&result.summary.id)
                        && !matches!(known.place, Place::Ended(_))
                    {
                        known.place = Place::Ending;
                    }
                }
                Ok(())
            }
            Observation::Output(Output::Reply { answer: Ok(Response::Task(view)), .. }) => {
                self.origins[node as usize].shown(view)
            }
            Observation::Durable(_) | Observation::Output(_) | Observation::Stopped => Ok(()),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// How long a worker keeps a task without any news.
const LEASE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{
        accepted, assigned, at, cluster, reassigned, result_record, sent, task_record,
    };
    use engine::Input;

    const TASK: TaskId = TaskId([1; 16]);

    struct One {
        worker: NodeId,
        origins: Origins,
    }

    impl One {
        /// An origin with one task, which is assigned to its only peer.
        fn new() -> Self {
            let cluster = cluster(2);
            let mut one = Self { worker: cluster.id(1), origins: Origins::new(cluster, 1) };
            one.observe(Event::MemberJoined { member: one.worker }).unwrap();
            one.observe(accepted(TASK)).unwrap();
            one.assign(1).unwrap();
            one
        }

        fn observe(&mut self, event: Event) -> Result<(), String> {
            self.origins.observe(at(1), 0, Observation::Output(&Output::Event(event)))
        }

        fn assign(&mut self, attempt: u32) -> Result<(), String> {
            self.observe(assigned(TASK, self.worker, attempt))
        }

        fn comes_back(&mut self, reason: ReassignReason) -> Result<(), String> {
            self.observe(reassigned(TASK, self.worker, reason))
        }

        fn step(&mut self) -> Result<(), String> {
            self.origins.observe(at(1), 0, Observation::Input(&Input::Tick))
        }
    }

    #[test]
    fn a_task_has_one_worker_at_a_time_and_numbers_in_order() {
        assert!(One::new().assign(2).is_err(), "it did not come back");
        let mut one = One::new();
        one.comes_back(ReassignReason::Refused).unwrap();
        assert!(one.assign(1).is_err());
        assert_eq!(one.assign(2), Ok(()));
    }

    #[test]
    fn the_reason_must_be_true() {
        for reason in [ReassignReason::HandedBack, ReassignReason::LeaseExpired, ReassignReason::Unreachable]
        {
            assert!(One::new().comes_back(reason).is_err(), "{reason:?}");
        }
        let mut one = One::new();
        one.observe(Event::PeerSlow { peer: one.worker }).unwrap();
        assert_eq!(one.comes_back(ReassignReason::Unreachable), Ok(()));
        let (message, destination) = (engine::MessageId([1; 16]), one.worker);
        one.observe(sent(message, destination, 10, 0)).unwrap();
        assert_eq!(one.step(), Ok(()));
    }

    #[test]
    fn a_worker_that_loses_a_task_is_told() {
        let mut one = One::new();
        one.observe(Event::PeerSlow { peer: one.worker }).unwrap();
        one.comes_back(ReassignReason::Unreachable).unwrap();
        assert!(one.step().is_err());
    }

    #[test]
    fn a_task_does_not_stay_with_who_is_gone() {
        let mut one = One::new();
        one.observe(Event::MemberLeft { member: one.worker }).unwrap();
        assert!(one.step().is_err());
    }

    #[test]
    fn no_more_are_open_than_may_be() {
        let mut one = One::new();
        let second = accepted(TaskId([2; 16]));
        assert!(one.observe(second.clone()).is_err());
        let mut one = One::new();
        one.origins.observe(at(1), 0, Observation::Durable(&task_record(TASK))).unwrap();
        one.origins.observe(at(1), 0, Observation::Durable(&result_record(TASK, 9))).unwrap();
        assert_eq!(one.observe(second), Ok(()));
    }
}
