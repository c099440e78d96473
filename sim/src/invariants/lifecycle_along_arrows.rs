//! A node's state changes only along its lifecycle: INITIALIZING, REGISTERING, ACTIVE, SHUTTING_DOWN, STOPPED. It
//! becomes ACTIVE only after its storage completed a write, dials nobody before that, starts no attempt once it shuts
//! down, and shuts down within 8 s.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use core::time::Duration;
use engine::lifecycle::State;
use engine::record::Record;
use engine::{Event, Instant, NodeId, Output, TaskId};
use std::collections::BTreeSet;

/// Tracks the lifecycle state of each node.
#[derive(Debug)]
pub(super) struct LifecycleAlongArrows {
    lives: Vec<Life>,
    checks: u64,
}

#[derive(Clone, Debug)]
struct Life {
    state: State,
    storage_works: bool,
    leaves_by: Option<Instant>,
    begun: BTreeSet<(NodeId, TaskId)>,
}

pub(super) const NAME: &str = "lifecycle_along_arrows";

impl LifecycleAlongArrows {
    pub(super) fn new(nodes: usize) -> Self {
        Self { lives: vec![Life::new(); nodes], checks: 0 }
    }
}

impl Life {
    const fn new() -> Self {
        Self { state: State::Initializing, storage_works: false, leaves_by: None, begun: BTreeSet::new() }
    }

    fn becomes(&mut self, now: Instant, from: State, to: State) -> Result<(), String> {
        let arrow = matches!(
            (from, to),
            (State::Initializing, State::Registering)
                | (State::Registering, State::Active)
                | (State::Initializing | State::Registering | State::Active, State::ShuttingDown)
                | (State::ShuttingDown, State::Stopped)
        );
        if from != self.state || !arrow {
            return Err(format!("in state {} it went from {from} to {to}", self.state));
        }
        if to == State::Active && !self.storage_works {
            return Err("it is ACTIVE before its storage completed a write".to_owned());
        }
        if to == State::ShuttingDown {
            self.leaves_by = Some(now.after(LEAVE_TIMEOUT));
        }
        self.state = to;
        Ok(())
    }

    fn begins(&mut self, task: (NodeId, TaskId)) -> Result<(), String> {
        if self.begun.insert(task) && self.state != State::Active {
            return Err(format!("it starts task {} in state {}", task.1, self.state));
        }
        Ok(())
    }
}

impl Invariant for LifecycleAlongArrows {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let life = &mut self.lives[node as usize];
        if life.leaves_by.is_some_and(|by| now > by) && life.state == State::ShuttingDown {
            return Err("it has not shut down within 8 s".to_owned());
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern the lifecycle")]
        match observation {
            Observation::Started => *life = Life::new(),
            Observation::Stopped => life.leaves_by = None,
            Observation::Durable(Record::Probe) => life.storage_works = true,
            Observation::Output(Output::Event(Event::StateChanged { from, to })) => {
                self.checks += 1;
                return life.becomes(now, *from, *to);
            }
            Observation::Output(Output::Event(Event::TaskStarted { task, origin, .. })) => {
                self.checks += 1;
                return life.begins((*origin, *task));
            }
            Observation::Output(Output::Dial { .. }) if life.state != State::Active => {
                return Err(format!("it dials in state {}", life.state));
            }
            _ => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// The longest time that a shutdown may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, started};

    fn becomes(from: State, to: State) -> Output {
        Output::Event(Event::StateChanged { from, to })
    }

    #[test]
    fn a_life_out_of_order_is_wrong() {
        use State::{Active, Initializing, Registering, ShuttingDown};
        let mut invariant = LifecycleAlongArrows::new(1);
        let mut observe =
            |seconds, observation: Observation<'_>| invariant.observe(at(seconds), 0, observation);
        assert_eq!(observe(0, Observation::Output(&becomes(Initializing, Registering))), Ok(()));
        assert!(observe(0, Observation::Output(&becomes(Registering, Active))).is_err(), "without storage");
        assert_eq!(observe(0, Observation::Durable(&Record::Probe)), Ok(()));
        assert!(observe(0, Observation::Output(&becomes(Initializing, Active))).is_err());
        assert_eq!(observe(0, Observation::Output(&becomes(Registering, Active))), Ok(()));
        assert_eq!(observe(1, Observation::Output(&becomes(Active, ShuttingDown))), Ok(()));
        let started = started(TaskId([1; 16]), NodeId([0; 16]), 1);
        assert!(observe(2, Observation::Output(&Output::Event(started))).is_err());
        assert_eq!(observe(9, Observation::Durable(&Record::Probe)), Ok(()));
        assert!(observe(10, Observation::Durable(&Record::Probe)).is_err());
    }
}
