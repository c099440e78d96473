//! The life of a task at its origin: queue, attempts under leases, one outcome.
//!
//! A task is accepted once it is durable here. It is assigned to a worker under a lease. If the lease expires, or the
//! worker dies, leaves or declines, the task waits for the next attempt. The first valid outcome, of any attempt, ends
//! the task; later ones are ignored. A task ends exactly once: only one function sets [`Phase::Ending`], and no
//! transition leads back from it.

mod progress;
#[cfg(test)]
mod tests;

use self::progress::Progress;
use crate::bounded_text::FailureReason;
use crate::error::{InferenceError, Rejection};
use crate::event::ReassignReason;
use crate::ids::{Fingerprint, MessageId, NodeId, RequestId, TaskId};
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::request::{Cursor, TaskUpdate, TokenCount};
use crate::task::{
    ModelChoice, OUTPUT_BYTES_MAX, Outcome, ResultSummary, StoredTask, TaskFailure, TaskInput, TaskKind,
    TaskOutput, TaskResult, TaskStatus, WaitsFor,
};
use crate::time::{Instant, UnixMillis, micros};
use crate::wire::{Assignment, Attempt, ProgressChunk};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A command to the parent or a report to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Ask a worker that has been silent whether it still has these attempts.
    Check(NodeId, Vec<Attempt>),
    /// A task has an outcome; it ends once this is durable.
    Ending(Box<TaskResult>),
    /// A task has more text or a new status.
    Progressed(TaskId),
    /// A task was taken from its worker and waits for the next attempt.
    Reassigned(Attempt, NodeId, ReassignReason),
    /// The worker may stop this attempt.
    Release(Attempt, NodeId),
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Computed {
    /// The model that computed it.
    pub(crate) fingerprint: Fingerprint,
    /// Compute time, in microseconds.
    pub(crate) micros: u64,
    /// The output, or the error.
    pub(crate) result: Result<TaskOutput, InferenceError>,
}

/// The effect of a worker's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The task ends: acknowledge the outcome once the end is durable.
    Ends,
    /// None: the task already has an outcome, or was never assigned to this worker.
    Nothing,
    /// The task waits for another attempt.
    Retries,
}

/// The open tasks of one origin.
#[derive(Debug)]
pub(crate) struct Tasks {
    limits: Limits,
    open: BTreeMap<TaskId, OpenTask>,
    waiting: VecDeque<TaskId>,
    timers: BTreeSet<(Instant, TaskId)>,
    bytes: u64,
    /// Total size of the text of all running generations, in bytes.
    progress_bytes: usize,
    actions: Vec<Action>,
}

/// The limits of an origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Maximum number of open tasks.
    pub(crate) tasks: usize,
    /// Maximum total size of the inputs of open tasks, in bytes.
    pub(crate) bytes: u64,
    /// How long a result is stored.
    pub(crate) retention: Duration,
}

/// One open task.
#[derive(Debug)]
pub(crate) struct OpenTask {
    /// The task, as stored on disk.
    pub(crate) stored: StoredTask,
    /// The time at which it was accepted or recovered.
    pub(crate) accepted_at: Instant,
    /// The time from its submission to its recovery, by the wall clock; zero without a restart of the node.
    age_at_recovery: Duration,
    /// The requests that wait for the outcome.
    pub(crate) waiters: Vec<RequestId>,
    /// The outcomes to acknowledge once the end is durable, each with its sender.
    pub(crate) acks: Vec<(MessageId, NodeId)>,
    /// The requests that wait for more text or another status than they have seen.
    pub(crate) watchers: Vec<(RequestId, Cursor)>,
    /// The time of the last assignment.
    pub(crate) assigned_at: Instant,
    /// The time at which the outcome arrived that is being stored.
    pub(crate) ending_since: Option<Instant>,
    /// The time of the first report that the attempt has started.
    begun_at: Instant,
    /// The text that the attempt has generated so far.
    progress: Option<Progress>,
    phase: Phase,
    deadline: Instant,
    timer: Instant,
    /// All workers that the task was assigned to. Outcomes of other nodes are ignored.
    asked: BTreeSet<NodeId>,
    deaths: u32,
    failures: u32,
    /// What it waits for, as long as it has not started.
    waits_for: Option<WaitsFor>,
    /// Whether a user was shown a part of the attempt's text.
    told: bool,
    /// The error of the last worker whose model failed.
    pub(crate) failure: Option<FailureReason>,
    /// Whether this node chose the model, and may choose another one.
    pub(crate) model_chosen: bool,
}

