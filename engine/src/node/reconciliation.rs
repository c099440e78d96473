//! Reconciles two nodes that are connected again: attempts that still run, and outcomes that were not delivered.
//!
//! Each may have given the other up meanwhile, and neither knows what the other did. The worker reports its attempts
//! and sends the outcomes that it owes. The origin asks about the rest, and reassigns what is missing at once. It asks
//! only about assignments that the worker has acknowledged, so that those in flight are not taken for missing.

use super::Node;
use crate::deliveries::Outcome;
use crate::event::ReassignReason;
use crate::ids::{NodeId, TaskId};
use crate::mutants::{Mutant, shows};
use crate::trace::TraceContext;
use crate::wire::{Attempt, Payload};

impl Node {
    /// Reconciles with a node that is reachable again, or over a new link.
    pub(super) fn reconcile(&mut self, peer: NodeId) {
        // A restarted origin still has its tasks, and accepts outcomes of attempts that its earlier incarnation assigned.
        // It may also have assigned the same attempt again before it was seen here. To drop that would cost a lease.
        self.worker.handle_origin_reachable(peer);
        self.deliveries.handle_reachable(self.clock.now, peer);
        let all: Vec<Attempt> = self.tasks.with(peer).collect();
        self.check(peer, all);
    }

    /// Drops the attempts and outcomes of a node that leaves permanently.
    pub(super) fn forget_origin(&mut self, peer: NodeId) {
        self.worker.handle_origin_gone(peer);
        self.deliveries.handle_gone(peer);
    }

    /// Asks a worker which attempts it has.
    pub(super) fn check(&mut self, worker: NodeId, mut attempts: Vec<Attempt>) {
        attempts.retain(|attempt| self.has_arrived(attempt.task));
        if attempts.is_empty() {
            return;
        }
        if worker == self.me {
            // An attempt that has just finished here is not missing.
            if !self.worker.has_actions() {
                self.handle_check(worker, attempts, TraceContext::NONE);
            }
        } else if self.membership.hops(worker).is_some() {
            let trace = TraceContext::common(attempts.iter().map(|attempt| self.trace_of(attempt.task)));
            self.send_payload(worker, &Payload::Check(attempts), trace);
        }
    }

    /// Returns the trace of a task that was accepted here.
    pub(super) fn trace_of(&self, task: TaskId) -> TraceContext {
        if let Some(open) = self.tasks.get(task) {
            return open.stored.trace_context();
        }
        let ended = self.results.get(task).map(|summary| summary.trace);
        // The result does not tell whether the trace is kept. Little is left of it to keep.
        ended.map_or(TraceContext::NONE, |id| TraceContext { id, sampled: false })
    }

    /// Answers an origin's question which of its attempts are here. `trace` is that of the question.
    pub(super) fn handle_check(&mut self, origin: NodeId, mut attempts: Vec<Attempt>, trace: TraceContext) {
        attempts.truncate(CHECKED_MAX);
        let (mut here, missing) = self.worker.handle_check(origin, attempts);
        let owes = |attempt: &Attempt| self.deliveries.owes(origin, attempt.task);
        let (owed, missing): (Vec<Attempt>, Vec<Attempt>) = missing.into_iter().partition(owes);
        if !owed.is_empty() {
            self.deliveries.handle_reachable(self.clock.now, origin);
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
            let theirs = attempts.iter().map(|attempt| {
                let owed = self.deliveries.trace_of(origin, attempt.task);
                owed.unwrap_or_else(|| self.worker.trace_of(origin, attempt.task))
            });
            let trace = if trace.is_none() { TraceContext::common(theirs) } else { trace };
            self.send_payload(origin, &answer(attempts), trace);
        }
    }

    /// Renews the leases of attempts that a worker has.
    pub(super) fn handle_here(&mut self, worker: NodeId, mut attempts: Vec<Attempt>) {
        attempts.truncate(CHECKED_MAX);
        for attempt in attempts {
            self.tasks.handle_renewed(self.clock.now, worker, attempt, false);
        }
    }

    /// Renews the leases of attempts that a worker has, and asks about all others.
    pub(super) fn handle_all_here(&mut self, worker: NodeId, attempts: Vec<Attempt>) {
        let rest: Vec<Attempt> =
            self.tasks.with(worker).filter(|attempt| !attempts.contains(attempt)).collect();
        self.handle_here(worker, attempts);
        self.check(worker, rest);
    }

    /// Takes back attempts that a worker does not have.
    pub(super) fn handle_missing(&mut self, worker: NodeId, attempts: Vec<Attempt>) {
        for attempt in attempts {
            self.tasks.handle_returned(worker, attempt, ReassignReason::Missing);
        }
    }

    /// Sends an outcome to its origin. It is kept until it is acknowledged.
    pub(super) fn send_outcome(&mut self, outcome: Outcome) {
        if self.membership.hops(outcome.origin).is_none() && !shows(Mutant::OutcomeForgotten) {
            return self.deliveries.handle_unreachable(self.clock.now, outcome);
        }
        let Outcome { origin, task, output, payload, trace } = outcome;
        let carried = if shows(Mutant::TraceLost) { TraceContext::NONE } else { trace };
        let envelope = self.envelope(origin, payload, carried);
        self.deliveries.handle_sent(self.clock.now, (origin, task), output, trace, envelope.message);
        self.router.send(self.clock.now, envelope, None);
    }

    /// Sends the outcomes whose retry is due.
    pub(super) fn settle_deliveries(&mut self) -> bool {
        let due = self.deliveries.poll_due(self.clock.now);
        let busy = !due.is_empty();
        for outcome in due {
            self.send_outcome(outcome);
        }
        busy
    }

    /// Tells whether the last assignment of a task has been acknowledged.
    fn has_arrived(&self, task: TaskId) -> bool {
        self.in_flight.assigning.get(&task).is_none_or(|message| !self.router.waits_for(*message))
    }
}

/// Maximum number of attempts in one question: more than an origin leaves with one worker.
const CHECKED_MAX: usize = 256;
