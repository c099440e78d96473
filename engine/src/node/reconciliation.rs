//! What two nodes that meet again have for each other: work that goes on, and outcomes that were not delivered.
//!
//! Either may have given the other up meanwhile, and neither knows what the other did. The worker says what it has left
//! and sends what it owes; the origin asks about the rest, and takes back at once what is missing. It only asks for what
//! the worker has acknowledged, so that nothing is missed that is still on its way.

use super::Node;
use crate::deliveries::Outcome;
use crate::event::ReassignReason;
use crate::ids::{NodeId, TaskId, TraceId};
use crate::mutants::{Mutant, shows};
use crate::wire::{Attempt, Payload};

impl Node {
    /// Compares with a node that is reachable again, or over a new link, what each has for the other.
    pub(super) fn meet(&mut self, peer: NodeId) {
        // One that started again still has its tasks, and takes an outcome of its earlier life for them: it may have
        // assigned the same attempt here before it was seen again, which to forget would cost a lease.
        self.worker.handle_origin_met(peer);
        self.deliveries.handle_met(self.clock.now, peer);
        let all: Vec<Attempt> = self.tasks.with(peer).collect();
        self.check(peer, all);
    }

    /// Drops what there is for a node that does not know of it any more: it leaves for good.
    pub(super) fn forget_origin(&mut self, peer: NodeId) {
        self.worker.handle_origin_gone(peer);
        self.deliveries.handle_gone(peer);
    }

    /// Asks a worker which of some attempts it has.
    pub(super) fn check(&mut self, worker: NodeId, mut attempts: Vec<Attempt>) {
        attempts.retain(|attempt| self.has_arrived(attempt.task));
        if attempts.is_empty() {
            return;
        }
        if worker == self.me {
            // What was just finished here is not missing.
            if !self.worker.has_actions() {
                self.handle_check(worker, attempts);
            }
        } else if self.membership.hops(worker).is_some() {
            self.send_payload(worker, &Payload::Check(attempts), TraceId([0; 16]));
        }
    }

    /// Answers an origin that asks which of its attempts are here.
    pub(super) fn handle_check(&mut self, origin: NodeId, mut attempts: Vec<Attempt>) {
        attempts.truncate(CHECKED_MAX);
        let (mut here, missing) = self.worker.handle_check(origin, attempts);
        let owes = |attempt: &Attempt| self.deliveries.owes(origin, attempt.task);
        let (owed, missing): (Vec<Attempt>, Vec<Attempt>) = missing.into_iter().partition(owes);
        if !owed.is_empty() {
            self.deliveries.handle_met(self.clock.now, origin);
        }
        here.extend(owed);
        if shows(Mutant::LeaseNotRenewed) || shows(Mutant::OwnLeaseNotRenewed) && origin == self.me {
            here.clear();
        }
        if origin == self.me {
            self.handle_here(origin, here);
            return self.handle_missing(origin, missing);
        }
        let answers = [(here, Payload::Here as fn(_) -> _), (missing, Payload::Missing)];
        for (attempts, answer) in answers.into_iter().filter(|(attempts, _)| !attempts.is_empty()) {
            self.send_payload(origin, &answer(attempts), TraceId([0; 16]));
        }
    }

    /// Takes in what a worker says that it has.
    pub(super) fn handle_here(&mut self, worker: NodeId, mut attempts: Vec<Attempt>) {
        attempts.truncate(CHECKED_MAX);
        for attempt in attempts {
            self.tasks.handle_renewed(self.clock.now, worker, attempt, false);
        }
    }

    /// Takes in what a worker says that it has, which is all, but for what is on its way.
    pub(super) fn handle_all_here(&mut self, worker: NodeId, attempts: Vec<Attempt>) {
        let rest: Vec<Attempt> =
            self.tasks.with(worker).filter(|attempt| !attempts.contains(attempt)).collect();
        self.handle_here(worker, attempts);
        self.check(worker, rest);
    }

    /// Takes back what a worker says that it has not.
    pub(super) fn handle_missing(&mut self, worker: NodeId, attempts: Vec<Attempt>) {
        for attempt in attempts {
            self.tasks.handle_returned(worker, attempt, ReassignReason::Missing);
        }
    }

    /// Sends an outcome to its origin, and keeps it until that has acknowledged it.
    pub(super) fn send_outcome(&mut self, outcome: Outcome) {
        if self.membership.hops(outcome.origin).is_none() && !shows(Mutant::OutcomeForgotten) {
            return self.deliveries.handle_unreachable(self.clock.now, outcome);
        }
        let Outcome { origin, task, output, payload } = outcome;
        let envelope = self.envelope(origin, payload, TraceId([0; 16]));
        self.deliveries.handle_sent(self.clock.now, (origin, task), output, envelope.message);
        self.router.send(self.clock.now, envelope, None);
    }

    /// Sends again the outcomes for which it is time.
    pub(super) fn settle_deliveries(&mut self) -> bool {
        let due = self.deliveries.poll_due(self.clock.now);
        let busy = !due.is_empty();
        for outcome in due {
            self.send_outcome(outcome);
        }
        busy
    }

    /// Tells whether the last assignment of a task has reached its worker.
    fn has_arrived(&self, task: TaskId) -> bool {
        self.in_flight.assigning.get(&task).is_none_or(|message| !self.router.waits_for(*message))
    }
}

/// Attempts that are looked for at a time: more than an origin leaves with one worker.
const CHECKED_MAX: usize = 256;
