//! The doctor's findings on real nodes, healthy and not.

use crate::harness::{Node, Ran, Sandbox, run, until};
use crate::mesh::Mesh;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

/// Returns the exit status and the codes of the doctor's findings.
pub(crate) fn codes(node: &Node<'_>) -> (i32, Vec<String>) {
    read(&node.run(&["doctor", "--json"]))
}

/// Returns what the doctor finds in a namespace.
pub(crate) fn codes_in(mesh: &Mesh, place: usize) -> Vec<String> {
    read(&mesh.run(place, &["doctor", "--json"])).1
}

fn read(ran: &Ran) -> (i32, Vec<String>) {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(report["healthy"], ran.code == 0, "{ran:?}");
    let findings = report["findings"].as_array().unwrap().iter();
    (ran.code, findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn a_sound_node_has_nothing_wrong_and_a_stopped_one_does_not_run() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    assert_eq!(codes(&a), (1, vec!["not_running".to_owned()]));
    let (id_a, id_b) = (a.start(), b.start());
    a.await_peers(&[&id_b]);
    b.await_peers(&[&id_a]);
    until("the models are loaded, and nothing is wrong", || (codes(&a) == (0, Vec::new())).then_some(()));
    let said = a.run(&["doctor"]).good();
    assert!(said.starts_with("No problems found.\nThe node is ACTIVE, linked to 1 node,"), "{said}");
    a.run(&["node", "stop"]).good();
    assert_eq!(codes(&a), (1, vec!["not_running".to_owned()]));
    // A file cannot hold the directories of a cache.
    let file = sandbox.path("file");
    std::fs::write(&file, "").unwrap();
    let mut doctor = a.command(&["doctor", "--json"]);
    doctor.env("HF_HOME", file);
    let (_, found) = read(&run(doctor, b""));
    assert!(found.contains(&"cache_read_only".to_owned()), "{found:?}");
}

#[test]
fn an_address_without_a_node_and_a_key_that_others_may_read_are_found() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let nobody = format!("127.0.0.1:{}", b.port);
    a.run(&["node", "start", "--no-model", "--bootstrap-peer", &nobody]).good();
    until("the dial has failed", || (codes(&a) == (1, vec!["dial_failed".to_owned()])).then_some(()));
    let said = a.run(&["doctor"]);
    assert!(said.stdout.contains(&format!("The node at {nobody} cannot be reached")), "{said:?}");
    a.run(&["node", "stop"]).good();
    std::fs::set_permissions(a.home.identity_file(), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(codes(&a), (1, vec!["identity_unusable".to_owned(), "not_running".to_owned()]));
}
