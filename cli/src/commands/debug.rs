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
    ///
    /// Exits with status 0 if no problem is found, and 1 otherwise or if there is nothing to analyze.
    Analyze(analyze::Arguments),
    /// Show where the memory of the node and its models is
    ///
    /// This is what the system and the node know. The allocator keeps no record of allocations, so there is no list of them
    /// by place in the program. The table shows each process, the kinds of memory of the node's process, the collections of
    /// the node with their limits, and the models.
    HeapDump(heap_dump::Arguments),
    /// Show or change the log level of the running node
    ///
    /// Without LEVEL, shows the levels in force. A change ends after its time, with --reset, or when the node restarts.
    LogLevel(log_level::Arguments),
    /// Measure latency, loss and throughput to every member
    ///
    /// Each member gets --count small messages and one burst of --burst-kib. Loss counts messages that stayed without an
    /// acknowledgement despite retries.
    NetworkTest(network_test::Arguments),
    /// Sample where the node and its models spend processor time, for go tool pprof
    ///
    /// The file has the format of pprof: go tool pprof -top FILE. Its samples have the labels process and thread. A node
    /// that was built without debug information has names of functions and no lines.
    Profile(profile::Arguments),
    /// Write all figures of the node into a file, without secrets, for an issue
    ///
    /// The file holds figures, states and names of models. It holds no texts of tasks, no keys or tokens, no paths and no
    /// addresses, and node ids are shortened.
    Snapshot(snapshot::Arguments),
    /// Submit tasks at a fixed rate and measure how long they take
    ///
    /// At most 64 tasks are in flight: a quarter of the node's queue, so that other users still get in. A task that is due
    /// while so many are in flight, or while the node asks for a pause (429), is held back and counted. The results are
    /// stored like all others, and may push out the oldest of the 10,000 that a node keeps. Ctrl-C ends the test and
    /// prints the summary.
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
