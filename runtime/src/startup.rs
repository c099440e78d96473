//! Start-up times: how long each component took, and when each state was entered.

use engine::lifecycle::State;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The timer of a start. Clones share it.
#[derive(Clone, Debug)]
pub struct Startup {
    shared: Arc<Mutex<(Instant, Timeline)>>,
    begun: Instant,
}

/// The times measured so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Each finished component, in order, with its duration.
    pub components: Vec<Step>,
    /// Each state, with the time since the start at which it was entered.
    pub states: Vec<Step>,
}

/// One step of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The component or state.
    pub name: String,
    /// A time in microseconds.
    pub micros: u64,
}

impl Default for Startup {
    fn default() -> Self {
        let begun = Instant::now();
        let startup = Self { shared: Arc::new(Mutex::new((begun, Timeline::default()))), begun };
        startup.entered(State::Initializing);
        startup
    }
}

impl Startup {
    /// Records that a component is ready. Its duration counts from the previous component.
    pub fn done(&self, component: &str) {
        let now = Instant::now();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let took = now - std::mem::replace(&mut shared.0, now);
        shared.1.components.push(step(component, took));
    }

    /// Records that the node has entered a state. States of the shutdown are ignored.
    pub fn entered(&self, state: State) {
        if state <= State::Active {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.1.states.push(step(&state.to_string(), self.begun.elapsed()));
        }
    }

    /// Returns the times measured so far.
    pub fn timeline(&self) -> Timeline {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

fn step(name: &str, took: Duration) -> Step {
    Step { name: name.to_owned(), micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX) }
}
