//! The worker: runs attempts for this node and for others, in batches, a few jobs at a time.
//!
//! Queued texts for one model that are embedded or classified run in one batch. An attempt that may have crashed a
//! model runs alone, so that it takes no others with it again.
//!
//! While an attempt waits or runs, the worker renews its lease with the origin every ten seconds, also if the origin is
//! this node. A lease that is not renewed expires.

mod progress;
#[cfg(test)]
mod tests;

use self::progress::ProgressBuffer;
use crate::bounded_text::FailureReason;
use crate::error::InferenceError;
use crate::event::{AttemptEnd, AttemptEnding};
use crate::ids::{Fingerprint, JobId, NodeId, TaskId};
use crate::input::ModelState;
use crate::model::ModelOffer;
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::output::InferenceJob;
use crate::task::{OUTPUT_BYTES_MAX, TaskInput, TaskKind, TaskOutput};
use crate::time::{Instant, micros};
use crate::trace::TraceContext;
use crate::wire::{Assignment, Attempt, ProgressChunk};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A command to the parent or a report to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// An attempt of the origin has started.
    Begun(NodeId, Attempt, Begun),
    /// Cancel a job.
    Cancel(JobId),
    /// The queue is full, or this node does not have the model.
    Declined(NodeId, Attempt, TraceContext),
    /// An attempt ended here. Only reports it; other actions tell its origin.
    Ended(Box<Ended>),
    /// An attempt of the origin will not be finished here.
    HandedBack(NodeId, Attempt, TraceContext),
    /// Run a job.
    Infer(JobId, String, Fingerprint, InferenceJob),
    /// The outcome of an attempt of the origin.
    Outcome {
        origin: NodeId,
        attempt: Attempt,
        /// The model that computed it.
        fingerprint: Fingerprint,
        /// Compute time, in microseconds.
        micros: u64,
        result: Result<TaskOutput, InferenceError>,
        trace: TraceContext,
    },
    /// Generated text of an attempt of the origin.
    Progress(NodeId, ProgressChunk, TraceContext),
    /// Renew the leases of these attempts of the origin. They have the trace in common, if they have one.
    Renew(NodeId, Vec<Attempt>, TraceContext),
}

/// What is known of an attempt that has started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Begun {
    pub(crate) kind: TaskKind,
    pub(crate) model: String,
    /// The time at which the attempt arrived.
    pub(crate) queued_since: Instant,
    /// Number of attempts in the job, this one included.
    pub(crate) batch: u32,
    pub(crate) trace: TraceContext,
}

/// An attempt that runs or waits here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkingAttempt<'worker> {
    pub(crate) origin: NodeId,
    pub(crate) task: TaskId,
    pub(crate) number: u32,
    pub(crate) kind: TaskKind,
    pub(crate) model: &'worker str,
    /// The time at which it arrived.
    pub(crate) queued_since: Instant,
    /// The time of its start; `None` if it waits.
    pub(crate) begun_at: Option<Instant>,
}

/// An attempt that has ended here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    origin: NodeId,
    attempt: Attempt,
    kind: TaskKind,
    model: String,
    trace: TraceContext,
    times: Times,
    ending: AttemptEnding,
    /// Compute time, in microseconds.
    compute_micros: u64,
    input_tokens: u64,
    output_tokens: u64,
}

/// The steps of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    queued_since: Instant,
    /// The time of its start, and the number of attempts in its job.
    begun: Option<(Instant, u32)>,
    first_token_at: Option<Instant>,
}

impl Ended {
    /// Returns the report about an attempt that ended now.
    pub(crate) fn at(self, now: Instant) -> AttemptEnd {
        let Times { queued_since, begun, first_token_at } = self.times;
        let since = |then: Instant| micros(now.since(then));
        let start = begun.map(|(at, _)| at);
        AttemptEnd {
            task: self.attempt.task,
            attempt: self.attempt.number,
            origin: self.origin,
            kind: self.kind,
            model: self.model,
            ending: self.ending,
            queued_micros: micros(start.unwrap_or(now).since(queued_since)),
            run_micros: start.map(since),
            compute_micros: self.compute_micros,
            batch: begun.map_or(0, |(_, batch)| batch),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            first_token_micros: start.zip(first_token_at).map(|(start, first)| micros(first.since(start))),
            trace: self.trace,
        }
    }
}

