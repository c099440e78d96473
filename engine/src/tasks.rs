//! A task's life at its origin: queue, lease, attempts, one terminal outcome.
//!
//! A task is accepted once it is durable here. It is given to a worker under a lease; when the lease runs out, or the
//! worker dies, leaves or declines, the task waits again and another attempt begins. The first valid outcome, of
//! whichever attempt, ends the task; all later ones change nothing. A task ends exactly once, because the step into
//! [`Phase::Ending`] happens in one place and nothing leads back from it.

mod progress;
#[cfg(test)]
mod tests;

use self::progress::Progress;
use crate::error::{InferenceError, Rejection};
use crate::event::ReassignReason;
use crate::ids::{Fingerprint, MessageId, NodeId, RequestId, TaskId};
use crate::model::ModelChoice;
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::request::{News, Seen, TokenCount};
use crate::task::{
    Outcome, ResultSummary, StoredTask, TaskFailure, TaskInput, TaskKind, TaskOutput, TaskResult, TaskStatus,
};
use crate::time::{Instant, UnixMillis, micros};
use crate::wire::{Assignment, Attempt, Passage};
use crate::work::OUTPUT_BYTES_MAX;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is wanted or was found out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    /// Nothing was heard of these for a while: ask their worker whether it has them.
    Check(NodeId, Vec<Attempt>),
    /// A task has its outcome; it ends once this is durable.
    Ending(Box<TaskResult>),
    /// There is more of a task's text, or its status changed.
    Progressed(TaskId),
    /// A task was taken from its worker and waits again.
    Reassigned(Attempt, NodeId, ReassignReason),
    /// The worker need not go on with the task.
    Release(Attempt, NodeId),
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Computed {
    /// The model that computed it.
    pub(crate) fingerprint: Fingerprint,
    /// Time spent computing, in microseconds.
    pub(crate) micros: u64,
    /// The output, or why there is none.
    pub(crate) result: Result<TaskOutput, InferenceError>,
}

/// What an outcome from a worker changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ends the task: acknowledge it once that is durable.
    Ends,
    /// The task had its outcome already, or its worker was never asked: nothing.
    Nothing,
    /// Another attempt follows.
    Retries,
}

/// The open tasks of one origin.
#[derive(Debug)]
pub(crate) struct Tasks {
    limits: Limits,
    open: BTreeMap<TaskId, Open>,
    waiting: VecDeque<TaskId>,
    timers: BTreeSet<(Instant, TaskId)>,
    bytes: u64,
    /// Bytes of text of all running generations together.
    progress_bytes: usize,
    facts: Vec<Fact>,
}

/// How much an origin takes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open tasks.
    pub(crate) tasks: usize,
    /// Bytes of input of open tasks.
    pub(crate) bytes: u64,
    /// How long a result is kept.
    pub(crate) retention: Duration,
}

/// One open task.
#[derive(Debug)]
pub(crate) struct Open {
    /// The task as it is stored.
    pub(crate) stored: StoredTask,
    /// When it was accepted, or recovered.
    pub(crate) accepted_at: Instant,
    /// Requests that wait for the outcome.
    pub(crate) waiters: Vec<RequestId>,
    /// Outcomes to acknowledge once the end is durable: the message and its sender.
    pub(crate) acks: Vec<(MessageId, NodeId)>,
    /// Requests that wait for more text or another status than they have seen.
    pub(crate) watchers: Vec<(RequestId, Seen)>,
    /// When it was last given to a worker.
    pub(crate) assigned_at: Instant,
    /// When its worker was first heard to have begun it, if it has.
    begun_at: Instant,
    /// What the attempt has written so far.
    progress: Option<Progress>,
    phase: Phase,
    deadline: Instant,
    timer: Instant,
    /// Every worker that was given the task, for nobody else's outcome counts.
    asked: BTreeSet<NodeId>,
    deaths: u32,
    failures: u32,
    /// Whether somebody was told a part of what an attempt wrote.
    told: bool,
    /// What the last worker said for whom the model failed.
    pub(crate) failure: Option<String>,
    /// Whether this node has chosen its model, and may choose another one.
    pub(crate) model_chosen: bool,
}

#[derive(Debug)]
enum Phase {
    /// Not accepted yet: waits to become durable.
    Storing,
    /// Accepted; waits for a worker.
    Waiting,
    /// With a worker.
    Assigned { worker: NodeId, started: bool, lease: Lease },
    /// Has its outcome; waits for that to become durable.
    Ending { status: TaskStatus, worker: Option<NodeId> },
}

