//! Assigns queued tasks to workers, and decides about tasks that no node can run.

use super::Node;
use super::requests::has_labels;
use crate::bounded_text::FailureReason;
use crate::event::{Estimate, Event};
use crate::heartbeat::Liveness;
use crate::ids::{Fingerprint, NodeId, TaskId};
use crate::input::ModelState;
use crate::lifecycle::State;
use crate::mutants::{Mutant, shows};
use crate::scheduler::{Candidate, Scheduler};
use crate::task::{TaskFailure, TaskKind, WaitsFor};
use crate::wire::{Advert, Assignment, Payload};

impl Node {
    /// Assigns queued tasks while workers have room.
    pub(super) fn dispatch(&mut self) -> bool {
        if self.state != State::Active {
            return false;
        }
        let mut busy = false;
        let mut none_for: Vec<(TaskKind, String, Option<Fingerprint>, WaitsFor)> = Vec::new();
        let waiting: Vec<TaskId> = self.tasks.waiting().map(|task| task.id).collect();
        for task in waiting {
            let Some(stored) = self.tasks.get(task).map(|open| &open.stored) else { continue };
            let (kind, trace) = (stored.spec.kind(), stored.trace_context());
            let model = stored.spec.model.as_deref().unwrap_or_default();
            let fingerprint = stored.choice.map(|choice| choice.fingerprint);
            let is_it = |(none, of, which, _): &&(TaskKind, String, Option<Fingerprint>, WaitsFor)| {
                *none == kind && of == model && *which == fingerprint
            };
            if let Some((.., waits_for)) = none_for.iter().find(is_it) {
                self.tasks.note_wait(task, *waits_for);
                continue;
            }
            let model = model.to_owned();
            let candidates =
                fingerprint.map(|which| self.candidates(kind, &model, which)).unwrap_or_default();
            if candidates.is_empty() && self.settle_hopeless(task) {
                busy = true;
                continue;
            }
            let waits_for = if candidates.is_empty() {
                self.missing(kind, &model, fingerprint)
            } else {
                WaitsFor::FreeSlot
            };
            let mut estimates = self.scheduler.estimate(self.clock.now, candidates.into_iter());
            let Some(worker) = Scheduler::choose(&estimates, &mut self.rng) else {
                self.tasks.note_wait(task, waits_for);
                none_for.push((kind, model, fingerprint, waits_for));
                continue;
            };
            let Some(assignment) = self.tasks.assign(self.clock.now, task, worker) else { continue };
            busy = true;
            self.scheduler.handle_assigned(task, worker);
            let (attempt, considered) = (assignment.attempt.number, estimates.len());
            let considered = u32::try_from(considered).unwrap_or(u32::MAX);
            let candidates = if trace.sampled {
                best_of(&mut estimates, worker);
                estimates
            } else {
                Vec::new()
            };
            self.event(Event::TaskAssigned { task, worker, attempt, kind, candidates, considered, trace });
            let loads = worker == self.me && !self.is_ready(kind, &model);
            self.tasks.note_wait(task, if loads { WaitsFor::Model } else { WaitsFor::FreeSlot });
            self.assign(worker, assignment);
        }
        busy
    }

    /// Tells whether a model of this node is loaded.
    pub(super) fn is_ready(&self, kind: TaskKind, model: &str) -> bool {
        self.worker.model(kind, model).is_some_and(|model| model.state == ModelState::Ready)
    }

    /// Returns what a task for a model without candidates waits for.
    fn missing(&self, kind: TaskKind, model: &str, fingerprint: Option<Fingerprint>) -> WaitsFor {
        let offered = |advert: &Advert| {
            let mut offers = advert.models.iter().filter(|offer| offer.is(kind, model));
            offers.any(|offer| fingerprint.is_none() || offer.fingerprint == fingerprint)
        };
        if self.own_model(kind, model).is_some() {
            // Its files are being hashed.
            WaitsFor::Model
        } else if self.others().any(|(_, advert)| offered(advert)) {
            WaitsFor::Answer
        } else {
            WaitsFor::Worker
        }
    }

    fn assign(&mut self, worker: NodeId, assignment: Assignment) {
        if worker == self.me {
            self.worker.handle_assignment(self.clock.now, self.me, assignment);
        } else {
            let (task, trace) = (assignment.attempt.task, assignment.trace);
            let message = self.send_payload(worker, &Payload::Assign(assignment), trace);
            self.in_flight.assigning.insert(task, message);
        }
    }

    /// Returns the responsive nodes that offer the model with this fingerprint.
    pub(super) fn candidates(&self, kind: TaskKind, name: &str, which: Fingerprint) -> Vec<Candidate> {
        let is_it = |found: Option<Fingerprint>| found == Some(which) || shows(Mutant::NameIsIdentity);
        let mut candidates = Vec::new();
        if let Some(own) = self.own_model(kind, name).filter(|own| is_it(own.fingerprint)) {
            let loaded = own.state == ModelState::Ready;
            candidates.push(Candidate { node: self.me, load: self.own_load(), round_trip_micros: 0, loaded });
        }
        for (node, advert) in self.others() {
            if !advert.models.iter().any(|offer| offer.is(kind, name) && is_it(offer.fingerprint)) {
                continue;
            }
            let mut round_trip_micros = HOP_GUESS_MICROS * u64::from(self.membership.hops(node).unwrap_or(1));
            if let Some(link) = self.peers.link_to(node) {
                if self.heartbeat.liveness(link) != Liveness::Alive && !shows(Mutant::SlowGetsWork) {
                    continue;
                }
                round_trip_micros =
                    self.heartbeat.quality(self.clock.now, link).1.unwrap_or(round_trip_micros);
            }
            let load = self.loads.get(&node).copied().unwrap_or_default();
            candidates.push(Candidate { node, load, round_trip_micros, loaded: true });
        }
        candidates
    }

