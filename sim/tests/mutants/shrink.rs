//! A failing seed becomes a small file that fails in the same way, and that a correct engine passes.

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use core::time::Duration;
use engine::Config;
use engine::mutants::Mutant;
use sim::report::Symptom;
use sim::shrink::{Limits, ShrinkError, Shrunk, shrink};
use sim::{Executor, Options, Scenario};
use std::path::Path;

#[test]
fn a_second_outcome_needs_one_fault_and_few_nodes() {
    let mutant = |config: &mut Config| config.mutant = Some(Mutant::AcceptSecondResult);
    let shrunk = shrinks("everything_goes_wrong", mutant, "one_terminal_outcome");
    assert!(shrunk.from.faults >= 3 && shrunk.from.nodes == 6, "{}", shrunk.from);
    assert!(shrunk.to.faults <= 2 && shrunk.to.nodes <= 3 && shrunk.to.tasks <= 4, "{}", shrunk.to);
}

#[test]
fn a_promise_before_the_write_needs_no_fault_at_all() {
    let mutant = |config: &mut Config| config.mutant = Some(Mutant::ReplyBeforeDurable);
    let shrunk = shrinks("everything_goes_wrong", mutant, "durable_before_acknowledged");
    assert_eq!((shrunk.to.faults, shrunk.to.nodes, shrunk.to.tasks), (0, 1, 1), "{}", shrunk.to);
}

#[test]
fn the_bug_on_file_would_be_caught_again() {
    let scenario = load("bugs/second_outcome_accepted");
    let mutant = |config: &mut Config| config.mutant = Some(Mutant::AcceptSecondResult);
    let report = sim::run_with(&scenario, scenario.seed.unwrap(), Options { adjust: Some(mutant) });
    assert_eq!(report.symptom(), Some(Symptom::Violated("one_terminal_outcome")), "{report}");
}

#[test]
fn what_passes_cannot_be_shrunk() {
    let scenario = load("two_nodes_meet");
    let error = shrink(&scenario, 1, Options::default(), LIMITS, |_| {}).unwrap_err();
    assert!(matches!(error, ShrinkError::Passes { seed: 1 }), "{error}");
}

#[test]
fn what_was_not_reached_cannot_be_shrunk() {
    let text = "nodes = 2\nduration = \"5s\"\n[expect]\nsometimes = [\"peer_dead\"]\n";
    let scenario = Scenario::parse("calm.toml", text).unwrap();
    let error = shrink(&scenario, 1, Options::default(), LIMITS, |_| {}).unwrap_err();
    assert!(error.to_string().contains("`peer_dead`"), "{error}");
}

#[test]
fn tasks_that_do_not_all_end_as_they_should_shrink_to_one_that_does_not() {
    let text = "nodes = 4\nexecutor = \"turmoil\"\nduration = \"60s\"\n\
        [workload]\ntasks = 12\nevery = \"500ms\"\ncompute = \"1s\"\n\
        [[fault]]\nat = \"4s\"\nkind = \"kill\"\nnode = \"n1\"\n\
        [[fault]]\nat = \"5s\"\nkind = \"kill\"\nnode = \"n2\"\nrestart_after = \"1s\"\n\
        [liveness]\nafter = \"30s\"\nwithin = \"20s\"\n[expect]\noutcomes = { completed = 12 }\n";
    let scenario = Scenario::parse("open.toml", text).unwrap();
    let failing = (1..20).find(|&seed| sim::run(&scenario, seed).symptom().is_some()).unwrap();
    let shrunk = shrink(&scenario, failing, Options::default(), LIMITS, |_| {}).unwrap();
    assert_eq!((shrunk.to.faults, shrunk.to.tasks), (1, 1), "{}", shrunk.text);
    assert!(shrunk.to.nodes <= 2, "{}", shrunk.text);
    assert_eq!(shrunk.scenario.executor, Executor::EventQueue);
}

#[test]
fn limits_are_kept_and_said() {
    let mutant = |config: &mut Config| config.mutant = Some(Mutant::ReplyBeforeDurable);
    let options = Options { adjust: Some(mutant) };
    let limits = Limits { runs: 5, ..LIMITS };
    let shrunk = shrink(&load("everything_goes_wrong"), 1, options, limits, |_| {}).unwrap();
    assert!(!shrunk.complete && shrunk.runs <= 6, "{}", shrunk.runs);
}

/// Shrinks the first failing seed, and checks that the file fails again and passes without the bug.
fn shrinks(name: &str, mutant: fn(&mut Config), invariant: &'static str) -> Shrunk {
    let options = Options { adjust: Some(mutant) };
    let scenario = load(name);
    let symptom = Some(Symptom::Violated(invariant));
    let fails = |seed: &u64| sim::run_with(&scenario, *seed, options).symptom() == symptom;
    let seed = (1..100).find(fails).unwrap();
    let shrunk = shrink(&scenario, seed, options, LIMITS, |_| {}).unwrap();
    println!("seed {seed}: {} -> {} in {} runs, {:?}", shrunk.from, shrunk.to, shrunk.runs, shrunk.wall);
    let again = Scenario::parse("again.toml", &shrunk.text).unwrap();
    let seed = again.seed.unwrap_or_default();
    assert_eq!(sim::run_with(&again, seed, options).symptom(), symptom, "{}", shrunk.text);
    let right = sim::run(&again, seed);
    assert!(right.passed(), "{}\n{right}", shrunk.text);
    assert!(shrunk.text.lines().next().unwrap().contains(invariant), "{}", shrunk.text);
    assert!(shrunk.complete);
    shrunk
}

fn load(name: &str) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{name}.toml"));
    Scenario::load(&file).unwrap().on(Executor::EventQueue).unwrap()
}

const LIMITS: Limits = Limits { runs: 3_000, time: Duration::from_secs(120) };
