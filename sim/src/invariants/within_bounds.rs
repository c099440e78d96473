//! Every queue, map and window of a node stays within its limit after every input.
//!
//! The turmoil executor runs the node inside the real driver, where it cannot be inspected; nothing is checked there.

use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::{Instant, Node};

/// Inspects the nodes.
#[derive(Debug, Default)]
pub(super) struct WithinBounds {
    checks: u64,
}

pub(super) const NAME: &str = "within_bounds";

impl Invariant for WithinBounds {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::NODES
    }

    fn inspect(&mut self, _: Instant, _: NodeIndex, node: &Node) -> Result<(), String> {
        self.checks += 1;
        match node.occupancy().find(|place| place.current > place.limit) {
            None => Ok(()),
            Some(place) => {
                Err(format!("{} holds {}, but its limit is {}", place.name, place.current, place.limit))
            }
        }
    }

    fn observe(&mut self, _: Instant, _: NodeIndex, _: Observation<'_>) -> Result<(), String> {
        Ok(())
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
    use engine::{Config, UnixMillis};

    #[test]
    fn more_than_the_limit_is_wrong() {
        let cluster = cluster(1);
        for (links, good) in [(1, true), (0, false)] {
            let config = Config { results_max: links, ..cluster.config(0) };
            let saved = Saved { results: vec![crate::invariants::testing::summary()], ..Saved::default() };
            let node = Node::new(config, cluster.identity(0), [1; 32], at(0), UnixMillis(0), saved);
            assert_eq!(WithinBounds::default().inspect(at(0), 0, &node).is_ok(), good);
        }
    }
}
