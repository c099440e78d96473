//! The timeline of a trace across nodes.

use engine::observers::traces::timeline::{ClockSource, NodeAnswer, NodeClock, Span, SpanKind, Timeline};
use engine::request::TraceView;
use engine::{NodeId, NodeName, SpanId, TaskId, TraceId};
use serde::{Deserialize, Serialize};

/// A trace: what happened to its tasks on the nodes that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Id of the trace.
    pub trace_id: TraceId,
    /// Nodes that took part. All times are those of the first one's clock.
    pub nodes: Vec<TraceNode>,
    /// Spans, in the order of their starts.
    pub spans: Vec<TraceSpan>,
    /// Steps that were dropped because there were too many.
    pub lost_steps: u64,
}

/// A node that took part in a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceNode {
    /// Id of the node.
    pub id: NodeId,
    /// Name of the node; absent if it is not known.
    #[serde(default, skip_serializing_if = "NodeName::is_empty")]
    pub name: NodeName,
    /// Whether its steps are part of the timeline.
    pub answer: NodeAnswer,
    /// How the difference between its clock and the first node's was found.
    pub clock: ClockSource,
    /// How far its clock was ahead; times are corrected by this.
    pub ahead_us: i64,
    /// Largest possible error of this difference.
    pub error_us: u64,
}

/// A span of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSpan {
    /// Id of the span.
    pub id: SpanId,
    /// The span that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanId>,
    /// Node at which it began.
    pub node: NodeId,
    /// Start, in microseconds since 1970-01-01 UTC.
    pub start_us: u64,
    /// Duration; absent if it is not known to have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// Task that it is about, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Number of the attempt that it is about, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What happened.
    pub what: SpanKind,
}

impl From<TraceView> for Trace {
    fn from(view: TraceView) -> Self {
        let Timeline { trace, clocks, spans, lost } = Timeline::new(view.trace, &view.nodes);
        let answer = |node: NodeId| {
            let found = view.nodes.iter().find(|known| known.node == node);
            found.map_or(NodeAnswer::Late, |known| known.answer)
        };
        let node = |clock: NodeClock| TraceNode {
            id: clock.node,
            name: NodeName::default(),
            answer: answer(clock.node),
            clock: clock.source,
            ahead_us: clock.ahead_micros,
            error_us: clock.error_micros,
        };
        Self {
            trace_id: trace,
            nodes: clocks.into_iter().map(node).collect(),
            spans: spans.into_iter().map(TraceSpan::from).collect(),
            lost_steps: lost,
        }
    }
}

impl From<Span> for TraceSpan {
    fn from(span: Span) -> Self {
        let Span { id, parent, node, start_micros, end_micros, task, attempt, what } = span;
        let duration_us = end_micros.map(|end| end.saturating_sub(start_micros));
        Self { id, parent, node, start_us: start_micros, duration_us, task, attempt, what }
    }
}