/// The attempts and models of one worker.
#[derive(Debug)]
pub(crate) struct Worker {
    me: NodeId,
    slots: usize,
    accepting: bool,
    /// The models that this node runs.
    models: BTreeMap<(TaskKind, String), Model>,
    attempts: BTreeMap<Key, QueuedAttempt>,
    queue: VecDeque<Key>,
    jobs: BTreeMap<JobId, Vec<Key>>,
    next_job: u64,
    deadlines: BTreeSet<(Instant, Key)>,
    /// Origins that are unreachable, with the time until which their running attempts continue; `None` once none is
    /// left.
    lost: BTreeMap<NodeId, Option<Instant>>,
    /// The text of running generations that is not sent yet.
    progress: BTreeMap<Key, ProgressBuffer>,
    renew_at: Option<Instant>,
    actions: Vec<Action>,
}

/// The origin, and its task.
type Key = (NodeId, TaskId);

/// A model of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// The fingerprint; `None` while its files are being hashed.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Whether it can be used.
    pub(crate) state: ModelState,
}

#[derive(Debug)]
struct QueuedAttempt {
    assignment: Assignment,
    deadline: Instant,
    job: Option<JobId>,
    times: Times,
}

impl Worker {
    /// Creates a worker without attempts.
    pub(crate) fn new(me: NodeId, slots: u16, models: &[ModelOffer]) -> Self {
        let listed = |model: &ModelOffer| {
            let known = Model { fingerprint: model.fingerprint, state: ModelState::Away };
            ((model.kind, model.name.clone()), known)
        };
        Self {
            me,
            slots: usize::from(slots),
            accepting: true,
            models: models.iter().map(listed).collect(),
            attempts: BTreeMap::new(),
            queue: VecDeque::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            deadlines: BTreeSet::new(),
            lost: BTreeMap::new(),
            progress: BTreeMap::new(),
            renew_at: None,
            actions: Vec::new(),
        }
    }

    /// Accepts an attempt, or declines it.
    pub(crate) fn handle_assignment(&mut self, now: Instant, origin: NodeId, assignment: Assignment) {
        let key = (origin, assignment.attempt.task);
        if self.lost.contains_key(&origin) {
            self.handle_origin_reachable(origin);
        }
        let other = |entry: &QueuedAttempt| {
            entry.assignment.fingerprint != assignment.fingerprint
                && entry.assignment.attempt.number <= assignment.attempt.number
        };
        if self.attempts.get(&key).is_some_and(other) {
            // The task is for another model now, so its output so far does not count.
            self.drop_attempt(key, AttemptEnding::ModelChanged);
        }
        if let Some(entry) = self.attempts.get_mut(&key) {
            // The origin lost track and assigned the task again. The attempt continues under the newer number, or under
            // the same one if the origin has restarted. Its deadline is reset.
            if assignment.attempt.number >= entry.assignment.attempt.number {
                self.deadlines.remove(&(entry.deadline, key));
                entry.deadline = now.after(Duration::from_millis(assignment.remaining_millis));
                self.deadlines.insert((entry.deadline, key));
                entry.assignment.attempt = assignment.attempt;
                if let Some(buffer) = self.progress.get_mut(&key) {
                    buffer.restart();
                }
                let begun = entry.job.map(|_| entry.begun());
                self.actions.extend(begun.map(|begun| Action::Begun(origin, assignment.attempt, begun)));
            }
            return;
        }
        let of_origin = self.attempts_of(origin).count();
        // No other node may hold more than a quarter of the queue.
        let share = if origin == self.me { ATTEMPTS_MAX } else { ATTEMPTS_MAX / 4 };
        let known = self.models.get(&(assignment.input.kind(), assignment.model.clone()));
        let known = known.filter(|known| {
            known.fingerprint == Some(assignment.fingerprint) || shows(Mutant::NameIsIdentity)
        });
        if let Some(ModelState::Unusable(why)) = known.map(|known| &known.state) {
            let error = InferenceError::ModelFailed(why.clone());
            let Assignment { attempt, fingerprint, trace, .. } = assignment;
            let result = Err(error);
            self.actions.push(Action::Outcome { origin, attempt, fingerprint, micros: 0, result, trace });
            return;
        }
        if !self.accepting || known.is_none() || of_origin >= share || self.attempts.len() >= ATTEMPTS_MAX {
            self.actions.push(Action::Declined(origin, assignment.attempt, assignment.trace));
            return;
        }
        let deadline = now.after(Duration::from_millis(assignment.remaining_millis));
        self.deadlines.insert((deadline, key));
        let times = Times { queued_since: now, begun: None, first_token_at: None };
        self.attempts.insert(key, QueuedAttempt { assignment, deadline, job: None, times });
        self.queue.push_back(key);
        self.renew_at.get_or_insert_with(|| now.after(RENEW_INTERVAL));
    }

