//! `help [COMMAND|TOPIC]`: the help of a command, or a page of the documentation.
//!
//! The pages are those of `docs/`, built into the program: they match its version and need no network.

use crate::args::mistake::near;
use crate::error::{Failure, Outcome};
use crate::output;
use crate::terminal;
use clap::Command;
use std::process::ExitCode;

/// A page of the documentation.
struct Topic {
    name: &'static str,
    summary: &'static str,
    /// Markdown.
    page: &'static str,
}

pub(super) fn run(words: &[String], program: Command) -> Outcome {
    output::write(find(words, program)?.as_bytes()).map(|()| ExitCode::SUCCESS)
}

/// Lists the topics, as the help of the program does at its end.
pub(crate) fn topics() -> String {
    let width = TOPICS.iter().map(|topic| topic.name.len()).max().unwrap_or_default();
    let lines: Vec<String> =
        TOPICS.iter().map(|Topic { name, summary, .. }| format!("  {name:width$}  {summary}")).collect();
    format!("Topics (p2p-ai-agents help TOPIC):\n{}", lines.join("\n"))
}

/// Returns the help of a command, the page of a topic, or both where they have the same name.
///
/// # Errors
/// If there is neither; the hint names the nearest one.
fn find(words: &[String], program: Command) -> Result<String, Failure> {
    let topic = match words {
        [word] => topic(word),
        _ => None,
    };
    match (command_help(words, program), topic) {
        (Ok(help), None) => Ok(help),
        (Ok(help), Some(topic)) => Ok(format!("{help}\n{}", render(topic.page))),
        (Err(_), Some(topic)) => Ok(render(topic.page)),
        (Err(unknown), None) => Err(unknown),
    }
}

/// Returns the name and the summary of each topic.
pub(super) fn topic_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    TOPICS.iter().map(|topic| (topic.name, topic.summary))
}

fn topic(word: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == word.to_lowercase())
}

fn command_help(words: &[String], mut command: Command) -> Result<String, Failure> {
    for (depth, word) in words.iter().enumerate() {
        let Some(found) = command.find_subcommand(word) else {
            let mut known: Vec<&str> = command
                .get_subcommands()
                .filter(|below| !below.is_hide_set())
                .map(Command::get_name)
                .collect();
            if depth == 0 {
                known.extend(TOPICS.iter().map(|topic| topic.name));
            }
            return Err(unknown(word, &words[..depth], &known));
        };
        command = found.clone();
    }
    // As `COMMAND --help` prints it: the long form only if an argument has one.
    let name = command.get_bin_name().unwrap_or_default().to_owned();
    let shown = command.no_binary_name(true).try_get_matches_from(["--help"]);
    Ok(shown.map_or_else(|help| help.render().to_string(), |_| name))
}

fn unknown(word: &str, before: &[String], known: &[&str]) -> Failure {
    let failure =
        |message: String, hint: &str| Failure::new(message).id("arguments_invalid").usage().hint(hint);
    if let Some(Topic { name, .. }) = topic(word).filter(|_| before.is_empty()) {
        let message = format!("{name:?} is a topic, which has no commands");
        return failure(message, &format!("try p2p-ai-agents help {name}"));
    }
    let what = if before.is_empty() {
        "command or topic".to_owned()
    } else {
        format!("command of `{}`", before.join(" "))
    };
    let message = format!("no {what} is named {word:?}");
    match near(&word.to_lowercase(), known) {
        Some(nearest) => {
            let words: Vec<&str> = before.iter().map(String::as_str).chain([nearest]).collect();
            failure(message, &format!("try p2p-ai-agents help {}", words.join(" ")))
        }
        None => failure(message, "p2p-ai-agents --help lists the commands and the topics"),
    }
}

