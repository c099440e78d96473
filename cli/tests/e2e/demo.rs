//! `demo`: nodes to look at, the same way for simulated and for real ones.

use crate::harness::{Node, Ran, Sandbox, exchange, free_port, is_uuid, signal, until};
use crate::reads::read;
use nix::pty::openpty;
use nix::sys::signal::Signal;
use runtime::home::{Holder, Home};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

/// Returns the home of the demo in the home of a node.
fn home_of_demo(node: &Node<'_>) -> Home {
    Home::new(&node.home.root().join("demo")).unwrap()
}

fn pid_of_demo(node: &Node<'_>) -> Option<u32> {
    match home_of_demo(node).holder() {
        Holder::Process { pid } => pid,
        Holder::Nobody => None,
    }
}

#[track_caller]
fn stats(node: &Node<'_>) -> Value {
    node.json(&["demo", "stats", "--json"])
}

/// Waits until all running nodes know `count` nodes.
#[track_caller]
fn await_members(node: &Node<'_>, count: u64) {
    until("the nodes know each other", || {
        let nodes = stats(node)["nodes"].as_array()?.clone();
        let mut running = nodes.iter().filter(|node| node["state"] == "running");
        running.all(|node| node["members"] == count).then_some(())
    });
}

#[test]
fn real_nodes_are_killed_and_healed() {
    let sandbox = Sandbox::new();
    let (node, port) = (sandbox.node("a"), free_port());
    let not_running = node.run(&["demo", "stats"]).bad(1);
    assert!(not_running.contains("id: demo_not_running"), "{not_running}");
    let started = node.run(&["demo", "start", "--nodes", "3", "--real", "--port", &port.to_string()]).good();
    assert!(started.starts_with("Demo started with 3 real nodes (pid "), "{started}");
    assert!(started.contains("; they know each other after "), "{started}");
    assert!(started.contains(&format!("http://127.0.0.1:{port}\n")), "{started}");
    let second = node.run(&["demo", "start"]).bad(1);
    assert!(second.contains(&format!(", at http://127.0.0.1:{port}\n")), "{second}");
    assert!(second.contains("id: demo_running"), "{second}");

    until("the nodes are checked", || {
        let checked = |node: &Value| node["health"] == "PASS";
        stats(&node)["nodes"].as_array()?.iter().all(checked).then_some(())
    });
    read(&sandbox, &node, "demo_stats", &["demo", "stats"]);
    let ran = node.run(&["demo", "tasks", "--count", "6", "--type", "embedding"]).good();
    let tasks: Vec<&str> = ran.lines().filter(|line| line.contains(" → ")).collect();
    assert_eq!(tasks.len(), 6, "{ran}");
    for origin in ["amber", "birch", "cedar"] {
        assert_eq!(tasks.iter().filter(|task| task.contains(&format!("  {origin} → "))).count(), 2, "{ran}");
    }
    assert!(tasks.iter().all(|task| is_uuid(task.split(' ').next().unwrap())), "{ran}");
    assert!(ran.contains("\n6 completed in "), "{ran}");
    let listed = node.json(&["demo", "tasks", "--json"]);
    assert!(
        listed["tasks"].as_array().unwrap().len() == 6 && listed["tasks"][0]["status"] == "COMPLETED",
        "{listed}"
    );

    // The address of the demo is that of a node, with the token of the demo only.
    let demo = home_of_demo(&node);
    let path = demo.root().display().to_string();
    let status = node.json(&["--home", &path, "node", "status", "--json"]);
    assert_eq!((&status["state"], &status["members"]), (&"ACTIVE".into(), &3.into()), "{status}");
    for route in ["/api/v1/demo", "/api/v1/status"] {
        let request = format!("GET {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let refused = exchange(([127, 0, 0, 1], port).into(), request.as_bytes());
        assert!(refused.starts_with("HTTP/1.1 401 ") && refused.contains("token_missing"), "{refused}");
    }
    assert_eq!(node.json(&["node", "list", "--json"]), json!({ "nodes": [] }), "they are not the user's");

    let unknown = node.run(&["demo", "kill", "ambr"]).bad(1);
    assert!(unknown.contains("did you mean amber?") && unknown.contains("id: node_unknown"), "{unknown}");
    assert_eq!(node.run(&["demo", "kill", "Amber"]).good(), "Killed amber (2 of 3 nodes run)\n");
    let again = node.run(&["demo", "kill", "amber"]).bad(1);
    assert!(again.contains("amber does not run: killed\nhint: birch and cedar run\n"), "{again}");
    // The address survives the node that answered it.
    node.json(&["--home", &path, "node", "status", "--json"]);
    let divided = node.run(&["demo", "partition", "birch", "cedar"]).bad(1);
    assert!(divided.contains("id: demo_fault_unsupported"), "{divided}");
    let id = stats(&node)["nodes"][1]["id"].as_str().unwrap().to_owned();
    let fault = ["demo", "fault", "process-stopped", &format!("node={}", &id[..12])];
    let suspended = "The process of birch is suspended (2 of 3 nodes run)\n";
    assert_eq!(node.run(&fault).good(), suspended);
    assert_eq!(
        node.run(&["demo", "heal"]).good(),
        "Started amber; ended: the process of birch is suspended (3 of 3 nodes run)\n"
    );
    await_members(&node, 3);

    // A suspended process is resumed, because it would not see the request to stop.
    node.run(&["demo", "fault", "process-stopped", "node=cedar"]).good();
    let left = node.run(&["demo", "fault", "leave", "node=cedar"]).good();
    assert_eq!(left, "Stopped cedar gracefully (2 of 3 nodes run)\n");
    for name in ["amber", "birch"] {
        node.run(&["demo", "kill", name]).good();
    }
    let stopped = node.run(&["--home", &path, "node", "status"]).bad(1);
    assert!(stopped.contains("id: demo_nodes_stopped"), "{stopped}");
    let mut waiting = node.command(&["demo", "tasks", "--count", "2"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the tasks wait", || (stats(&node)["tasks"]["waiting"] == 2).then_some(()));
    assert!(node.run(&["demo", "heal"]).good().starts_with("Started amber, birch and cedar ("));
    let done = waiting.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert!(stdout.contains("2 completed in "), "{stdout}{stderr}");
    assert!(stderr.starts_with("all nodes are stopped; the tasks wait in the demo until "), "{stderr}");

    let summary = node.run(&["demo", "stop"]).good();
    assert!(
        summary.starts_with("Demo stopped after ") && summary.contains(" with 3 real nodes\n"),
        "{summary}"
    );
    assert!(summary.contains("8 completed, 0 failed") && summary.contains("killed amber\n"), "{summary}");
    assert_eq!(home_of_demo(&node).holder(), Holder::Nobody);
    for name in ["amber", "birch", "cedar"] {
        let home = Home::new(&demo.root().join("nodes").join(name)).unwrap();
        assert_eq!(home.holder(), Holder::Nobody, "{name} has ended");
    }
}

#[test]
fn nodes_end_with_a_demo_that_is_killed() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let port = free_port().to_string();
    node.run(&["demo", "start", "--nodes", "1", "--real", "--port", &port]).good();
    let amber = Home::new(&home_of_demo(&node).root().join("nodes/amber")).unwrap();
    assert_ne!(amber.holder(), Holder::Nobody);
    signal(pid_of_demo(&node).unwrap(), Signal::SIGKILL);
    until("the node of the demo has ended", || (amber.holder() == Holder::Nobody).then_some(()));
}

#[test]
fn a_prompt_reads_from_a_pipe() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let port = free_port().to_string();
    let start = ["demo", "interactive", "--nodes", "2", "--real", "--port", &port];
    let commands =
        b"submit hello world --node birch\nkil amber\nstatus\n# a comment\ntasks --count 3\nexit\nstatus\n";
    let Ran { code, stdout, stderr } = node.run_with_input(&start, commands);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("COMPLETED  birch → "), "{stdout}");
    assert!(stderr.contains("'kil'") && stderr.contains("kill"), "{stderr}");
    assert_eq!(stdout.matches("2 of 2 real nodes run\n").count(), 1, "{stdout}");
    assert!(stdout.contains("3 completed in ") && stdout.contains("4 completed, 0 failed\n"), "{stdout}");
}

