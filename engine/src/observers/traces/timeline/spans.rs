//! Makes spans of steps.

use super::{NodeClock, NodeTrace, Span, SpanKind};
use crate::event::{PayloadKind, ReassignReason};
use crate::ids::{NodeId, TaskId, TraceId};
use crate::observers::traces::{Step, TracePart};
use crate::trace::SpanId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Returns the spans of a trace, in the order of their starts.
pub(super) fn spans(trace: TraceId, nodes: &[NodeTrace], clocks: &[NodeClock]) -> Vec<Span> {
    let only_task = match super::super::tasks_of(nodes.iter().flat_map(|node| &node.parts)).as_slice() {
        [task] => Some(*task),
        _ => None,
    };
    let mut weaver = Weaver { trace, only_task, ..Weaver::default() };
    for node in nodes {
        let ahead = clocks.iter().find(|clock| clock.node == node.node).map_or(0, |clock| clock.ahead_micros);
        // Parts are in the order in which they were kept, which is the order of their steps.
        for (at, step) in node.parts.iter().flat_map(TracePart::timed) {
            weaver.step(node.node, at.saturating_add_signed(ahead.saturating_neg()), step);
        }
    }
    weaver.finish()
}

#[derive(Default)]
struct Weaver {
    trace: TraceId,
    only_task: Option<TaskId>,
    spans: Vec<Span>,
    tasks: BTreeMap<TaskId, TaskState>,
    /// The attempts that were assigned to a worker by a node, whose assignments have not been seen.
    assigned: BTreeMap<(NodeId, NodeId), VecDeque<(TaskId, u32)>>,
    started: BTreeMap<(NodeId, TaskId, u32), Started>,
    messages: BTreeMap<SpanId, Message>,
}

/// A task at its origin.
struct TaskState {
    span: Span,
    queued_since: Option<u64>,
    attempt: Option<Span>,
}

/// An attempt at its worker that is not known to have ended.
struct Started {
    at: u64,
    batch: u32,
}

#[derive(Default)]
struct Message {
    kind: Option<PayloadKind>,
    origin: Option<NodeId>,
    destination: Option<NodeId>,
    about: Option<(TaskId, Option<u32>)>,
    sent_at: Option<u64>,
    next: Option<NodeId>,
    retries: u8,
    hops: u8,
    forwarded: BTreeMap<NodeId, (u64, NodeId)>,
    delivered: Option<(NodeId, u64)>,
    acknowledged: Option<(u64, u64)>,
    given_up_at: Option<u64>,
    drops: Vec<(NodeId, u64, crate::event::DropReason)>,
}

