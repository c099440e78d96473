//! A node reports that a task is accepted, or how it ended, only after that is durable on its own disk; a worker
//! forgets an outcome only once it is durable at the origin.

use crate::invariant::{DirectMessage, Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::record::Record;
use engine::request::{Response, TaskView};
use engine::wire::Payload;
use engine::{Event, MessageId, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// Tracks everything that was ever durable on each node.
#[derive(Debug)]
pub(super) struct DurableBeforeAcknowledged {
    nodes: Vec<Durable>,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct Durable {
    tasks: BTreeSet<TaskId>,
    results: BTreeSet<TaskId>,
    /// The messages that carried outcomes which end their tasks, as far as known, since the node started.
    outcomes: BTreeMap<MessageId, TaskId>,
    /// Acknowledged messages: a message that arrives again is acknowledged again.
    acknowledged: BTreeSet<MessageId>,
    /// Tasks that have just received a duplicate outcome.
    duplicates: BTreeSet<TaskId>,
}

pub(super) const NAME: &str = "durable_before_acknowledged";

impl DurableBeforeAcknowledged {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Durable::default(); nodes], checks: 0 }
    }

    fn accepted(&mut self, node: NodeIndex, task: TaskId, what: &str) -> Result<(), String> {
        self.checks += 1;
        if self.nodes[node as usize].tasks.contains(&task) {
            return Ok(());
        }
        Err(format!("{what} of task {task} before its record was durable"))
    }

    fn ended(&mut self, node: NodeIndex, task: TaskId, what: &str) -> Result<(), String> {
        self.checks += 1;
        if self.nodes[node as usize].results.contains(&task) {
            return Ok(());
        }
        Err(format!("{what} of task {task} before its result was durable"))
    }

    fn shown(&mut self, node: NodeIndex, view: &TaskView) -> Result<(), String> {
        if view.status.is_terminal() {
            return self.ended(node, view.id, "a user was told of the outcome");
        }
        Ok(())
    }
}