    /// Drops an attempt. The message may arrive after the next assignment, so older numbers are ignored.
    pub(crate) fn handle_release(&mut self, origin: NodeId, attempt: Attempt) {
        let key = (origin, attempt.task);
        if self.attempts.get(&key).is_some_and(|entry| entry.assignment.attempt.number <= attempt.number) {
            self.drop_attempt(key, AttemptEnding::Cancelled);
        }
    }

    /// Handles an unreachable origin. Its queued attempts are dropped. Its running ones continue for some time, as it
    /// may return.
    pub(crate) fn handle_origin_unreachable(&mut self, now: Instant, origin: NodeId) {
        let of_origin: Vec<(Key, bool)> =
            self.attempts_of(origin).map(|(key, entry)| (*key, entry.job.is_some())).collect();
        if of_origin.is_empty() {
            return;
        }
        if self.lost.len() >= LOST_ORIGINS_MAX && !self.lost.contains_key(&origin) {
            // Evicts the origin whose attempts end first.
            let first = self.lost.iter().min_by_key(|(_, until)| **until).map(|(&origin, _)| origin);
            first.map(|first| self.lost.remove(&first));
        }
        self.lost.insert(origin, Some(now.after(LOST_ORIGIN_TIMEOUT)));
        for (key, _) in of_origin.into_iter().filter(|(_, runs)| !runs) {
            self.drop_attempt(key, AttemptEnding::Abandoned);
        }
    }

    /// Handles an origin that is reachable again: renews the leases of its remaining attempts.
    pub(crate) fn handle_origin_reachable(&mut self, origin: NodeId) {
        let attempts: Vec<Attempt> =
            self.attempts_of(origin).map(|(_, entry)| entry.assignment.attempt).collect();
        if self.lost.remove(&origin).is_none() && attempts.is_empty() {
            return;
        }
        for (_, buffer) in self.progress.iter_mut().filter(|((of, _), _)| *of == origin) {
            // Chunks may have been lost.
            buffer.restart();
        }
        if !shows(Mutant::LeaseNotRenewed) {
            let trace =
                TraceContext::common(attempts.iter().map(|attempt| self.trace_of(origin, attempt.task)));
            self.actions.push(Action::Renew(origin, attempts, trace));
        }
    }

    /// Drops all attempts of an origin that has left permanently.
    pub(crate) fn handle_origin_gone(&mut self, origin: NodeId) {
        self.lost.remove(&origin);
        let all: Vec<Key> = self.attempts_of(origin).map(|(key, _)| *key).collect();
        for key in all {
            self.drop_attempt(key, AttemptEnding::Abandoned);
        }
    }

    /// Splits attempts of an origin into those that are here and those that are missing. Those here take over the
    /// origin's number.
    pub(crate) fn handle_check(
        &mut self,
        origin: NodeId,
        attempts: Vec<Attempt>,
    ) -> (Vec<Attempt>, Vec<Attempt>) {
        let here = |attempt: &Attempt| {
            let key = (origin, attempt.task);
            let Some(entry) = self.attempts.get_mut(&key) else { return false };
            let before = core::mem::replace(&mut entry.assignment.attempt, *attempt);
            if let Some(buffer) = self.progress.get_mut(&key).filter(|_| before != *attempt) {
                buffer.restart();
            }
            true
        };
        attempts.into_iter().partition(here)
    }

