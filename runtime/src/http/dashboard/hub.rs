//! What all pages of a node share: the mesh, the updates that made it, and the task that asks the node.
//!
//! The node is asked once a second, and at once after a change, at most ten times a second. It is not asked while no page
//! is open. Each update is serialised once, whatever the number of pages, and the last ones are kept, so that a page that
//! lost its connection continues where it was.
//!
//! Invariant: the mesh is what all updates up to the newest have made, so a snapshot and the updates after it agree.

use super::mesh::{Answers, Difference, Mesh};
use super::names::Names;
use crate::clock;
use crate::driver::Handle;
use crate::metrics::cpu_micros;
use crate::observers::{Changes, PageFeed, SECONDS_MAX};
use api::dashboard::{FeedKind, FeedPhase, FeedState, MetricsHistory, MetricsSample, Topology, Update};
use axum::body::Bytes;
use engine::request::{Request, Response};
use engine::{NodeId, UnixMillis};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// The shared state of all pages.
#[derive(Debug)]
pub(super) struct Hub {
    feed: PageFeed,
    names: Arc<Names>,
    kind: FeedKind,
    state: Mutex<State>,
    /// Held while the node is asked.
    turn: AsyncMutex<()>,
    /// The number of the newest frame.
    newest: watch::Sender<u64>,
    pages: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// Distinguishes the cursors of this process from those of earlier ones.
    epoch: String,
    number: u64,
    frames: VecDeque<Frame>,
    frames_bytes: usize,
    mesh: Mesh,
    node: Option<(NodeId, String)>,
    asked: Option<Instant>,
    ticked: Option<Instant>,
    cpu: Option<(Instant, u64)>,
    sample: Option<MetricsSample>,
    gauges: VecDeque<MetricsSample>,
    /// Set while the node does not answer.
    lost: Option<FeedState>,
    runs: bool,
}

/// One event of the stream, as it is sent.
#[derive(Clone, Debug)]
struct Frame {
    number: u64,
    text: Bytes,
}

/// A place in the stream, as `EPOCH-NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    epoch: String,
    number: u64,
}

impl Cursor {
    /// Parses a cursor; `None` for any other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, number) = text.rsplit_once('-')?;
        Some(Self { epoch: epoch.to_owned(), number: number.parse().ok()? })
    }
}

/// What a page gets next.
pub(super) enum Next {
    /// An event, and the number to continue after.
    Frame(Bytes, u64),
    /// Nothing is new.
    Wait,
}

impl Hub {
    pub(super) fn new(feed: PageFeed, names: Arc<Names>, kind: FeedKind) -> Self {
        let mut random = [0; 4];
        // Without randomness the time tells processes apart.
        let _ = getrandom::fill(&mut random);
        let epoch = format!("{:x}{:08x}", clock::wall().0, u32::from_be_bytes(random));
        Self {
            feed,
            names,
            kind,
            state: Mutex::new(State { epoch, ..State::default() }),
            turn: AsyncMutex::default(),
            newest: watch::Sender::new(0),
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
        }
    }

    /// Returns what serves the pages.
    pub(super) const fn kind(&self) -> FeedKind {
        self.kind
    }

