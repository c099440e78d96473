//! What users ask.

use super::Node;
use crate::error::{Rejection, WriteError};
use crate::event::Event;
use crate::ids::{Fingerprint, RequestId, TaskId};
use crate::input::ModelState;
use crate::lifecycle::State;
use crate::model::ModelChoice;
use crate::mutants::{Mutant, shows};
use crate::observers::diagnostics::Issue;
use crate::output::Output;
use crate::record::Record;
use crate::request::{
    Answer, Cursor, DiagnosisView, LIST_MAX, MemberView, ModelView, ModelWish, PeerView, Request, Response,
    StatusView, TIMEOUT_RANGE, TaskFilter, TaskUpdate, TaskView,
};
use crate::scheduler::Scheduler;
use crate::task::{
    Classification, Outcome, ResultSummary, StoredTask, TaskInput, TaskKind, TaskResult, TaskSpec,
    TaskStatus, preview,
};
use crate::tasks::OpenTask;
use crate::time::{Instant, micros};
use crate::worker::Model;
use crate::writes::Promise;
use core::net::SocketAddr;

impl Node {
    pub(super) fn handle_request(&mut self, id: RequestId, request: Request) {
        let answer = match request {
            Request::AwaitTask(task) => match self.await_task(id, task) {
                Some(answer) => answer,
                None => return,
            },
            Request::Cancel(task) => match self.cancel_task(id, task) {
                Some(answer) => answer,
                None => return,
            },
            Request::Diagnosis => Ok(Response::Diagnosis(self.diagnosis_view())),
            Request::Fetch(spec) => return self.fetch(id, spec),
            Request::Fetches => Ok(Response::Fetches(self.downloader.views())),
            Request::Health => {
                if self.state != State::ShuttingDown && self.health.handle_request(self.now, id) {
                    return;
                }
                Err(match self.state {
                    State::ShuttingDown | State::Stopped => Rejection::NodeShuttingDown,
                    State::Initializing | State::Registering | State::Active => Rejection::TooManyWaiting,
                })
            }
            Request::Members => Ok(Response::Members(self.member_views())),
            Request::Ping(spec) => return self.ping(id, spec),
            Request::Peers => Ok(Response::Peers(self.peer_views())),
            Request::Route(node) => return self.explain_route(id, node),
            Request::Shutdown => {
                self.begin_shutdown();
                Ok(Response::ShuttingDown)
            }
            Request::Status => Ok(Response::Status(Box::new(self.status_view()))),
            Request::Choose(wish) => self.choose_for(&wish),
            Request::SubmitFor(spec, fingerprint) => match self.submit(id, spec, Some(fingerprint)) {
                Ok(()) => return,
                Err(rejection) => Err(rejection),
            },
            Request::Submit(spec) => match self.submit(id, spec, None) {
                Ok(()) => return,
                Err(rejection) => Err(rejection),
            },
            Request::Task(task) => self.find_task(task),
            Request::Tasks { filter, limit, offset } => Ok(self.list_tasks(filter, limit, offset)),
            Request::Watch { task, seen } => match self.watch_task(id, task, seen) {
                Some(answer) => answer,
                None => return,
            },
        };
        self.reply(id, answer);
    }

