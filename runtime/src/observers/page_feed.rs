//! What the pages of the dashboard need of the events of a node: counts per second, and changes since the last update.
//!
//! Counts are kept for an hour, whether or not a page is open, so that a page shows the past when it opens. They cost a
//! lock and an addition an event. Changes are only collected while a page is open.

use super::EventObserver;
use crate::clock;
use api::dashboard::{AlertChange, MetricsSample, TaskChange};
use engine::event::{AttemptEnd, AttemptEnding, LinkDownReason, ReassignReason};
use engine::task::{TaskKind, TaskStatus};
use engine::{Event, Instant, NodeId, TaskId, UnixMillis};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Collects what pages need of the events of a node. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct PageFeed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_watched: AtomicBool,
    /// Notified of the first change since the last update.
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seconds: VecDeque<Second>,
    changes: Changes,
    /// Why links went down, by peer, for as many peers as [`DEPARTURES_MAX`].
    departures: BTreeMap<NodeId, LinkDownReason>,
}

/// What changed since the last update.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whether nodes or links may have changed.
    pub mesh: bool,
    /// Whether the models of the node changed.
    pub models: bool,
    /// Last change of each task that changed, at most 64.
    pub tasks: BTreeMap<TaskId, TaskNote>,
    /// Number of further tasks that changed.
    pub tasks_left_out: u64,
    /// Alerts that were raised or cleared, at most 32.
    pub alerts: Vec<AlertChange>,
}

impl Changes {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        let Self { mesh, models, tasks, tasks_left_out, alerts } = self;
        !mesh && !models && tasks.is_empty() && *tasks_left_out == 0 && alerts.is_empty()
    }
}

/// The last change of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskNote {
    kind: TaskKind,
    model: Option<String>,
    status: TaskStatus,
    origin: NodeId,
    worker: Option<NodeId>,
    attempts: u32,
    moved: Option<ReassignReason>,
    elapsed_millis: Option<u64>,
    at: UnixMillis,
}

impl TaskNote {
    /// Returns the change as a page gets it.
    pub fn change(self, id: TaskId) -> TaskChange {
        let name = |reason: ReassignReason| serde_json::to_value(reason).ok()?.as_str().map(str::to_owned);
        TaskChange {
            id,
            kind: self.kind,
            model: self.model,
            status: self.status,
            origin: self.origin,
            worker: self.worker,
            attempts: self.attempts,
            moved: self.moved.and_then(name),
            elapsed_ms: self.elapsed_millis,
            timestamp: self.at.to_string(),
        }
    }
}

/// Counts of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Seconds since 1970.
    at: u64,
    tasks_submitted: u32,
    tasks_completed: u32,
    tasks_failed: u32,
    tasks_micros: u64,
    task_micros_max: u64,
    tasks_timed: u32,
    attempts: u32,
    messages_out: u32,
    messages_in: u32,
    acknowledged: u32,
    acknowledged_micros: u64,
}

impl Second {
    fn sample(&self) -> MetricsSample {
        let mean = |total: u64, count: u32| (count > 0).then(|| total as f64 / f64::from(count) / 1e3);
        MetricsSample {
            at_ms: (self.at + 1).saturating_mul(1000),
            tasks_submitted: self.tasks_submitted,
            tasks_completed: self.tasks_completed,
            tasks_failed: self.tasks_failed,
            attempts: self.attempts,
            task_ms: mean(self.tasks_micros, self.tasks_timed),
            task_max_ms: (self.tasks_timed > 0).then(|| self.task_micros_max as f64 / 1e3),
            messages_out: self.messages_out,
            messages_in: self.messages_in,
            message_ms: mean(self.acknowledged_micros, self.acknowledged),
            ..MetricsSample::default()
        }
    }
}