/// How long a worker has a task without a word.
#[derive(Clone, Copy, Debug)]
struct Lease {
    until: Instant,
    /// When the worker is asked whether it has the task.
    check_at: Instant,
}

impl Lease {
    fn from(now: Instant) -> Self {
        Self { until: now.after(LEASE), check_at: now.after(CHECK_AFTER) }
    }

    /// Returns when something is to be done about it.
    fn due(self) -> Instant {
        self.until.min(self.check_at)
    }
}

impl Tasks {
    /// Makes an origin without tasks.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            timers: BTreeSet::new(),
            bytes: 0,
            progress_bytes: 0,
            facts: Vec::new(),
        }
    }

    /// Takes on a task, to be stored.
    /// `model_chosen` says whether this node has chosen the task's model.
    ///
    /// # Errors
    /// [`Rejection::QueueFull`] where that would be more than the limits allow.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        stored: StoredTask,
        model_chosen: bool,
    ) -> Result<(), Rejection> {
        let bytes = self.bytes.saturating_add(stored.spec.input.bytes());
        let full = self.open.len() >= self.limits.tasks || bytes > self.limits.bytes;
        if full && !shows(Mutant::QueueBoundIgnored) {
            return Err(Rejection::QueueFull { retry_after: RETRY_AFTER });
        }
        let id = stored.id;
        self.insert(now, stored, Phase::Storing);
        if let Some(open) = self.open.get_mut(&id) {
            open.model_chosen = model_chosen;
        }
        Ok(())
    }

    /// Takes on a task that was accepted before a restart. Its time starts anew: how long the node was away is known
    /// to no clock that could be relied upon.
    pub(crate) fn recover(&mut self, now: Instant, stored: StoredTask) {
        let id = stored.id;
        self.insert(now, stored, Phase::Waiting);
        if let Some(open) = self.open.get_mut(&id).filter(|_| shows(Mutant::DeadlineLostOnRestart)) {
            open.deadline = now.after(Duration::from_secs(86_400));
            self.arm(id);
        }
        if !shows(Mutant::RecoveredNotQueued) {
            self.waiting.push_back(id);
        }
    }

    /// Takes note that a task is durable: it is accepted.
    pub(crate) fn handle_stored(&mut self, id: TaskId) {
        if let Some(open) = self.open.get_mut(&id).filter(|open| matches!(open.phase, Phase::Storing)) {
            open.phase = Phase::Waiting;
            self.waiting.push_back(id);
        }
    }

    /// Forgets a task that could not be stored.
    pub(crate) fn handle_store_failed(&mut self, id: TaskId) {
        self.remove(id);
    }

    /// Returns the tasks that wait for a worker, oldest first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &StoredTask> {
        self.waiting.iter().filter_map(|id| Some(&self.open.get(id)?.stored))
    }

    /// Gives a waiting task to a worker, and returns what the worker must know.
    pub(crate) fn assign(&mut self, now: Instant, id: TaskId, worker: NodeId) -> Option<Assignment> {
        let open = self.open.get_mut(&id).filter(|open| matches!(open.phase, Phase::Waiting))?;
        let fingerprint = open.stored.choice?.fingerprint;
        self.waiting.retain(|waiting| *waiting != id);
        if open.stored.attempts == 0 || !shows(Mutant::AttemptNumberKept) {
            open.stored.attempts = open.stored.attempts.saturating_add(1);
        }
        open.asked.insert(worker);
        open.assigned_at = now;
        open.phase = Phase::Assigned { worker, started: false, lease: Lease::from(now) };
        self.progress_bytes -= open.progress.take().map_or(0, |progress| progress.bytes());
        let spec = &open.stored.spec;
        let assignment = Assignment {
            attempt: Attempt { task: id, number: open.stored.attempts },
            model: spec.model.clone().unwrap_or_default(),
            fingerprint,
            input: spec.input.clone(),
            remaining_millis: micros(open.deadline.since(now)) / 1000,
            trace: open.stored.trace,
            alone: open.deaths + open.failures > 0,
        };
        self.arm(id);
        Some(assignment)
    }

    /// Takes note that a worker still has an attempt, or has begun it.
    pub(crate) fn handle_renewed(&mut self, now: Instant, from: NodeId, attempt: Attempt, begun: bool) {
        let Some(open) = self.open.get_mut(&attempt.task) else {
            self.facts.push(Fact::Release(attempt, from));
            return;
        };
        let number = open.stored.attempts;
        if !open.asked.contains(&from) {
            // It was asked before this node started again: its outcome will not count.
            self.facts.push(Fact::Release(attempt, from));
            return;
        }
        match &mut open.phase {
            Phase::Assigned { worker, started, lease } if *worker == from && number == attempt.number => {
                *lease = Lease::from(now);
                if begun && !*started {
                    *started = true;
                    open.begun_at = now;
                    self.facts.push(Fact::Progressed(attempt.task));
                }
                self.arm(attempt.task);
            }
            // It works on what another worker has by now; whoever is first wins.
            Phase::Assigned { .. } | Phase::Storing | Phase::Waiting => {}
            Phase::Ending { .. } => self.facts.push(Fact::Release(attempt, from)),
        }
    }

    /// Takes in what an attempt has written meanwhile.
    pub(crate) fn handle_progress(&mut self, now: Instant, from: NodeId, piece: Passage) {
        let task = piece.attempt.task;
        let Some(open) = self.open.get_mut(&task) else { return };
        let current = matches!(open.phase, Phase::Assigned { worker, .. } if worker == from)
            && open.stored.attempts == piece.attempt.number
            && open.stored.spec.kind() == TaskKind::Generation;
        if !current {
            return;
        }
        let attempt = piece.attempt;
        let progress = open.progress.get_or_insert_with(|| Progress::new(attempt.number));
        let before = progress.bytes();
        let room = PROGRESS_BYTES_MAX.saturating_sub(self.progress_bytes);
        let room = room.min(OUTPUT_BYTES_MAX.saturating_sub(before));
        let more = progress.add(piece, room);
        self.progress_bytes = self.progress_bytes + progress.bytes() - before;
        if more {
            self.facts.push(Fact::Progressed(task));
        }
        self.handle_renewed(now, from, attempt, true);
    }

    /// Takes in what came of an attempt.
    pub(crate) fn handle_outcome(
        &mut self,
        now: Instant,
        wall: UnixMillis,
        from: NodeId,
        attempt: Attempt,
        computed: Computed,
    ) -> Verdict {
        let Computed { fingerprint, micros, result } = computed;
        let Some(open) = self.open.get_mut(&attempt.task) else { return Verdict::Nothing };
        let asked = open.asked.contains(&from) || shows(Mutant::OutcomeFromAnybody);
        // What another model computed is no outcome of this task, though it was asked for earlier.
        let of_model = open.stored.choice.is_some_and(|choice| choice.fingerprint == fingerprint);
        if matches!(open.phase, Phase::Ending { .. }) || !asked || !of_model {
            return Verdict::Nothing;
        }
        let current = matches!(open.phase, Phase::Assigned { worker, .. } if worker == from)
            && open.stored.attempts == attempt.number;
        let result = result.and_then(|output| check(&open.stored.spec.input, output));
        let outcome = match result {
            Ok(output) => Outcome::Completed(output),
            Err(InferenceError::InputRejected(why)) => Outcome::Failed(TaskFailure::InputRejected(why)),
            Err(InferenceError::PartRejected { part, reason }) => {
                Outcome::Failed(TaskFailure::PartRejected { part, reason })
            }
            // Only the attempt that counts may call for another.
            Err(_) if !current => return Verdict::Nothing,
            Err(InferenceError::Cancelled) => {
                self.wait_again(attempt.task, ReassignReason::HandedBack);
                return Verdict::Retries;
            }
            Err(InferenceError::Crashed) => {
                open.deaths += u32::from(!shows(Mutant::CrashesNotCounted));
                if open.deaths < ATTEMPTS_MAX {
                    self.wait_again(attempt.task, ReassignReason::Crashed);
                    return Verdict::Retries;
                }
                Outcome::Failed(TaskFailure::Poison)
            }
            Err(InferenceError::ModelChanged) => {
                self.wait_again(attempt.task, ReassignReason::ModelChanged);
                return Verdict::Retries;
            }
            Err(InferenceError::ModelFailed(why)) => {
                open.failures += 1;
                if open.failures < ATTEMPTS_MAX {
                    open.failure = Some(why.chars().take(REASON_CHARS_MAX).collect());
                    self.wait_again(attempt.task, ReassignReason::Refused);
                    return Verdict::Retries;
                }
                Outcome::Failed(TaskFailure::ModelFailed(why))
            }
        };
        self.end(now, wall, attempt.task, outcome, Some(from), micros);
        Verdict::Ends
    }

    /// Takes back an attempt that its worker declined or handed back, or that did not reach it.
    pub(crate) fn handle_returned(&mut self, from: NodeId, attempt: Attempt, reason: ReassignReason) {
        let Some(open) = self.open.get(&attempt.task) else { return };
        let current = matches!(open.phase, Phase::Assigned { worker, .. } if worker == from);
        if current && open.stored.attempts == attempt.number || shows(Mutant::StaleReturnTakesTask) {
            self.wait_again(attempt.task, reason);
        }
    }

    /// Takes back all that a worker has: it is dead, gone, or does not answer. `died` tells whether it is known to
    /// have died: a task that it had begun may be the cause.
    pub(crate) fn handle_worker_lost(&mut self, now: Instant, wall: UnixMillis, lost: NodeId, died: bool) {
        let with_it = |(&id, open): (&TaskId, &Open)| match open.phase {
            Phase::Assigned { worker, started, .. } if worker == lost => Some((id, started)),
            Phase::Assigned { .. } | Phase::Ending { .. } | Phase::Storing | Phase::Waiting => None,
        };
        let tasks: Vec<(TaskId, bool)> = self.open.iter().filter_map(with_it).collect();
        for (id, started) in tasks {
            let Some(open) = self.open.get_mut(&id) else { continue };
            open.deaths += u32::from(died && started);
            if open.deaths < ATTEMPTS_MAX {
                self.wait_again(id, ReassignReason::Unreachable);
            } else {
                self.end(now, wall, id, Outcome::Failed(TaskFailure::Poison), Some(lost), 0);
            }
        }
    }

    /// Ends a task as its user wishes. Returns whether it was open and had no outcome yet.
    pub(crate) fn cancel(&mut self, now: Instant, wall: UnixMillis, id: TaskId) -> bool {
        let cancellable = |open: &Open| matches!(open.phase, Phase::Waiting | Phase::Assigned { .. });
        if !self.open.get(&id).is_some_and(cancellable) {
            return false;
        }
        self.end(now, wall, id, Outcome::Cancelled, None, 0);
        true
    }

    /// Gives a task another model. What is stored keeps the first one: after a restart the task has that again.
    pub(crate) fn change_model(&mut self, id: TaskId, model: String) {
        if let Some(open) = self.open.get_mut(&id) {
            open.stored.spec.model = Some(model);
            open.stored.choice = None;
            open.failure = None;
        }
    }

    /// Sets which model of the task's name it is for. Only for a task of which nothing was told yet. What is stored
    /// keeps an earlier choice: after a restart it is made again.
    pub(crate) fn choose_fingerprint(&mut self, id: TaskId, fingerprint: Fingerprint) {
        if let Some(open) = self.open.get_mut(&id) {
            open.stored.choice = Some(ModelChoice { fingerprint, required: false });
        }
    }

    /// Ends a task that nobody can do.
    pub(crate) fn fail(&mut self, now: Instant, wall: UnixMillis, id: TaskId, failure: TaskFailure) {
        self.end(now, wall, id, Outcome::Failed(failure), None, 0);
    }

    /// Takes note that a task's end is durable, and forgets the task.
    pub(crate) fn handle_ended(&mut self, id: TaskId) -> Option<Open> {
        self.remove(id)
    }

    /// Returns what a worker has, as far as is known here.
    pub(crate) fn with(&self, holder: NodeId) -> impl Iterator<Item = Attempt> {
        self.open.iter().filter_map(move |(&task, open)| {
            let with_it = matches!(open.phase, Phase::Assigned { worker, .. } if worker == holder);
            with_it.then_some(Attempt { task, number: open.stored.attempts })
        })
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, wall: UnixMillis) {
        // A node that did not run itself has not heard what its workers said meanwhile.
        let late = self.timers.first().is_some_and(|(due, _)| now > due.after(LATE));
        let mut checks: BTreeMap<NodeId, Vec<Attempt>> = BTreeMap::new();
        while let Some(&(due, id)) = self.timers.first().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, id));
            let Some(open) = self.open.get_mut(&id) else { continue };
            if now >= open.deadline {
                self.end(now, wall, id, Outcome::Timeout, None, 0);
                continue;
            }
            let number = open.stored.attempts;
            let Phase::Assigned { worker, lease, .. } = &mut open.phase else { continue };
            if now >= lease.until && !late {
                self.wait_again(id, ReassignReason::LeaseExpired);
                continue;
            }
            if now >= lease.check_at {
                lease.check_at = now.after(CHECK_AFTER);
                if late {
                    lease.until = lease.until.max(lease.check_at);
                }
                checks.entry(*worker).or_default().push(Attempt { task: id, number });
            }
            self.arm(id);
        }
        self.facts.extend(checks.into_iter().map(|(worker, attempts)| Fact::Check(worker, attempts)));
    }

    /// Returns when something will be due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Returns what is wanted or was found out, in order.
    pub(crate) fn poll_facts(&mut self) -> Vec<Fact> {
        core::mem::take(&mut self.facts)
    }

    /// Returns an open task.
    pub(crate) fn get(&self, id: TaskId) -> Option<&Open> {
        self.open.get(&id)
    }

    /// Returns an open task, to be changed.
    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut Open> {
        self.open.get_mut(&id)
    }

    /// Returns the open tasks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Open> {
        self.open.values()
    }

    /// Says how full everything is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 3] {
        [
            Occupancy::of_work("tasks.open", self.open.len(), self.limits.tasks),
            Occupancy::of_work("tasks.progress", self.progress_bytes, PROGRESS_BYTES_MAX),
            Occupancy {
                current: self.bytes,
                limit: self.limits.bytes,
                ..Occupancy::of_work("tasks.bytes", 0, 0)
            },
        ]
    }

    fn insert(&mut self, now: Instant, stored: StoredTask, phase: Phase) {
        let id = stored.id;
        let deadline = now.after(stored.spec.timeout);
        self.bytes = self.bytes.saturating_add(stored.spec.input.bytes());
        let open = Open {
            stored,
            accepted_at: now,
            waiters: Vec::new(),
            acks: Vec::new(),
            watchers: Vec::new(),
            assigned_at: now,
            begun_at: now,
            progress: None,
            phase,
            deadline,
            timer: deadline,
            asked: BTreeSet::new(),
            deaths: 0,
            failures: 0,
            told: false,
            failure: None,
            model_chosen: false,
        };
        self.open.insert(id, open);
        self.timers.insert((deadline, id));
    }

    fn remove(&mut self, id: TaskId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.timers.remove(&(open.timer, id));
        self.waiting.retain(|waiting| *waiting != id);
        self.progress_bytes -= open.progress.as_ref().map_or(0, Progress::bytes);
        if !shows(Mutant::QueueBytesLeak) {
            self.bytes = self.bytes.saturating_sub(open.stored.spec.input.bytes());
        }
        Some(open)
    }

    /// Sets the one timer of a task: its lease or its deadline, whichever is first.
    fn arm(&mut self, id: TaskId) {
        let Some(open) = self.open.get_mut(&id) else { return };
        self.timers.remove(&(open.timer, id));
        open.timer = match open.phase {
            Phase::Assigned { lease, .. } => lease.due().min(open.deadline),
            Phase::Storing | Phase::Waiting => open.deadline,
            Phase::Ending { .. } => return,
        };
        self.timers.insert((open.timer, id));
    }

    fn wait_again(&mut self, id: TaskId, reason: ReassignReason) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Phase::Assigned { worker, .. } = open.phase else { return };
        open.phase = Phase::Waiting;
        // It has waited before: it goes first.
        self.waiting.push_front(id);
        let attempt = Attempt { task: id, number: open.stored.attempts };
        self.facts.push(Fact::Reassigned(attempt, worker, reason));
        self.facts.push(Fact::Progressed(id));
        self.arm(id);
    }

    fn end(
        &mut self,
        now: Instant,
        wall: UnixMillis,
        id: TaskId,
        outcome: Outcome,
        worker: Option<NodeId>,
        execution_micros: u64,
    ) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let phase = Phase::Ending { status: outcome.status(), worker };
        match core::mem::replace(&mut open.phase, phase) {
            // A task that is not durable yet has no outcome; its time goes on.
            before @ Phase::Storing => {
                open.phase = before;
                open.deadline = now.after(RETRY_AFTER);
                return self.arm(id);
            }
            before @ Phase::Ending { .. } => return open.phase = before,
            Phase::Assigned { worker: holder, .. } if Some(holder) != worker => {
                let attempt = Attempt { task: id, number: open.stored.attempts };
                self.facts.push(Fact::Release(attempt, holder));
            }
            Phase::Assigned { .. } | Phase::Waiting => {}
        }
        self.timers.remove(&(open.timer, id));
        self.waiting.retain(|waiting| *waiting != id);
        let result = result(&open.stored, outcome, worker, execution_micros, wall, self.limits.retention);
        self.facts.push(Fact::Ending(Box::new(result)));
    }
}