    pub(super) fn handle_request_dropped(&mut self, id: RequestId) {
        self.cancelling.remove(&id);
        self.explanations.forget(id);
        self.health.forget(id);
        self.pings.forget(id);
        self.downloader.forget(id);
        if let Some(task) = self.waiting.remove(&id)
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

    /// Says which model a request's tasks would be for.
    fn choose_for(&self, wish: &ModelWish) -> Answer {
        self.check_active()?;
        let name = self.choose_model(wish.kind, wish.labels, wish.model.as_deref())?;
        let fingerprint = self.fingerprint_for(wish.kind, &name);
        Ok(Response::Chosen(name, fingerprint))
    }

    /// Accepts a task; where `required` names a model, no other one will do.
    fn submit(
        &mut self,
        request: RequestId,
        mut spec: TaskSpec,
        required: Option<Fingerprint>,
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
        let trace = self.new_trace();
        let stored = StoredTask { id, spec, submitted_at: self.wall(), trace, attempts: 0, choice };
        let records = vec![Record::Task(Box::new(stored.clone()))];
        self.tasks.admit(self.now, stored, model_chosen)?;
        if shows(Mutant::ReplyBeforeDurable) {
            self.reply(request, Ok(Response::Submitted(id)));
        }
        self.write(records, Promise::Accept(id, request));
        Ok(())
    }

    /// Returns the model to use: the one asked for, or this node's or else the mesh's first that suits. Where those that
    /// have it were there a moment ago, the task waits for their return.
    pub(super) fn choose_model(
        &self,
        kind: TaskKind,
        labels: bool,
        asked: Option<&str>,
    ) -> Result<String, Rejection> {
        let known = || self.known_models().filter(|(of, _)| *of == kind).map(|(_, name)| name);
        if let Some(name) = asked {
            let found = known().find(|known| *known == name);
            return found.map(str::to_owned).ok_or_else(|| Rejection::ModelUnknown(preview(name)));
        }
        let chosen = match kind {
            TaskKind::Classification => {
                let also = |name: &str, kind| self.known_models().any(|model| model == (kind, name));
                // Labels that a user gives are compared by their embeddings. Who gives none wants those of the model,
                // of which a cross-encoder has but one.
                known().min_by_key(|name| match (labels, also(name, TaskKind::Embedding)) {
                    (true, embeds) => u8::from(!embeds),
                    (false, true) => 2,
                    (false, false) => u8::from(also(name, TaskKind::Reranking)),
                })
            }
            TaskKind::Embedding | TaskKind::Generation | TaskKind::Reranking => known().next(),
        };
        chosen.map(str::to_owned).ok_or(Rejection::KindUnsupported(kind))
    }

    /// Returns the models that tasks can be for, this node's first.
    fn known_models(&self) -> impl Iterator<Item = (TaskKind, &str)> {
        let listed = self.config.models.iter().map(|model| (model.kind, model.name.as_str()));
        let own = listed.filter(|(kind, name)| self.worker.unusable(*kind, name).is_none());
        // Models may come while the node runs.
        let later = self.worker.models().filter(|(_, _, model)| model.state == ModelState::Ready);
        let later = later.map(|(kind, name, _)| (kind, name));
        let others = self.membership.reachable().map(|(_, advert)| advert);
        let others = others.chain(self.membership.lately_reachable(self.now));
        let others =
            others.flat_map(|advert| advert.models.iter().map(|model| (model.kind, model.name.as_str())));
        own.chain(later).chain(others)
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
                if let Some(kind) = self.tasks.get_mut(task).map(|open| open.stored.spec.kind()) {
                    self.event(Event::TaskAccepted { task, kind });
                }
                Ok(Response::Submitted(task))
            }
            Err(_) => {
                self.tasks.handle_store_failed(task);
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
            self.purge_at = Some(self.now);
        }
        let Some(open) = self.tasks.handle_ended(task) else { return };
        let elapsed_micros = micros(self.now.since(open.accepted_at));
        self.event(Event::TaskFinished { task, status, worker, elapsed_micros });
        if let Outcome::Completed(output) = &outcome
            && !output.truncated().is_empty()
        {
            let inputs = u32::try_from(output.truncated().len()).unwrap_or(u32::MAX);
            self.event(Event::InputTruncated { task, inputs, dropped: output.dropped_tokens() });
        }
        self.acknowledge_all(open.acks);
        let answer = self.find_task(task);
        for waiter in open.waiters.into_iter().filter(|_| !shows(Mutant::WaitersForgotten)) {
            self.waiting.remove(&waiter);
            let cancelled = self.cancelling.remove(&waiter);
            let lost_race = cancelled && status != TaskStatus::Cancelled;
            let answer = if lost_race { Err(Rejection::TaskFinished(task)) } else { answer.clone() };
            self.reply(waiter, answer);
        }
        for (watcher, seen) in open.watchers {
            self.waiting.remove(&watcher);
            let answer = self.last_update(task, seen);
            self.reply(watcher, answer);
        }
    }

    fn await_task(&mut self, request: RequestId, task: TaskId) -> Option<Answer> {
        if self.waiting.len() >= WAITING_MAX {
            return Some(Err(Rejection::TooManyWaiting));
        }
        let Some(open) = self.tasks.get_mut(task).filter(|open| open.is_accepted()) else {
            return Some(self.find_task(task));
        };
        open.waiters.push(request);
        self.waiting.insert(request, task);
        None
    }

    fn cancel_task(&mut self, request: RequestId, task: TaskId) -> Option<Answer> {
        if self.results.get(task).is_some() {
            return Some(Err(Rejection::TaskFinished(task)));
        }
        let wall = self.wall();
        let answer = self.await_task(request, task);
        if answer.is_none() {
            self.cancelling.insert(request);
            self.tasks.cancel(self.now, wall, task);
        }
        answer
    }

