//! A test harness for programs with their own `main`. Such a program is also its own worker process, and the usual
//! harness would write to the standard output of a worker.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// A test. It gets its own runtime.
pub(crate) type Test = fn(&Runtime);

/// Runs the tests whose names contain one of the arguments, or all if there are none. Flags are ignored.
pub(crate) fn run(tests: &[(&str, Test)], arguments: &[String]) -> ExitCode {
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in tests {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let passed = std::panic::catch_unwind(AssertUnwindSafe(|| test(&runtime))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u8::from(!passed);
    }
    ExitCode::from(failed.min(1))
}
