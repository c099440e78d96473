//! `store`: what a stopped node has stored.

mod check;
mod salvage;

use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read every stored task and result of a stopped node; end with 0 if all are sound, else with 1
    Check(Format),
    /// Save what can be read of a damaged data file into a new one; the damaged file is kept beside it
    Salvage(Format),
}

pub(super) fn run(command: StoreCommand, home: &SelectedHome) -> Outcome {
    match command {
        StoreCommand::Check(format) => check::run(&home.open()?, format),
        StoreCommand::Salvage(format) => salvage::run(&home.open()?, format),
    }
}
