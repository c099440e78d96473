//! The basic promises: two nodes find each other, share tasks, and stop.

use crate::harness::{Ran, Sandbox, until};
use serde_json::{Value, json};

#[test]
fn two_nodes_meet_and_work() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let (id_a, id_b) = (a.start(), b.start());
    a.await_peers(&[&id_b]);
    b.await_peers(&[&id_a]);
    let table = a.run(&["node", "peers"]).good();
    assert!(table.starts_with("NAME ") && table.contains(&id_b) && table.contains("ALIVE"), "{table}");

    let said = a.run(&["task", "submit", "--input", "hello world", "--type", "embedding", "--wait"]).good();
    let id = crate::harness::task_id(said.lines().next().unwrap()).to_owned();
    assert!(said.contains("COMPLETED") && said.contains("384 numbers"), "{said}");

    let result = a.json(&["task", "result", &id, "--format", "json"]);
    let vector: Vec<f64> = result["output"]["vector"]
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect();
    assert_eq!(vector.len(), 384);
    let norm: f64 = vector.iter().map(|number| number * number).sum();
    assert!((norm - 1.0).abs() < 1e-3, "a vector of unit length, not {norm}");
    assert_eq!(result["status"], "COMPLETED");
    assert!([&id_a, &id_b].iter().any(|id| result["worker"] == json!(id)), "{result}");
    assert!(result["execution_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(a.json(&["task", "result", &id, "--json"]), result);

    let listed = a.json(&["task", "list", "--json"]);
    assert_eq!((&listed["total"], &listed["tasks"][0]["id"]), (&json!(1), &json!(id)));
    let unknown = b.run(&["task", "status", &id]).bad(1);
    let hint = "hint: p2p-ai-agents task list shows the tasks";
    assert_eq!(
        unknown,
        format!("error: Task not found (id: {id})\n{hint}\n  id: task_not_found\n"),
        "tasks are their origin's"
    );

    let Ran { code, stdout, .. } = sandbox.run(&["node", "stop", "--all"]);
    assert_eq!(code, 0);
    let line = |node: &str| format!("Node stopped gracefully (home: {})\n", sandbox.path(node).display());
    assert_eq!(stdout, format!("{}{}2 nodes stopped\n", line("a"), line("b")));
    a.run(&["node", "status"]).bad(1);
}

#[test]
fn both_nodes_take_part_of_the_work() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let (id_a, id_b) = (a.start(), b.start());
    a.await_peers(&[&id_b]);
    let file = sandbox.path("tasks.jsonl");
    let text = "the quick brown fox jumps over the lazy dog ".repeat(30);
    let lines: String = (0..100)
        .map(|number| format!("{}\n", json!({"type": "embedding", "input": format!("{number} {text}")})))
        .collect();
    crate::harness::write(&file, &lines);
    let said = a.run(&["task", "submit", "--file", file.to_str().unwrap()]).good();
    assert_eq!(said.lines().map(crate::harness::task_id).count(), 100);
    let workers = until("all tasks are complete", || {
        let tasks = a.json(&["task", "list", "--limit", "1000", "--json"]);
        let tasks = tasks["tasks"].as_array()?.clone();
        tasks
            .iter()
            .all(|task| task["status"] == "COMPLETED")
            .then(|| tasks.iter().map(|task| task["worker"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    });
    for id in [&id_a, &id_b] {
        assert!(workers.contains(id), "{id} did nothing");
    }
}

#[test]
fn a_node_that_leaves_is_no_longer_listed() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    a.start();
    let id_b = b.start();
    a.await_peers(&[&id_b]);
    assert_eq!(b.run(&["node", "stop"]).good(), "Node stopped gracefully\n");
    a.await_peers(&[]);
    assert_eq!(a.run(&["node", "peers"]).good(), "No connected peers; the node keeps looking for others\n");
}

#[test]
fn a_route_is_explained() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let id_a = a.start();
    let id_b = b.start();
    a.await_peers(&[&id_b]);
    let told = a.run(&["route", "explain", &id_b[..8]]).good();
    let row = told.lines().nth(1).unwrap_or_default();
    assert!(row.contains(&id_b) && row.contains(" ms"), "{told}");
    assert!(told.ends_with("No alternative route\n"), "{told}");
    let route = a.json(&["route", "explain", &id_b, "--json"]);
    assert_eq!(route["hops"][0]["id"], id_b.as_str());
    assert!(route["hops"][0]["round_trip_us"].as_u64().is_some_and(|micros| micros > 0), "{route}");
    assert_eq!(a.run(&["route", "explain", &id_a]).good(), "The destination is this node\n");
    assert!(a.run(&["route", "explain", "zz"]).bad(1).contains("Node not found (name or id: zz)"));
}

#[test]
fn messages_to_a_node_are_timed() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let id_a = a.start();
    let id_b = b.start();
    a.await_peers(&[&id_b]);
    let told =
        a.run(&["route", "ping", &id_b[..8], "--count", "500", "--bytes", "1000", "--at-once", "50"]).good();
    let first = format!("500 messages of 1000 bytes to b ({id_b}), 1 hop: 500 answered, 0 lost");
    assert_eq!(told.lines().next(), Some(first.as_str()), "{told}");
    let ping = a.json(&["route", "ping", &id_b, "--json"]);
    assert_eq!((ping["answered"].as_u64(), ping["lost"].as_u64()), (Some(10), Some(0)), "{ping}");
    let times = ["least", "median", "p99", "most"].map(|name| ping["round_trip_us"][name].as_u64());
    assert!(times[0] > Some(0) && times.is_sorted(), "{ping}");
    assert!(a.run(&["route", "ping", &id_a]).bad(1).contains("That is this node itself"));
}

