//! How long a start takes: each component by itself, and each state from the beginning on.

use engine::lifecycle::State;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A start under way. Clones share it.
#[derive(Clone, Debug)]
pub struct Startup {
    shared: Arc<Mutex<(Instant, Timeline)>>,
    begun: Instant,
}

/// What a start has taken so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Each component that is there, in order, and how long it took.
    pub components: Vec<Step>,
    /// Each state that was entered, and when, from the beginning on.
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
    /// Takes note that a component is there, and has taken the time since the one before.
    pub fn done(&self, component: &str) {
        let now = Instant::now();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let took = now - std::mem::replace(&mut shared.0, now);
        shared.1.components.push(step(component, took));
    }

    /// Takes note that the node has entered a state. Those of its end are no part of its start.
    pub fn entered(&self, state: State) {
        if state <= State::Active {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.1.states.push(step(&state.to_string(), self.begun.elapsed()));
        }
    }

    /// Returns what it has taken so far.
    pub fn timeline(&self) -> Timeline {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

fn step(name: &str, took: Duration) -> Step {
    Step { name: name.to_owned(), micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX) }
}
