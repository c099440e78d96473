//! The engine in a reproducible world: scenarios, faults, invariants, seeds.
//!
//! A [`Scenario`] says what happens; [`run`] makes it happen under a seed and reports what came of it. The same
//! scenario and seed give the same run, to the last byte of its trace. Two executors run the same engine: one
//! straight over it, for thousands of nodes and many seeds, and one with the real driver, framing and
//! handshake over a simulated network.

#![warn(clippy::print_stdout, clippy::disallowed_types, clippy::disallowed_methods)]

mod ailing;
mod cluster;
mod disk;
pub mod executor;
mod faults;
pub mod invariants;
mod liveness;
pub mod marks;
mod members;
mod model;
mod observer;
mod random;
pub mod report;
pub mod scenario;
mod sweep;
mod trace;
mod users;

pub use executor::Executor;
pub use observer::Line;
pub use report::{Failure, Report};
pub use scenario::{Scenario, ScenarioError};
pub use sweep::Sweep;
pub use trace::TraceSummary;

use cluster::Cluster;
use core::ops::RangeInclusive;
use observer::Observer;
use std::sync::Arc;
use std::time::Instant;

/// What a run may have besides its scenario and seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Changes what every node is told, after the scenario has: so a test can put a known bug back.
    pub adjust: Option<fn(&mut engine::Config)>,
}

/// Runs a scenario under a seed.
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    run_with(scenario, seed, Options::default())
}

/// Runs a scenario under a seed, with something changed.
pub fn run_with(scenario: &Scenario, seed: u64, options: Options) -> Report {
    let began = Instant::now();
    let cluster = Arc::new(Cluster::new(scenario, seed, options.adjust));
    let observer = Observer::new(scenario, Arc::clone(&cluster));
    let observer = scenario.executor.run(scenario, &cluster, observer);
    Report::new(scenario, seed, began.elapsed(), observer)
}

/// Runs a scenario under each of many seeds, one after the other, as the reports are asked for. [`Sweep`] says what
/// they come to together.
pub fn run_seeds(scenario: &Scenario, seeds: RangeInclusive<u64>) -> impl Iterator<Item = Report> {
    seeds.map(move |seed| run(scenario, seed))
}