impl Open {
    /// Returns how the task stands and who has it.
    pub(crate) fn status(&self) -> (TaskStatus, Option<NodeId>) {
        match self.phase {
            Phase::Storing | Phase::Waiting => (TaskStatus::Queued, None),
            Phase::Assigned { worker, started: true, .. } => (TaskStatus::Running, Some(worker)),
            Phase::Assigned { worker, started: false, .. } => (TaskStatus::Queued, Some(worker)),
            // Not visible as ended before it is durable.
            Phase::Ending { status: TaskStatus::Completed, worker } => (TaskStatus::Running, worker),
            Phase::Ending { .. } => (TaskStatus::Queued, None),
        }
    }

    /// Returns what there is beyond what somebody has seen; `None` where that is nothing.
    pub(crate) fn news(&mut self, seen: Seen) -> Option<News> {
        let has_seen = usize::try_from(seen.bytes).unwrap_or(usize::MAX);
        let (attempt, text, from) = match &self.progress {
            Some(progress) if progress.attempt == seen.attempt => {
                let from = progress.text.floor_char_boundary(has_seen.min(progress.text.len()));
                (progress.attempt, progress.text.get(from..).unwrap_or_default(), from)
            }
            Some(progress) => (progress.attempt, progress.text.as_str(), 0),
            None => (seen.attempt, "", has_seen),
        };
        if text.is_empty() && self.status().0 == seen.status {
            return None;
        }
        let offset = u32::try_from(from).unwrap_or(u32::MAX);
        let news = News { attempt, offset, text: text.to_owned() };
        self.told |= !news.text.is_empty();
        Some(news)
    }

