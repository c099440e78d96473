//! A node never has more links than `max_peers`.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation};
use crate::links::{Change, Links};
use crate::node_set::NodeIndex;
use engine::Instant;
use std::sync::Arc;

/// Counts the links of each node.
#[derive(Debug)]
pub(super) struct DegreeAtMostMaxPeers {
    cluster: Arc<Cluster>,
    links: Links,
    limit: usize,
    checks: u64,
}

pub(super) const NAME: &str = "degree_at_most_max_peers";

impl DegreeAtMostMaxPeers {
    pub(super) fn new(cluster: Arc<Cluster>, limit: u16) -> Self {
        Self { links: Links::new(cluster.len()), cluster, limit: usize::from(limit), checks: 0 }
    }
}

impl Invariant for DegreeAtMostMaxPeers {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let Some(Change::Up(_)) = self.links.observe(&self.cluster, node, observation) else { return Ok(()) };
        self.checks += 1;
        let degree = self.links.degree(node);
        if degree <= self.limit {
            return Ok(());
        }
        Err(format!("{degree} links are up, more than the {} allowed", self.limit))
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
    fn one_link_too_many_is_wrong() {
        let cluster = cluster(4);
        let mut invariant = DegreeAtMostMaxPeers::new(Arc::clone(&cluster), 2);
        let mut observe = |output| invariant.observe(Instant::ZERO, 0, Observation::Output(&output));
        assert_eq!(observe(up(&cluster, 1, 1)), Ok(()));
        assert_eq!(observe(up(&cluster, 2, 2)), Ok(()));
        assert_eq!(observe(down(&cluster, 2, 2)), Ok(()));
        assert_eq!(observe(up(&cluster, 3, 3)), Ok(()));
        assert!(observe(up(&cluster, 4, 2)).is_err());
    }
}
