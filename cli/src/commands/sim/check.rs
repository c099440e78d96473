//! `sim check FILE...`: validates scenarios.

use super::scenario;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::terminal;
use serde_json::{Value, json};
use sim::{Scenario, ScenarioError, pluralize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(files: &[PathBuf], format: Format) -> Outcome {
    let mut rows = Vec::new();
    let mut wrong = 0_usize;
    for file in files {
        let scenario = scenario::find(file);
        wrong += usize::from(scenario.is_err());
        match scenario {
            scenario if format.json => rows.push(row(file, &scenario)),
            Ok(scenario) => output::line(&terminal::sanitize_line(&summary(&scenario)))?,
            Err(error) => {
                // The exit status covers all files.
                let _ = scenario::invalid(&error).report();
            }
        }
    }
    if format.json {
        output::json(&json!({ "valid": wrong == 0, "files": rows }))?;
    } else if files.len() > 1 {
        output::line(&total(files.len(), wrong))?;
    }
    if wrong == 0 { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent()) }
}

fn total(files: usize, wrong: usize) -> String {
    match wrong {
        0 => format!("all {files} scenarios are valid"),
        wrong => format!("{} of {files} scenarios valid, {wrong} invalid", files - wrong),
    }
}

fn summary(scenario: &Scenario) -> String {
    let tasks = scenario.workload.as_ref().map_or(0, |workload| workload.submissions.tasks());
    let faults = u64::try_from(scenario.faults.len()).unwrap_or(u64::MAX);
    format!(
        "{} is valid: {}, {}, {}, {} s on the {} executor",
        scenario.path,
        pluralize(scenario.nodes.into(), "node"),
        pluralize(faults, "fault"),
        pluralize(tasks.into(), "task"),
        scenario.duration.as_secs_f64(),
        scenario.executor
    )
}

fn row(file: &Path, scenario: &Result<Scenario, ScenarioError>) -> Value {
    let file = file.display().to_string();
    match scenario {
        Ok(scenario) => json!({
            "file": file,
            "valid": true,
            "why": scenario.why,
            "nodes": scenario.nodes,
            "faults": scenario.faults.len(),
            "executor": scenario.executor,
        }),
        Err(error) => json!({
            "file": file,
            "valid": false,
            "line": error.place.as_ref().map(|place| place.line),
            "column": error.place.as_ref().map(|place| place.column),
            "error": error.problem.to_string(),
            "hint": error.hint(),
        }),
    }
}
