//! Nodes and tasks by name: a name is shown everywhere and taken for an id, a prefix is enough for a task, and a node
//! says for whom it works and why a task waits.

use crate::harness::{Sandbox, run, until};
use serde_json::json;

#[test]
fn a_node_is_known_by_its_name_and_a_task_by_its_first_digits() {
    let sandbox = Sandbox::new();
    let (origin, worker) = (sandbox.node("attic"), sandbox.node("cellar"));
    origin.start_bare();
    let id = worker.start();
    origin.await_peers(&[&id]);

    // The host's name is the default, which this test replaces by that of the directory.
    let status = worker.json(&["node", "status", "--json"]);
    assert_eq!((&status["name"], &status["work"]["slots"]), (&json!("cellar"), &json!(4)));
    let members = origin.json(&["node", "members", "--json"]);
    let of = |name: &str| {
        let all = members["members"].as_array().unwrap();
        all.iter()
            .find(|member| member["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {members}"))
            .clone()
    };
    assert_eq!((&of("cellar")["role"], &of("cellar")["liveness"]), (&json!("worker"), &json!("ALIVE")));
    assert_eq!((&of("attic")["role"], &of("attic")["hops"]), (&json!("relay"), &json!(0)));

    let said = origin.run(&["task", "submit", "--type", "embedding", "--input", "hello", "--wait"]).good();
    assert!(said.contains(&format!("Worker:     cellar ({id})\n")), "{said}");
    let last = origin.json(&["task", "status", "@last", "--json"]);
    assert_eq!((&last["worker_name"], &last["preview"]), (&json!("cellar"), &json!("hello")));
    // Times for people are in the zone of the machine where the settings say so; JSON has UTC.
    origin.run(&["config", "set", "local_time", "true"]).good();
    let in_kathmandu = |arguments: &[&str]| {
        let mut command = origin.command(arguments);
        command.env("TZ", "NPT-5:45");
        run(command, b"").good()
    };
    let said = in_kathmandu(&["task", "status", "@last"]);
    assert!(said.contains("+05:45\n") && !said.contains("Z\n"), "{said}");
    assert!(in_kathmandu(&["node", "logs", "-n", "1"]).contains("+05:45 "));
    let submitted = last["submitted_at"].as_str().unwrap();
    assert!(
        in_kathmandu(&["task", "status", "@last", "--json"]).contains(submitted) && submitted.ends_with('Z')
    );
    origin.run(&["config", "unset", "local_time"]).good();
    let task = last["id"].as_str().unwrap();
    assert_eq!(origin.json(&["task", "result", &task[..9], "--json"])["id"], json!(task));
    assert!(origin.run(&["task", "status", &task[..3]]).bad(1).contains("id: task_not_found"));
    let listed = origin.json(&["task", "list", "--worker", "cell", "--json"]);
    assert_eq!(listed["total"], 1, "{listed}");
    assert!(origin.run(&["explain", "@last"]).good().contains("ran at cellar ("));
    assert!(origin.run(&["trace", "@last"]).good().contains("scheduled on cellar"));
    assert!(origin.run(&["route", "ping", "CELLAR", "--count", "1"]).good().contains("to cellar ("));
    assert!(origin.run(&["route", "ping", "attic"]).bad(1).contains("id: node_is_this"));
    assert!(origin.run(&["route", "explain", "loft"]).bad(1).contains("name or id: loft"));
    let attempts = worker.json(&["task", "list", "--all", "--json"]);
    assert_eq!((&attempts["total"], &attempts["slots_busy"]), (&json!(0), &json!(0)), "{attempts}");
    worker.await_log(r#""message":"work started""#);
    assert!(worker.log().contains(r#""origin_name":"attic""#));

    worker.kill();
    until("the worker has left", || {
        let members = origin.json(&["node", "members", "--json"]);
        (members["former"][0]["name"] == "cellar").then_some(())
    });
    assert!(origin.run(&["node", "members"]).good().contains("UNREACHABLE"));
    let arguments = ["task", "submit", "--type", "embedding", "--input", "x", "--timeout", "2", "--wait"];
    let ran = origin.run(&arguments);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("waiting: no node in reach runs the model\n"), "{ran:?}");
    assert!(
        ran.stdout.contains("it was not started in its time: no node in reach runs the model"),
        "{ran:?}"
    );
    assert!(origin.run(&["doctor"]).good().contains("this node runs no models, so no task can run"));
    let waiting = origin.submit("somebody, please");
    let ran = origin.run(&["doctor"]);
    assert!(ran.stdout.contains("This node runs no models, and no other node is in reach."), "{ran:?}");
    let said = origin.run(&["task", "status", &waiting[..8]]).good();
    assert!(said.contains("Waiting:    no node in reach runs the model\n"), "{said}");
    origin.run(&["task", "cancel", "@last"]).good();
    let said = worker.run(&["node", "status"]).bad(1);
    assert!(said.contains("ended without a shutdown"), "{said}");
    let home = worker.home.root().display().to_string();
    let said = sandbox.run(&["--home", &home, "node", "peers"]).bad(1);
    assert!(said.contains(&format!("p2p-ai-agents --home {home} node start")), "{said}");
}
