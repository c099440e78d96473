//! Only members of the network have an effect: every link, member and worker is a node of this network. A task runs
//! only for the node that assigned it. An outcome counts only from a node that the origin assigned the task to since
//! it started.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::{Event, Instant, NodeId, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tracks which nodes each origin assigned tasks to.
#[derive(Debug)]
pub(super) struct NoEffectFromStrangers {
    cluster: Arc<Cluster>,
    /// The nodes that each task was assigned to since its origin started, by origin.
    asked: Vec<BTreeMap<TaskId, BTreeSet<NodeId>>>,
    /// Every assignment ever made (origin, task, worker), across restarts.
    given: BTreeSet<(NodeId, TaskId, NodeId)>,
    /// The members that each node knows.
    members: Vec<BTreeSet<NodeId>>,
    checks: u64,
}

pub(super) const NAME: &str = "no_effect_from_strangers";

impl NoEffectFromStrangers {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let nodes = cluster.len();
        Self {
            cluster,
            asked: vec![BTreeMap::new(); nodes],
            given: BTreeSet::new(),
            members: vec![BTreeSet::new(); nodes],
            checks: 0,
        }
    }

    fn known(&self, node: NodeId, what: &str) -> Result<(), String> {
        let known = self.cluster.find(node).is_some();
        if known { Ok(()) } else { Err(format!("{what} is {node}, which is not part of this network")) }
    }

    fn assigned(&mut self, node: NodeIndex, task: TaskId, worker: NodeId) -> Result<(), String> {
        let me = self.cluster.id(node);
        if worker != me && !self.members[node as usize].contains(&worker) {
            return Err(format!("task {task} is assigned to {worker}, which is not a member"));
        }
        self.asked[node as usize].entry(task).or_default().insert(worker);
        self.given.insert((me, task, worker));
        Ok(())
    }

    fn event(&mut self, node: NodeIndex, event: &Event) -> Result<(), String> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these are effects of other nodes")]
        match event {
            Event::LinkUp { peer, .. } => self.known(*peer, "a peer"),
            Event::MemberJoined { member } => {
                self.members[node as usize].insert(*member);
                self.known(*member, "a member")
            }
            Event::MemberLeft { member } => {
                self.members[node as usize].remove(member);
                Ok(())
            }
            Event::TaskAssigned { task, worker, .. } => {
                self.checks += 1;
                self.assigned(node, *task, *worker)
            }
            Event::TaskStarted { task, origin, .. } => {
                self.checks += 1;
                let me = self.cluster.id(node);
                if self.given.contains(&(*origin, *task, me)) {
                    return Ok(());
                }
                Err(format!("task {task} is started for {origin}, which did not assign it"))
            }
            Event::TaskFinished { task, worker, .. } => {
                self.checks += 1;
                let asked = self.asked[node as usize].remove(task).unwrap_or_default();
                match worker {
                    Some(worker) if !asked.contains(worker) => {
                        Err(format!("task {task} was ended by {worker}, which it was not assigned to"))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl Invariant for NoEffectFromStrangers {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Started => {
                self.asked[node as usize].clear();
                self.members[node as usize].clear();
                Ok(())
            }
            Observation::Output(Output::Event(event)) => self.event(node, event),
            Observation::Durable(_)
            | Observation::Input(_)
            | Observation::Output(_)
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
    use crate::invariants::testing::{assigned, at, cluster, finished, started};
    use engine::task::TaskStatus;

    const TASK: TaskId = TaskId([1; 16]);

    #[test]
    fn strangers_and_those_who_were_not_asked_have_no_effect() {
        let cluster = cluster(2);
        let mut invariant = NoEffectFromStrangers::new(Arc::clone(&cluster));
        let mut observe =
            |node, event| invariant.observe(at(1), node, Observation::Output(&Output::Event(event)));
        assert!(observe(0, Event::MemberJoined { member: NodeId([9; 16]) }).is_err());
        let worker = cluster.id(1);
        let assigned = assigned(TASK, worker, 1);
        assert!(observe(0, assigned.clone()).is_err(), "no member yet");
        let started = started(TASK, cluster.id(0), 1);
        assert!(observe(1, started.clone()).is_err());
        assert_eq!(observe(0, Event::MemberJoined { member: worker }), Ok(()));
        assert_eq!(observe(0, assigned), Ok(()));
        assert_eq!(observe(1, started), Ok(()));
        let done = |by| finished(TASK, TaskStatus::Completed, Some(by));
        assert_eq!(invariant.observe(at(2), 0, Observation::Output(&done(worker))), Ok(()));
        assert!(invariant.observe(at(2), 0, Observation::Output(&done(worker))).is_err(), "not asked again");
    }
}
