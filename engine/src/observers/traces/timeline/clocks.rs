//! Estimates how far the clock of each node is ahead.

use super::{ClockReading, NodeTrace, difference};
use crate::ids::NodeId;
use crate::observers::traces::Step;
use crate::trace::SpanId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The clock of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClock {
    /// The node.
    pub node: NodeId,
    /// How far the clock is ahead of that of the first node, in microseconds. Times are corrected by it.
    pub ahead_micros: i64,
    /// The largest possible error, in microseconds.
    pub error_micros: u64,
    /// How the difference was found.
    pub source: ClockSource,
}

/// How the difference between two clocks was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// It is the clock that the others are compared with.
    Base,
    /// From the messages of the trace.
    Messages,
    /// From the query that gathered the steps.
    Query,
    /// It was not found, so its times are not corrected.
    Unknown,
}

/// A message, as far as steps of all nodes tell.
#[derive(Debug, Default)]
struct Passage {
    sent: Option<(NodeId, u64, Option<NodeId>)>,
    /// Whether it was sent more than once, so that it is unknown which copy arrived.
    repeated: bool,
    forwarded: BTreeMap<NodeId, (u64, NodeId)>,
    delivered: Option<(NodeId, u64)>,
    acknowledged: Option<u64>,
}

/// The smallest differences between the receipt of a message and its sending, by sender and receiver.
type Delays = BTreeMap<(NodeId, NodeId), i64>;

/// Returns the clock of each node, that of the base first.
pub(super) fn estimate(nodes: &[NodeTrace]) -> Vec<NodeClock> {
    let Some(base) = base(nodes) else { return Vec::new() };
    let mut known = by_messages(base, &delays(nodes));
    let readings: BTreeMap<NodeId, ClockReading> =
        nodes.iter().filter_map(|node| Some((node.node, node.clock?))).collect();
    let mut clocks = Vec::with_capacity(nodes.len());
    for node in nodes.iter().map(|node| node.node) {
        let clock = if node == base {
            NodeClock { node, ahead_micros: 0, error_micros: 0, source: ClockSource::Base }
        } else if let Some((ahead_micros, error_micros)) = known.remove(&node) {
            NodeClock { node, ahead_micros, error_micros, source: ClockSource::Messages }
        } else if let (Some(own), Some(of_base)) = (readings.get(&node), readings.get(&base)) {
            let ahead_micros = own.ahead_micros.saturating_sub(of_base.ahead_micros);
            let error_micros = own.error_micros.saturating_add(of_base.error_micros);
            NodeClock { node, ahead_micros, error_micros, source: ClockSource::Query }
        } else {
            NodeClock { node, ahead_micros: 0, error_micros: 0, source: ClockSource::Unknown }
        };
        clocks.push(clock);
    }
    clocks.sort_by_key(|clock| (clock.node != base, clock.node));
    clocks
}

/// Returns the node that accepted the first task, or else the first node.
fn base(nodes: &[NodeTrace]) -> Option<NodeId> {
    let accepts = |node: &&NodeTrace| {
        let mut steps = node.parts.iter().flat_map(|part| &part.steps);
        steps.any(|step| matches!(step.step, Step::Accepted { .. } | Step::Recovered { .. }))
    };
    nodes.iter().find(accepts).or_else(|| nodes.first()).map(|node| node.node)
}

fn delays(nodes: &[NodeTrace]) -> Delays {
    let mut delays = Delays::new();
    let mut note = |from: (NodeId, u64), to: (NodeId, u64)| {
        let delay = difference(to.1, from.1);
        let least = delays.entry((from.0, to.0)).or_insert(delay);
        *least = delay.min(*least);
    };
    for passage in passages(nodes).into_values().filter(|passage| !passage.repeated) {
        let Some((origin, sent_at, first)) = passage.sent else { continue };
        if let Some(end) = passage.delivered {
            note((origin, sent_at), end);
            if let Some(acknowledged_at) = passage.acknowledged {
                note(end, (origin, acknowledged_at));
            }
        }
        let (mut from, mut next, mut passed) = ((origin, sent_at), first, BTreeSet::new());
        while let Some(node) = next.filter(|node| passed.insert(*node)) {
            let Some(&(at, onward)) = passage.forwarded.get(&node) else {
                if let Some(end) = passage.delivered.filter(|(end, _)| *end == node) {
                    note(from, end);
                }
                break;
            };
            note(from, (node, at));
            (from, next) = ((node, at), Some(onward));
        }
    }
    delays
}

fn passages(nodes: &[NodeTrace]) -> BTreeMap<SpanId, Passage> {
    let mut passages: BTreeMap<SpanId, Passage> = BTreeMap::new();
    for node in nodes {
        for (at, step) in node.parts.iter().flat_map(super::TracePart::timed) {
            #[allow(clippy::wildcard_enum_match_arm, reason = "the other steps are not about messages")]
            match step {
                Step::Sent { message, next, retry, .. } => {
                    let passage = passages.entry(*message).or_default();
                    passage.repeated |= *retry > 0;
                    passage.sent.get_or_insert((node.node, at, *next));
                }
                Step::Forwarded { message, next } => {
                    let passage = passages.entry(*message).or_default();
                    passage.repeated |= passage.forwarded.insert(node.node, (at, *next)).is_some();
                }
                Step::Delivered { message, .. } => {
                    passages.entry(*message).or_default().delivered = Some((node.node, at));
                }
                Step::Acknowledged { message, .. } => {
                    passages.entry(*message).or_default().acknowledged = Some(at);
                }
                _ => {}
            }
        }
    }
    passages
}

/// Returns how far each clock is ahead of that of `base`, and the error, along the paths with the least error.
fn by_messages(base: NodeId, delays: &Delays) -> BTreeMap<NodeId, (i64, u64)> {
    let mut edges: BTreeMap<NodeId, Vec<(NodeId, ClockReading)>> = BTreeMap::new();
    for (&(from, to), there) in delays {
        if let Some(back) = delays.get(&(to, from)) {
            edges.entry(from).or_default().push((to, ClockReading::between(*there, *back)));
        }
    }
    let mut best = BTreeMap::from([(base, (0_i64, 0_u64))]);
    let mut done = BTreeSet::new();
    // Dijkstra's algorithm, over few nodes.
    loop {
        let open = best.iter().filter(|(node, _)| !done.contains(*node));
        let Some((&node, &(ahead, error))) = open.min_by_key(|(_, (_, error))| *error) else { break best };
        done.insert(node);
        for &(to, more) in edges.get(&node).into_iter().flatten() {
            let found = (ahead.saturating_add(more.ahead_micros), error.saturating_add(more.error_micros));
            let known = best.entry(to).or_insert(found);
            if found.1 < known.1 {
                *known = found;
            }
        }
    }
}
