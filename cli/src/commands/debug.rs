//! `debug`: finds faults of a running node.

mod analyze;
mod heap_dump;
mod log_level;
mod network_test;
mod profile;
mod snapshot;
mod stress;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Say what is wrong with the running node, or with a node in a snapshot
    Analyze(analyze::Arguments),
    /// Show where the memory of the node and its models is
    HeapDump(heap_dump::Arguments),
    /// Show or change the log level of the running node
    LogLevel(log_level::Arguments),
    /// Measure latency, loss and throughput to every member
    NetworkTest(network_test::Arguments),
    /// Sample where the node and its models spend processor time, for go tool pprof
    Profile(profile::Arguments),
    /// Write all figures of the node into a file, without secrets, for an issue
    Snapshot(snapshot::Arguments),
    /// Submit tasks at a fixed rate and measure how long they take
    Stress(stress::Arguments),
}

pub(super) fn run(command: DebugCommand, home: &SelectedHome) -> Outcome {
    match command {
        DebugCommand::Analyze(arguments) => analyze::run(home, &arguments),
        DebugCommand::HeapDump(arguments) => block_on(heap_dump::run(&home.open()?, &arguments)),
        DebugCommand::LogLevel(arguments) => block_on(log_level::run(&home.open()?, &arguments)),
        DebugCommand::NetworkTest(arguments) => block_on(network_test::run(&home.open()?, &arguments)),
        DebugCommand::Profile(arguments) => block_on(profile::run(&home.open()?, &arguments)),
        DebugCommand::Snapshot(arguments) => block_on(snapshot::run(&home.open()?, &arguments)),
        DebugCommand::Stress(arguments) => stress::run(&home.open()?, &arguments),
    }
}
