//! Counters and histograms of a node since it started.
//!
//! A fold over events, and over a few facts that are too frequent for an event each: frames, jobs, writes, and rejected
//! submissions. Labels are enums, so memory is bounded by their variants, and no id of another node is kept. Values that
//! go up and down are no part of the fold: a [`MetricsView`] reads them from the node. Faults of other nodes are in
//! [`FaultCounters`](super::fault_counters::FaultCounters).

mod closed_set;
mod histogram;

pub use closed_set::ClosedSet;
pub use histogram::{Exemplar, Histogram, Scale};

use crate::error::{DialError, Rejection};
use crate::event::{AttemptEnd, AttemptEnding, Event, LinkDownReason, PayloadKind, ReassignReason};
use crate::ids::NodeId;
use crate::mutants::{Mutant, shows};
use crate::output::InferenceJob;
use crate::request::{OccupancyView, StatusView};
use crate::task::{TaskKind, TaskStatus};
use crate::time::{Instant, micros};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happened in one node since it started, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    me: NodeId,
    /// Attempts that ended on this node, for itself and for others.
    pub attempts: BTreeMap<(TaskKind, AttemptEnding, Origin), u64>,
    /// How long attempts waited on this node before they started.
    pub attempts_queued: BTreeMap<TaskKind, Histogram>,
    /// How long attempts ran on this node.
    pub attempts_run: BTreeMap<TaskKind, Histogram>,
    /// Attempts in each job of this node.
    pub batches: BTreeMap<TaskKind, Histogram>,
    /// Bytes of the files that were fetched from other nodes.
    pub bytes_fetched: u64,
    /// Dials that led to no link.
    pub dials_failed: BTreeMap<DialError, u64>,
    /// Files that were fetched from other nodes.
    pub files_fetched: u64,
    /// Files that could not be fetched.
    pub fetches_failed: u64,
    /// From the start of a generation to its first token.
    pub first_token: Histogram,
    /// Inputs that the model read only in part.
    pub inputs_truncated: u64,
    /// Frames sent to and received from peers, and their bytes.
    pub link: BTreeMap<Direction, Traffic>,
    /// Links that went down.
    pub links_down: BTreeMap<LinkDownReason, u64>,
    /// Links that came up.
    pub links_up: u64,
    /// Routed messages. A retry counts as no message of its own.
    pub messages: BTreeMap<(PayloadKind, Direction), u64>,
    /// Routed messages that arrived again.
    pub messages_duplicate: u64,
    /// Retries of routed messages.
    pub messages_retried: u64,
    /// Routed messages that were never acknowledged.
    pub messages_unacknowledged: u64,
    /// Peers that the failure detector declared DEAD.
    pub peers_dead: u64,
    /// Peers that the failure detector declared SLOW.
    pub peers_slow: u64,
    /// Time for each token of a generation after the first.
    pub per_token: Histogram,
    /// Outcomes that arrived again.
    pub results_duplicate: u64,
    /// From the first transmission of a routed message to its acknowledgement.
    pub round_trips: Histogram,
    /// Tasks that ended here, their origin.
    pub tasks: BTreeMap<(TaskKind, TaskStatus), u64>,
    /// Tasks that were accepted here.
    pub tasks_accepted: BTreeMap<TaskKind, u64>,
    /// From acceptance to outcome, of the tasks that ended here.
    pub tasks_duration: BTreeMap<TaskKind, Histogram>,
    /// Tasks that were taken from a worker.
    pub tasks_reassigned: BTreeMap<ReassignReason, u64>,
    /// Tasks that were submitted and not accepted.
    pub tasks_rejected: BTreeMap<RejectReason, u64>,
    /// Tokens that models on this node read and generated.
    pub tokens: BTreeMap<TokenDirection, u64>,
    /// Input tokens that models did not read.
    pub tokens_dropped: u64,
    /// How long writes took until they were durable.
    pub writes: Histogram,
    /// Writes that failed.
    pub writes_failed: u64,
}

/// Frames in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Their number.
    pub frames: u64,
    /// Their bytes, without encryption and transport.
    pub bytes: u64,
}

/// The direction of a message or frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Passed on to another node.
    Forwarded,
    /// From another node to this one.
    Received,
    /// From this node to another.
    Sent,
}

