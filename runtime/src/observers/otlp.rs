//! Spans of tasks, attempts and messages for an OpenTelemetry collector: OTLP over HTTP, in protobuf.
//!
//! Each node exports its own spans. Their ids are hashes of ids that all nodes know, so the collector joins them to one
//! trace (`engine::trace`). The node's thread only puts ended spans into a bounded queue. A thread of its own sends them,
//! so that a collector that is away or slow never delays the node. Spans that do not fit are dropped and counted.
//!
//! Specification: <https://opentelemetry.io/docs/specs/otlp/>, <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

mod exporter;
mod options;
mod proto;
mod spans;
#[cfg(test)]
mod tests;

pub use exporter::{Exporter, OtlpCounters, STOP_TIMEOUT};
pub use options::OtlpOptions;

use super::EventObserver;
use crate::clock;
use engine::{Event, Instant, NodeId};
use exporter::Queue;
use spans::Spans;

/// Turns events into spans, and hands them to the exporter.
#[derive(Debug)]
pub struct SpanObserver {
    spans: Spans,
    queue: Queue,
}

impl SpanObserver {
    /// Creates the observer of a node.
    pub fn new(me: NodeId, exporter: &Exporter) -> Self {
        Self { spans: Spans::new(me), queue: exporter.queue() }
    }
}

impl EventObserver for SpanObserver {
    fn event(&mut self, _now: Instant, event: &Event) {
        if let Some(span) = self.spans.handle_event(clock::wall_nanos(), event) {
            self.queue.push(span);
        }
    }
}
