//! Every scenario of the repository passes under several seeds on every executor that can model it, with the same
//! outcomes on both.

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use sim::report::Report;
use sim::{Executor, Scenario, Sweep};
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
fn mass_join() {
    passes_on_the_event_queue("mass_join", 1..=2);
}

#[test]
fn churn() {
    passes_on_the_event_queue("churn", 1..=5);
}

#[test]
fn flapping_link() {
    passes_on_the_event_queue("flapping_link", 1..=20);
}

#[test]
fn one_way_loss() {
    passes_on_the_event_queue("one_way_loss", 1..=20);
}

#[test]
fn split_and_heal() {
    passes_on_the_event_queue("split_and_heal", 1..=10);
}

#[test]
fn rolling_restart() {
    passes_on_the_event_queue("rolling_restart", 1..=20);
}

#[test]
fn lossy_network() {
    passes_on_the_event_queue("lossy_network", 1..=10);
}

#[test]
fn mixed_versions() {
    passes_on_the_event_queue("mixed_versions", 1..=20);
}

#[test]
fn copied_identity() {
    passes_on_the_event_queue("copied_identity", 1..=20);
}

#[test]
fn two_copies_alone() {
    passes_on_the_event_queue("two_copies_alone", 1..=20);
}

#[test]
fn announcement_flood() {
    passes_on_the_event_queue("announcement_flood", 1..=20);
}

#[test]
fn hostile_peer() {
    passes_on_the_event_queue("hostile_peer", 1..=20);
}

#[test]
fn unreachable_address() {
    passes_on_the_event_queue("unreachable_address", 1..=20);
}

#[test]
fn generation_streams() {
    passes_on_the_event_queue("generation_streams", 1..=20);
}

#[test]
fn model_from_neighbours() {
    passes_on_the_event_queue("model_from_neighbours", 1..=6);
}

#[test]
fn model_over_relays() {
    passes("model_over_relays", 1..=4);
}

#[test]
fn troubled_network() {
    passes_on_the_event_queue("troubled_network", 1..=20);
}

#[test]
fn disk_fills_up() {
    passes_on_the_event_queue("disk_fills_up", 1..=30);
}

#[test]
fn same_name_two_models() {
    passes_on_the_event_queue("same_name_two_models", 1..=20);
}

#[test]
fn model_unready() {
    passes_on_the_event_queue("model_unready", 1..=20);
}

#[test]
fn clock_jumps() {
    passes_on_the_event_queue("clock_jumps", 1..=20);
}

#[test]
fn laptop_sleeps() {
    passes_on_the_event_queue("laptop_sleeps", 1..=20);
}

#[test]
fn own_job_longer_than_a_lease() {
    passes_on_the_event_queue("own_job_longer_than_a_lease", 1..=5);
}

#[test]
fn jobs_longer_than_a_lease() {
    passes_on_the_event_queue("jobs_longer_than_a_lease", 1..=5);
}

#[test]
fn jobs_of_five_minutes() {
    passes_on_the_event_queue("jobs_of_five_minutes", 1..=5);
}

#[test]
fn jobs_of_an_hour() {
    passes_on_the_event_queue("jobs_of_an_hour", 1..=2);
}

#[test]
fn origin_sleeps() {
    passes_on_the_event_queue("origin_sleeps", 1..=20);
}

#[test]
fn origin_sleeps_behind_relays() {
    passes_on_the_event_queue("origin_sleeps_behind_relays", 1..=20);
}

#[test]
fn laptop_lid() {
    passes_on_the_event_queue("laptop_lid", 1..=40);
}

#[test]
fn queue_overflows() {
    passes_on_the_event_queue("queue_overflows", 1..=10);
}

#[test]
fn alerts_clock() {
    passes_on_the_event_queue("alerts_clock", 1..=5);
}

#[test]
fn alerts_disk() {
    passes_on_the_event_queue("alerts_disk", 1..=5);
}

#[test]
fn alerts_memory() {
    passes_on_the_event_queue("alerts_memory", 1..=5);
}

#[test]
fn alerts_messages() {
    passes_on_the_event_queue("alerts_messages", 1..=5);
}

#[test]
fn alerts_model() {
    passes_on_the_event_queue("alerts_model", 1..=5);
}

#[test]
fn alerts_peers() {
    passes_on_the_event_queue("alerts_peers", 1..=5);
}

#[test]
fn alerts_tasks() {
    passes_on_the_event_queue("alerts_tasks", 1..=5);
}

#[test]
fn swarm() {
    passes_on_the_event_queue("swarm", 1..=300);
}

#[test]
fn model_crashes() {
    passes("model_crashes", 1..=20);
}

#[test]
fn everything_goes_wrong() {
    let scenario = load("everything_goes_wrong");
    for (executor, seeds) in [(Executor::EventQueue, 1..=100), (Executor::Turmoil, 1..=2)] {
        let sweep = Sweep::run(&scenario.on(executor).unwrap(), seeds, |_| {});
        assert!(sweep.passed(), "{executor}: {sweep}");
    }
}

#[test]
fn bugs_that_were_found_stay_fixed() {
    let mut count = 0;
    for file in std::fs::read_dir(folder().join("bugs")).unwrap().map(|entry| entry.unwrap().path()) {
        let scenario = Scenario::load(&file).unwrap();
        assert!(!scenario.why.is_empty(), "{} does not say why it exists", scenario.path);
        let seeds = scenario.seed.map_or(0..=7, |seed| seed..=seed);
        let sweep = Sweep::run(&scenario, seeds, |_| {});
        assert!(sweep.passed(), "{sweep}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn every_scenario_is_tested_here_and_says_why_it_exists() {
    let tests = include_str!("scenarios.rs");
    let files = std::fs::read_dir(folder()).unwrap();
    for file in files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(tests.contains(&format!("(\"{name}\"")), "{name} has no test");
        assert!(!load(name).why.is_empty(), "{name} does not say why it exists");
    }
}

/// Runs a scenario that only the event queue can model, or in a reasonable time.
fn passes_on_the_event_queue(name: &str, seeds: std::ops::RangeInclusive<u64>) {
    let scenario = load(name).on(Executor::EventQueue).unwrap();
    let sweep = Sweep::run(&scenario, seeds, |_| {});
    assert!(sweep.passed(), "{sweep}");
}

/// Runs a scenario under many seeds on the event queue, and under the first few of them on turmoil.
fn passes(name: &str, seeds: std::ops::RangeInclusive<u64>) {
    let scenario = load(name);
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

fn load(name: &str) -> Scenario {
    Scenario::load(&folder().join(format!("{name}.toml"))).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

const TURMOIL_SEEDS: u64 = 2;
