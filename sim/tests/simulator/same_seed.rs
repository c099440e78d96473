//! The same seed gives the same run: twice in one process, in two processes, and on both executors; another seed gives
//! another run. Two processes compare their journals record by record, so a difference is located.

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use sim::{Executor, Options, Report, Scenario};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The runs that are repeated in a second process.
const REPEATED: &[(&str, Executor, u64)] = &[
    ("worker_dies", Executor::EventQueue, 7),
    ("worker_dies", Executor::EventQueue, 8),
    ("worker_dies", Executor::Turmoil, 7),
    ("lossy_network", Executor::EventQueue, 1),
    ("power_lost_while_writing", Executor::EventQueue, 2),
    ("rolling_restart", Executor::EventQueue, 3),
    ("split_and_heal", Executor::EventQueue, 4),
];

#[test]
fn in_one_process() {
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let hash = |seed| sim::run(&scenario("worker_dies", executor), seed).trace.hash;
        let first = hash(7);
        assert_eq!(first.len(), 16);
        assert_eq!(first, hash(7), "{executor}");
        assert_ne!(first, hash(8), "{executor}");
    }
}

#[test]
fn in_two_processes() {
    let scratch = Scratch::new("processes");
    let (here, there) = (scratch.0.join("here"), scratch.0.join("there"));
    let hashes = record_all(&here);
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "same_seed::be_the_other_process", "--nocapture"])
        .env(ASKED, &there)
        .output()
        .unwrap();
    assert!(other.status.success(), "{other:?}");
    for (number, (name, executor, seed)) in REPEATED.iter().enumerate() {
        let directory = number.to_string();
        let difference = sim::first_difference(&here.join(&directory), &there.join(&directory)).unwrap();
        assert!(
            difference.is_none(),
            "{name} on {executor} with seed {seed}: {}",
            difference.map(|difference| difference.to_string()).unwrap_or_default()
        );
    }
    // Each node did the same; equal hashes prove that the order between nodes is also the same.
    let text = String::from_utf8(other.stdout).unwrap();
    let after_mark = |line: &str| line.split_once(HASH).map(|(_, hash)| hash.trim().to_owned());
    assert_eq!(hashes, text.lines().filter_map(after_mark).collect::<Vec<_>>());
}

/// The other process: this test, started to record.
#[test]
fn be_the_other_process() {
    if let Some(directory) = std::env::var_os(ASKED) {
        for hash in record_all(Path::new(&directory)) {
            println!("{HASH}{hash}");
        }
    }
}

#[test]
fn the_point_where_runs_diverge_is_reported() {
    let scratch = Scratch::new("part");
    let run = |directory: &str, at: u32, seed: u64| {
        let text = format!(
            "nodes = 3\nduration = \"12s\"\n[[fault]]\nat = \"{at}s\"\nkind = \"kill\"\nnode = \"n1\"\n"
        );
        let scenario = Scenario::parse("part.toml", &text).unwrap().on(Executor::EventQueue).unwrap();
        let directory = scratch.0.join(directory);
        sim::run_recorded(&scenario, seed, Options::default(), &directory).unwrap();
        directory
    };
    let base = run("base", 5, 1);
    assert_eq!(sim::first_difference(&base, &run("same", 5, 1)).unwrap(), None);

    let later = sim::first_difference(&base, &run("later", 6, 1)).unwrap().unwrap();
    let words = later.to_string();
    assert!(later.record > 20, "{words}");
    assert!((5_000_000..6_100_000).contains(&later.at.as_micros()), "{words}");
    assert_ne!(later.first, later.second, "{words}");
    assert!(words.starts_with(&format!("the runs diverge at record {} of n", later.record)), "{words}");

    let other = sim::first_difference(&base, &run("other", 5, 2)).unwrap().unwrap();
    assert_eq!(other.record, 0, "{other}");
    fs::remove_file(base.join("n2.1.journal")).unwrap();
    let fewer = sim::first_difference(&base, &scratch.0.join("same")).unwrap().unwrap();
    assert_eq!((fewer.journal.as_str(), fewer.record, fewer.first.is_none()), ("n2.1.journal", 0, true));
}

/// Records every repeated run into a directory of its own, and returns the trace hashes.
fn record_all(directory: &Path) -> Vec<String> {
    let record = |(number, (name, executor, seed)): (usize, &(&str, Executor, u64))| {
        let place = directory.join(number.to_string());
        let scenario = scenario(name, *executor);
        let report: Report = sim::run_recorded(&scenario, *seed, Options::default(), &place).unwrap();
        report.trace.hash
    };
    REPEATED.iter().enumerate().map(record).collect()
}

fn scenario(name: &str, executor: Executor) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(format!("{name}.toml"));
    Scenario::load(&file).unwrap().on(executor).unwrap()
}

/// A directory that is removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sim-same-seed-{name}-{}", std::process::id()));
        // A killed test may have left one behind.
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const ASKED: &str = "SIM_RECORD_INTO";
const HASH: &str = "hash=";
