//! `completions SHELL`: prints the completion script for a shell.

use crate::error::Outcome;
use crate::output;
use clap::Command;
use std::process::ExitCode;

pub(super) fn run(shell: clap_complete::Shell, program: &mut Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, program, "p2p-ai-agents", &mut script);
    output::write(&script).map(|()| ExitCode::SUCCESS)
}
