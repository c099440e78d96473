//! Spans as a fold over the events of one node. A span is made when it has ended.

use super::proto::{AnyValue, KeyValue, Span, SpanEvent, SpanKind, Status, StatusCode, Value};
use engine::event::{AttemptEnd, AttemptEnding};
use engine::task::TaskStatus;
use engine::trace::{SpanId, TraceContext};
use engine::{Event, NodeId, TaskId, TraceId};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// What must be remembered between events.
#[derive(Debug)]
pub(super) struct Spans {
    me: NodeId,
    /// The parent of the messages of each trace.
    parents: BTreeMap<TraceId, Parent>,
    /// The traces of `parents`, oldest first.
    order: VecDeque<TraceId>,
}

/// The span that the messages of a trace belong to.
#[derive(Debug)]
enum Parent {
    /// The trace has one task.
    Task(TaskId),
    /// The trace has several tasks, and a message does not tell its own. The span is that of the client, if it gave one.
    Client(Option<SpanId>),
}

impl Spans {
    pub(super) const fn new(me: NodeId) -> Self {
        Self { me, parents: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Handles an event, at this time in nanoseconds since 1970. Returns the span that it ends.
    pub(super) fn handle_event(&mut self, now: u64, event: &Event) -> Option<Span> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other events end no span")]
        match event {
            Event::TaskAccepted { task, parent, trace, .. } => {
                self.remember(*trace, *task, *parent);
                None
            }
            Event::TaskStarted { task, trace, .. } => {
                self.remember(*trace, *task, None);
                None
            }
            Event::TaskFinished {
                task,
                kind,
                status,
                worker,
                elapsed_micros,
                attempts,
                parent,
                trace,
                ..
            } => {
                let mut attributes = vec![
                    text("p2p_ai.task.id", task.to_string()),
                    text("p2p_ai.task.type", kind.to_string()),
                    text("p2p_ai.task.outcome", status.to_string()),
                    number("p2p_ai.task.attempts", u64::from(*attempts)),
                ];
                attributes.extend(worker.map(|worker| text("p2p_ai.worker", worker.to_string())));
                let span = self.span(now, *elapsed_micros, *trace, SpanId::of_task(trace.id, *task))?;
                let failed = *status != TaskStatus::Completed;
                Some(Span {
                    parent_span_id: parent.map(|client| client.0.to_vec()).unwrap_or_default(),
                    name: format!("task {kind}"),
                    kind: SpanKind::Server.into(),
                    attributes,
                    status: failed.then(|| error(status.to_string())),
                    ..span
                })
            }
            Event::AttemptEnded(end) => self.attempt(now, end),
            Event::MessageAcknowledged { message, destination, elapsed_micros, payload, trace } => {
                let span = self.span(now, *elapsed_micros, *trace, SpanId::of_message(*message))?;
                let payload = word(payload);
                Some(Span {
                    name: format!("message {payload}"),
                    kind: SpanKind::Producer.into(),
                    parent_span_id: self.parent(trace.id),
                    attributes: vec![
                        text("p2p_ai.message.type", payload),
                        text("p2p_ai.message.destination", destination.to_string()),
                    ],
                    ..span
                })
            }
            Event::MessageForwarded { message, next, payload, trace, .. } => {
                let message = SpanId::of_message(*message);
                let span = self.span(now, 0, *trace, SpanId::of_hop(message, self.me))?;
                let payload = word(payload);
                Some(Span {
                    name: format!("forward {payload}"),
                    kind: SpanKind::Internal.into(),
                    parent_span_id: message.0.to_vec(),
                    attributes: vec![
                        text("p2p_ai.message.type", payload),
                        text("p2p_ai.message.next", next.to_string()),
                    ],
                    ..span
                })
            }
            _ => None,
        }
    }

    fn attempt(&self, now: u64, end: &AttemptEnd) -> Option<Span> {
        let run = end.run_micros.unwrap_or_default();
        let whole = run.saturating_add(end.queued_micros);
        let id = SpanId::of_attempt(end.trace.id, end.task, end.attempt);
        let span = self.span(now, whole, end.trace, id)?;
        let ending = word(end.ending);
        let mut attributes = vec![
            text("p2p_ai.task.id", end.task.to_string()),
            text("p2p_ai.task.type", end.kind.to_string()),
            text("p2p_ai.attempt.outcome", ending.clone()),
            number("p2p_ai.attempt.number", u64::from(end.attempt)),
            text("p2p_ai.origin", end.origin.to_string()),
            text("gen_ai.request.model", end.model.clone()),
        ];
        if end.run_micros.is_some() {
            attributes.extend([
                number("p2p_ai.batch_size", u64::from(end.batch)),
                number("p2p_ai.compute_us", end.compute_micros),
                number("gen_ai.usage.input_tokens", end.input_tokens),
                number("gen_ai.usage.output_tokens", end.output_tokens),
            ]);
        }
        let started = end.run_micros.map(|_| at(&span, end.queued_micros, "started"));
        let first = end
            .first_token_micros
            .map(|first| at(&span, end.queued_micros.saturating_add(first), "first token"));
        let failed = !matches!(end.ending, AttemptEnding::Completed | AttemptEnding::Cancelled);
        Some(Span {
            name: format!("attempt {}", end.kind),
            kind: SpanKind::Consumer.into(),
            parent_span_id: SpanId::of_task(end.trace.id, end.task).0.to_vec(),
            attributes,
            events: started.into_iter().chain(first).collect(),
            status: failed.then(|| error(ending)),
            ..span
        })
    }

    /// Returns a span that ends now, if its trace is kept.
    fn span(&self, now: u64, micros: u64, trace: TraceContext, id: SpanId) -> Option<Span> {
        (trace.sampled && !trace.is_none()).then(|| Span {
            trace_id: trace.id.0.to_vec(),
            span_id: id.0.to_vec(),
            start_time_unix_nano: now.saturating_sub(micros.saturating_mul(1_000)),
            end_time_unix_nano: now,
            flags: SAMPLED,
            ..Span::default()
        })
    }

    fn remember(&mut self, trace: TraceContext, task: TaskId, client: Option<SpanId>) {
        if !trace.sampled {
            return;
        }
        if let Some(parent) = self.parents.get_mut(&trace.id) {
            if !matches!(parent, Parent::Task(only) if *only == task) {
                *parent = Parent::Client(client);
            }
            return;
        }
        if self.order.len() >= TRACES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.parents.remove(&oldest);
        }
        self.parents.insert(trace.id, Parent::Task(task));
        self.order.push_back(trace.id);
    }

    /// Returns the span that a message of this trace belongs to; empty if it is unknown.
    fn parent(&self, trace: TraceId) -> Vec<u8> {
        let parent = match self.parents.get(&trace) {
            Some(Parent::Task(task)) => Some(SpanId::of_task(trace, *task)),
            Some(Parent::Client(client)) => *client,
            None => None,
        };
        parent.map(|parent| parent.0.to_vec()).unwrap_or_default()
    }
}

fn at(span: &Span, micros: u64, name: &str) -> SpanEvent {
    let time = span.start_time_unix_nano.saturating_add(micros.saturating_mul(1_000));
    SpanEvent { time_unix_nano: time.min(span.end_time_unix_nano), name: name.to_owned() }
}

fn error(message: String) -> Status {
    Status { message, code: StatusCode::Error.into() }
}

pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::Text(value.into()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(_) | Err(_) => String::new(),
    }
}

/// The flag of W3C Trace Context that the trace is kept.
const SAMPLED: u32 = 1;
/// Maximum number of traces whose task is remembered. Beyond it, the oldest is forgotten, and its messages have no
/// parent.
const TRACES_MAX: usize = 4_096;