/// The node that accepted the task of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Another node.
    Peer,
    /// This node.
    #[serde(rename = "self")]
    Own,
}

/// Whether a model reads a token or generates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenDirection {
    /// Reads it.
    Input,
    /// Generates it.
    Output,
}

/// Why a submitted task was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The input or the timeout is invalid.
    InvalidInput,
    /// No model of this network can run it.
    ModelUnknown,
    /// The node starts or stops.
    NodeNotReady,
    /// The queue is full.
    QueueFull,
    /// The disk did not store it.
    StorageFailed,
}

impl From<&Rejection> for RejectReason {
    fn from(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::KindUnsupported(_) | Rejection::ModelUnknown(_) => Self::ModelUnknown,
            Rejection::NodeNotReady | Rejection::NodeShuttingDown => Self::NodeNotReady,
            Rejection::QueueFull { .. } | Rejection::TooManyWaiting => Self::QueueFull,
            Rejection::StorageFailed => Self::StorageFailed,
            Rejection::Fetch(_)
            | Rejection::Input(_)
            | Rejection::InputTooLong { .. }
            | Rejection::NodeUnknown(_)
            | Rejection::TaskFinished(_)
            | Rejection::TaskNotFound(_)
            | Rejection::ThresholdOutOfRange(_)
            | Rejection::TimeoutOutOfRange(_)
            | Rejection::TraceAmbiguous(_)
            | Rejection::TraceNotFound => Self::InvalidInput,
        }
    }
}

/// The metrics of a node at one moment: the fold, and what goes up and down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsView {
    /// The fold.
    pub counted: Metrics,
    /// The status.
    pub status: StatusView,
    /// When the view was taken.
    pub now: Instant,
    /// Attempts on this node that wait or run.
    pub attempts: BTreeMap<(Origin, AttemptState), u64>,
    /// Peers that the failure detector judges SLOW.
    pub peers_slow: u32,
    /// How full each collection of the node is.
    pub collections: Vec<OccupancyView>,
}

/// Whether an attempt that has not ended runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// It waits.
    Queued,
    /// It runs.
    Running,
}