    /// Returns how many tokens there are of how many; `None` where the task makes none.
    pub(crate) fn tokens(&self) -> Option<TokenCount> {
        let TaskInput::Generation(generation) = &self.stored.spec.input else { return None };
        let produced = self.progress.as_ref().map_or(0, |progress| progress.tokens);
        Some(TokenCount { produced, most: generation.max_tokens })
    }

    /// Returns how much longer the task will take, where it runs: by what it has done so far, or else by what its
    /// worker is expected to need for all that it was given.
    pub(crate) fn remaining(
        &self,
        now: Instant,
        expected: impl FnOnce(NodeId) -> Option<Duration>,
    ) -> Option<Duration> {
        let (TaskStatus::Running, Some(worker)) = self.status() else { return None };
        let left = self.deadline.since(now);
        match self.tokens() {
            Some(TokenCount { produced: 0, .. }) => None,
            Some(TokenCount { produced, most }) => {
                let spent = u128::from(micros(now.since(self.begun_at)));
                let rest = spent * u128::from(most.saturating_sub(produced)) / u128::from(produced);
                Some(Duration::from_micros(u64::try_from(rest).unwrap_or(u64::MAX)).min(left))
            }
            None => Some(expected(worker)?.saturating_sub(now.since(self.assigned_at)).min(left)),
        }
    }

