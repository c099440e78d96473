//! `config`, also `node config`: shows every setting and its source, of the running node or else of the next start, and
//! changes the file of the home.
//!
//! A node reads its settings once and writes the effective ones to its home. This command shows those, and
//! separately what a restart would change.

use super::start;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::terminal;
use clap::{Args, Subcommand};
use runtime::config::{self, Change, Overrides, Shown, Source};
use runtime::home::{Holder, Home};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{self, ExitCode};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Show the settings of this configuration file, as `node start --config` would read it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: Option<ConfigCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the value of a setting, of the running node or else of the next start
    Get {
        /// Key of the setting, such as max_peers
        key: String,
        #[command(flatten)]
        format: Format,
    },
    /// Set a value in the file of the home, for the next start
    Set {
        /// Key of the setting, such as max_peers
        key: String,
        /// Value; a list has commas or is JSON
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Remove a value from the file of the home, so that the default applies
    Unset {
        /// Key of the setting, such as max_peers
        key: String,
    },
    /// Edit the file of the home with $VISUAL or $EDITOR, and check it
    Edit,
}

pub(in crate::commands) fn run(home: &Home, arguments: &Arguments) -> Outcome {
    match &arguments.command {
        None => show(home, arguments),
        Some(ConfigCommand::Get { key, format }) => get(home, key, *format),
        Some(ConfigCommand::Set { key, value }) => {
            home.create()?;
            report(home, &config::set(home, key, value).map_err(|error| explain(&error))?)
        }
        Some(ConfigCommand::Unset { key }) => {
            let change = config::unset(home, key).map_err(|error| explain(&error))?;
            if change.before.is_none() {
                output::notice(&format!("{} was not set; it is {}", change.key, text(&change.after)))?;
                return Ok(ExitCode::SUCCESS);
            }
            report(home, &change)
        }
        Some(ConfigCommand::Edit) => edit(home),
    }
}

/// Returns what the next start of the node reads: for a running node, a restart.
fn next_overrides(home: &Home) -> Result<Overrides, Failure> {
    if home.holder() == Holder::Nobody {
        return Ok(Overrides::from_environment());
    }
    match start::Command::for_running_node(home) {
        Ok(command) => Ok(command.renewed(&start::Arguments::default())?.overrides()?),
        // A node that is just starting.
        Err(_) => Ok(Overrides::from_environment()),
    }
}

fn get(home: &Home, key: &str, format: Format) -> Outcome {
    let shown = match running_settings(home) {
        Some(running) => running,
        None => config::preview(home, &next_overrides(home)?).map_err(|error| explain(&error))?.shown(),
    };
    let Some(found) = shown.iter().find(|shown| shown.key == key) else {
        return Err(Failure::new(format!("there is no setting {key:?}"))
            .id("setting_unknown")
            .hint("p2p-ai-agents config lists all settings"));
    };
    if format.json {
        output::json(found)?
    } else {
        output::line(&terminal::sanitize_line(&text(&found.value)))?
    }
    Ok(ExitCode::SUCCESS)
}

/// Reports a change of the file, and whether it has an effect.
fn report(home: &Home, change: &Change) -> Outcome {
    let before =
        change.before.as_ref().map_or_else(String::new, |before| format!(" (before: {})", text(before)));
    output::notice(&terminal::sanitize_line(&format!("{} is {}{before}", change.key, text(&change.after))))?;
    // Other mistakes in the file are reported where it is used.
    let next = config::preview(home, &next_overrides(home)?).ok();
    let stronger = next.as_ref().and_then(|next| next.sources.get(change.key.as_str()));
    if let Some(source @ (Source::NamedFile(_) | Source::Environment(_) | Source::Flag(_))) = stronger {
        output::notice(&format!("It has no effect while this sets the value: {source}"))?;
    } else if home.holder() != Holder::Nobody {
        output::notice("The running node uses it after: p2p-ai-agents node restart")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens an editor with a copy of the file, and replaces the file if the copy is valid.
fn edit(home: &Home) -> Outcome {
    home.create()?;
    let path = home.config_file();
    let before = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => b"{}\n".to_vec(),
        read => read?,
    };
    let draft = path.with_file_name(format!("edited-{}.json", process::id()));
    runtime::home::replace_file(&draft, &before, 0o600)?;
    let set = |name| std::env::var_os(name).filter(|editor| !editor.is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into());
    // An editor may be set with arguments, as shells and git take it.
    let mut script = editor.clone();
    script.push(" \"$@\"");
    let status = process::Command::new("sh").arg("-c").arg(&script).arg(&editor).arg(&draft).status()?;
    let after = fs::read(&draft)?;
    if !status.success() || after == before {
        fs::remove_file(&draft)?;
        return if status.success() {
            output::notice("Nothing was changed")?;
            Ok(ExitCode::SUCCESS)
        } else {
            Err(Failure::new(format!("the editor {} ended with {status}", editor.to_string_lossy()))
                .id("editor_failed")
                .hint("set VISUAL or EDITOR to an editor; the settings were not changed"))
        };
    }
    config::check(&path, &after).map_err(|error| {
        explain(&error).hint(format!("the settings were not changed; your text is in {}", draft.display()))
    })?;
    runtime::home::replace_file(&path, &after, 0o600)?;
    fs::remove_file(&draft)?;
    let restart = home.holder() != Holder::Nobody;
    output::notice(if restart {
        "Written; it is used after: p2p-ai-agents node restart"
    } else {
        "Written"
    })?;
    Ok(ExitCode::SUCCESS)
}

fn show(home: &Home, arguments: &Arguments) -> Outcome {
    let overrides = match &arguments.config {
        Some(file) => Overrides { config_file: Some(file.clone()), ..Overrides::from_environment() },
        None => next_overrides(home)?,
    };
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
pub(super) fn running_settings(home: &Home) -> Option<Vec<Shown>> {
    if home.holder() == Holder::Nobody {
        return None;
    }
    let mut text = String::new();
    File::open(home.effective_file()).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Returns the settings that a restart would change.
fn changes(running: &[Shown], next: &[Shown]) -> Vec<Shown> {
    let differs = |after: &&Shown| {
        let before = running.iter().find(|before| before.key == after.key);
        before.is_none_or(|before| before.value != after.value)
    };
    next.iter().filter(differs).cloned().collect()
}

fn print(settings: &[Shown]) -> Result<(), Failure> {
    let rows: Vec<[String; 3]> = settings.iter().map(row).collect();
    output::table(["SETTING", "VALUE", "SOURCE"], &rows)
}

fn row(shown: &Shown) -> [String; 3] {
    [shown.key.clone(), text(&shown.value), shown.source.clone()]
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

fn explain(error: &config::ConfigError) -> Failure {
    let failure = Failure::from_error(error).id(error.id());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

const BYTES_MAX: u64 = 1 << 20;
