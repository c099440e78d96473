//! Loads scenario files for the `sim` commands.

use crate::error::Failure;
use clap::ValueEnum;
use sim::scenario_file::Problem;
use sim::{Executor, Scenario, ScenarioError};
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExecutorChoice {
    /// Choose by the size of the scenario
    Auto,
    /// Run the engine directly: thousands of nodes, many seeds
    EventQueue,
    /// Run the real driver, framing and handshake: a few dozen nodes
    Turmoil,
}

/// Loads a scenario for the chosen executor.
pub(crate) fn load(file: &Path, executor: Option<ExecutorChoice>) -> Result<Scenario, Failure> {
    let scenario = Scenario::load(file).map_err(|error| invalid(&error))?;
    let executor = match executor {
        None => return Ok(scenario),
        Some(ExecutorChoice::Auto) => Executor::suited_to(&scenario),
        Some(ExecutorChoice::EventQueue) => Executor::EventQueue,
        Some(ExecutorChoice::Turmoil) => Executor::Turmoil,
    };
    scenario.on(executor).map_err(|error| invalid(&error))
}

/// Returns the failure of an invalid scenario, with the place in the file.
pub(crate) fn invalid(error: &ScenarioError) -> Failure {
    let unreadable = matches!(error.problem, Problem::Unreadable(_));
    let id = if unreadable { "scenario_unreadable" } else { "scenario_invalid" };
    let failure = match error.picture() {
        None => Failure::from_error(error).id(id),
        Some(snippet) => Failure::new(error.problem.to_string()).id(id).snippet(snippet),
    };
    if unreadable { failure.hint(HINT) } else { failure }
}

const HINT: &str = "name another file, or write a first scenario with: p2p-ai-agents sim new NAME";
