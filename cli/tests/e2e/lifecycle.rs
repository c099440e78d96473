//! Starting and stopping, and the permission to do so.

use crate::harness::{Sandbox, run, signal, until};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

#[test]
fn a_restart_keeps_the_identity() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let first = node.start();
    node.run(&["node", "stop"]).good();
    assert_eq!(node.start(), first);
    let status = node.json(&["node", "status", "--json"]);
    assert_eq!((&status["node_id"], &status["state"]), (&first.into(), &"ACTIVE".into()));
}

#[test]
fn a_home_runs_one_node() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let pid = node.pid().unwrap();
    let said = node.run(&["node", "start"]).bad(1);
    assert!(
        said.starts_with(&format!("error: the node of this home is already running (pid {pid})\nhint: ")),
        "{said}"
    );
    assert_eq!(node.pid(), Some(pid));
}

#[test]
fn two_starters_at_once_make_one_node() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let ran: Vec<i32> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..4).map(|_| scope.spawn(|| node.run(&["node", "start"]).code)).collect();
        starters.into_iter().map(|starter| starter.join().unwrap()).collect()
    });
    assert_eq!(ran.iter().filter(|code| **code == 0).count(), 1, "{ran:?}");
    node.run(&["node", "status"]).good();
}

#[test]
fn stopping_everything_stops_only_this_users_own() {
    let (sandbox, other) = (Sandbox::new(), Sandbox::new());
    let (node, stranger) = (sandbox.node("a"), other.node("a"));
    node.start();
    stranger.start();
    sandbox.run(&["node", "stop", "--all"]).good();
    assert_eq!(node.pid(), None);
    stranger.run(&["node", "status"]).good();
    assert_eq!(sandbox.run(&["node", "stop", "--all"]).good(), "0 nodes stopped\n");
}

#[test]
fn a_node_that_was_killed_can_be_started_again() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let id = node.start();
    node.kill();
    let said = node.run(&["node", "status"]).bad(1);
    assert!(said.starts_with("error: No node is running"), "{said}");
    assert_eq!(sandbox.run(&["node", "stop", "--all"]).good(), "0 nodes stopped\n");
    assert_eq!(node.start(), id);
}

/// Starts a node in the foreground, waits until it prints that it is ACTIVE, and closes its output.
fn foreground(node: &crate::harness::Node<'_>) -> Child {
    let mut command = node.command(&["node", "start", "--foreground"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("Node started (id: "), "{line}");
    child
}

#[test]
fn signals_stop_a_node_in_the_foreground() {
    let sandbox = Sandbox::new();
    for (name, how) in [("a", Signal::SIGINT), ("b", Signal::SIGTERM)] {
        let node = sandbox.node(name);
        let mut child = foreground(&node);
        assert_eq!(node.pid(), Some(child.id()));
        signal(child.id(), how);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(node.pid(), None);
        assert!(!node.home.ready_file().exists() && !node.home.token_file().exists());
    }
}

#[test]
fn an_idle_node_stops_at_once() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let begun = Instant::now();
    node.run(&["node", "stop"]).good();
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
}

#[test]
fn the_api_port_gives_way_unless_it_was_asked_for() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    a.start();
    let taken = a.api().port().to_string();
    let said = b.run(&["node", "start", "--api-port", &taken]).bad(1);
    assert!(said.starts_with(&format!("error: Port {taken} already in use\n")), "{said}");
    assert!(said.contains("hint: "), "{said}");
}

#[test]
fn the_log_is_json_and_tells_the_life_of_the_node() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    node.run(&["node", "stop"]).good();
    let log = std::fs::read_to_string(node.home.log_file()).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        for part in ["timestamp", "level", "component", "message"] {
            assert!(line[part].is_string(), "{part} is missing in {line}");
        }
    }
    let states: Vec<&str> = lines
        .iter()
        .filter(|line| line["component"] == "lifecycle")
        .filter_map(|line| line["to"].as_str())
        .collect();
    assert_eq!(states, ["REGISTERING", "ACTIVE", "SHUTTING_DOWN", "STOPPED"]);
    let key: serde_json::Value =
        serde_json::from_slice(&std::fs::read(node.home.identity_file()).unwrap()).unwrap();
    assert!(!log.contains(key["secret_key"].as_str().unwrap()), "the key is in the log");
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn probes_tell_that_a_node_is_ready() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let host = node.api();
    let probe = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        crate::harness::exchange(host, request.as_bytes())
    };
    assert!(probe("/healthz").starts_with("HTTP/1.1 200"));
    let ready = probe("/readyz");
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("node_ready"), "{ready}");
    until("the readiness file is there", || node.home.ready().map(|_| ()));
}

#[test]
fn a_node_whose_files_were_removed_does_not_go_on_out_of_reach() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let pid = node.pid().unwrap();
    std::fs::remove_dir_all(node.home.root().join("data")).unwrap();
    until("the node has stopped", || node.pid().is_none().then_some(()));
    let log = std::fs::read_to_string(node.home.log_file()).unwrap();
    assert!(log.contains("a file of this node was removed"), "{log}");

    assert!(node.run(&["node", "start"]).bad(1).contains("id: data_lost"));
    node.run(&["node", "start", "--accept-data-loss"]).good();
    let again = node.pid().unwrap();
    assert_ne!(pid, again);
    std::fs::remove_dir_all(node.home.root()).unwrap();
    until("its process is gone", || {
        (!std::path::Path::new(&format!("/proc/{again}")).exists()).then_some(())
    });
}

#[test]
fn an_interface_that_is_not_there_is_pointed_out() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let ran = node.run(&["node", "start", "--no-model", "--interface", "lo", "--interface", "nope0"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.stderr,
        "warning: this machine has no network interface named nope0; the node uses it once there is one\n"
    );
}

#[test]
fn a_misspelt_variable_is_pointed_out() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let mut command = node.command(&["node", "start"]);
    command.env("P2P_AI_MAX_PEARS", "3");
    let said = run(command, b"").bad(1);
    assert!(
        said.contains("unknown_variable: P2P_AI_MAX_PEARS")
            && said.contains("did you mean P2P_AI_MAX_PEERS?"),
        "{said}"
    );
    assert!(said.lines().count() <= 4, "only the mistake is shown: {said}");
}