    /// Decides about a queued task that no node can run now. It gets another fingerprint if its model is gone, or fails
    /// if waiting is hopeless. Returns whether something changed.
    pub(super) fn settle_hopeless(&mut self, task: TaskId) -> bool {
        let Some(open) = self.tasks.get(task) else { return false };
        let (kind, name) = (open.stored.spec.kind(), open.stored.spec.model.as_deref().unwrap_or_default());
        let Some(choice) = open.stored.choice else {
            let Some(chosen) = self.fingerprint_for(kind, name) else { return self.fail_hopeless(task) };
            self.tasks.choose_fingerprint(task, chosen);
            return true;
        };
        if self.may_come_back(kind, name, choice.fingerprint) {
            return false;
        }
        if !open.may_change_model() {
            let why = self.worker.unusable(kind, name).cloned().or_else(|| open.failure.clone());
            let (wall, failure) =
                (self.wall(), why.map_or(TaskFailure::ModelChanged, TaskFailure::ModelFailed));
            self.tasks.fail(self.clock.now, wall, task, failure);
            return true;
        }
        match self.fingerprint_for(kind, name).filter(|chosen| *chosen != choice.fingerprint) {
            Some(chosen) => {
                self.tasks.choose_fingerprint(task, chosen);
                true
            }
            None => self.fail_hopeless(task),
        }
    }

    /// Tells whether some node may still have the model: it was reachable recently, or is still hashing its files.
    fn may_come_back(&self, kind: TaskKind, name: &str, fingerprint: Fingerprint) -> bool {
        let may_be = |which: Option<Fingerprint>| which.is_none_or(|which| which == fingerprint);
        let others = self.others().map(|(_, advert)| advert);
        let others = others.chain(self.membership.lately_reachable(self.clock.now));
        let mut offers = others.flat_map(|advert| &advert.models);
        self.own_model(kind, name).is_some_and(|own| may_be(own.fingerprint))
            || offers.any(|model| model.is(kind, name) && may_be(model.fingerprint))
    }

    /// Gives a hopeless task another model if its user did not choose this one, and fails it otherwise. Returns whether
    /// the task was hopeless.
    fn fail_hopeless(&mut self, task: TaskId) -> bool {
        let Some(why) = self.hopeless(task) else { return false };
        match self.other_model(task) {
            Some(other) => self.tasks.change_model(task, other),
            None => {
                let wall = self.wall();
                self.tasks.fail(self.clock.now, wall, task, TaskFailure::ModelFailed(why));
            }
        }
        true
    }

    /// Returns why a task is hopeless, if it is: its model is unusable here or failed at its last worker, and no other
    /// node offers it or did so recently.
    fn hopeless(&self, task: TaskId) -> Option<FailureReason> {
        let open = self.tasks.get(task)?;
        let (kind, model) = (open.stored.spec.kind(), open.stored.spec.model.as_deref().unwrap_or_default());
        let advertised = |advert: &Advert| advert.models.iter().any(|offer| offer.is(kind, model));
        let others = self.others().map(|(_, advert)| advert);
        if others.chain(self.membership.lately_reachable(self.clock.now)).any(advertised) {
            return None;
        }
        match self.worker.model(kind, model).map(|model| &model.state) {
            Some(ModelState::Unusable(why)) => Some(why.clone()),
            Some(ModelState::Away | ModelState::Ready) => None,
            None => open.failure.clone(),
        }
    }

    /// Returns another model for a task whose user did not choose one.
    fn other_model(&self, task: TaskId) -> Option<String> {
        let open = self.tasks.get(task).filter(|open| open.model_chosen)?;
        let spec = &open.stored.spec;
        let other = self.choose_model(spec.kind(), has_labels(&spec.input), None).ok()?;
        Some(other).filter(|other| Some(other) != open.stored.spec.model.as_ref())
    }
}

/// Keeps the best candidates, best first, and the chosen one.
fn best_of(estimates: &mut Vec<Estimate>, chosen: NodeId) {
    estimates.sort_by_key(|estimate| (estimate.full, estimate.finish_micros, estimate.node));
    let mut rank = 0;
    estimates.retain(|estimate| {
        rank += 1;
        rank < CANDIDATES_REPORTED_MAX || estimate.node == chosen
    });
    estimates.truncate(CANDIDATES_REPORTED_MAX);
}

/// Maximum number of candidates in an event.
const CANDIDATES_REPORTED_MAX: usize = 8;
/// The assumed round trip per hop before any is measured.
const HOP_GUESS_MICROS: u64 = 1_000;
