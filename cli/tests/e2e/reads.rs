//! What reading commands print, as a table for people and as JSON for programs.
//!
//! The values that differ from run to run are replaced: ids, times, numbers, and the directory of the test.

use crate::harness::{Node, Ran, Sandbox, is_time, is_uuid, until, write};
use serde_json::Value;

#[test]
fn reads_of_a_running_node() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    a.start();
    // Only one of them has a model, so that it runs the task.
    let id_b = b.start_bare();
    a.await_peers(&[&id_b]);
    let task = a.submit("hello world");
    a.await_task(&task);
    until("the node is checked, its models are loaded and measured, and so is its link", || {
        let status = a.json(&["node", "status", "--json"]);
        let loaded = status["models"].as_array()?.iter().all(|model| model["ready"] == true);
        let peers = a.json(&["node", "peers", "--json"]);
        let measured = peers["peers"][0]["round_trip_ms"].is_number();
        let models = a.json(&["model", "list", "--json"]);
        let weighed = models["models"][0]["memory_bytes"].is_number();
        (loaded && measured && weighed && !status["health"].is_null()).then_some(())
    });
    for (name, arguments) in [
        ("node_list", &["node", "list"][..]),
        ("node_status", &["node", "status"]),
        ("node_health", &["node", "health"]),
        ("node_peers", &["node", "peers"]),
        ("node_members", &["node", "members"]),
        ("node_config", &["node", "config"]),
        ("node_monitor", &["node", "monitor", "--duration", "1"]),
        ("task_status", &["task", "status", &task]),
        ("task_result", &["task", "result", &task]),
        ("task_list", &["task", "list"]),
        ("task_list_all", &["task", "list", "--all"]),
        ("task_watch", &["task", "watch", &task]),
        ("model_list", &["model", "list"]),
        ("model_info", &["model", "info", "all-MiniLM-L6-v2"]),
        ("route_explain", &["route", "explain", &id_b]),
        ("route_ping", &["route", "ping", &id_b]),
        ("debug_log_level", &["debug", "log-level"]),
        ("debug_network_test", &["debug", "network-test"]),
    ] {
        read(&sandbox, &a, name, arguments);
    }
    insta::assert_snapshot!("read_node_ready", a.run(&["node", "ready"]).good());
}

#[test]
fn reads_without_a_running_node() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    read(&sandbox, &node, "paths", &["paths"]);
    read(&sandbox, &node, "errors", &["errors", "queue_full"]);
    node.start_bare();
    node.run(&["node", "stop"]).good();
    read(&sandbox, &node, "store_check", &["store", "check"]);
    write(&node.home.log_file(), LOG);
    read(&sandbox, &node, "node_logs", &["node", "logs"]);
}

#[test]
fn reads_of_scenarios() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let directory = sandbox.path("scenarios");
    let file = directory.join("worker_dies.toml");
    let text = std::fs::read_to_string(format!("{scenarios}/worker_dies.toml")).unwrap();
    write(&file, &text);
    let (directory, file) = (directory.display().to_string(), file.display().to_string());
    read(&sandbox, &node, "sim_list", &["sim", "list", "--dir", &directory]);
    read(&sandbox, &node, "sim_check", &["sim", "check", &file]);
    read(&sandbox, &node, "sim_run", &["sim", "run", &file, "--seed", "7"]);
    let journals = sandbox.path("journals").display().to_string();
    node.run(&["sim", "run", &file, "--seed", "7", "--record", &journals]).good();
    let journal = format!("{journals}/n0.1.journal");
    read(&sandbox, &node, "sim_replay", &["sim", "replay", &journal]);
}

