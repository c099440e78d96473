//! The debugging commands on real nodes.

use crate::harness::{Node, Sandbox, exchange, run, signal, started_id, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::process::Stdio;

#[test]
fn log_levels_change_for_a_while_and_for_one_component() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start_bare();
    let levels = |arguments: &[&str]| node.json(&[&["debug", "log-level", "--json"], arguments].concat());
    assert_eq!(levels(&[]), json!({"configured": "INFO", "levels": [{"level": "INFO"}]}));
    let found = levels(&["trace", "--component", "health"]);
    assert_eq!(found["levels"][1], json!({"component": "health", "level": "TRACE"}));
    let found = levels(&["DEBUG", "--for", "1s"]);
    assert!(found["levels"][0]["remaining_ms"].as_u64().unwrap() <= 1_000, "{found}");
    let said = node.run(&["debug", "log-level"]).good();
    assert!(said.contains("health     TRACE  the node restarts"), "{said}");
    node.await_log("the log level was changed");
    until("the level is as before", || (levels(&[])["levels"][0] == json!({"level": "INFO"})).then_some(()));
    assert_eq!(levels(&["--reset"])["levels"], json!([{"level": "INFO"}]));
    let said = node.run(&["debug", "log-level", "debug", "--for", "25h"]).bad(1);
    assert!(
        said.contains("seconds must be 1 to 86400") && said.contains("id: duration_out_of_range"),
        "{said}"
    );
    let said = node.run(&["debug", "log-level", "debug", "--component", "a b"]).bad(1);
    assert!(said.contains("id: component_invalid"), "{said}");
    node.run(&["debug", "log-level", "loud"]).bad(2);
}

/// One pair of nodes for all tools, as starting nodes takes longest.
#[test]
fn a_mesh_is_inspected_loaded_and_profiled() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let mut start = a.command(&["node", "start"]);
    start.env("HF_TOKEN", "hf_planted_token");
    let id_a = started_id(&run(start, b"").good());
    let id_b = b.start_bare();
    a.await_peers(&[&id_b]);
    a.await_task(&a.submit("planted text"));
    snapshots_hold_no_secrets(&sandbox, &a, &[&id_a, &id_b]);
    faults_are_found(&sandbox, &a);
    stress_is_bounded_and_ends_with_a_summary(&a);
    the_way_to_the_other_node_is_measured(&a, &id_b);
    profiles_are_taken_one_at_a_time(&sandbox, &a);
    let memory = a.json(&["debug", "heap-dump", "--json"]);
    assert!(memory["mappings"].as_array().unwrap().iter().any(|of| of["kind"] == "program"), "{memory}");
    assert_eq!(memory["processes"].as_array().unwrap().len(), 2, "{memory}");
    assert!(a.run(&["debug", "heap-dump"]).good().contains("MEMORY OF THE NODE"));
}

