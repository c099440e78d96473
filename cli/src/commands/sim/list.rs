//! `sim list`: lists the scenarios, including those of bugs and the embedded ones.

use super::{explain, scenario};
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::terminal;
use serde_json::json;
use sim::{Scenario, embedded};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(directory: Option<&Path>, format: Format) -> Outcome {
    let default = Path::new(scenario::DIRECTORY);
    let place = directory.unwrap_or(default);
    let mut files = match (files(place), directory) {
        (Ok(files), _) => files,
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        (Err(error), _) => return Err(unreadable(place, &error)),
    };
    for below in [EXAMPLES, BUGS] {
        files.extend(self::files(&place.join(below)).unwrap_or_default());
    }
    let (mut found, mut wrong) = (Vec::new(), 0_usize);
    for file in &files {
        match Scenario::load(file) {
            Ok(scenario) => found.push(Found { name: name(place, file), scenario, embedded: false }),
            Err(error) => {
                wrong += 1;
                // The exit status covers all files.
                let _ = scenario::invalid(&error).report();
            }
        }
    }
    if directory.is_none() {
        add_embedded(&mut found);
    }
    if format.json {
        let rows: Vec<_> = found.iter().map(Found::json).collect();
        output::json(&json!({ "scenarios": rows }))?;
    } else if found.is_empty() {
        output::line("No scenarios")?;
    } else {
        let wrap = output::is_shortened().then(terminal::columns);
        output::write(terminal::sanitize(&table(&found, wrap)).as_bytes())?;
    }
    if wrong == 0 { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent()) }
}

/// A listed scenario.
struct Found {
    name: String,
    scenario: Scenario,
    embedded: bool,
}

impl Found {
    /// Returns the name without the subdirectory.
    fn stem(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Returns whether the file of the scenario has this text.
    fn holds(&self, text: &str) -> bool {
        std::fs::read(&self.scenario.path).is_ok_and(|file| file == text.as_bytes())
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "name": self.name,
            "file": self.scenario.path,
            "embedded": self.embedded,
            "nodes": self.scenario.nodes,
            "seconds": self.scenario.duration.as_secs_f64(),
            "executor": self.scenario.executor,
            "why": self.scenario.why,
        })
    }
}

/// Adds the embedded scenarios, except those that a file replaces or holds.
fn add_embedded(found: &mut Vec<Found>) {
    let is_listed = |one: &embedded::Embedded| {
        let is_it = |file: &Found| file.name == one.name || (file.stem() == one.name && file.holds(one.text));
        found.iter().any(is_it)
    };
    let missing: Vec<_> = embedded::SCENARIOS.iter().filter(|one| !is_listed(one)).collect();
    for one in missing {
        // Tests parse every embedded scenario.
        if let Ok(scenario) = Scenario::parse(one.name, one.text) {
            found.push(Found { name: one.name.to_owned(), scenario, embedded: true });
        }
    }
}

fn unreadable(directory: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{} cannot be listed", directory.display()))
        .id("scenarios_unreadable")
        .because(Some(error))
        .hint("name another directory with --dir DIR, or leave it out for the embedded scenarios")
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

/// Formats names and reasons in two columns. With a width, the reasons are wrapped to it.
fn table(found: &[Found], width: Option<usize>) -> String {
    let names = found.iter().map(|one| one.name.chars().count());
    let column = names.max().unwrap_or_default().max("NAME".len()) + 2;
    let mut text = format!("{:column$}WHY\n", "NAME");
    for Found { name, scenario, .. } in found {
        let why = match width {
            Some(width) => explain::wrapped(&scenario.why, column, width.max(column + WHY_WIDTH_MIN)),
            None => format!("{}\n", scenario.why),
        };
        text += &format!("{name:column$}{}", why.trim_start());
    }
    text
}

/// Subdirectory of the scenarios that were made from failures.
pub(super) const BUGS: &str = "bugs";

/// Subdirectory of the scenarios that fail on purpose.
const EXAMPLES: &str = "examples";

const WHY_WIDTH_MIN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_fits_a_terminal() {
        let mut found = Vec::new();
        add_embedded(&mut found);
        assert_eq!(found.len(), embedded::SCENARIOS.len());
        let text = table(&found, Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(table(&found, None).lines().count(), found.len() + 1);
    }
}