impl PageFeed {
    /// Returns the observer that fills the feed with the events of one node.
    pub fn observer(&self, me: NodeId) -> impl EventObserver + 'static {
        OfNode { feed: self.clone(), me }
    }

    /// Handles an event of one of several nodes whose events share the feed.
    pub fn event_of(&self, node: NodeId, event: &Event) {
        self.handle(event, node);
    }

    /// Starts or stops the collection of changes.
    pub fn watch(&self, watch: bool) {
        self.0.is_watched.store(watch, Ordering::Relaxed);
        if !watch {
            self.lock().changes = Changes::default();
        }
    }

    /// Waits until there are changes.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Asks for an update although nothing changed.
    pub fn nudge(&self) {
        self.0.changed.notify_one();
    }

    /// Takes the changes since the last call.
    pub fn take_changes(&self) -> Changes {
        std::mem::take(&mut self.lock().changes)
    }

    /// Returns the counts of the second that ended last before `now`.
    pub fn last_second(&self, now: UnixMillis) -> MetricsSample {
        let at = (now.0 / 1000).saturating_sub(1);
        let state = self.lock();
        let found = state.seconds.iter().rev().take(3).find(|second| second.at == at);
        found.copied().unwrap_or_else(|| Second { at, ..Second::default() }).sample()
    }

    /// Returns the counts of the seconds that ended in the last hour and had any, oldest first.
    pub fn seconds(&self, now: UnixMillis) -> Vec<MetricsSample> {
        let state = self.lock();
        state.seconds.iter().filter(|second| second.at < now.0 / 1000).map(Second::sample).collect()
    }

    /// Returns why the last link with a node went down, if this was seen.
    pub fn departure(&self, node: NodeId) -> Option<LinkDownReason> {
        self.lock().departures.get(&node).copied()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change, if a page is open.
    fn note(&self, change: impl FnOnce(&mut Changes)) {
        if self.0.is_watched.load(Ordering::Relaxed) {
            let mut state = self.lock();
            let was_empty = state.changes.is_empty();
            change(&mut state.changes);
            drop(state);
            if was_empty {
                self.0.changed.notify_one();
            }
        }
    }

    fn note_task(&self, task: TaskId, new: impl FnOnce(Option<TaskNote>) -> TaskNote) {
        self.note(|changes| {
            if let Some(note) = changes.tasks.remove(&task) {
                changes.tasks.insert(task, new(Some(note)));
            } else if changes.tasks.len() < TASKS_MAX {
                changes.tasks.insert(task, new(None));
            } else {
                changes.tasks_left_out = changes.tasks_left_out.saturating_add(1);
            }
        });
    }

    /// Counts in the present second.
    fn count(&self, count: impl FnOnce(&mut Second)) {
        let at = clock::wall().0 / 1000;
        let mut state = self.lock();
        // A clock that was set back adds to the newest second.
        if state.seconds.back().is_none_or(|newest| newest.at < at) {
            while state.seconds.front().is_some_and(|oldest| oldest.at + SECONDS_MAX <= at) {
                state.seconds.pop_front();
            }
            state.seconds.push_back(Second { at, ..Second::default() });
        }
        if let Some(second) = state.seconds.back_mut() {
            count(second);
        }
    }

    /// Counts and notes what happened to a task, as `node` tells it.
    fn count_task(&self, event: &Event, node: NodeId) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the others concern no task")]
        match event {
            Event::TaskAccepted { task, kind, model, .. } => {
                self.count(|second| second.tasks_submitted += 1);
                self.note_task(*task, |_| TaskNote {
                    model: Some(model.clone()),
                    ..TaskNote::new(*kind, TaskStatus::Queued, node)
                });
            }
            Event::TaskRecovered { task, kind, .. } => {
                self.note_task(*task, |_| TaskNote::new(*kind, TaskStatus::Queued, node));
            }
            Event::TaskAssigned { task, worker, attempt, kind, .. } => {
                self.note_task(*task, |old| TaskNote {
                    worker: Some(*worker),
                    attempts: *attempt,
                    ..TaskNote::after(old, *kind, TaskStatus::Queued, node)
                });
            }
            Event::TaskStarted { task, origin, attempt, kind, model, .. } => {
                self.note_task(*task, |old| TaskNote {
                    model: Some(model.clone()),
                    worker: Some(node),
                    attempts: *attempt,
                    ..TaskNote::after(old, *kind, TaskStatus::Running, *origin)
                });
            }
            Event::TaskReassigned { task, worker, reason, attempt, kind, .. } => {
                self.note_task(*task, |old| TaskNote {
                    worker: Some(*worker),
                    attempts: *attempt,
                    moved: Some(*reason),
                    ..TaskNote::after(old, *kind, TaskStatus::Queued, node)
                });
            }
            Event::TaskFinished { task, status, worker, elapsed_micros, kind, attempts, .. } => {
                self.count(|second| {
                    match status {
                        TaskStatus::Completed => second.tasks_completed += 1,
                        TaskStatus::Failed | TaskStatus::Timeout => second.tasks_failed += 1,
                        TaskStatus::Cancelled | TaskStatus::Queued | TaskStatus::Running => {}
                    }
                    second.tasks_timed += 1;
                    second.tasks_micros = second.tasks_micros.saturating_add(*elapsed_micros);
                    second.task_micros_max = second.task_micros_max.max(*elapsed_micros);
                });
                self.note_task(*task, |old| TaskNote {
                    worker: *worker,
                    attempts: *attempts,
                    elapsed_millis: Some(elapsed_micros / 1000),
                    ..TaskNote::after(old, *kind, *status, node)
                });
            }
            _ => {}
        }
    }

    /// Notes the end of an attempt at a task of another node. Nothing else tells this node how the task ends.
    fn note_foreign_end(&self, end: &AttemptEnd, me: NodeId) {
        // A page has not seen an attempt that did not start.
        if end.origin == me || end.run_micros.is_none() {
            return;
        }
        let status = match end.ending {
            AttemptEnding::Completed => TaskStatus::Completed,
            AttemptEnding::Abandoned | AttemptEnding::Cancelled | AttemptEnding::HandedBack => {
                TaskStatus::Cancelled
            }
            AttemptEnding::Expired => TaskStatus::Timeout,
            AttemptEnding::Crashed
            | AttemptEnding::InputRejected
            | AttemptEnding::ModelChanged
            | AttemptEnding::ModelFailed => TaskStatus::Failed,
        };
        self.note_task(end.task, |old| TaskNote {
            model: Some(end.model.clone()),
            worker: Some(me),
            attempts: end.attempt,
            ..TaskNote::after(old, end.kind, status, end.origin)
        });
    }
}

