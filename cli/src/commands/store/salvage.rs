//! `store salvage`: saves the readable records of a stopped node's damaged data file.

use super::check::{data_file, explain, list, lost_count, records};
use crate::error::Outcome;
use crate::output::{self, Format};
use runtime::home::Home;
use runtime::store::{check, salvage};
use serde_json::json;
use std::process::ExitCode;

pub(super) fn run(home: &Home, format: Format) -> Outcome {
    let (file, _lock) = data_file(home)?;
    let checked = check(&file).map_err(|error| explain(&error))?;
    if checked.is_sound() {
        if format.json {
            output::json(&json!({ "file": file.display().to_string(), "sound": true }))?;
        } else {
            output::line("All stored records are sound; nothing was changed.")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let salvaged = salvage(&file).map_err(|error| explain(&error))?;
    if format.json {
        output::json(&json!({
            "file": file.display().to_string(),
            "sound": false,
            "tasks": salvaged.tasks,
            "results": salvaged.results,
            "damaged": records(&salvaged.damaged),
            "lost": salvaged.lost,
            "kept": salvaged.kept.display().to_string(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::properties(&[
        ("File", file.display().to_string()),
        ("Open tasks", format!("{} saved", salvaged.tasks)),
        ("Results", format!("{} saved", salvaged.results)),
        ("Damaged", salvaged.damaged.len().to_string()),
        ("Gone", lost_count(salvaged.lost)),
        ("Old file", salvaged.kept.display().to_string()),
    ])?;
    list(&salvaged.damaged)?;
    Ok(ExitCode::SUCCESS)
}
