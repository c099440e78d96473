//! `completions SHELL`: what makes a shell complete this program's words.

use crate::args::Arguments;
use crate::error::Outcome;
use crate::output;
use clap::CommandFactory;
use std::process::ExitCode;

pub(super) fn run(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "p2p-ai-agents", &mut script);
    output::write(&script).map(|()| ExitCode::SUCCESS)
}
