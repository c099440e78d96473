//! A task's life at its worker: what other nodes and this one asked for, run in batches, a few at a time.
//!
//! Waiting texts for one model that are embedded or classified run together. What a model may have died of runs alone,
//! so that a text that kills its worker takes no others with it again.
//!
//! While an attempt waits or runs, its origin hears so every ten seconds, and so does this node of its own: only what
//! is not heard of loses its lease.

mod progress;
#[cfg(test)]
mod tests;

use self::progress::ProgressBuffer;
use crate::error::InferenceError;
use crate::ids::{Fingerprint, JobId, NodeId, TaskId};
use crate::input::ModelState;
use crate::model::ModelOffer;
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::output::InferenceJob;
use crate::task::{OUTPUT_BYTES_MAX, TaskInput, TaskKind, TaskOutput};
use crate::time::Instant;
use crate::wire::{Assignment, Attempt, ProgressChunk};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A command to the parent or a report to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// The origin's attempt was begun.
    Begun(NodeId, Attempt),
    /// Stop a job.
    Cancel(JobId),
    /// There is no room for the origin's attempt, or no such model.
    Declined(NodeId, Attempt),
    /// The origin's attempt will not be finished here.
    HandedBack(NodeId, Attempt),
    /// Run a job.
    Infer(JobId, String, Fingerprint, InferenceJob),
    /// What came of the origin's attempt.
    Outcome(NodeId, Attempt, Fingerprint, u64, Result<TaskOutput, InferenceError>),
    /// What the origin's attempt has written meanwhile.
    Progress(NodeId, ProgressChunk),
    /// The origin's attempts are still here.
    Renew(NodeId, Vec<Attempt>),
}

/// What a worker has to do.
#[derive(Debug)]
pub(crate) struct Worker {
    me: NodeId,
    slots: usize,
    accepting: bool,
    /// The models that this node runs, and how each stands.
    models: BTreeMap<(TaskKind, String), Model>,
    attempts: BTreeMap<Key, QueuedAttempt>,
    queue: VecDeque<Key>,
    jobs: BTreeMap<JobId, Vec<Key>>,
    next_job: u64,
    deadlines: BTreeSet<(Instant, Key)>,
    /// Origins of work that cannot be reached, and until when what runs for them goes on; `None` once nothing is left.
    lost: BTreeMap<NodeId, Option<Instant>>,
    /// What running generations have written, and is not told yet or not all of it.
    progress: BTreeMap<Key, ProgressBuffer>,
    renew_at: Option<Instant>,
    actions: Vec<Action>,
}

/// Whose task, and which.
type Key = (NodeId, TaskId);

/// A model of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// Which model it is; `None` while its files are being hashed.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// How it stands.
    pub(crate) state: ModelState,
}

#[derive(Debug)]
struct QueuedAttempt {
    assignment: Assignment,
    deadline: Instant,
    job: Option<JobId>,
}

impl Worker {
    /// Makes a worker with nothing to do.
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

