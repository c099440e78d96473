//! The last events of each node, for the report of a violation.
//!
//! Bounded: the last [`EVENTS_MAX`] of each node are kept, and the oldest is evicted first.

use crate::cluster::Cluster;
use crate::invariant::Observation;
use crate::node_set::NodeIndex;
use crate::observer::narrative::{Line, Narrative};
use core::fmt::Write;
use engine::{Event, Instant, NodeId, Output, TaskId};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;

/// The last events, by node.
#[derive(Debug, Default)]
pub(crate) struct FlightRecorder {
    nodes: Vec<VecDeque<(Instant, Entry)>>,
}

#[derive(Clone, Debug)]
enum Entry {
    Event(Event),
    Started,
    Stopped,
}

/// The last events of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastEvents {
    /// The node's number.
    pub node: u32,
    /// Its last events, in order.
    pub events: Vec<Line>,
}

impl FlightRecorder {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![VecDeque::new(); nodes] }
    }

    /// Observes what happened to a node.
    pub(crate) fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) {
        let entry = match observation {
            Observation::Output(Output::Event(event)) => Entry::Event(event.clone()),
            Observation::Started => Entry::Started,
            Observation::Stopped => Entry::Stopped,
            Observation::Durable(_) | Observation::Input(_) | Observation::Output(_) => return,
        };
        let ring = &mut self.nodes[node as usize];
        if ring.len() == EVENTS_MAX {
            ring.pop_front();
        }
        ring.push_back((now, entry));
    }

    /// Returns the described last events of some nodes.
    pub(crate) fn last_events(
        &self,
        nodes: &[NodeIndex],
        cluster: &Cluster,
        narrative: &Narrative,
    ) -> Vec<LastEvents> {
        let line =
            |(at, entry): &(Instant, Entry)| Line { at: *at, text: entry.describe(cluster, narrative) };
        let of = |&node: &NodeIndex| {
            let ring = self.nodes.get(node as usize)?;
            Some(LastEvents { node, events: ring.iter().map(line).collect() })
        };
        nodes.iter().filter_map(of).collect()
    }
}

impl Entry {
    fn describe(&self, cluster: &Cluster, narrative: &Narrative) -> String {
        match self {
            Self::Started => "the process starts".to_owned(),
            Self::Stopped => "the process is gone".to_owned(),
            // An event serializes as its name, or as a map from its name to its fields, as in the log.
            Self::Event(event) => match serde_json::to_value(event) {
                Ok(Value::Object(named)) => match named.iter().next() {
                    Some((name, Value::Object(fields))) => describe_event(name, fields, cluster, narrative),
                    Some(_) | None => format!("{event:?}"),
                },
                Ok(Value::String(name)) => name,
                Ok(_) | Err(_) => format!("{event:?}"),
            },
        }
    }
}

/// Returns `name: field value, field value`, with the short names of nodes and tasks.
fn describe_event(
    name: &str,
    fields: &serde_json::Map<String, Value>,
    cluster: &Cluster,
    narrative: &Narrative,
) -> String {
    let mut words = name.to_owned();
    for (position, (key, value)) in fields.iter().filter(|(_, value)| !value.is_null()).enumerate() {
        let shown = match value {
            Value::String(text) => short_name(text, cluster, narrative).unwrap_or_else(|| text.clone()),
            Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        // Writing to a string does not fail.
        let _ = write!(words, "{} {key} {shown}", if position == 0 { ":" } else { "," });
    }
    words
}

fn short_name(text: &str, cluster: &Cluster, narrative: &Narrative) -> Option<String> {
    let node = text.parse::<NodeId>().ok().and_then(|id| cluster.find(id)).map(|node| format!("n{node}"));
    node.or_else(|| narrative.number(text.parse::<TaskId>().ok()?).map(|number| number.to_string()))
}

/// Returns the numbers of the nodes that a text names, in order, at most [`NODES_SHOWN_MAX`].
pub(crate) fn nodes_named_in(words: &str, nodes: usize) -> Vec<NodeIndex> {
    let mut named: Vec<NodeIndex> = words
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix('n')?.parse().ok())
        .filter(|&node: &NodeIndex| (node as usize) < nodes)
        .collect();
    named.sort_unstable();
    named.dedup();
    named.truncate(NODES_SHOWN_MAX);
    named
}

/// The events kept per node.
const EVENTS_MAX: usize = 20;

/// The most nodes whose last events are shown.
const NODES_SHOWN_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn the_oldest_event_is_evicted_and_nodes_have_names() {
        let scenario = Scenario::parse("two", "nodes = 2\nduration = \"60s\"\n").unwrap();
        let cluster = Cluster::new(&scenario, 1, None);
        let mut recorder = FlightRecorder::new(2);
        recorder.observe(Instant::ZERO, 1, Observation::Started);
        for at in 0..EVENTS_MAX as u64 {
            let event = Output::Event(Event::PeerSlow { peer: cluster.id(0) });
            recorder.observe(Instant::from_micros(at), 1, Observation::Output(&event));
        }
        let told = recorder.last_events(&[1], &cluster, &Narrative::default());
        let expected = |at| Line { at: Instant::from_micros(at), text: "peer_slow: peer n0".to_owned() };
        let events = (0..EVENTS_MAX as u64).map(expected).collect();
        assert_eq!(told, [LastEvents { node: 1, events }]);
    }

    #[test]
    fn a_description_names_the_involved_nodes() {
        assert_eq!(nodes_named_in("n3 does not know n0, which runs (n3)", 4), [0, 3]);
        assert_eq!(nodes_named_in("n4 and n are none; nor is note n1x", 4), Vec::<NodeIndex>::new());
    }
}