/// Returns a page without the comments for the tools that generate parts of it. Its paragraphs and lists are wrapped to
/// the terminal.
fn render(page: &str) -> String {
    let lines = page.lines().filter(|line| !line.starts_with("<!--"));
    if output::is_shortened() {
        reflowed(lines, terminal::columns().min(PAGE_WIDTH_MAX))
    } else {
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// Wraps the paragraphs and list items of Markdown to `width`. Code, tables and headings keep their lines.
fn reflowed<'l>(lines: impl Iterator<Item = &'l str>, width: usize) -> String {
    let (mut text, mut paragraph, mut is_code) = (String::new(), String::new(), false);
    for line in lines {
        let trimmed = line.trim_start();
        let is_fence = trimmed.starts_with("```");
        let stays = is_code || is_fence || trimmed.is_empty() || trimmed.starts_with(['|', '#', '!', '<']);
        if stays || marker(line) > 0 {
            text += &wrapped_item(&std::mem::take(&mut paragraph), width);
        }
        is_code ^= is_fence;
        if stays {
            text += &format!("{line}\n");
        } else if paragraph.is_empty() {
            line.trim_end().clone_into(&mut paragraph);
        } else {
            paragraph = format!("{paragraph} {}", line.trim());
        }
    }
    text + &wrapped_item(&paragraph, width)
}

/// Wraps a paragraph. The lines of a list item start below its text.
fn wrapped_item(paragraph: &str, width: usize) -> String {
    if paragraph.is_empty() {
        return String::new();
    }
    let start = paragraph.len() - paragraph.trim_start().len() + marker(paragraph);
    let (first, words) = paragraph.split_at(start);
    let lines = output::wrapped(words, width.saturating_sub(start));
    let rest = " ".repeat(start);
    let prefixes = std::iter::once(first).chain(std::iter::repeat(rest.as_str()));
    prefixes.zip(&lines).map(|(prefix, line)| format!("{prefix}{line}\n")).collect()
}

/// Returns the length of the marker that a list item begins with, such as `- ` or `2. `; 0 if it is none.
fn marker(line: &str) -> usize {
    let text = line.trim_start();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.get(digits..) {
        Some(rest) if digits > 0 && rest.starts_with(". ") => digits + 2,
        Some(_) | None => {
            if text.starts_with("- ") {
                2
            } else {
                0
            }
        }
    }
}

/// Longer lines are hard to read.
const PAGE_WIDTH_MAX: usize = 100;

macro_rules! topic {
    ($name:literal, $summary:literal) => {
        Topic { name: $name, summary: $summary, page: include_str!(concat!("../../../docs/", $name, ".md")) }
    };
}

/// The pages, in the order of a first reading.
const TOPICS: &[Topic] = &[
    topic!("getting-started", "Build the program, run two nodes and give them tasks"),
    topic!("demo", "Start nodes to look at, give them tasks and break them"),
    topic!("dashboard", "See the network, its nodes and its tasks in a browser"),
    topic!("configuration", "Settings, their sources and the files of a node"),
    topic!("operating", "Run, watch, diagnose and repair a node"),
    topic!("observability", "Metrics, boards and alerts of a node"),
    topic!("models", "Choose, fetch and share models"),
    topic!("api", "Routes of the control API and of the compatible APIs"),
    topic!("simulator", "Run, shrink and replay scenarios"),
    topic!("security", "What is protected and what is not"),
    topic!("benchmarks", "Measurements and how to repeat them"),
    topic!("architecture", "Parts of the program and the life of a task"),
    topic!("glossary", "Terms used in commands, logs and documentation"),
    topic!("errors", "Every error id, its meaning and what to do"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn ask(words: &[&str]) -> Result<String, Failure> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        find(&words, args::program())
    }

    #[test]
    fn every_page_is_a_topic() {
        let pages: BTreeSet<String> = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let topics: BTreeSet<String> = TOPICS.iter().map(|topic| topic.name.to_owned()).collect();
        assert_eq!(topics, pages);
    }

    #[test]
    fn commands_and_topics_are_found() {
        assert!(ask(&[]).unwrap().contains("Topics (p2p-ai-agents help TOPIC):\n  getting-started "));
        let start = ask(&["node", "start"]).unwrap();
        assert!(start.contains("\nUsage: p2p-ai-agents node start [OPTIONS]\n"), "{start}");
        assert!(ask(&["glossary"]).unwrap().starts_with("# Glossary\n"));
        let errors = ask(&["errors"]).unwrap();
        assert!(
            errors.contains("Usage: p2p-ai-agents errors ") && errors.contains("\n# Errors\n"),
            "{errors}"
        );
        assert!(!ask(&["configuration"]).unwrap().contains("<!--"));
    }

    #[test]
    fn a_page_is_wrapped_to_the_terminal() {
        let page = "# A long heading stays\n\nOne two three\nfour.\n\n- an item that\n  is long\n10. next\n\n```\nlong code stays\n```\n| a table stays |\n";
        let expected = "# A long heading stays\n\nOne two\nthree four.\n\n- an item\n  that is\n  long\n10. next\n\n```\nlong code stays\n```\n| a table stays |\n";
        assert_eq!(reflowed(page.lines(), 11), expected);
        for Topic { name, page, .. } in TOPICS {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let narrow = reflowed(page.lines(), 60);
            assert_eq!(words(&narrow), words(page), "{name}");
            assert_eq!(reflowed(narrow.lines(), 60), narrow, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let tip = |words: &[&str]| {
            let detail = ask(words).unwrap_err().into_detail();
            format!("{}; {}", detail.message, detail.hint.unwrap())
        };
        assert_eq!(tip(&["modle"]), "no command or topic is named \"modle\"; try p2p-ai-agents help model");
        assert!(tip(&["architectur"]).ends_with("; try p2p-ai-agents help architecture"));
        assert_eq!(
            tip(&["node", "strat"]),
            "no command of `node` is named \"strat\"; try p2p-ai-agents help node start"
        );
        assert_eq!(
            tip(&["models", "more"]),
            "\"models\" is a topic, which has no commands; try p2p-ai-agents help models"
        );
        assert!(tip(&["nonsense"]).ends_with("; p2p-ai-agents --help lists the commands and the topics"));
    }
}