impl Invariant for DurableBeforeAcknowledged {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::OUTPUTS | Interests::MESSAGES
    }

    fn observe_message(
        &mut self,
        _: engine::Instant,
        node: NodeIndex,
        message: &DirectMessage<'_>,
    ) -> Result<(), String> {
        let durable = &mut self.nodes[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern outcomes and acknowledgements")]
        match (message.sent, message.payload) {
            (false, Payload::Outcome { attempt, result: Ok(_), .. })
                if !durable.acknowledged.contains(&message.id) =>
            {
                durable.duplicates.remove(&attempt.task);
                durable.outcomes.insert(message.id, attempt.task);
            }
            (true, Payload::Ack(messages)) => {
                let tasks: Vec<_> =
                    messages.iter().filter_map(|message| durable.outcomes.remove(message)).collect();
                durable.acknowledged.extend(messages);
                for task in tasks {
                    if !self.nodes[node as usize].duplicates.contains(&task) {
                        self.ended(node, task, "a worker was told that the outcome arrived")?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn observe(
        &mut self,
        _: engine::Instant,
        node: NodeIndex,
        observation: Observation<'_>,
    ) -> Result<(), String> {
        match observation {
            Observation::Started => {
                let durable = &mut self.nodes[node as usize];
                durable.outcomes.clear();
                durable.acknowledged.clear();
                durable.duplicates.clear();
                Ok(())
            }
            Observation::Output(Output::Event(Event::ResultDuplicate { task, .. })) => {
                self.nodes[node as usize].duplicates.insert(*task);
                Ok(())
            }
            Observation::Durable(Record::Task(task)) => {
                self.nodes[node as usize].tasks.insert(task.id);
                Ok(())
            }
            Observation::Durable(Record::Result(result)) => {
                self.nodes[node as usize].results.insert(result.summary.id);
                Ok(())
            }
            Observation::Output(Output::Reply { answer: Ok(response), .. }) => match response {
                Response::Submitted(task) => self.accepted(node, *task, "a user was told of the acceptance"),
                Response::TaskUpdate(view, _) | Response::Task(view) => self.shown(node, view),
                Response::Tasks { tasks, .. } => tasks.iter().try_for_each(|view| self.shown(node, view)),
                Response::AlertHistory(_)
                | Response::Alerts(_)
                | Response::Attempts(_)
                | Response::Chosen(..)
                | Response::Trace(_)
                | Response::Diagnosis(_)
                | Response::Dump(_)
                | Response::Fetched(_)
                | Response::Fetches(_)
                | Response::Health(_)
                | Response::Members(_)
                | Response::Metrics(_)
                | Response::Peers(_)
                | Response::Ping(_)
                | Response::Route(_)
                | Response::ShuttingDown
                | Response::Status(_)
                | Response::Thresholds(_) => Ok(()),
            },
            Observation::Output(Output::Event(Event::TaskAccepted { task, .. })) => {
                self.accepted(node, *task, "an event reported the acceptance")
            }
            Observation::Output(Output::Event(Event::TaskFinished { task, .. })) => {
                self.ended(node, *task, "an event reported the outcome")
            }
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
    use crate::invariants::testing::finished;
    use engine::record::Record;
    use engine::task::{StoredTask, TaskInput, TaskKind, TaskSpec, TaskStatus};
    use engine::{Fingerprint, RequestId, TraceContext, TraceId, UnixMillis};

    const TASK: TaskId = TaskId([1; 16]);

    fn record() -> Record {
        let spec = TaskSpec {
            input: TaskInput::from_text(TaskKind::Embedding, String::new()),
            model: None,
            timeout: core::time::Duration::from_secs(1),
        };
        let trace = TraceId([0; 16]);
        Record::Task(Box::new(StoredTask {
            id: TASK,
            spec,
            submitted_at: UnixMillis(0),
            trace,
            attempts: 0,
            choice: None,
            caller: None,
        }))
    }

    #[test]
    fn a_promise_rests_on_the_disk_of_the_node_that_makes_it() {
        let mut invariant = DurableBeforeAcknowledged::new(2);
        let reply = Output::Reply { id: RequestId(0), answer: Ok(Response::Submitted(TASK)) };
        assert!(invariant.observe(engine::Instant::ZERO, 0, Observation::Output(&reply)).is_err());
        assert_eq!(invariant.observe(engine::Instant::ZERO, 0, Observation::Durable(&record())), Ok(()));
        assert_eq!(invariant.observe(engine::Instant::ZERO, 0, Observation::Output(&reply)), Ok(()));
        assert!(invariant.observe(engine::Instant::ZERO, 1, Observation::Output(&reply)).is_err());
    }

    #[test]
    fn an_outcome_rests_on_its_result() {
        let mut invariant = DurableBeforeAcknowledged::new(1);
        assert_eq!(invariant.observe(engine::Instant::ZERO, 0, Observation::Durable(&record())), Ok(()));
        let finished = finished(TASK, TaskStatus::Completed, None);
        assert!(invariant.observe(engine::Instant::ZERO, 0, Observation::Output(&finished)).is_err());
        assert_eq!(invariant.checks(), 1);
    }

    #[test]
    fn an_outcome_that_changed_nothing_may_be_acknowledged_and_again_when_it_comes_again() {
        for (changed_nothing, good) in [(true, true), (false, false)] {
            let mut invariant = DurableBeforeAcknowledged::new(1);
            let attempt = engine::wire::Attempt { task: TASK, number: 1 };
            let output = engine::task::TaskOutput::Embedding {
                vectors: vec![vec![1.0]],
                tokens: 1,
                truncated: Vec::new(),
            };
            let outcome = Payload::Outcome {
                attempt,
                fingerprint: Fingerprint([1; 16]),
                micros: 1,
                result: Ok(output),
            };
            let (message, ack) = (MessageId([1; 16]), Payload::Ack(vec![MessageId([1; 16])]));
            let (origin, destination) = (engine::NodeId([1; 16]), engine::NodeId([2; 16]));
            let now = engine::Instant::ZERO;
            let hear = |invariant: &mut DurableBeforeAcknowledged, sent, payload: &Payload| {
                invariant.observe_message(
                    now,
                    0,
                    &DirectMessage {
                        sent,
                        id: message,
                        origin,
                        destination,
                        payload,
                        trace: TraceContext::NONE,
                    },
                )
            };
            assert_eq!(hear(&mut invariant, false, &outcome), Ok(()));
            if changed_nothing {
                let duplicate = Output::Event(Event::ResultDuplicate {
                    task: TASK,
                    from: origin,
                    trace: TraceContext::NONE,
                });
                assert_eq!(invariant.observe(now, 0, Observation::Output(&duplicate)), Ok(()));
            }
            assert_eq!(hear(&mut invariant, true, &ack).is_ok(), good);
            assert_eq!(hear(&mut invariant, false, &outcome), Ok(()));
            assert_eq!(hear(&mut invariant, true, &ack), Ok(()), "nothing new");
        }
    }
}