    fn watch_task(&mut self, request: RequestId, task: TaskId, seen: Cursor) -> Option<Answer> {
        if self.waiting.len() >= WAITING_MAX {
            return Some(Err(Rejection::TooManyWaiting));
        }
        let Some(open) = self.tasks.get_mut(task).filter(|open| open.is_accepted()) else {
            return Some(self.last_update(task, seen));
        };
        open.watchers.push((request, seen));
        self.waiting.insert(request, task);
        self.answer_watchers(task);
        None
    }

    /// Answers those who have not seen all that there is of an open task.
    pub(super) fn answer_watchers(&mut self, task: TaskId) {
        let Some(open) = self.tasks.get_mut(task).filter(|open| !open.watchers.is_empty()) else { return };
        let watchers = core::mem::take(&mut open.watchers);
        for (watcher, seen) in watchers {
            let Some(open) = self.tasks.get_mut(task) else { return };
            let Some(update) = open.update_since(seen) else {
                open.watchers.push((watcher, seen));
                continue;
            };
            self.waiting.remove(&watcher);
            let answer = self.view_task(task).map(|view| Response::TaskUpdate(Box::new(view), update));
            self.reply(watcher, answer);
        }
    }

    /// Says how a task ended, to somebody who has seen so much of it.
    fn last_update(&self, task: TaskId, seen: Cursor) -> Answer {
        let summary = self.results.get(task).ok_or(Rejection::TaskNotFound(task))?;
        let update = TaskUpdate { attempt: seen.attempt, offset: seen.bytes, text: String::new() };
        Ok(Response::TaskUpdate(Box::new(finished_view(summary)), update))
    }

    fn find_task(&mut self, task: TaskId) -> Answer {
        self.view_task(task).map(|view| Response::Task(Box::new(view)))
    }

    fn view_task(&mut self, task: TaskId) -> Result<TaskView, Rejection> {
        if let Some(summary) = self.results.get(task) {
            return Ok(finished_view(summary));
        }
        let (now, scheduler) = (self.now, &self.scheduler);
        let open = self.tasks.get_mut(task).filter(|open| open.is_accepted());
        open.map(|open| open_view(now, open, scheduler)).ok_or(Rejection::TaskNotFound(task))
    }

    fn list_tasks(&self, filter: TaskFilter, limit: u32, offset: u32) -> Response {
        let limit = usize::try_from(limit.min(LIST_MAX)).unwrap_or_default();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let is_wanted = |open: &&OpenTask| {
            let (status, worker) = open.status();
            open.is_accepted() && filter.matches(status, worker)
        };
        let finished = || self.results.newest_first().filter(|done| filter.matches(done.status, done.worker));
        let mut open: Vec<&OpenTask> = self.tasks.iter().filter(is_wanted).collect();
        open.sort_by_key(|open| core::cmp::Reverse((open.stored.submitted_at, open.stored.id)));
        let done = if filter == TaskFilter::default() { self.results.len() } else { finished().count() };
        let total = u32::try_from(open.len() + done).unwrap_or(u32::MAX);
        let mut open = open.into_iter().peekable();
        let mut finished = finished().peekable();
        let merged = core::iter::from_fn(|| {
            let open_first = match (open.peek(), finished.peek()) {
                (Some(open), Some(done)) => {
                    (open.stored.submitted_at, open.stored.id) >= (done.submitted_at, done.id)
                }
                (open, _) => open.is_some(),
            };
            if open_first {
                open.next().map(|open| open_view(self.now, open, &self.scheduler))
            } else {
                finished.next().map(finished_view)
            }
        });
        Response::Tasks { total, tasks: merged.skip(offset).take(limit).collect() }
    }

    fn status_view(&self) -> StatusView {
        let usable = |model: &Model| !matches!(model.state, ModelState::Unusable(_));
        let models = self.worker.models().filter(|(_, _, model)| usable(model)).map(|(kind, name, model)| {
            let ready = model.state == ModelState::Ready;
            ModelView { name: name.to_owned(), kind, fingerprint: model.fingerprint, ready }
        });
        let running = self.tasks.iter().filter(|open| open.status().0 == TaskStatus::Running).count();
        let open = self.tasks.iter().count();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        StatusView {
            node_id: self.me,
            state: self.state,
            version: self.config.version.clone(),
            network: self.config.network.clone(),
            network_port: self.listening.unwrap_or_default(),
            addresses: self.membership.own().addresses.clone(),
            uptime_millis: self.active_since.map(|since| self.millis_since(since)),
            peers: count(self.peers.iter().count()),
            members: count(self.membership.reachable().count()),
            tasks_queued: count(open - running),
            tasks_running: count(running),
            results: count(self.results.len()),
            models: models.collect(),
            discovery: self.discovery.view(),
            faults: self.fault_counters.clone(),
            health: self.health.last().cloned(),
            timestamp: self.wall(),
        }
    }

