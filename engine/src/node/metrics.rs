//! Takes views of the node's metrics.

use super::Node;
use super::dump::occupancy_view;
use crate::heartbeat::Liveness;
use crate::observers::metrics::{AttemptState, Metrics, MetricsView, Origin};
use std::collections::BTreeMap;

impl Node {
    /// Returns what the node has counted since it started.
    pub fn metrics(&self) -> &Metrics {
        &self.observers.metrics
    }

    pub(super) fn metrics_view(&self) -> MetricsView {
        let slow = |link| self.heartbeat.liveness(link) == Liveness::Slow;
        let peers_slow = self.peers.iter().filter(|(link, _)| slow(*link)).count();
        let mut attempts: BTreeMap<(Origin, AttemptState), u64> = BTreeMap::new();
        for (origin, runs) in self.worker.attempts() {
            let state = if runs { AttemptState::Running } else { AttemptState::Queued };
            *attempts.entry((self.observers.metrics.origin(origin), state)).or_default() += 1;
        }
        MetricsView {
            counted: self.observers.metrics.clone(),
            status: self.status_view(),
            now: self.clock.now,
            attempts,
            peers_slow: u32::try_from(peers_slow).unwrap_or(u32::MAX),
            collections: self.occupancy().map(occupancy_view).collect(),
        }
    }
}
