//! A task that takes longer than a lease, with an origin that is suspended when it ends.

use crate::crashes::child_of;
use crate::harness::{Node, Sandbox, signal, until};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Submits a text and waits until a node runs it.
fn running(node: &Node<'_>, text: &str) -> String {
    let submit = ["task", "submit", "--quiet", "--type", "embedding", "--timeout", "300", "--input", text];
    let id = node.run(&submit).good().trim_end().to_owned();
    until("the task runs", || {
        (node.json(&["task", "status", &id, "--json"])["status"] == "RUNNING").then_some(())
    });
    id
}

#[test]
fn a_long_job_is_done_once_for_its_own_node_and_for_one_that_slept() {
    let sandbox = Sandbox::new();
    let (origin, worker) = (sandbox.node("a"), sandbox.node("b"));
    let id_origin = origin.start_bare();
    worker.run(&["node", "start", "--log-level", "debug"]).good();
    worker.await_peers(&[&id_origin]);
    let first = worker.submit("so that the model is there");
    worker.await_task(&first);
    let model = child_of(worker.pid().unwrap()).unwrap();
    signal(model, Signal::SIGSTOP);
    let [others, own] = [running(&origin, "for another node"), running(&worker, "for its own node")];
    std::thread::sleep(LONGER_THAN_A_LEASE);
    let no_attempt_was_taken_back = |node: &Node<'_>| !node.log().contains("task reassigned");
    assert!(no_attempt_was_taken_back(&origin) && no_attempt_was_taken_back(&worker));
    // As a laptop with a closed lid.
    let sleeper = origin.pid().unwrap();
    signal(sleeper, Signal::SIGSTOP);
    worker.await_peers(&[]);
    signal(model, Signal::SIGCONT);
    assert_eq!(worker.await_task(&own)["attempts"], 1);
    signal(sleeper, Signal::SIGCONT);
    assert_eq!(origin.await_task(&others)["status"], "COMPLETED");
    // It assigns the task again when it meets the worker, which already has the output.
    for task in [&own, &others] {
        let log = worker.log();
        let begun = log.lines().filter(|line| line.contains("task started") && line.contains(task.as_str()));
        assert_eq!(begun.count(), 1, "{log}");
    }
}

/// A lease is 30 s.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(33);