    fn diagnosis_view(&self) -> DiagnosisView {
        // Nobody misses an address at which no node is said to be, or one that is reached another way.
        let is_missed = |address: &SocketAddr| match self.discovery.node_at(*address) {
            Some(node) => self.membership.hops(node).is_none(),
            None => self.config.bootstrap_peers.contains(address),
        };
        let issues = self.diagnostics.recent(self.now).filter(|(_, issue)| match issue {
            Issue::DialFailed { address, .. } => is_missed(address),
            Issue::ClockDiffers { .. }
            | Issue::IdentityCopied { .. }
            | Issue::LinkRefused { .. }
            | Issue::PeerFault { .. }
            | Issue::StrangerFault { .. } => true,
        });
        DiagnosisView {
            heard: u32::try_from(self.discovery.len()).unwrap_or(u32::MAX),
            issues: issues.map(|(age, issue)| (micros(age) / 1000, *issue)).collect(),
            conflicts: self.model_conflicts(),
        }
    }

    fn peer_views(&self) -> Vec<PeerView> {
        let view = |(link, entry): (_, &crate::peers::Link)| {
            let (last_heard, round_trip_micros) = self.heartbeat.quality(self.now, link);
            PeerView {
                node_id: entry.node,
                address: entry.remote,
                network_port: entry.network_port,
                version: entry.version.clone(),
                liveness: self.heartbeat.liveness(link),
                connected_millis: self.millis_since(entry.since),
                messages_in: entry.frames_in,
                messages_out: entry.frames_out,
                last_heard_millis: micros(last_heard) / 1000,
                round_trip_micros,
            }
        };
        self.peers.iter().map(view).collect()
    }

    fn member_views(&self) -> Vec<MemberView> {
        let view = |(node_id, advert): (_, &crate::wire::Advert)| MemberView {
            node_id,
            addresses: advert.addresses.clone(),
            version: advert.version.clone(),
            hops: self.membership.hops(node_id).unwrap_or_default(),
            links: advert.links.clone(),
            models: advert.models.clone(),
        };
        let mut members: Vec<MemberView> = self.membership.reachable().map(view).collect();
        members.sort_by_key(|member| member.node_id);
        members
    }
}

fn open_view(now: Instant, open: &OpenTask, scheduler: &Scheduler) -> TaskView {
    let (status, worker) = open.status();
    let remaining = open.remaining(now, |worker| scheduler.expected(worker));
    TaskView {
        id: open.stored.id,
        kind: open.stored.spec.kind(),
        model: open.stored.spec.model.clone().unwrap_or_default(),
        status,
        submitted_at: open.stored.submitted_at,
        elapsed_millis: micros(now.since(open.accepted_at)) / 1000,
        attempts: open.stored.attempts,
        worker,
        preview: open.stored.spec.input.preview(),
        tokens: open.tokens(),
        remaining_millis: remaining.map(|remaining| micros(remaining) / 1000),
        result: None,
    }
}

fn finished_view(summary: &ResultSummary) -> TaskView {
    TaskView {
        id: summary.id,
        kind: summary.kind,
        model: summary.model.clone(),
        status: summary.status,
        submitted_at: summary.submitted_at,
        elapsed_millis: summary.completed_at.0.saturating_sub(summary.submitted_at.0),
        attempts: summary.attempts,
        worker: summary.worker,
        preview: summary.preview.clone(),
        tokens: None,
        remaining_millis: None,
        result: Some(summary.clone()),
    }
}

/// Tells whether a task has labels of its own to choose from.
pub(super) fn has_labels(input: &TaskInput) -> bool {
    matches!(input, TaskInput::Classification(Classification { labels, .. }) if !labels.is_empty())
}

/// Marks 16 random bytes as a random UUID (RFC 9562, version 4).
fn uuid(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// Requests that may wait for tasks to end.
pub(super) const WAITING_MAX: usize = 1024;
