//! The outcomes that a worker owes to other nodes, kept until their origins acknowledge them.
//!
//! The router gives up a message after some retries, or when its destination leaves the mesh. An outcome that could not
//! be delivered waits here instead, and is sent again as soon as its origin is reachable. Only the origin can tell
//! whether an outcome still counts, since its clock may stand still while its machine sleeps. The number of outcomes,
//! their bytes and the time that they are kept are bounded.

use crate::ids::{Fingerprint, MessageId, NodeId, TaskId};
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::time::Instant;
use crate::trace::TraceContext;
use crate::wire::Bytes;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The outcomes that are not acknowledged yet.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    owed: BTreeMap<Key, Owed>,
    /// The keys of `owed` by age, oldest first.
    order: BTreeSet<(Instant, Key)>,
    /// The outcomes in transit, by the message that carries them.
    sent: BTreeMap<MessageId, Key>,
    /// The outcomes that wait for a retry, by its time.
    retries: BTreeSet<(Instant, Key)>,
    /// Total size of the payloads that wait, in bytes.
    bytes: usize,
}

/// The outcome of an attempt at another node's task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The node that accepted the task.
    pub(crate) origin: NodeId,
    /// The task.
    pub(crate) task: TaskId,
    /// The model that computed the output; `None` if the attempt failed.
    pub(crate) output: Option<Fingerprint>,
    /// The message payload.
    pub(crate) payload: Bytes,
    /// The trace of the task.
    pub(crate) trace: TraceContext,
}

/// The origin of a task, and the task.
pub(crate) type Key = (NodeId, TaskId);

/// An outcome that its origin has not acknowledged.
#[derive(Debug)]
struct Owed {
    since: Instant,
    /// The model that computed the output; `None` if the attempt failed.
    output: Option<Fingerprint>,
    trace: TraceContext,
    place: Place,
}

/// Where the payload of an outcome is.
#[derive(Debug)]
enum Place {
    /// In transit; the message holds the payload.
    Sent(MessageId),
    /// Waits for a retry at the given time, or until its origin is reachable.
    Waits(Bytes, Option<Instant>),
}

impl Deliveries {
    /// Records that an outcome was sent with a message.
    pub(crate) fn handle_sent(
        &mut self,
        now: Instant,
        key: Key,
        output: Option<Fingerprint>,
        trace: TraceContext,
        message: MessageId,
    ) {
        let since = self.forget(key).map_or(now, |owed| owed.since);
        self.sent.insert(message, key);
        self.insert(key, Owed { since, output, trace, place: Place::Sent(message) });
    }

    /// Keeps an outcome whose origin cannot be reached.
    pub(crate) fn handle_unreachable(&mut self, now: Instant, outcome: Outcome) {
        let Outcome { origin, task, output, payload, trace } = outcome;
        let key = (origin, task);
        let since = self.forget(key).map_or(now, |owed| owed.since);
        self.insert(key, Owed { since, output, trace, place: Place::Waits(payload, None) });
    }

    /// Removes the outcome that an acknowledged message carried.
    pub(crate) fn handle_acknowledged(&mut self, message: MessageId) {
        if let Some(key) = self.sent.get(&message).copied() {
            self.forget(key);
        }
    }

    /// Keeps the outcome of a message that the router gave up. Does nothing if the message carried no outcome.
    pub(crate) fn handle_failed(&mut self, now: Instant, message: MessageId, payload: Bytes) {
        let Some(key) = self.sent.get(&message).copied() else { return };
        let Some(owed) = self.forget(key) else { return };
        if !shows(Mutant::OutcomeForgotten) {
            let place = Place::Waits(payload, Some(now.after(RETRY_BACKOFF)));
            self.insert(key, Owed { place, ..owed });
        }
    }

    /// Makes all waiting outcomes of an origin due now, as it is reachable again.
    pub(crate) fn handle_reachable(&mut self, now: Instant, origin: NodeId) {
        let waiting: Vec<Key> = self.keys_for(origin).collect();
        for key in waiting {
            let Some(Owed { place: Place::Waits(_, due), .. }) = self.owed.get_mut(&key) else { continue };
            let before = due.replace(now);
            before.map(|before| self.retries.remove(&(before, key)));
            self.retries.insert((now, key));
        }
    }

