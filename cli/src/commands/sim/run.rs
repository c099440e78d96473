//! `sim run FILE...`: runs scenarios in simulated time with one seed or many.

use super::scenario;
use super::timeline::TimelineFile;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::{interruption, progress, terminal};
use clap::Args;
use serde_json::{Value, json};
use sim::{Options, Scenario, Sweep, Sweeping, pluralize};
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Scenario files, or names that `sim list` shows
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
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
    /// Print how often each property was checked and each event happened
    #[arg(long, conflicts_with_all = ["seeds", "json"])]
    pub(crate) details: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let several = arguments.files.len() > 1;
    if several && (arguments.record.is_some() || arguments.timeline.is_some()) {
        return Err(Failure::new("--record and --timeline take the run of one scenario")
            .id("one_scenario_only")
            .hint("name one scenario, or leave the option out"));
    }
    // A mistake in the last file is not found after minutes.
    let scenarios: Vec<Scenario> = arguments
        .files
        .iter()
        .map(|file| scenario::load(file, arguments.executor))
        .collect::<Result<_, _>>()?;
    // A single run cannot stop early, so Ctrl-C ends it at once.
    let stop = if arguments.seeds.is_some() { interruption::watch()? } else { Arc::default() };
    let mut ran = Vec::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        if number > 0 && !arguments.format.json {
            output::line("")?;
        }
        let one = match &arguments.seeds {
            None => run_one(scenario, arguments)?,
            Some(seeds) => run_many(scenario, seeds, arguments, &stop)?,
        };
        ran.push(one);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    if several {
        summary(&scenarios, &ran, arguments.format)?;
    } else if let Some(body) = ran.first().and_then(|one| one.json.as_ref()) {
        output::json(body)?;
    }
    let failed = ran.iter().any(|one| one.failed);
    if !failed && ran.len() == scenarios.len() && ran.iter().all(|one| one.passed) {
        Ok(ExitCode::SUCCESS)
    } else if !failed && stop.load(Ordering::Relaxed) {
        Ok(interruption::exit_code())
    } else {
        Err(Failure::silent())
    }
}

/// What came of one scenario.
struct Ran {
    passed: bool,
    /// Whether some run failed; one that was stopped neither passed nor failed.
    failed: bool,
    /// The report, if it is wanted.
    json: Option<Value>,
}

fn summary(scenarios: &[Scenario], ran: &[Ran], format: Format) -> Result<(), Failure> {
    let passed = ran.iter().filter(|one| one.passed).count();
    if format.json {
        let reports: Vec<&Value> = ran.iter().filter_map(|one| one.json.as_ref()).collect();
        return output::json(&json!({ "passed": passed == scenarios.len(), "runs": reports }));
    }
    let failed: Vec<&str> = scenarios
        .iter()
        .zip(ran)
        .filter(|(_, one)| one.failed)
        .map(|(scenario, _)| scenario.path.as_str())
        .collect();
    let of = pluralize(u64::try_from(scenarios.len()).unwrap_or(u64::MAX), "scenario");
    let mut text = format!("{passed} of {of} passed");
    if !failed.is_empty() {
        text += &format!("; failed: {}", failed.join(", "));
    }
    output::line(&terminal::sanitize_line(&text))
}

fn run_one(scenario: &Scenario, arguments: &Arguments) -> Result<Ran, Failure> {
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
    if !arguments.format.json {
        output::write(terminal::sanitize(&report.to_string()).as_bytes())?;
        if arguments.details {
            output::write(report.details().as_bytes())?;
        }
        if let Some(file) = &arguments.timeline {
            output::line(&format!("timeline    {}", file.display()))?;
        }
        if let Some(directory) = &arguments.record {
            print_journals(directory)?;
        }
    }
    let json = arguments.format.json.then(|| report.to_json());
    Ok(Ran { passed: report.passed(), failed: !report.passed(), json })
}

/// Says which journals a run wrote.
fn print_journals(directory: &Path) -> Result<(), Failure> {
    let names = sim::journals(directory)?;
    let Some(first) = names.first() else { return Ok(()) };
    let count = pluralize(u64::try_from(names.len()).unwrap_or(u64::MAX), "journal");
    output::line(&format!("\nrecorded    {count} in {}, one for each start of a node", directory.display()))?;
    output::line(&format!("replay one: p2p-ai-agents sim replay {}", directory.join(first).display()))
}

/// Runs every seed. Each `sometimes` condition of a scenario must be reached by at least one seed, not by all.
fn run_many(
    scenario: &Scenario,
    seeds: &Range<u64>,
    arguments: &Arguments,
    stop: &AtomicBool,
) -> Result<Ran, Failure> {
    let bar = progress::bar(seeds.end - seeds.start, "seeds");
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let how = Sweeping {
        jobs: arguments.jobs.unwrap_or(cores).min(JOBS_MAX),
        keep_going: arguments.keep_going,
        options: Options::default(),
        stop,
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
    if !arguments.format.json {
        output::write(terminal::sanitize(&sweep.to_string()).as_bytes())?;
    }
    let json = arguments.format.json.then(|| sweep.to_json());
    let stopped = stop.load(Ordering::Relaxed) && sweep.failed == 0;
    Ok(Ran { passed: sweep.passed(), failed: !sweep.passed() && !stopped, json })
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
