//! `p2p-ai-agents`: the product as its user meets it. Each command asks a running node, or becomes one.

mod args;
mod client;
mod commands;
mod error;
mod interruption;
mod notify;
mod output;
mod progress;
mod scenario;

use args::Arguments;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
