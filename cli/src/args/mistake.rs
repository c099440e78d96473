//! Mistakes in the arguments, reported as every other failure.

use super::program;
use crate::error::Failure;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use runtime::text::misspelled;
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
    let (name, command) = command(words);
    // The parser suggests names that have only a few letters in common with what was typed.
    tips.retain(|tip| !tip.contains("similar argument") && !tip.contains("similar subcommand"));
    #[allow(clippy::wildcard_enum_match_arm, reason = "the usage of other mistakes is right")]
    let usage = match error.kind() {
        // The parser shows a variable of the environment as a part of it.
        ErrorKind::MissingRequiredArgument => usage.map(|usage| usage.replace(" --home <DIR>", " [OPTIONS]")),
        // The parser shows its guess as a part of it.
        ErrorKind::UnknownArgument => Some(command.clone().render_usage().to_string()),
        _ => usage,
    };
    tips.splice(0..0, suggestion(error, &command));
    if tips.is_empty() {
        tips.push(format!("{name} --help shows its options"));
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

/// Returns what was probably meant, if the mistake is a name that is unknown or an argument that is missing.
fn suggestion(error: &clap::Error, command: &Command) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        Some(_) | None => None,
    };
    #[allow(clippy::wildcard_enum_match_arm, reason = "other mistakes are no names")]
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = word(ContextKind::InvalidSubcommand)?;
            let names: Vec<&str> = visible(command).map(Command::get_name).collect();
            let similar = near(word, &names).map(|name| format!("a similar subcommand exists: '{name}'"));
            similar.or_else(|| verb(word, command))
        }
        ErrorKind::UnknownArgument => {
            let word = word(ContextKind::InvalidArg)?.strip_prefix("--")?;
            let names: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
            let similar = near(word, &names).map(|name| format!("a similar argument exists: '--{name}'"));
            similar.or_else(|| position(word, command))
        }
        ErrorKind::MissingRequiredArgument => meanings(error.get(ContextKind::InvalidArg)?, command),
        _ => None,
    }
}

/// Returns what the missing arguments mean.
fn meanings(missing: &ContextValue, command: &Command) -> Option<String> {
    let ContextValue::Strings(missing) = missing else { return None };
    let meaning = |shown: &String| {
        let argument = command.get_arguments().find(|argument| argument.to_string() == *shown)?;
        let help = argument.get_help()?.to_string();
        Some(format!("{shown}: {}", help.split(';').next().unwrap_or_default()))
    };
    let meanings: Vec<String> = missing.iter().filter_map(meaning).collect();
    (!meanings.is_empty()).then(|| meanings.join("; "))
}

/// Returns the name that begins as `word` does, or differs from it by a few letters.
pub(crate) fn near<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let begins = |name: &&str| {
        (word.len() >= 2 && name.starts_with(word)) || (name.len() >= 3 && word.starts_with(*name))
    };
    let begins = names.iter().copied().find(begins);
    begins.or_else(|| misspelled(word, names.iter().copied()))
}

/// Returns the subcommands of `command` that have a subcommand `word`, such as `node start`.
fn verb(word: &str, command: &Command) -> Option<String> {
    let has_it = |noun: &&Command| visible(noun).any(|verb| verb.get_name() == word);
    let full = |noun: &Command| format!("{PROGRAM} {} {word}", noun.get_name());
    let found: Vec<String> = visible(command).filter(has_it).map(full).collect();
    (!found.is_empty()).then(|| format!("did you mean {}?", found.join(" or ")))
}

/// Says where the argument stands that was given as the option `word`, but has no name.
fn position(word: &str, command: &Command) -> Option<String> {
    let argument = command.get_positionals().find(|argument| argument.get_id() == word)?;
    Some(format!("{argument} is given without the name --{word}"))
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// Returns the command that the words name, as far as they are right, and its full name.
fn command(words: &[OsString]) -> (String, Command) {
    let (mut name, mut command) = (PROGRAM.to_owned(), program());
    for word in words.iter().skip(1) {
        let Some(next) = command.find_subcommand(word).cloned() else { continue };
        name = format!("{name} {}", next.get_name());
        command = next;
    }
    (name, command)
}

const PROGRAM: &str = "p2p-ai-agents";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
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
    fn hints_name_what_was_probably_meant() {
        let hint = |line: &str| said(line).split_once("; hint: ").unwrap().1.to_owned();
        for (line, expected) in [
            ("p task list --lim 3", "a similar argument exists: '--limit'"),
            ("p sim run --sede 3", "a similar argument exists: '--seed'"),
            ("p rerank --query q a b", "<QUERY> is given without the name --query"),
            ("p rerank", "<QUERY>: Query to score the texts against"),
            ("p nonsense", "p2p-ai-agents --help shows its options"),
            ("p configure", "a similar subcommand exists: 'config'"),
            ("p config edti", "a similar subcommand exists: 'edit'"),
            ("p monitor", "did you mean p2p-ai-agents node monitor?"),
            ("p pull x", "did you mean p2p-ai-agents model pull?"),
            ("p task rubbish", "p2p-ai-agents task --help shows its options"),
        ] {
            assert_eq!(hint(line), expected, "{line}");
        }
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
