//! `man`: writes the manual pages from the help texts, for packagers.

use crate::error::{Failure, Outcome};
use crate::output;
use clap::Command;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(directory: Option<&Path>, mut program: Command) -> Outcome {
    // Sets the full name of each command.
    program.build();
    match directory {
        None => output::write(&page(&program)?)?,
        Some(directory) => {
            fs::create_dir_all(directory)?;
            write_pages(&program, directory)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command and of its subcommands.
fn write_pages(command: &Command, directory: &Path) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = directory.join(format!("{name}.1"));
    let foreign = |page: Vec<u8>| !String::from_utf8_lossy(&page).contains(&format!(".TH {name} "));
    // Opening a pipe would block.
    if path.exists() && (!path.is_file() || fs::read(&path).is_ok_and(foreign)) {
        return Err(Failure::new(format!("{} exists and is another page", path.display()))
            .id("file_exists")
            .hint("name another directory; the file was not changed"));
    }
    fs::write(&path, page(command)?).map_err(|error| {
        Failure::new(format!("cannot write {}", path.display())).id("output_failed").because(Some(&error))
    })?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    below.into_iter().try_for_each(|below| write_pages(below, directory))
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    Ok(text)
}