/// A program on a pseudo-terminal.
struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(node: &Node<'_>, arguments: &[&str]) -> Self {
        let pair = openpty(None, None).unwrap();
        let mut command = node.command(arguments);
        let end = || Stdio::from(pair.slave.try_clone().unwrap());
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let keyboard = File::from(pair.master);
        let mut screen = keyboard.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let text = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when the program has ended and nothing has the other end open.
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { child, keyboard, shown }
    }

    /// Types keys and waits until the terminal shows a text after them.
    #[track_caller]
    fn enter(&mut self, keys: &str, wanted: &str) -> String {
        let before = self.shown.lock().unwrap().len();
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        until("the terminal shows it", || {
            let shown = self.shown.lock().unwrap()[before..].to_owned();
            shown.contains(wanted).then_some(shown)
        })
    }
}

#[test]
fn a_prompt_has_completion_and_a_history() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let port = free_port().to_string();
    let start = ["demo", "interactive", "--nodes", "2", "--real", "--port", &port];
    let mut terminal = Terminal::open(&node, &start);
    terminal.enter("", "demo> ");
    terminal.enter("sta\t\r", "2 of 2 real nodes run");
    terminal.enter("ki\tam\t\r", "Killed amber (1 of 2 nodes run)");
    terminal.enter("heal\r", "Started amber (2 of 2 nodes run)");
    // The line before the last one again.
    terminal.enter("\u{1b}[A\u{1b}[A\r", "Killed amber (1 of 2 nodes run)");
    terminal.enter("\u{4}", "Demo stopped after ");
    assert!(terminal.child.wait().unwrap().success());
    let history = std::fs::read_to_string(home_of_demo(&node).root().join("history")).unwrap();
    assert!(history.contains("kill amber\n") && history.contains("status"), "{history}");

    // The same terminal goes away.
    let mut terminal = Terminal::open(&node, &start);
    terminal.enter("", "demo> ");
    signal(terminal.child.id(), Signal::SIGHUP);
    assert!(terminal.child.wait().unwrap().success(), "it ends in order");
    assert_eq!(home_of_demo(&node).holder(), Holder::Nobody);
}

