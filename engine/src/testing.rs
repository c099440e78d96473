//! An in-memory network for tests. All nodes share one network with a latency of 1 ms, disks never fail, and inference
//! takes 10 ms.
//!
//! The simulator covers faults and seeds; this module shows how a few nodes behave.

use crate::config::Config;
use crate::error::DialError;
use crate::event::Event;
use crate::health::HostFacts;
use crate::identity::Identity;
use crate::ids::{Fingerprint, JobId, LinkId, NodeId, RequestId, TaskId, TraceId};
use crate::input::{Input, Interface, ModelState};
use crate::lifecycle::State;
use crate::membership::AdvertCache;
use crate::model::ModelOffer;
use crate::node::Node;
use crate::node_name::NodeName;
use crate::observers::alerts::SavedAlerts;
use crate::observers::fault_counters::FaultCounters;
use crate::observers::traces::Shelf;
use crate::output::{InferenceJob, Output, Priority};
use crate::record::{Record, Saved};
use crate::request::{Answer, DiscoveryState, DiscoveryView, Request, StatusView, WorkView};
use crate::task::{
    EmbeddingInput, FinishReason, ResultSummary, StoredTask, TaskKind, TaskOutput, TaskStatus,
};
use crate::time::{Instant, UnixMillis};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The name of the model that every node offers.
pub const MODEL: &str = "test-model";

/// The fingerprint of every model, unless a test chooses another.
pub const FINGERPRINT: Fingerprint = Fingerprint([7; 16]);

/// Returns an offer of a model.
pub fn offer(name: &str, kind: TaskKind) -> ModelOffer {
    ModelOffer { name: name.to_owned(), kind, fingerprint: Some(FINGERPRINT) }
}

/// Returns the summary of a task that was submitted and completed at one time, and expires at another.
pub fn completed(id: TaskId, at: UnixMillis, expires_at: UnixMillis) -> ResultSummary {
    ResultSummary {
        id,
        kind: TaskKind::Embedding,
        model: MODEL.to_owned(),
        status: TaskStatus::Completed,
        failure: None,
        worker: None,
        execution_micros: 1,
        attempts: 1,
        submitted_at: at,
        completed_at: at,
        expires_at,
        output_bytes: 1,
        preview: String::new(),
        output_preview: String::new(),
        trace: TraceId([0; 16]),
    }
}

/// Returns the status of a node that is alone and idle.
pub fn status() -> StatusView {
    StatusView {
        node_id: NodeId([7; 16]),
        name: NodeName::new("cedar").unwrap_or_default(),
        state: State::Active,
        version: "1".to_owned(),
        network: "local".to_owned(),
        network_port: 9000,
        addresses: Vec::new(),
        uptime_millis: Some(5),
        peers: 0,
        members: 1,
        tasks_queued: 0,
        tasks_running: 0,
        work: WorkView::default(),
        results: 0,
        models: Vec::new(),
        discovery: DiscoveryView {
            state: DiscoveryState::Available,
            nodes: 1,
            packets_own: 2,
            packets_heard: 3,
            packets_dropped: 0,
            packets_unusable: 0,
        },
        health: None,
        alerts: Vec::new(),
        faults: FaultCounters::default(),
        timestamp: UnixMillis(0),
    }
}

/// Several nodes, and the inputs in transit between them.
#[derive(Debug, Default)]
pub struct Network {
    now: Instant,
    places: Vec<Place>,
    queue: BTreeMap<(Instant, u64), (usize, Input)>,
    /// When each node needs its next tick.
    timers: BTreeSet<(Instant, usize)>,
    sequence: u64,
    next_link: u64,
    /// Both ends of each connection. An end at an index without a node belongs to a stranger.
    connections: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    /// Jobs that were begun and not cancelled.
    jobs: BTreeMap<(usize, JobId), ()>,
    good: AdvertCache,
    /// The frames that strangers received.
    received: Vec<(LinkId, Vec<u8>)>,
    /// The pairs of nodes that can reach each other; `None` for all.
    lines: Option<BTreeSet<(usize, usize)>>,
    /// The number of bulk frames to drop, for each node that sends them.
    shed: BTreeMap<usize, usize>,
    /// The recorded frames; `None` if they are not recorded.
    passed: Option<Vec<Passed>>,
    /// The duration of each job, if it is not [`COMPUTE`].
    compute: Option<Duration>,
}