impl Weaver {
    #[allow(clippy::too_many_lines, reason = "one arm for each kind of step")]
    fn step(&mut self, node: NodeId, at: u64, step: &Step) {
        match step {
            Step::Accepted { task, kind, model, parent } => {
                let what = SpanKind::Task {
                    kind: *kind,
                    model: model.clone(),
                    status: None,
                    attempts: 0,
                    worker: None,
                };
                let id = SpanId::of_task(self.trace, *task);
                let span = Span { parent: *parent, ..self.span(id, node, at, *task, None, what) };
                self.tasks.insert(*task, TaskState { span, queued_since: Some(at), attempt: None });
            }
            Step::Recovered { task, kind } => {
                self.moment(node, at, (*task, 0), "recover", SpanKind::Recover);
                let what = SpanKind::Task {
                    kind: *kind,
                    model: String::new(),
                    status: None,
                    attempts: 0,
                    worker: None,
                };
                let span = self.span(SpanId::of_task(self.trace, *task), node, at, *task, None, what);
                let state =
                    self.tasks.entry(*task).or_insert(TaskState { span, queued_since: None, attempt: None });
                state.queued_since = Some(at);
                // The node stopped while the attempt was under way.
                let attempt = state.attempt.take();
                self.spans.extend(attempt);
            }
            Step::Assigned { task, attempt, worker, candidates, considered } => {
                let (worker, considered, candidates) = (*worker, *considered, candidates.clone());
                let queued_since = self.tasks.get_mut(task).and_then(|state| state.queued_since.take());
                if let Some(since) = queued_since {
                    let id = SpanId::of_step(self.trace, *task, *attempt, "queue");
                    let span = self.span(id, node, since, *task, Some(*attempt), SpanKind::Queue);
                    self.spans.push(Span {
                        parent: Some(self.task_span(*task)),
                        end_micros: Some(at),
                        ..span
                    });
                }
                let what = SpanKind::Schedule { worker, candidates, considered };
                self.moment(node, at, (*task, *attempt), "schedule", what);
                let id = SpanId::of_attempt(self.trace, *task, *attempt);
                let what = SpanKind::Attempt { worker, taken: None };
                let span = self.span(id, node, at, *task, Some(*attempt), what);
                let span = Span { parent: Some(self.task_span(*task)), ..span };
                match self.tasks.get_mut(task) {
                    Some(state) => state.attempt = Some(span),
                    None => self.spans.push(span),
                }
                self.assigned.entry((node, worker)).or_default().push_back((*task, *attempt));
            }
            Step::Reassigned { task, reason, .. } => self.end_attempt(*task, at, Some(*reason)),
            Step::Finished { task, status, worker, attempts: count, store_micros, waiters, .. } => {
                let outcome_at = at.saturating_sub(*store_micros);
                self.end_attempt(*task, outcome_at, None);
                let id = SpanId::of_step(self.trace, *task, 0, "store");
                let store = self.span(id, node, outcome_at, *task, None, SpanKind::Store);
                self.spans.push(Span { parent: Some(self.task_span(*task)), end_micros: Some(at), ..store });
                if *waiters > 0 {
                    self.moment(node, at, (*task, 0), "return", SpanKind::Return { waiters: *waiters });
                }
                if let Some(state) = self.tasks.get_mut(task) {
                    state.queued_since = None;
                    state.span.end_micros = Some(at);
                    if let SpanKind::Task { status: ended, attempts, worker: by, .. } = &mut state.span.what {
                        (*ended, *attempts, *by) = (Some(*status), *count, *worker);
                    }
                }
            }
            Step::Started { task, attempt, queued_micros, load_micros, batch, .. } => {
                let arrived_at = at.saturating_sub(*queued_micros);
                let key = (*task, *attempt);
                self.part(node, (arrived_at, at), key, "wait", SpanKind::Wait { ending: None });
                if let Some(load) = load_micros {
                    let loaded_at = arrived_at.saturating_add(*load);
                    self.part(node, (arrived_at, loaded_at), key, "load", SpanKind::Load);
                }
                self.started.insert((node, *task, *attempt), Started { at, batch: *batch });
            }
            Step::Ended {
                task,
                attempt,
                model,
                ending,
                queued_micros,
                run_micros,
                compute_micros,
                batch,
                input_tokens,
                output_tokens,
                first_token_micros,
                ..
            } => {
                let key = (*task, *attempt);
                self.started.remove(&(node, *task, *attempt));
                let Some(run) = run_micros else {
                    let wait = SpanKind::Wait { ending: Some(*ending) };
                    return self.part(node, (at.saturating_sub(*queued_micros), at), key, "wait", wait);
                };
                let what = SpanKind::Compute {
                    model: model.clone(),
                    ending: Some(*ending),
                    batch: *batch,
                    compute_micros: *compute_micros,
                    input_tokens: *input_tokens,
                    output_tokens: *output_tokens,
                    first_token_micros: *first_token_micros,
                };
                self.part(node, (at.saturating_sub(*run), at), key, "compute", what);
            }
            Step::Sent { message, payload, destination, next, retry } => {
                let about = if *payload == PayloadKind::Assign && *retry == 0 {
                    let assigned = self.assigned.get_mut(&(node, *destination));
                    assigned.and_then(VecDeque::pop_front).map(|(task, attempt)| (task, Some(attempt)))
                } else {
                    None
                };
                let about = about.or_else(|| self.only_task.map(|task| (task, None)));
                let entry = self.messages.entry(*message).or_default();
                (entry.kind, entry.origin) = (Some(*payload), Some(node));
                entry.destination = Some(*destination);
                entry.about = entry.about.or(about);
                entry.retries = entry.retries.max(*retry);
                entry.sent_at.get_or_insert(at);
                if next.is_some() {
                    entry.next = *next;
                }
            }
            Step::Forwarded { message, next } => {
                self.messages.entry(*message).or_default().forwarded.insert(node, (at, *next));
            }
            Step::Delivered { message, payload, origin, hops } => {
                let entry = self.messages.entry(*message).or_default();
                entry.kind.get_or_insert(*payload);
                entry.origin.get_or_insert(*origin);
                entry.destination.get_or_insert(node);
                (entry.delivered, entry.hops) = (Some((node, at)), *hops);
            }
            Step::Acknowledged { message, elapsed_micros } => {
                self.messages.entry(*message).or_default().acknowledged = Some((at, *elapsed_micros));
            }
            Step::Unacknowledged { message, destination } => {
                let entry = self.messages.entry(*message).or_default();
                entry.destination.get_or_insert(*destination);
                entry.given_up_at = Some(at);
            }
            Step::Dropped { message, reason } => {
                self.messages.entry(*message).or_default().drops.push((node, at, *reason));
            }
        }
    }