    /// Handles a change of a model: its fingerprint, or whether it can be used. Queued attempts fail if the model is
    /// unusable or has been replaced. A model that is not `listed` was added while the node ran, and may be removed.
    pub(crate) fn handle_model(&mut self, kind: TaskKind, name: String, model: Model, listed: bool) {
        let waits = |(_, entry): &(&Key, &QueuedAttempt)| {
            let Assignment { input, model, .. } = &entry.assignment;
            entry.job.is_none() && input.kind() == kind && *model == name
        };
        let waiting: Vec<Key> = self.attempts.iter().filter(waits).map(|(key, _)| *key).collect();
        for key in waiting {
            let Some(wanted) = self.attempts.get(&key).map(|entry| entry.assignment.fingerprint) else {
                continue;
            };
            let other = model.fingerprint != Some(wanted) && !shows(Mutant::NameIsIdentity);
            let error = if other {
                InferenceError::ModelChanged
            } else if let ModelState::Unusable(why) = &model.state {
                InferenceError::ModelFailed(why.clone())
            } else {
                continue;
            };
            if let Some(entry) = self.drop_attempt(key, ending_of(&error)) {
                let Assignment { attempt, trace, .. } = entry.assignment;
                let (origin, fingerprint, result) = (key.0, wanted, Err(error));
                self.actions.push(Action::Outcome { origin, attempt, fingerprint, micros: 0, result, trace });
            }
        }
        if model.state == ModelState::Away && !listed {
            self.models.remove(&(kind, name));
        } else {
            self.models.insert((kind, name), model);
        }
    }

    /// Handles generated text of a job.
    pub(crate) fn handle_progress(&mut self, now: Instant, job: JobId, text: &str, tokens: u32) {
        let Some(&[key]) = self.jobs.get(&job).map(Vec::as_slice) else { return };
        let Some(entry) = self.attempts.get_mut(&key) else { return };
        if entry.job == Some(job) && entry.assignment.input.kind() == TaskKind::Generation {
            entry.times.first_token_at.get_or_insert(now);
            self.progress.entry(key).or_default().push(text, tokens);
        }
    }

    /// Handles the end of a job.
    pub(crate) fn handle_done(
        &mut self,
        job: JobId,
        micros: u64,
        result: Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>,
    ) {
        let Some(keys) = self.jobs.remove(&job) else { return };
        let count = keys.len();
        let results = match result {
            Ok(results) if results.len() == count => results,
            Ok(_) => vec![Err(InferenceError::ModelFailed("the model lost an output".into())); count],
            Err(error) => vec![Err(error); count],
        };
        let each = micros / u64::try_from(count).unwrap_or(1).max(1);
        for (key, result) in keys.into_iter().zip(results) {
            // An attempt that was released meanwhile, and perhaps assigned again, is no longer part of this job.
            if self.attempts.get(&key).is_some_and(|entry| entry.job == Some(job))
                && let Some(entry) = self.remove(key)
            {
                let result = result.and_then(bounded);
                self.actions.push(Action::Ended(Box::new(entry.ended(
                    key.0,
                    ending(&result),
                    each,
                    result.as_ref().ok(),
                ))));
                let Assignment { attempt, fingerprint, trace, .. } = entry.assignment;
                let origin = key.0;
                self.actions.push(Action::Outcome {
                    origin,
                    attempt,
                    fingerprint,
                    micros: each,
                    result,
                    trace,
                });
            }
        }
    }

    /// Accepts no more attempts, and hands back those that have not started.
    pub(crate) fn handle_leave(&mut self) {
        if shows(Mutant::WorksWhileLeaving) {
            return;
        }
        self.accepting = false;
        for key in core::mem::take(&mut self.queue) {
            if let Some(entry) = self.remove(key) {
                let ended = entry.ended(key.0, AttemptEnding::HandedBack, 0, None);
                self.actions.push(Action::Ended(Box::new(ended)));
                let Assignment { attempt, trace, .. } = entry.assignment;
                self.actions.push(Action::HandedBack(key.0, attempt, trace));
            }
        }
    }

    /// Cancels all running attempts and hands them back. Returns their number.
    pub(crate) fn handle_cut_off(&mut self) -> usize {
        let running: Vec<Key> = self.attempts.keys().copied().collect();
        for &key in &running {
            if let Some(entry) = self.drop_attempt(key, AttemptEnding::HandedBack) {
                let Assignment { attempt, trace, .. } = entry.assignment;
                self.actions.push(Action::HandedBack(key.0, attempt, trace));
            }
        }
        running.len()
    }

