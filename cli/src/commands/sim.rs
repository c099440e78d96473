//! `sim`: scenarios in simulated time.

mod check;
mod explain;
mod list;
pub(super) mod new;
pub(super) mod replay;
mod run;
pub(super) mod scenario;
mod shrink;
mod timeline;

use crate::error::Outcome;
use crate::output::Format;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run scenarios with one seed or many; the same seed gives the same trace, byte for byte
    Run(run::Arguments),
    /// Validate scenario files and show where each mistake is
    Check {
        /// Scenario files, or names that `sim list` shows
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Describe what a scenario may hold: sections, faults, events, properties, alerts, outcomes
    Explain {
        /// Word of a scenario, such as kill, link_up or expect, or a topic, such as faults or events
        word: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// List scenarios and why they exist
    List {
        /// Directory of the scenarios [default: scenarios, and the embedded ones]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Write a commented scenario to start from
    New {
        /// Name that says what happens in the scenario, such as worker_dies
        name: String,
        /// Directory to write the scenario to
        #[arg(long, value_name = "DIR", default_value = "scenarios")]
        dir: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Reduce a scenario that fails with a seed to the smallest one that fails in the same way
    Shrink(shrink::Arguments),
    /// Replay a recorded node and verify that it does the same
    Replay(replay::Arguments),
}

pub(super) fn run(command: SimCommand) -> Outcome {
    match command {
        SimCommand::Run(arguments) => run::run(&arguments),
        SimCommand::Check { files, format } => check::run(&files, format),
        SimCommand::Explain { word, format } => explain::run(word.as_deref(), format),
        SimCommand::List { dir, format } => list::run(dir.as_deref(), format),
        SimCommand::New { name, dir, .. } => new::run(&name, &dir),
        SimCommand::Shrink(arguments) => shrink::run(&arguments),
        SimCommand::Replay(arguments) => replay::run(&arguments),
    }
}