impl TaskNote {
    fn new(kind: TaskKind, status: TaskStatus, origin: NodeId) -> Self {
        let at = clock::wall();
        let (model, worker, moved, elapsed_millis) = Default::default();
        Self { kind, model, status, origin, worker, attempts: 0, moved, elapsed_millis, at }
    }

    /// Returns a change that keeps what only an earlier one of the same update tells.
    fn after(old: Option<Self>, kind: TaskKind, status: TaskStatus, origin: NodeId) -> Self {
        let (model, moved) = old.map_or((None, None), |old| (old.model, old.moved));
        Self { model, moved, ..Self::new(kind, status, origin) }
    }
}

/// Fills a feed with the events of one node.
struct OfNode {
    feed: PageFeed,
    me: NodeId,
}

impl EventObserver for OfNode {
    fn event(&mut self, _now: Instant, event: &Event) {
        if let Event::AttemptEnded(end) = event {
            self.feed.note_foreign_end(end, self.me);
        }
        self.feed.handle(event, self.me);
    }
}

impl PageFeed {
    fn handle(&self, event: &Event, node: NodeId) {
        match event {
            Event::AlertCleared { rule, severity, value, .. } => {
                self.note_alert(AlertChange {
                    rule: *rule,
                    severity: *severity,
                    active: false,
                    message: rule.describe(*value),
                    timestamp: clock::wall().to_string(),
                });
            }
            Event::AlertRaised { rule, severity, value, threshold } => {
                self.note_alert(AlertChange {
                    rule: *rule,
                    severity: *severity,
                    active: true,
                    message: rule.describe_crossing(*value, *threshold),
                    timestamp: clock::wall().to_string(),
                });
            }
            Event::AttemptEnded(_) => self.count(|second| second.attempts += 1),
            Event::MessageAcknowledged { elapsed_micros, .. } => self.count(|second| {
                second.acknowledged += 1;
                second.acknowledged_micros = second.acknowledged_micros.saturating_add(*elapsed_micros);
            }),
            Event::MessageDelivered { .. } => self.count(|second| second.messages_in += 1),
            Event::MessageForwarded { .. } => self.count(|second| {
                second.messages_in += 1;
                second.messages_out += 1;
            }),
            Event::MessageSent { .. } => self.count(|second| second.messages_out += 1),
            Event::LinkDown { peer, reason, .. } => {
                let mut state = self.lock();
                if state.departures.len() >= DEPARTURES_MAX && !state.departures.contains_key(peer) {
                    state.departures.pop_first();
                }
                state.departures.insert(*peer, *reason);
                drop(state);
                self.note(|changes| changes.mesh = true);
            }
            Event::HealthChanged { .. }
            | Event::LinkUp { .. }
            | Event::MemberJoined { .. }
            | Event::MemberLeft { .. }
            | Event::PeerDead { .. }
            | Event::PeerRecovered { .. }
            | Event::PeerSlow { .. }
            | Event::StateChanged { .. } => self.note(|changes| changes.mesh = true),
            Event::ModelChanged { .. } | Event::ModelConflict { .. } => self.note(|changes| {
                (changes.mesh, changes.models) = (true, true);
            }),
            Event::TaskAccepted { .. }
            | Event::TaskAssigned { .. }
            | Event::TaskFinished { .. }
            | Event::TaskReassigned { .. }
            | Event::TaskRecovered { .. }
            | Event::TaskStarted { .. } => self.count_task(event, node),
            Event::BlobFetched { .. }
            | Event::ClockDiffers { .. }
            | Event::ClockSet { .. }
            | Event::DialFailed { .. }
            | Event::DiscoveryAvailable
            | Event::DiscoveryUnavailable
            | Event::FetchBegun { .. }
            | Event::FetchFailed { .. }
            | Event::IdentityCopied { .. }
            | Event::InputTruncated { .. }
            | Event::LinkRefused { .. }
            | Event::MessageDropped { .. }
            | Event::MessageDuplicate { .. }
            | Event::MessageUnacknowledged { .. }
            | Event::NodeFound { .. }
            | Event::NodeLost { .. }
            | Event::PeerFault { .. }
            | Event::ResultDuplicate { .. }
            | Event::StrangerFault { .. }
            | Event::WriteFailed { .. } => {}
        }
    }

