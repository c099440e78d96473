//! `node`: this machine's node.

mod config;
mod health;
mod install_service;
mod list;
mod logs;
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
    /// Start the node, in the background unless told otherwise
    Start(start::Arguments),
    /// Stop the node, and let it finish what it can
    Stop {
        /// Stop every running node of this user
        #[arg(long)]
        all: bool,
    },
    /// Stop the node, and start it as it was started before
    Restart {
        /// Restart every running node of this user
        #[arg(long)]
        all: bool,
    },
    /// List the running nodes of this user
    List(Format),
    /// Show how the node is
    Status {
        /// Show every running node of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Check how well the node is: its configuration, key, memory and storage
    Health {
        /// Check every running node of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// List the nodes that this node has links to
    Peers {
        /// List those of every running node of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Show every setting and where its value came from
    Config(config::Arguments),
    /// Show the node's log
    Logs(logs::Arguments),
    /// Watch the node: its state, peers, tasks, memory and what happens
    Monitor(monitor::Arguments),
    /// End with 0 if the node is ready, else with 1
    Ready,
    /// Write the systemd unit that starts the node, watches it and stops it
    InstallService(install_service::Arguments),
}

pub(super) fn run(command: NodeCommand, home: &SelectedHome) -> Outcome {
    match command {
        NodeCommand::Start(arguments) => start::run(&home.open()?, &arguments),
        NodeCommand::Stop { all: true } => stop::run_all(),
        NodeCommand::Stop { all: false } => stop::run(&home.open()?),
        NodeCommand::Restart { all: true } => restart::run_all(),
        NodeCommand::Restart { all: false } => restart::run(&home.open()?),
        NodeCommand::List(format) => block_on(list::run(format)),
        NodeCommand::Status { all: true, format } => status::run_all(format),
        NodeCommand::Status { all: false, format } => block_on(status::run(&home.open()?, format)),
        NodeCommand::Health { all: true, format } => health::run_all(format),
        NodeCommand::Health { all: false, format } => health::run(&home.open()?, format),
        NodeCommand::Peers { all: true, format } => peers::run_all(format),
        NodeCommand::Peers { all: false, format } => block_on(peers::run(&home.open()?, format)),
        NodeCommand::Config(arguments) => config::run(&home.open()?, &arguments),
        NodeCommand::Logs(arguments) => logs::run(&home.open()?, &arguments),
        NodeCommand::Monitor(arguments) => block_on(monitor::run(&home.open()?, &arguments)),
        NodeCommand::Ready => block_on(ready::run(&home.open()?)),
        NodeCommand::InstallService(arguments) => install_service::run(&home.open()?, &arguments),
    }
}