/// Compares what a command prints, without and with `--json`.
#[track_caller]
pub(crate) fn read(sandbox: &Sandbox, node: &Node<'_>, name: &str, arguments: &[&str]) {
    let directory = sandbox.path("").display().to_string();
    let text = node.run(arguments).good().replace(&directory, "HOME/").replace(node.network(), "NETWORK");
    insta::assert_snapshot!(format!("read_{name}"), redact(&text));
    let Ran { code, stdout, stderr } = node.run(&[arguments, &["--json"]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let stdout = stdout.replace(&directory, "HOME/").replace(node.network(), "NETWORK");
    let values = stdout.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        format!("{:#}\n", redact_value(value))
    });
    insta::assert_snapshot!(format!("read_{name}_json"), values.collect::<String>());
}

/// Replaces the volatile words of a text, and the spaces that align its columns.
fn redact(text: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<String> = Vec::new();
        for column in line.split("  ").map(str::trim).filter(|column| !column.is_empty()) {
            let mut redacted: Vec<String> = Vec::new();
            for word in column.split(' ').map(redact_word) {
                let unit = word.trim_end_matches([',', ')']);
                let end = &word[unit.len()..];
                match redacted.last_mut() {
                    // Durations have one unit or two.
                    Some(last) if last == "DURATION" && word == "DURATION" => {}
                    // The unit depends on the number.
                    Some(last)
                        if last == "N" && ["B", "kB", "MB", "GB"].contains(&unit.trim_end_matches("/s")) =>
                    {
                        *last = format!("SIZE{end}");
                    }
                    Some(last) if last == "N" && ["µs", "ms", "s"].contains(&unit) => {
                        *last = format!("DURATION{end}");
                    }
                    _ => redacted.push(word),
                }
            }
            words.push(redacted.join(" "));
        }
        format!("{}\n", words.join("  "))
    };
    text.lines().map(line).collect()
}

fn redact_word(word: &str) -> String {
    if let Some(address) = word.strip_prefix("http://") {
        return format!("http://{}", redact_word(address));
    }
    let ends = |c: char| "()[],;:".contains(c);
    let inner = word.trim_matches(ends);
    let replaced = if is_uuid(inner) {
        "TASK".to_owned()
    } else if inner.len() >= 16 && inner.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "ID".to_owned()
    } else if inner.len() == 8 && inner.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "SHORT".to_owned()
    } else if is_time(inner) {
        "TIME".to_owned()
    } else if is_duration(inner) {
        "DURATION".to_owned()
    } else if inner.bytes().any(|byte| byte.is_ascii_digit())
        && inner.bytes().all(|byte| byte.is_ascii_digit() || b".,:/-".contains(&byte))
    {
        "N".to_owned()
    } else {
        return word.to_owned();
    };
    word.replace(inner, &replaced)
}

/// Tells whether a word is like `0.8s`, `12s` or `3m`.
fn is_duration(word: &str) -> bool {
    let number = word.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Replaces numbers and volatile words, and a long list of numbers by how many there are.
fn redact_value(value: Value) -> Value {
    match value {
        Value::Number(_) => "N".into(),
        Value::String(text) => {
            let words: Vec<String> = text.split(' ').map(redact_word).collect();
            words.join(" ").into()
        }
        Value::Array(all) if all.len() > 8 && all.iter().all(Value::is_number) => {
            format!("{} numbers", all.len()).into()
        }
        Value::Array(all) => all.into_iter().map(redact_value).collect(),
        Value::Object(mut fields) => {
            // Members come in the order of their ids, which is another one in each run.
            if let Some(members) = fields.get_mut("members").and_then(Value::as_array_mut) {
                members.sort_by_key(|member| member["name"].to_string());
            }
            fields.into_iter().map(|(name, value)| (name, redact_value(value))).collect()
        }
        other @ (Value::Null | Value::Bool(_)) => other,
    }
}

/// Two lines as a node writes them.
const LOG: &str = concat!(
    r#"{"timestamp":"2026-01-31T12:00:00.000Z","level":"INFO","component":"lifecycle","message":"state changed","from":"INITIALIZING","to":"REGISTERING"}"#,
    "\n",
    r#"{"timestamp":"2026-01-31T12:00:01.000Z","level":"WARN","component":"heartbeat","message":"peer slow","peer":"07070707070707070707070707070707"}"#,
    "\n",
);
