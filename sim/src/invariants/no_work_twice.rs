//! A worker does not repeat an attempt that it has finished and reported to its origin, as long as neither restarts:
//! an outcome that was lost is sent again, not computed again.
//!
//! Relayed messages are sealed and cannot be inspected, so they are not checked.

use crate::cluster::Cluster;
use crate::invariant::{DirectMessage, Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::wire::Payload;
use engine::{Event, Fingerprint, Instant, NodeId, Output, TaskId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tracks the outcomes that each worker reported.
#[derive(Debug)]
pub(super) struct NoWorkTwice {
    cluster: Arc<Cluster>,
    /// The reported tasks of each worker, by origin and task, with the model that computed them.
    reported: Vec<BTreeMap<(NodeId, TaskId), Fingerprint>>,
    /// Whether every message reaches the node that it is addressed to.
    applies: bool,
    checks: u64,
}

pub(super) const NAME: &str = "no_work_twice";

impl NoWorkTwice {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let applies = cluster.all_are_members();
        Self { reported: vec![BTreeMap::new(); cluster.len()], cluster, applies, checks: 0 }
    }
}

impl Invariant for NoWorkTwice {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::MESSAGES
    }

    fn observe_message(
        &mut self,
        _: Instant,
        node: NodeIndex,
        message: &DirectMessage<'_>,
    ) -> Result<(), String> {
        let reported = &mut self.reported[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern outcomes and restarts")]
        match message.payload {
            Payload::Outcome { attempt, fingerprint, result: Ok(_), .. } if message.sent => {
                reported.insert((message.destination, attempt.task), *fingerprint);
            }
            // The origin cannot use the output of another model.
            Payload::Assign(assignment) if !message.sent => {
                let key = (message.origin, assignment.attempt.task);
                if reported.get(&key).is_some_and(|of| *of != assignment.fingerprint) {
                    reported.remove(&key);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern the start of attempts")]
        match observation {
            Observation::Started => {
                self.reported[node as usize].clear();
                let id = self.cluster.id(node);
                self.reported.iter_mut().for_each(|reported| reported.retain(|(origin, _), _| *origin != id));
            }
            Observation::Output(Output::Event(Event::TaskStarted { task, origin, .. })) if self.applies => {
                self.checks += 1;
                if self.reported[node as usize].contains_key(&(*origin, *task)) {
                    return Err(format!("task {task} begins again, and its outcome was reported already"));
                }
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
    use crate::invariants::testing::{at, cluster, started};
    use engine::InferenceError;
    use engine::MessageId;
    use engine::task::TaskOutput;
    use engine::wire::Attempt;

    const TASK: TaskId = TaskId([1; 16]);

    fn after(result: Result<TaskOutput, InferenceError>) -> NoWorkTwice {
        let mut invariant = NoWorkTwice::new(cluster(2));
        let [destination, origin] = [0, 1].map(|node| invariant.cluster.id(node));
        let (attempt, fingerprint) = (Attempt { task: TASK, number: 1 }, Fingerprint([1; 16]));
        let payload = Payload::Outcome { attempt, fingerprint, micros: 1, result };
        let message = DirectMessage {
            sent: true,
            id: MessageId([1; 16]),
            origin,
            destination,
            payload: &payload,
            trace: engine::TraceContext::NONE,
        };
        invariant.observe_message(at(1), 1, &message).unwrap();
        invariant
    }

    fn starts(invariant: &mut NoWorkTwice) -> Result<(), String> {
        let origin = invariant.cluster.id(0);
        let started = Output::Event(started(TASK, origin, 2));
        invariant.observe(at(2), 1, Observation::Output(&started))
    }

    #[test]
    fn a_reported_task_runs_again_only_after_a_restart_or_an_error() {
        let output =
            || Ok(TaskOutput::Embedding { vectors: vec![vec![1.0]], tokens: 1, truncated: Vec::new() });
        assert!(starts(&mut after(output())).is_err());
        assert_eq!(starts(&mut after(Err(InferenceError::Crashed))), Ok(()));
        for node in [0, 1] {
            let mut invariant = after(output());
            invariant.observe(at(2), node, Observation::Started).unwrap();
            assert_eq!(starts(&mut invariant), Ok(()));
        }
    }
}