    /// Opens one more page; `None` at the limit.
    pub(super) fn open_page(self: &Arc<Self>, handle: &Handle) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.pages).try_acquire_owned().ok()?;
        let mut state = self.lock();
        state.forget_stale();
        if !state.runs {
            state.runs = true;
            self.feed.watch(true);
            tokio::spawn(Arc::clone(self).follow(handle.clone()));
        }
        drop(state);
        Some(permit)
    }

    /// Returns a receiver that is notified of each frame.
    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Returns the topology, at most a second old.
    pub(super) async fn topology(&self, handle: &Handle) -> Result<Topology, FeedState> {
        self.lock().forget_stale();
        self.refresh(handle, FRESH).await;
        let state = self.lock();
        match (&state.lost, state.node.is_some()) {
            (None, true) => Ok(self.snapshot(&state)),
            (Some(lost), _) => Err(lost.clone()),
            (None, false) => Err(feed_state(FeedPhase::Unreachable)),
        }
    }

    /// Returns the event after a number; at first, and after frames that are no longer kept, it is the topology.
    pub(super) fn next(&self, after: Option<&Cursor>) -> Next {
        let state = self.lock();
        let known = after.filter(|after| after.epoch == state.epoch && after.number <= state.number);
        let kept = known.filter(|after| {
            after.number == state.number
                || state.frames.front().is_some_and(|oldest| oldest.number <= after.number + 1)
        });
        match kept {
            Some(after) => {
                let at = state.frames.partition_point(|frame| frame.number <= after.number);
                state.frames.get(at).map_or(Next::Wait, |frame| Next::Frame(frame.text.clone(), frame.number))
            }
            None if state.node.is_some() && state.lost.is_none() && state.is_fresh(STALE) => {
                let topology = self.snapshot(&state);
                Next::Frame(event("topology", Some(&topology.cursor), &topology), state.number)
            }
            None => state
                .lost
                .as_ref()
                .map_or(Next::Wait, |lost| Next::Frame(event("state", None, lost), state.number)),
        }
    }

    /// Returns the cursor behind a frame.
    pub(super) fn cursor(&self, number: u64) -> Cursor {
        Cursor { epoch: self.lock().epoch.clone(), number }
    }

    /// Returns the figures of the last seconds.
    pub(super) fn history(&self, seconds: u64) -> MetricsHistory {
        let now = clock::wall();
        let end = now.0 / 1000;
        let state = self.lock();
        let counted = self.feed.seconds(now);
        let oldest =
            counted.first().into_iter().chain(state.gauges.front()).map(|sample| sample.at_ms / 1000).min();
        let from = (end + 1).saturating_sub(seconds).max(oldest.unwrap_or(end));
        let length = usize::try_from((end + 1).saturating_sub(from)).unwrap_or_default();
        let mut samples: Vec<MetricsSample> =
            (from..=end).map(|at| MetricsSample { at_ms: at * 1000, ..MetricsSample::default() }).collect();
        let place = |sample: &MetricsSample| usize::try_from((sample.at_ms / 1000).checked_sub(from)?).ok();
        for sample in &counted {
            if let Some(found) = place(sample).and_then(|at| samples.get_mut(at)) {
                *found = *sample;
            }
        }
        for sample in &state.gauges {
            if let Some(found) = place(sample).and_then(|at| samples.get_mut(at)) {
                *found = with_gauges(*found, sample);
            }
        }
        let mut columns: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for sample in &samples {
            for (name, value) in sample.values() {
                columns.entry(name.to_owned()).or_default().push(value);
            }
        }
        MetricsHistory { interval_ms: 1000, from_ms: from * 1000, length, columns }
    }

    /// Asks the node again and again, until no page has been open for a while.
    async fn follow(self: Arc<Self>, handle: Handle) {
        let mut unused_since: Option<Instant> = None;
        loop {
            self.refresh(&handle, Duration::ZERO).await;
            {
                let mut state = self.lock();
                // A page that opens now has its permit already, or finds that nothing runs.
                if self.pages.available_permits() < PAGES_MAX {
                    unused_since = None;
                } else if unused_since.get_or_insert_with(Instant::now).elapsed() >= UNUSED_MAX {
                    state.runs = false;
                    self.feed.watch(false);
                    state.forget();
                    return;
                }
            }
            tokio::time::sleep(UPDATE_INTERVAL).await;
            let idle = TICK.saturating_sub(UPDATE_INTERVAL);
            // A change ends the wait.
            let _ = tokio::time::timeout(idle, self.feed.changed()).await;
        }
    }

    /// Asks the node, unless its last answer is younger than `fresh`, and adds what is new to the stream.
    async fn refresh(&self, handle: &Handle, fresh: Duration) {
        let _turn = self.turn.lock().await;
        if !fresh.is_zero() && self.lock().is_fresh(fresh) {
            return;
        }
        let changes = self.feed.take_changes();
        let needs_mesh = changes.mesh || self.lock().is_due();
        let answers = if needs_mesh {
            match tokio::time::timeout(ANSWER_TIMEOUT, ask(handle)).await {
                Ok(Some(answers)) => Some(answers),
                Ok(None) if self.kind == FeedKind::Node => return self.lose(FeedPhase::Stopping),
                // The nodes of a demo may start again.
                Ok(None) | Err(_) => return self.lose(FeedPhase::Unreachable),
            }
        } else {
            None
        };
        self.take(answers.as_ref(), changes);
    }

    fn take(&self, answers: Option<&Answers>, changes: Changes) {
        let now = clock::wall();
        let mut guard = self.lock();
        let state = &mut *guard;
        let was_new = state.node.is_none();
        let found_again = state.lost.take().is_some();
        let tick = answers.is_some() && state.is_tick();
        let difference = match answers {
            Some(answers) => {
                state.asked = Some(Instant::now());
                state.node = Some((answers.status.node_id, answers.status.network.clone()));
                let departure = |node| self.feed.departure(node);
                state.mesh.update(answers, now, tick, &self.names, departure)
            }
            None => Difference::default(),
        };
        let sample = answers.filter(|_| tick).map(|answers| {
            state.ticked = Some(Instant::now());
            self.sample(state, answers, now)
        });
        let Changes { tasks, tasks_left_out, alerts, models, mesh: _ } = changes;
        let nothing = difference.is_empty() && sample.is_none() && tasks.is_empty() && alerts.is_empty();
        if was_new || found_again {
            // Pages that wait get all of it.
            state.number += 1;
            let topology = self.snapshot(state);
            let text = event("topology", Some(&topology.cursor), &topology);
            self.publish(state, text);
        } else if !(nothing && !models && tasks_left_out == 0) {
            state.number += 1;
            let Difference { nodes, nodes_removed, links, links_removed, groups } = difference;
            let update = Update {
                cursor: state.cursor(),
                timestamp: now.to_string(),
                nodes,
                nodes_removed,
                links,
                links_removed,
                groups,
                tasks: tasks.into_iter().map(|(id, note)| note.change(id)).collect(),
                tasks_left_out,
                alerts,
                models_changed: models,
                sample,
            };
            let text = event("update", Some(&update.cursor), &update);
            self.publish(state, text);
        }
    }

    /// Tells the pages that the node stops or does not answer.
    fn lose(&self, phase: FeedPhase) {
        let mut state = self.lock();
        if state.lost.as_ref().is_none_or(|lost| lost.state != phase) {
            let lost = feed_state(phase);
            state.number += 1;
            let text = event("state", None, &lost);
            self.publish(&mut state, text);
            state.lost = Some(lost);
        }
    }

    /// Keeps the frame with the newest number, and wakes the pages.
    fn publish(&self, state: &mut State, text: Bytes) {
        state.keep(text);
        self.newest.send_replace(state.number);
    }

    /// Returns the figures of the last second, and keeps them.
    fn sample(&self, state: &mut State, answers: &Answers, now: UnixMillis) -> MetricsSample {
        let status = &answers.status;
        let health = status.health.as_ref();
        let (used, at) = (cpu_micros(), Instant::now());
        let cpu_percent = state.cpu.replace((at, used)).map(|(before, used_before)| {
            let wall = at.duration_since(before).as_micros().max(1) as f64;
            (used.saturating_sub(used_before) as f64 / wall * 1000.0).round() / 10.0
        });
        let mut sample = MetricsSample {
            tasks_queued: Some(status.tasks_queued),
            tasks_running: Some(status.tasks_running),
            peers: Some(status.peers),
            members: Some(status.members),
            memory_bytes: health.and_then(|health| health.memory_bytes),
            memory_bytes_max: health.map(|health| health.memory_bytes_max),
            cpu_percent,
            ..self.feed.last_second(now)
        };
        state.mesh.add_traffic(&mut sample);
        state.gauges.push_back(sample);
        while state.gauges.front().is_some_and(|oldest| oldest.at_ms + SECONDS_MAX * 1000 <= sample.at_ms) {
            state.gauges.pop_front();
        }
        state.sample = Some(sample);
        sample
    }

    fn snapshot(&self, state: &State) -> Topology {
        let (me, network) = state.node.clone().unwrap_or((NodeId([0; 16]), String::new()));
        Topology {
            cursor: state.cursor(),
            timestamp: clock::wall().to_string(),
            me,
            network,
            kind: self.kind,
            nodes: state.mesh.nodes.values().cloned().collect(),
            links: state.mesh.links.values().cloned().collect(),
            groups: state.mesh.groups(),
            sample: state.sample,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cursor(&self) -> String {
        format!("{}-{}", self.epoch, self.number)
    }

    fn is_fresh(&self, age: Duration) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < age)
    }

    /// Returns whether the next sample is due.
    fn is_tick(&self) -> bool {
        self.ticked.is_none_or(|ticked| ticked.elapsed() >= TICK_MIN)
    }

    /// Returns whether the node must be asked, even if nothing changed.
    fn is_due(&self) -> bool {
        self.lost.is_some() || self.is_tick()
    }

    /// Forgets the mesh if it is old, as when the last page was closed long ago.
    fn forget_stale(&mut self) {
        if !self.runs && !self.is_fresh(STALE) {
            self.forget();
        }
    }

    /// Forgets the mesh and the frames, so that every page gets the topology next, whatever its cursor.
    fn forget(&mut self) {
        self.frames.clear();
        self.frames_bytes = 0;
        self.number += 1;
        (self.node, self.asked, self.ticked, self.cpu, self.sample) = (None, None, None, None, None);
        self.lost = None;
        self.mesh.forget();
    }

    /// Keeps the frame with the newest number, and drops the oldest beyond the limits.
    fn keep(&mut self, text: Bytes) {
        self.frames_bytes += text.len();
        self.frames.push_back(Frame { number: self.number, text });
        while (self.frames.len() > FRAMES_MAX || self.frames_bytes > FRAMES_BYTES_MAX)
            && let Some(oldest) = self.frames.pop_front()
        {
            self.frames_bytes -= oldest.text.len();
        }
    }
}

