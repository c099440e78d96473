//! The command line of `p2p-ai-agents`: each command sends requests to a running node, becomes a node (`node start`),
//! or runs the simulator.
//!
//! - `args` is the root of the command line. `commands` has a folder for each noun and a file for each verb, with the
//!   arguments of the verb and its `run` function.
//! - `client` sends requests to the control API of the node in a home, which `homes` finds.
//! - A verb ends with an exit status or with an `error::Failure`: a message, its causes, a hint, and an id that
//!   `error::catalogue` explains. A failure cannot exist without an id.
//! - `output` prints. Text from peers, files and logs passes through `terminal`, which removes control characters.
//!
//! Modules import only modules below them: `commands`, `args`, nouns, verbs, `client` and `homes`, `output`, `error`,
//! `terminal`.

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
    commands::completions::complete(args::program);
    let arguments = args::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
