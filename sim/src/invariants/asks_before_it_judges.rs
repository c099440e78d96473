//! A node whose process was suspended does not declare a peer slow or dead at the moment it resumes.

use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use core::time::Duration;
use engine::{Event, Instant, Output};

/// Tracks when each node's process was suspended, and when it resumed.
#[derive(Debug)]
pub(super) struct AsksBeforeItJudges {
    pauses: Vec<Pause>,
    checks: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    began_at: Option<Instant>,
    ended_at: Option<Instant>,
}

pub(super) const NAME: &str = "asks_before_it_judges";

impl AsksBeforeItJudges {
    pub(super) fn new(nodes: usize) -> Self {
        Self { pauses: vec![Pause::default(); nodes], checks: 0 }
    }
}

impl Invariant for AsksBeforeItJudges {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let pause = &mut self.pauses[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these are verdicts on peers")]
        let peer = match observation {
            Observation::Started => {
                *pause = Pause::default();
                return Ok(());
            }
            Observation::Output(Output::Event(Event::PeerDead { peer } | Event::PeerSlow { peer })) => peer,
            _ => return Ok(()),
        };
        let Some(ended_at) = pause.ended_at else { return Ok(()) };
        self.checks += 1;
        if now == ended_at {
            return Err(format!("{peer} was judged by a time in which this node was suspended"));
        }
        Ok(())
    }

    fn process_suspended(&mut self, now: Instant, node: NodeIndex, suspended: bool) {
        let pause = &mut self.pauses[node as usize];
        if suspended {
            pause.began_at = Some(now);
        } else if pause.began_at.take().is_some_and(|began_at| now >= began_at.after(PAUSE)) {
            pause.ended_at = Some(now);
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// The shortest suspension that differs from a busy machine, with a heartbeat due in the middle of it.
const PAUSE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::at;
    use engine::NodeId;

    #[test]
    fn after_a_suspension_no_peer_is_judged_at_once() {
        // The suspension in seconds, the delay of the verdict after it, and whether that verdict is allowed.
        for (pause, after, good) in [(8, 0, false), (8, 1, true), (2, 0, true)] {
            let mut invariant = AsksBeforeItJudges::new(1);
            invariant.process_suspended(at(10), 0, true);
            invariant.process_suspended(at(10 + pause), 0, false);
            let slow = Output::Event(Event::PeerSlow { peer: NodeId([1; 16]) });
            let seen = invariant.observe(at(10 + pause + after), 0, Observation::Output(&slow));
            assert_eq!(seen.is_ok(), good, "{pause} s, {after} s");
        }
    }
}