    /// Drops the outcomes of an origin that has left permanently.
    pub(crate) fn handle_gone(&mut self, origin: NodeId) {
        let all: Vec<Key> = self.keys_for(origin).collect();
        for key in all {
            self.forget(key);
        }
    }

    /// Returns the outcomes that are due, and drops expired ones. The caller reports each one it gets with
    /// [`Self::handle_sent`] or [`Self::handle_unreachable`].
    pub(crate) fn poll_due(&mut self, now: Instant) -> Vec<Outcome> {
        while let Some(&(since, key)) = self.order.first() {
            if now.since(since) < RETENTION {
                break;
            }
            self.forget(key);
        }
        let mut due = Vec::new();
        while let Some(&(_, key)) = self.retries.first().filter(|(at, _)| *at <= now) {
            let Some(Owed { place, since, output, trace }) = self.owed.get_mut(&key) else { break };
            let Place::Waits(payload, at) = place else { break };
            at.take().map(|at| self.retries.remove(&(at, key)));
            let payload = Bytes(core::mem::take(&mut payload.0));
            self.bytes -= payload.0.len();
            let (origin, task) = key;
            due.push((*since, Outcome { origin, task, output: *output, payload, trace: *trace }));
        }
        due.sort_by_key(|(since, _)| *since);
        due.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Returns the time of the next retry or expiry.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let retry = self.retries.first().map(|(at, _)| *at);
        let end = self.order.first().map(|(since, _)| since.after(RETENTION));
        [retry, end].into_iter().flatten().min()
    }

    /// Tells whether this node owes the outcome of a task to its origin.
    pub(crate) fn owes(&self, origin: NodeId, task: TaskId) -> bool {
        self.owed.contains_key(&(origin, task))
    }

    /// Returns the trace of a task whose outcome this node owes to its origin.
    pub(crate) fn trace_of(&self, origin: NodeId, task: TaskId) -> Option<TraceContext> {
        self.owed.get(&(origin, task)).map(|owed| owed.trace)
    }

    /// Tells whether this node owes the output of this model for a task to its origin.
    pub(crate) fn owes_output(&self, origin: NodeId, task: TaskId, model: Fingerprint) -> bool {
        self.owed.get(&(origin, task)).is_some_and(|owed| owed.output == Some(model))
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 2] {
        [
            Occupancy::new("deliveries.owed", self.owed.len(), OWED_MAX),
            Occupancy::new("deliveries.bytes", self.bytes, BYTES_MAX),
        ]
    }

    fn keys_for(&self, origin: NodeId) -> impl Iterator<Item = Key> {
        let range = (origin, TaskId([0; 16]))..=(origin, TaskId([0xff; 16]));
        self.owed.range(range).map(|(key, _)| *key)
    }

    fn insert(&mut self, key: Key, owed: Owed) {
        if let Place::Waits(payload, due) = &owed.place {
            self.bytes += payload.0.len();
            due.map(|due| self.retries.insert((due, key)));
        }
        self.order.insert((owed.since, key));
        self.owed.insert(key, owed);
        // An origin whose outcome is dropped here will ask for it and have the task computed again.
        while self.owed.len() > OWED_MAX || self.bytes > BYTES_MAX {
            let waits = |key: &Key| matches!(self.owed.get(key), Some(Owed { place: Place::Waits(..), .. }));
            let oldest = self.order.iter().map(|(_, key)| *key).find(waits);
            let Some(oldest) = oldest.or_else(|| Some(self.order.first()?.1)) else { break };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, key: Key) -> Option<Owed> {
        let owed = self.owed.remove(&key)?;
        self.order.remove(&(owed.since, key));
        match &owed.place {
            Place::Sent(message) => {
                self.sent.remove(message);
            }
            Place::Waits(payload, due) => {
                self.bytes -= payload.0.len();
                due.map(|due| self.retries.remove(&(due, key)));
            }
        }
        Some(owed)
    }
}

/// Maximum number of outcomes. Beyond it, those that have waited longest are dropped.
const OWED_MAX: usize = 1_024;
/// Maximum total size of waiting outcomes, in bytes. Beyond it, those that have waited longest are dropped.
const BYTES_MAX: usize = 32 << 20;
/// How long an outcome is kept: as long as its origin keeps results by default.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// The delay before the next round of retries to an origin that is reachable but does not acknowledge.
const RETRY_BACKOFF: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TraceId;

