//! `errors [ID]`: what the names of errors mean and what to do about them.

use crate::error::{ENTRIES, Entry, Failure, Outcome};
use crate::output::{self, Format};
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) fn run(id: Option<&str>, markdown: bool, format: Format) -> Outcome {
    let shown: Vec<&Entry> = ENTRIES.iter().filter(|entry| id.is_none_or(|id| entry.id == id)).collect();
    if shown.is_empty() {
        return Err(Failure::new(format!("there is no error called {:?}", id.unwrap_or_default()))
            .id("error_unknown")
            .hint("p2p-ai-agents errors lists all"));
    }
    if format.json {
        let entry = |entry: &&Entry| json!({ "id": entry.id, "what": entry.what, "hint": entry.todo });
        output::json(&shown.iter().map(entry).collect::<Vec<Value>>())?;
    } else if markdown {
        output::write(page(&shown).as_bytes())?;
    } else {
        for entry in shown {
            output::line(&format!("{}\n  {}\n  {}", entry.id, entry.what, entry.todo))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn page(entries: &[&Entry]) -> String {
    let rows: String = entries
        .iter()
        .map(|entry| format!("| `{}` | {} | {} |\n", entry.id, entry.what, entry.todo))
        .collect();
    format!(
        "# Errors\n\nAn error of a command ends with its `id`, one of the API has it as its `code`. This page is made by\n\
         `p2p-ai-agents errors --markdown`.\n\n| id | what it means | what to do |\n|---|---|---|\n{rows}"
    )
}