    fn note_alert(&self, alert: AlertChange) {
        self.note(|changes| {
            // The state of the node follows from its alerts.
            changes.mesh = true;
            if changes.alerts.len() < ALERTS_MAX {
                changes.alerts.push(alert);
            }
        });
    }
}

/// Maximum number of tasks in one update. With ten updates a second, a page sees 640 changes a second.
const TASKS_MAX: usize = 64;
/// Maximum number of alerts in one update; there are fewer rules.
const ALERTS_MAX: usize = 32;
/// Maximum number of peers whose departure is remembered.
const DEPARTURES_MAX: usize = 1024;
/// Seconds that are kept.
pub const SECONDS_MAX: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{TraceContext, TraceId};

    const ME: NodeId = NodeId([1; 16]);
    const OTHER: NodeId = NodeId([2; 16]);
    const TRACE: TraceContext = TraceContext { id: TraceId([3; 16]), sampled: false };

    fn task(number: u8) -> TaskId {
        TaskId([number; 16])
    }

    fn accepted(task: TaskId) -> Event {
        let (kind, model) = (TaskKind::Embedding, "m".to_owned());
        Event::TaskAccepted { task, kind, model, parent: None, trace: TRACE }
    }

    fn finished(task: TaskId, elapsed_micros: u64) -> Event {
        Event::TaskFinished {
            task,
            status: TaskStatus::Completed,
            worker: Some(OTHER),
            elapsed_micros,
            kind: TaskKind::Embedding,
            attempts: 1,
            store_micros: 0,
            waiters: 0,
            parent: None,
            trace: TRACE,
        }
    }

    fn feed(events: &[Event], feed: &PageFeed) {
        let mut observer = feed.observer(ME);
        events.iter().for_each(|event| observer.event(Instant::ZERO, event));
    }

    #[test]
    fn a_task_is_told_once_with_its_last_status() {
        let feed_of_page = PageFeed::default();
        feed_of_page.watch(true);
        feed(&[accepted(task(1)), finished(task(1), 12_000), accepted(task(2))], &feed_of_page);
        let mut changes = feed_of_page.take_changes();
        assert_eq!(changes.tasks.len(), 2);
        let done = changes.tasks.remove(&task(1)).unwrap().change(task(1));
        assert_eq!((done.status, done.model.as_deref()), (TaskStatus::Completed, Some("m")));
        assert_eq!((done.origin, done.worker, done.elapsed_ms), (ME, Some(OTHER), Some(12)));
        assert!(feed_of_page.take_changes().is_empty());
    }

    #[test]
    fn tasks_of_several_nodes_keep_their_origins() {
        let of_page = PageFeed::default();
        of_page.watch(true);
        of_page.event_of(OTHER, &accepted(task(1)));
        of_page.event_of(OTHER, &finished(task(1), 12_000));
        of_page.event_of(ME, &accepted(task(2)));
        let tasks = of_page.take_changes().tasks;
        let origins: Vec<_> = tasks.into_iter().map(|(id, note)| note.change(id).origin).collect();
        assert_eq!(origins, [OTHER, ME]);
    }

    fn started(task: TaskId, origin: NodeId) -> Event {
        let (kind, model) = (TaskKind::Embedding, "m".to_owned());
        Event::TaskStarted { task, origin, attempt: 2, kind, model, queued_micros: 1, batch: 1, trace: TRACE }
    }

    fn attempt_ended(task: TaskId, origin: NodeId, ending: AttemptEnding, run_micros: Option<u64>) -> Event {
        Event::AttemptEnded(Box::new(AttemptEnd {
            task,
            attempt: 2,
            origin,
            kind: TaskKind::Embedding,
            model: "m".to_owned(),
            ending,
            queued_micros: 1,
            run_micros,
            compute_micros: 1,
            batch: 1,
            input_tokens: 1,
            output_tokens: 0,
            first_token_micros: None,
            trace: TRACE,
        }))
    }

    #[test]
    fn a_task_of_another_node_runs_here_and_ends() {
        let of_page = PageFeed::default();
        of_page.watch(true);
        feed(&[started(task(1), OTHER)], &of_page);
        let running = of_page.take_changes().tasks.remove(&task(1)).unwrap().change(task(1));
        assert_eq!((running.status, running.origin, running.worker), (TaskStatus::Running, OTHER, Some(ME)));
        for (ending, status) in [
            (AttemptEnding::Completed, TaskStatus::Completed),
            (AttemptEnding::HandedBack, TaskStatus::Cancelled),
            (AttemptEnding::Expired, TaskStatus::Timeout),
            (AttemptEnding::Crashed, TaskStatus::Failed),
        ] {
            feed(&[attempt_ended(task(1), OTHER, ending, Some(5))], &of_page);
            let ended = of_page.take_changes().tasks.remove(&task(1)).unwrap().change(task(1));
            assert_eq!((ended.status, ended.origin, ended.worker), (status, OTHER, Some(ME)));
        }
        // The origin tells the end of its own tasks, and nobody saw an attempt that did not start.
        feed(&[attempt_ended(task(1), ME, AttemptEnding::Crashed, Some(5))], &of_page);
        feed(&[attempt_ended(task(1), OTHER, AttemptEnding::Cancelled, None)], &of_page);
        // In a demo, the origin's events come through the same feed.
        of_page.event_of(ME, &attempt_ended(task(1), OTHER, AttemptEnding::Crashed, Some(5)));
        assert!(of_page.take_changes().tasks.is_empty());
    }

    #[test]
    fn a_task_that_moved_says_so_with_its_next_start() {
        let of_page = PageFeed::default();
        of_page.watch(true);
        let reason = ReassignReason::HandedBack;
        let reassigned = Event::TaskReassigned {
            task: task(1),
            worker: ME,
            reason,
            attempt: 2,
            kind: TaskKind::Embedding,
            trace: TRACE,
        };
        feed(&[reassigned, started(task(1), ME)], &of_page);
        let running = of_page.take_changes().tasks.remove(&task(1)).unwrap().change(task(1));
        assert_eq!((running.status, running.moved.as_deref()), (TaskStatus::Running, Some("handed_back")));
    }

    #[test]
    fn changes_are_bounded_and_only_kept_for_a_page() {
        let of_page = PageFeed::default();
        feed(&[accepted(task(1))], &of_page);
        assert!(of_page.take_changes().is_empty(), "no page is open");
        of_page.watch(true);
        (0..=u8::MAX).for_each(|number| feed(&[accepted(task(number))], &of_page));
        let changes = of_page.take_changes();
        assert_eq!((changes.tasks.len(), changes.tasks_left_out), (TASKS_MAX, 256 - TASKS_MAX as u64));
        feed(&[accepted(task(1))], &of_page);
        of_page.watch(false);
        assert!(of_page.take_changes().is_empty());
    }

    #[test]
    fn counts_are_kept_without_a_page() {
        let of_page = PageFeed::default();
        feed(&[accepted(task(1)), finished(task(1), 10_000), finished(task(2), 30_000)], &of_page);
        let later = UnixMillis(clock::wall().0 + 1_000);
        // The events may have met the end of a second.
        let seconds = of_page.seconds(UnixMillis(later.0 + 1_000));
        assert_eq!(seconds.iter().map(|second| second.tasks_submitted).sum::<u32>(), 1);
        assert_eq!(seconds.iter().map(|second| second.tasks_completed).sum::<u32>(), 2);
        assert_eq!(seconds.iter().filter_map(|second| second.task_max_ms).fold(0.0, f64::max), 30.0);
        assert_eq!(of_page.last_second(UnixMillis(later.0 + 60_000)).tasks_completed, 0, "an idle second");
    }

    #[test]
    fn the_reason_of_a_departure_is_known() {
        let of_page = PageFeed::default();
        of_page.watch(true);
        let (link, reason) = (engine::LinkId(1), LinkDownReason::Goodbye);
        feed(&[Event::LinkDown { link, peer: OTHER, reason }], &of_page);
        assert_eq!((of_page.departure(OTHER), of_page.departure(ME)), (Some(reason), None));
        assert!(of_page.take_changes().mesh);
    }
}