    /// Handles due timeouts, and starts jobs while slots are free.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(due, key)) = self.deadlines.first().filter(|(due, _)| *due <= now) {
            self.deadlines.remove(&(due, key));
            // The origin ends the task by its own clock.
            if !shows(Mutant::DeadlineIgnored) {
                self.drop_attempt(key, AttemptEnding::Expired);
            }
        }
        self.drop_lost(now);
        if self.renew_at.is_some_and(|due| due <= now) {
            self.renew(now);
        }
        self.send_progress(now);
        while self.jobs.len() < self.slots && self.begin_job(now) {}
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let in_reach = |key: &&Key| !self.lost.contains_key(&key.0);
        let buffers = self.progress.iter().filter(|(key, _)| in_reach(key));
        let told_at = buffers.filter_map(|(_, buffer)| buffer.due()).min();
        let lost_at = self.lost.values().copied().flatten().min();
        [self.deadlines.first().map(|(due, _)| *due), self.renew_at, told_at, lost_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns the queued actions, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Tells whether actions are queued.
    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Returns the origin of each attempt, and whether it runs.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = (NodeId, bool)> {
        self.attempts.iter().map(|((origin, _), entry)| (*origin, entry.job.is_some()))
    }

    /// Returns each attempt with its origin, by origin.
    pub(crate) fn attempt_views(&self) -> impl Iterator<Item = WorkingAttempt<'_>> {
        self.attempts.iter().map(|((origin, task), entry)| WorkingAttempt {
            origin: *origin,
            task: *task,
            number: entry.assignment.attempt.number,
            kind: entry.assignment.input.kind(),
            model: &entry.assignment.model,
            queued_since: entry.times.queued_since,
            begun_at: entry.times.begun.map(|(at, _)| at),
        })
    }

    /// Returns the number of jobs that run, and their limit.
    pub(crate) fn slots(&self) -> (usize, usize) {
        (self.jobs.len(), self.slots)
    }

    /// Returns the number of queued and running attempts.
    pub(crate) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Returns the models that this node runs.
    pub(crate) fn models(&self) -> impl Iterator<Item = (TaskKind, &str, &Model)> {
        self.models.iter().map(|((kind, name), model)| (*kind, name.as_str(), model))
    }

    /// Returns one model.
    pub(crate) fn model(&self, kind: TaskKind, name: &str) -> Option<&Model> {
        self.models().find(|(of, known, _)| *of == kind && *known == name).map(|(_, _, model)| model)
    }

    /// Returns why a model of this node is unusable, if it is.
    pub(crate) fn unusable(&self, kind: TaskKind, name: &str) -> Option<&FailureReason> {
        match &self.model(kind, name)?.state {
            ModelState::Unusable(why) => Some(why),
            ModelState::Away | ModelState::Ready => None,
        }
    }

    /// Returns the trace of a task of an origin that this node has.
    pub(crate) fn trace_of(&self, origin: NodeId, task: TaskId) -> TraceContext {
        self.attempts.get(&(origin, task)).map_or(TraceContext::NONE, |entry| entry.assignment.trace)
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 5] {
        [
            Occupancy::transient("worker.attempts", self.attempts.len(), ATTEMPTS_MAX),
            Occupancy::transient("worker.deadlines", self.deadlines.len(), ATTEMPTS_MAX),
            Occupancy::transient("worker.jobs", self.jobs.len(), self.slots),
            Occupancy::transient("worker.progress", self.progress.len(), self.slots),
            Occupancy::new("worker.lost", self.lost.len(), LOST_ORIGINS_MAX),
        ]
    }

    /// Starts a job with the oldest attempt that can run, batched with similar ones.
    fn begin_job(&mut self, now: Instant) -> bool {
        let generates = |key: &Key| {
            self.attempts.get(key).is_some_and(|entry| entry.assignment.input.kind() == TaskKind::Generation)
        };
        // Long jobs leave one slot for short ones.
        let generations = self.jobs.values().filter(|keys| keys.first().is_some_and(generates)).count();
        let others = self.models.keys().any(|(kind, _)| *kind != TaskKind::Generation);
        let full = self.slots > 1 && others && generations + 1 >= self.slots;
        let can_run = |key: &Key| {
            let entry = self.attempts.get(key);
            entry.is_some_and(|entry| {
                let model = (entry.assignment.input.kind(), entry.assignment.model.clone());
                let ready = self.models.get(&model).is_some_and(|model| model.state == ModelState::Ready);
                ready && !(full && generates(key))
            })
        };
        let Some(at) = self.queue.iter().position(can_run) else { return false };
        let Some(first) = self.queue.remove(at) else { return false };
        let Some(lead) = self.attempts.get(&first).map(|entry| entry.assignment.clone()) else {
            return false;
        };
        let mut keys = vec![first];
        if lead.input.kind() != TaskKind::Generation && !lead.alone {
            let others = self.others_like(&lead);
            self.queue.retain(|key| !others.contains(key));
            keys.extend(others);
        }
        let job = JobId(self.next_job);
        self.next_job += 1;
        let mut inputs = Vec::new();
        let batch = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        for key in &keys {
            let Some(entry) = self.attempts.get_mut(key) else { continue };
            entry.job = Some(job);
            entry.times.begun = Some((now, batch));
            inputs.push(entry.assignment.input.clone());
            self.actions.push(Action::Begun(key.0, entry.assignment.attempt, entry.begun()));
        }
        self.jobs.insert(job, keys);
        self.actions.push(Action::Infer(job, lead.model, lead.fingerprint, as_job(inputs, lead.input)));
        true
    }

    /// Returns queued attempts that can run in one batch with `lead`, up to the limit.
    fn others_like(&self, lead: &Assignment) -> Vec<Key> {
        let mut parts = lead.input.parts();
        let mut others = Vec::new();
        for key in &self.queue {
            let Some(other) = self.attempts.get(key).map(|entry| &entry.assignment) else { continue };
            let alike = other.input.kind() == lead.input.kind()
                && other.model == lead.model
                && other.fingerprint == lead.fingerprint
                && !other.alone;
            if !alike {
                continue;
            }
            parts = parts.saturating_add(other.input.parts());
            if parts > BATCH_PARTS_MAX || others.len() + 1 >= BATCH_MAX {
                break;
            }
            others.push(*key);
        }
        others
    }

    /// Renews the leases of all attempts, at reachable origins and at this node.
    fn renew(&mut self, now: Instant) {
        let mut by_origin: BTreeMap<NodeId, Vec<Attempt>> = BTreeMap::new();
        for (&(origin, _), entry) in &self.attempts {
            by_origin.entry(origin).or_default().push(entry.assignment.attempt);
        }
        self.renew_at = (!by_origin.is_empty()).then(|| now.after(RENEW_INTERVAL));
        if shows(Mutant::LeaseNotRenewed) {
            by_origin.clear();
        }
        if shows(Mutant::OwnLeaseNotRenewed) {
            by_origin.remove(&self.me);
        }
        by_origin.retain(|origin, _| !self.lost.contains_key(origin));
        for (origin, attempts) in by_origin {
            let trace =
                TraceContext::common(attempts.iter().map(|attempt| self.trace_of(origin, attempt.task)));
            self.actions.push(Action::Renew(origin, attempts, trace));
        }
    }

    /// Drops running attempts whose origins have been unreachable for too long. An origin that returns is notified.
    fn drop_lost(&mut self, now: Instant) {
        let due: Vec<NodeId> = self
            .lost
            .iter()
            .filter(|(_, until)| until.is_some_and(|until| until <= now))
            .map(|(&origin, _)| origin)
            .collect();
        for origin in due {
            self.handle_origin_gone(origin);
            self.lost.insert(origin, None);
        }
    }

    /// Sends generated text to the origins.
    fn send_progress(&mut self, now: Instant) {
        for (key, buffer) in &mut self.progress {
            if self.lost.contains_key(&key.0) {
                continue;
            }
            let Some(entry) = self.attempts.get(key) else { continue };
            let pause = if key.0 == self.me { Duration::ZERO } else { progress::CHUNK_INTERVAL };
            while let Some(piece) = buffer.take(now, entry.assignment.attempt, pause) {
                self.actions.push(Action::Progress(key.0, piece, entry.assignment.trace));
            }
        }
    }

    fn attempts_of(&self, origin: NodeId) -> impl Iterator<Item = (&Key, &QueuedAttempt)> {
        self.attempts.range((origin, TaskId([0; 16]))..=(origin, TaskId([0xff; 16])))
    }

    fn remove(&mut self, key: Key) -> Option<QueuedAttempt> {
        let entry = self.attempts.remove(&key)?;
        self.progress.remove(&key);
        self.deadlines.remove(&(entry.deadline, key));
        Some(entry)
    }

    /// Drops an attempt, and cancels its job if no attempt of it is left.
    fn drop_attempt(&mut self, key: Key, ending: AttemptEnding) -> Option<QueuedAttempt> {
        let entry = self.remove(key)?;
        self.actions.push(Action::Ended(Box::new(entry.ended(key.0, ending, 0, None))));
        match entry.job {
            None => self.queue.retain(|queued| *queued != key),
            Some(job) => {
                let wanted = |key: &Key| self.attempts.get(key).is_some_and(|entry| entry.job == Some(job));
                if !self.jobs.get(&job).is_some_and(|keys| keys.iter().any(wanted)) {
                    self.actions.push(Action::Cancel(job));
                }
            }
        }
        Some(entry)
    }
}