/// Returns a sample with the measured figures of another one.
fn with_gauges(counted: MetricsSample, measured: &MetricsSample) -> MetricsSample {
    MetricsSample {
        bytes_out: measured.bytes_out,
        bytes_in: measured.bytes_in,
        tasks_queued: measured.tasks_queued,
        tasks_running: measured.tasks_running,
        peers: measured.peers,
        members: measured.members,
        memory_bytes: measured.memory_bytes,
        memory_bytes_max: measured.memory_bytes_max,
        cpu_percent: measured.cpu_percent,
        ..counted
    }
}

/// Asks a node what a page shows; `None` if it has stopped.
async fn ask(handle: &Handle) -> Option<Answers> {
    let (status, members, peers) =
        futures::join!(handle.ask(Request::Status), handle.ask(Request::Members), handle.ask(Request::Peers));
    match (status, members, peers) {
        (
            Ok(Ok(Response::Status(status))),
            Ok(Ok(Response::Members(members))),
            Ok(Ok(Response::Peers(peers))),
        ) => Some(Answers { status: *status, members, peers }),
        _ => None,
    }
}

/// Returns an event as it is sent: a name, a cursor, and one line of JSON.
pub(super) fn event(name: &str, cursor: Option<&str>, data: &impl Serialize) -> Bytes {
    // Serialising plain data cannot fail.
    let json = serde_json::to_string(data).unwrap_or_default();
    let id = cursor.map(|cursor| format!("id: {cursor}\n")).unwrap_or_default();
    Bytes::from(format!("event: {name}\n{id}data: {json}\n\n"))
}

