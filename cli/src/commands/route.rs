//! `route`: routes through the mesh.

mod explain;
mod ping;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Show the route to a node, the delay of each hop and alternative routes
    Explain {
        /// Name or id of the node, or the start of it
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Measure the round-trip time and throughput to a node
    Ping(ping::Arguments),
}

pub(super) fn run(command: RouteCommand, home: &SelectedHome) -> Outcome {
    match command {
        RouteCommand::Explain { id, format } => block_on(explain::run(&home.open()?, &id, format)),
        RouteCommand::Ping(arguments) => block_on(ping::run(&home.open()?, &arguments)),
    }
}
