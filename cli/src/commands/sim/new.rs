//! `sim new NAME`: writes a commented scenario to start from.

use crate::error::{Failure, Outcome};
use crate::output;
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(name: &str, directory: &Path) -> Outcome {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(Failure::new(format!("\"{name}\" is not a valid scenario name"))
            .id("scenario_name_malformed")
            .hint("use at most 64 lower-case letters, digits and underscores, such as worker_dies"));
    }
    let file = directory.join(format!("{name}.toml"));
    let shown = file.display().to_string();
    write_new(&file, TEMPLATE).map_err(|error| cannot_write(&shown, &error))?;
    output::done(
        &format!("Written: {shown}\nRun it:  p2p-ai-agents sim run {shown}"),
        &json!({ "file": shown }),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a new file and creates its directory; never overwrites a file.
pub(super) fn write_new(file: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new().write(true).create_new(true).open(file)?.write_all(text.as_bytes())
}

/// Returns the failure of a file that was not written.
pub(crate) fn cannot_write(file: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Failure::new(format!("{file} exists already"))
            .id("file_exists")
            .hint("choose another name; nothing was changed");
    }
    Failure::new(format!("{file} cannot be written")).id("output_failed").because(Some(error))
}

const TEMPLATE: &str = include_str!("new/template.toml");
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use sim::{Executor, Scenario, Sweep};

    #[test]
    fn the_template_passes_on_both_executors() {
        let template = Scenario::parse("new.toml", TEMPLATE).unwrap();
        for (executor, seeds) in [(Executor::EventQueue, 0..=19), (Executor::Turmoil, 0..=0)] {
            let sweep = Sweep::run(&template.on(executor).unwrap(), seeds, |report| {
                assert!(report.passed(), "{report}");
            });
            assert!(sweep.passed(), "{sweep}");
        }
    }

    #[test]
    fn what_the_template_leaves_out_is_valid_too() {
        let uncommented: String = TEMPLATE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ") || rest.starts_with("[[")))
            .zip(TEMPLATE.lines())
            .map(|(rest, line)| format!("{}\n", rest.unwrap_or(line)))
            .collect();
        let all = Scenario::parse("new.toml", &uncommented).unwrap();
        assert_eq!((all.seed, all.faults.len()), (Some(7), 3));
    }
}
