//! Shared parts of the benchmarks: figures with goals, real nodes in processes of their own, and plain TCP to compare
//! with.
//!
//! A benchmark starts itself again for each process that it needs, so [`run`] comes first in its `main`. Measurements
//! that are compared are made in turns, so that other load affects all of them equally; the median of each counts.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]
#![allow(clippy::print_stdout, reason = "what was measured goes there")]

pub mod figures;
pub mod nodes;
pub mod tcp;

use std::pin::Pin;

/// Runs `benchmark`, or the role for which a benchmark started this process.
pub fn run(benchmark: impl Future<Output = ()>) {
    play(Box::pin(benchmark));
}

fn play(benchmark: Pin<Box<dyn Future<Output = ()> + '_>>) {
    // As many threads as a node has.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(nodes::PART) => runtime.block_on(nodes::be_node(&arguments[1])),
        Some(tcp::PART) => runtime.block_on(tcp::be_server()),
        Some(_) | None => runtime.block_on(benchmark),
    }
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
}

/// Returns the median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
