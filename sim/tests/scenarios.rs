//! Every scenario of the repository passes, on every executor that can model it, under several seeds, and ends
//! the same way on both.

use sim::report::Report;
use sim::{Executor, Scenario};
use std::path::{Path, PathBuf};

#[test]
fn two_nodes_meet() {
    passes("two_nodes_meet", 1..=8);
}

#[test]
fn worker_dies() {
    passes("worker_dies", 1..=8);
}

#[test]
fn origin_restarts() {
    passes("origin_restarts", 1..=8);
}

#[test]
fn line_of_five() {
    passes("line_of_five", 1..=8);
}

#[test]
fn partition_heals() {
    passes("partition_heals", 1..=8);
}

#[test]
fn power_lost_while_writing() {
    passes("power_lost_while_writing", 1..=8);
}

#[test]
fn two_workers_finish() {
    passes("two_workers_finish", 1..=8);
}

#[test]
fn every_scenario_is_tested_here_and_says_why_it_exists() {
    let tests = include_str!("scenarios.rs");
    let files = std::fs::read_dir(folder()).unwrap();
    for file in files.map(|entry| entry.unwrap().path()) {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(tests.contains(&format!("passes(\"{name}\"")), "{name} has no test");
        assert!(!Scenario::load(&file).unwrap().why.is_empty(), "{name} does not say why it exists");
    }
}

/// Runs a scenario under many seeds on the event queue, and under the first few of them on turmoil too.
fn passes(name: &str, seeds: std::ops::RangeInclusive<u64>) {
    let scenario = Scenario::load(&folder().join(format!("{name}.toml"))).unwrap();
    let events = scenario.on(Executor::EventQueue).unwrap();
    let turmoil = scenario.on(Executor::Turmoil).unwrap();
    for seed in seeds {
        let report = passed(sim::run(&events, seed));
        if seed <= TURMOIL_SEEDS {
            assert_eq!(report.outcomes, passed(sim::run(&turmoil, seed)).outcomes, "seed {seed}");
        }
    }
}

fn passed(report: Report) -> Report {
    assert!(report.passed(), "{report}");
    report
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

const TURMOIL_SEEDS: u64 = 2;