    const ORIGIN: NodeId = NodeId([1; 16]);
    const TASK: TaskId = TaskId([2; 16]);
    const MODEL: Fingerprint = Fingerprint([6; 16]);
    const MESSAGE: MessageId = MessageId([3; 16]);
    const TRACE: TraceContext = TraceContext { id: TraceId([5; 16]), sampled: true };

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn payload() -> Bytes {
        Bytes(vec![7; 1000])
    }

    fn outcome(task: TaskId) -> Outcome {
        Outcome { origin: ORIGIN, task, output: Some(MODEL), payload: payload(), trace: TRACE }
    }

    fn held(deliveries: &Deliveries) -> [u64; 2] {
        deliveries.occupancy().map(|place| place.current)
    }

    #[test]
    fn an_outcome_is_sent_until_it_is_acknowledged() {
        let mut deliveries = Deliveries::default();
        deliveries.handle_sent(at(0), (ORIGIN, TASK), Some(MODEL), TRACE, MESSAGE);
        assert_eq!((deliveries.poll_due(at(1)), held(&deliveries)), (vec![], [1, 0]));
        deliveries.handle_failed(at(20), MESSAGE, payload());
        assert_eq!((deliveries.poll_timeout(), held(&deliveries)), (Some(at(25)), [1, 1000]));
        assert_eq!(deliveries.poll_due(at(25)), vec![outcome(TASK)]);
        deliveries.handle_sent(at(25), (ORIGIN, TASK), Some(MODEL), TRACE, MessageId([4; 16]));
        deliveries.handle_acknowledged(MESSAGE);
        assert!(deliveries.owes(ORIGIN, TASK), "that message is given up");
        deliveries.handle_acknowledged(MessageId([4; 16]));
        assert_eq!((deliveries.poll_timeout(), held(&deliveries)), (None, [0, 0]));
    }

    #[test]
    fn what_waits_for_an_origin_that_is_away_is_sent_when_it_is_met() {
        let mut deliveries = Deliveries::default();
        deliveries.handle_unreachable(at(0), outcome(TASK));
        assert_eq!(deliveries.poll_due(at(3600)), vec![]);
        deliveries.handle_reachable(at(3600), NodeId([9; 16]));
        assert_eq!(deliveries.poll_due(at(3600)), vec![]);
        deliveries.handle_reachable(at(3601), ORIGIN);
        deliveries.handle_reachable(at(3601), ORIGIN);
        assert_eq!(deliveries.poll_due(at(3601)), vec![outcome(TASK)]);
        assert!(deliveries.owes(ORIGIN, TASK));
        deliveries.handle_gone(ORIGIN);
        assert!(!deliveries.owes(ORIGIN, TASK));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_bytes_and_time() {
        let mut deliveries = Deliveries::default();
        let task = |number: usize| {
            let mut id = [0; 16];
            id[8..].copy_from_slice(&number.to_be_bytes());
            TaskId(id)
        };
        (0..OWED_MAX + 5).for_each(|n| deliveries.handle_unreachable(at(n as u64), outcome(task(n))));
        assert_eq!(held(&deliveries), [1_024, 1_024_000]);
        assert!(!deliveries.owes(ORIGIN, task(4)) && deliveries.owes(ORIGIN, task(5)));
        let large = |number| Outcome { payload: Bytes(vec![0; 30 << 20]), ..outcome(task(number)) };
        deliveries.handle_unreachable(at(2_000), large(5_000));
        deliveries.handle_unreachable(at(2_001), large(5_001));
        assert!(!deliveries.owes(ORIGIN, task(5_000)) && deliveries.owes(ORIGIN, task(5_001)));
        assert_eq!(deliveries.poll_due(at(2_001).after(RETENTION)), vec![]);
        assert_eq!((deliveries.poll_timeout(), held(&deliveries)), (None, [0, 0]));
    }
}
