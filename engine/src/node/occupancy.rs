//! Lists the bounds of all collections of a node.

use super::Node;
use super::requests::WAITING_MAX;
use super::routes::EXPLANATIONS_MAX;
use super::traces::{READS_MAX, SEARCHES_MAX};
use crate::health::WAITERS_MAX;
use crate::occupancy::Occupancy;

impl Node {
    /// Returns how full each queue, map and window of the node is. After every input each is within its limit.
    pub fn occupancy(&self) -> impl Iterator<Item = Occupancy> {
        let all = self.tasks.occupancy().into_iter().chain(self.worker.occupancy());
        let all = all.chain(self.router.occupancy()).chain(self.sessions.occupancy());
        let all = all.chain(self.membership.occupancy()).chain(self.peers.occupancy());
        let all = all.chain(self.downloader.occupancy()).chain(self.provider.occupancy());
        let all = all.chain(self.deliveries.occupancy()).chain(self.observers.alerts.occupancy());
        let all = all.chain(self.discovery.occupancy()).chain([self.observers.diagnostics.occupancy()]);
        let all = all.chain(self.observers.traces.occupancy());
        all.chain(self.own_occupancy())
    }

    fn own_occupancy(&self) -> [Occupancy; 12] {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let open = self.tasks.iter().count();
        let results = count(self.config.results_max);
        let links = usize::from(self.config.max_peers);
        [
            // Each open task waits for at most one write. The rest are the self-check, the alerts and purges.
            Occupancy::transient("writes", self.promises(), open + results / 64 + 3),
            Occupancy::transient("unwritten", self.in_flight.unwritten.len(), open + 1),
            Occupancy::transient("scheduler.outstanding", self.scheduler.outstanding(), open),
            Occupancy::transient("assigning", self.in_flight.assigning.len(), open),
            Occupancy::new("results", self.results.len(), results),
            Occupancy::transient("waiting", self.in_flight.waiting.len(), WAITING_MAX),
            Occupancy::transient("cancelling", self.in_flight.cancelling.len(), self.in_flight.waiting.len()),
            Occupancy::transient("health.waiters", self.health.waiters(), WAITERS_MAX),
            Occupancy::transient("explanations", self.in_flight.explanations.len(), EXPLANATIONS_MAX),
            Occupancy::new("loads", self.loads.len(), links),
            Occupancy::transient("traces.searches", self.in_flight.traces.len(), SEARCHES_MAX),
            Occupancy::new("traces.reads", self.in_flight.traces.reads(), READS_MAX + SEARCHES_MAX),
        ]
    }
}
