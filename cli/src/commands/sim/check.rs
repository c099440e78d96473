//! `sim check FILE...`: validates scenario files.

use super::scenario;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::terminal;
use serde_json::{Value, json};
use sim::{Scenario, ScenarioError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(files: &[PathBuf], format: Format) -> Outcome {
    let mut rows = Vec::new();
    let mut wrong = 0_usize;
    for file in files {
        let scenario = Scenario::load(file);
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
    }
    if wrong == 0 { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent()) }
}

fn summary(scenario: &Scenario) -> String {
    let tasks = scenario.workload.as_ref().map_or(0, |workload| workload.submissions.tasks());
    format!(
        "{} is valid: nodes {}, faults {}, tasks {tasks}, {} s on the {} executor",
        scenario.path,
        scenario.nodes,
        scenario.faults.len(),
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
        }),
    }
}
