//! `node restart`: stops a node and starts it with the arguments, directory and variables of its last start, and with
//! those of this command.

use super::{start, stop};
use crate::client::block_on;
use crate::error::{Failure, Outcome};
use crate::{homes, output};
use clap::Args;
use runtime::home::{Holder, Home};
use std::process::ExitCode;

#[derive(Args, Debug)]
#[group(skip)]
#[command(mut_arg("foreground", |argument| argument.hide(true)))]
pub(crate) struct Arguments {
    /// Restart all running nodes of this user, one after another
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) start: start::Arguments,
}

pub(super) fn run(home: &Home, arguments: &start::Arguments) -> Outcome {
    if home.holder() == Holder::Nobody {
        return Err(homes::not_running(home));
    }
    if arguments.foreground {
        return Err(Failure::new("a restarted node runs in the background")
            .id("node_in_foreground")
            .hint("stop it, then use: p2p-ai-agents node start --foreground"));
    }
    // Read it first, because the node removes it when it stops.
    let command = start::Command::for_running_node(home)?;
    command.require_background()?;
    let command = command.renewed(arguments)?;
    // A node whose new settings are invalid keeps running.
    if let Err(error) = runtime::config::preview(home, &command.overrides()?) {
        return Err(start::explain(error.into()));
    }
    block_on(async { stop::stop(home).await })?;
    start::start_in_background(home, &command)
}

/// Restarts all nodes of this user, one after another, so that the others stay connected.
pub(super) fn run_all(arguments: &start::Arguments) -> Outcome {
    let (mut restarted, mut failed) = (0, 0);
    for home in homes::running()? {
        match run(&home, arguments) {
            Ok(code) if code == ExitCode::SUCCESS => restarted += 1,
            Ok(_) => failed += 1,
            Err(failure) => {
                failed += 1;
                failure.at(&home.root().display().to_string()).report();
            }
        }
    }
    if !output::is_json() {
        output::notice(&format!("{restarted} {} restarted", if restarted == 1 { "node" } else { "nodes" }))?;
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
