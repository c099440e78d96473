//! Recording nodes and replaying the recordings.

use crate::harness::{Node, Sandbox, started_id};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn start_recorded(node: &Node<'_>, file: &Path) -> String {
    started_id(&node.run(&["node", "start", "--record", file.to_str().unwrap()]).good())
}

fn replay(sandbox: &Sandbox, file: &Path) -> Value {
    serde_json::from_str(&sandbox.run(&["sim", "replay", file.to_str().unwrap(), "--json"]).good()).unwrap()
}

/// Returns the bytes of a node's private key.
fn secret(node: &Node<'_>) -> Vec<u8> {
    let text = fs::read_to_string(node.home.identity_file()).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let hex = file["secret_key"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn recorded_nodes_are_replayed_and_damage_is_told() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let (file_a, file_b) = (sandbox.path("a.journal"), sandbox.path("b.journal"));
    let id_a = start_recorded(&a, &file_a);
    let id_b = start_recorded(&b, &file_b);
    a.await_peers(&[&id_b]);
    for number in 0..10 {
        let id = a.submit(&format!("text number {number}"));
        assert_eq!(a.await_task(&id)["status"], "COMPLETED");
    }
    let uptime = a.json(&["node", "status", "--json"])["uptime_ms"].as_u64().unwrap();
    a.run(&["node", "stop"]).good();
    b.run(&["node", "stop"]).good();

    for (node, file, id) in [(&a, &file_a, &id_a), (&b, &file_b, &id_b)] {
        let said = replay(&sandbox, file);
        assert_eq!(
            (&said["same"], &said["ended"], &said["node_id"]),
            (&json!(true), &json!("stopped"), &json!(id))
        );
        assert!(said["inputs"].as_u64().unwrap() > 20 && said["outputs"].as_u64().unwrap() > 20, "{said}");
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let (bytes, secret) = (fs::read(file).unwrap(), secret(node));
        assert_eq!(secret.len(), 32);
        assert!(!bytes.windows(32).any(|window| window == secret), "the private key is in the recording");
    }

    // The state of the node during its life, and that it has stopped at the end.
    let path = file_a.to_str().unwrap();
    let text = sandbox.run(&["sim", "replay", path, "--until", &format!("{uptime}ms"), "--state"]).good();
    for expected in ["State:       ACTIVE\n", "COMPLETED", "ALIVE", &id_b] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = sandbox.run(&["sim", "replay", path, "--state"]).good();
    assert!(text.contains("\nThe node at ") && text.contains("State:       ACTIVE\n"), "{text}");

    let mut bytes = fs::read(&file_a).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file_a, bytes).unwrap();
    let error = sandbox.run(&["sim", "replay", path]).bad(1);
    assert!(error.contains("a.journal: record ") && error.contains(" is damaged\nhint: "), "{error}");
    fs::write(&file_a, "dear diary").unwrap();
    let error = sandbox.run(&["sim", "replay", path]).bad(1);
    assert!(error.contains("a.journal: this is not a journal\nhint: "), "{error}");
    let error = a.run(&["node", "start", "--record", path]).bad(1);
    assert!(error.contains("cannot record into") && error.contains("is not a recording"), "{error}");
}

#[test]
fn a_killed_node_is_replayed_to_its_last_record() {
    let sandbox = Sandbox::new();
    let (node, file) = (sandbox.node("a"), sandbox.path("a.journal"));
    start_recorded(&node, &file);
    let id = node.submit("keep me");
    node.await_task(&id);
    node.kill();
    let ran = sandbox.run(&["sim", "replay", file.to_str().unwrap(), "--json", "--state"]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&said["same"], &said["ended"]), (&json!(true), &json!("cut")), "{said}");
    assert_eq!(said["state"]["tasks"][0]["id"], json!(id), "{said}");
    assert_eq!(said["state"]["tasks"][0]["status"], "COMPLETED", "{said}");
    let last = said["records"].as_u64().unwrap() - 1;
    let error = ran.bad(1);
    assert!(error.contains(&format!("the journal is truncated after record {last}\",\"hint\":")), "{error}");

    // The next start keeps the recording, and records the data on its disk.
    start_recorded(&node, &file);
    node.run(&["node", "stop"]).good();
    assert_eq!(replay(&sandbox, &file)["ended"], "stopped");
    let older = sandbox.path("a.journal.1");
    assert_eq!(sandbox.run(&["sim", "replay", older.to_str().unwrap()]).code, 1);
}

#[test]
fn a_simulated_node_is_replayed_as_well() {
    let sandbox = Sandbox::new();
    let scenario = sandbox.path("story.toml");
    crate::harness::write(&scenario, "nodes = 2\nduration = \"5s\"\n");
    let (scenario, journals) = (scenario.to_str().unwrap(), sandbox.path("journals"));
    let arguments = ["sim", "run", scenario, "--seed", "3", "--record", journals.to_str().unwrap()];
    sandbox.run(&arguments).good();
    let said = replay(&sandbox, &journals.join("n1.1.journal"));
    assert_eq!((&said["same"], &said["ended"]), (&json!(true), &json!("stopped")), "{said}");
    let error = sandbox.run(&arguments).bad(1);
    assert!(error.contains("cannot record into") && error.contains("the directory is not empty"), "{error}");
}
