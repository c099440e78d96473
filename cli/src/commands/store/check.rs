//! `store check`: verifies every stored record of a stopped node, and lists the damaged ones.

use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use api::DamagedRecord;
use engine::TaskId;
use engine::record::RecordKind;
use runtime::config::{self, Overrides};
use runtime::home::{Home, Lock, LockError};
use runtime::service::STORE_FILE;
use runtime::store::{Checked, OpenError, check};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(home: &Home, format: Format) -> Outcome {
    let (file, _lock) = data_file(home)?;
    let checked = check(&file).map_err(|error| explain(&error))?;
    if format.json {
        output::json(&json!({
            "file": file.display().to_string(),
            "sound": checked.is_sound(),
            "tasks": checked.tasks,
            "results": checked.results,
            "damaged": records(&checked.damaged),
            "lost": checked.lost,
            "fault": checked.fault,
        }))?;
    } else {
        print(&file, &checked)?;
    }
    Ok(if checked.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(file: &Path, checked: &Checked) -> Result<(), Failure> {
    let state = if checked.is_sound() { "sound".to_owned() } else { "DAMAGED".to_owned() };
    let mut rows = vec![
        ("File", file.display().to_string()),
        ("State", state),
        ("Open tasks", checked.tasks.to_string()),
        ("Results", checked.results.to_string()),
    ];
    if !checked.is_sound() {
        rows.push(("Damaged", checked.damaged.len().to_string()));
        rows.push(("Gone", lost_count(checked.lost)));
    }
    rows.extend(checked.fault.iter().map(|fault| ("Fault", fault.clone())));
    output::properties(&rows)?;
    list(&checked.damaged)?;
    if !checked.is_sound() {
        output::notice(
            "To save the readable records, run: p2p-ai-agents store salvage; node start does the same",
        )?;
    }
    Ok(())
}

/// Formats the number of lost records that cannot be identified.
pub(super) fn lost_count(lost: Option<u64>) -> String {
    lost.map_or_else(|| "unknown".to_owned(), |lost| lost.to_string())
}

/// Prints damaged records, one per line.
pub(super) fn list(damaged: &[(RecordKind, TaskId)]) -> Result<(), Failure> {
    damaged.iter().try_for_each(|(kind, task)| output::line(&format!("damaged: {kind} {task}")))
}

/// Converts damaged records for JSON output.
pub(super) fn records(damaged: &[(RecordKind, TaskId)]) -> Vec<DamagedRecord> {
    damaged.iter().map(|(kind, task)| DamagedRecord { kind: *kind, task: *task }).collect()
}

/// Returns the data file of a stopped node, and locks its home so that the node cannot start meanwhile.
pub(super) fn data_file(home: &Home) -> Result<(PathBuf, Lock), Failure> {
    let overrides = Overrides::from_environment();
    let effective = config::preview(home, &overrides).map_err(|error| {
        Failure::from_error(&error)
            .id(error.id())
            .hint("p2p-ai-agents node config says what is wrong with it")
    })?;
    let file = effective.settings.storage_path.join(STORE_FILE);
    if !file.exists() {
        return Err(Failure::new(format!("there is no data file {}", file.display()))
            .id("data_missing")
            .hint("name the node's home with --home DIR"));
    }
    let lock = home.lock().map_err(|error| {
        let id = match &error {
            LockError::Held { .. } => "node_already_running",
            LockError::Io(_) => "home_unusable",
        };
        Failure::from_error(&error).id(id).hint("stop it first: p2p-ai-agents node stop")
    })?;
    Ok((file, lock))
}

/// Returns the failure of a data file that cannot be opened.
pub(super) fn explain(error: &OpenError) -> Failure {
    Failure::from_error(error).id("storage_unusable")
}
