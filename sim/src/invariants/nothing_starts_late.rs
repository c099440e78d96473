//! A worker starts no attempt after the attempt's time limit, nor after its origin cancelled it.
//!
//! The limit counts from the arrival of the assignment, because no other machine's clock is trusted. Relayed messages
//! are sealed and cannot be inspected, so they are not checked.

use crate::cluster::Cluster;
use crate::invariant::{DirectMessage, Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use core::time::Duration;
use engine::wire::{Attempt, Payload};
use engine::{Event, Instant, MessageId, NodeId, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tracks what each worker was assigned.
#[derive(Debug)]
pub(super) struct NothingStartsLate {
    cluster: Arc<Cluster>,
    nodes: Vec<NodeState>,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct NodeState {
    received: BTreeSet<MessageId>,
    /// The time until which each attempt may start, by origin, task and attempt number.
    assigned: BTreeMap<(NodeId, TaskId, u32), Instant>,
    /// Attempts that were cancelled after they had arrived. A worker cannot know of a cancellation that arrives before
    /// its assignment.
    cancelled: BTreeSet<(NodeId, TaskId, u32)>,
}

pub(super) const NAME: &str = "nothing_starts_late";

impl NothingStartsLate {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { nodes: vec![NodeState::default(); cluster.len()], cluster, checks: 0 }
    }
}

impl Invariant for NothingStartsLate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::MESSAGES
    }

    fn observe_message(
        &mut self,
        now: Instant,
        node: NodeIndex,
        message: &DirectMessage<'_>,
    ) -> Result<(), String> {
        let state = &mut self.nodes[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern assignments")]
        match message.payload {
            Payload::Assign(assignment) if !message.sent && state.received.insert(message.id) => {
                let until = now.after(Duration::from_millis(assignment.remaining_millis));
                let Attempt { task, number } = assignment.attempt;
                state.assigned.insert((message.origin, task, number), until);
            }
            Payload::Cancel(attempt) if !message.sent && state.received.insert(message.id) => {
                let (origin, task) = (message.origin, attempt.task);
                let assigned = state.assigned.range((origin, task, 0)..=(origin, task, attempt.number));
                state.cancelled.extend(assigned.map(|(key, _)| *key));
            }
            _ => {}
        }
        Ok(())
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern the start of attempts")]
        match observation {
            Observation::Started => {
                self.nodes[node as usize] = NodeState::default();
                // A restarted origin resets its attempt numbers.
                let id = self.cluster.id(node);
                for state in &mut self.nodes {
                    state.assigned.retain(|(origin, ..), _| *origin != id);
                    state.cancelled.retain(|(origin, ..)| *origin != id);
                }
            }
            Observation::Output(Output::Event(Event::TaskStarted { task, origin, attempt, .. })) => {
                self.checks += 1;
                let state = &self.nodes[node as usize];
                if state.cancelled.contains(&(*origin, *task, *attempt)) {
                    return Err(format!("attempt {attempt} of task {task} began after it was cancelled"));
                }
                let until = state.assigned.get(&(*origin, *task, *attempt));
                if let Some(until) = until.filter(|until| now > **until) {
                    return Err(format!("task {task} began although its time was over at {until}"));
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
    use crate::invariants::testing::{assignment, at, cluster, started};

    const TASK: TaskId = TaskId([1; 16]);
    const ORIGIN: NodeId = NodeId([2; 16]);

    fn hears(invariant: &mut NothingStartsLate, seconds: u64, message: u8, payload: &Payload) {
        let (message, destination) = (MessageId([message; 16]), NodeId([9; 16]));
        let message = DirectMessage {
            sent: false,
            id: message,
            origin: ORIGIN,
            destination,
            payload,
            trace: engine::TraceContext::NONE,
        };
        invariant.observe_message(at(seconds), 0, &message).unwrap();
    }

    fn starts(invariant: &mut NothingStartsLate, seconds: u64, attempt: u32) -> bool {
        let started = Output::Event(started(TASK, ORIGIN, attempt));
        invariant.observe(at(seconds), 0, Observation::Output(&started)).is_ok()
    }

    #[test]
    fn what_is_late_or_cancelled_must_not_begin() {
        let mut invariant = NothingStartsLate::new(cluster(1));
        // The task has a timeout of 10 s.
        let assign = Payload::Assign(assignment(TASK));
        hears(&mut invariant, 1, 1, &assign);
        assert!(starts(&mut invariant, 11, 1) && !starts(&mut invariant, 12, 1));
        hears(&mut invariant, 12, 1, &assign);
        assert!(!starts(&mut invariant, 12, 1), "the same message again changes nothing");
        hears(&mut invariant, 12, 2, &assign);
        assert!(starts(&mut invariant, 13, 1));
        hears(&mut invariant, 13, 3, &Payload::Cancel(Attempt { task: TASK, number: 1 }));
        assert!(!starts(&mut invariant, 13, 1) && starts(&mut invariant, 13, 2));
    }
}
