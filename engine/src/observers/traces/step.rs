//! The steps of a trace, as they are stored.

use crate::event::{AttemptEnding, DropReason, Estimate, PayloadKind, ReassignReason};
use crate::ids::{NodeId, TaskId};
use crate::task::{TaskKind, TaskStatus};
use crate::trace::SpanId;
use serde::{Deserialize, Serialize};

/// A part of a trace: the steps at one node during some seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePart {
    /// The wall-clock time of the first step at its node, in microseconds since 1970-01-01 UTC.
    pub begun_micros: u64,
    /// The steps, in order.
    pub steps: Vec<TimedStep>,
    /// Number of steps that were dropped because there were too many.
    pub lost: u32,
}

impl TracePart {
    /// Returns the steps, each with its wall-clock time in microseconds.
    pub fn timed(&self) -> impl Iterator<Item = (u64, &Step)> {
        let mut at = self.begun_micros;
        self.steps.iter().map(move |step| {
            at = at.saturating_add(step.after_micros);
            (at, &step.step)
        })
    }
}

/// A step, and the time since the previous one of its part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedStep {
    /// The time since the previous step, in microseconds.
    pub after_micros: u64,
    /// The step.
    pub step: Step,
}

/// A step of a trace at one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The node accepted a task.
    Accepted {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// The model's name.
        model: String,
        /// The span of the client.
        parent: Option<SpanId>,
    },
    /// A message of this node was acknowledged.
    Acknowledged {
        /// The message.
        message: SpanId,
        /// The time since its first transmission, in microseconds.
        elapsed_micros: u64,
    },
    /// The node assigned a task of its own.
    Assigned {
        /// The task.
        task: TaskId,
        /// The number of the attempt.
        attempt: u32,
        /// The worker.
        worker: NodeId,
        /// The best candidates with their estimates, best first.
        candidates: Vec<Estimate>,
        /// Number of candidates.
        considered: u32,
    },
    /// A message reached its destination here.
    Delivered {
        /// The message.
        message: SpanId,
        /// The kind of its payload.
        payload: PayloadKind,
        /// The node that sent it.
        origin: NodeId,
        /// Number of links that it crossed.
        hops: u8,
    },
    /// A message was dropped here.
    Dropped {
        /// The message.
        message: SpanId,
        /// Why.
        reason: DropReason,
    },
    /// An attempt ended here.
    Ended {
        /// The task.
        task: TaskId,
        /// The number of the attempt.
        attempt: u32,
        /// The node that accepted the task.
        origin: NodeId,
        /// The model's name.
        model: String,
        /// How the attempt ended.
        ending: AttemptEnding,
        /// How long it waited, in microseconds.
        queued_micros: u64,
        /// How long it ran, in microseconds; `None` if it did not start.
        run_micros: Option<u64>,
        /// Its share of the compute time of its job, in microseconds.
        compute_micros: u64,
        /// Number of attempts in its job.
        batch: u32,
        /// Number of tokens that the model read.
        input_tokens: u64,
        /// Number of tokens that the model generated.
        output_tokens: u64,
        /// The time from its start to the first generated token, in microseconds.
        first_token_micros: Option<u64>,
    },
    /// A task of this node has its outcome, and the outcome is durable.
    Finished {
        /// The task.
        task: TaskId,
        /// Its final status.
        status: TaskStatus,
        /// The node that produced the outcome.
        worker: Option<NodeId>,
        /// The time since its acceptance, in microseconds.
        elapsed_micros: u64,
        /// Number of attempts.
        attempts: u32,
        /// How long it took to store the outcome, in microseconds.
        store_micros: u64,
        /// Number of requests that were answered with it.
        waiters: u32,
    },
    /// A message of other nodes was forwarded.
    Forwarded {
        /// The message.
        message: SpanId,
        /// The peer that got it.
        next: NodeId,
    },
    /// A task was taken from its worker.
    Reassigned {
        /// The task.
        task: TaskId,
        /// The number of the attempt.
        attempt: u32,
        /// The worker.
        worker: NodeId,
        /// Why.
        reason: ReassignReason,
    },
    /// A task was read from storage after a restart.
    Recovered {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
    },
    /// A message of this node was sent.
    Sent {
        /// The message.
        message: SpanId,
        /// The kind of its payload.
        payload: PayloadKind,
        /// The node that it is addressed to.
        destination: NodeId,
        /// The peer that got it; `None` if there was no path.
        next: Option<NodeId>,
        /// The number of the retry; 0 for the first transmission.
        retry: u8,
    },
    /// An attempt started here.
    Started {
        /// The task.
        task: TaskId,
        /// The number of the attempt.
        attempt: u32,
        /// The node that accepted the task.
        origin: NodeId,
        /// How long it waited, in microseconds.
        queued_micros: u64,
        /// How long it waited for the model to be ready, in microseconds; `None` if it was ready before.
        load_micros: Option<u64>,
        /// Number of attempts in its job.
        batch: u32,
    },
    /// No retry of a message was acknowledged.
    Unacknowledged {
        /// The message.
        message: SpanId,
        /// The node that it was addressed to.
        destination: NodeId,
    },
}

impl Step {
    /// Returns the task that the step is about, if it names one.
    pub const fn task(&self) -> Option<TaskId> {
        match self {
            Self::Accepted { task, .. }
            | Self::Assigned { task, .. }
            | Self::Ended { task, .. }
            | Self::Finished { task, .. }
            | Self::Reassigned { task, .. }
            | Self::Recovered { task, .. }
            | Self::Started { task, .. } => Some(*task),
            Self::Acknowledged { .. }
            | Self::Delivered { .. }
            | Self::Dropped { .. }
            | Self::Forwarded { .. }
            | Self::Sent { .. }
            | Self::Unacknowledged { .. } => None,
        }
    }

    /// Returns the other node that the step names, if it is certain to have steps of the trace as well.
    pub const fn other_node(&self) -> Option<NodeId> {
        match self {
            Self::Assigned { worker: node, .. }
            | Self::Delivered { origin: node, .. }
            | Self::Ended { origin: node, .. }
            | Self::Forwarded { next: node, .. }
            | Self::Reassigned { worker: node, .. }
            | Self::Started { origin: node, .. } => Some(*node),
            Self::Sent { destination, next, .. } => match next {
                Some(next) => Some(*next),
                None => Some(*destination),
            },
            Self::Accepted { .. }
            | Self::Acknowledged { .. }
            | Self::Dropped { .. }
            | Self::Finished { .. }
            | Self::Recovered { .. }
            | Self::Unacknowledged { .. } => None,
        }
    }
}
