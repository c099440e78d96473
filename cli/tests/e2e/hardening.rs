//! Hardening of the node's processes: no secrets in the process of a model, no core dumps, no new privileges.

use crate::harness::{Sandbox, run, until};
use crate::mesh::resident;
use runtime::host::children;
use std::fs;
use std::io::ErrorKind;

#[test]
fn a_models_process_knows_no_secret_of_the_node() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let mut start = node.command(&["node", "start"]);
    start.env("HF_TOKEN", "hf_this_is_secret").env("AWS_SECRET_ACCESS_KEY", "this_too");
    run(start, b"").good();
    let pid = node.pid().unwrap();
    let worker = until("the model has its process", || children(pid).next());
    until("it has begun its own program", || {
        let command = fs::read_to_string(format!("/proc/{worker}/cmdline")).ok()?;
        command.contains("inference-worker").then_some(())
    });
    match fs::read_to_string(format!("/proc/{worker}/environ")) {
        Ok(environment) => {
            assert!(!environment.contains("secret") && !environment.contains("TOKEN="), "{environment}");
            assert!(!environment.contains("P2P_AI_NETWORK"), "{environment}");
        }
        // Users other than root cannot even look.
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}"),
    }
    node.submit("the model works all the same");
    let task = node.json(&["task", "list", "--json"])["tasks"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(node.await_task(&task)["status"], "COMPLETED");
    for process in [pid, worker] {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
        assert!(resident(process, "VmRSS") > 0);
    }
}
