//! Known bugs, put back, are caught, each by the invariant that is meant to catch it.
//!
//! A few seeds of each are enough here. This tests all of them and prints a table:
//! `cargo run --release -p p2p-ai-agents-sim --features mutants --example mutants`.

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

mod plan;
mod shrink;
mod timeline;

use engine::config::Config;
use engine::mutants::Mutant;
use plan::{PLANS, Plan, violation};
use sim::{Executor, Failure, Options, Scenario};
use std::path::Path;

#[test]
fn every_planted_bug_has_a_plan() {
    let planned: Vec<Mutant> = PLANS.iter().map(|plan| plan.mutant).collect();
    assert_eq!(planned, Mutant::ALL);
}

#[test]
fn every_planted_bug_is_caught() {
    let escaped = in_parallel(|plan: &Plan| {
        let catch = plan.find_catch(&plan.source.scenario(), 1..=SEEDS_MAX);
        match catch {
            Some(catch) if plan.caught_by.contains(&catch.invariant) => None,
            Some(catch) => {
                Some(format!("{:?}: caught by {} under seed {}", plan.mutant, catch.invariant, catch.seed))
            }
            None => Some(format!("{:?}: not caught", plan.mutant)),
        }
    });
    assert_eq!(escaped, Vec::<String>::new());
}

#[test]
fn the_engine_without_bugs_passes_the_same_seeds() {
    let wrong = in_parallel(|plan: &Plan| {
        let scenario = plan.source.scenario();
        let report = (1..=CLEAN_SEEDS).map(|seed| sim::run(&scenario, seed));
        report.filter(|report| violation(report).is_some()).map(|report| report.to_string()).next()
    });
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_was_promised_too_early_is_missed_in_the_end() {
    let mutant = |config: &mut Config| config.mutant = Some(Mutant::ReplyBeforeDurable);
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let scenario = load("power_lost_while_writing", executor);
        assert_eq!(violated(&scenario, mutant), ["durable_before_acknowledged"; SEEDS], "{executor}");
        // The reference model of the disk is not needed: in the end the lost promise is missed.
        let mut blind = scenario;
        let sees = ["accepted_exists", "durable_before_acknowledged"];
        blind.expect.always.retain(|name| !sees.contains(name));
        assert_eq!(violated(&blind, mutant), ["liveness"; SEEDS], "{executor}");
    }
}

#[test]
fn a_second_result_is_caught_on_both_executors() {
    let mutant = |config: &mut Config| config.mutant = Some(Mutant::AcceptSecondResult);
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let scenario = load("two_workers_finish", executor);
        assert_eq!(violated(&scenario, mutant), ["one_terminal_outcome"; SEEDS], "{executor}");
    }
}

/// Returns what a few threads find among the plans, in their order.
fn in_parallel(look: impl Fn(&Plan) -> Option<String> + Sync) -> Vec<String> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let hunt = |worker: usize| PLANS.iter().skip(worker).step_by(workers).filter_map(&look).collect();
        let hunts: Vec<_> =
            (0..workers).map(|worker| scope.spawn(move || -> Vec<String> { hunt(worker) })).collect();
        hunts.into_iter().flat_map(|hunt| hunt.join().unwrap()).collect()
    })
}

/// Returns what each of a few seeds violated.
fn violated(scenario: &Scenario, adjust: fn(&mut Config)) -> Vec<&'static str> {
    let found = (1..=SEEDS as u64).map(|seed| {
        let report = sim::run_with(scenario, seed, Options { adjust: Some(adjust) });
        match report.failures.as_slice() {
            [Failure::Violated(violation)] => {
                assert!(report.to_string().contains(&format!("--seed {seed}")), "{report}");
                violation.invariant
            }
            _ => panic!("nothing was violated: {report}"),
        }
    });
    found.collect()
}

fn load(name: &str, executor: Executor) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{name}.toml"));
    Scenario::load(&file).unwrap().on(executor).unwrap()
}

const SEEDS: usize = 3;
/// The seeds within which each bug must be caught.
const SEEDS_MAX: u64 = 10;
/// The seeds of each scenario that the engine without bugs must pass.
const CLEAN_SEEDS: u64 = 5;
