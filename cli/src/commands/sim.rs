//! `sim`: scenarios in simulated time.

mod check;
mod list;
mod new;
mod replay;
mod run;
mod scenario;
mod shrink;
mod timeline;

use crate::error::Outcome;
use crate::output::Format;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run a scenario under one seed or many; the same seed gives the same trace, byte for byte
    Run(run::Arguments),
    /// Say whether scenario files are valid, and what is wrong where in those that are not
    Check {
        /// The scenarios
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// List scenarios and why they exist
    List {
        /// Where they are
        #[arg(long, value_name = "DIR", default_value = "scenarios")]
        dir: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Write a scenario to begin with, in which everything is explained
    New {
        /// Its name: what happens in it, such as worker_dies
        name: String,
        /// Where to write it
        #[arg(long, value_name = "DIR", default_value = "scenarios")]
        dir: PathBuf,
    },
    /// Make the smallest scenario that fails in the same way as a seed of a large one
    Shrink(shrink::Arguments),
    /// Do again what a recorded node did, and check that it does the same
    Replay(replay::Arguments),
}

pub(super) fn run(command: SimCommand) -> Outcome {
    match command {
        SimCommand::Run(arguments) => run::run(&arguments),
        SimCommand::Check { files, format } => check::run(&files, format),
        SimCommand::List { dir, format } => list::run(&dir, format),
        SimCommand::New { name, dir } => new::run(&name, &dir),
        SimCommand::Shrink(arguments) => shrink::run(&arguments),
        SimCommand::Replay(arguments) => replay::run(&arguments),
    }
}
