//! If the network neither loses nor stalls frames, no live peer is declared dead.
//!
//! With TCP retransmission, a heartbeat is sometimes retransmitted so often that it arrives too late: with 5 % loss,
//! about one in 100,000. A run has about 1,000 heartbeats; one such false death per run is excused.
//!
//! A death is true if the process at the other end of the link is gone, even if a new process runs there by now.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation, is_network_reliable};
use crate::links::Links;
use crate::node_set::NodeIndex;
use crate::scenario::Scenario;
use engine::{Event, Instant, Output};
use std::sync::Arc;

/// Watches which peers are declared dead.
#[derive(Debug)]
pub(super) struct NoFalseDeath {
    cluster: Arc<Cluster>,
    links: Links,
    applies: bool,
    /// How many more false deaths are excused.
    excused: u32,
    checks: u64,
}

pub(super) const NAME: &str = "no_false_death";

impl NoFalseDeath {
    pub(super) fn new(cluster: Arc<Cluster>, scenario: &Scenario) -> Self {
        // Without retransmission a lost heartbeat may be the last one before the deadline.
        let lossless = scenario
            .network
            .loss
            .is_none_or(|loss| loss.retransmission && loss.per_million <= LOSS_PER_MILLION_MAX);
        Self {
            links: Links::new(cluster.len()),
            cluster,
            applies: is_network_reliable(scenario) && lossless,
            excused: u32::from(scenario.network.loss.is_some()),
            checks: 0,
        }
    }
}

impl Invariant for NoFalseDeath {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        if !self.applies {
            return Ok(());
        }
        if let Observation::Output(Output::Event(Event::PeerDead { peer })) = observation
            && let Some(peer) = self.cluster.find(*peer)
        {
            self.checks += 1;
            if self.links.is_to_running_process(node, peer) {
                let Some(excused) = self.excused.checked_sub(1) else {
                    return Err(format!("n{peer} was declared dead, but is alive and reachable"));
                };
                self.excused = excused;
            }
        }
        self.links.observe(&self.cluster, node, observation);
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// The highest loss, with retransmission, under which a live peer must not be declared dead.
const LOSS_PER_MILLION_MAX: u32 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{cluster, up};

    fn watch_deaths(more: &str, restarts: bool, deaths: u32) -> Result<(), String> {
        let cluster = cluster(2);
        let scenario = Scenario::parse("two", &format!("nodes = 2\nduration = \"60s\"\n{more}")).unwrap();
        let mut invariant = NoFalseDeath::new(Arc::clone(&cluster), &scenario);
        let mut observe =
            |node, observation: Observation<'_>| invariant.observe(Instant::ZERO, node, observation);
        observe(0, Observation::Started)?;
        observe(1, Observation::Started)?;
        observe(0, Observation::Output(&up(&cluster, 1, 1)))?;
        if restarts {
            observe(1, Observation::Stopped)?;
            observe(1, Observation::Started)?;
        }
        let dead = Output::Event(Event::PeerDead { peer: cluster.id(1) });
        (0..deaths).try_for_each(|_| observe(0, Observation::Output(&dead)))
    }

    #[test]
    fn a_live_peer_is_not_dead_and_one_that_started_again_was() {
        assert!(watch_deaths("", false, 1).is_err());
        assert_eq!(watch_deaths("", true, 1), Ok(()));
    }

    #[test]
    fn a_lossy_network_excuses_one_death() {
        let loss = "[network]\nloss = \"5%\"\n";
        assert_eq!(watch_deaths(loss, false, 1), Ok(()));
        assert!(watch_deaths(loss, false, 2).is_err());
    }

    #[test]
    fn a_partitioned_peer_may_be_declared_dead() {
        let partition = "[[fault]]\nat = \"1s\"\nkind = \"partition\"\ngroups = [[\"n0\"], [\"n1\"]]\n";
        assert_eq!(watch_deaths(partition, false, 1), Ok(()));
    }
}
