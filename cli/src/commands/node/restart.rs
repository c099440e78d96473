//! `node restart`: stops a node and starts it with the arguments, directory and variables of its last start.

use super::{start, stop};
use crate::client::block_on;
use crate::error::{Failure, Outcome};
use crate::{homes, output};
use runtime::home::{Holder, Home};
use std::process::ExitCode;

pub(super) fn run(home: &Home) -> Outcome {
    if home.holder() == Holder::Nobody {
        return Err(Failure::new(format!("No node is running (home: {})", home.root().display()))
            .id("node_not_running")
            .hint("start one with: p2p-ai-agents node start"));
    }
    // Read it first, because the node removes it when it stops.
    let start = start::Command::for_running_node(home)?;
    block_on(async { stop::stop(home).await })?;
    start::start_in_background(home, &start)
}

/// Restarts all nodes of this user, one after another, so that the others stay connected.
pub(super) fn run_all() -> Outcome {
    let (mut restarted, mut failed) = (0, 0);
    for home in homes::running()? {
        match run(&home) {
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