/// The state of an open task. It only moves down this list, except that a task may leave its worker and wait again.
#[derive(Debug)]
enum Phase {
    /// Not accepted yet: the task is being stored.
    Storing,
    /// Accepted; waits for an assignment.
    Waiting,
    /// Assigned to a worker.
    Assigned { worker: NodeId, started: bool, lease: Lease },
    /// Has an outcome, which is being stored.
    Ending { status: TaskStatus, worker: Option<NodeId> },
}

/// How long a worker may have a task without news.
#[derive(Clone, Copy, Debug)]
struct Lease {
    until: Instant,
    /// When to ask the worker whether it has the task.
    check_at: Instant,
}

impl Lease {
    fn from(now: Instant) -> Self {
        Self { until: now.after(LEASE), check_at: now.after(CHECK_INTERVAL) }
    }

    /// Returns the next deadline of the lease.
    fn due(self) -> Instant {
        self.until.min(self.check_at)
    }
}

impl Tasks {
    /// Creates an origin without tasks.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            timers: BTreeSet::new(),
            bytes: 0,
            progress_bytes: 0,
            actions: Vec::new(),
        }
    }

    /// Admits a task, which is to be stored next. `model_chosen` tells whether this node chose the task's model.
    ///
    /// # Errors
    /// [`Rejection::QueueFull`] if the task would exceed a limit.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        stored: StoredTask,
        model_chosen: bool,
    ) -> Result<(), Rejection> {
        let bytes = self.bytes.saturating_add(stored.spec.input.bytes());
        let full = self.open.len() >= self.limits.tasks || bytes > self.limits.bytes;
        if full && !shows(Mutant::QueueBoundIgnored) {
            return Err(Rejection::QueueFull { retry_after: QUEUE_FULL_RETRY_AFTER });
        }
        let id = stored.id;
        self.insert(now, stored, Phase::Storing);
        if let Some(open) = self.open.get_mut(&id) {
            open.model_chosen = model_chosen;
        }
        Ok(())
    }

    /// Admits a task that was accepted before a restart. Its timeout starts again, since no reliable clock has measured
    /// how long the node was away.
    pub(crate) fn recover(&mut self, now: Instant, wall: UnixMillis, stored: StoredTask) {
        let id = stored.id;
        let age = Duration::from_millis(wall.0.saturating_sub(stored.submitted_at.0));
        self.insert(now, stored, Phase::Waiting);
        if let Some(open) = self.open.get_mut(&id) {
            open.age_at_recovery = age;
        }
        if let Some(open) = self.open.get_mut(&id).filter(|_| shows(Mutant::DeadlineLostOnRestart)) {
            open.deadline = now.after(Duration::from_secs(86_400));
            self.arm(id);
        }
        if !shows(Mutant::RecoveredNotQueued) {
            self.waiting.push_back(id);
        }
    }

    /// Accepts a task that has become durable.
    pub(crate) fn handle_stored(&mut self, id: TaskId) {
        if let Some(open) = self.open.get_mut(&id).filter(|open| matches!(open.phase, Phase::Storing)) {
            open.phase = Phase::Waiting;
            self.waiting.push_back(id);
        }
    }

    /// Removes a task that could not be stored.
    pub(crate) fn handle_store_failed(&mut self, id: TaskId) {
        self.remove(id);
    }

    /// Returns the tasks that wait for an assignment, oldest first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &StoredTask> {
        self.waiting.iter().filter_map(|id| Some(&self.open.get(id)?.stored))
    }

    /// Notes what a task waits for.
    pub(crate) fn note_wait(&mut self, id: TaskId, waits_for: WaitsFor) {
        if let Some(open) = self.open.get_mut(&id) {
            open.waits_for = Some(waits_for);
        }
    }

    /// Assigns a waiting task to a worker, and returns the assignment to send.
    pub(crate) fn assign(&mut self, now: Instant, id: TaskId, worker: NodeId) -> Option<Assignment> {
        let open = self.open.get_mut(&id).filter(|open| matches!(open.phase, Phase::Waiting))?;
        let fingerprint = open.stored.choice?.fingerprint;
        self.waiting.retain(|waiting| *waiting != id);
        if open.stored.attempts == 0 || !shows(Mutant::AttemptNumberKept) {
            open.stored.attempts = open.stored.attempts.saturating_add(1);
        }
        open.asked.insert(worker);
        open.assigned_at = now;
        open.waits_for = None;
        open.phase = Phase::Assigned { worker, started: false, lease: Lease::from(now) };
        self.progress_bytes -= open.progress.take().map_or(0, |progress| progress.bytes());
        let spec = &open.stored.spec;
        let assignment = Assignment {
            attempt: Attempt { task: id, number: open.stored.attempts },
            model: spec.model.clone().unwrap_or_default(),
            fingerprint,
            input: spec.input.clone(),
            remaining_millis: micros(open.deadline.since(now)) / 1000,
            trace: open.stored.trace_context(),
            alone: open.deaths + open.failures > 0,
        };
        self.arm(id);
        Some(assignment)
    }

    /// Renews the lease of an attempt that its worker still has. `begun` tells whether it has started.
    pub(crate) fn handle_renewed(&mut self, now: Instant, from: NodeId, attempt: Attempt, begun: bool) {
        let Some(open) = self.open.get_mut(&attempt.task) else {
            self.actions.push(Action::Release(attempt, from));
            return;
        };
        let number = open.stored.attempts;
        if !open.asked.contains(&from) {
            // It was assigned before this node restarted: its outcome would be ignored.
            self.actions.push(Action::Release(attempt, from));
            return;
        }
        match &mut open.phase {
            Phase::Assigned { worker, started, lease } if *worker == from && number == attempt.number => {
                *lease = Lease::from(now);
                if begun && !*started {
                    *started = true;
                    open.begun_at = now;
                    self.actions.push(Action::Progressed(attempt.task));
                }
                self.arm(attempt.task);
            }
            // The task was reassigned, but the first outcome of any attempt counts.
            Phase::Assigned { .. } | Phase::Storing | Phase::Waiting => {}
            Phase::Ending { .. } => self.actions.push(Action::Release(attempt, from)),
        }
    }

    /// Handles a piece of the text that an attempt generates.
    pub(crate) fn handle_progress(&mut self, now: Instant, from: NodeId, piece: ProgressChunk) {
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
            self.actions.push(Action::Progressed(task));
        }
        self.handle_renewed(now, from, attempt, true);
    }

    /// Handles the result of an attempt.
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
        // The output of another model does not count, even if the task was assigned for that model earlier.
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
            // Only an error of the current attempt causes a retry.
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
                    open.failure = Some(why);
                    self.wait_again(attempt.task, ReassignReason::Refused);
                    return Verdict::Retries;
                }
                Outcome::Failed(TaskFailure::ModelFailed(why))
            }
        };
        self.end(now, wall, attempt.task, outcome, Some(from), micros);
        Verdict::Ends
    }

    /// Takes back an attempt that its worker declined or returned, or that did not reach it.
    pub(crate) fn handle_returned(&mut self, from: NodeId, attempt: Attempt, reason: ReassignReason) {
        let Some(open) = self.open.get(&attempt.task) else { return };
        let current = matches!(open.phase, Phase::Assigned { worker, .. } if worker == from);
        if current && open.stored.attempts == attempt.number || shows(Mutant::StaleReturnTakesTask) {
            self.wait_again(attempt.task, reason);
        }
    }

    /// Takes back all attempts of a worker that is dead, gone, or does not answer. If it `died`, an attempt that it had
    /// started may be the cause and counts as a crash.
    pub(crate) fn handle_worker_lost(&mut self, now: Instant, wall: UnixMillis, lost: NodeId, died: bool) {
        let with_it = |(&id, open): (&TaskId, &OpenTask)| match open.phase {
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

    /// Cancels a task. Returns whether it was open and had no outcome.
    pub(crate) fn cancel(&mut self, now: Instant, wall: UnixMillis, id: TaskId) -> bool {
        let cancellable = |open: &OpenTask| matches!(open.phase, Phase::Waiting | Phase::Assigned { .. });
        if !self.open.get(&id).is_some_and(cancellable) {
            return false;
        }
        self.end(now, wall, id, Outcome::Cancelled, None, 0);
        true
    }

    /// Changes the model of a task. The stored task keeps the first model, which it has again after a restart.
    pub(crate) fn change_model(&mut self, id: TaskId, model: String) {
        if let Some(open) = self.open.get_mut(&id) {
            open.stored.spec.model = Some(model);
            open.stored.choice = None;
            open.failure = None;
        }
    }

    /// Sets the fingerprint of a task's model. Only for a task whose text nobody has seen. The stored task keeps its
    /// earlier choice: after a restart, the choice is made again.
    pub(crate) fn choose_fingerprint(&mut self, id: TaskId, fingerprint: Fingerprint) {
        if let Some(open) = self.open.get_mut(&id) {
            open.stored.choice = Some(ModelChoice { fingerprint, required: false });
        }
    }

    /// Ends a task that no node can compute.
    pub(crate) fn fail(&mut self, now: Instant, wall: UnixMillis, id: TaskId, failure: TaskFailure) {
        self.end(now, wall, id, Outcome::Failed(failure), None, 0);
    }

    /// Removes a task whose end is durable.
    pub(crate) fn handle_ended(&mut self, id: TaskId) -> Option<OpenTask> {
        self.remove(id)
    }

    /// Returns the attempts that a worker has, as known here.
    pub(crate) fn with(&self, holder: NodeId) -> impl Iterator<Item = Attempt> {
        self.open.iter().filter_map(move |(&task, open)| {
            let with_it = matches!(open.phase, Phase::Assigned { worker, .. } if worker == holder);
            with_it.then_some(Attempt { task, number: open.stored.attempts })
        })
    }

    /// Handles the deadlines and leases that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, wall: UnixMillis) {
        // A node that was suspended has not read what its workers sent meanwhile.
        let late = self.timers.first().is_some_and(|(due, _)| now > due.after(SUSPEND_THRESHOLD));
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
                lease.check_at = now.after(CHECK_INTERVAL);
                if late {
                    lease.until = lease.until.max(lease.check_at);
                }
                checks.entry(*worker).or_default().push(Attempt { task: id, number });
            }
            self.arm(id);
        }
        self.actions.extend(checks.into_iter().map(|(worker, attempts)| Action::Check(worker, attempts)));
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Returns the queued actions, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns an open task.
    pub(crate) fn get(&self, id: TaskId) -> Option<&OpenTask> {
        self.open.get(&id)
    }

    /// Returns an open task, mutably.
    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut OpenTask> {
        self.open.get_mut(&id)
    }

    /// Returns the open tasks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &OpenTask> {
        self.open.values()
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 3] {
        [
            Occupancy::transient("tasks.open", self.open.len(), self.limits.tasks),
            Occupancy::transient("tasks.progress", self.progress_bytes, PROGRESS_BYTES_MAX),
            Occupancy {
                current: self.bytes,
                limit: self.limits.bytes,
                ..Occupancy::transient("tasks.bytes", 0, 0)
            },
        ]
    }

    fn insert(&mut self, now: Instant, stored: StoredTask, phase: Phase) {
        let id = stored.id;
        let deadline = now.after(stored.spec.timeout);
        self.bytes = self.bytes.saturating_add(stored.spec.input.bytes());
        let open = OpenTask {
            stored,
            accepted_at: now,
            age_at_recovery: Duration::ZERO,
            waiters: Vec::new(),
            acks: Vec::new(),
            watchers: Vec::new(),
            assigned_at: now,
            ending_since: None,
            begun_at: now,
            progress: None,
            phase,
            deadline,
            timer: deadline,
            asked: BTreeSet::new(),
            deaths: 0,
            failures: 0,
            waits_for: None,
            told: false,
            failure: None,
            model_chosen: false,
        };
        self.open.insert(id, open);
        self.timers.insert((deadline, id));
    }

    fn remove(&mut self, id: TaskId) -> Option<OpenTask> {
        let open = self.open.remove(&id)?;
        self.timers.remove(&(open.timer, id));
        self.waiting.retain(|waiting| *waiting != id);
        self.progress_bytes -= open.progress.as_ref().map_or(0, Progress::bytes);
        if !shows(Mutant::QueueBytesLeak) {
            self.bytes = self.bytes.saturating_sub(open.stored.spec.input.bytes());
        }
        Some(open)
    }

    /// Sets the timer of a task to its lease or deadline, whichever is earlier.
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
        // It has waited before, so it goes first.
        self.waiting.push_front(id);
        let attempt = Attempt { task: id, number: open.stored.attempts };
        self.actions.push(Action::Reassigned(attempt, worker, reason));
        self.actions.push(Action::Progressed(id));
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
        let timed_out = matches!(outcome, Outcome::Timeout);
        let waits_for = open.waits_for().filter(|_| timed_out);
        match core::mem::replace(&mut open.phase, phase) {
            // A task that is not durable yet cannot end. Its deadline is deferred.
            before @ Phase::Storing => {
                open.phase = before;
                open.deadline = now.after(QUEUE_FULL_RETRY_AFTER);
                return self.arm(id);
            }
            before @ Phase::Ending { .. } => return open.phase = before,
            Phase::Assigned { worker: holder, .. } if Some(holder) != worker => {
                let attempt = Attempt { task: id, number: open.stored.attempts };
                self.actions.push(Action::Release(attempt, holder));
            }
            Phase::Assigned { .. } | Phase::Waiting => {}
        }
        open.ending_since = Some(now);
        self.timers.remove(&(open.timer, id));
        self.waiting.retain(|waiting| *waiting != id);
        let mut result = result(&open.stored, outcome, worker, execution_micros, wall, self.limits.retention);
        if let Some(waits_for) = waits_for {
            result.summary.failure = Some(TaskFailure::NotStarted(waits_for));
        }
        self.actions.push(Action::Ending(Box::new(result)));
    }
}

