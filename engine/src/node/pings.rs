//! Pings: messages that measure round trips between two nodes, acknowledged and retransmitted like all others.
//!
//! The number in flight is limited; each acknowledgement lets the next one go.

use super::Node;
use crate::error::Rejection;
use crate::ids::{NodeId, RequestId};
use crate::request::{
    PING_AT_ONCE_MAX, PING_BYTES_MAX, PING_COUNT_MAX, PingSpec, PingView, Response, RoundTrips,
};
use crate::time::{Instant, micros};
use crate::trace::TraceContext;
use crate::wire::{Bytes, Payload};
use core::time::Duration;
use std::collections::BTreeMap;

/// The pings in progress.
#[derive(Debug, Default)]
pub(super) struct Pings {
    open: BTreeMap<RequestId, Ping>,
}

#[derive(Debug)]
struct Ping {
    destination: NodeId,
    payload: Payload,
    /// Messages not sent yet.
    waiting: u32,
    /// Messages in flight.
    under_way: u32,
    lost: u32,
    /// The round trips of acknowledged messages, in microseconds.
    round_trips: Vec<u32>,
    begun: Instant,
}

impl Pings {
    pub(super) fn forget(&mut self, request: RequestId) {
        self.open.remove(&request);
    }
}

impl Node {
    /// Starts to send the messages of a ping.
    pub(super) fn ping(&mut self, request: RequestId, spec: PingSpec) {
        let PingSpec { destination, .. } = spec;
        if self.in_flight.pings.open.len() >= PINGS_MAX {
            return self.reply(request, Err(Rejection::TooManyWaiting));
        }
        if destination == self.me || self.membership.hops(destination).is_none() {
            return self.reply(request, Err(Rejection::NodeUnknown(destination)));
        }
        let bytes = usize::try_from(spec.bytes.min(PING_BYTES_MAX)).unwrap_or_default();
        let ping = Ping {
            destination,
            payload: Payload::Probe(Bytes(vec![0; bytes])),
            waiting: spec.count.clamp(1, PING_COUNT_MAX),
            under_way: 0,
            lost: 0,
            round_trips: Vec::new(),
            begun: self.clock.now,
        };
        self.in_flight.pings.open.insert(request, ping);
        for _ in 0..spec.at_once.clamp(1, PING_AT_ONCE_MAX) {
            self.ping_next(request);
        }
    }

    /// Handles the end of one message: its round trip, or `None` if it was lost.
    pub(super) fn handle_pinged(&mut self, request: RequestId, took: Option<Duration>) {
        let Some(ping) = self.in_flight.pings.open.get_mut(&request) else { return };
        ping.under_way -= 1;
        match took {
            Some(took) => ping.round_trips.push(u32::try_from(micros(took)).unwrap_or(u32::MAX)),
            None => ping.lost += 1,
        }
        if took.is_none() && self.membership.hops(ping.destination).is_none() {
            ping.lost += core::mem::take(&mut ping.waiting);
        }
        if ping.waiting > 0 {
            self.ping_next(request);
        } else if ping.under_way == 0
            && let Some(ping) = self.in_flight.pings.open.remove(&request)
        {
            let view = self.ping_view(ping);
            self.reply(request, Ok(Response::Ping(Box::new(view))));
        }
    }

    fn ping_next(&mut self, request: RequestId) {
        let Some(ping) = self.in_flight.pings.open.get_mut(&request).filter(|ping| ping.waiting > 0) else {
            return;
        };
        ping.waiting -= 1;
        ping.under_way += 1;
        let (destination, payload) = (ping.destination, ping.payload.encode());
        let envelope = self.envelope(destination, payload, TraceContext::NONE);
        self.router.send(self.clock.now, envelope, Some(request));
    }

    fn ping_view(&self, ping: Ping) -> PingView {
        let Ping { destination, lost, mut round_trips, begun, .. } = ping;
        round_trips.sort_unstable();
        let part = |of: usize| round_trips.get((round_trips.len() * of / 100).min(round_trips.len() - 1));
        let round_trips_view = round_trips.first().zip(round_trips.last()).map(|(least, most)| RoundTrips {
            least: *least,
            median: part(50).copied().unwrap_or_default(),
            p99: part(99).copied().unwrap_or_default(),
            most: *most,
        });
        PingView {
            destination,
            hops: self.membership.hops(destination).unwrap_or_default(),
            answered: u32::try_from(round_trips.len()).unwrap_or(u32::MAX),
            lost,
            elapsed_micros: micros(self.clock.now.since(begun)),
            round_trips: round_trips_view,
        }
    }
}

/// Maximum number of concurrent pings. Their messages are at most half of all in flight.
const PINGS_MAX: usize = 4;
