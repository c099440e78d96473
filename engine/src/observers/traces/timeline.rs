//! One story of the steps at all nodes: spans on one clock.
//!
//! Clocks of nodes differ. A message that was sent by one node and received by another bounds the difference from one
//! side, and a message or an acknowledgement in the other direction bounds it from the other. The middle is the
//! estimate, as in NTP (RFC 5905, section 8). Only steps of the trace itself are used where there are enough, so a clock
//! that was set later changes nothing. For the other nodes, the query that gathered their steps is used.

mod clocks;
mod spans;

pub use clocks::{ClockSource, NodeClock};

use super::TracePart;
use crate::event::{AttemptEnding, DropReason, Estimate, PayloadKind, ReassignReason};
use crate::ids::{NodeId, TaskId, TraceId};
use crate::task::{TaskKind, TaskStatus};
use crate::trace::SpanId;
use serde::{Deserialize, Serialize};

/// The steps of a trace at one node, as another node gathered them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTrace {
    /// The node.
    pub node: NodeId,
    /// How the node answered.
    pub answer: NodeAnswer,
    /// Its steps.
    pub parts: Vec<TracePart>,
    /// How far its clock was ahead when it was asked; `None` if it did not answer. The node that asks has 0.
    pub clock: Option<ClockReading>,
}

/// How a node answered the question for its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeAnswer {
    /// It sent its steps, or has none.
    Answered,
    /// It is not reachable.
    Away,
    /// It did not answer in time.
    Late,
    /// It was not asked, because too many nodes took part.
    Skipped,
}

/// A measurement of another node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// How far the clock is ahead, in microseconds.
    pub ahead_micros: i64,
    /// The largest possible error, in microseconds.
    pub error_micros: u64,
}

impl ClockReading {
    /// Returns the reading of two messages: how much later each was received than sent, by the clocks of its two ends.
    /// `there` was received by the clock in question.
    pub(crate) fn between(there: i64, back: i64) -> Self {
        let ahead_micros = there.saturating_sub(back) / 2;
        // The way there and back; it is negative only if a clock was set meanwhile.
        let error_micros = u64::try_from(there.saturating_add(back) / 2).unwrap_or_default();
        Self { ahead_micros, error_micros }
    }
}

/// Returns how much later one time is than another, in microseconds.
pub(crate) fn difference(later: u64, earlier: u64) -> i64 {
    let signed = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
    signed(later).saturating_sub(signed(earlier))
}

/// A trace as spans, in the order of their starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The trace.
    pub trace: TraceId,
    /// The clocks of the nodes. All times are on the first one.
    pub clocks: Vec<NodeClock>,
    /// The spans.
    pub spans: Vec<Span>,
    /// Number of steps that were dropped because there were too many.
    pub lost: u64,
}

/// A span: something that took time at a node, or a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// The node at which it began.
    pub node: NodeId,
    /// Its start, in microseconds since 1970-01-01 UTC.
    pub start_micros: u64,
    /// Its end; `None` if it is not known to have ended.
    pub end_micros: Option<u64>,
    /// The task, if it is about one.
    pub task: Option<TaskId>,
    /// The number of the attempt, if it is about one.
    pub attempt: Option<u32>,
    /// What happened.
    pub what: SpanKind,
}

/// What a span is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// An attempt, from its assignment until it is over.
    Attempt {
        /// The worker.
        worker: NodeId,
        /// Why it was taken from its worker, if it was.
        taken: Option<ReassignReason>,
    },
    /// A worker computed an attempt.
    Compute {
        /// The model's name.
        model: String,
        /// How it ended; `None` if that is not known.
        ending: Option<AttemptEnding>,
        /// Number of attempts in the job.
        batch: u32,
        /// Its share of the compute time of the job, in microseconds.
        #[serde(rename = "compute_us")]
        compute_micros: u64,
        /// Number of tokens that the model read.
        input_tokens: u64,
        /// Number of tokens that the model generated.
        output_tokens: u64,
        /// The time from the start to the first generated token, in microseconds.
        #[serde(rename = "first_token_us")]
        first_token_micros: Option<u64>,
    },
    /// A message was dropped.
    Drop {
        /// Why.
        reason: DropReason,
    },
    /// A message crossed one link.
    Hop {
        /// The number of the link on the path, from 1.
        number: u32,
        /// The node at the other end.
        to: NodeId,
        /// The kind of the message.
        message: PayloadKind,
    },
    /// A worker loaded the model, while the attempt waited.
    Load,
    /// A message went from one node to another.
    Message {
        /// Its kind.
        kind: PayloadKind,
        /// The node that it is addressed to.
        to: NodeId,
        /// Number of links that it crossed; 0 if it is not known to have arrived.
        hops: u8,
        /// Number of retries.
        retries: u8,
        /// The time until its acknowledgement, in microseconds; `None` if it is not known to be acknowledged.
        #[serde(rename = "acknowledged_us")]
        acknowledged_micros: Option<u64>,
    },
    /// A task waited for a worker.
    Queue,
    /// A task was read from storage after a restart.
    Recover,
    /// The answer was returned to the requests that waited for it.
    Return {
        /// Number of requests.
        waiters: u32,
    },
    /// The node chose a worker.
    Schedule {
        /// The worker.
        worker: NodeId,
        /// The best candidates, best first.
        candidates: Vec<Estimate>,
        /// Number of candidates.
        considered: u32,
    },
    /// The outcome was stored.
    Store,
    /// A task, from its acceptance to its durable outcome.
    Task {
        /// Its kind.
        kind: TaskKind,
        /// The model's name; empty if not known.
        model: String,
        /// The status with which it ended; `None` if it is not known to have ended.
        status: Option<TaskStatus>,
        /// Number of attempts.
        attempts: u32,
        /// The node that produced the outcome.
        worker: Option<NodeId>,
    },
    /// An attempt waited at its worker.
    Wait {
        /// How it ended, if it never started.
        ending: Option<AttemptEnding>,
    },
}

impl Timeline {
    /// Makes a timeline of the steps at the given nodes. The clock of the node that accepted the task is used, or of the
    /// first node.
    pub fn new(trace: TraceId, nodes: &[NodeTrace]) -> Self {
        let clocks = clocks::estimate(nodes);
        let spans = spans::spans(trace, nodes, &clocks);
        let lost = nodes.iter().flat_map(|node| &node.parts).map(|part| u64::from(part.lost)).sum();
        Self { trace, clocks, spans, lost }
    }
}

#[cfg(test)]
mod tests;
