//! How much do 10,000 log lines a second cost, and how long is a caller blocked?
//!
//! Lines as a node writes them at its default level go to a file on this disk for some seconds, ten per millisecond.
//! The processor time is that of the whole process, including the thread that writes to the disk.

use runtime::config::LogLevel;
use runtime::logging::{Line, Log, LogOptions};
use serde_json::{Map, Value};
use std::fs;
use std::time::{Duration, Instant};

fn main() {
    let directory = tempfile::tempdir().expect("the system has room for temporary files");
    let path = directory.path().join("node.log");
    let log = Log::open(&path, LogOptions::default()).expect("there is room for a log");
    let mut took = Vec::with_capacity(10_000 * SECONDS as usize);
    let (begun, before) = (Instant::now(), ticks());
    for beat in 0..1_000 * SECONDS {
        for number in 0..10 {
            let moment = Instant::now();
            let fields: Map<String, Value> = [
                ("peer".to_owned(), Value::from("35cd10d577f8303202919d71c4459b7e")),
                ("number".to_owned(), Value::from(beat * 10 + number)),
            ]
            .into_iter()
            .collect();
            log.write(&Line { level: LogLevel::Info, component: "peers", message: "link up", fields });
            took.push(moment.elapsed());
        }
        let next = Duration::from_millis(beat + 1);
        std::thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    let (elapsed, cpu) = (begun.elapsed(), ticks() - before);
    assert!(log.flush(), "the disk takes what was written");
    let lines = fs::read_to_string(&path).expect("the log is there").lines().count();
    assert_eq!((lines, log.dropped()), (took.len(), 0), "nothing is lost");
    took.sort_unstable();
    let share = cpu as f64 / TICKS_PER_SECOND / elapsed.as_secs_f64() * 100.0;
    let rate = took.len() as f64 / elapsed.as_secs_f64();
    println!("{rate:.0} lines a second: {share:.1} % of a core (floor 5 %)");
    let at = |part: usize| took[(took.len() - 1) * part / 1000];
    println!("a write: median {:?}, p99 {:?} (floor 1 ms), most {:?}", at(500), at(990), at(1000));
}

/// Returns the processor time that this process has used.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .flat_map(str::parse)
        .collect();
    fields.iter().sum()
}

const SECONDS: u64 = 5;
/// The same on every Linux (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;