impl QueuedAttempt {
    /// Returns the report about the start of the attempt.
    fn begun(&self) -> Begun {
        Begun {
            kind: self.assignment.input.kind(),
            model: self.assignment.model.clone(),
            queued_since: self.times.queued_since,
            batch: self.times.begun.map_or(0, |(_, batch)| batch),
            trace: self.assignment.trace,
        }
    }

    /// Returns the report about the end of the attempt.
    fn ended(
        &self,
        origin: NodeId,
        ending: AttemptEnding,
        micros: u64,
        output: Option<&TaskOutput>,
    ) -> Ended {
        let (input_tokens, output_tokens) = output.map_or((0, 0), TaskOutput::token_counts);
        Ended {
            origin,
            attempt: self.assignment.attempt,
            kind: self.assignment.input.kind(),
            model: self.assignment.model.clone(),
            trace: self.assignment.trace,
            times: self.times,
            ending,
            compute_micros: micros,
            input_tokens,
            output_tokens,
        }
    }
}

/// Returns how an attempt with this result ended.
const fn ending(result: &Result<TaskOutput, InferenceError>) -> AttemptEnding {
    match result {
        Ok(_) => AttemptEnding::Completed,
        Err(error) => ending_of(error),
    }
}

/// Returns how an attempt with this error ended.
const fn ending_of(error: &InferenceError) -> AttemptEnding {
    match error {
        InferenceError::Cancelled => AttemptEnding::Cancelled,
        InferenceError::Crashed => AttemptEnding::Crashed,
        InferenceError::InputRejected(_) | InferenceError::PartRejected { .. } => {
            AttemptEnding::InputRejected
        }
        InferenceError::ModelChanged => AttemptEnding::ModelChanged,
        InferenceError::ModelFailed(_) => AttemptEnding::ModelFailed,
    }
}