impl OpenTask {
    /// Returns the status of the task, and its worker.
    pub(crate) fn status(&self) -> (TaskStatus, Option<NodeId>) {
        match self.phase {
            Phase::Storing | Phase::Waiting => (TaskStatus::Queued, None),
            Phase::Assigned { worker, started: true, .. } => (TaskStatus::Running, Some(worker)),
            Phase::Assigned { worker, started: false, .. } => (TaskStatus::Queued, Some(worker)),
            // The end is not visible before it is durable.
            Phase::Ending { status: TaskStatus::Completed, worker } => (TaskStatus::Running, worker),
            Phase::Ending { .. } => (TaskStatus::Queued, None),
        }
    }

    /// Returns what the task waits for, if no attempt runs and that is known.
    pub(crate) fn waits_for(&self) -> Option<WaitsFor> {
        match self.phase {
            Phase::Waiting | Phase::Assigned { started: false, .. } => self.waits_for,
            Phase::Storing | Phase::Assigned { .. } | Phase::Ending { .. } => None,
        }
    }

    /// Returns the text and status that a user has not seen; `None` if there is nothing new.
    pub(crate) fn update_since(&mut self, seen: Cursor) -> Option<TaskUpdate> {
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
        let update = TaskUpdate { attempt, offset, text: text.to_owned() };
        self.told |= !update.text.is_empty();
        Some(update)
    }

