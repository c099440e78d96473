//! `sim run FILE`: runs a scenario in simulated time with one seed or many.

use super::scenario;
use super::timeline::TimelineFile;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::{interruption, progress, terminal};
use clap::Args;
use sim::{Options, Scenario, Sweep, Sweeping};
use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Scenario file
    pub(crate) file: PathBuf,
    /// Seed of the run [default: the seed in the scenario, or 0]
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub(crate) seed: Option<u64>,
    /// Run all seeds from A up to but not including B
    #[arg(long, value_parser = parse_seeds, value_name = "A..B")]
    pub(crate) seeds: Option<Range<u64>>,
    /// Executor to use instead of the one in the scenario
    #[arg(long, value_enum, value_name = "EXECUTOR")]
    pub(crate) executor: Option<scenario::ExecutorChoice>,
    /// Number of seeds to run in parallel; does not change the results [default: one per core]
    #[arg(long, value_name = "N", requires = "seeds")]
    pub(crate) jobs: Option<NonZero<usize>>,
    /// Continue after a seed fails
    #[arg(long, requires = "seeds")]
    pub(crate) keep_going: bool,
    /// Write the journal of each node into this new directory, for `sim replay`
    #[arg(long, value_name = "DIR", conflicts_with = "seeds")]
    pub(crate) record: Option<PathBuf>,
    /// Write a timeline of the run, overwriting the file: .html for a browser, .json for ui.perfetto.dev
    #[arg(long, conflicts_with_all = ["seeds", "record"], value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let scenario = scenario::load(&arguments.file, arguments.executor)?;
    match &arguments.seeds {
        None => run_one(&scenario, arguments),
        Some(seeds) => run_many(&scenario, seeds, arguments),
    }
}

fn run_one(scenario: &Scenario, arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.or(scenario.seed).unwrap_or_default();
    let report = match (&arguments.record, &arguments.timeline) {
        (None, None) => sim::run(scenario, seed),
        (Some(directory), _) => {
            sim::run_recorded(scenario, seed, Options::default(), directory).map_err(|error| {
                Failure::new(format!("cannot record into {}", directory.display()))
                    .id("output_failed")
                    .because(Some(&error))
            })?
        }
        (None, Some(file)) => {
            let timeline_file = TimelineFile::open(file)?;
            let (report, timeline) = sim::run_drawn(scenario, seed, Options::default());
            timeline_file.write(&timeline)?;
            report
        }
    };
    if arguments.format.json {
        output::json(&report.to_json())?;
    } else {
        output::write(terminal::sanitize(&report.to_string()).as_bytes())?;
        if let Some(file) = &arguments.timeline {
            output::line(&format!("timeline    {}", file.display()))?;
        }
    }
    if report.passed() { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent()) }
}

/// Runs every seed. Each `sometimes` condition of a scenario must be reached by at least one seed, not by all.
fn run_many(scenario: &Scenario, seeds: &Range<u64>, arguments: &Arguments) -> Outcome {
    let stop = interruption::watch()?;
    let bar = progress::bar(seeds.end - seeds.start, "seeds");
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let how = Sweeping {
        jobs: arguments.jobs.unwrap_or(cores).min(JOBS_MAX),
        keep_going: arguments.keep_going,
        options: Options::default(),
        stop: &stop,
    };
    let mut failed = 0_u64;
    let sweep = Sweep::run_parallel(scenario, seeds.start..=seeds.end.saturating_sub(1), how, |report| {
        bar.inc(1);
        if report.failed() {
            failed += 1;
            bar.set_message(format!("{failed} failed"));
        }
    });
    bar.finish_and_clear();
    if arguments.format.json {
        output::json(&sweep.to_json())?;
    } else {
        output::write(terminal::sanitize(&sweep.to_string()).as_bytes())?;
    }
    if sweep.passed() {
        Ok(ExitCode::SUCCESS)
    } else if stop.load(Ordering::Relaxed) && sweep.failed == 0 {
        Ok(interruption::exit_code())
    } else {
        Err(Failure::silent())
    }
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let bounds = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match bounds {
        Some((from, to)) if from < to => Ok(from..to),
        Some(_) | None => Err("expected two seeds, the smaller first: 0..100".to_owned()),
    }
}

/// Maximum number of threads.
const JOBS_MAX: NonZero<usize> = NonZero::new(1024).expect("it is not 0");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_ranges_are_checked() {
        assert_eq!(parse_seeds("3..5"), Ok(3..5));
        for bad in ["5..3", "3", "3..", "a..b", "3..3"] {
            assert!(parse_seeds(bad).is_err(), "{bad:?}");
        }
    }
}
