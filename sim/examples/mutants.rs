//! Tests every planted bug under up to a thousand seeds, and prints which invariant caught it, where, and after how
//! many seeds.
//!
//! `cargo run --release -p p2p-ai-agents-sim --features mutants --example mutants`, or with the names of some bugs:
//! `… mutants dedup_dropped`.

#![allow(clippy::print_stdout, reason = "a program that prints for people")]

#[path = "../tests/mutants/plan.rs"]
mod plan;

use plan::PLANS;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut escaped = 0;
    println!("{:26} {:30} {:22} {:>5} {:>7}", "BUG", "CAUGHT BY", "STORY", "SEEDS", "SECONDS");
    for plan in PLANS {
        let name = name(plan.mutant);
        if !wanted.is_empty() && !wanted.contains(&name) {
            continue;
        }
        let began = Instant::now();
        let scenario = plan.source.scenario();
        let catch = plan.find_catch(&scenario, 1..=SEEDS_MAX);
        let without = sim::run(&scenario, catch.as_ref().map_or(1, |catch| catch.seed));
        let clean = without.failures.iter().find(|failure| matches!(failure, sim::Failure::Violated(_)));
        let (by, seeds) = catch.map_or(("nothing", SEEDS_MAX), |catch| (catch.invariant, catch.seed));
        let good = plan.caught_by.contains(&by) && clean.is_none();
        escaped += u32::from(!good);
        let seconds = began.elapsed().as_secs_f64();
        let source = plan.source.name();
        println!(
            "{name:26} {by:30} {source:22} {seeds:>5} {seconds:>7.2}{}",
            if good { "" } else { "  WRONG" }
        );
        if let Some(by) = clean {
            println!("{:26} and without the bug: {by}", "");
        }
    }
    println!("{} planted, {escaped} not caught as they should be", PLANS.len());
    if escaped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns a bug's name in snake case.
fn name(mutant: engine::mutants::Mutant) -> String {
    let mut name = String::new();
    for letter in format!("{mutant:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

const SEEDS_MAX: u64 = 1_000;
