//! What the doctor says of real nodes, sound and not.

use crate::world::{Node, World, until, write};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

/// Returns what a doctor who finds something wrong says.
fn codes(node: &Node<'_>) -> (i32, Vec<String>) {
    let ran = node.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(report["healthy"], ran.code == 0, "{ran:?}");
    let findings = report["findings"].as_array().unwrap().iter();
    (ran.code, findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn a_sound_node_has_nothing_wrong_and_a_stopped_one_does_not_run() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    assert_eq!(codes(&a), (1, vec!["not_running".to_owned()]));
    let (id_a, id_b) = (a.start(), b.start());
    a.await_peers(&[&id_b]);
    b.await_peers(&[&id_a]);
    until("the models are loaded, and nothing is wrong", || (codes(&a) == (0, Vec::new())).then_some(()));
    let said = a.run(&["doctor"]).good();
    assert!(said.starts_with("Nothing is wrong.\nThe node is ACTIVE, linked to 1 node,"), "{said}");
    a.run(&["node", "stop"]).good();
    assert_eq!(codes(&a), (1, vec!["not_running".to_owned()]));
}

#[test]
fn an_address_without_a_node_and_a_key_that_others_may_read_are_found() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    let nobody = format!("127.0.0.1:{}", b.port);
    a.run(&["node", "start", "--no-model", "--bootstrap-peer", &nobody]).good();
    until("the dial has failed", || (codes(&a) == (1, vec!["dial_failed".to_owned()])).then_some(()));
    let said = a.run(&["doctor"]);
    assert!(said.stdout.contains(&format!("The node at {nobody} cannot be reached")), "{said:?}");
    a.run(&["node", "stop"]).good();
    std::fs::set_permissions(a.home.identity_file(), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(codes(&a), (1, vec!["identity_unusable".to_owned(), "not_running".to_owned()]));
}

#[test]
fn two_nodes_with_one_key_are_both_told() {
    let world = World::new();
    let [a, copy, other] = ["a", "copy", "other"].map(|name| world.node(name));
    let quick = ["node", "start", "--no-model"];
    a.run(&quick).good();
    let id_other = {
        let said = other.run(&quick).good();
        said.split("id: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned()
    };
    a.await_peers(&[&id_other]);
    let key = std::fs::read_to_string(a.home.identity_file()).unwrap();
    write(&copy.home.identity_file(), &key);
    std::fs::set_permissions(copy.home.identity_file(), PermissionsExt::from_mode(0o600)).unwrap();
    copy.run(&quick).good();
    for node in [&a, &copy] {
        until("the doctor says so", || codes(node).1.contains(&"identity_copied".to_owned()).then_some(()));
        let log = std::fs::read_to_string(node.home.log_file()).unwrap();
        assert!(log.lines().any(|line| line.contains("WARN") && line.contains("identity copied")), "{log}");
    }
    let log = std::fs::read_to_string(other.home.log_file()).unwrap();
    assert!(!log.contains("member left"), "the third node sees one steady node: {log}");
}
