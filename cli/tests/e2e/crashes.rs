//! Nodes that are killed (SIGKILL) while they run tasks: no acknowledged task is lost.

use crate::harness::{Node, Sandbox, signal, task_id, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// Submits many slow tasks and returns their ids.
fn submit_many(sandbox: &Sandbox, node: &Node<'_>, count: u32) -> Vec<String> {
    let file = sandbox.path("tasks.jsonl");
    let text = "all work and no play makes a dull mesh ".repeat(40);
    let lines: String = (0..count)
        .map(|number| {
            let task =
                json!({"type": "embedding", "input": format!("{number} {text}"), "timeout_seconds": 120});
            format!("{task}\n")
        })
        .collect();
    crate::harness::write(&file, &lines);
    let said = node.run(&["task", "submit", "--file", file.to_str().unwrap()]).good();
    said.lines().map(|line| task_id(line).to_owned()).collect()
}

fn tasks(node: &Node<'_>) -> Vec<Value> {
    let list = node.json(&["task", "list", "--limit", "1000", "--json"]);
    list["tasks"].as_array().unwrap().clone()
}

#[test]
fn a_task_survives_the_death_of_its_worker() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let id_a = a.start();
    let id_b = b.start();
    a.await_peers(&[&id_b]);
    let mut ids = submit_many(&sandbox, &a, 60);
    // Now kill it. On a busy machine its model may be ready only after the first tasks have completed elsewhere.
    until("the other node works", || {
        let tasks = tasks(&a);
        if tasks.iter().all(|task| task.get("result").is_some()) {
            ids.extend(submit_many(&sandbox, &a, 60));
        }
        tasks.iter().any(|task| task["worker"] == json!(id_b) && task["status"] == "RUNNING").then_some(())
    });
    b.kill();
    for id in &ids {
        let task = a.await_task(id);
        assert_eq!(task["status"], "COMPLETED", "{task}");
    }
    let moved = tasks(&a)
        .iter()
        .filter(|task| task["attempts"].as_u64() > Some(1) && task["worker"] == json!(id_a))
        .count();
    assert!(moved > 0, "the worker died idle, so the test shows nothing");
}

#[test]
fn acknowledged_tasks_survive_the_death_of_their_origin() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let ids = submit_many(&sandbox, &node, 40);
    node.kill();
    let open_before = ids.len();
    node.start();
    for id in &ids {
        let task = node.await_task(id);
        assert_eq!(task["status"], "COMPLETED", "{task}");
        let result = node.json(&["task", "result", id, "--json"]);
        assert_eq!(result["output"]["vector"].as_array().unwrap().len(), 384);
    }
    assert_eq!(tasks(&node).len(), open_before);
}

#[test]
fn results_survive_a_kill() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let id = node.submit("keep me");
    node.await_task(&id);
    let before = node.json(&["task", "result", &id, "--json"]);
    node.kill();
    node.start();
    assert_eq!(node.json(&["task", "result", &id, "--json"]), before);
    // Nothing changes it later.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(node.json(&["task", "result", &id, "--json"]), before);
}

#[test]
fn a_hanging_model_process_costs_a_task_its_time_and_the_node_nothing() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let id = node.submit("works");
    node.await_task(&id);
    signal(child_of(node.pid().unwrap()).unwrap(), Signal::SIGSTOP);
    let arguments = ["task", "submit", "--input", "x", "--type", "embedding", "--timeout", "1", "--wait"];
    let ran = node.run(&arguments);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("Status:     TIMEOUT\n"), "{ran:?}");
    assert!(ran.stdout.contains("Reason:     it was not done in its time"), "{ran:?}");
    let id = node.submit("works again");
    assert_eq!(node.await_task(&id)["status"], "COMPLETED");
}

/// Returns the only child of a process; `None` if it has none yet.
pub(crate) fn child_of(parent: u32) -> Option<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the program's name in brackets come the state and the parent.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let pids = std::fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let children: Vec<u32> = pids.filter(|pid| parent_of(*pid) == Some(parent)).collect();
    assert!(children.len() <= 1, "{children:?}");
    children.first().copied()
}

/// Kills a node repeatedly at random moments while tasks run, and checks their outcomes.
fn soak(kills: u32) {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let file = sandbox.path("tasks.jsonl");
    let lines: String = (0..8)
        .map(|number| {
            let input = format!("task {number} that lives through it all");
            format!("{}\n", json!({"type": "embedding", "input": input, "timeout_seconds": 3600}))
        })
        .collect();
    crate::harness::write(&file, &lines);
    let mut acknowledged = std::collections::BTreeSet::new();
    let mut random = u64::from(std::process::id());
    for _ in 0..kills {
        // A failed start fails the test.
        node.start();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis((random >> 33) % 250);
        let said = std::thread::scope(|scope| {
            let submit =
                scope.spawn(|| node.run(&["task", "submit", "--quiet", "--file", file.to_str().unwrap()]));
            // Kill the node at whatever point it has reached.
            std::thread::sleep(moment);
            node.kill();
            submit.join().unwrap()
        });
        acknowledged.extend(said.stdout.lines().map(str::to_owned));
    }
    node.start();
    let page = |offset: usize| {
        let offset = offset.to_string();
        let list = node.json(&["task", "list", "--limit", "1000", "--offset", &offset, "--json"]);
        list["tasks"].as_array().unwrap().clone()
    };
    let ended = until("every task has ended", || {
        let mut ended = Vec::new();
        loop {
            let tasks = page(ended.len());
            if tasks.iter().any(|task| task.get("result").is_none()) {
                return None;
            }
            if tasks.is_empty() {
                return Some(ended);
            }
            ended.extend(tasks);
        }
    });
    let ids: std::collections::BTreeSet<String> =
        ended.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), ended.len(), "no task has two results");
    assert!(
        acknowledged.len() > kills as usize,
        "too few were accepted to show anything: {}",
        acknowledged.len()
    );
    assert_eq!(acknowledged.difference(&ids).count(), 0, "nothing that was accepted is lost");
    for task in &ended {
        assert_eq!(task["status"], "COMPLETED", "{task}");
    }
    eprintln!(
        "{kills} kills, {} tasks acknowledged, {} kept, all completed",
        acknowledged.len(),
        ended.len()
    );
}

#[test]
fn fifty_kills_lose_nothing() {
    soak(50);
}

#[test]
#[ignore = "takes many minutes: cargo test --release --workspace --test e2e -- --ignored --nocapture a_thousand_kills"]
fn a_thousand_kills_lose_nothing() {
    soak(1000);
}