/// A frame that one node sent to another.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The index of the sender.
    pub from: usize,
    /// The index of the receiver.
    pub to: usize,
    /// The payload of the frame.
    pub bytes: Vec<u8>,
}

/// A node with its disk and its observed outputs. It survives restarts of the node.
#[derive(Debug)]
struct Place {
    config: Config,
    secret: [u8; 32],
    node: Option<Node>,
    starts: u8,
    timer: Option<Instant>,
    disk: BTreeMap<TaskId, StoredTask>,
    alerts: SavedAlerts,
    events: Vec<Event>,
    answers: BTreeMap<RequestId, Answer>,
    exit: Option<u8>,
    traces: Shelf,
}

impl Network {
    /// Creates a network in which only these pairs of nodes can reach each other.
    pub fn with_lines(pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let both = pairs.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]);
        Self { lines: Some(both.collect()), ..Self::default() }
    }

    /// Records the frames that nodes send to each other from now on.
    pub fn keep_frames(&mut self) {
        self.passed = Some(Vec::new());
    }

    /// Returns the recorded frames, in the order in which they were sent.
    pub fn frames(&self) -> &[Passed] {
        self.passed.as_deref().unwrap_or_default()
    }

    /// Sets the duration of all jobs that begin from now on.
    pub const fn set_compute(&mut self, time: Duration) {
        self.compute = Some(time);
    }

    /// Adds a node, starts it and returns its index, from 0.
    pub fn add(&mut self, change: impl FnOnce(&mut Config)) -> usize {
        let place = self.places.len();
        let models = vec![offer(MODEL, TaskKind::Embedding)];
        let mut config = Config { models, ..Config::default() };
        change(&mut config);
        let [high, low] = halves(place);
        let mut secret = [low.wrapping_add(1); 32];
        secret[31] = secret[31].wrapping_add(high);
        self.places.push(Place {
            config,
            secret,
            node: None,
            starts: 0,
            timer: None,
            disk: BTreeMap::new(),
            alerts: SavedAlerts::default(),
            events: Vec::new(),
            answers: BTreeMap::new(),
            exit: None,
            traces: Shelf::default(),
        });
        self.start(place);
        place
    }

    /// Adds a node that uses the key of another one, and starts it.
    pub fn add_copy(&mut self, original: usize, change: impl FnOnce(&mut Config)) -> usize {
        let place = self.add(change);
        let secret = self.places[original].secret;
        let entry = &mut self.places[place];
        entry.node = None;
        entry.starts = COPY_STARTS;
        entry.secret = secret;
        self.queue.retain(|_, (to, _)| *to != place);
        self.start(place);
        place
    }

    /// Starts a node with the contents of its disk.
    pub fn start(&mut self, place: usize) {
        let now = self.now;
        let entry = &mut self.places[place];
        entry.starts += 1;
        let tasks = entry.disk.values().cloned().collect();
        let saved = Saved { alerts: entry.alerts.clone(), tasks, results: Vec::new() };
        let identity = Identity::from_secret(&entry.secret);
        let seed = [entry.starts, entry.secret[0]].repeat(16).try_into().unwrap_or([0; 32]);
        let wall = UnixMillis(1_700_000_000_000 + now.as_micros() / 1000);
        let mut node = Node::new(entry.config.clone(), identity, seed, now, wall, saved);
        node.share_adverts(self.good.clone());
        entry.node = Some(node);
        let address = address(place);
        self.later(place, Duration::ZERO, Input::Interfaces(vec![Interface::new(INTERFACE, address.ip())]));
        self.later(place, Duration::ZERO, Input::Listening { port: address.port() });
        for ModelOffer { name, kind, fingerprint } in self.places[place].config.models.clone() {
            let state = ModelState::Ready;
            self.later(place, Duration::ZERO, Input::Model { name, kind, fingerprint, state });
        }
        self.carry_out(place);
    }

    /// Changes the state of a node's model.
    pub fn set_model(&mut self, place: usize, name: &str, kind: TaskKind, state: ModelState) {
        self.set_offer(place, offer(name, kind), state);
    }

    /// Changes the fingerprint and state of a node's model.
    pub fn set_offer(&mut self, place: usize, offer: ModelOffer, state: ModelState) {
        let ModelOffer { name, kind, fingerprint } = offer;
        self.later(place, Duration::ZERO, Input::Model { name, kind, fingerprint, state });
    }

    /// Sets the wall clock of a node ahead of the others.
    pub fn set_clock_ahead(&mut self, place: usize, millis: u64) {
        let wall = UnixMillis(1_700_000_000_000 + self.now.as_micros() / 1000 + millis);
        self.later(place, Duration::ZERO, Input::ClockSet(wall));
    }

    /// Kills a node: it sends nothing more, and its connections close.
    pub fn kill(&mut self, place: usize) {
        self.places[place].node = None;
        self.carry_out(place);
        self.queue.retain(|_, (to, _)| *to != place);
        self.jobs.retain(|(at, _), ()| *at != place);
        let ends: Vec<_> =
            self.connections.iter().filter(|((at, _), _)| *at == place).map(|(_, end)| *end).collect();
        self.connections.retain(|(at, _), (to, _)| *at != place && *to != place);
        for (to, link) in ends {
            self.later(to, LATENCY, Input::LinkDown { link });
        }
    }

    /// Cuts the power of a node: it sends nothing more, and its peers are not told that its connections are gone.
    pub fn lose_power(&mut self, place: usize) {
        self.places[place].node = None;
        self.carry_out(place);
        self.queue.retain(|_, (to, _)| *to != place);
        self.jobs.retain(|(at, _), ()| *at != place);
        self.connections.retain(|(at, _), _| *at != place);
    }

    /// Connects a stranger with the key `secret` to a node, and returns the node's id of the link.
    pub fn connect_stranger(&mut self, place: usize, secret: [u8; 32]) -> LinkId {
        let stranger = self.places.len();
        let (near, far) = (self.new_link(), self.new_link());
        self.connections.insert((place, near), (stranger, far));
        let peer = Identity::from_secret(&secret).public_key();
        self.later(place, LATENCY, Input::LinkUp { link: near, peer, remote: address(99), dial: None });
        near
    }

    /// Delivers a frame to a node as if it had arrived on the link.
    pub fn frame_from_stranger(&mut self, place: usize, link: LinkId, bytes: Vec<u8>) {
        self.later(place, LATENCY, Input::Frame { link, bytes });
    }

    /// Delivers several frames to a node at once, as if they had arrived on the link.
    pub fn frames_from_stranger(&mut self, place: usize, link: LinkId, frames: Vec<Vec<u8>>) {
        self.later(place, LATENCY, Input::Frames { link, frames });
    }

    /// Drops the next `frames` bulk frames that a node sends, as if its link's queue were full.
    pub fn shed(&mut self, place: usize, frames: usize) {
        self.shed.insert(place, frames);
    }

    /// Delivers a frame as if one node had sent it to the other, on an existing link between them.
    pub fn inject(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let ends = self.connections.iter().find(|((at, _), (end, _))| (*at, *end) == (from, to));
        if let Some((_, &(_, link))) = ends {
            self.later(to, LATENCY, Input::Frame { link, bytes });
        }
    }

    /// Returns the frames that a node has sent on a stranger's link.
    pub fn frames_to_stranger(&self, link: LinkId) -> Vec<&[u8]> {
        self.received.iter().filter(|(to, _)| *to == link).map(|(_, bytes)| bytes.as_slice()).collect()
    }

    /// Sends a request to a node, and returns the request's id.
    pub fn ask(&mut self, place: usize, request: Request) -> RequestId {
        self.sequence += 1;
        let id = RequestId(self.sequence);
        self.later(place, Duration::ZERO, Input::Request { id, request });
        id
    }

    /// Returns the reply to a request; `None` if there is none yet.
    pub fn answer(&self, place: usize, id: RequestId) -> Option<&Answer> {
        self.places[place].answers.get(&id)
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        loop {
            let timer = self.timers.first().copied();
            let event = self.queue.first_key_value().map(|(key, _)| *key);
            match (timer, event) {
                (Some((at, place)), event) if at <= end && event.is_none_or(|(then, _)| at < then) => {
                    self.now = at;
                    self.handle(place, Input::Tick);
                }
                (_, Some(key)) if key.0 <= end => {
                    self.now = key.0;
                    if let Some((place, input)) = self.queue.remove(&key) {
                        self.handle(place, input);
                    }
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Returns a node's id.
    pub fn id(&self, place: usize) -> NodeId {
        Identity::from_secret(&self.places[place].secret).node_id()
    }

    /// Returns the events of a node, over all of its starts.
    pub fn events(&self, place: usize) -> &[Event] {
        &self.places[place].events
    }

    /// Returns the exit status of a node that has stopped.
    pub fn exit(&self, place: usize) -> Option<u8> {
        self.places[place].exit
    }

    fn handle(&mut self, place: usize, input: Input) {
        let done = if let Input::InferenceDone { job, .. } = &input { Some(*job) } else { None };
        if done.is_some_and(|job| self.jobs.remove(&(place, job)).is_none()) {
            return;
        }
        let now = self.now;
        if let Some(node) = self.places.get_mut(place).and_then(|entry| entry.node.as_mut()) {
            node.handle_input(now, input);
        }
        self.carry_out(place);
    }

    fn carry_out(&mut self, place: usize) {
        while let Some(output) =
            self.places.get_mut(place).and_then(|entry| entry.node.as_mut()).and_then(Node::poll_output)
        {
            self.carry_out_one(place, output);
        }
        let Some(entry) = self.places.get_mut(place) else { return };
        let due = entry.node.as_ref().and_then(Node::poll_timeout).map(|deadline| deadline.at);
        let before = core::mem::replace(&mut entry.timer, due);
        if before != due {
            before.map(|at| self.timers.remove(&(at, place)));
            due.map(|at| self.timers.insert((at, place)));
        }
    }

    fn carry_out_one(&mut self, place: usize, output: Output) {
        match output {
            Output::Blob(_) => {}
            Output::Cancel { job } => {
                let result = Err(crate::error::InferenceError::Cancelled);
                self.later(place, Duration::ZERO, Input::InferenceDone { job, micros: 0, result });
            }
            Output::Dial { dial, address: to, expect } => {
                let target =
                    (0..self.places.len()).find(|&at| address(at) == to && self.places[at].node.is_some());
                let target = target.filter(|&at| self.reaches(place, at));
                match target.filter(|&at| expect.is_none_or(|expect| expect == self.id(at))) {
                    Some(target) => self.connect(place, target, dial),
                    None => {
                        let error = DialError::Refused;
                        self.later(place, LATENCY, Input::DialFailed { dial, error });
                    }
                }
            }
            Output::Disconnect { link } => {
                if let Some((to, far)) = self.connections.remove(&(place, link)) {
                    self.connections.remove(&(to, far));
                    self.later(place, LATENCY, Input::LinkDown { link });
                    self.later(to, LATENCY, Input::LinkDown { link: far });
                }
            }
            Output::Event(event) => self.places[place].events.push(event),
            Output::Examine => {
                let host = HostFacts {
                    config_readable: true,
                    crypto_micros: 50,
                    memory_bytes: 20 << 20,
                    records_damaged: 0,
                    disk: None,
                };
                self.later(place, Duration::ZERO, Input::Examined(host));
            }
            Output::Exit { code } => {
                self.places[place].exit = Some(code);
                self.kill(place);
            }
            Output::Infer { job, work, .. } => {
                self.jobs.insert((place, job), ());
                let result = Ok(run_model(&work).into_iter().map(Ok).collect());
                let compute = self.compute.unwrap_or(COMPUTE);
                let micros = crate::time::micros(compute);
                for (pieces, text) in (1..).zip(written(&work)) {
                    let after = compute * pieces / (PIECES + 1);
                    let input = Input::InferenceProgress { job, text: (*text).to_owned(), tokens: pieces };
                    self.later(place, after, input);
                }
                self.later(place, compute, Input::InferenceDone { job, micros, result });
            }
            Output::Multicast { bytes, .. } => {
                // Nodes send from the port of multicast DNS; queries from other ports are answered by unicast.
                let from = SocketAddr::new(address(place).ip(), 5353);
                for to in (0..self.places.len()).filter(|&to| self.reaches(place, to)).collect::<Vec<_>>() {
                    let input = Input::Datagram { interface: INTERFACE, from, bytes: bytes.clone() };
                    self.later(to, LATENCY, input);
                }
            }
            // No host outside the mesh sends queries.
            Output::Traces(order) => {
                if let Some((read, found)) = self.places[place].traces.handle_order(order) {
                    self.later(place, Duration::ZERO, Input::TracesFound { read, found });
                }
            }
            Output::Unicast { .. } => {}
            Output::Reply { id, answer } => {
                self.places[place].answers.insert(id, answer);
            }
            Output::Send { link, frame, priority: Priority::Background | Priority::Bulk }
                if self.shed.get(&place).is_some_and(|left| *left > 0) =>
            {
                self.shed.entry(place).and_modify(|left| *left -= 1);
                self.later(place, Duration::ZERO, Input::Shed { link, frame });
            }
            Output::Send { link, frame, .. } => match self.connections.get(&(place, link)) {
                Some(&(to, far)) if to < self.places.len() => {
                    if let Some(passed) = &mut self.passed {
                        passed.push(Passed { from: place, to, bytes: frame.clone() });
                    }
                    self.later(to, LATENCY, Input::Frame { link: far, bytes: frame });
                }
                _ => self.received.push((link, frame)),
            },
            Output::Write { id, records } => {
                for record in records {
                    match record {
                        Record::Alerts(alerts) => self.places[place].alerts = *alerts,
                        Record::Task(task) => _ = self.places[place].disk.insert(task.id, *task),
                        Record::RemoveTask(task) => _ = self.places[place].disk.remove(&task),
                        Record::Probe | Record::RemoveResult(_) | Record::Result(_) => {}
                    }
                }
                self.later(place, WRITE, Input::WriteDone { id, result: Ok(()) });
            }
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        from == to || self.lines.as_ref().is_none_or(|lines| lines.contains(&(from, to)))
    }

    fn connect(&mut self, from: usize, to: usize, dial: crate::ids::DialId) {
        let (near, far) = (self.new_link(), self.new_link());
        self.connections.insert((from, near), (to, far));
        self.connections.insert((to, far), (from, near));
        let key = |place: usize| Identity::from_secret(&self.places[place].secret).public_key();
        let (ours, theirs) = (key(from), key(to));
        let up = Input::LinkUp { link: near, peer: theirs, remote: address(to), dial: Some(dial) };
        self.later(from, LATENCY * 2, up);
        self.later(
            to,
            LATENCY * 2,
            Input::LinkUp { link: far, peer: ours, remote: address(from), dial: None },
        );
    }

    fn new_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    fn later(&mut self, place: usize, delay: Duration, input: Input) {
        self.sequence += 1;
        self.queue.insert((self.now.after(delay), self.sequence), (place, input));
    }
}

/// Returns the address at which a node accepts links.
fn address(place: usize) -> SocketAddr {
    let [high, low] = halves(place);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 9000)
}

fn halves(place: usize) -> [u8; 2] {
    u16::try_from(place).unwrap_or(u16::MAX).to_be_bytes()
}

/// Returns the text that a job generates, in pieces.
const fn written(work: &InferenceJob) -> &'static [&'static str] {
    match work {
        InferenceJob::Generate(_) => &STORY,
        InferenceJob::Classify { .. } | InferenceJob::Embed { .. } | InferenceJob::Rerank { .. } => &[],
    }
}

fn run_model(work: &InferenceJob) -> Vec<TaskOutput> {
    // As many numbers as the longest text of the task has bytes.
    let vector = |input: &EmbeddingInput, length: usize| {
        let mut vector: Vec<f32> = input.text().unwrap_or_default().bytes().map(f32::from).collect();
        vector.resize(length, 0.0);
        vector
    };
    let embed = |inputs: &Vec<EmbeddingInput>| {
        let length = inputs.iter().map(EmbeddingInput::bytes).max().unwrap_or_default();
        TaskOutput::Embedding {
            vectors: inputs.iter().map(|input| vector(input, length)).collect(),
            tokens: u32::try_from(length).unwrap_or(u32::MAX),
            truncated: Vec::new(),
        }
    };
    match work {
        InferenceJob::Classify { .. } | InferenceJob::Rerank { .. } => Vec::new(),
        InferenceJob::Generate(_) => vec![TaskOutput::Generation {
            text: STORY.concat(),
            prompt_tokens: 1,
            tokens: PIECES,
            finish: FinishReason::Stop,
        }],
        InferenceJob::Embed { inputs } => inputs.iter().map(embed).collect(),
    }
}

/// The starts of copies count from here, so that no two starts with one key have the same randomness.
const COPY_STARTS: u8 = 128;
const INTERFACE: u32 = 1;
/// How long a frame, a datagram or a closed link takes to arrive.
const LATENCY: Duration = Duration::from_millis(1);
/// How long a write takes.
const WRITE: Duration = Duration::from_millis(2);
/// The text of every generation.
const STORY: [&str; 4] = ["once ", "upon ", "a ", "time"];
const PIECES: u32 = 4;
/// How long a job takes by default.
const COMPUTE: Duration = Duration::from_millis(10);
