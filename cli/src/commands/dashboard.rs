//! `dashboard`: the page that shows the mesh.

mod browser;
mod open;
mod recording;
mod start;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum DashboardCommand {
    /// Log a browser in to the page of the running node, and open it
    Open(open::Arguments),
    /// Serve the page in the foreground; it stays up while the node restarts
    Start(start::Arguments),
}

pub(super) fn run(command: DashboardCommand, home: &SelectedHome) -> Outcome {
    match command {
        DashboardCommand::Open(arguments) => block_on(open::run(&home.open()?, arguments)),
        DashboardCommand::Start(arguments) => start::run(home, &arguments),
    }
}