/// Returns what a page is told while it cannot see the node.
pub(super) fn feed_state(phase: FeedPhase) -> FeedState {
    let message = match phase {
        FeedPhase::Starting => "the node is starting",
        FeedPhase::Stopping => "the node stops",
        FeedPhase::Unreachable => "the node does not answer",
    };
    let hint = "p2p-ai-agents node status says whether it runs";
    FeedState {
        state: phase,
        message: message.to_owned(),
        hint: (phase != FeedPhase::Starting).then(|| hint.to_owned()),
        timestamp: clock::wall().to_string(),
    }
}

/// Maximum pages of one node.
pub(super) const PAGES_MAX: usize = 100;
/// Shortest time between two updates.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two questions to a node without changes.
const TICK: Duration = Duration::from_secs(1);
/// Shortest time between two samples.
const TICK_MIN: Duration = Duration::from_millis(950);
/// Age of an answer that a single request may get.
const FRESH: Duration = Duration::from_millis(1_000);
/// Age from which a new page waits for the next answer.
const STALE: Duration = Duration::from_millis(2_500);
/// Time without a page before the node is no longer asked: a page that reloads finds all ready.
const UNUSED_MAX: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum events that are kept for pages that reconnect.
const FRAMES_MAX: usize = 600;
const FRAMES_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
