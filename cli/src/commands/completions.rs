//! `completions SHELL`, and the completion of a command line, for which the shell calls this program.
//!
//! The script of a shell only registers this program, so it needs no new version when commands change. Ids, names and
//! models come from the running node.

use super::node_names::short;
use super::{demo, help};
use crate::client::Client;
use crate::error::{ENTRIES, Failure, Outcome};
use crate::homes::{HOME_VARIABLE, SelectedHome};
use crate::output;
use api::{Demo, Member, Members, Models, Tasks};
use clap::{Arg, Command};
use clap_complete::engine::{PathCompleter, ValueCompleter as _};
use clap_complete::env::{EnvCompleter, Shells};
use clap_complete::{ArgValueCandidates, ArgValueCompleter, CompleteEnv, CompletionCandidate};
use runtime::config::FIELDS;
use runtime::home::Home;
use sim::embedded::SCENARIOS as SCENARIO_FILES;
use sim::scenario_file::manual::Topic;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn run(shell: clap_complete::Shell) -> Outcome {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let registers = |completer: &&dyn EnvCompleter| completer.is(&name);
    let Some(completer) = shells.iter().find(registers) else {
        return Err(Failure::new(format!("there is no completion for {name}"))
            .id("internal_error")
            .hint("bash, zsh, fish, elvish and powershell have one"));
    };
    // A program that the shell finds is named as the user names it, so that the script outlives an update.
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let program = if called.components().count() > 1 { std::path::absolute(called)? } else { called };
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, PROGRAM, PROGRAM, &program.to_string_lossy(), &mut script)?;
    output::write(&script).map(|()| ExitCode::SUCCESS)
}

/// Completes a command line and exits, if a shell asks for that.
pub(crate) fn complete(program: fn() -> Command) {
    CompleteEnv::with_factory(|| with_candidates(program())).var(VARIABLE).bin(PROGRAM).complete();
}

/// What an argument takes.
type Source = fn() -> Vec<CompletionCandidate>;

/// Adds the values that arguments may take now.
fn with_candidates(program: Command) -> Command {
    let program = ARGUMENTS.iter().fold(program, |program, (command, argument, source)| {
        let words: Vec<&str> = command.split(' ').collect();
        with_values(program, &words, argument, &|argument| argument.add(ArgValueCandidates::new(*source)))
    });
    SCENARIOS.iter().fold(program, |program, (command, argument)| {
        let words: Vec<&str> = command.split(' ').collect();
        with_values(program, &words, argument, &|argument| argument.add(ArgValueCompleter::new(scenarios)))
    })
}

fn with_values(
    command: Command,
    words: &[&'static str],
    argument: &'static str,
    add: &dyn Fn(Arg) -> Arg,
) -> Command {
    match words {
        [] => command.mut_arg(argument, add),
        [word, rest @ ..] => {
            command.mut_subcommand(word, |command| with_values(command, rest, argument, add))
        }
    }
}

/// Completes the names of the embedded scenarios, and files.
fn scenarios(current: &OsStr) -> Vec<CompletionCandidate> {
    let current_text = current.to_str().unwrap_or_default();
    let named = SCENARIO_FILES.iter().filter(|scenario| scenario.name.starts_with(current_text));
    let why = |text: &'static str| text.lines().next().unwrap_or_default().trim_start_matches("# Why: ");
    let names = named.map(|scenario| candidate(scenario.name, why(scenario.text)));
    names.chain(PathCompleter::file().complete(current)).collect()
}

fn words_of_scenarios() -> Vec<CompletionCandidate> {
    let entries = Topic::ALL.into_iter().flat_map(Topic::entries);
    let words = entries.map(|entry| candidate(entry.name, &entry.meaning));
    Topic::ALL.iter().map(|topic| candidate(topic.name(), topic.place())).chain(words).collect()
}

fn tasks() -> Vec<CompletionCandidate> {
    let tasks = ask::<Tasks>(false, "/api/v1/tasks?limit=100").map(|answer| answer.tasks).unwrap_or_default();
    let words = |task: &api::Task| format!("{} {}: {}", task.status, task.kind, task.preview);
    tasks.iter().map(|task| candidate(&task.id.to_string(), &words(task))).collect()
}

fn nodes() -> Vec<CompletionCandidate> {
    let members = ask::<Members>(false, "/api/v1/members").map(|answer| answer.members).unwrap_or_default();
    named_nodes(&members)
}

/// Returns the names of the nodes, then their ids. A name that several nodes have means none of them.
fn named_nodes(members: &[Member]) -> Vec<CompletionCandidate> {
    let address = |member: &Member| match member.addresses.first() {
        Some(address) => address.ip().to_string(),
        None => "no address".to_owned(),
    };
    let is_only = |member: &&Member| {
        let its = member.name.to_string().to_lowercase();
        !its.is_empty()
            && members.iter().filter(|other| other.name.to_string().to_lowercase() == its).count() == 1
    };
    let names = members.iter().filter(is_only);
    let names = names
        .map(|member| candidate(member.name.as_str(), &format!("{}, {}", short(member.id), address(member))));
    let ids = members.iter().map(|member| {
        let about = if member.name.is_empty() {
            address(member)
        } else {
            format!("{}, {}", member.name, address(member))
        };
        candidate(&member.id.to_string(), &about)
    });
    names.chain(ids).collect()
}

fn models() -> Vec<CompletionCandidate> {
    let models = ask::<Models>(false, "/api/v1/models").map(|answer| answer.models).unwrap_or_default();
    models.iter().map(|model| candidate(&model.status.name, &model.status.kinds.join(", "))).collect()
}

fn nodes_of_demo() -> Vec<CompletionCandidate> {
    let nodes = ask::<Demo>(true, "/api/v1/demo").map(|answer| answer.nodes).unwrap_or_default();
    nodes.iter().map(|node| candidate(&node.name, &node.id.to_string())).collect()
}

fn settings() -> Vec<CompletionCandidate> {
    FIELDS.iter().map(|field| candidate(field.key, field.meaning)).collect()
}

fn error_ids() -> Vec<CompletionCandidate> {
    ENTRIES.iter().map(|entry| candidate(entry.id, entry.what)).collect()
}

fn topics() -> Vec<CompletionCandidate> {
    help::topic_names().map(|(name, summary)| candidate(name, summary)).collect()
}

/// A value, with a line about it that some shells show.
fn candidate(value: &str, about: &str) -> CompletionCandidate {
    let about: String =
        about.chars().map(|c| if c.is_control() { ' ' } else { c }).take(ABOUT_CHARS_MAX).collect();
    CompletionCandidate::new(value).help((!about.is_empty()).then(|| about.into()))
}

/// Asks the running node, or the demo, of the home that the command line selects; `None` if it does not answer soon.
fn ask<T: serde::de::DeserializeOwned>(of_demo: bool, path: &str) -> Option<T> {
    let home = selected_home(std::env::args_os()).open().ok()?;
    let home: Home = if of_demo { demo::home_of(&home).ok()? } else { home };
    let client = Client::connect(&home).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, client.get(path)).await }).ok()?.ok()
}

