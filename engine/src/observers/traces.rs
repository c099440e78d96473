//! Traces: the steps of each task at this node, as a fold over its events.
//!
//! Steps wait in memory for about two seconds and then go to the store, which keeps them for two days. Each node keeps
//! only its own steps. [`timeline`] makes one story of the steps of all nodes.

mod shelf;
mod step;
pub mod timeline;

pub use shelf::Shelf;
pub use step::{Step, TimedStep, TracePart};

use crate::event::Event;
use crate::ids::{ReadId, TaskId, TraceId};
use crate::occupancy::Occupancy;
use crate::task::TaskKind;
use crate::time::{Instant, UnixMillis, micros};
use crate::trace::{SpanId, TraceContext};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The steps that are not stored yet.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    open: BTreeMap<TraceId, OpenPart>,
    /// Number of steps in `open`.
    steps: usize,
    /// The time of the oldest step in `open`.
    since: Option<Instant>,
    /// When each model became ready, for the attempts that waited for it.
    ready_at: BTreeMap<(TaskKind, String), Instant>,
}

#[derive(Debug)]
struct OpenPart {
    part: TracePart,
    last: Instant,
}

/// An order to the store of traces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceOrder {
    /// Find the trace with this id, or the trace of the task with this id; ends with one
    /// [`crate::Input::TracesFound`], which sees all parts that were kept before.
    Find {
        /// The handle of the search, repeated in its answer.
        read: ReadId,
        /// The id.
        id: IdPrefix,
    },
    /// Keep parts of traces, as of this time.
    Keep {
        /// The time.
        at: UnixMillis,
        /// The parts, each with its trace.
        parts: Vec<(TraceId, TracePart)>,
    },
}

/// The traces that a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Several traces begin with the prefix. Some of them are named.
    Many(Vec<TraceId>),
    /// No trace.
    #[default]
    None,
    /// One trace, with its parts in the order in which they were kept.
    One(TraceId, Vec<TracePart>),
}

/// The first hexadecimal digits of the id of a task or a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdPrefix {
    bytes: [u8; 16],
    digits: u8,
}

impl IdPrefix {
    /// Parses an id or its beginning, with or without the hyphens of a UUID; `None` if it is too short or no
    /// hexadecimal number.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut bytes, mut digits) = ([0; 16], 0_u8);
        for digit in text.chars().filter(|character| *character != '-') {
            let value = u8::try_from(digit.to_digit(16)?).ok()?;
            let byte = bytes.get_mut(usize::from(digits / 2))?;
            *byte |= if digits.is_multiple_of(2) { value << 4 } else { value };
            digits += 1;
        }
        (digits >= PREFIX_DIGITS_MIN).then_some(Self { bytes, digits })
    }

    /// Returns the prefix that only this trace has.
    pub const fn of(trace: TraceId) -> Self {
        Self { bytes: trace.0, digits: 32 }
    }

    /// Tells whether an id begins with the prefix. Only as many bytes as are given are compared.
    pub fn matches(&self, id: &[u8]) -> bool {
        let digits = usize::from(self.digits).min(id.len() * 2);
        let whole = digits / 2;
        let half = digits % 2 == 0 || id[whole] & 0xf0 == self.bytes[whole] & 0xf0;
        id[..whole] == self.bytes[..whole] && half
    }

    /// Returns the first digits as bytes, with zeros for the rest.
    pub const fn bytes(&self) -> [u8; 16] {
        self.bytes
    }

    /// Tells whether the prefix is within its limits. It may come from another node.
    pub const fn is_valid(&self) -> bool {
        self.digits >= PREFIX_DIGITS_MIN && self.digits <= 32
    }
}

impl Traces {
    /// Handles an event. `wall` is the wall-clock time in microseconds.
    pub(crate) fn handle_event(&mut self, now: Instant, wall: u64, event: &Event) {
        if let Event::ModelChanged { model, kind, ready: true } = event {
            self.note_ready(now, *kind, model);
        }
        let Some(trace) = context(event).filter(|trace| trace.sampled && !trace.is_none()) else { return };
        let Some(step) = self.step(now, event) else { return };
        self.push(now, wall, trace.id, step);
    }

