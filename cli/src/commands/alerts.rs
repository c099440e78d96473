//! `alerts`: conditions of the node that somebody should look at.

mod history;
mod list;
mod set;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// List the active alerts
    List(Format),
    /// List past and active alerts, newest first
    History(history::Arguments),
    /// Set thresholds at once and for good, or show them
    Set(set::Arguments),
}

pub(super) fn run(command: AlertsCommand, home: &SelectedHome) -> Outcome {
    match command {
        AlertsCommand::List(format) => block_on(list::run(&home.open()?, format)),
        AlertsCommand::History(arguments) => block_on(history::run(&home.open()?, &arguments)),
        AlertsCommand::Set(arguments) => block_on(set::run(&home.open()?, &arguments)),
    }
}
