//! The same seed gives the same run: twice in one process, in two processes, and on both executors; another
//! seed gives another.

use sim::{Executor, Scenario};
use std::path::Path;
use std::process::Command;

#[test]
fn in_one_process() {
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let hash = hash(executor, 7);
        assert_eq!(hash.len(), 16);
        assert_eq!(hash, self::hash(executor, 7), "{executor}");
        assert_ne!(hash, self::hash(executor, 8), "{executor}");
    }
}

#[test]
fn in_two_processes() {
    let first = hashes_of_another_process();
    assert_eq!(first.len(), 2, "{first:?}");
    assert_eq!(first, hashes_of_another_process());
    assert_eq!(first, [hash(Executor::EventQueue, 7), hash(Executor::Turmoil, 7)]);
}

/// The other process: this test, asked to print.
#[test]
fn print_the_hashes() {
    if std::env::var_os(ASKED).is_some() {
        println!("{HASH}{}", hash(Executor::EventQueue, 7));
        println!("{HASH}{}", hash(Executor::Turmoil, 7));
    }
}

fn hashes_of_another_process() -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "print_the_hashes", "--nocapture"])
        .env(ASKED, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let after_mark = |line: &str| line.split_once(HASH).map(|(_, hash)| hash.trim().to_owned());
    text.lines().filter_map(after_mark).collect()
}

fn hash(executor: Executor, seed: u64) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/worker_dies.toml");
    let scenario = Scenario::load(&file).unwrap().on(executor).unwrap();
    sim::run(&scenario, seed).trace.hash
}

const ASKED: &str = "SIM_PRINT_THE_HASHES";
const HASH: &str = "hash=";
