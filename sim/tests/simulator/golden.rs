//! Five runs with recorded trace hashes: the same on every machine and in every build.
//!
//! Every change in the behaviour of nodes changes them. If that is intended, write them again and read the difference:
//!
//! ```text
//! INSTA_UPDATE=always cargo test --release --workspace --test simulator golden
//! ```

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use sim::{Executor, Scenario};
use std::path::Path;

#[test]
fn traces_are_as_they_were() {
    let names =
        ["lossy_network", "power_lost_while_writing", "rolling_restart", "split_and_heal", "worker_dies"];
    let lines: Vec<String> = names.into_iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

fn line(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(format!("{name}.toml"));
    let scenario = Scenario::load(&file).unwrap().on(Executor::EventQueue).unwrap();
    let trace = sim::run(&scenario, SEED).trace;
    format!("{name} {} inputs {} outputs {}", trace.hash, trace.inputs, trace.outputs)
}

const SEED: u64 = 7;
