//! Known bugs, put back, are caught by the scenarios.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use engine::config::Config;
use engine::mutants::Mutant;
use sim::{Executor, Failure, Options, Scenario};
use std::path::Path;

#[test]
fn a_reply_before_the_write_is_durable_is_caught() {
    let mutant = |config: &mut Config| config.mutant = Some(Mutant::ReplyBeforeDurable);
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let scenario = load("power_lost_while_writing", executor);
        assert_eq!(violated(&scenario, mutant), ["durable_before_acknowledged"; SEEDS], "{executor}");
        // Nobody who looks at the disk is needed: what was promised is missed in the end.
        let mut blind = scenario;
        blind.expect.always.retain(|name| *name != "durable_before_acknowledged");
        assert_eq!(violated(&blind, mutant), ["liveness"; SEEDS], "{executor}");
    }
}

#[test]
fn a_second_result_that_is_accepted_is_caught() {
    let mutant = |config: &mut Config| config.mutant = Some(Mutant::AcceptSecondResult);
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let scenario = load("two_workers_finish", executor);
        assert_eq!(violated(&scenario, mutant), ["one_terminal_outcome"; SEEDS], "{executor}");
    }
}

/// Returns what each of a few seeds found wrong.
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