    /// Returns the parts that are due: those of traces that are quiet, or open for long. `all` takes the rest as well.
    pub(crate) fn poll_parts(&mut self, now: Instant, all: bool) -> Vec<(TraceId, TracePart)> {
        let due = self.since.is_some_and(|since| now.since(since) >= FLUSH_INTERVAL);
        if !all && !due && self.steps < STEPS_MAX {
            return Vec::new();
        }
        self.since = None;
        self.steps = 0;
        core::mem::take(&mut self.open).into_iter().map(|(trace, open)| (trace, open.part)).collect()
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 2] {
        [
            Occupancy::new("traces.steps", self.steps, STEPS_MAX),
            Occupancy::new("traces.ready_at", self.ready_at.len(), MODELS_MAX),
        ]
    }

    fn note_ready(&mut self, now: Instant, kind: TaskKind, model: &str) {
        if self.ready_at.len() >= MODELS_MAX {
            let oldest = self.ready_at.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.ready_at.remove(&oldest));
        }
        self.ready_at.insert((kind, model.to_owned()), now);
    }

    fn push(&mut self, now: Instant, wall: u64, trace: TraceId, step: Step) {
        if self.steps >= STEPS_MAX {
            if let Some(open) = self.open.get_mut(&trace) {
                open.part.lost = open.part.lost.saturating_add(1);
            }
            return;
        }
        let open = self.open.entry(trace).or_insert_with(|| OpenPart {
            part: TracePart { begun_micros: wall, steps: Vec::new(), lost: 0 },
            last: now,
        });
        if open.part.steps.len() >= PART_STEPS_MAX {
            open.part.lost = open.part.lost.saturating_add(1);
            return;
        }
        let after_micros = if open.part.steps.is_empty() { 0 } else { micros(now.since(open.last)) };
        open.last = now;
        open.part.steps.push(TimedStep { after_micros, step });
        self.steps += 1;
        self.since.get_or_insert(now);
    }

    /// Returns the step that an event is, if it is one.
    #[allow(clippy::too_many_lines, reason = "one arm for each kind of step")]
    fn step(&self, now: Instant, event: &Event) -> Option<Step> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other events belong to no trace")]
        Some(match event {
            Event::TaskAccepted { task, kind, model, parent, .. } => {
                Step::Accepted { task: *task, kind: *kind, model: model.clone(), parent: *parent }
            }
            Event::TaskRecovered { task, kind, .. } => Step::Recovered { task: *task, kind: *kind },
            Event::TaskAssigned { task, worker, attempt, candidates, considered, .. } => Step::Assigned {
                task: *task,
                attempt: *attempt,
                worker: *worker,
                candidates: candidates.clone(),
                considered: *considered,
            },
            Event::TaskReassigned { task, worker, reason, attempt, .. } => {
                Step::Reassigned { task: *task, attempt: *attempt, worker: *worker, reason: *reason }
            }
            Event::TaskFinished {
                task,
                status,
                worker,
                elapsed_micros,
                attempts,
                store_micros,
                waiters,
                ..
            } => Step::Finished {
                task: *task,
                status: *status,
                worker: *worker,
                elapsed_micros: *elapsed_micros,
                attempts: *attempts,
                store_micros: *store_micros,
                waiters: *waiters,
            },
            Event::TaskStarted { task, origin, attempt, kind, model, queued_micros, batch, .. } => {
                // The attempt waited for the model if it arrived before the model was ready.
                let ready_at = self.ready_at.get(&(*kind, model.clone()));
                let ago = ready_at.map(|ready| micros(now.since(*ready)));
                let load_micros = ago.and_then(|ago| queued_micros.checked_sub(ago));
                Step::Started {
                    task: *task,
                    attempt: *attempt,
                    origin: *origin,
                    queued_micros: *queued_micros,
                    load_micros,
                    batch: *batch,
                }
            }
            Event::AttemptEnded(end) => Step::Ended {
                task: end.task,
                attempt: end.attempt,
                origin: end.origin,
                model: end.model.clone(),
                ending: end.ending,
                queued_micros: end.queued_micros,
                run_micros: end.run_micros,
                compute_micros: end.compute_micros,
                batch: end.batch,
                input_tokens: end.input_tokens,
                output_tokens: end.output_tokens,
                first_token_micros: end.first_token_micros,
            },
            Event::MessageSent { message, destination, retry, next, payload, .. } => Step::Sent {
                message: SpanId::of_message(*message),
                payload: *payload,
                destination: *destination,
                next: *next,
                retry: *retry,
            },
            Event::MessageForwarded { message, next, .. } => {
                Step::Forwarded { message: SpanId::of_message(*message), next: *next }
            }
            Event::MessageDelivered { message, origin, hops, payload, .. } => Step::Delivered {
                message: SpanId::of_message(*message),
                payload: *payload,
                origin: *origin,
                hops: *hops,
            },
            Event::MessageAcknowledged { message, elapsed_micros, .. } => {
                Step::Acknowledged { message: SpanId::of_message(*message), elapsed_micros: *elapsed_micros }
            }
            Event::MessageUnacknowledged { message, destination, .. } => {
                Step::Unacknowledged { message: SpanId::of_message(*message), destination: *destination }
            }
            Event::MessageDropped { message, reason, .. } => {
                Step::Dropped { message: SpanId::of_message(*message), reason: *reason }
            }
            _ => return None,
        })
    }
}