    /// Takes on an attempt for its origin, or declines it.
    pub(crate) fn handle_assignment(&mut self, now: Instant, origin: NodeId, assignment: Assignment) {
        let key = (origin, assignment.attempt.task);
        if self.lost.contains_key(&origin) {
            self.handle_origin_met(origin);
        }
        let other = |entry: &QueuedAttempt| {
            entry.assignment.fingerprint != assignment.fingerprint
                && entry.assignment.attempt.number <= assignment.attempt.number
        };
        if self.attempts.get(&key).is_some_and(other) {
            // The task is for another model by now: what was computed of it does not count.
            self.drop_attempt(key);
        }
        if let Some(entry) = self.attempts.get_mut(&key) {
            // The origin lost track and assigns it again: the work continues under the newer number, or the same one
            // where the origin started again. Its time begins again.
            if assignment.attempt.number >= entry.assignment.attempt.number {
                self.deadlines.remove(&(entry.deadline, key));
                entry.deadline = now.after(Duration::from_millis(assignment.remaining_millis));
                self.deadlines.insert((entry.deadline, key));
                entry.assignment.attempt = assignment.attempt;
                if let Some(buffer) = self.progress.get_mut(&key) {
                    buffer.restart();
                }
                if entry.job.is_some() {
                    self.actions.push(Action::Begun(origin, assignment.attempt));
                }
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
            self.actions.push(Action::Outcome(
                origin,
                assignment.attempt,
                assignment.fingerprint,
                0,
                Err(error),
            ));
            return;
        }
        if !self.accepting || known.is_none() || of_origin >= share || self.attempts.len() >= ATTEMPTS_MAX {
            self.actions.push(Action::Declined(origin, assignment.attempt));
            return;
        }
        let deadline = now.after(Duration::from_millis(assignment.remaining_millis));
        self.deadlines.insert((deadline, key));
        self.attempts.insert(key, QueuedAttempt { assignment, deadline, job: None });
        self.queue.push_back(key);
        self.renew_at.get_or_insert_with(|| now.after(RENEW_INTERVAL));
    }

    /// No longer runs an attempt of the origin. Word of an attempt that was taken back may come after the next one has.
    pub(crate) fn handle_release(&mut self, origin: NodeId, attempt: Attempt) {
        let key = (origin, attempt.task);
        if self.attempts.get(&key).is_some_and(|entry| entry.assignment.attempt.number <= attempt.number) {
            self.drop_attempt(key);
        }
    }

    /// Takes note that an origin cannot be reached. What waits for it is dropped. What runs goes on for some time: the
    /// origin may be back by then.
    pub(crate) fn handle_origin_lost(&mut self, now: Instant, origin: NodeId) {
        let of_origin: Vec<(Key, bool)> =
            self.attempts_of(origin).map(|(key, entry)| (*key, entry.job.is_some())).collect();
        if of_origin.is_empty() {
            return;
        }
        if self.lost.len() >= LOST_ORIGINS_MAX && !self.lost.contains_key(&origin) {
            // The one whose work ends first, if it has any.
            let first = self.lost.iter().min_by_key(|(_, until)| **until).map(|(&origin, _)| origin);
            first.map(|first| self.lost.remove(&first));
        }
        self.lost.insert(origin, Some(now.after(LOST_ORIGIN_TIMEOUT)));
        for (key, _) in of_origin.into_iter().filter(|(_, runs)| !runs) {
            self.drop_attempt(key);
        }
    }

    /// Takes note that an origin is there again, and says what is left of what it asked for.
    pub(crate) fn handle_origin_met(&mut self, origin: NodeId) {
        let attempts: Vec<Attempt> =
            self.attempts_of(origin).map(|(_, entry)| entry.assignment.attempt).collect();
        if self.lost.remove(&origin).is_none() && attempts.is_empty() {
            return;
        }
        for (_, buffer) in self.progress.iter_mut().filter(|((of, _), _)| *of == origin) {
            // Pieces may have been lost.
            buffer.restart();
        }
        if !shows(Mutant::LeaseNotRenewed) {
            self.actions.push(Action::Renew(origin, attempts));
        }
    }

    /// Drops what an origin asked for that has left for good.
    pub(crate) fn handle_origin_gone(&mut self, origin: NodeId) {
        self.lost.remove(&origin);
        let all: Vec<Key> = self.attempts_of(origin).map(|(key, _)| *key).collect();
        for key in all {
            self.drop_attempt(key);
        }
    }

    /// Tells which of some attempts of an origin are here, under whatever number: from now on under the origin's.
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

    /// Takes note of which model a name stands for and whether it can be used. What waits for one that cannot has
    /// failed; what waits for another model of that name is handed back. A model that is not `listed` came while the
    /// node ran, and may go.
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
            if let Some(entry) = self.drop_attempt(key) {
                self.actions.push(Action::Outcome(key.0, entry.assignment.attempt, wanted, 0, Err(error)));
            }
        }
        if model.state == ModelState::Away && !listed {
            self.models.remove(&(kind, name));
        } else {
            self.models.insert((kind, name), model);
        }
    }

    /// Takes in what a job has written meanwhile.
    pub(crate) fn handle_progress(&mut self, job: JobId, text: &str, tokens: u32) {
        let Some(&[key]) = self.jobs.get(&job).map(Vec::as_slice) else { return };
        let generates = |entry: &&QueuedAttempt| {
            entry.job == Some(job) && entry.assignment.input.kind() == TaskKind::Generation
        };
        if self.attempts.get(&key).filter(generates).is_some() {
            self.progress.entry(key).or_default().push(text, tokens);
        }
    }

    /// Takes in what came of a job.
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
            Ok(_) => vec![Err(InferenceError::ModelFailed("the model lost an output".to_owned())); count],
            Err(error) => vec![Err(error); count],
        };
        let each = micros / u64::try_from(count).unwrap_or(1).max(1);
        for (key, result) in keys.into_iter().zip(results) {
            // What was released meanwhile, and perhaps asked for anew, is not this job's any more.
            if self.attempts.get(&key).is_some_and(|entry| entry.job == Some(job))
                && let Some(entry) = self.remove(key)
            {
                let result = result.and_then(bounded);
                let Assignment { attempt, fingerprint, .. } = entry.assignment;
                self.actions.push(Action::Outcome(key.0, attempt, fingerprint, each, result));
            }
        }
    }

    /// Takes on nothing more, and hands back what was not begun.
    pub(crate) fn handle_leave(&mut self) {
        if shows(Mutant::WorksWhileLeaving) {
            return;
        }
        self.accepting = false;
        for key in core::mem::take(&mut self.queue) {
            if let Some(entry) = self.remove(key) {
                self.actions.push(Action::HandedBack(key.0, entry.assignment.attempt));
            }
        }
    }

    /// Stops all that runs and hands it back. Returns how many attempts that were.
    pub(crate) fn handle_cut_off(&mut self) -> usize {
        let running: Vec<Key> = self.attempts.keys().copied().collect();
        for &key in &running {
            if let Some(entry) = self.drop_attempt(key) {
                self.actions.push(Action::HandedBack(key.0, entry.assignment.attempt));
            }
        }
        running.len()
    }

    /// Does what is due, and begins jobs where there is room.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(due, key)) = self.deadlines.first().filter(|(due, _)| *due <= now) {
            self.deadlines.remove(&(due, key));
            // The origin ends the task by its own clock.
            if !shows(Mutant::DeadlineIgnored) {
                self.drop_attempt(key);
            }
        }
        self.drop_lost(now);
        if self.renew_at.is_some_and(|due| due <= now) {
            self.renew(now);
        }
        self.send_progress(now);
        while self.jobs.len() < self.slots && self.begin_job() {}
    }

    /// Returns when something will be due.
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

    /// Returns what is wanted or was found out, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Tells whether there is something that was not polled yet.
    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Returns how many attempts wait or run.
    pub(crate) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Returns the models that this node runs, and how each stands.
    pub(crate) fn models(&self) -> impl Iterator<Item = (TaskKind, &str, &Model)> {
        self.models.iter().map(|((kind, name), model)| (*kind, name.as_str(), model))
    }

    /// Returns one of them.
    pub(crate) fn model(&self, kind: TaskKind, name: &str) -> Option<&Model> {
        self.models().find(|(of, known, _)| *of == kind && *known == name).map(|(_, _, model)| model)
    }

    /// Returns why a model of this node cannot be used, if that is so.
    pub(crate) fn unusable(&self, kind: TaskKind, name: &str) -> Option<&str> {
        match &self.model(kind, name)?.state {
            ModelState::Unusable(why) => Some(why.as_str()),
            ModelState::Away | ModelState::Ready => None,
        }
    }

    /// Says how full everything is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 5] {
        [
            Occupancy::transient("worker.attempts", self.attempts.len(), ATTEMPTS_MAX),
            Occupancy::transient("worker.deadlines", self.deadlines.len(), ATTEMPTS_MAX),
            Occupancy::transient("worker.jobs", self.jobs.len(), self.slots),
            Occupancy::transient("worker.progress", self.progress.len(), self.slots),
            Occupancy::new("worker.lost", self.lost.len(), LOST_ORIGINS_MAX),
        ]
    }

    /// Begins one job with the oldest attempt that can run, and others like it.
    fn begin_job(&mut self) -> bool {
        let generates = |key: &Key| {
            self.attempts.get(key).is_some_and(|entry| entry.assignment.input.kind() == TaskKind::Generation)
        };
        // What takes long leaves a place to what does not.
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
        for key in &keys {
            let Some(entry) = self.attempts.get_mut(key) else { continue };
            entry.job = Some(job);
            inputs.push(entry.assignment.input.clone());
            self.actions.push(Action::Begun(key.0, entry.assignment.attempt));
        }
        self.jobs.insert(job, keys);
        self.actions.push(Action::Infer(job, lead.model, lead.fingerprint, as_job(inputs, lead.input)));
        true
    }

    /// Returns waiting attempts that can run together with one, as many as one job may have.
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

    /// Says to each origin in reach, and to this node, what of theirs is still here.
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
        self.actions.extend(by_origin.into_iter().map(|(origin, attempts)| Action::Renew(origin, attempts)));
    }

    /// Drops what runs for origins that have been out of reach for too long. Should they be back, they are told.
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

    /// Tells origins what their generations have written since the last time.
    fn send_progress(&mut self, now: Instant) {
        for (key, buffer) in &mut self.progress {
            if self.lost.contains_key(&key.0) {
                continue;
            }
            let Some(entry) = self.attempts.get(key) else { continue };
            let pause = if key.0 == self.me { Duration::ZERO } else { progress::CHUNK_INTERVAL };
            while let Some(piece) = buffer.take(now, entry.assignment.attempt, pause) {
                self.actions.push(Action::Progress(key.0, piece));
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

    /// Forgets an attempt; a job of which nothing is left stops.
    fn drop_attempt(&mut self, key: Key) -> Option<QueuedAttempt> {
        let entry = self.remove(key)?;
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

/// Refuses an output that no frame could carry; another try would end the same way.
fn bounded(output: TaskOutput) -> Result<TaskOutput, InferenceError> {
    let bytes = output.bytes();
    if bytes <= OUTPUT_BYTES_MAX {
        return Ok(output);
    }
    let words = format!("its output would have {bytes} bytes; at most {OUTPUT_BYTES_MAX} fit a message");
    Err(InferenceError::InputRejected(words))
}

/// Returns inputs of one kind as a job; `lead` is the first of them.
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

/// Attempts that may wait or run.
const ATTEMPTS_MAX: usize = 256;
/// Attempts in one job.
const BATCH_MAX: usize = 16;
/// Texts in one job that has more than one attempt.
const BATCH_PARTS_MAX: usize = 64;
/// How long what runs for an origin goes on that cannot be reached: as long as a worker has a task without a word.
const LOST_ORIGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Origins remembered that were lost while they had work here.
const LOST_ORIGINS_MAX: usize = 256;
/// How often an origin hears that its attempts are still here: three times a lease.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
