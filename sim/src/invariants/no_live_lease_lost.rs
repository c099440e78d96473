//! No attempt loses its lease while its worker is alive and its origin can reach it.
//!
//! A worker counts as alive and reachable if, for longer than a lease, no process started, ended or was suspended and
//! the network did not change: any node may be a relay. An attempt that an origin runs itself needs no network and has
//! no excuse.

use crate::cluster::Cluster;
use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use crate::scenario::Scenario;
use core::time::Duration;
use engine::event::ReassignReason;
use engine::{Event, Instant, Output};
use std::sync::Arc;

/// Tracks when processes or the network last changed.
#[derive(Debug)]
pub(super) struct NoLiveLeaseLost {
    cluster: Arc<Cluster>,
    disturbed_at: Option<Instant>,
    /// Whether every message reaches the node that it is addressed to.
    others_apply: bool,
    checks: u64,
}

pub(super) const NAME: &str = "no_live_lease_lost";

impl NoLiveLeaseLost {
    pub(super) fn new(cluster: Arc<Cluster>, scenario: &Scenario) -> Self {
        // With loss, retransmission holds up a connection for minutes.
        let others_apply = cluster.all_are_members() && scenario.network.loss.is_none();
        Self { cluster, disturbed_at: None, others_apply, checks: 0 }
    }
}

impl Invariant for NoLiveLeaseLost {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern processes and leases")]
        match observation {
            Observation::Started | Observation::Stopped => self.disturbed_at = Some(now),
            Observation::Output(Output::Event(Event::TaskAssigned { .. })) => self.checks += 1,
            Observation::Output(Output::Event(Event::TaskReassigned { task, worker, reason, .. }))
                if *reason == ReassignReason::LeaseExpired =>
            {
                let own = *worker == self.cluster.id(node);
                let quiet = self.disturbed_at.is_none_or(|then| now.since(then) > EXCUSED);
                if own || self.others_apply && quiet {
                    let worker = self.cluster.name(*worker);
                    return Err(format!("task {task} is taken from {worker}, which is alive and reachable"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn network_changed(&mut self, now: Instant) {
        self.disturbed_at = Some(now);
    }

    fn process_suspended(&mut self, now: Instant, _: NodeIndex, _: bool) {
        self.disturbed_at = Some(now);
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// How long after a change an expired lease is excused: one lease plus the time to notice.
const EXCUSED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, reassigned};
    use engine::TaskId;

    #[test]
    fn only_trouble_excuses_a_lease_that_ran_out_and_never_a_nodes_own() {
        let scenario = Scenario::parse("leases.toml", "nodes = 2\nduration = \"60s\"\n").unwrap();
        let cluster = Arc::new(Cluster::new(&scenario, 1, None));
        for (worker, excused) in [(0, false), (1, true)] {
            let mut invariant = NoLiveLeaseLost::new(Arc::clone(&cluster), &scenario);
            let (task, worker) = (TaskId([1; 16]), cluster.id(worker));
            let taken = |reason| Output::Event(reassigned(task, worker, reason));
            invariant.network_changed(at(10));
            let expired = taken(ReassignReason::LeaseExpired);
            assert_eq!(invariant.observe(at(70), 0, Observation::Output(&expired)).is_ok(), excused);
            assert!(invariant.observe(at(71), 0, Observation::Output(&expired)).is_err());
            assert_eq!(
                invariant.observe(at(71), 0, Observation::Output(&taken(ReassignReason::Refused))),
                Ok(())
            );
        }
    }
}
