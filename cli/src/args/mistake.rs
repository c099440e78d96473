//! Mistakes in the arguments, reported as every other failure.

use super::Arguments;
use crate::error::Failure;
use clap::CommandFactory;
use std::ffi::OsString;

/// Returns whether the command line asks for JSON. It may be wrong in other places, so it is not parsed.
pub(super) fn wants_json(words: &[OsString]) -> bool {
    let options = || words.iter().take_while(|word| *word != "--");
    let formats =
        options().zip(options().skip(1)).any(|(option, value)| option == "--format" && value == "json");
    formats || options().any(|word| word == "--json" || word == "--format=json")
}

/// Returns what is wrong, without the layout of the parser.
pub(super) fn explain(error: &clap::Error, words: &[OsString]) -> Failure {
    let text = error.render().to_string();
    let mut parts = text.trim().split("\n\n");
    let message = parts.next().unwrap_or_default();
    let (mut usage, mut tips) = (None, Vec::new());
    for part in parts {
        if part.starts_with("Usage:") {
            usage = Some(part.trim_end().to_owned());
        }
        tips.extend(part.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_owned));
    }
    if tips.is_empty() {
        tips.push(format!("{} --help shows its options", command(words)));
    }
    let failure = Failure::new(message.strip_prefix("error: ").unwrap_or(message))
        .id("arguments_invalid")
        .usage()
        .hint(tips.join("; "));
    match usage {
        Some(usage) => failure.snippet(usage),
        None => failure,
    }
}

/// Returns the command that the words name, as far as they are right.
fn command(words: &[OsString]) -> String {
    let (mut name, mut command) = ("p2p-ai-agents".to_owned(), Arguments::command());
    for word in words.iter().skip(1) {
        let Some(next) = command.find_subcommand(word).cloned() else { continue };
        name = format!("{name} {}", next.get_name());
        command = next;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn said(line: &str) -> String {
        let words = words(line);
        let error = Arguments::try_parse_from(&words).unwrap_err();
        let detail = explain(&error, &words).into_detail();
        format!("{}; hint: {}", detail.message, detail.hint.unwrap_or_default())
    }

    #[test]
    fn a_mistake_is_told_without_the_words_of_the_parser() {
        assert_eq!(
            said("p2p-ai-agents --home x task list --limit 0"),
            "invalid value '0' for '--limit <N>': it must be 1 to 1000; hint: p2p-ai-agents task list --help shows its options"
        );
        assert_eq!(
            said("p2p-ai-agents task list --limit abc"),
            "invalid value 'abc' for '--limit <N>': it is not a whole number; hint: p2p-ai-agents task list --help shows its options"
        );
        let unknown = said("p2p-ai-agents nod start");
        assert!(
            unknown.contains("'nod'") && unknown.contains("hint: a similar subcommand exists: 'node'"),
            "{unknown}"
        );
    }

    #[test]
    fn json_is_seen_where_it_is_an_option() {
        for yes in ["p task list --json", "p task result x --format json", "p task result x --format=json"] {
            assert!(wants_json(&words(yes)), "{yes}");
        }
        for no in ["p task list", "p embed -- --json", "p task result x --format text"] {
            assert!(!wants_json(&words(no)), "{no}");
        }
    }
}
