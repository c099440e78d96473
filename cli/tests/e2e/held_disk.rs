//! A node whose disk stalls, before it is ACTIVE and long after.

use crate::harness::{Node, Sandbox, exchange, run, until};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A disk that can be stalled.
struct Disk {
    library: PathBuf,
    held: PathBuf,
}

impl Disk {
    fn new(sandbox: &Sandbox) -> Self {
        let library = sandbox.path("libheld_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/held_disk/shim.rs");
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let options = ["--edition=2021", "--crate-type=cdylib", "-Copt-level=1", "-Cpanic=abort", "-o"];
        let built = Command::new(compiler).args(options).args([&library, &PathBuf::from(source)]).output();
        let built = built.unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { library, held: sandbox.path("held") }
    }

    /// Stalls the writes of a thread, or all writes if none is named.
    fn hold(&self, thread: &str) {
        std::fs::write(&self.held, thread).unwrap();
    }

    fn release(&self) {
        std::fs::remove_file(&self.held).unwrap();
    }

    /// Returns the command that starts a node on this disk.
    fn start(&self, node: &Node<'_>) -> Command {
        let mut command = node.command(&["node", "start", "--no-model"]);
        command.env("LD_PRELOAD", &self.library).env("HELD_DISK", &self.held);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn probe(node: &Node<'_>, path: &str) -> String {
    let host = node.api();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(host, request.as_bytes())
}

/// Returns whether this is a time such as 2026-11-22T14:45:20.973Z.
fn is_iso_8601(value: &Value) -> bool {
    let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
    value
        .as_str()
        .is_some_and(|text| text.chars().map(shape).collect::<String>() == "0000-00-00T00:00:00.000Z")
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Waits until a node is in a state before ACTIVE, and checks all of its interfaces.
fn assert_early(sandbox: &Sandbox, node: &Node<'_>, state: &str) {
    let status: Value = until("the node says where it is", || {
        let ran = node.run(&["node", "status", "--json"]);
        let status: Value = serde_json::from_str(&ran.stdout).ok()?;
        (ran.code == 0 && status["state"] == state).then_some(status)
    });
    // The addresses and the process are in a file of the home; the node itself tells the rest.
    assert_eq!(keys(&status), ["api_address", "metrics_address", "pid", "state", "timestamp", "version"]);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(is_iso_8601(&status["timestamp"]), "{status}");
    let said = node.run(&["node", "status"]).good();
    let rows: Vec<&str> = said.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(rows, ["State", "Version", "API", "Process"], "{said}");
    assert!(said.starts_with(&format!("State:    {state}\n")), "{said}");
    let (alive, ready) = (probe(node, "/healthz"), probe(node, "/readyz"));
    assert!(alive.starts_with("HTTP/1.1 200") && alive.contains("\"status\":\"alive\""), "{alive}");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("\"node_not_ready\""), "{ready}");
    assert!(!node.home.ready_file().exists());
    let said = node.run(&["node", "ready"]).bad(1);
    assert!(said.contains("id: node_not_ready"), "{said}");
    let said = node.run(&["task", "submit", "--type", "embedding", "--input", "early"]).bad(1);
    assert!(said.contains("id: node_not_ready") && said.contains("hint: "), "{said}");
    let listed = sandbox.run(&["node", "list"]).good();
    assert!(listed.contains(state), "{listed}");
}

#[test]
fn a_node_says_little_of_itself_until_it_is_active() {
    let sandbox = Sandbox::new();
    let (node, disk) = (sandbox.node("a"), Disk::new(&sandbox));
    disk.hold("");
    let starting = disk.start(&node).spawn().unwrap();
    assert_early(&sandbox, &node, "INITIALIZING");
    disk.release();
    let started = starting.wait_with_output().unwrap();
    assert!(started.status.success(), "{started:?}");
    let id = String::from_utf8(started.stdout).unwrap();
    let id = id.strip_prefix("Node started (id: ").unwrap().split(',').next().unwrap();
    let status = node.json(&["node", "status", "--json"]);
    assert_eq!((&status["node_id"], &status["state"]), (&json!(id), &json!("ACTIVE")));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_ms"].is_u64() && is_iso_8601(&status["timestamp"]), "{status}");
    assert!(probe(&node, "/readyz").starts_with("HTTP/1.1 200"));

    // Storage opens, and then the write of the self-check stalls.
    node.run(&["node", "stop"]).good();
    disk.hold("store");
    let starting = disk.start(&node).spawn().unwrap();
    assert_early(&sandbox, &node, "REGISTERING");
    disk.release();
    assert!(starting.wait_with_output().unwrap().status.success());
}

#[test]
fn a_disk_that_hangs_is_named_by_health() {
    let sandbox = Sandbox::new();
    let (node, disk) = (sandbox.node("a"), Disk::new(&sandbox));
    run(disk.start(&node), b"").good();
    disk.hold("");
    let ran = node.run(&["node", "health"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains("Storage:        FAIL  storage_timeout: the disk is slow or hangs\n"),
        "{ran:?}"
    );
    let status = node.run(&["node", "status"]).good();
    assert!(status.contains("FAIL (storage_timeout)"), "{status}");
    assert!(probe(&node, "/healthz").starts_with("HTTP/1.1 200"), "it is alive all the same");
    disk.release();
    until("it is well again", || (node.run(&["node", "health"]).code == 0).then_some(()));
}

#[test]
fn a_node_whose_disk_hangs_while_it_stops_is_named_in_time() {
    let sandbox = Sandbox::new();
    let (node, disk) = (sandbox.node("a"), Disk::new(&sandbox));
    run(disk.start(&node), b"").good();
    let pid = node.pid().unwrap();
    disk.hold("");
    let begun = Instant::now();
    let said = node.run(&["node", "stop"]).bad(1);
    // Far less than the timeout of any request.
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let hint = format!("end it by force; no acknowledged task is lost: kill -9 {pid}");
    assert_eq!(
        said,
        format!("error: the node did not stop (pid {pid})\nhint: {hint}\n  id: node_not_stopping\n")
    );
    disk.release();
    until("it has stopped", || node.pid().is_none().then_some(()));
}
