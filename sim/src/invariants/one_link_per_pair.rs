//! A node has at most one link to each other node, even if both dialled at the same time.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation};
use crate::links::{Change, Links};
use crate::node_set::NodeIndex;
use engine::Instant;
use std::sync::Arc;

/// Watches the links of each node.
#[derive(Debug)]
pub(super) struct OneLinkPerPair {
    cluster: Arc<Cluster>,
    links: Links,
    checks: u64,
}

pub(super) const NAME: &str = "one_link_per_pair";

impl OneLinkPerPair {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { links: Links::new(cluster.len()), cluster, checks: 0 }
    }
}

impl Invariant for OneLinkPerPair {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let Some(Change::Up(peer)) = self.links.observe(&self.cluster, node, observation) else {
            return Ok(());
        };
        self.checks += 1;
        match self.links.between(node, peer) {
            0 | 1 => Ok(()),
            more => Err(format!("{more} links to n{peer} are up at the same time")),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{cluster, down, up};

    #[test]
    fn a_second_link_is_wrong_unless_the_first_went_before() {
        let cluster = cluster(3);
        let mut invariant = OneLinkPerPair::new(Arc::clone(&cluster));
        let mut observe = |output| invariant.observe(Instant::ZERO, 0, Observation::Output(&output));
        assert_eq!(observe(up(&cluster, 1, 1)), Ok(()));
        assert_eq!(observe(up(&cluster, 2, 2)), Ok(()));
        assert!(observe(up(&cluster, 3, 1)).is_err());
        assert_eq!(observe(down(&cluster, 1, 1)), Ok(()));
        assert_eq!(observe(down(&cluster, 2, 2)), Ok(()));
        assert_eq!(observe(up(&cluster, 4, 2)), Ok(()));
    }
}
