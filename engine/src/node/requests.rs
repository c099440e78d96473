//! Handles the requests of users.

use super::Node;
use crate::error::{Rejection, WriteError};
use crate::event::Event;
use crate::ids::{Fingerprint, RequestId, TaskId, TraceId};
use crate::lifecycle::State;
use crate::mutants::{Mutant, shows};
use crate::output::Output;
use crate::record::Record;
use crate::request::{
    Answer, Cursor, LIST_MAX, ModelWish, Request, Response, TIMEOUT_RANGE, TaskUpdate, TracedTask,
};
use crate::task::{
    Classification, ModelChoice, Outcome, StoredTask, TaskInput, TaskResult, TaskSpec, TaskStatus,
};
use crate::time::micros;
use crate::trace::{Caller, is_sampled};
use crate::writes::Promise;

impl Node {
    pub(super) fn handle_request(&mut self, id: RequestId, request: Request) {
        let submits =
            matches!(request, Request::Submit(_) | Request::SubmitFor(..) | Request::SubmitTraced(_));
        let answer = match request {
            Request::AlertHistory { limit, offset } => {
                let limit = limit.min(LIST_MAX);
                Ok(Response::AlertHistory(self.observers.alerts.history(limit, offset)))
            }
            Request::Alerts => Ok(Response::Alerts(self.observers.alerts.view())),
            Request::Attempts => Ok(Response::Attempts(self.attempt_views())),
            Request::AwaitTask(task) => match self.await_task(id, task) {
                Some(answer) => answer,
                None => return,
            },
            Request::Cancel(task) => match self.cancel_task(id, task) {
                Some(answer) => answer,
                None => return,
            },
            Request::Diagnosis => Ok(Response::Diagnosis(self.diagnosis_view())),
            Request::Dump => Ok(Response::Dump(Box::new(self.dump_view()))),
            Request::FormerMembers => Ok(Response::Members(self.former_member_views())),
            Request::Fetch(spec) => return self.fetch(id, spec),
            Request::Fetches => Ok(Response::Fetches(self.downloader.views())),
            Request::Health => {
                if self.state != State::ShuttingDown && self.health.handle_request(self.clock.now, id) {
                    return;
                }
                Err(match self.state {
                    State::ShuttingDown | State::Stopped => Rejection::NodeShuttingDown,
                    State::Initializing | State::Registering | State::Active => Rejection::TooManyWaiting,
                })
            }
            Request::Metrics => Ok(Response::Metrics(Box::new(self.metrics_view()))),
            Request::Members => Ok(Response::Members(self.member_views())),
            Request::Ping(spec) => return self.ping(id, spec),
            Request::Peers => Ok(Response::Peers(self.peer_views())),
            Request::Route(node) => return self.explain_route(id, node),
            Request::SetThresholds { changes, reset } => match self.set_thresholds(id, &changes, reset) {
                Ok(()) => return,
                Err(rejection) => Err(rejection),
            },
            Request::Shutdown => {
                self.begin_shutdown();
                Ok(Response::ShuttingDown)
            }
            Request::Status => Ok(Response::Status(Box::new(self.status_view()))),
            Request::Choose(wish) => self.choose_for(&wish),
            Request::SubmitFor(spec, fingerprint) => match self.submit(id, spec, Some(fingerprint), None) {
                Ok(()) => return,
                Err(rejection) => Err(rejection),
            },
            Request::SubmitTraced(task) => {
                let TracedTask { spec, required, trace, caller } = *task;
                match self.submit(id, spec, required, Some((trace, caller))) {
                    Ok(()) => return,
                    Err(rejection) => Err(rejection),
                }
            }
            Request::Submit(spec) => match self.submit(id, spec, None, None) {
                Ok(()) => return,
                Err(rejection) => Err(rejection),
            },
            Request::Task(task) => self.find_task(task),
            Request::Tasks { filter, limit, offset } => Ok(self.list_tasks(filter, limit, offset)),
            Request::Trace(of) => return self.search_trace(id, of),
            Request::Watch { task, seen } => match self.watch_task(id, task, seen) {
                Some(answer) => answer,
                None => return,
            },
        };
        if let (true, Err(rejection)) = (submits, &answer) {
            self.observers.metrics.handle_rejected(rejection);
        }
        self.reply(id, answer);
    }

    pub(super) fn handle_request_dropped(&mut self, id: RequestId) {
        self.in_flight.cancelling.remove(&id);
        self.in_flight.explanations.forget(id);
        self.health.forget(id);
        self.in_flight.pings.forget(id);
        self.in_flight.traces.forget(id);
        self.downloader.forget(id);
        if let Some(task) = self.in_flight.waiting.remove(&id)
            && let Some(open) = self.tasks.get_mut(task)
        {
            open.waiters.retain(|waiter| *waiter != id);
            open.watchers.retain(|(watcher, _)| *watcher != id);
        }
    }