#[test]
fn simulated_nodes_take_every_fault_and_what_happened_repeats() {
    let sandbox = Sandbox::new();
    let (node, port) = (sandbox.node("a"), free_port().to_string());
    let started = node.run(&["demo", "start", "--nodes", "3", "--seed", "7", "--port", &port]).good();
    assert!(started.starts_with("Demo started with 3 simulated nodes (pid "), "{started}");
    assert!(started.contains("; they know each other after "), "{started}");
    let ran = node.run(&["demo", "tasks", "--count", "6", "--type", "embedding"]).good();
    assert_eq!(ran.lines().filter(|line| line.contains("COMPLETED")).count(), 6, "{ran}");
    assert!(ran.contains("\n6 completed in "), "{ran}");

    // Each node has an API of its own, and the models of this machine.
    let amber: std::net::SocketAddr =
        stats(&node)["nodes"][0]["api_address"].as_str().unwrap().parse().unwrap();
    let token = std::fs::read_to_string(home_of_demo(&node).token_file()).unwrap();
    let body = r#"{"input": ["a cat", "a dog"]}"#;
    let request = format!(
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        token.trim(),
        body.len()
    );
    let embedded = exchange(amber, request.as_bytes());
    assert!(embedded.starts_with("HTTP/1.1 200 ") && embedded.contains("\"embedding\":"), "{embedded}");

    assert_eq!(node.run(&["demo", "kill", "amber"]).good(), "Killed amber (2 of 3 nodes run)\n");
    let killed = &stats(&node)["nodes"][0];
    assert_eq!((&killed["state"], &killed["reason"]), (&"stopped".into(), &"killed".into()), "{killed}");
    await_members(&node, 2);
    let gone = exchange(amber, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(gone.starts_with("HTTP/1.1 503 "), "{gone}");
    assert_eq!(
        node.run(&["demo", "partition", "birch", "cedar"]).good(),
        "Divided the network: birch | cedar (2 of 3 nodes run)\n"
    );
    await_members(&node, 1);
    let slow = node.run(&["demo", "fault", "inference-slow", "node=birch", "add=20ms"]).good();
    assert_eq!(slow, "Inference slow of birch (2 of 3 nodes run)\n");
    let wrong = node.run(&["demo", "fault", "kill", "node=birch", "share=5%"]).bad(1);
    assert!(wrong.contains("takes no `share`") && wrong.contains("id: demo_fault_invalid"), "{wrong}");
    let healed = node.run(&["demo", "heal"]).good();
    assert_eq!(
        healed,
        "Started amber; ended: partition: birch | cedar; ended: inference slow of birch (3 of 3 nodes run)\n"
    );
    await_members(&node, 3);

    let file = node.home.root().join("recorded.toml").display().to_string();
    node.run(&["demo", "record", &file]).good();
    let again = node.run(&["demo", "record", &file]).bad(1);
    assert!(again.contains("recorded.toml exists already\nhint: choose another name"), "{again}");
    for name in ["amber", "birch", "cedar"] {
        node.run(&["demo", "kill", name]).good();
    }
    let mut waiting = node.command(&["demo", "tasks", "--count", "200"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the tasks wait", || (stats(&node)["tasks"]["waiting"] == 128).then_some(()));
    let summary = node.run(&["demo", "stop"]).good();
    let left = String::from_utf8(waiting.wait_with_output().unwrap().stderr).unwrap();
    assert!(left.contains("the demo stopped before all tasks had ended"), "{left}");
    assert!(
        summary.contains(" with 3 simulated nodes\n") && summary.contains("6 completed, 0 failed"),
        "{summary}"
    );
    let repeated = node.json(&["sim", "run", &file, "--json"]);
    let (faults, failures) = (&repeated["faults"], &repeated["failures"]);
    assert_eq!((&faults["kill"], &faults["partition"]), (&1.into(), &1.into()), "{repeated}");
    assert_eq!(failures, &Value::Array(Vec::new()), "{repeated}");
    assert_eq!(repeated["outcomes"].as_array().unwrap().len(), 7, "{repeated}");
}

#[test]
fn a_scenario_file_is_played_with_real_models() {
    let sandbox = Sandbox::new();
    let (node, port) = (sandbox.node("a"), free_port().to_string());
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("played.toml");
    let missing = node.run(&["demo", "start", "--scenario", file.to_str().unwrap(), "--port", &port]).bad(1);
    assert!(missing.contains("hint: p2p-ai-agents sim list shows all scenarios"), "{missing}");
    let text = "nodes = 2\nduration = \"60s\"\n[workload]\ncompute = \"1ms\"\ntasks = 2\nevery = \"10ms\"\nat = \"1s\"\n\
                origin = \"n0\"\n[[fault]]\nat = \"2s\"\nkind = \"power_loss\"\nnode = \"n1\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let start = ["demo", "start", "--scenario", &file, "--port", &port];
    assert!(node.run(&start).good().starts_with("Demo started with 2 simulated nodes"));
    until("the planned fault", || {
        (stats(&node)["nodes"][1]["reason"] == "its machine lost power").then_some(())
    });
    let demo = home_of_demo(&node).root().display().to_string();
    let tasks = node.json(&["--home", &demo, "task", "list", "--json"]);
    assert_eq!(tasks["total"], 2, "{tasks}");
    assert!(node.run(&["demo", "heal"]).good().starts_with("Started birch"));
    node.run(&["demo", "stop"]).good();
}
