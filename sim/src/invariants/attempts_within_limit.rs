//! A task is given up after three attempts that killed their model process; no fourth attempt starts.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::event::ReassignReason;
use engine::{Event, Instant, Output, TaskId};
use std::collections::BTreeMap;

/// Counts the crashed attempts of each task since its origin started.
#[derive(Debug)]
pub(super) struct AttemptsWithinLimit {
    nodes: Vec<BTreeMap<TaskId, u32>>,
    checks: u64,
}

pub(super) const NAME: &str = "attempts_within_limit";

impl AttemptsWithinLimit {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: vec![BTreeMap::new(); nodes], checks: 0 }
    }
}

impl Invariant for AttemptsWithinLimit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let deaths = &mut self.nodes[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern attempts")]
        match observation {
            Observation::Started => deaths.clear(),
            Observation::Output(Output::Event(Event::TaskReassigned { task, reason, .. })) => {
                self.checks += 1;
                if *reason == ReassignReason::Crashed {
                    let count = deaths.entry(*task).or_default();
                    *count += 1;
                    if *count >= ATTEMPTS_MAX {
                        return Err(format!("task {task} continues after {count} crashed attempts"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// The most attempts that may crash.
const ATTEMPTS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, reassigned};
    use engine::NodeId;

    #[test]
    fn a_fourth_attempt_is_wrong() {
        let mut invariant = AttemptsWithinLimit::new(1);
        let mut died = || {
            let (task, worker, reason) = (TaskId([1; 16]), NodeId([1; 16]), ReassignReason::Crashed);
            let event = Output::Event(reassigned(task, worker, reason));
            invariant.observe(at(1), 0, Observation::Output(&event)).is_ok()
        };
        assert_eq!([died(), died(), died()], [true, true, false]);
    }
}
