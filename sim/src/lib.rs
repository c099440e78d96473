//! Runs the engine in a deterministic simulation: scenarios, fault injection, invariants, seeds.
//!
//! A [`Scenario`] describes nodes, a network, a workload, faults and expectations. [`run()`] executes it under a seed and
//! returns a [`Report`]. The same scenario and seed give the same run, to the last byte of its trace:
//!
//! ```
//! use sim::Scenario;
//!
//! let text = "nodes = 2\nexecutor = \"event-queue\"\nduration = \"3s\"\n[expect]\nsometimes = [\"link_up\"]\n";
//! let scenario = Scenario::parse("two.toml", text).unwrap();
//! let report = sim::run(&scenario, 3);
//! assert!(report.passed(), "{report}");
//! assert_eq!(report.trace, sim::run(&scenario, 3).trace);
//! ```
//!
//! # Executors
//! Two executors run the same engine. The [event queue](executor::event_queue) calls the engine directly, with
//! thousands of nodes and many seeds. The turmoil executor runs the real driver, framing and handshake over turmoil's
//! simulated network, with a few dozen nodes. A scenario names its executor, or gets the one that suits it.
//!
//! # Seeds and faults
//! Every random number is a function of the seed, a purpose and a counter, so removing one fault or node leaves all
//! other draws unchanged. The seed also draws which faults are injected, when, and into which node.
//!
//! # Invariants
//! After every step the observer checks properties that must always hold ([`invariants`]), among them two reference
//! models. At the end of a scenario the liveness check demands that every task has its outcome and the mesh is whole. A
//! failed report names the violated invariant, the seed, and the command that repeats the run.
//!
//! # Working with failures
//! - [`run_recorded`] writes a journal for each node; [`replay`] runs one node again from its journal alone, and
//!   [`first_difference`] locates where two runs diverge.
//! - [`shrink`](mod@shrink) turns a failing seed into a small scenario that fails in the same way.
//! - [`run_drawn`] records a [`Timeline`] for a browser.
//! - [`live`] paces a scenario by the real clock, with real models and users.
//! - [`Sweep`] runs many seeds in parallel and reports the first failure.
//! - Mutants are known bugs that a test puts back through [`Options::adjust`], to prove that an invariant catches them.
//!
//! # Where to start reading
//! [`scenario`] is the data that everything else uses, and [`scenario_file`] its TOML format. `faults.rs` plans and
//! applies faults. `executor/event_queue.rs` is the main loop. `observer.rs` sees everything and never influences the
//! run. One file of `invariants/` shows how a property is checked.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::print_stdout, clippy::disallowed_types, clippy::disallowed_methods)]

mod blob_disk;
mod clients;
mod cluster;
mod disk;
pub mod embedded;
pub mod executor;
mod faults;
mod inference;
pub mod invariant;
pub mod invariants;
mod links;
pub mod live;
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
pub use observer::journals::{Difference, first_difference, journals};
pub use observer::narrative::Line;
pub use observer::trace::TraceSummary;
pub use report::{Failure, Report};
pub use run::{Options, run, run_drawn, run_recorded, run_with};
pub use scenario::{Executor, Scenario};
pub use scenario_file::ScenarioError;
pub use sweep::{Sweep, Sweeping, pluralize};
pub use timeline::Timeline;
