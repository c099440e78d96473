//! `store`: the stored data of a stopped node.

mod check;
mod salvage;

use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Verify every stored task and result of a stopped node; exit with status 1 if any is damaged
    Check(Format),
    /// Copy the readable records of a damaged data file into a new file, and keep the damaged one beside it
    Salvage(Format),
}

pub(super) fn run(command: StoreCommand, home: &SelectedHome) -> Outcome {
    match command {
        StoreCommand::Check(format) => check::run(&home.open()?, format),
        StoreCommand::Salvage(format) => salvage::run(&home.open()?, format),
    }
}