/// Returns the trace of an event, if it belongs to one.
pub const fn context(event: &Event) -> Option<TraceContext> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other events belong to no trace")]
    match event {
        Event::AttemptEnded(end) => Some(end.trace),
        Event::InputTruncated { trace, .. }
        | Event::MessageAcknowledged { trace, .. }
        | Event::MessageDelivered { trace, .. }
        | Event::MessageDropped { trace, .. }
        | Event::MessageDuplicate { trace, .. }
        | Event::MessageForwarded { trace, .. }
        | Event::MessageSent { trace, .. }
        | Event::MessageUnacknowledged { trace, .. }
        | Event::ResultDuplicate { trace, .. }
        | Event::TaskAccepted { trace, .. }
        | Event::TaskAssigned { trace, .. }
        | Event::TaskFinished { trace, .. }
        | Event::TaskReassigned { trace, .. }
        | Event::TaskRecovered { trace, .. }
        | Event::TaskStarted { trace, .. } => Some(*trace),
        _ => None,
    }
}

/// Returns the tasks that parts of a trace name, without duplicates.
pub fn tasks_of<'a>(parts: impl IntoIterator<Item = &'a TracePart>) -> Vec<TaskId> {
    let mut tasks: Vec<TaskId> =
        parts.into_iter().flat_map(|part| &part.steps).filter_map(|step| step.step.task()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    tasks
}

/// How long traces are kept.
pub const RETENTION: Duration = Duration::from_secs(48 * 3600);
/// Maximum size of the stored traces of a node, in bytes. Beyond it, the oldest are deleted.
pub const STORE_BYTES_MAX: u64 = 64 << 20;
/// Maximum number of traces that an ambiguous search names.
pub const AMBIGUOUS_MAX: usize = 8;
/// Minimum number of digits of a prefix.
const PREFIX_DIGITS_MIN: u8 = 4;
/// How long steps wait in memory.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of steps in memory. Beyond it, steps are counted and dropped until the next flush, which is due at once.
const STEPS_MAX: usize = 16_384;
/// Maximum number of steps of one trace in one part.
const PART_STEPS_MAX: usize = 1_024;
/// Maximum number of models whose start is remembered.
const MODELS_MAX: usize = 64;

#[cfg(test)]
mod tests;