fn snapshots_hold_no_secrets(sandbox: &Sandbox, node: &Node<'_>, ids: &[&str]) {
    let folder = sandbox.path("elsewhere");
    std::fs::create_dir(&folder).unwrap();
    let mut command = node.command(&["debug", "snapshot"]);
    command.current_dir(&folder);
    let said = run(command, b"").good();
    let name = said.split(' ').nth(3).unwrap();
    assert!(name.starts_with(&format!("snapshot-{}-", &ids[0][..8])), "{said}");
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let key: Value = serde_json::from_slice(&std::fs::read(node.home.identity_file()).unwrap()).unwrap();
    let keys = key.as_object().unwrap().values().filter_map(Value::as_str).filter(|key| key.len() > 30);
    let token = std::fs::read_to_string(node.home.token_file()).unwrap();
    let home = node.home.root().display().to_string();
    let addresses = ["127.0.0.1", "planted", "/tmp", node.network(), &token, &home];
    for secret in addresses.into_iter().chain(ids.iter().copied()).chain(keys) {
        assert!(!text.contains(secret), "{secret:?} is in {text}");
    }
    let snapshot: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(snapshot["format"], 1);
    for part in
        ["machine", "settings", "occupancy", "peers", "members", "models", "tasks", "log", "processes"]
    {
        assert!(snapshot[part].as_array().map_or(1, Vec::len) > 0, "{part} is empty in {text}");
    }
    assert!(snapshot["took_us"].as_u64().unwrap() < 1_000_000, "{text}");
    let file = path.display().to_string();
    let said = node.run(&["debug", "snapshot", "--output", &file]).bad(1);
    assert!(said.contains("id: file_exists"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "the file is as it was");

    let said = sandbox.run(&["debug", "analyze", "--snapshot", &file]).stdout;
    assert!(said.contains(&format!("Node {} at 20", &ids[0][..8])), "{said}");
    for (content, id) in [
        (text[..text.len() / 2].to_owned(), "snapshot_cut"),
        (text.replace("\"format\": 1,", "\"format\": 2,"), "snapshot_of_another_version"),
        ("[1, 2]".to_owned(), "snapshot_unreadable"),
    ] {
        std::fs::write(&path, content).unwrap();
        let said = sandbox.run(&["debug", "analyze", "--snapshot", &file]).bad(1);
        assert!(said.contains(&format!("id: {id}")), "{said}");
    }
}

fn faults_are_found(sandbox: &Sandbox, node: &Node<'_>) {
    until("nothing is wrong", || {
        let report: Value = serde_json::from_str(&node.run(&["debug", "analyze", "--json"]).stdout).unwrap();
        (report["healthy"] == true).then_some(())
    });
    node.run(&["debug", "log-level", "debug"]).good();
    let said = node.run(&["debug", "analyze"]).good();
    assert!(said.contains("note: The log has more than INFO."), "{said}");
    node.run(&["debug", "log-level", "--reset"]).good();
    let other = sandbox.node("c");
    assert!(other.run(&["debug", "analyze"]).bad(1).contains("id: node_not_running"));
}

fn stress_is_bounded_and_ends_with_a_summary(node: &Node<'_>) {
    let summary = node.json(&["debug", "stress", "--duration", "1", "--task-rate", "20", "--json"]);
    assert_eq!((&summary["submitted"], &summary["completed"]), (&json!(20), &json!(20)), "{summary}");
    assert!(summary["latency_us"]["median"].as_u64().unwrap() > 0, "{summary}");
    let arguments = ["debug", "stress", "--task-rate", "5000", "--json"];
    let child = node.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let results = |status: &Value| status["results"].as_u64().unwrap();
    let before = results(&node.json(&["node", "status", "--json"]));
    until("more tasks than are in flight at a time were completed", || {
        let status = node.json(&["node", "status", "--json"]);
        let open = status["tasks_queued"].as_u64().unwrap() + status["tasks_running"].as_u64().unwrap();
        assert!(open <= 64, "{status}");
        (results(&status) >= before + 80).then_some(())
    });
    signal(child.id(), Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(130), "{summary}");
    assert_eq!(summary["interrupted"], true);
    assert!(summary["held_back"].as_u64().unwrap() > 0, "{summary}");
    let said = node.run(&["debug", "stress", "--duration", "1", "--model", "none/such"]).bad(1);
    assert!(said.contains("id: model_"), "{said}");
}

fn the_way_to_the_other_node_is_measured(node: &Node<'_>, other: &str) {
    let report = node.json(&["debug", "network-test", "--burst-kib", "256", "--json"]);
    let member = &report["members"][0];
    assert_eq!((&member["id"], &member["path"]), (&json!(other), &json!([other])), "{report}");
    assert_eq!((&member["sent"], &member["lost"]), (&json!(28), &json!(0)), "{report}");
    assert!(member["bytes_per_second"].as_u64().unwrap() > 0, "{report}");
    assert!(member["round_trip_us"]["p99"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["matrix"]["hops"], json!([[0, 1], [1, 0]]));
    let said = node.run(&["debug", "network-test", "--burst-kib", "0"]).good();
    assert!(said.contains("direct") && said.contains("Links between each two nodes:"), "{said}");
}

fn profiles_are_taken_one_at_a_time(sandbox: &Sandbox, node: &Node<'_>) {
    let (path, other) = (sandbox.path("p.pprof"), sandbox.path("q.pprof"));
    let (file, other_file) = (path.display().to_string(), other.display().to_string());
    let arguments = ["debug", "stress", "--duration", "60", "--task-rate", "5000", "--quiet", "--json"];
    let mut load = node.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
    let profile = ["debug", "profile", "--duration", "2", "--output", &file];
    let begin = || node.command(&profile).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = begin();
    until("a second profile is refused", || {
        let second = node.run(&["debug", "profile", "--duration", "1", "--output", &other_file]);
        // It may have come first, and the first one was refused.
        let _ = std::fs::remove_file(&other);
        if first.try_wait().unwrap().is_some() && !path.exists() {
            first = begin();
        }
        second.stderr.contains("id: profile_running").then_some(())
    });
    if !first.wait().unwrap().success() {
        node.run(&profile).good();
    }
    signal(load.id(), Signal::SIGINT);
    load.wait().unwrap();
    let strings = strings_of_profile(&std::fs::read(&path).unwrap());
    for wanted in ["cpu", "process", "node", "model all-MiniLM-L6-v2"] {
        assert!(strings.iter().any(|text| text == wanted), "{wanted} is not in {strings:?}");
    }
    assert!(strings.iter().any(|text| text.contains("kernels::encoder")), "the model computed: {strings:?}");
    // On a busy machine, each thread of the node has few samples, so any of them will do.
    let of_node = |text: &&String| ["engine::", "runtime::"].iter().any(|start| text.starts_with(start));
    assert!(strings.iter().any(|text| of_node(&text)), "the node worked: {strings:?}");
    let said = node.run(&["debug", "profile", "--duration", "1", "--output", &file]).bad(1);
    assert!(said.contains("id: file_exists"), "{said}");
    let arguments = ["debug", "profile", "--duration", "1", "--model", "none", "--output", &other_file];
    assert!(node.run(&arguments).bad(1).contains("id: model_not_loaded"));
    let request =
        "POST /api/v1/debug/profile?seconds=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(exchange(node.api(), request.as_bytes()).starts_with("HTTP/1.1 401 "), "it needs the token");
}

/// Returns the string table of a profile: field 6 of the outermost message.
fn strings_of_profile(mut bytes: &[u8]) -> Vec<String> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        number
    }
    let mut strings = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes);
        let value = number(&mut bytes);
        // A message or a text is preceded by its length; all other fields are numbers.
        if tag & 7 == 2 {
            let (text, rest) = bytes.split_at(usize::try_from(value).unwrap());
            bytes = rest;
            if tag >> 3 == 6 {
                strings.push(String::from_utf8(text.to_vec()).unwrap());
            }
        } else {
            assert_eq!(tag & 7, 0, "another kind of field");
        }
    }
    strings
}
