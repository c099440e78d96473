//! Metrics: what two nodes count, over the port without a token, and in the forms that people and programs read.

use crate::harness::{Node, Sandbox, exchange, until, write};
use serde_json::Value;

/// Reads the metrics of a node like Prometheus, and returns head and text.
#[track_caller]
fn scrape(node: &Node<'_>, accept: &str) -> (String, String) {
    let address = node.home.info().and_then(|info| info.metrics_address).expect("a port of metrics");
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: localhost:{}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
        address.port()
    );
    let answer = exchange(address, request.as_bytes());
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    (head.to_lowercase(), text.to_owned())
}

/// Returns the value of a series.
#[track_caller]
fn sample(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = line.and_then(|rest| rest.split(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("{series} is missing:\n{text}"))
}

#[test]
fn two_nodes_count_what_they_do_for_themselves_and_for_each_other() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    a.start_bare();
    let id_b = b.start();
    a.await_peers(&[&id_b]);
    (0..3).map(|n| a.submit(&format!("text {n}"))).for_each(|task| drop(a.await_task(&task)));

    let (head, text) = scrape(&a, "*/*");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert_eq!(sample(&text, r#"p2p_ai_tasks_total{outcome="completed",type="embedding"}"#), 3.0);
    assert_eq!(sample(&text, r#"p2p_ai_task_duration_seconds_count{type="embedding"}"#), 3.0);
    assert_eq!(sample(&text, r#"p2p_ai_messages_total{direction="sent",type="assign"}"#), 3.0);
    assert_eq!(sample(&text, r#"p2p_ai_peers{state="alive"}"#), 1.0);
    assert!(sample(&text, "p2p_ai_message_round_trip_seconds_count") >= 3.0);
    assert!(sample(&text, r#"p2p_ai_link_bytes_total{direction="sent"}"#) > 1000.0);
    assert!(sample(&text, "p2p_ai_store_commit_seconds_count") >= 6.0, "three tasks and three results");
    assert!(sample(&text, "process_resident_memory_bytes") > 1e6);

    // The worker counts the work of others, and no task of its own.
    let (_, text) = scrape(&b, "text/plain");
    let attempts = r#"p2p_ai_attempts_total{origin="peer",outcome="completed",type="embedding"}"#;
    assert_eq!(sample(&text, attempts), 3.0);
    assert_eq!(sample(&text, r#"p2p_ai_tasks_total{outcome="completed",type="embedding"}"#), 0.0);
    assert!(sample(&text, r#"p2p_ai_tokens_total{direction="input"}"#) >= 9.0);
    assert!(sample(&text, r#"p2p_ai_batch_size_count{type="embedding"}"#) >= 1.0);
    until("the memory of the model is measured", || {
        (sample(&scrape(&b, "text/plain").1, "p2p_ai_model_memory_bytes") > 1e6).then_some(())
    });

    let (head, text) = scrape(&a, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(text.ends_with("\n# EOF\n"));
    let exemplars = text.lines().filter(|line| line.starts_with("p2p_ai_task_duration_seconds_bucket{"));
    assert!(exemplars.clone().any(|line| line.contains(r#" # {trace_id=""#)), "a task has a trace");

    exports(&sandbox, &a);
    let targets = a.json(&["metrics", "targets"]);
    let ids: Vec<&str> = targets
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target["labels"]["p2p_ai_node"].as_str().unwrap())
        .collect();
    assert!(ids.len() == 2 && ids.contains(&id_b.as_str()), "{targets}");
    let address = b.home.info().unwrap().metrics_address.unwrap().to_string();
    assert!(targets.as_array().unwrap().iter().any(|target| target["targets"][0] == address), "{targets}");

    let shown = a.run(&["metrics", "show"]).good();
    for line in ["TASKS ACCEPTED HERE\n", " completed embedding 3\n", "NETWORK\n", " alive 1\n", " assign 3"]
    {
        assert!(shown.contains(line), "{line:?} is missing:\n{shown}");
    }
    let json = a.json(&["metrics", "show", "--json"]);
    let named =
        |name: &str| json["families"].as_array()?.iter().find(|family| family["name"] == name).cloned();
    let peers = named("p2p_ai_peers").unwrap();
    assert_eq!((&peers["type"], &peers["series"][0]["value"]), (&Value::from("gauge"), &Value::from(1)));
    ports(&a, &sandbox.node("c"));
}

/// Exports to a file, which replaces an earlier export and nothing else.
fn exports(sandbox: &Sandbox, node: &Node<'_>) {
    let file = sandbox.path("metrics.prom");
    let path = file.display().to_string();
    for (format, end) in [("prometheus", ""), ("openmetrics", "\n# EOF\n"), ("prometheus", "")] {
        node.run(&["metrics", "export", "--format", format, "--output", &path]).good();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# HELP p2p_ai_build") && text.ends_with(end), "{format}: {text}");
        assert_eq!(sample(&text, r#"p2p_ai_tasks_total{outcome="completed",type="embedding"}"#), 3.0);
    }
    assert!(node.run(&["metrics", "export"]).good().contains("# TYPE p2p_ai_tasks_total counter\n"));
    write(&file, "my own notes");
    for command in [&["metrics", "export", "--output", &path], &["metrics", "targets", "--output", &path]] {
        let said = node.run(command).bad(1);
        assert!(said.contains("id: file_exists") && said.contains("nothing was changed"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "my own notes");
}

/// A port that is taken gives way, unless it was asked for; 0 is none.
fn ports(running: &Node<'_>, node: &Node<'_>) {
    let taken = running.home.info().unwrap().metrics_address.unwrap().port().to_string();
    let said = node.run(&["node", "start", "--no-model", "--metrics-port", &taken]).bad(1);
    assert!(said.starts_with(&format!("error: Port {taken} already in use\n")), "{said}");
    assert!(said.contains("--metrics-port") && said.contains("id: port_in_use"), "{said}");
    let said = node.run(&["node", "start", "--no-model", "--metrics-port", "0"]).good();
    assert!(!said.contains("/metrics"), "{said}");
    assert_eq!(node.home.info().unwrap().metrics_address, None);
    let status = |node: &Node<'_>| node.run(&["node", "status"]).good();
    assert!(status(node).contains("\nMetrics:    no port\n"), "{}", status(node));
    assert!(
        status(running).contains(&format!("127.0.0.1:{taken} (GET /metrics, no token)\n")),
        "{}",
        status(running)
    );
    let said = node.run(&["metrics", "targets"]);
    let id = node.home.info().unwrap().node_id.to_string();
    assert!(said.stderr.contains("metrics_port is 0") && said.stderr.contains(&id), "{said:?}");
}
