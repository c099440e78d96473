//! A message is given up only after its origin sent it four times, or once no path leads to its destination.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::{Event, Instant, MessageId, NodeId, Output};
use std::collections::{BTreeMap, BTreeSet};

/// Remembers what each node sent and whom it can reach.
#[derive(Debug)]
pub(super) struct MessagesAreRetried {
    nodes: Vec<Known>,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// How often each message was sent that may not have arrived.
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
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these tell of messages and whom they reach")]
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
                Event::MessageUnacknowledged { message, destination } => {
                    self.checks += 1;
                    // What was never sent found the queue full.
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

/// How often a message is sent before it is given up.
const SENDINGS: u8 = 4;

/// Messages of one node remembered; of the others, nothing is said.
const MESSAGES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::at;

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
                observe(Event::MessageSent { message, destination, ttl: 10, retry }).unwrap();
            }
            observe(Event::MessageUnacknowledged { message, destination }).is_err()
        };
        assert!(fails_after(2, true));
        assert!(!fails_after(3, true));
        assert!(!fails_after(0, false));
    }
}
