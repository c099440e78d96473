//! Answers the requests that only read: the status of the node, its tasks, peers and members.

use super::Node;
use crate::error::Rejection;
use crate::heartbeat::Liveness;
use crate::ids::{LinkId, NodeId, TaskId};
use crate::input::ModelState;
use crate::node_name::NodeName;
use crate::observers::diagnostics::Issue;
use crate::peers::Link;
use crate::request::{
    Answer, DiagnosisView, LIST_MAX, MemberView, ModelView, PeerView, Response, StatusView, TaskFilter,
    TaskView,
};
use crate::task::{ResultSummary, TaskStatus, WaitsFor};
use crate::tasks::OpenTask;
use crate::time::micros;
use crate::wire::Advert;
use crate::worker::Model;
use core::net::SocketAddr;
use std::collections::BTreeMap;

impl Node {
    pub(super) fn find_task(&self, task: TaskId) -> Answer {
        self.view_task(task).map(|view| Response::Task(Box::new(view)))
    }

    pub(super) fn view_task(&self, task: TaskId) -> Result<TaskView, Rejection> {
        if let Some(summary) = self.results.get(task) {
            return Ok(self.finished_view(summary));
        }
        let open = self.tasks.get(task).filter(|open| open.is_accepted());
        open.map(|open| self.open_view(open)).ok_or(Rejection::TaskNotFound(task))
    }

    pub(super) fn list_tasks(&self, filter: TaskFilter, limit: u32, offset: u32) -> Response {
        let limit = usize::try_from(limit.min(LIST_MAX)).unwrap_or_default();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let is_wanted = |open: &&OpenTask| {
            let (status, worker) = open.status();
            open.is_accepted() && filter.matches(open.stored.id, status, worker)
        };
        let finished =
            || self.results.newest_first().filter(|done| filter.matches(done.id, done.status, done.worker));
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
                open.next().map(|open| self.open_view(open))
            } else {
                finished.next().map(|summary| self.finished_view(summary))
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
            name: self.config.name.clone(),
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
            work: self.work_view(),
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
        let view = |(link, entry): (LinkId, &Link)| {
            let (last_heard, round_trip_micros) = self.heartbeat.quality(self.clock.now, link);
            PeerView {
                node_id: entry.node,
                name: self.name(entry.node),
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
        let quality = |(link, entry): (LinkId, &Link)| {
            let (last_heard, _) = self.heartbeat.quality(self.clock.now, link);
            (entry.node, (self.heartbeat.liveness(link), micros(last_heard) / 1000))
        };
        let links: BTreeMap<NodeId, (Liveness, u64)> = self.peers.iter().map(quality).collect();
        let view = |(node_id, advert)| {
            let own = (node_id == self.me).then(|| self.own_load());
            MemberView {
                hops: self.membership.hops(node_id).unwrap_or_default(),
                load: own.or_else(|| self.loads.get(&node_id).copied()),
                link: links.get(&node_id).copied(),
                ..member_view(node_id, advert)
            }
        };
        let mut members: Vec<MemberView> = self.membership.reachable().map(view).collect();
        members.sort_by_key(|member| member.node_id);
        members
    }

    pub(super) fn former_member_views(&self) -> Vec<MemberView> {
        let view = |(since, node_id, advert)| MemberView {
            unreachable_millis: Some(self.millis_since(since)),
            ..member_view(node_id, advert)
        };
        let most = usize::try_from(LIST_MAX).unwrap_or(usize::MAX);
        self.membership.former().map(view).take(most).collect()
    }

    /// Returns the name of a node, or the empty name if its advert is not held.
    pub fn name(&self, node: NodeId) -> NodeName {
        if node == self.me {
            return self.config.name.clone();
        }
        self.membership.advert(node).map_or_else(NodeName::default, |advert| advert.name.clone())
    }

    /// Returns what an open task waits for. A model that this node waited for may have been loaded meanwhile.
    fn waits_for(&self, open: &OpenTask) -> Option<WaitsFor> {
        let waits_for = open.waits_for()?;
        let spec = &open.stored.spec;
        let loaded = || self.is_ready(spec.kind(), spec.model.as_deref().unwrap_or_default());
        Some(if waits_for == WaitsFor::Model && loaded() { WaitsFor::FreeSlot } else { waits_for })
    }

    fn open_view(&self, open: &OpenTask) -> TaskView {
        let (status, worker) = open.status();
        let now = self.clock.now;
        let remaining = open.remaining(now, |worker| self.scheduler.expected(worker));
        TaskView {
            id: open.stored.id,
            kind: open.stored.spec.kind(),
            model: open.stored.spec.model.clone().unwrap_or_default(),
            status,
            submitted_at: open.stored.submitted_at,
            elapsed_millis: micros(open.age(now)) / 1000,
            attempts: open.stored.attempts,
            worker,
            worker_name: worker.map_or_else(NodeName::default, |worker| self.name(worker)),
            preview: open.stored.spec.input.preview(),
            waits_for: self.waits_for(open),
            tokens: open.tokens(),
            remaining_millis: remaining.map(|remaining| micros(remaining) / 1000),
            result: None,
        }
    }

    pub(super) fn finished_view(&self, summary: &ResultSummary) -> TaskView {
        TaskView {
            id: summary.id,
            kind: summary.kind,
            model: summary.model.clone(),
            status: summary.status,
            submitted_at: summary.submitted_at,
            elapsed_millis: summary.completed_at.0.saturating_sub(summary.submitted_at.0),
            attempts: summary.attempts,
            worker: summary.worker,
            worker_name: summary.worker.map_or_else(NodeName::default, |worker| self.name(worker)),
            preview: summary.preview.clone(),
            waits_for: None,
            tokens: None,
            remaining_millis: None,
            result: Some(summary.clone()),
        }
    }
}

/// Returns what the advert of a member says.
fn member_view(node_id: NodeId, advert: &Advert) -> MemberView {
    MemberView {
        node_id,
        name: advert.name.clone(),
        addresses: advert.addresses.clone(),
        version: advert.version.clone(),
        hops: 0,
        links: advert.links.clone(),
        models: advert.models.clone(),
        slots: advert.slots,
        load: None,
        link: None,
        unreachable_millis: None,
    }
}
