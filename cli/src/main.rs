//! The command line of `p2p-ai-agents`. Each command sends requests to a running node, or becomes a node.

#![forbid(unsafe_code)]

mod args;
mod client;
mod commands;
mod error;
mod homes;
mod interruption;
mod notify;
mod output;
mod progress;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = args::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
