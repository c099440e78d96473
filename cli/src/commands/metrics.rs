//! `metrics`: what the node counts and measures, for people and for monitoring systems.

mod export;
mod output_file;
mod show;
mod targets;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// Show what the node has counted and measured since it started
    Show(Format),
    /// Write the metrics as text for a monitoring system
    Export {
        /// Text format
        #[arg(long, value_enum, default_value_t = export::TextFormat::Prometheus)]
        format: export::TextFormat,
        /// File to write, or - for standard output
        #[arg(long, value_name = "FILE", default_value = "-")]
        output: PathBuf,
    },
    /// Write a list of nodes for Prometheus to scrape (file_sd)
    Targets(targets::Arguments),
}

pub(super) fn run(command: MetricsCommand, home: &SelectedHome) -> Outcome {
    match command {
        MetricsCommand::Show(format) => block_on(show::run(&home.open()?, format)),
        MetricsCommand::Export { format, output } => block_on(export::run(&home.open()?, format, &output)),
        MetricsCommand::Targets(arguments) => block_on(targets::run(&home.open()?, &arguments)),
    }
}
