//! `sim run FILE`: a scenario in simulated time, under one seed or many.

use super::sim_timeline::Canvas;
use crate::args::SimRun;
use crate::error::{Failure, Outcome};
use crate::output;
use sim::{Failure as Disappointment, Report, Scenario};
use std::collections::BTreeSet;
use std::ops::Range;
use std::process::ExitCode;

pub(super) fn run(arguments: &SimRun) -> Outcome {
    let mut scenario = Scenario::load(&arguments.file).map_err(|error| Failure::from_error(&error))?;
    if let Some(executor) = arguments.executor {
        scenario = scenario.on(executor).map_err(|error| Failure::from_error(&error))?;
    }
    match &arguments.seeds {
        None => run_one(&scenario, arguments),
        Some(seeds) => run_many(&scenario, seeds, arguments),
    }
}

fn run_one(scenario: &Scenario, arguments: &SimRun) -> Outcome {
    let report = match &arguments.timeline {
        None => sim::run(scenario, arguments.seed),
        Some(file) => {
            let canvas = Canvas::open(file)?;
            let (report, timeline) = sim::run_drawn(scenario, arguments.seed, sim::Options::default());
            canvas.draw(&timeline)?;
            report
        }
    };
    if arguments.format.json {
        output::json(&report.to_json())?;
    } else {
        output::write(report.to_string().as_bytes())?;
        if let Some(file) = &arguments.timeline {
            output::line(&format!("timeline    {}", file.display()))?;
        }
    }
    if report.passed() { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent()) }
}

/// Runs every seed. What a scenario wants to reach at times, some seed has to reach, and not each of them.
fn run_many(scenario: &Scenario, seeds: &Range<u64>, arguments: &SimRun) -> Outcome {
    let (mut failed, mut unreached) = (0_u64, None::<BTreeSet<&'static str>>);
    for report in sim::run_seeds(scenario, seeds.start..=seeds.end.saturating_sub(1)) {
        let missed = report.failures.iter().filter_map(missed).collect();
        unreached = Some(match unreached {
            Some(before) => before.intersection(&missed).copied().collect(),
            None => missed,
        });
        let bad = report.failures.iter().any(|failure| self::missed(failure).is_none());
        failed += u64::from(bad);
        tell(&report, bad, arguments)?;
    }
    let unreached = unreached.unwrap_or_default();
    if !arguments.format.json {
        output::line(&format!("{} seeds, {failed} failed", seeds.end - seeds.start))?;
        for event in &unreached {
            output::line(&format!("no seed reached `{event}`"))?;
        }
    }
    if failed == 0 && unreached.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent()) }
}

fn tell(report: &Report, bad: bool, arguments: &SimRun) -> Result<(), Failure> {
    if arguments.format.json {
        output::json(&report.to_json())
    } else if bad {
        output::write(report.to_string().as_bytes())
    } else {
        output::line(&format!("seed {}  passed  trace {}", report.seed, report.trace.hash))
    }
}

fn missed(failure: &Disappointment) -> Option<&'static str> {
    match failure {
        Disappointment::NotReached(event) => Some(event),
        Disappointment::Outcomes { .. } | Disappointment::Violated(_) => None,
    }
}
