//! Finds and loads scenarios for the `sim` commands: files, names in the directory of scenarios, and embedded ones.

use super::explain;
use crate::error::Failure;
use clap::ValueEnum;
use sim::scenario_file::Problem;
use sim::{Executor, Scenario, ScenarioError, embedded};
use std::path::{Path, PathBuf};

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
    let scenario = find(file).map_err(|error| invalid(&error))?;
    let executor = match executor {
        None => return Ok(scenario),
        Some(ExecutorChoice::Auto) => Executor::suited_to(&scenario),
        Some(ExecutorChoice::EventQueue) => Executor::EventQueue,
        Some(ExecutorChoice::Turmoil) => Executor::Turmoil,
    };
    scenario.on(executor).map_err(|error| invalid(&error))
}

/// Returns the scenario of a file, or the one with a name as `sim list` shows it. A file comes before a name, and a
/// file in the directory of scenarios before the embedded scenario.
pub(super) fn find(file: &Path) -> Result<Scenario, ScenarioError> {
    if file.exists() {
        return Scenario::load(file);
    }
    let Some(name) = file.to_str() else { return Scenario::load(file) };
    let in_directory = PathBuf::from(format!("{DIRECTORY}/{name}.toml"));
    if in_directory.is_file() {
        return Scenario::load(&in_directory);
    }
    match embedded::find(name) {
        Some(scenario) => Scenario::parse(scenario.name, scenario.text),
        None => Scenario::load(file),
    }
}

/// Returns the failure of an invalid scenario, with the place in the file.
pub(crate) fn invalid(error: &ScenarioError) -> Failure {
    if matches!(*error.problem, Problem::Unreadable(_)) {
        return Failure::from_error(error).id("scenario_unreadable").hint(instead(&error.path));
    }
    let failure = match error.picture() {
        None => Failure::from_error(error).id("scenario_invalid"),
        Some(snippet) => Failure::new(error.problem.to_string()).id("scenario_invalid").snippet(snippet),
    };
    failure.hint(error.hint().map_or_else(
        || "p2p-ai-agents sim explain describes all that a scenario may hold".to_owned(),
        |hint| hint_lines(&hint),
    ))
}

/// Returns what to do about a file that cannot be read.
fn instead(path: &str) -> String {
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or(path);
    let names = embedded::SCENARIOS.iter().map(|scenario| scenario.name);
    match runtime::text::nearest(stem, names) {
        Some(name) => {
            format!("did you mean the embedded scenario {name}? p2p-ai-agents sim list shows all scenarios")
        }
        None => "p2p-ai-agents sim list shows all scenarios, and sim new NAME writes one".to_owned(),
    }
}

/// Breaks the lines of a hint so that lists fit the terminal.
fn hint_lines(hint: &str) -> String {
    let lines: String = hint.lines().map(|line| explain::wrapped(line, 6, explain::width())).collect();
    lines.trim().to_owned()
}

/// The directory of scenarios.
pub(super) const DIRECTORY: &str = "scenarios";