#[test]
fn nodes_of_other_networks_stay_apart() {
    let sandbox = Sandbox::new();
    let (a, b, c) = (sandbox.node("a"), sandbox.node("b"), sandbox.node("c"));
    a.start();
    let other = b.run(&["node", "start", "--network", "other"]).good();
    assert!(other.contains("network \"other\""), "{other}");
    let id_c = c.start();
    a.await_peers(&[&id_c]);
    assert_eq!(b.run(&["node", "peers"]).good(), "No connected peers; the node keeps looking for others\n");
}

#[test]
fn nodes_meet_without_multicast_through_a_bootstrap_peer() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let mut start = a.command(&["node", "start"]);
    start.env("P2P_AI_DISCOVERY", "false");
    crate::harness::run(start, b"").good();
    let mut start = b.command(&["node", "start", "--bootstrap-peer", &format!("127.0.0.1:{}", a.port)]);
    start.env("P2P_AI_DISCOVERY", "false");
    crate::harness::run(start, b"").good();
    until("they are linked", || {
        a.json(&["node", "peers", "--json"])["peers"].as_array()?.first().map(|_| ())
    });
}

#[test]
fn short_commands_print_just_the_answer() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let vectors = node.run_with_input(&["embed"], b"one text\n\nanother\n").good();
    let vectors: Vec<Vec<f64>> = vectors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(vectors.iter().map(Vec::len).collect::<Vec<_>>(), [384, 384]);
    let ranked = node.run(&["rerank", "what sound does a cat make", "stocks fell", "cats purr"]).good();
    let texts: Vec<&str> =
        ranked.lines().filter_map(|line| line.split_once("  ")).map(|(_, text)| text).collect();
    assert_eq!(texts, ["cats purr", "stocks fell"], "{ranked}");
    let classify = ["classify", "the striker scored a late goal", "--label", "sport,cooking"];
    assert_eq!(node.run(&[&classify[..], &["-q"]].concat()).good(), "sport\n");
    assert!(node.run(&classify).good().starts_with("0."), "a score and a label");
    let said = node.run(&["classify", "a text", "--label", "one", "--json"]).bad(1);
    let error: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(error["error"]["code"], "labels_alike", "{error}");
    assert!(error["error"]["hint"].is_string(), "{error}");
    let said = node.run(&["run", "hi", "--max-tokens", "0.5"]).bad(2);
    assert!(said.contains("it is not a whole number\nhint: p2p-ai-agents run --help"), "{said}");
}

#[test]
fn text_may_come_from_standard_input() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let arguments = ["task", "submit", "--input", "-", "--type", "embedding", "--wait", "--json"];
    let said = node.run_with_input(&arguments, "grüße aus der röhre".as_bytes()).good();
    let result: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(result["output"]["vector"].as_array().unwrap().len(), 384);
}

#[test]
fn a_text_is_classified_against_given_labels() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let text = "The keeper saved a penalty in the last minute of the match.";
    let submit = ["task", "submit", "--type", "classification", "--input", text, "--wait"];
    let with_labels =
        [&submit[..], &["--label", "cooking", "--label", "sport", "--label", "computers"]].concat();
    let told = node.run(&with_labels).good();
    assert!(told.contains("Status:     COMPLETED") && told.contains("sport"), "{told}");
    let result = node.json(&[&with_labels[..], &["--json"]].concat());
    assert_eq!(result["output"]["label"], "sport", "{result}");
    assert_eq!(result["output"]["scores"].as_array().map(Vec::len), Some(3), "{result}");
    // Without labels the task could only fail.
    let refused = node.run(&submit).bad(1);
    assert!(refused.contains("has no labels of its own\nhint: name two labels or more"), "{refused}");
    assert_eq!(node.json(&[&with_labels[..], &["--json"]].concat())["output"]["label"], "sport");
    // The same model ranks texts, by their similarity to a query.
    let texts = "Stocks fell for a third day.\nCats purr and meow.";
    let rank = ["task", "submit", "--type", "reranking", "--query", "What sound does a cat make?"];
    let ranked = node.json(&[&rank[..], &["--input", texts, "--wait", "--json"]].concat());
    let score = |text: usize| ranked["output"]["scores"][text].as_f64().unwrap();
    assert!(score(1) > score(0) + 0.1, "{ranked}");
}
