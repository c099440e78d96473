//! `node`: the node of this machine.

pub(crate) mod config;
pub(super) mod health;
mod install_service;
mod list;
mod logs;
mod members;
mod monitor;
pub(super) mod peers;
mod ready;
mod restart;
mod start;
mod status;
mod stop;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Start the node in the background
    Start(start::Arguments),
    /// Stop the node gracefully
    Stop {
        /// Stop all running nodes of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Restart the node with the options of its last start, and those that are given
    Restart(Box<restart::Arguments>),
    /// List the running nodes of this user
    List(Format),
    /// Show the state, peers, tasks and models of the node
    Status {
        /// Show all running nodes of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Check configuration, key, memory and storage; exit with status 1 on failure
    Health {
        /// Check all running nodes of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// List the nodes of the network, also those beyond the peers
    Members {
        /// List the members that each running node of this user knows
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// List the peers of the node
    Peers {
        /// List the peers of all running nodes of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Show every setting and its source, or change the settings in the file of the home
    Config(config::Arguments),
    /// Show the log of the node
    Logs(logs::Arguments),
    /// Watch the state, peers, tasks, memory and events of the node
    Monitor(monitor::Arguments),
    /// Exit with status 0 if the node is ready, 1 otherwise
    Ready(Format),
    /// Write a systemd unit that starts, watches and stops the node
    InstallService(install_service::Arguments),
}

pub(super) fn run(command: NodeCommand, home: &SelectedHome) -> Outcome {
    match command {
        NodeCommand::Start(arguments) => start::run(&home.open()?, &arguments),
        NodeCommand::Stop { all: true, .. } => stop::run_all(),
        NodeCommand::Stop { all: false, .. } => stop::run(&home.open()?),
        NodeCommand::Restart(arguments) if arguments.all => restart::run_all(&arguments.start),
        NodeCommand::Restart(arguments) => restart::run(&home.open()?, &arguments.start),
        NodeCommand::List(format) => block_on(list::run(format)),
        NodeCommand::Status { all: true, format } => status::run_all(format),
        NodeCommand::Status { all: false, format } => block_on(status::run(&home.open()?, format)),
        NodeCommand::Health { all: true, format } => health::run_all(format),
        NodeCommand::Health { all: false, format } => health::run(&home.open()?, format),
        NodeCommand::Members { all: true, format } => members::run_all(format),
        NodeCommand::Members { all: false, format } => block_on(members::run(&home.open()?, format)),
        NodeCommand::Peers { all: true, format } => peers::run_all(format),
        NodeCommand::Peers { all: false, format } => block_on(peers::run(&home.open()?, format)),
        NodeCommand::Config(arguments) => config::run(&home.open()?, &arguments),
        NodeCommand::Logs(arguments) => logs::run(&home.open()?, &arguments),
        NodeCommand::Monitor(arguments) => block_on(monitor::run(&home.open()?, &arguments)),
        NodeCommand::Ready(_) => block_on(ready::run(&home.open()?)),
        NodeCommand::InstallService(arguments) => install_service::run(home, &arguments),
    }
}
