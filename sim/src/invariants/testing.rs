//! Helpers for the tests of several invariants.

use crate::cluster::Cluster;
use crate::node_set::NodeIndex;
use crate::scenario::Scenario;
use core::time::Duration;
use engine::event::{LinkDownReason, PayloadKind, ReassignReason};
use engine::record::Record;
use engine::task::{
    Outcome, ResultSummary, StoredTask, TaskInput, TaskKind, TaskOutput, TaskResult, TaskSpec, TaskStatus,
};
use engine::wire::{Assignment, Attempt};
use engine::{Event, Instant, LinkId, MessageId, NodeId, Output, TaskId, TraceContext, TraceId};
use std::sync::Arc;

pub(crate) fn cluster(nodes: u32) -> Arc<Cluster> {
    let text = format!("nodes = {nodes}\nduration = \"60s\"\n");
    Arc::new(Cluster::new(&Scenario::parse("cluster", &text).unwrap(), 1, None))
}

pub(crate) const fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

pub(crate) fn up(cluster: &Cluster, link: u64, peer: NodeIndex) -> Output {
    let (peer, address) = (cluster.id(peer), crate::cluster::address(peer));
    Output::Event(Event::LinkUp { link: LinkId(link), peer, address, dialled: true })
}

pub(crate) fn down(cluster: &Cluster, link: u64, peer: NodeIndex) -> Output {
    let peer = cluster.id(peer);
    Output::Event(Event::LinkDown { link: LinkId(link), peer, reason: LinkDownReason::Closed })
}

/// A task with a timeout of 10 s.
pub(crate) fn task_record(id: TaskId) -> Record {
    let spec = TaskSpec {
        input: TaskInput::from_text(TaskKind::Embedding, String::new()),
        model: None,
        timeout: Duration::from_secs(10),
    };
    let submitted_at = crate::cluster::wall(0);
    Record::Task(Box::new(StoredTask {
        id,
        spec,
        submitted_at,
        trace: TraceId([0; 16]),
        attempts: 0,
        choice: None,
        caller: None,
    }))
}

/// The result of a completed task without a worker, kept for some seconds from the start of the simulation.
pub(crate) fn result_record(id: TaskId, kept_seconds: u64) -> Record {
    let expires_at = crate::cluster::wall(kept_seconds * 1_000_000);
    let summary = ResultSummary { id, expires_at, ..summary() };
    let output = TaskOutput::Embedding { vectors: vec![vec![1.0]], tokens: 1, truncated: Vec::new() };
    Record::Result(Box::new(TaskResult { summary, outcome: Outcome::Completed(output), fingerprint: None }))
}

pub(crate) fn summary() -> ResultSummary {
    let wall = crate::cluster::wall(0);
    ResultSummary {
        id: TaskId([0; 16]),
        kind: TaskKind::Embedding,
        model: String::new(),
        status: TaskStatus::Completed,
        failure: None,
        worker: None,
        execution_micros: 0,
        attempts: 1,
        submitted_at: wall,
        completed_at: wall,
        expires_at: wall,
        output_bytes: 0,
        preview: String::new(),
        output_preview: String::new(),
        trace: TraceId([0; 16]),
    }
}

pub(crate) fn finished(task: TaskId, status: TaskStatus, worker: Option<NodeId>) -> Output {
    Output::Event(Event::TaskFinished {
        task,
        status,
        worker,
        elapsed_micros: 0,
        kind: TaskKind::Embedding,
        attempts: 1,
        store_micros: 0,
        waiters: 0,
        parent: None,
        trace: TraceContext::NONE,
    })
}

pub(crate) fn accepted(task: TaskId) -> Event {
    accepted_in(task, TraceContext::NONE)
}

pub(crate) fn accepted_in(task: TaskId, trace: TraceContext) -> Event {
    Event::TaskAccepted { task, kind: TaskKind::Embedding, model: String::new(), parent: None, trace }
}

pub(crate) fn recovered(task: TaskId) -> Event {
    Event::TaskRecovered { task, kind: TaskKind::Embedding, trace: TraceContext::NONE }
}

pub(crate) fn assigned(task: TaskId, worker: NodeId, attempt: u32) -> Event {
    let (kind, candidates, trace) = (TaskKind::Embedding, Vec::new(), TraceContext::NONE);
    Event::TaskAssigned { task, worker, attempt, kind, candidates, considered: 0, trace }
}

pub(crate) fn reassigned(task: TaskId, worker: NodeId, reason: ReassignReason) -> Event {
    let (kind, trace) = (TaskKind::Embedding, TraceContext::NONE);
    Event::TaskReassigned { task, worker, reason, attempt: 1, kind, trace }
}

pub(crate) fn started(task: TaskId, origin: NodeId, attempt: u32) -> Event {
    Event::TaskStarted {
        task,
        origin,
        attempt,
        kind: TaskKind::Embedding,
        model: String::new(),
        queued_micros: 0,
        batch: 1,
        trace: TraceContext::NONE,
    }
}

pub(crate) fn sent(message: MessageId, destination: NodeId, ttl: u8, retry: u8) -> Event {
    let (next, payload, trace) = (None, PayloadKind::Probe, TraceContext::NONE);
    Event::MessageSent { message, destination, ttl, retry, next, payload, trace }
}

pub(crate) fn forwarded(message: MessageId, next: NodeId, ttl: u8) -> Event {
    Event::MessageForwarded { message, next, ttl, payload: PayloadKind::Sealed, trace: TraceContext::NONE }
}

pub(crate) fn delivered(message: MessageId, origin: NodeId, hops: u8) -> Event {
    Event::MessageDelivered { message, origin, hops, payload: PayloadKind::Probe, trace: TraceContext::NONE }
}

/// An assignment of a task with a timeout of 10 s.
pub(crate) fn assignment(task: TaskId) -> Assignment {
    Assignment {
        attempt: Attempt { task, number: 1 },
        model: String::new(),
        fingerprint: crate::inference::fingerprint(crate::inference::DEFAULT_MODEL, false),
        input: TaskInput::from_text(TaskKind::Embedding, String::new()),
        remaining_millis: 10_000,
        trace: TraceContext::NONE,
        alone: false,
    }
}
