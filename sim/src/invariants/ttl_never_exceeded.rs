//! A message makes at most as many hops as its origin allowed, and its TTL decreases with every hop.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::{Event, MessageId, Output};
use std::collections::{BTreeMap, VecDeque};

/// Tracks the remaining hops of recent messages.
#[derive(Debug, Default)]
pub(super) struct TtlNeverExceeded {
    sent: BTreeMap<MessageId, u8>,
    order: VecDeque<MessageId>,
    checks: u64,
}

pub(super) const NAME: &str = "ttl_never_exceeded";

impl TtlNeverExceeded {
    fn sent(&mut self, message: MessageId, ttl: u8) {
        if self.sent.insert(message, ttl).is_none() {
            self.order.push_back(message);
        }
        if self.order.len() > MESSAGES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
    }
}

impl Invariant for TtlNeverExceeded {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(
        &mut self,
        _: engine::Instant,
        _: NodeIndex,
        observation: Observation<'_>,
    ) -> Result<(), String> {
        let Observation::Output(Output::Event(event)) = observation else { return Ok(()) };
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these events concern hops")]
        match event {
            Event::MessageSent { message, ttl, .. } => self.sent(*message, *ttl),
            Event::MessageForwarded { message, ttl, .. } => {
                self.checks += 1;
                let allowed = self.sent.get(message).copied();
                if allowed.is_some_and(|allowed| *ttl >= allowed) {
                    return Err(format!("message {message} was forwarded without decreasing its TTL"));
                }
            }
            Event::MessageDelivered { message, hops, .. } => {
                self.checks += 1;
                let allowed = self.sent.get(message).copied();
                if let Some(allowed) = allowed.filter(|allowed| hops > allowed) {
                    return Err(format!(
                        "message {message} made {hops} hops, but only {allowed} were allowed"
                    ));
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

/// The most messages tracked; older ones have long arrived.
const MESSAGES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{delivered, forwarded, sent};
    use engine::NodeId;

    #[test]
    fn too_many_hops_are_wrong() {
        let mut invariant = TtlNeverExceeded::default();
        let (message, node) = (MessageId([1; 16]), NodeId([2; 16]));
        let mut observe =
            |event| invariant.observe(engine::Instant::ZERO, 0, Observation::Output(&Output::Event(event)));
        assert_eq!(observe(sent(message, node, 3, 0)), Ok(()));
        assert_eq!(observe(forwarded(message, node, 2)), Ok(()));
        assert!(observe(forwarded(message, node, 3)).is_err());
        assert_eq!(observe(delivered(message, node, 3)), Ok(()));
        assert!(observe(delivered(message, node, 4)).is_err());
    }
}
