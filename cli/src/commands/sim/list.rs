//! `sim list`: lists the scenarios, including those of bugs.

use super::scenario;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use serde_json::json;
use sim::Scenario;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(directory: &Path, format: Format) -> Outcome {
    let mut files = files(directory).map_err(|error| {
        Failure::new(format!("{} cannot be listed", directory.display()))
            .id("scenarios_unreadable")
            .because(Some(&error))
            .hint("name another directory with --dir DIR, or write a first scenario with: p2p-ai-agents sim new NAME")
    })?;
    files.extend(self::files(&directory.join(BUGS)).unwrap_or_default());
    let (mut found, mut wrong) = (Vec::new(), 0_usize);
    for file in &files {
        match Scenario::load(file) {
            Ok(scenario) => found.push((name(directory, file), scenario)),
            Err(error) => {
                wrong += 1;
                // The exit status covers all files.
                let _ = scenario::invalid(&error).report();
            }
        }
    }
    if format.json {
        let rows: Vec<_> = found.iter().map(|(name, scenario)| row(name, scenario)).collect();
        output::json(&json!({ "scenarios": rows }))?;
    } else if found.is_empty() {
        output::line("No scenarios")?;
    } else {
        table(&found)?;
    }
    if wrong == 0 { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent()) }
}

/// Returns the scenario files in a directory, sorted by name.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the path within the directory, without its extension.
fn name(directory: &Path, file: &Path) -> String {
    file.strip_prefix(directory).unwrap_or(file).with_extension("").display().to_string()
}

fn table(found: &[(String, Scenario)]) -> Result<(), Failure> {
    let row = |(name, scenario): &(String, Scenario)| {
        [
            name.clone(),
            scenario.nodes.to_string(),
            format!("{} s", scenario.duration.as_secs_f64()),
            scenario.executor.to_string(),
            scenario.why.clone(),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    output::table(["NAME", "NODES", "TIME", "EXECUTOR", "WHY"], &rows)
}

fn row(name: &str, scenario: &Scenario) -> serde_json::Value {
    json!({
        "name": name,
        "file": scenario.path,
        "nodes": scenario.nodes,
        "seconds": scenario.duration.as_secs_f64(),
        "executor": scenario.executor,
        "why": scenario.why,
    })
}

/// Subdirectory of the scenarios that were made from failures.
pub(super) const BUGS: &str = "bugs";
