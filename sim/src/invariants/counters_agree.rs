//! The metrics of a node agree with an independent count of its outputs since it started: outcomes by status,
//! acknowledged messages, and the frames and bytes that it sent.
//!
//! The turmoil executor runs the node inside the real driver, where it cannot be inspected; nothing is checked there.

use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::observers::metrics::{Direction, Metrics, Traffic};
use engine::task::TaskStatus;
use engine::{Event, Instant, Node, Output};
use std::collections::BTreeMap;

/// Counts the outputs of each node.
#[derive(Debug)]
pub(super) struct CountersAgree {
    nodes: Vec<Count>,
    checks: u64,
}

/// What one node returned since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    outcomes: BTreeMap<TaskStatus, u64>,
    acknowledged: u64,
    sent: Traffic,
    /// Whether it returned something that counts since the last check.
    changed: bool,
}

pub(super) const NAME: &str = "counters_agree";

impl CountersAgree {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Count::default(); nodes], checks: 0 }
    }
}

impl Count {
    fn of(metrics: &Metrics) -> Self {
        let mut outcomes = BTreeMap::new();
        for ((_, status), count) in &metrics.tasks {
            *outcomes.entry(*status).or_default() += count;
        }
        let sent = metrics.link.get(&Direction::Sent).copied().unwrap_or_default();
        Self { outcomes, acknowledged: metrics.round_trips.count(), sent, changed: false }
    }
}

impl Invariant for CountersAgree {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::OUTPUTS | Interests::NODES
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let Some(count) = self.nodes.get_mut(node as usize) else { return Ok(()) };
        match observation {
            Observation::Started => *count = Count::default(),
            Observation::Output(Output::Event(Event::TaskFinished { status, .. })) => {
                *count.outcomes.entry(*status).or_default() += 1;
                count.changed = true;
            }
            Observation::Output(Output::Event(Event::MessageAcknowledged { .. })) => {
                count.acknowledged += 1;
                count.changed = true;
            }
            Observation::Output(Output::Send { frame, .. }) => {
                count.sent.frames += 1;
                count.sent.bytes += frame.len() as u64;
                count.changed = true;
            }
            Observation::Durable(_)
            | Observation::Input(_)
            | Observation::Output(_)
            | Observation::Stopped => {}
        }
        Ok(())
    }

    fn inspect(&mut self, _: Instant, node: NodeIndex, engine: &Node) -> Result<(), String> {
        let Some(count) = self.nodes.get_mut(node as usize).filter(|count| count.changed) else {
            return Ok(());
        };
        self.checks += 1;
        count.changed = false;
        let found = Count::of(engine.metrics());
        if found == *count { Ok(()) } else { Err(format!("it counted {found:?}, but it returned {count:?}")) }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, cluster};
    use engine::record::Saved;
    use engine::{LinkId, UnixMillis};

    #[test]
    fn a_frame_that_was_not_counted_is_wrong() {
        let cluster = cluster(1);
        let node = Node::new(
            cluster.config(0),
            cluster.identity(0),
            [1; 32],
            at(0),
            UnixMillis(0),
            Saved::default(),
        );
        let mut invariant = CountersAgree::new(1);
        assert_eq!(invariant.observe(at(0), 0, Observation::Started), Ok(()));
        assert_eq!((invariant.inspect(at(0), 0, &node), invariant.checks()), (Ok(()), 0), "nothing to check");
        let priority = engine::output::Priority::Bulk;
        let frame = Output::Send { link: LinkId(1), frame: vec![1; 9], priority };
        assert_eq!(invariant.observe(at(0), 0, Observation::Output(&frame)), Ok(()));
        assert!(invariant.inspect(at(0), 0, &node).is_err());
        assert_eq!(invariant.observe(at(0), 0, Observation::Started), Ok(()), "a restart counts anew");
        assert_eq!(invariant.inspect(at(0), 0, &node), Ok(()));
    }
}