    /// Returns the progress in tokens; `None` if the task generates none.
    pub(crate) fn tokens(&self) -> Option<TokenCount> {
        let TaskInput::Generation(generation) = &self.stored.spec.input else { return None };
        let produced = self.progress.as_ref().map_or(0, |progress| progress.tokens);
        Some(TokenCount { produced, most: generation.max_tokens })
    }

    /// Returns the time since the task was submitted.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.age_at_recovery.saturating_add(now.since(self.accepted_at))
    }

    /// Returns the estimated remaining time of a running task. For a generation it is extrapolated from its progress,
    /// and otherwise it is the expected time of its worker for all its tasks.
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

    /// Tells whether another model of the same name may replace the task's model: no other task relies on it, and no
    /// user has seen a part of the text.
    pub(crate) fn may_change_model(&self) -> bool {
        let required = self.stored.choice.is_some_and(|choice| choice.required);
        !required && !self.told
    }

    /// Tells whether a worker's outcome ends the task, and is not durable yet.
    pub(crate) fn ends_by(&self, from: NodeId) -> bool {
        matches!(self.phase, Phase::Ending { worker, .. } if worker == Some(from))
    }

    /// Tells whether the task is accepted, which means durable.
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

/// Checks an output that came from a worker: it must match the input and have finite numbers.
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
    // The list has at most one entry for each input, in ascending order.
    let numbers = || output.truncated().iter().map(|truncation| truncation.input as usize);
    let parts = input.parts() + labels(input);
    let usable =
        usable && numbers().is_sorted_by(|one, next| one < next) && numbers().all(|number| number < parts);
    let complaint = || InferenceError::ModelFailed("the worker sent an unusable output".into());
    usable.then_some(output).ok_or_else(complaint)
}

/// Returns the number of labels of an input.
const fn labels(input: &TaskInput) -> usize {
    match input {
        TaskInput::Classification(classification) => classification.labels.len(),
        TaskInput::Embedding { .. } | TaskInput::Generation(_) | TaskInput::Reranking(_) => 0,
    }
}

/// How long a worker may have a task without news.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How long a worker may be silent before it is asked: longer than its interval between two renewals.
const CHECK_INTERVAL: Duration = Duration::from_secs(14);
/// How late a lease may be handled before the node counts as having been suspended.
const SUSPEND_THRESHOLD: Duration = Duration::from_millis(500);
/// Maximum total size of the text of all running generations, in bytes. Text beyond it is not streamed.
const PROGRESS_BYTES_MAX: usize = 32 << 20;
/// Number of attempts that may crash, or fail because of the model, before the task fails.
const ATTEMPTS_MAX: u32 = 3;
/// The delay after which a rejected user should try again.
const QUEUE_FULL_RETRY_AFTER: Duration = Duration::from_secs(1);
