use super::*;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Checks that a type reads an example and writes all of it again.
fn check<T: Serialize + DeserializeOwned + Debug>(example: &str) -> T {
    let read: T = serde_json::from_str(example).unwrap();
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(example).unwrap());
    read
}

#[test]
fn a_topology_has_nodes_links_and_a_cursor() {
    let topology: Topology = check(include_str!("examples/topology.json"));
    assert_eq!((topology.nodes.len(), topology.links.len()), (3, 2));
    assert!(topology.links.iter().all(|link| link.a < link.b));
    assert!(topology.nodes.iter().any(|node| node.id == topology.me && node.hops == 0));
}

#[test]
fn an_update_has_only_what_changed() {
    let update: Update = check(include_str!("examples/update.json"));
    assert_eq!((update.nodes.len(), update.tasks.len(), update.tasks_left_out), (1, 3, 17));
    let still: Update = check(r#"{"cursor": "5f0c-43", "timestamp": "2026-11-30T18:00:00.300Z"}"#);
    assert_eq!((still.nodes.len(), still.models_changed, still.sample), (0, false, None));
}

#[test]
fn the_history_has_a_column_for_each_field_of_a_sample() {
    let history: MetricsHistory = check(include_str!("examples/metrics.json"));
    let sample = serde_json::to_value(MetricsSample::default()).unwrap();
    let mut fields: Vec<&String> =
        sample.as_object().unwrap().keys().filter(|name| *name != "at_ms").collect();
    fields.sort();
    assert_eq!(history.columns.keys().collect::<Vec<_>>(), fields);
    assert_eq!(MetricsSample::default().values().map(|(name, _)| name).to_vec(), fields);
    assert!(history.columns.values().all(|column| column.len() == history.length));
}

#[test]
fn a_feed_tells_when_its_node_cannot_be_seen() {
    let state: FeedState = check(include_str!("examples/state.json"));
    assert_eq!(state.state, FeedPhase::Starting);
}

#[test]
fn a_browser_logs_in_with_a_code() {
    let session: Session = check(include_str!("examples/session.json"));
    assert_eq!(session.access, Access::Read);
    let _: Code = check(include_str!("examples/code.json"));
    let _: Invite = check(include_str!("examples/invite.json"));
    assert!(serde_json::from_str::<NewCode>("{}").is_ok_and(|new| !new.read_only));
    assert!(
        serde_json::from_str::<NewCode>(r#"{"readonly": true}"#).is_err(),
        "a typing error gives no rights"
    );
}
