//! `route`: how messages travel through the mesh.

mod explain;
mod ping;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Show the path to a node, how long each hop takes, and other paths
    Explain {
        /// The node's id, or the beginning of it
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Send messages to a node and show how long they take there and back
    Ping(ping::Arguments),
}

pub(super) fn run(command: RouteCommand, home: &SelectedHome) -> Outcome {
    match command {
        RouteCommand::Explain { id, format } => block_on(explain::run(&home.open()?, &id, format)),
        RouteCommand::Ping(arguments) => block_on(ping::run(&home.open()?, &arguments)),
    }
}
