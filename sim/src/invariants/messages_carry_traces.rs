//! Every message about tasks carries the trace of its tasks if they have one in common, on every way: assignments,
//! reports, outcomes and questions.
//!
//! Relayed messages are sealed and cannot be inspected. They are made by the same code.

use crate::invariant::{DirectMessage, Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::record::Record;
use engine::wire::{Attempt, Payload};
use engine::{Event, Instant, Output, TaskId, TraceId};
use std::collections::BTreeMap;

/// Tracks the trace of each task.
#[derive(Debug, Default)]
pub(super) struct MessagesCarryTraces {
    /// The trace of each task, and the origin of the task.
    traces: BTreeMap<TaskId, (TraceId, NodeIndex)>,
    checks: u64,
}

pub(super) const NAME: &str = "messages_carry_traces";

impl MessagesCarryTraces {
    /// Returns the trace that a message about these attempts must carry; `None` if it is unknown.
    fn expected(&self, attempts: &[Attempt]) -> Option<TraceId> {
        let traces: Option<Vec<TraceId>> =
            attempts.iter().map(|attempt| Some(self.traces.get(&attempt.task)?.0)).collect();
        let traces = traces?;
        let first = *traces.first()?;
        Some(if traces.iter().all(|trace| *trace == first) { first } else { TraceId([0; 16]) })
    }
}

/// Returns the attempts that a message is about.
fn attempts_of(payload: &Payload) -> Vec<Attempt> {
    match payload {
        Payload::Assign(assignment) => vec![assignment.attempt],
        Payload::Progress(piece) => vec![piece.attempt],
        Payload::Cancel(attempt)
        | Payload::Decline(attempt)
        | Payload::HandBack(attempt)
        | Payload::Outcome { attempt, .. }
        | Payload::Started(attempt) => vec![*attempt],
        Payload::Check(attempts) | Payload::Here(attempts) | Payload::Renew(attempts) => attempts.clone(),
        // A worker does not know the traces of tasks that it does not have.
        Payload::Missing(attempts) if attempts.len() == 1 => attempts.clone(),
        Payload::Missing(_)
        | Payload::Ack(_)
        | Payload::Held { .. }
        | Payload::Look { .. }
        | Payload::Piece { .. }
        | Payload::PieceRefused { .. }
        | Payload::PieceWanted { .. }
        | Payload::Probe(_)
        | Payload::TraceFound { .. }
        | Payload::TraceWanted { .. }
        | Payload::Undeliverable { .. } => Vec::new(),
    }
}

impl Invariant for MessagesCarryTraces {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::OUTPUTS | Interests::MESSAGES
    }

    fn observe_message(
        &mut self,
        _: Instant,
        _: NodeIndex,
        message: &DirectMessage<'_>,
    ) -> Result<(), String> {
        let attempts = attempts_of(message.payload);
        let Some(expected) = self.expected(&attempts).filter(|_| message.sent) else { return Ok(()) };
        self.checks += 1;
        let carried = message.trace.id;
        let is_missing = matches!(message.payload, Payload::Missing(_)) && message.trace.is_none();
        if carried == expected || is_missing {
            return Ok(());
        }
        let (kind, task) = (message.payload.kind(), attempts[0].task);
        Err(format!("a message about task {task} ({kind:?}) carries the trace {carried}, not {expected}"))
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern the traces of tasks")]
        match observation {
            // It no longer knows the tasks that it does not recover.
            Observation::Started => self.traces.retain(|_, (_, origin)| *origin != node),
            Observation::Output(Output::Event(
                Event::TaskAccepted { task, trace, .. } | Event::TaskRecovered { task, trace, .. },
            )) => {
                self.traces.insert(*task, (trace.id, node));
            }
            Observation::Output(Output::Write { records, .. }) => {
                for record in records {
                    if let Record::RemoveResult(task) = record {
                        self.traces.remove(task);
                    }
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
    use crate::invariants::testing::{accepted_in, at};
    use engine::{MessageId, NodeId, TraceContext};

    fn sends(invariant: &mut MessagesCarryTraces, payload: &Payload, trace: u8) -> Result<(), String> {
        let (id, origin, destination) = (MessageId([1; 16]), NodeId([1; 16]), NodeId([2; 16]));
        let trace = TraceContext { id: TraceId([trace; 16]), sampled: true };
        let message = DirectMessage { sent: true, id, origin, destination, payload, trace };
        invariant.observe_message(at(1), 0, &message)
    }

    #[test]
    fn a_message_without_the_trace_of_its_task_is_wrong() {
        let mut invariant = MessagesCarryTraces::default();
        let attempt = |task| Attempt { task: TaskId([task; 16]), number: 1 };
        for task in [1, 2] {
            let trace = TraceContext { id: TraceId([task; 16]), sampled: true };
            let accepted = accepted_in(TaskId([task; 16]), trace);
            invariant.observe(at(0), 0, Observation::Output(&Output::Event(accepted))).unwrap();
        }
        assert_eq!(sends(&mut invariant, &Payload::Started(attempt(1)), 1), Ok(()));
        assert!(sends(&mut invariant, &Payload::Started(attempt(1)), 0).is_err());
        assert!(sends(&mut invariant, &Payload::Started(attempt(1)), 2).is_err());
        let both = Payload::Renew(vec![attempt(1), attempt(2)]);
        assert_eq!(sends(&mut invariant, &both, 0), Ok(()));
        assert!(sends(&mut invariant, &both, 1).is_err());
        assert_eq!(sends(&mut invariant, &Payload::Started(attempt(3)), 0), Ok(()), "nobody accepted it");
        let missing = |task| Payload::Missing(vec![attempt(task)]);
        assert_eq!(sends(&mut invariant, &missing(1), 0), Ok(()));
        assert!(sends(&mut invariant, &missing(1), 2).is_err());
        invariant.observe(at(2), 0, Observation::Started).unwrap();
        assert_eq!(sends(&mut invariant, &Payload::Started(attempt(1)), 0), Ok(()));
        assert_eq!(invariant.checks(), 7);
    }
}
