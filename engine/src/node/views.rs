//! Answers the requests that only read: the status of the node, its tasks, peers and members.

use super::Node;
use crate::error::Rejection;
use crate::ids::TaskId;
use crate::input::ModelState;
use crate::observers::diagnostics::Issue;
use crate::request::{
    Answer, DiagnosisView, LIST_MAX, MemberView, ModelView, PeerView, Response, StatusView, TaskFilter,
    TaskView,
};
use crate::scheduler::Scheduler;
use crate::task::{ResultSummary, TaskStatus};
use crate::tasks::OpenTask;
use crate::time::{Instant, micros};
use crate::worker::Model;
use core::net::SocketAddr;

impl Node {
    pub(super) fn find_task(&mut self, task: TaskId) -> Answer {
        self.view_task(task).map(|view| Response::Task(Box::new(view)))
    }

    pub(super) fn view_task(&mut self, task: TaskId) -> Result<TaskView, Rejection> {
        if let Some(summary) = self.results.get(task) {
            return Ok(finished_view(summary));
        }
        let (now, scheduler) = (self.clock.now, &self.scheduler);
        let open = self.tasks.get_mut(task).filter(|open| open.is_accepted());
        open.map(|open| open_view(now, open, scheduler)).ok_or(Rejection::TaskNotFound(task))
    }

    pub(super) fn list_tasks(&self, filter: TaskFilter, limit: u32, offset: u32) -> Response {
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
                open.next().map(|open| open_view(self.clock.now, open, &self.scheduler))
            } else {
                finished.next().map(finished_view)
            }
        });
        Response::Tasks { total, tasks: merged.skip(offset).take(limit).collect() }
    }

    pub(super) fn status_view(&self) -> StatusView {
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
            faults: self.observers.fault_counters.clone(),
            health: self.health.last().cloned(),
            alerts: self.observers.alerts.active().copied().collect(),
            timestamp: self.wall(),
        }
    }

    pub(super) fn diagnosis_view(&self) -> DiagnosisView {
        // A failed dial is no problem if no node is announced at the address, or if the node is reachable another way.
        let is_missed = |address: &SocketAddr| match self.discovery.node_at(*address) {
            Some(node) => self.membership.hops(node).is_none(),
            None => self.config.bootstrap_peers.contains(address),
        };
        let issues = self.observers.diagnostics.recent(self.clock.now).filter(|(_, issue)| match issue {
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

    pub(super) fn peer_views(&self) -> Vec<PeerView> {
        let view = |(link, entry): (_, &crate::peers::Link)| {
            let (last_heard, round_trip_micros) = self.heartbeat.quality(self.clock.now, link);
            PeerView {
                node_id: entry.node,
                address: entry.remote,
                network_port: entry.network_port,
                version: entry.version.clone(),
                liveness: self.heartbeat.liveness(link),
                connected_millis: self.millis_since(entry.since),
                messages_in: entry.frames_in,
                messages_out: entry.frames_out,
                bytes_in: entry.bytes_in,
                bytes_out: entry.bytes_out,
                last_heard_millis: micros(last_heard) / 1000,
                round_trip_micros,
            }
        };
        self.peers.iter().map(view).collect()
    }

    pub(super) fn member_views(&self) -> Vec<MemberView> {
        let view = |(node_id, advert): (_, &crate::wire::Advert)| MemberView {
            node_id,
            addresses: advert.addresses.clone(),
            version: advert.version.clone(),
            hops: self.membership.hops(node_id).unwrap_or_default(),
            links: advert.links.clone(),
            models: advert.models.clone(),
            slots: advert.slots,
            load: if node_id == self.me { Some(self.own_load()) } else { self.loads.get(&node_id).copied() },
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

pub(super) fn finished_view(summary: &ResultSummary) -> TaskView {
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
