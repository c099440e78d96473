//! Explains the route to a member: the path, the round trip to each hop, and alternative paths.
//!
//! The paths come from the map of members. The round trips are measured: each node on the path is probed, and the
//! difference between two is the time that the hop between them takes.

use super::Node;
use crate::error::Rejection;
use crate::ids::{MessageId, NodeId, RequestId};
use crate::request::{HopView, Response, RouteView};
use crate::time::{Instant, micros};
use crate::trace::TraceContext;
use crate::wire::{Bytes, Payload};
use core::time::Duration;
use std::collections::BTreeMap;

/// Explanations whose probes are in flight.
#[derive(Debug, Default)]
pub(super) struct Explanations {
    open: BTreeMap<RequestId, Explanation>,
}

#[derive(Debug)]
struct Explanation {
    view: RouteView,
    /// The probes in flight, each with its hop.
    asked: BTreeMap<MessageId, usize>,
    begun: Instant,
}

impl Explanations {
    /// Returns when the first explanation times out.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.open.values().map(|explanation| explanation.begun.after(PROBE_TIMEOUT)).min()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn forget(&mut self, request: RequestId) {
        self.open.remove(&request);
    }
}

impl Node {
    /// Starts to explain the route to a member. Answers at once if there is nothing to measure.
    pub(super) fn explain_route(&mut self, request: RequestId, destination: NodeId) {
        if self.in_flight.explanations.open.len() >= EXPLANATIONS_MAX {
            return self.reply(request, Err(Rejection::TooManyWaiting));
        }
        let Some((path, alternatives)) = self.membership.paths(destination, ALTERNATIVES_MAX) else {
            return self.reply(request, Err(Rejection::NodeUnknown(destination)));
        };
        let mut asked = BTreeMap::new();
        for (hop, &node) in path.iter().enumerate() {
            let probe = self.send_once(node, &Payload::Probe(Bytes(Vec::new())), TraceContext::NONE);
            asked.insert(probe, hop);
        }
        let hops = path.into_iter().map(|node_id| HopView { node_id, round_trip_micros: None }).collect();
        let view = RouteView { destination, hops, alternatives };
        self.in_flight.explanations.open.insert(request, Explanation { view, asked, begun: self.clock.now });
    }

    /// Handles the answer to a probe.
    pub(super) fn handle_probed(&mut self, from: NodeId, probe: MessageId) {
        for Explanation { view, asked, begun } in self.in_flight.explanations.open.values_mut() {
            let asked_hop = asked.get(&probe).copied().and_then(|hop| view.hops.get_mut(hop));
            if let Some(hop) = asked_hop.filter(|hop| hop.node_id == from) {
                hop.round_trip_micros = Some(micros(self.clock.now.since(*begun)));
                asked.remove(&probe);
            }
        }
    }

    /// Answers the explanations that are complete or have timed out.
    pub(super) fn settle_explanations(&mut self) {
        if self.in_flight.explanations.open.is_empty() {
            return;
        }
        let now = self.clock.now;
        let is_done = |explanation: &Explanation| {
            explanation.asked.is_empty() || now >= explanation.begun.after(PROBE_TIMEOUT)
        };
        let open = core::mem::take(&mut self.in_flight.explanations.open);
        let (done, open): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(_, explanation)| is_done(explanation));
        self.in_flight.explanations.open = open.into_iter().collect();
        for (request, explanation) in done {
            self.reply(request, Ok(Response::Route(Box::new(explanation.view))));
        }
    }
}

/// Maximum number of concurrent explanations.
pub(super) const EXPLANATIONS_MAX: usize = 16;
/// Maximum number of alternative paths to report.
const ALTERNATIVES_MAX: usize = 3;
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
