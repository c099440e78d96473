//! The engine in a reproducible world: scenarios, faults, invariants, seeds.
//!
//! A [`Scenario`] says what happens; [`run`] makes it happen under a seed and reports what came of it. The same
//! scenario and seed give the same run, to the last byte of its trace. Two executors run the same engine: one
//! straight over it, for thousands of nodes and many seeds, and one with the real driver, framing and
//! handshake over a simulated network.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::disallowed_types, clippy::disallowed_methods)]

mod blob_disk;
mod clients;
mod cluster;
mod disk;
pub mod executor;
mod faults;
mod inference;
pub mod invariant;
pub mod invariants;
mod links;
mod node_set;
pub mod observer;
mod parallel;
mod random;
mod reference;
pub mod replay;
pub mod report;
mod run;
pub mod scenario;
pub mod scenario_file;
pub mod shrink;
mod simulated_file;
mod sweep;
mod timeline;

pub use observer::flight_recorder::LastEvents;
pub use observer::journals::{Difference, first_difference};
pub use observer::narrative::Line;
pub use observer::trace::TraceSummary;
pub use report::{Failure, Report};
pub use run::{Options, run, run_drawn, run_recorded, run_with};
pub use scenario::{Executor, Scenario};
pub use scenario_file::ScenarioError;
pub use sweep::{Sweep, Sweeping};
pub use timeline::Timeline;
