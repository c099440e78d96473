//! Shutdown with running tasks, and messages to the service manager.

use crate::crashes::child_of;
use crate::harness::{Node, Sandbox, run, signal, until};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Starts a node in the foreground and waits until it prints that it is ACTIVE.
fn foreground(node: &Node<'_>, environment: &[(&str, &str)], arguments: &[&str]) -> Child {
    let mut command = node.command(&[&["node", "start", "--foreground"], arguments].concat());
    command.envs(environment.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("Node started (id: "), "{line}");
    child
}

/// Starts a task that does not end, because the process of its model is stopped. Returns the task and the process.
fn endless_task(node: &Node<'_>) -> (String, u32) {
    let first = node.submit("so that the model is there");
    node.await_task(&first);
    let model = child_of(node.pid().unwrap()).unwrap();
    signal(model, Signal::SIGSTOP);
    let submit = ["task", "submit", "--quiet", "--type", "embedding", "--input", "x", "--timeout", "300"];
    let id = node.run(&submit).good().trim_end().to_owned();
    until("the task runs", || {
        (node.json(&["task", "status", &id, "--json"])["status"] == "RUNNING").then_some(())
    });
    (id, model)
}

#[test]
fn work_that_does_not_end_goes_back_to_the_queue() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let (id, model) = endless_task(&node);
    let begun = Instant::now();
    let said = node.run(&["node", "stop"]).good();
    let took = begun.elapsed();
    assert_eq!(
        said,
        "Node stopped; tasks that did not end in time resume after the next start, or on another node\n"
    );
    assert!(took >= Duration::from_secs(5), "running work had its 5 s: {took:?}");
    let log = node.run(&["node", "logs", "--level", "warn"]).good();
    assert!(log.contains("running tasks were interrupted"), "{log}");
    until("the model's process is gone as well", || {
        let status = std::fs::read_to_string(format!("/proc/{model}/stat")).unwrap_or_default();
        (status.is_empty() || status.contains(") Z ")).then_some(())
    });
    node.start();
    assert_eq!(node.await_task(&id)["status"], "COMPLETED");
    assert_eq!(node.run(&["node", "stop"]).good(), "Node stopped gracefully\n");
}

#[test]
fn a_node_that_leaves_refuses_work_and_a_second_signal_forces_it() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let mut child = foreground(&node, &[], &[]);
    endless_task(&node);
    signal(child.id(), Signal::SIGTERM);
    until("it is on its way out", || (!node.home.ready_file().exists()).then_some(()));
    let said = node.run(&["task", "submit", "--type", "embedding", "--input", "late"]).bad(1);
    assert!(said.starts_with("error: the node is shutting down\n"), "{said}");
    node.run(&["node", "ready"]).bad(1);
    assert!(child.try_wait().unwrap().is_none(), "running work has its time");
    signal(child.id(), Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    node.start();
    let tasks = node.json(&["task", "list", "--json"]);
    assert_eq!(tasks["total"], 2, "nothing that was accepted is lost");
}

#[test]
fn a_service_manager_is_told() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let path = sandbox.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "100000")];
    let mut child = foreground(&node, &environment, &["--no-model"]);
    node.run(&["node", "ready"]).good();
    let mut words = vec![heard(), heard(), heard(), heard()];
    assert!(words.iter().any(|word| word.starts_with("READY=1\nSTATUS=Node started (id: ")), "{words:?}");
    assert!(words.iter().filter(|word| *word == "WATCHDOG=1").count() >= 2, "{words:?}");
    signal(child.id(), Signal::SIGHUP);
    let log = || node.run(&["node", "logs"]).good();
    until("the log shows the signal", || log().contains("SIGHUP has no effect").then_some(()));
    signal(child.id(), Signal::SIGTERM);
    while words.last().unwrap() != "STOPPING=1" {
        words.push(heard());
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_terminal_that_goes_ends_its_node_in_order() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    // The watchdog of another process is not that of the node.
    let path = sandbox.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut child = foreground(&node, &[], &["--no-model"]);
    signal(child.id(), Signal::SIGHUP);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let environment =
        [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let mut child = foreground(&node, &environment, &["--no-model"]);
    node.run(&["node", "ready"]).good();
    signal(child.id(), Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    manager.set_nonblocking(true).unwrap();
    let mut buffer = [0; 512];
    while let Ok(length) = manager.recv(&mut buffer) {
        assert_ne!(&buffer[..length], b"WATCHDOG=1");
    }
}

#[test]
fn a_start_says_where_its_time_went() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let said = node.run(&["node", "start", "--no-model", "--startup-diagnostics"]).good();
    for part in
        ["configuration", "identity", "transport", "storage", "api", "INITIALIZING", "REGISTERING", "ACTIVE"]
    {
        assert!(said.lines().any(|line| line.trim_start().starts_with(part)), "{part} is not in {said}");
    }
    node.run(&["node", "stop"]).good();
    let mut start = node.command(&["node", "start", "--startup-diagnostics"]);
    start.env("P2P_AI_STORAGE_PATH", "/proc/nowhere");
    let said = run(start, b"").bad(1);
    assert!(said.contains("  home ") && !said.contains("  identity "), "{said}");
    assert!(said.contains("storage_path_unusable"), "{said}");
}

#[test]
fn a_unit_for_systemd_is_written() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let printed = node.run(&["node", "install-service", "--print"]).good();
    let home = node.home.root().display();
    assert!(printed.contains(&format!(" --home {home} node start --foreground\n")), "{printed}");
    let path = sandbox.path(".config/systemd/user/p2p-ai-agents.service");
    assert!(!path.exists());
    let said = node.run(&["node", "install-service"]).good();
    assert!(said.starts_with(&format!("Written: {}\n", path.display())), "{said}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), printed);
}
