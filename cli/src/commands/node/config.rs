//! `node config`: shows every setting and its source, of the running node or else of the next start.
//!
//! A node reads its settings once and writes the effective ones to its home. This command shows those, and
//! separately what a restart would change.

use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::terminal;
use clap::Args;
use runtime::config::{self, Overrides, Shown};
use runtime::home::{Holder, Home};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Show the settings of this configuration file, as `node start --config` would read it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) fn run(home: &Home, arguments: &Arguments) -> Outcome {
    let overrides = Overrides { config_file: arguments.config.clone(), ..Overrides::from_environment() };
    let next = config::preview(home, &overrides);
    let running = if arguments.config.is_some() { None } else { running_settings(home) };
    let (shown, changed) = match (running.as_ref(), next.as_ref()) {
        (Some(running), Ok(next)) => (running.clone(), changes(running, &next.shown())),
        (Some(running), Err(_)) => (running.clone(), Vec::new()),
        (None, Ok(next)) => (next.shown(), Vec::new()),
        (None, Err(error)) => return Err(explain(error)),
    };
    if arguments.format.json {
        output::json(&json!({
            "running": running.is_some(),
            "settings": shown,
            "after_restart": changed,
            "warnings": next.as_ref().map(|next| next.warnings.clone()).unwrap_or_default(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&shown)?;
    if running.is_none() {
        output::notice("\nNo node is running; these are the settings of the next start")?;
    }
    if !changed.is_empty() {
        output::notice("\nAfter a restart:")?;
        print(&changed)?;
    }
    match next {
        Ok(next) => {
            for warning in next.warnings {
                output::write_error(format!("warning: {}\n", terminal::sanitize_line(&warning)).as_bytes())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        // The running node is not affected, but its next start would fail.
        Err(error) => Err(explain(&error)),
    }
}

/// Reads the effective settings of the running node; `None` if none runs.
fn running_settings(home: &Home) -> Option<Vec<Shown>> {
    if home.holder() == Holder::Nobody {
        return None;
    }
    let mut text = String::new();
    File::open(home.effective_file()).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Returns the settings that a restart would change. `node restart` repeats flags and variables, so these do not
/// count.
fn changes(running: &[Shown], next: &[Shown]) -> Vec<Shown> {
    let kept =
        |before: &Shown| before.source.starts_with("flag ") || before.source.starts_with("environment ");
    let differs = |after: &&Shown| {
        let before = running.iter().find(|before| before.key == after.key);
        before.is_none_or(|before| before.value != after.value && !kept(before))
    };
    next.iter().filter(differs).cloned().collect()
}

fn print(settings: &[Shown]) -> Result<(), Failure> {
    let rows: Vec<[String; 3]> = settings.iter().map(row).collect();
    output::table(["SETTING", "VALUE", "SOURCE"], &rows)
}

fn row(shown: &Shown) -> [String; 3] {
    let value = match &shown.value {
        Value::String(text) => text.clone(),
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            value.to_string()
        }
    };
    [shown.key.clone(), value, shown.source.clone()]
}

fn explain(error: &config::ConfigError) -> Failure {
    let failure = Failure::from_error(error).id(error.id());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

const BYTES_MAX: u64 = 1 << 20;