impl Metrics {
    /// Creates the metrics of a node that has not done anything.
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            attempts: BTreeMap::new(),
            attempts_queued: BTreeMap::new(),
            attempts_run: BTreeMap::new(),
            batches: BTreeMap::new(),
            bytes_fetched: 0,
            dials_failed: BTreeMap::new(),
            files_fetched: 0,
            fetches_failed: 0,
            first_token: Histogram::new(Scale::Long),
            inputs_truncated: 0,
            link: BTreeMap::new(),
            links_down: BTreeMap::new(),
            links_up: 0,
            messages: BTreeMap::new(),
            messages_duplicate: 0,
            messages_retried: 0,
            messages_unacknowledged: 0,
            peers_dead: 0,
            peers_slow: 0,
            per_token: Histogram::new(Scale::Short),
            results_duplicate: 0,
            round_trips: Histogram::new(Scale::Short),
            tasks: BTreeMap::new(),
            tasks_accepted: BTreeMap::new(),
            tasks_duration: BTreeMap::new(),
            tasks_reassigned: BTreeMap::new(),
            tasks_rejected: BTreeMap::new(),
            tokens: BTreeMap::new(),
            tokens_dropped: 0,
            writes: Histogram::new(Scale::Short),
            writes_failed: 0,
        }
    }

    /// Counts an event.
    pub(crate) fn handle_event(&mut self, now: Instant, event: &Event) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other events change what a view reads")]
        match event {
            Event::AttemptEnded(end) => self.handle_attempt(end),
            Event::BlobFetched { bytes, .. } => {
                add(&mut self.files_fetched, 1);
                add(&mut self.bytes_fetched, *bytes);
            }
            Event::DialFailed { error, .. } => count(&mut self.dials_failed, *error),
            Event::FetchFailed { .. } => add(&mut self.fetches_failed, 1),
            Event::InputTruncated { inputs, dropped, .. } => {
                add(&mut self.inputs_truncated, u64::from(*inputs));
                add(&mut self.tokens_dropped, *dropped);
            }
            Event::LinkDown { reason, .. } => count(&mut self.links_down, *reason),
            Event::LinkUp { .. } => add(&mut self.links_up, 1),
            Event::MessageAcknowledged { elapsed_micros, trace, .. } => {
                self.round_trips.observe_traced(*elapsed_micros, *trace, now);
            }
            Event::MessageDelivered { payload, .. } => {
                count(&mut self.messages, (*payload, Direction::Received));
            }
            Event::MessageDuplicate { .. } => add(&mut self.messages_duplicate, 1),
            Event::MessageForwarded { payload, .. } => {
                count(&mut self.messages, (*payload, Direction::Forwarded));
            }
            Event::MessageSent { payload, retry: 0, .. } => {
                count(&mut self.messages, (*payload, Direction::Sent));
            }
            Event::MessageSent { .. } => add(&mut self.messages_retried, 1),
            Event::MessageUnacknowledged { .. } => add(&mut self.messages_unacknowledged, 1),
            Event::PeerDead { .. } => add(&mut self.peers_dead, 1),
            Event::PeerSlow { .. } => add(&mut self.peers_slow, 1),
            Event::ResultDuplicate { .. } => add(&mut self.results_duplicate, 1),
            Event::TaskAccepted { kind, .. } => count(&mut self.tasks_accepted, *kind),
            Event::TaskFinished { attempts, .. }
                if *attempts > 1 && shows(Mutant::RetriedOutcomesUncounted) => {}
            Event::TaskFinished { kind, status, elapsed_micros, trace, .. } => {
                count(&mut self.tasks, (*kind, *status));
                let durations =
                    self.tasks_duration.entry(*kind).or_insert_with(|| Histogram::new(Scale::Long));
                durations.observe_traced(*elapsed_micros, *trace, now);
            }
            Event::TaskReassigned { reason, .. } => count(&mut self.tasks_reassigned, *reason),
            Event::WriteFailed { .. } => add(&mut self.writes_failed, 1),
            _ => {}
        }
    }

    /// Counts a frame to or from a peer.
    pub(crate) fn handle_frame(&mut self, direction: Direction, bytes: usize) {
        let traffic = self.link.entry(direction).or_default();
        add(&mut traffic.frames, 1);
        add(&mut traffic.bytes, u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Counts a job that starts.
    pub(crate) fn handle_job(&mut self, job: &InferenceJob) {
        let (kind, attempts) = match job {
            InferenceJob::Classify { inputs } => (TaskKind::Classification, inputs.len()),
            InferenceJob::Embed { inputs } => (TaskKind::Embedding, inputs.len()),
            InferenceJob::Generate(_) => (TaskKind::Generation, 1),
            InferenceJob::Rerank { inputs } => (TaskKind::Reranking, inputs.len()),
        };
        let batches = self.batches.entry(kind).or_insert_with(|| Histogram::new(Scale::Count));
        batches.observe(u64::try_from(attempts).unwrap_or(u64::MAX));
    }

    /// Counts a submission that was rejected.
    pub(crate) fn handle_rejected(&mut self, rejection: &Rejection) {
        count(&mut self.tasks_rejected, RejectReason::from(rejection));
    }

    /// Counts a write that is durable.
    pub(crate) fn handle_written(&mut self, took: Duration) {
        self.writes.observe(micros(took));
    }

    /// Returns the node that accepted the task of an attempt.
    pub(crate) fn origin(&self, origin: NodeId) -> Origin {
        if origin == self.me { Origin::Own } else { Origin::Peer }
    }

    fn handle_attempt(&mut self, end: &AttemptEnd) {
        let origin = self.origin(end.origin);
        count(&mut self.attempts, (end.kind, end.ending, origin));
        let queued = self.attempts_queued.entry(end.kind).or_insert_with(|| Histogram::new(Scale::Long));
        queued.observe(end.queued_micros);
        let Some(run) = end.run_micros else { return };
        self.attempts_run.entry(end.kind).or_insert_with(|| Histogram::new(Scale::Long)).observe(run);
        add(self.tokens.entry(TokenDirection::Input).or_default(), end.input_tokens);
        add(self.tokens.entry(TokenDirection::Output).or_default(), end.output_tokens);
        let Some(first) = end.first_token_micros else { return };
        self.first_token.observe(first);
        if let Some(later) = end.output_tokens.checked_sub(1).filter(|later| *later > 0) {
            self.per_token.observe(run.saturating_sub(first) / later);
        }
    }
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    add(counts.entry(key).or_default(), 1);
}

const fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MessageId, TaskId, TraceId};
    use crate::trace::TraceContext;

    const ME: NodeId = NodeId([1; 16]);
    const PEER: NodeId = NodeId([2; 16]);
    const TRACE: TraceContext = TraceContext { id: TraceId([3; 16]), sampled: true };

    fn end(origin: NodeId, ending: AttemptEnding, run_micros: Option<u64>) -> Event {
        Event::AttemptEnded(Box::new(AttemptEnd {
            task: TaskId([4; 16]),
            attempt: 1,
            origin,
            kind: TaskKind::Generation,
            model: String::new(),
            ending,
            queued_micros: 10,
            run_micros,
            compute_micros: 900,
            batch: 1,
            input_tokens: 7,
            output_tokens: 11,
            first_token_micros: run_micros.map(|_| 100),
            trace: TRACE,
        }))
    }

    #[test]
    fn work_for_others_and_for_oneself_is_counted() {
        let mut metrics = Metrics::new(ME);
        for event in [
            end(PEER, AttemptEnding::Completed, Some(1_100)),
            end(ME, AttemptEnding::Completed, Some(1_100)),
            end(PEER, AttemptEnding::Expired, None),
        ] {
            metrics.handle_event(Instant::ZERO, &event);
        }
        let expected = BTreeMap::from([
            ((TaskKind::Generation, AttemptEnding::Completed, Origin::Own), 1),
            ((TaskKind::Generation, AttemptEnding::Completed, Origin::Peer), 1),
            ((TaskKind::Generation, AttemptEnding::Expired, Origin::Peer), 1),
        ]);
        assert_eq!(metrics.attempts, expected);
        let tokens = BTreeMap::from([(TokenDirection::Input, 14), (TokenDirection::Output, 22)]);
        assert_eq!(metrics.tokens, tokens);
        assert_eq!((metrics.first_token.count(), metrics.first_token.sum()), (2, 200));
        assert_eq!(
            (metrics.per_token.count(), metrics.per_token.sum()),
            (2, 200),
            "1 ms for 10 later tokens"
        );
        assert_eq!(metrics.attempts_queued[&TaskKind::Generation].count(), 3);
        assert_eq!(metrics.attempts_run[&TaskKind::Generation].count(), 2);
    }

    #[test]
    fn a_retry_is_no_message_of_its_own() {
        let mut metrics = Metrics::new(ME);
        for retry in [0, 1, 2] {
            metrics.handle_event(
                Instant::ZERO,
                &Event::MessageSent {
                    message: MessageId([5; 16]),
                    destination: PEER,
                    ttl: 10,
                    retry,
                    next: None,
                    payload: PayloadKind::Probe,
                    trace: TRACE,
                },
            );
        }
        assert_eq!(metrics.messages, BTreeMap::from([((PayloadKind::Probe, Direction::Sent), 1)]));
        assert_eq!(metrics.messages_retried, 2);
    }

    #[test]
    fn a_task_that_ends_is_counted_by_kind_and_outcome() {
        let mut metrics = Metrics::new(ME);
        let finished = |status, elapsed_micros| Event::TaskFinished {
            task: TaskId([4; 16]),
            status,
            worker: None,
            elapsed_micros,
            kind: TaskKind::Embedding,
            attempts: 1,
            store_micros: 0,
            waiters: 0,
            parent: None,
            trace: TRACE,
        };
        metrics.handle_event(Instant::from_micros(5), &finished(TaskStatus::Completed, 900));
        metrics.handle_event(Instant::from_micros(6), &finished(TaskStatus::Completed, 901));
        metrics.handle_event(Instant::from_micros(7), &finished(TaskStatus::Timeout, 2_000_000));
        let expected = BTreeMap::from([
            ((TaskKind::Embedding, TaskStatus::Completed), 2),
            ((TaskKind::Embedding, TaskStatus::Timeout), 1),
        ]);
        assert_eq!(metrics.tasks, expected);
        let durations = &metrics.tasks_duration[&TaskKind::Embedding];
        assert_eq!((durations.count(), durations.sum()), (3, 2_001_801));
        let exemplars: Vec<u64> =
            durations.buckets().filter_map(|(_, _, exemplar)| Some(exemplar?.value)).collect();
        assert_eq!(exemplars, [901, 2_000_000], "the latest of each bucket");
    }
}
