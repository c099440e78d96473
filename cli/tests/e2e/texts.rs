//! Texts for people: help and errors, word for word.

use crate::harness::Sandbox;

fn said(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let ran = sandbox.run(arguments);
    let text = format!("exit {}\n--- stdout\n{}--- stderr\n{}", ran.code, ran.stdout, ran.stderr);
    text.replace(&sandbox.path("").display().to_string(), "HOME/")
}

#[test]
fn help() {
    let sandbox = Sandbox::new();
    let (mut commands, mut leaves) = (vec![Vec::new()], 0);
    while let Some(command) = commands.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let text = said(&sandbox, &arguments);
        let below = subcommands(&text);
        leaves += usize::from(below.is_empty());
        let name = [&["help".to_owned()], &command[..]].concat().join("_");
        insta::assert_snapshot!(name, text);
        commands.extend(below.into_iter().map(|word| [&command[..], &[word]].concat()));
    }
    assert!(leaves >= 40, "only {leaves} commands are found");
}

/// Returns the commands that a help lists.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| !line.is_empty())
        // The continuation of a long description stands further to the right.
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn errors() {
    let sandbox = Sandbox::new();
    for (name, arguments) in [
        ("nothing", &[][..]),
        ("bad_port", &["node", "start", "--port", "80"]),
        ("negative_port", &["node", "start", "--port", "-1"]),
        ("not_running", &["node", "status"]),
        ("stop_nothing", &["node", "stop"]),
        ("submit_nothing", &["task", "submit"]),
        ("submit_without_input", &["task", "submit", "hello world"]),
        ("submit_unquoted", &["task", "submit", "--type", "embedding", "--input", "hello", "world"]),
        ("submit_unknown_flag", &["task", "submit", "--text", "hello"]),
        ("bad_seeds", &["sim", "run", "x.toml", "--seeds", "9..3"]),
        ("bad_flag_value", &["node", "start", "--max-peers", "300", "--log-level", "loud"]),
        ("limit_zero", &["task", "list", "--limit", "0"]),
        ("offset_negative", &["task", "list", "--offset", "-1"]),
        ("interval_zero", &["node", "monitor", "--interval", "0"]),
        ("unknown_command", &["nod", "start"]),
        ("help_unknown_topic", &["help", "modle"]),
    ] {
        insta::assert_snapshot!(format!("error_{name}"), said(&sandbox, arguments));
    }
}

#[test]
fn pages_of_the_documentation_are_topics() {
    let sandbox = Sandbox::new();
    assert!(sandbox.run(&["help", "glossary"]).good().starts_with("# Glossary\n"));
    let start = sandbox.run(&["node", "start", "--help"]).good();
    for words in [["help", "node", "start"], ["node", "help", "start"]] {
        assert_eq!(sandbox.run(&words).good(), start);
    }
}

#[test]
fn the_version() {
    assert_eq!(
        Sandbox::new().run(&["--version"]).good(),
        format!("p2p-ai-agents {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_page_of_errors_is_current() {
    let page = Sandbox::new().run(&["errors", "--markdown"]).good();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == page,
        "p2p-ai-agents errors --markdown >docs/errors.md"
    );
}

#[test]
fn an_error_is_explained_by_its_id() {
    let sandbox = Sandbox::new();
    let said = sandbox.run(&["errors", "queue_full"]).good();
    assert!(said.starts_with("queue_full\n  256 tasks"), "{said}");
    assert!(
        sandbox.run(&["errors", "nonsense"]).bad(1).contains("hint: p2p-ai-agents errors lists all errors")
    );
}