/// Rejects an output that fits no frame. A retry would end the same way.
fn bounded(output: TaskOutput) -> Result<TaskOutput, InferenceError> {
    let bytes = output.bytes();
    if bytes <= OUTPUT_BYTES_MAX {
        return Ok(output);
    }
    let words = format!("its output would have {bytes} bytes; at most {OUTPUT_BYTES_MAX} fit a message");
    Err(InferenceError::InputRejected(words.into()))
}

/// Builds a job from inputs of one kind. `lead` is the first of them.
fn as_job(inputs: Vec<TaskInput>, lead: TaskInput) -> InferenceJob {
    let (mut texts, mut lists, mut queries) = (Vec::new(), Vec::new(), Vec::new());
    for input in inputs {
        match input {
            TaskInput::Classification(text) => texts.push(text),
            TaskInput::Embedding { inputs } => lists.push(inputs),
            TaskInput::Generation(_) => {}
            TaskInput::Reranking(query) => queries.push(query),
        }
    }
    match lead {
        TaskInput::Classification(_) => InferenceJob::Classify { inputs: texts },
        TaskInput::Embedding { .. } => InferenceJob::Embed { inputs: lists },
        TaskInput::Generation(generation) => InferenceJob::Generate(generation),
        TaskInput::Reranking(_) => InferenceJob::Rerank { inputs: queries },
    }
}

/// Maximum number of queued and running attempts.
const ATTEMPTS_MAX: usize = 256;
/// Maximum number of attempts in one job.
const BATCH_MAX: usize = 16;
/// Maximum number of texts in a job with more than one attempt.
const BATCH_PARTS_MAX: usize = 64;
/// How long a running attempt continues while its origin is unreachable: one lease.
const LOST_ORIGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of unreachable origins to remember.
const LOST_ORIGINS_MAX: usize = 256;
/// The interval between renewals: a third of a lease.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