    fn end_attempt(&mut self, task: TaskId, at: u64, taken: Option<ReassignReason>) {
        let Some(state) = self.tasks.get_mut(&task) else { return };
        if taken.is_some() {
            state.queued_since = Some(at);
        }
        let Some(mut span) = state.attempt.take() else { return };
        span.end_micros = Some(at.max(span.start_micros));
        if let SpanKind::Attempt { taken: why, .. } = &mut span.what {
            *why = taken;
        }
        self.spans.push(span);
    }

    /// Adds a part of an attempt.
    fn part(
        &mut self,
        node: NodeId,
        (start, end): (u64, u64),
        (task, attempt): (TaskId, u32),
        step: &str,
        what: SpanKind,
    ) {
        let id = SpanId::of_step(self.trace, task, attempt, step);
        let span = self.span(id, node, start, task, Some(attempt), what);
        let parent = Some(SpanId::of_attempt(self.trace, task, attempt));
        self.spans.push(Span { parent, end_micros: Some(end), ..span });
    }

    /// Adds a moment in the life of a task. Attempt 0 stands for none.
    fn moment(&mut self, node: NodeId, at: u64, (task, attempt): (TaskId, u32), step: &str, what: SpanKind) {
        let id = SpanId::of_step(self.trace, task, attempt, step);
        let span = self.span(id, node, at, task, (attempt > 0).then_some(attempt), what);
        self.spans.push(Span { parent: Some(self.task_span(task)), end_micros: Some(at), ..span });
    }

    fn task_span(&self, task: TaskId) -> SpanId {
        SpanId::of_task(self.trace, task)
    }

    #[allow(clippy::unused_self, reason = "the other makers of spans need it")]
    fn span(
        &self,
        id: SpanId,
        node: NodeId,
        start_micros: u64,
        task: TaskId,
        attempt: Option<u32>,
        what: SpanKind,
    ) -> Span {
        Span { id, parent: None, node, start_micros, end_micros: None, task: Some(task), attempt, what }
    }

