//! `demo`: nodes on this machine to look at, with tasks and faults.
//!
//! A demo is a process with a home of its own, below that of the user's node. It serves `/api/v1/demo` and, through
//! one of its nodes, every other route of a node. The verbs are clients of it, so they work the same way for
//! simulated nodes and for real ones.

mod backend;
mod batch;
mod control;
mod fault;
mod faults;
mod heal;
mod interactive;
mod kill;
mod memory;
mod names;
mod partition;
mod real;
mod record;
mod server;
mod simulated;
mod start;
mod stats;
mod stop;
mod tally;
mod tasks;

use crate::client::{Client, block_on};
use crate::error::{Failure, Outcome};
use crate::homes::SelectedHome;
use crate::output::{self, Format};
use api::DemoChange;
use clap::Subcommand;
use runtime::home::{Holder, Home};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum DemoCommand {
    /// Start nodes on this machine, to look at and to break
    Start(start::Arguments),
    /// Start a demo and read commands from a prompt
    Interactive(interactive::Arguments),
    /// Run tasks on the nodes, or list the last ones
    Tasks(tasks::Arguments),
    /// Show the nodes, their tasks and the faults in effect
    Stats(Format),
    /// Kill a node's process, without a graceful stop
    Kill {
        /// Name of the node, or the start of its id
        node: String,
        #[command(flatten)]
        format: Format,
    },
    /// End all faults and start the stopped nodes again
    Heal(Format),
    /// Divide the network into groups that do not reach each other
    Partition {
        /// Nodes of one group, separated by commas
        #[arg(required = true, num_args = 2.., value_name = "NODE,…")]
        groups: Vec<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Inject a fault of the simulator
    Fault(fault::Arguments),
    /// Write what happened as a scenario that sim run repeats
    Record {
        /// File to write, which must not exist
        file: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Stop the demo and print a summary
    Stop(Format),
}

pub(super) fn run(command: DemoCommand, home: &SelectedHome) -> Outcome {
    let home = server::home_of_demo(&home.open()?)?;
    match command {
        DemoCommand::Start(arguments) => start::run(&home, &arguments),
        DemoCommand::Interactive(arguments) => interactive::run(&home, arguments),
        DemoCommand::Tasks(arguments) => tasks::run_alone(&home, &arguments),
        DemoCommand::Stats(format) => block_on(async { stats::run(&connect(&home)?, format).await }),
        DemoCommand::Kill { node, .. } => block_on(async { kill::run(&connect(&home)?, node).await }),
        DemoCommand::Heal(_) => block_on(async { heal::run(&connect(&home)?).await }),
        DemoCommand::Partition { groups, .. } => {
            block_on(async { partition::run(&connect(&home)?, &groups).await })
        }
        DemoCommand::Fault(arguments) => block_on(async { fault::run(&connect(&home)?, &arguments).await }),
        DemoCommand::Record { file, .. } => block_on(async { record::run(&connect(&home)?, &file).await }),
        DemoCommand::Stop(format) => block_on(stop::run(&home, format)),
    }
}

/// Returns the home of the demo of a node's home.
pub(super) fn home_of(home: &Home) -> Result<Home, Failure> {
    server::home_of_demo(home)
}

/// Finds the running demo of a home.
fn connect(home: &Home) -> Result<Client, Failure> {
    if home.holder() == Holder::Nobody {
        return Err(Failure::new("No demo is running")
            .id("demo_not_running")
            .hint("start one with: p2p-ai-agents demo start"));
    }
    if home.info().is_none() {
        return Err(Failure::new("The demo is starting or stopping")
            .id("demo_not_ready")
            .hint("try again in a moment"));
    }
    Client::connect(home)
}

/// Prints what a request has changed.
fn print_change(change: &DemoChange) -> Result<(), Failure> {
    let DemoChange { message, running, nodes } = change;
    output::done(&format!("{message} ({running} of {nodes} nodes run)"), &json!(change))
}
