//! The two executors. Both run the same engine; they differ in what they model around it.

mod capabilities;
pub mod event_queue;
mod turmoil;

pub use capabilities::Refusal;

use crate::cluster::Cluster;
use crate::observer::Observer;
use crate::scenario::{Executor, Scenario};
use std::sync::Arc;

/// Runs a scenario to its end, or to the first violation.
pub(crate) fn run(scenario: &Scenario, cluster: &Arc<Cluster>, observer: Observer) -> Observer {
    match scenario.executor {
        Executor::EventQueue => event_queue::run(scenario, cluster, observer),
        Executor::Turmoil => turmoil::run(scenario, cluster, observer),
    }
}
