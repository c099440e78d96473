//! An origin gives a message up only after sending it four times, or once no path leads to the destination.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::{Event, Instant, MessageId, NodeId, Output};
use std::collections::{BTreeMap, BTreeSet};

/// Tracks what each node sent and which nodes it can reach.
#[derive(Debug)]
pub(super) struct MessagesAreRetried {
    nodes: Vec<Known>,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// How many times each unacknowledged message was sent.
    sent: BTreeMap<MessageId, u8>,
    members: BTreeSet<NodeId>,
}

pub(super) const NAME: &str = "messages_are_retried";

impl MessagesAreRetried {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Known::default(); nodes], checks: 0 }
    }
}

impl Invariant for MessagesAreRetried {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let known = &mut self.nodes[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern messages and reachability")]
        match observation {
            Observation::Started => *known = Known::default(),
            Observation::Output(Output::Event(event)) => match event {
                Event::MemberJoined { member } => {
                    known.members.insert(*member);
                }
                Event::MemberLeft { member } => {
                    known.members.remove(member);
                }
                Event::MessageSent { message, retry, .. } => {
                    if known.sent.len() >= MESSAGES_MAX {
                        known.sent.pop_first();
                    }
                    known.sent.insert(*message, retry + 1);
                }
                Event::MessageUnacknowledged { message, destination, .. } => {
                    self.checks += 1;
                    // A message that was never sent found the queue full.
                    let times = known.sent.remove(message).unwrap_or(SENDINGS);
                    if times < SENDINGS && known.members.contains(destination) {
                        return Err(format!("message {message} was given up after {times} attempts"));
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// How many times a message is sent before it is given up.
const SENDINGS: u8 = 4;

/// The most messages tracked per node; further ones are not checked.
const MESSAGES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, sent};
    use engine::TraceContext;
    use engine::event::PayloadKind;

    #[test]
    fn giving_up_early_is_wrong_while_there_is_a_path() {
        let mut invariant = MessagesAreRetried::new(1);
        let (message, destination) = (MessageId([1; 16]), NodeId([2; 16]));
        let mut observe = |event| invariant.observe(at(1), 0, Observation::Output(&Output::Event(event)));
        let mut fails_after = |retries: u8, reachable: bool| {
            let change = if reachable {
                Event::MemberJoined { member: destination }
            } else {
                Event::MemberLeft { member: destination }
            };
            observe(change).unwrap();
            for retry in 0..=retries {
                observe(sent(message, destination, 10, retry)).unwrap();
            }
            observe(Event::MessageUnacknowledged {
                message,
                destination,
                payload: PayloadKind::Probe,
                trace: TraceContext::NONE,
            })
            .is_err()
        };
        assert!(fails_after(2, true));
        assert!(!fails_after(3, true));
        assert!(!fails_after(0, false));
    }
}