/// Returns the home of a command line that may be incomplete.
fn selected_home(words: impl Iterator<Item = OsString>) -> SelectedHome {
    let mut home = std::env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty()).map(PathBuf::from);
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        if word == "--home" {
            home = words.peek().map(PathBuf::from).or(home);
        } else if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("--home=")) {
            home = Some(PathBuf::from(value));
        }
    }
    SelectedHome(home)
}

const PROGRAM: &str = "p2p-ai-agents";
/// Set by the script of a shell when it asks for completions. It is no setting, so it starts with an underscore.
const VARIABLE: &str = "_P2P_AI_COMPLETE";
/// A shell waits for the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const ABOUT_CHARS_MAX: usize = 60;
/// The arguments whose values depend on the moment, by their command and id.
const ARGUMENTS: &[(&str, &str, Source)] = &[
    ("task status", "id", tasks),
    ("task result", "id", tasks),
    ("task watch", "id", tasks),
    ("task cancel", "id", tasks),
    ("trace", "id", tasks),
    ("explain", "id", tasks),
    ("task list", "worker", nodes),
    ("route explain", "id", nodes),
    ("route ping", "id", nodes),
    ("task submit", "model", models),
    ("embed", "model", models),
    ("rerank", "model", models),
    ("classify", "model", models),
    ("run", "model", models),
    ("config get", "key", settings),
    ("config set", "key", settings),
    ("config unset", "key", settings),
    ("model info", "model", models),
    ("model rm", "model", models),
    ("debug stress", "model", models),
    ("debug profile", "model", models),
    ("demo kill", "node", nodes_of_demo),
    ("errors", "id", error_ids),
    ("help", "words", topics),
    ("sim explain", "word", words_of_scenarios),
];
/// The arguments that take a scenario, by their command and id.
const SCENARIOS: &[(&str, &str)] = &[("sim run", "files"), ("sim check", "files"), ("sim shrink", "file")];

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{NodeId, NodeName};

    #[test]
    fn every_argument_with_candidates_exists() {
        with_candidates(crate::args::program()).debug_assert();
    }

    #[test]
    fn nodes_are_completed_by_name_and_by_id() {
        let member = |id: u8, name: &str| Member::new(NodeId([id; 16]), NodeName::new(name).unwrap());
        let members = [member(1, "cedar"), member(2, "birch"), member(3, "Birch"), member(4, "")];
        let values = named_nodes(&members);
        let values: Vec<_> = values.iter().map(|one| one.get_value().to_string_lossy()).collect();
        let ids = [1, 2, 3, 4].map(|id| NodeId([id; 16]).to_string());
        assert_eq!(values[0], "cedar");
        assert_eq!(values[1..], ids);
    }

    #[test]
    fn the_home_is_found_in_an_incomplete_command_line() {
        let home = |line: &str| selected_home(line.split(' ').map(OsString::from)).0;
        assert_eq!(home("p -- p --home /a task status "), Some(PathBuf::from("/a")));
        assert_eq!(home("p -- p task --home=/b status"), Some(PathBuf::from("/b")));
    }
}