    /// Tells whether another model of the same name may take the place of the one that the task was for: no other task
    /// relies on that, and nobody was told a part of what it writes.
    pub(crate) fn may_change_model(&self) -> bool {
        let required = self.stored.choice.is_some_and(|choice| choice.required);
        !required && !self.told
    }

    /// Tells whether a worker's outcome ends the task, and is not durable yet.
    pub(crate) fn ends_by(&self, from: NodeId) -> bool {
        matches!(self.phase, Phase::Ending { worker, .. } if worker == Some(from))
    }

    /// Tells whether the task was accepted: it is durable.
    pub(crate) fn is_accepted(&self) -> bool {
        !matches!(self.phase, Phase::Storing)
    }
}

fn result(
    stored: &StoredTask,
    outcome: Outcome,
    worker: Option<NodeId>,
    execution_micros: u64,
    wall: UnixMillis,
    retention: Duration,
) -> TaskResult {
    let output_bytes = match &outcome {
        Outcome::Completed(output) => postcard::experimental::serialized_size(output).unwrap_or_default(),
        Outcome::Cancelled | Outcome::Failed(_) | Outcome::Timeout => 0,
    };
    let failure = if let Outcome::Failed(failure) = &outcome { Some(failure.clone()) } else { None };
    let output_preview = match &outcome {
        Outcome::Completed(output) => output.preview(),
        Outcome::Cancelled | Outcome::Failed(_) | Outcome::Timeout => String::new(),
    };
    let summary = ResultSummary {
        id: stored.id,
        kind: stored.spec.kind(),
        model: stored.spec.model.clone().unwrap_or_default(),
        status: outcome.status(),
        failure,
        worker,
        execution_micros,
        attempts: stored.attempts,
        submitted_at: stored.submitted_at,
        completed_at: wall,
        expires_at: wall.after(retention),
        output_bytes: u64::try_from(output_bytes).unwrap_or(u64::MAX),
        preview: stored.spec.input.preview(),
        output_preview,
        trace: stored.trace,
    };
    let computed = matches!(outcome, Outcome::Completed(_));
    let fingerprint = stored.choice.filter(|_| computed).map(|choice| choice.fingerprint);
    TaskResult { summary, outcome, fingerprint }
}

