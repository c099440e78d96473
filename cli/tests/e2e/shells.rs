//! Completion in real shells, the manual pages, and the unit for the system.

use crate::harness::{Node, Sandbox, run};
use std::path::Path;
use std::process::Command;

/// Returns whether a program is installed.
fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|path| path.join(program).is_file())
}

/// Returns a command of a node that finds this program by its name.
fn shell(node: &Node<'_>, program: &str, arguments: &[&str]) -> Command {
    let plain = node.command(&[]);
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(Path::new(env!("CARGO_BIN_EXE_p2p-ai-agents")).parent().unwrap());
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", path).env("TERM", "dumb");
    command
}

/// Completes a line with bash. The first word is the program.
const BASH: &str = r#"
source <(p2p-ai-agents completions bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
$(complete -p p2p-ai-agents | sed 's/.*-F \([^ ]*\).*/\1/') p2p-ai-agents "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\n' "${COMPREPLY[@]}"
"#;
const FISH: &str = "p2p-ai-agents completions fish | source; complete --do-complete \"$argv\"";
/// Types a line and a tab into a terminal of zsh, which completes in no other way.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty terminal zsh -f -i
zpty -w terminal 'PROMPT=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D
source <(p2p-ai-agents completions zsh); echo rea""dy'
while zpty -r terminal line && [[ $line != *ready* ]]; do; done
zpty -w -n terminal "$*"$'\t'
zpty -r -m terminal text "*$EXPECTED*" && print -r -- $text
"#;

#[test]
fn shells_complete_commands_options_and_what_the_node_knows() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let submit = ["task", "submit", "--quiet", "--type", "embedding", "--input", "x"];
    let id = node.run(&submit).good().trim_end().to_owned();
    let lines: [(&[&str], &str); 4] = [
        (&["p2p-ai-agents", "node", "install-s"], "install-service"),
        (&["p2p-ai-agents", "task", "submit", "--type", "gener"], "generation"),
        (&["p2p-ai-agents", "task", "status", &id[..6]], &id),
        (&["p2p-ai-agents", "--quiet", "model", "info", "all-Mini"], "all-MiniLM-L6-v2"),
    ];
    let mut tried = 0;
    for (program, options) in [
        ("bash", &["--norc", "-c", BASH, "bash"][..]),
        ("fish", &["--no-config", "-c", FISH]),
        ("zsh", &["-f", "-c", ZSH, "zsh"]),
    ] {
        if !is_installed(program) {
            eprintln!("skipped: {program} is not installed");
            continue;
        }
        for (line, expected) in lines {
            let mut command = shell(&node, program, &[options, line].concat());
            command.env("EXPECTED", expected);
            let found = run(command, b"").stdout;
            assert!(found.contains(expected), "{program}: {line:?} is completed by {found:?}");
            assert!(!found.contains("inference-worker"), "{program}: {found}");
        }
        tried += 1;
    }
    assert!(tried > 0, "no shell was there");
    node.run(&["node", "stop"]).good();
    if is_installed("bash") {
        // Without a node there is nothing to name, and no error disturbs the line.
        let silent = run(
            shell(&node, "bash", &["--norc", "-c", BASH, "bash", "p2p-ai-agents", "task", "status", ""]),
            b"",
        );
        assert!(silent.stderr.is_empty() && !silent.stdout.contains(&id), "{silent:?}");
    }
}

#[test]
fn manual_pages_have_no_mistakes() {
    let sandbox = Sandbox::new();
    let pages = sandbox.path("pages");
    let said = sandbox.run(&["man", "--directory", pages.to_str().unwrap()]).good();
    let count = std::fs::read_dir(&pages).unwrap().count();
    assert_eq!(said, format!("Written: {count} pages to {}\n", pages.display()));
    assert!(count > 20);
    let page = std::fs::read_to_string(pages.join("p2p-ai-agents-task-submit.1")).unwrap();
    assert!(page.contains("\\-\\-max\\-tokens"), "{page}");
    // The output is no terminal, so the source of the page is printed.
    assert!(sandbox.run(&["man"]).good().contains(".TH p2p-ai-agents 1"));
    assert_eq!(sandbox.run(&["man", "task", "submit"]).good(), page);
    assert!(sandbox.run(&["man", "nonsense"]).bad(1).contains("id: command_unknown"));
    sandbox.run(&["man", "--install"]).good();
    assert!(sandbox.path(".local/share/man/man1/p2p-ai-agents-node-list.1").exists());
    if is_installed("mandoc") {
        let files = std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path());
        let checked =
            Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).args(files).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}

#[test]
fn a_unit_for_the_system_names_a_user_and_passes_the_checks_of_systemd() {
    let sandbox = Sandbox::new();
    let said = sandbox.run(&["node", "install-service", "--system", "--run-as", "no one", "--print"]).bad(1);
    assert!(said.contains("id: user_unknown"), "{said}");
    let mut command = sandbox.command(&["node", "install-service", "--system", "--print"]);
    command.env("SUDO_USER", "nobody");
    let unit = run(command, b"").good();
    if nix::unistd::geteuid().is_root() {
        assert!(unit.contains("\nUser=nobody\n"), "{unit}");
    }
    if !is_installed("systemd-analyze") {
        return eprintln!("skipped: systemd-analyze is not installed");
    }
    let file = sandbox.path("p2p-ai-agents.service");
    std::fs::write(&file, &unit).unwrap();
    let checked = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let rated = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=25"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}