    pub(super) fn reply(&mut self, id: RequestId, answer: Answer) {
        self.outputs.push_back(Output::Reply { id, answer });
    }

    fn check_active(&self) -> Result<(), Rejection> {
        match self.state {
            State::Active => Ok(()),
            State::Initializing | State::Registering => Err(Rejection::NodeNotReady),
            State::ShuttingDown | State::Stopped => Err(Rejection::NodeShuttingDown),
        }
    }

    /// Answers which model a request's tasks would be for.
    fn choose_for(&self, wish: &ModelWish) -> Answer {
        self.check_active()?;
        let name = self.choose_model(wish.kind, wish.labels, wish.model.as_deref())?;
        let fingerprint = self.fingerprint_for(wish.kind, &name);
        Ok(Response::Chosen(name, fingerprint))
    }

    /// Accepts a task. If `required` is given, only a model with that fingerprint may run it. Without a `traced`, it
    /// begins a trace.
    fn submit(
        &mut self,
        request: RequestId,
        mut spec: TaskSpec,
        required: Option<Fingerprint>,
        traced: Option<(TraceId, Caller)>,
    ) -> Result<(), Rejection> {
        self.check_active()?;
        spec.input.check().map_err(Rejection::Input)?;
        let (bytes, limit) = (spec.input.bytes(), self.config.input_bytes_max);
        if bytes > limit {
            return Err(Rejection::InputTooLong { bytes, limit });
        }
        if !TIMEOUT_RANGE.contains(&spec.timeout) {
            return Err(Rejection::TimeoutOutOfRange(spec.timeout));
        }
        let model_chosen = spec.model.is_none();
        let labels = has_labels(&spec.input);
        let model = self.choose_model(spec.kind(), labels, spec.model.as_deref())?;
        let fingerprint = required.or_else(|| self.fingerprint_for(spec.kind(), &model));
        let choice = fingerprint.map(|fingerprint| ModelChoice { fingerprint, required: required.is_some() });
        spec.model = Some(model);
        if let TaskInput::Generation(generation) = &mut spec.input {
            generation.seed.get_or_insert_with(|| self.rng.below(u64::MAX));
        }
        let id = TaskId(uuid(self.rng.id()));
        let (trace, caller) = traced.unwrap_or_else(|| {
            let trace = self.new_trace();
            let sampled = is_sampled(trace, self.config.trace_sample_millionths);
            (trace, Caller { parent: None, sampled, state: String::new() })
        });
        let caller = Some(Box::new(caller)).filter(|caller| caller.parent.is_some() || !caller.sampled);
        let stored = StoredTask { id, spec, submitted_at: self.wall(), trace, attempts: 0, choice, caller };
        let records = vec![Record::Task(Box::new(stored.clone()))];
        self.tasks.admit(self.clock.now, stored, model_chosen)?;
        if shows(Mutant::ReplyBeforeDurable) {
            self.reply(request, Ok(Response::Submitted(id)));
        }
        self.write(records, Promise::Accept(id, request));
        Ok(())
    }

    pub(super) fn handle_accept_written(
        &mut self,
        task: TaskId,
        request: RequestId,
        result: Result<(), WriteError>,
    ) {
        let answer = match result {
            Ok(()) => {
                self.tasks.handle_stored(task);
                if let Some(StoredTask { spec, caller, .. }) = self.tasks.get(task).map(|open| &open.stored) {
                    let (kind, trace) = (spec.kind(), self.trace_of(task));
                    let model = spec.model.clone().unwrap_or_default();
                    let parent = caller.as_ref().and_then(|caller| caller.parent);
                    self.event(Event::TaskAccepted { task, kind, model, parent, trace });
                }
                Ok(Response::Submitted(task))
            }
            Err(_) => {
                self.tasks.handle_store_failed(task);
                self.observers.metrics.handle_rejected(&Rejection::StorageFailed);
                Err(Rejection::StorageFailed)
            }
        };
        if shows(Mutant::ReplyBeforeDurable) {
            return;
        }
        self.reply(request, answer);
    }

