//! A node has at most four dials in progress, and retries an address that does not answer with growing backoff.

use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use core::net::SocketAddr;
use core::time::Duration;
use engine::{DialId, Input, Instant, Output};
use std::collections::{BTreeMap, VecDeque};

/// Tracks each node's dials and their recent failures.
#[derive(Debug)]
pub(super) struct DialsBackOff {
    nodes: Vec<Dials>,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct Dials {
    under_way: BTreeMap<DialId, SocketAddr>,
    failed: BTreeMap<SocketAddr, VecDeque<Instant>>,
}

pub(super) const NAME: &str = "dials_back_off";

impl DialsBackOff {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Dials::default(); nodes], checks: 0 }
    }
}

impl Dials {
    fn failed(&mut self, now: Instant, dial: DialId) -> Result<(), String> {
        let Some(address) = self.under_way.remove(&dial) else { return Ok(()) };
        let times = self.failed.entry(address).or_default();
        times.push_back(now);
        if times.len() <= FAILURES_MAX {
            return Ok(());
        }
        let since = times.pop_front().unwrap_or(now);
        if now.since(since) > FAILURES_WITHIN {
            return Ok(());
        }
        Err(format!("{} dials to {address} failed since {since}", FAILURES_MAX + 1))
    }
}

impl Invariant for DialsBackOff {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::INPUTS | Interests::OUTPUTS
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let dials = &mut self.nodes[node as usize];
        match observation {
            Observation::Started => *dials = Dials::default(),
            Observation::Output(Output::Dial { dial, address, .. }) => {
                self.checks += 1;
                dials.under_way.insert(*dial, *address);
                if dials.under_way.len() > DIALS_MAX {
                    return Err(format!("{} dials are in progress", dials.under_way.len()));
                }
            }
            Observation::Input(Input::DialFailed { dial, .. }) => return dials.failed(now, *dial),
            Observation::Input(Input::LinkUp { dial: Some(dial), .. }) => {
                if let Some(address) = dials.under_way.remove(dial) {
                    dials.failed.remove(&address);
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

/// The most dials in progress at the same time.
const DIALS_MAX: usize = 4;

/// The most failed dials to one address within half a minute: six, with backoffs of 1, 2, 4, 8 and 16 s, both for the
/// address as configured and for the node discovered there.
const FAILURES_MAX: usize = 12;
const FAILURES_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::at;
    use engine::error::DialError;

    #[test]
    fn failing_again_and_again_is_wrong() {
        let address = crate::cluster::address(1);
        for (pause, good) in [(1, false), (3, true)] {
            let mut invariant = DialsBackOff::new(1);
            let mut fine = true;
            for dial in 0..20 {
                let (now, dial) = (at(dial * pause), DialId(dial));
                let output = Output::Dial { dial, address, expect: None };
                assert_eq!(invariant.observe(now, 0, Observation::Output(&output)), Ok(()));
                let input = Input::DialFailed { dial, error: DialError::Refused };
                fine &= invariant.observe(now, 0, Observation::Input(&input)).is_ok();
            }
            assert_eq!(fine, good, "a dial every {pause} s");
        }
    }

    #[test]
    fn a_fifth_dial_is_wrong() {
        let mut invariant = DialsBackOff::new(1);
        let dialled = (0..5).map(|dial| {
            let output =
                Output::Dial { dial: DialId(dial), address: crate::cluster::address(1), expect: None };
            invariant.observe(at(1), 0, Observation::Output(&output)).is_ok()
        });
        assert_eq!(dialled.collect::<Vec<_>>(), [true, true, true, true, false]);
    }
}
