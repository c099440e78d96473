//! `trace` and `explain`: a task's whole story, told by the nodes that took part.

use crate::harness::{Node, Sandbox, run, task_id, until};
use serde_json::Value;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Submits a text as a program of a trace does, and waits for its result.
fn submit(node: &Node<'_>, flags: &str) -> String {
    let arguments = ["task", "submit", "--type", "embedding", "--input", "hello"];
    let mut command = node.command(&arguments);
    command.env("TRACEPARENT", format!("00-{TRACE}-{CALLER}-{flags}"));
    let task = task_id(run(command, b"").good().trim_end()).to_owned();
    node.await_task(&task);
    task
}

fn spans<'v>(trace: &'v Value, kind: &str) -> Vec<&'v Value> {
    let is = |span: &&Value| span["what"] == kind || span["what"].get(kind).is_some();
    trace["spans"].as_array().unwrap().iter().filter(is).collect()
}

#[test]
fn the_story_of_a_task_is_told_by_every_node_and_kept_over_a_restart() {
    let sandbox = Sandbox::new();
    let a = sandbox.node("a");
    let id_a = a.start();
    until("the model is loaded", || {
        let status = a.json(&["node", "status", "--json"]);
        (status["models"][0]["ready"] == true).then_some(())
    });
    let task = submit(&a, "01");

    let shown = a.run(&["trace", &task]).good();
    for step in ["COMPLETED in", "queued", "scheduled on", "computed: completed", "outcome stored"] {
        assert!(shown.contains(step), "{step}: {shown}");
    }
    let explained = a.json(&["explain", &task, "--json"]);
    assert_eq!(explained["attempts"][0]["worker"], id_a.as_str());
    assert_eq!(explained["attempts"][0]["candidates"][0]["node"], id_a.as_str());
    let json = a.json(&["trace", &TRACE[..12], "--json"]);
    assert_eq!(json["trace_id"], TRACE);
    assert_eq!(spans(&json, "task")[0]["parent"], CALLER);

    // A second node without a model has its task computed here. Both know the story.
    let b = sandbox.node("b");
    let id_b = b.start_bare();
    b.await_peers(&[&id_a]);
    let other = submit(&b, "01");
    for node in [&a, &b] {
        let trace = node.json(&["trace", &other[..8], "--json"]);
        let nodes: Vec<&Value> = trace["nodes"].as_array().unwrap().iter().collect();
        assert!(nodes.iter().all(|node| node["answer"] == "answered"), "{trace:#}");
        // Both tasks are part of the caller's trace.
        let computed = spans(&trace, "compute");
        assert_eq!(computed.len(), 2, "{trace:#}");
        assert!(computed.iter().all(|compute| compute["node"] == id_a.as_str()), "{trace:#}");
    }
    let trace = b.json(&["trace", &other, "--json"]);
    let messages = spans(&trace, "message");
    let kinds: Vec<&Value> = messages.iter().map(|message| &message["what"]["message"]["kind"]).collect();
    assert!(
        kinds.iter().any(|kind| *kind == "assign") && kinds.iter().any(|kind| *kind == "outcome"),
        "{kinds:?}"
    );
    assert!(messages.iter().any(|message| message["node"] == id_b.as_str()), "{trace:#}");
    assert!(b.run(&["explain", &other]).good().contains("chosen"));

    // A client that does not want to be traced is not, and a restart loses nothing.
    let unwanted = submit(&a, "00");
    a.run(&["node", "stop"]).good();
    a.start();
    assert_eq!(spans(&a.json(&["trace", &task, "--json"]), "compute").len(), 2);
    assert!(a.run(&["trace", &unwanted]).bad(1).contains("id: trace_not_found"));
    assert!(a.run(&["trace", "xyz"]).bad(1).contains("id: trace_id_malformed"));

    let file = sandbox.path("trace.json");
    a.run(&["trace", &task, "--perfetto", &file.display().to_string()]).good();
    let events: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let events = events["traceEvents"].as_array().unwrap();
    let complete = |event: &&Value| event["ph"] == "X";
    assert!(events.iter().filter(complete).all(|event| event["ts"].is_u64() && event["dur"].is_u64()));
    assert!(events.iter().filter(complete).count() >= 6, "{events:#?}");
}