    /// Adds the spans of a message: one for the whole way, and one for each link if there are several.
    fn message(&mut self, id: SpanId, message: &Message) {
        let attempt_span = |(task, attempt): (TaskId, Option<u32>)| match attempt {
            Some(attempt) => SpanId::of_attempt(self.trace, task, attempt),
            None => SpanId::of_task(self.trace, task),
        };
        let parent = message.about.map(attempt_span);
        let (task, attempt) = message.about.map_or((None, None), |(task, attempt)| (Some(task), attempt));
        for (node, at, reason) in &message.drops {
            let what = SpanKind::Drop { reason: *reason };
            let (node, start_micros) = (*node, *at);
            let drop_id = SpanId::of_hop(id, node);
            let end_micros = Some(start_micros);
            let parent = Some(id);
            self.spans.push(Span {
                id: drop_id,
                parent,
                node,
                start_micros,
                end_micros,
                task,
                attempt,
                what,
            });
        }
        let (Some(kind), Some(origin), Some(to)) = (message.kind, message.origin, message.destination) else {
            return;
        };
        let end = message.delivered.map(|(_, at)| at).or_else(|| message.acknowledged.map(|(at, _)| at));
        let end = end.or(message.given_up_at);
        let Some(start_micros) = message.sent_at.or(end) else { return };
        let what = SpanKind::Message {
            kind,
            to,
            hops: message.hops,
            retries: message.retries,
            acknowledged_micros: message.acknowledged.map(|(_, elapsed)| elapsed),
        };
        let end_micros = end.map(|end| end.max(start_micros));
        self.spans.push(Span { id, parent, node: origin, start_micros, end_micros, task, attempt, what });
        if message.forwarded.is_empty() {
            return;
        }
        let (mut from, mut next, mut passed) = ((origin, start_micros), message.next, BTreeSet::new());
        let mut number = 0;
        while let Some(node) = next.filter(|node| passed.insert(*node)) {
            number += 1;
            let arrival = match (message.forwarded.get(&node), message.delivered) {
                (Some(&(at, onward)), _) => Some((at, Some(onward))),
                (None, Some((end, at))) if end == node => Some((at, None)),
                (None, _) => None,
            };
            let what = SpanKind::Hop { number, to: node, message: kind };
            let hop = SpanId::of_hop(id, node);
            let end_micros = arrival.map(|(at, _)| at.max(from.1));
            let (node_from, start_micros) = from;
            self.spans.push(Span {
                id: hop,
                parent: Some(id),
                node: node_from,
                start_micros,
                end_micros,
                task,
                attempt,
                what,
            });
            let Some((at, onward)) = arrival else { break };
            (from, next) = ((node, at), onward);
        }
    }

    fn finish(mut self) -> Vec<Span> {
        for (id, message) in core::mem::take(&mut self.messages) {
            self.message(id, &message);
        }
        for ((node, task, attempt), started) in core::mem::take(&mut self.started) {
            let what = SpanKind::Compute {
                model: String::new(),
                ending: None,
                batch: started.batch,
                compute_micros: 0,
                input_tokens: 0,
                output_tokens: 0,
                first_token_micros: None,
            };
            self.part(node, (started.at, started.at), (task, attempt), "compute", what);
            if let Some(span) = self.spans.last_mut() {
                span.end_micros = None;
            }
        }
        for (task, state) in core::mem::take(&mut self.tasks) {
            if let Some(since) = state.queued_since {
                let id = SpanId::of_step(self.trace, task, 0, "queue");
                let span = self.span(id, state.span.node, since, task, None, SpanKind::Queue);
                self.spans.push(Span { parent: Some(state.span.id), ..span });
            }
            self.spans.extend(state.attempt);
            self.spans.push(state.span);
        }
        // A part begins after the whole, also if they begin at the same time.
        self.spans.sort_by_key(|span| (span.start_micros, depth(&span.what), span.id));
        self.spans
    }
}

/// Orders spans that begin at the same time.
const fn depth(what: &SpanKind) -> u8 {
    match what {
        SpanKind::Task { .. } => 0,
        SpanKind::Recover => 1,
        SpanKind::Queue => 2,
        SpanKind::Schedule { .. } => 3,
        SpanKind::Attempt { .. } => 4,
        SpanKind::Message { .. } => 5,
        SpanKind::Hop { .. } => 6,
        SpanKind::Drop { .. } => 7,
        SpanKind::Wait { .. } => 8,
        SpanKind::Load => 9,
        SpanKind::Compute { .. } => 10,
        SpanKind::Store => 11,
        SpanKind::Return { .. } => 12,
    }
}
