//! A node delivers each message at most once per process. A restarted node has forgotten which messages it delivered,
//! so a message that is sent to it again is new to it.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::{Event, MessageId, Output};
use std::collections::BTreeSet;

/// Tracks which messages each node has delivered since it started.
#[derive(Debug)]
pub(super) struct NoDuplicateDelivery {
    nodes: Vec<BTreeSet<MessageId>>,
    checks: u64,
}

pub(super) const NAME: &str = "no_duplicate_delivery";

impl NoDuplicateDelivery {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: vec![BTreeSet::new(); nodes], checks: 0 }
    }
}

impl Invariant for NoDuplicateDelivery {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(
        &mut self,
        _: engine::Instant,
        node: NodeIndex,
        observation: Observation<'_>,
    ) -> Result<(), String> {
        match observation {
            Observation::Started => self.nodes[node as usize].clear(),
            Observation::Output(Output::Event(Event::MessageDelivered { message, .. })) => {
                self.checks += 1;
                if !self.nodes[node as usize].insert(*message) {
                    return Err(format!("message {message} was delivered a second time"));
                }
            }
            Observation::Durable(_)
            | Observation::Input(_)
            | Observation::Output(_)
            | Observation::Stopped => {}
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
    use crate::invariants::testing::delivered;
    use engine::NodeId;

    #[test]
    fn a_second_delivery_in_one_life_is_wrong() {
        let mut invariant = NoDuplicateDelivery::new(2);
        let output = Output::Event(delivered(MessageId([1; 16]), NodeId([0; 16]), 1));
        assert_eq!(invariant.observe(engine::Instant::ZERO, 0, Observation::Output(&output)), Ok(()));
        assert_eq!(invariant.observe(engine::Instant::ZERO, 1, Observation::Output(&output)), Ok(()));
        assert!(invariant.observe(engine::Instant::ZERO, 0, Observation::Output(&output)).is_err());
        assert_eq!(invariant.observe(engine::Instant::ZERO, 1, Observation::Started), Ok(()));
        assert_eq!(invariant.observe(engine::Instant::ZERO, 1, Observation::Output(&output)), Ok(()));
    }
}
