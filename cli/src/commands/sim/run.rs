//! `sim run FILE`: a scenario in simulated time, under one seed or many.

use super::timeline::Canvas;
use crate::args::SimRun;
use crate::error::{Failure, Outcome};
use crate::{interruption, output, progress, scenario, terminal};
use sim::{Options, Scenario, Sweep, Sweeping};
use std::num::NonZero;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

pub(in crate::commands) fn run(arguments: &SimRun) -> Outcome {
    let scenario = scenario::load(&arguments.file, arguments.executor)?;
    match &arguments.seeds {
        None => run_one(&scenario, arguments),
        Some(seeds) => run_many(&scenario, seeds, arguments),
    }
}

fn run_one(scenario: &Scenario, arguments: &SimRun) -> Outcome {
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
            let canvas = Canvas::open(file)?;
            let (report, timeline) = sim::run_drawn(scenario, seed, Options::default());
            canvas.draw(&timeline)?;
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

/// Runs every seed. What a scenario wants to reach at times, some seed has to reach, and not each of them.
fn run_many(scenario: &Scenario, seeds: &Range<u64>, arguments: &SimRun) -> Outcome {
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

/// More threads than this help nobody.
const JOBS_MAX: NonZero<usize> = NonZero::new(1024).expect("it is not 0");
