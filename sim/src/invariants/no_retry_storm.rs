//! After a refusal for a lasting reason, both nodes stop trying to link for a while: two nodes that cannot be peers do
//! not keep dialling.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use core::time::Duration;
use engine::event::RefuseReason;
use engine::{Event, Instant, NodeId, Output};
use std::collections::{BTreeMap, VecDeque};

/// Tracks recent lasting refusals between each pair of nodes.
#[derive(Debug, Default)]
pub(super) struct NoRetryStorm {
    refused: BTreeMap<(NodeIndex, NodeId), VecDeque<Instant>>,
    checks: u64,
}

pub(super) const NAME: &str = "no_retry_storm";

impl Invariant for NoRetryStorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        match observation {
            // A restarted node has forgotten which nodes not to dial.
            Observation::Started => {
                self.refused.clear();
                Ok(())
            }
            Observation::Output(Output::Event(Event::LinkRefused { peer, reason, .. })) if lasts(*reason) => {
                self.checks += 1;
                let times = self.refused.entry((node, *peer)).or_default();
                times.push_back(now);
                if times.len() <= REFUSALS_MAX {
                    return Ok(());
                }
                let first = times.pop_front().unwrap_or(now);
                if now.since(first) < WITHIN {
                    return Err(format!("{reason:?}, more than {REFUSALS_MAX} times since {first}"));
                }
                Ok(())
            }
            Observation::Durable(_)
            | Observation::Input(_)
            | Observation::Output(_)
            | Observation::Stopped => Ok(()),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

const fn lasts(reason: RefuseReason) -> bool {
    matches!(
        reason,
        RefuseReason::NotLocal
            | RefuseReason::OtherNetwork
            | RefuseReason::OtherVersion
            | RefuseReason::SameIdentity
    )
}

/// The most refusals between two nodes in that time, seen from one of them: each may dial the other once, and both
/// ends of a connection may refuse.
const REFUSALS_MAX: usize = 4;
const WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::at;

    #[test]
    fn a_fifth_refusal_in_a_minute_is_one_too_many() {
        let mut invariant = NoRetryStorm::default();
        let mut observe = |seconds, peer, reason| {
            let peer = NodeId([peer; 16]);
            let refused = Output::Event(Event::LinkRefused { peer, reason, by_us: true });
            invariant.observe(at(seconds), 0, Observation::Output(&refused))
        };
        for seconds in [1, 2, 3, 4] {
            assert_eq!(observe(seconds, 1, RefuseReason::OtherVersion), Ok(()));
            assert_eq!(observe(seconds, 2, RefuseReason::Full), Ok(()));
        }
        assert_eq!(observe(60, 2, RefuseReason::Full), Ok(()));
        assert_eq!(observe(61, 1, RefuseReason::OtherVersion), Ok(()));
        assert!(observe(61, 1, RefuseReason::OtherVersion).is_err());
    }
}