/// Checks an output that came from elsewhere: it must be what was asked for, and usable.
fn check(input: &TaskInput, output: TaskOutput) -> Result<TaskOutput, InferenceError> {
    let usable = match (input, &output) {
        (TaskInput::Classification(_), TaskOutput::Classification { scores, .. }) => {
            scores.iter().all(|(_, score)| score.is_finite())
        }
        (TaskInput::Embedding { inputs }, TaskOutput::Embedding { vectors, .. }) => {
            let length = vectors.first().map_or(0, Vec::len);
            let sound = |vector: &Vec<f32>| {
                vector.len() == length && vector.iter().all(|component| component.is_finite())
            };
            vectors.len() == inputs.len() && length > 0 && vectors.iter().all(sound)
        }
        (TaskInput::Generation(_), TaskOutput::Generation { .. }) => true,
        (TaskInput::Reranking(input), TaskOutput::Reranking { scores, .. }) => {
            scores.len() == input.texts.len() && scores.iter().all(|score| score.is_finite())
        }
        (TaskInput::Reranking(input), TaskOutput::Ranking { logits, scores, .. }) => {
            [logits, scores].iter().all(|numbers| {
                numbers.len() == input.texts.len() && numbers.iter().all(|number| number.is_finite())
            })
        }
        (
            TaskInput::Classification(_)
            | TaskInput::Embedding { .. }
            | TaskInput::Generation(_)
            | TaskInput::Reranking(_),
            TaskOutput::Classification { .. }
            | TaskOutput::Embedding { .. }
            | TaskOutput::Generation { .. }
            | TaskOutput::Ranking { .. }
            | TaskOutput::Reranking { .. },
        ) => false,
    };
    // A list in the order of the inputs has no more of them than there are.
    let numbers = || output.truncated().iter().map(|truncation| truncation.input as usize);
    let parts = input.parts() + labels(input);
    let usable =
        usable && numbers().is_sorted_by(|one, next| one < next) && numbers().all(|number| number < parts);
    let complaint = || InferenceError::ModelFailed("the worker sent an unusable output".to_owned());
    usable.then_some(output).ok_or_else(complaint)
}

/// Returns how many labels an input has beside its text.
const fn labels(input: &TaskInput) -> usize {
    match input {
        TaskInput::Classification(classification) => classification.labels.len(),
        TaskInput::Embedding { .. } | TaskInput::Generation(_) | TaskInput::Reranking(_) => 0,
    }
}

/// As much as is kept of what a worker says why it failed.
const REASON_CHARS_MAX: usize = 1000;
/// How long a worker has a task without a word.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How long a worker may say nothing of a task before it is asked: longer than its pause between two words of it.
const CHECK_AFTER: Duration = Duration::from_secs(14);
/// How late a lease is looked at by a node that did not run.
const LATE: Duration = Duration::from_millis(500);
/// Bytes of text of all running generations together; beyond, they are not streamed.
const PROGRESS_BYTES_MAX: usize = 32 << 20;
/// Attempts that may end with a death, or with a failing model, before the task fails.
const ATTEMPTS_MAX: u32 = 3;
/// When a rejected user should try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
