//! `man [COMMAND]`: shows or installs the manual pages, which are made from the help texts.

use crate::error::{Failure, Outcome};
use crate::output;
use clap::Command;
use engine::UnixMillis;
use runtime::clock;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Command whose page to show [default: the page of the program]
    #[arg(conflicts_with_all = ["install", "directory"])]
    pub(crate) command: Vec<String>,
    /// Write all pages to where man finds them
    #[arg(long)]
    pub(crate) install: bool,
    /// Write all pages to this directory [default of --install: ~/.local/share/man/man1]
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, program: &Command) -> Outcome {
    match (&arguments.directory, arguments.install) {
        (Some(directory), _) => install(program, directory)?,
        (None, true) => install(program, &default_directory()?)?,
        (None, false) => show(&page(find(&arguments.command, program)?)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the command that the words name, separated as on the command line or by hyphens as in the name of its page.
fn find<'a>(words: &[String], program: &'a Command) -> Result<&'a Command, Failure> {
    let mut found = program;
    let text = words.join("-");
    let mut rest = text.strip_prefix("p2p-ai-agents").unwrap_or(&text).trim_start_matches('-');
    while !rest.is_empty() {
        let below = found.get_subcommands().filter(|below| !below.is_hide_set());
        let named = below.filter_map(|below| {
            let left = rest.strip_prefix(below.get_name())?;
            (left.is_empty() || left.starts_with('-')).then_some((below, left.trim_start_matches('-')))
        });
        (found, rest) = named.min_by_key(|(_, left)| left.len()).ok_or_else(|| {
            Failure::new(format!("there is no manual page for {:?}", words.join(" ")))
                .id("command_unknown")
                .hint("p2p-ai-agents help lists the commands")
        })?;
    }
    Ok(found)
}

/// Shows a page with man, or prints its source where there is no terminal.
fn show(page: &[u8]) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        let viewer = std::process::Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn();
        if let Ok(mut viewer) = viewer {
            if let Some(mut stdin) = viewer.stdin.take() {
                // A viewer that is closed early does not read all.
                let _ = stdin.write_all(page);
            }
            if viewer.wait()?.success() {
                return Ok(());
            }
        }
    }
    output::write(page)
}

fn default_directory() -> Result<PathBuf, Failure> {
    let data = std::env::var_os("XDG_DATA_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let data = data.or_else(|| Some(std::env::home_dir()?.join(".local/share")));
    let data = data.ok_or_else(|| {
        Failure::new("there is no home directory")
            .id("home_unusable")
            .hint("name the directory of the pages with --directory DIR")
    })?;
    Ok(data.join("man/man1"))
}

fn install(program: &Command, directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| cannot_write(directory, &error))?;
    let count = write_pages(program, directory)?;
    output::notice(&format!("Written: {count} pages to {}", directory.display()))
}

/// Writes the page of a command and of its subcommands. Returns their number.
fn write_pages(command: &Command, directory: &Path) -> Result<usize, Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = directory.join(format!("{name}.1"));
    let foreign = |page: Vec<u8>| !String::from_utf8_lossy(&page).contains(&format!(".TH {name} "));
    // Opening a pipe would block.
    if path.exists() && (!path.is_file() || fs::read(&path).is_ok_and(foreign)) {
        return Err(Failure::new(format!("{} exists and is another page", path.display()))
            .id("file_exists")
            .hint("name another directory; the file was not changed"));
    }
    fs::write(&path, page(command)?).map_err(|error| cannot_write(&path, &error))?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    below.into_iter().try_fold(1, |count, below| Ok(count + write_pages(below, directory)?))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}", path.display()))
        .id("output_failed")
        .because(Some(error))
        .hint("name another directory with --directory DIR")
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let version = concat!("p2p-ai-agents ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone())
        .date(date())
        .source(version)
        .manual("p2p-ai-agents manual")
        .render(&mut text)?;
    Ok(plain(&String::from_utf8_lossy(&text)).into_bytes())
}

/// Returns the day of the pages: today, or the one that reproducible builds of packages set.
fn date() -> String {
    let set = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<u64>().ok());
    let moment = set.map_or_else(clock::wall, |seconds| UnixMillis(seconds.saturating_mul(1_000)));
    moment.to_string().chars().take_while(|c| *c != 'T').collect()
}

/// Drops paragraphs that begin where one begins anyway, and writes the characters of our texts as those that every
/// formatter knows.
fn plain(text: &str) -> String {
    let begins = |line: &str| [".SH", ".PP", ".TP", ".TH"].iter().any(|macro_| line.starts_with(macro_));
    // An empty line between two breaks is a space.
    let text = text.replace(".br\n\n.br\n", ".sp\n");
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        match lines.last() {
            Some(last) if line == ".PP" && begins(last) => {}
            _ => lines.push(line),
        }
    }
    let text = lines.join("\n") + "\n";
    [('…', "..."), ('–', "\\(en"), ('×', "\\(mu"), ('→', "\\(->")]
        .into_iter()
        .fold(text, |text, (character, escape)| text.replace(character, escape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn a_page_is_found_by_its_words_or_its_name() {
        let program = args::program();
        let name = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            find(&words, &program).map(|command| command.get_display_name().unwrap_or_default().to_owned())
        };
        assert_eq!(name(&[]).unwrap(), "");
        for words in [&["node", "install-service"][..], &["p2p-ai-agents-node-install-service"]] {
            assert_eq!(name(words).unwrap(), "p2p-ai-agents-node-install-service");
        }
        assert!(name(&["node", "nonsense"]).is_err());
        assert!(name(&["nod"]).is_err());
    }

    #[test]
    fn pages_name_their_program_and_use_plain_characters() {
        fn check(command: &Command) {
            let text = String::from_utf8(page(command).unwrap()).unwrap();
            let title = text.lines().find(|line| line.starts_with(".TH ")).unwrap();
            assert!(title.ends_with("\"p2p-ai-agents manual\""), "{title}");
            assert!(text.is_ascii(), "{text}");
            assert!(!text.contains(".PP\n.SH") && !text.contains(".SH NAME\n.PP"), "{text}");
            command.get_subcommands().filter(|below| !below.is_hide_set()).for_each(check);
        }
        check(&args::program());
    }
}
