//! Alerts of a real node: thresholds that are set while it runs, a webhook and a command that get each alert, and a
//! history that survives a restart.

use crate::harness::{Node, Sandbox, TIMEOUT, until};
use crate::reads::read;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

#[test]
fn an_alert_is_raised_sent_remembered_and_cleared() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook/secret", hook.local_addr().unwrap());
    let posted = receive(hook);
    let file = sandbox.path("got.jsonl");
    start(&node, &url, &file);

    assert_eq!(node.run(&["alerts", "list"]).good(), "No active alerts\n");
    let said = node.run(&["alerts", "set", "--memory-critical", "101", "--peer-warning", "1"]).bad(1);
    assert!(said.contains("the threshold memory_critical is 101; 1 to 100 are allowed"), "{said}");
    assert!(said.contains("id: threshold_out_of_range"), "{said}");
    let said = node.run(&["alerts", "set", "--memory-warning", "96"]).bad(1);
    assert!(said.contains("1 to 94 are allowed, below memory_critical"), "{said}");
    node.run(&["alerts", "set", "--message-p99", "soon"]).bad(2);
    let thresholds = node.json(&["alerts", "set", "--json"]);
    let is_set = |threshold: &Value| threshold["set"] == true;
    assert!(!thresholds["thresholds"].as_array().unwrap().iter().any(is_set), "{thresholds}");

    node.run(&["alerts", "set", "--peer-warning", "1", "--for", "300ms"]).good();
    let active = |count: usize| {
        until("the alerts are as they should be", || {
            let alerts = node.json(&["alerts", "list", "--json"]);
            (alerts["active"].as_array()?.len() == count).then_some(alerts)
        })
    };
    assert_eq!(active(1)["active"][0]["rule"], "peer_count");
    let raised = posted.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(raised["event"], "alert_raised");
    assert_eq!((&raised["rule"], &raised["severity"]), (&"peer_count".into(), &"WARN".into()));
    assert_eq!(raised["message"], "the node has 0 peers, fewer than 1");
    until("the command got it", || (lines(&file) == std::slice::from_ref(&raised)).then_some(()));
    until("both count it", || {
        let sinks = node.json(&["alerts", "list", "--json"])["sinks"].clone();
        let delivered = |sink: &Value| sink["delivered"] == 1;
        (sinks.as_array()?.iter().filter(|sink| delivered(sink)).count() == 2).then_some(())
    });
    for (name, arguments) in [
        ("alerts_list", &["alerts", "list"][..]),
        ("alerts_history", &["alerts", "history"]),
        ("alerts_set", &["alerts", "set"]),
    ] {
        read(&sandbox, &node, name, arguments);
    }
    // The doctor says of a lonely node that it is alone, not also that it has few peers.
    assert!(!node.run(&["doctor"]).stdout.contains("There is an alert"));
    let status = node.run(&["node", "status"]).good();
    assert!(status.contains("WARN peer_count (the node has 0 peers, fewer than 1)\n"), "{status}");
    assert!(!node.run(&["node", "config"]).good().contains("secret") && !node.log().contains("secret"));

    node.run(&["node", "stop"]).good();
    start(&node, &url, &file);
    let again = active(1);
    assert_eq!(again["active"][0]["message"], raised["message"]);
    assert_eq!(node.json(&["alerts", "history", "--json"])["total"], 1);
    let shown = node.run(&["alerts", "set"]).good();
    assert!(shown.lines().any(|line| line.starts_with("peer_warning") && line.contains("set")), "{shown}");

    node.run(&["alerts", "set", "--peer-warning", "0"]).good();
    let cleared = posted.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(
        (&cleared["event"], &cleared["message"]),
        (&"alert_cleared".into(), &"the node has 0 peers".into())
    );
    active(0);
    let history = node.json(&["alerts", "history", "--json"]);
    assert_eq!(history["total"], 1);
    assert!(history["alerts"][0]["cleared_at"].is_string(), "{history}");
    node.await_log("alert cleared: the node has 0 peers");

    let other = sandbox.node("b");
    node.await_peers(&[&other.start_bare()]);
    node.run(&["alerts", "set", "--peer-warning", "2"]).good();
    active(1);
    let said = node.run(&["doctor"]).stdout;
    let expected =
        ["note: There is an alert since ", "the node has 1 peer, fewer than 2", "start further nodes"];
    assert!(expected.iter().all(|part| said.contains(part)), "{said}");
}

fn start(node: &Node<'_>, url: &str, file: &Path) {
    let script = "cat >>\"$0\"; echo >>\"$0\"";
    let command = serde_json::json!(["/bin/sh", "-c", script, file]).to_string();
    let mut start = node.command(&["node", "start", "--no-model"]);
    start.env("P2P_AI_ALERT_WEBHOOK", url).env("P2P_AI_ALERT_COMMAND", command);
    crate::harness::run(start, b"").good();
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Takes every POST to a webhook, and passes its body on.
fn receive(listener: TcpListener) -> Receiver<Value> {
    let (bodies, received) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok() && !line.trim().is_empty() {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            if bodies.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    received
}