    pub(super) fn handle_end_written(&mut self, result: TaskResult) {
        let TaskResult { summary, outcome, .. } = result;
        let (task, status, worker) = (summary.id, summary.status, summary.worker);
        self.results.insert(summary);
        if self.results.len() > usize::try_from(self.config.results_max).unwrap_or(usize::MAX) {
            self.in_flight.purge_at = Some(self.clock.now);
        }
        let Some(open) = self.tasks.handle_ended(task) else { return };
        let elapsed_micros = micros(self.clock.now.since(open.accepted_at));
        let (kind, trace) = (open.stored.spec.kind(), open.stored.trace_context());
        let parent = open.stored.caller.as_ref().and_then(|caller| caller.parent);
        let store_micros = open.ending_since.map_or(0, |since| micros(self.clock.now.since(since)));
        self.event(Event::TaskFinished {
            task,
            status,
            worker,
            elapsed_micros,
            kind,
            attempts: open.stored.attempts,
            store_micros,
            waiters: u32::try_from(open.waiters.len() + open.watchers.len()).unwrap_or(u32::MAX),
            parent,
            trace,
        });
        if let Outcome::Completed(output) = &outcome
            && !output.truncated().is_empty()
        {
            let inputs = u32::try_from(output.truncated().len()).unwrap_or(u32::MAX);
            self.event(Event::InputTruncated { task, inputs, dropped: output.dropped_tokens(), trace });
        }
        self.acknowledge_all(open.acks, trace);
        let answer = self.find_task(task);
        for waiter in open.waiters.into_iter().filter(|_| !shows(Mutant::WaitersForgotten)) {
            self.in_flight.waiting.remove(&waiter);
            let cancelled = self.in_flight.cancelling.remove(&waiter);
            let lost_race = cancelled && status != TaskStatus::Cancelled;
            let answer = if lost_race { Err(Rejection::TaskFinished(task)) } else { answer.clone() };
            self.reply(waiter, answer);
        }
        for (watcher, seen) in open.watchers {
            self.in_flight.waiting.remove(&watcher);
            let answer = self.last_update(task, seen);
            self.reply(watcher, answer);
        }
    }

    fn await_task(&mut self, request: RequestId, task: TaskId) -> Option<Answer> {
        if self.in_flight.waiting.len() >= WAITING_MAX {
            return Some(Err(Rejection::TooManyWaiting));
        }
        let Some(open) = self.tasks.get_mut(task).filter(|open| open.is_accepted()) else {
            return Some(self.find_task(task));
        };
        open.waiters.push(request);
        self.in_flight.waiting.insert(request, task);
        None
    }

    fn cancel_task(&mut self, request: RequestId, task: TaskId) -> Option<Answer> {
        if self.results.get(task).is_some() {
            return Some(Err(Rejection::TaskFinished(task)));
        }
        let wall = self.wall();
        let answer = self.await_task(request, task);
        if answer.is_none() {
            self.in_flight.cancelling.insert(request);
            self.tasks.cancel(self.clock.now, wall, task);
        }
        answer
    }

    fn watch_task(&mut self, request: RequestId, task: TaskId, seen: Cursor) -> Option<Answer> {
        if self.in_flight.waiting.len() >= WAITING_MAX {
            return Some(Err(Rejection::TooManyWaiting));
        }
        let Some(open) = self.tasks.get_mut(task).filter(|open| open.is_accepted()) else {
            return Some(self.last_update(task, seen));
        };
        open.watchers.push((request, seen));
        self.in_flight.waiting.insert(request, task);
        self.answer_watchers(task);
        None
    }

    /// Answers those watchers of an open task that have not seen all of it.
    pub(super) fn answer_watchers(&mut self, task: TaskId) {
        let Some(open) = self.tasks.get_mut(task).filter(|open| !open.watchers.is_empty()) else { return };
        let watchers = core::mem::take(&mut open.watchers);
        for (watcher, seen) in watchers {
            let Some(open) = self.tasks.get_mut(task) else { return };
            let Some(update) = open.update_since(seen) else {
                open.watchers.push((watcher, seen));
                continue;
            };
            self.in_flight.waiting.remove(&watcher);
            let answer = self.view_task(task).map(|view| Response::TaskUpdate(Box::new(view), update));
            self.reply(watcher, answer);
        }
    }

    /// Returns the final update of a task, for a user who has seen so much of it.
    fn last_update(&self, task: TaskId, seen: Cursor) -> Answer {
        let summary = self.results.get(task).ok_or(Rejection::TaskNotFound(task))?;
        let update = TaskUpdate { attempt: seen.attempt, offset: seen.bytes, text: String::new() };
        Ok(Response::TaskUpdate(Box::new(self.finished_view(summary)), update))
    }
}

/// Tells whether a task brings its own labels.
pub(super) fn has_labels(input: &TaskInput) -> bool {
    matches!(input, TaskInput::Classification(Classification { labels, .. }) if !labels.is_empty())
}

/// Marks 16 random bytes as a random UUID (RFC 9562, version 4).
fn uuid(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// Maximum number of requests that wait for tasks.
pub(super) const WAITING_MAX: usize = 1024;
