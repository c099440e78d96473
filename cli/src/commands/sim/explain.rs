//! `sim explain [WORD]`: the manual of scenario files.

use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::terminal;
use serde_json::json;
use sim::scenario_file::manual::{self, Entry, KeyEntry, Topic};
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) fn run(word: Option<&str>, format: Format) -> Outcome {
    let width = width();
    let Some(word) = word else {
        if format.json {
            let entries: Vec<Entry> = Topic::ALL.into_iter().flat_map(Topic::entries).collect();
            output::json(&json!({ "entries": entries }))?;
        } else {
            output::write(overview(width).as_bytes())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let asked = word.trim().trim_matches(['[', ']', '`', '"']).to_lowercase();
    let topic = Topic::ALL.into_iter().find(|topic| asked == topic.name() || asked == topic.singular());
    let named = manual::entries(&asked);
    // `fault` is a section and the singular of a topic: both are told.
    let listed = topic.map(Topic::entries).unwrap_or_default();
    if named.is_empty() && listed.is_empty() {
        return Err(unknown(word, &asked));
    }
    if format.json {
        let entries: Vec<&Entry> = named.iter().chain(&listed).collect();
        output::json(&json!({ "entries": entries }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut texts: Vec<String> = named.iter().map(|entry| described(entry, width)).collect();
    texts.extend(topic.map(|topic| list(topic, &listed, width)));
    output::write(texts.join("\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns all words by topic.
fn overview(width: usize) -> String {
    let mut text = String::from("What a scenario file may hold. `sim new NAME` writes one to start from.\n");
    for topic in Topic::ALL {
        let names = topic.names();
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{} ({}): {}\n", topic.name(), names.len(), topic.place());
        text += &wrapped(&names.join(", "), 2, width);
    }
    text + "\np2p-ai-agents sim explain faults    all faults, each with its meaning\n\
            p2p-ai-agents sim explain kill      one word, with its keys and an example\n"
}

/// Returns the meaning of all entries of a topic.
fn list(topic: Topic, entries: &[Entry], width: usize) -> String {
    let mut text = format!("{} ({}): {}\n", topic.name(), entries.len(), topic.place());
    for entry in entries {
        let _ = writeln!(text, "\n  {}", entry.name);
        text += &wrapped(&entry.meaning, 4, width);
    }
    let example = entries.first().map_or("kill", |entry| entry.name);
    text + &format!("\nKeys and an example of one: p2p-ai-agents sim explain {example}\n")
}

fn described(entry: &Entry, width: usize) -> String {
    let mut text = format!("{} ({}): {}\n", entry.name, entry.topic.singular(), entry.topic.place());
    text += &wrapped(&entry.meaning, 2, width);
    if !entry.keys.is_empty() {
        text += "\n  keys\n";
    }
    for KeyEntry { name, needed, value, meaning } in &entry.keys {
        let _ = writeln!(text, "    {name}{}: {value}", if *needed { " (required)" } else { "" });
        text += &wrapped(meaning, 8, width);
    }
    if !entry.executors.is_empty() {
        let names: Vec<String> = entry.executors.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "\n  executors: {}", names.join(", "));
    }
    let example: String = entry.example.lines().map(|line| format!("    {line}\n")).collect();
    text + "\n  example\n" + &example
}

fn unknown(word: &str, asked: &str) -> Failure {
    let (names, note) = manual::suggestions(asked);
    let failure = Failure::new(format!("a scenario has nothing called `{word}`")).id("scenario_word_unknown");
    let meant = match names.as_slice() {
        [] => String::new(),
        names => format!("did you mean {}? ", names.join(", ")),
    };
    let note = note.map(|note| format!("{note}. ")).unwrap_or_default();
    failure.hint(format!("{meant}{note}p2p-ai-agents sim explain lists all words"))
}

/// Returns the width of texts: that of the terminal, within limits.
pub(super) fn width() -> usize {
    terminal::columns().clamp(WIDTH_MIN, WIDTH_MAX)
}

/// Breaks a text into lines of at most `width` columns, each indented.
pub(super) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let lines = output::wrapped(&words.join(" "), width.saturating_sub(indent));
    let indent = if words.is_empty() { 0 } else { indent };
    let indented = |line: &String| format!("{:indent$}{line}\n", "");
    lines.iter().map(indented).collect()
}

const WIDTH_MIN: usize = 40;
const WIDTH_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_fits_its_width() {
        for width in [60, 80] {
            let entries = Topic::ALL.into_iter().flat_map(Topic::entries).collect::<Vec<_>>();
            let lists = Topic::ALL.map(|topic| list(topic, &topic.entries(), width));
            let texts =
                entries.iter().map(|entry| described(entry, width)).chain(lists).chain([overview(width)]);
            for line in texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
                assert!(line.chars().count() <= width.max(80), "{line}");
            }
        }
    }

    #[test]
    fn one_word_shows_its_keys_and_an_example() {
        let kill = manual::entries("kill");
        insta::assert_snapshot!(described(&kill[0], 80));
        insta::assert_snapshot!("overview", overview(80));
    }

    #[test]
    fn long_texts_are_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 2, 9), "  one two\n  three\n");
        assert_eq!(wrapped("", 2, 9), "\n");
    }
}
