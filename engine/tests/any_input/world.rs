//! A few nodes, the inputs in transit to them, and the conditions that must hold after every input.

use engine::blobs::{
    BlobId, BlobOrder, BlobReport, Hash, PIECE_BYTES, Piece, Pieces, SharedBlob, Tree, leaf,
};
use engine::error::{DialError, WriteError};
use engine::health::HostFacts;
use engine::input::{Interface, ModelState};
use engine::model::ModelOffer;
use engine::observers::alerts::SavedAlerts;
use engine::output::InferenceJob;
use engine::task::{ResultSummary, StoredTask, TaskKind, TaskOutput};
use engine::{
    Answer, Config, Fingerprint, Identity, InferenceError, Input, Instant, LinkId, Node, Output, Record,
    Request, RequestId, Response, Saved, TaskId, UnixMillis, WriteId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The model that every node offers.
pub(crate) const MODEL: &str = "test-model";

/// One step of a test. Numbers are taken modulo the number of choices.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Arrive(u16),
    ArriveAll,
    ArriveDamaged { which: u16, at: u16, flip: u8 },
    ArriveTwice(u16),
    Ask { node: u8, request: Request },
    Connect { from: u8, to: u8 },
    Cut(u16),
    Fail(u16),
    Lose(u16),
    Nonsense { node: u8, input: Input },
    Restart(u8),
    Wait(u64),
}

/// The nodes and everything around them.
pub(crate) struct World {
    now: Instant,
    hosts: Vec<Host>,
    /// The inputs in transit, each with its node and that node's start.
    pending: Vec<(usize, u32, Input)>,
    /// Both ends of each connection.
    ends: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    next_link: u64,
    next_request: u64,
    /// The latest replies.
    answered: Vec<Answer>,
}

struct Host {
    node: Option<Node>,
    life: u32,
    alerts: SavedAlerts,
    tasks: BTreeMap<TaskId, StoredTask>,
    results: BTreeMap<TaskId, ResultSummary>,
    writes: BTreeMap<WriteId, Vec<Record>>,
    unanswered: BTreeSet<RequestId>,
    /// Requests that were dropped, although their replies may have been in transit.
    dropped: BTreeSet<RequestId>,
    submitted: Vec<TaskId>,
}

impl World {
    pub(crate) fn new(nodes: u8) -> Self {
        let host = || Host {
            node: None,
            life: 0,
            alerts: SavedAlerts::default(),
            tasks: BTreeMap::new(),
            results: BTreeMap::new(),
            writes: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            dropped: BTreeSet::new(),
            submitted: Vec::new(),
        };
        let mut world = Self {
            now: Instant::ZERO,
            hosts: (0..nodes).map(|_| host()).collect(),
            pending: Vec::new(),
            ends: BTreeMap::new(),
            next_link: 0,
            next_request: 0,
            answered: Vec::new(),
        };
        (0..usize::from(nodes)).for_each(|host| world.start(host));
        world
    }

    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Arrive(which) => {
                if let Some(at) = self.choose(which) {
                    let (host, life, input) = self.pending.remove(at);
                    self.arrive(host, life, input);
                }
            }
            Step::ArriveAll => {
                for (host, life, input) in core::mem::take(&mut self.pending) {
                    self.arrive(host, life, input);
                }
            }
            Step::ArriveDamaged { which, at, flip } => {
                if let Some(which) = self.choose(which) {
                    let (host, life, mut input) = self.pending.remove(which);
                    damage(&mut input, at, flip);
                    self.arrive(host, life, input);
                }
            }
            Step::ArriveTwice(which) => {
                if let Some(at) = self.choose(which) {
                    let (host, life, input) = self.pending[at].clone();
                    self.arrive(host, life, input);
                }
            }
            Step::Ask { node, request } => self.ask(usize::from(node) % self.hosts.len(), request),
            Step::Connect { from, to } => {
                let (from, to) = (usize::from(from) % self.hosts.len(), usize::from(to) % self.hosts.len());
                self.connect(from, to, None);
            }
            Step::Cut(which) => {
                if !self.ends.is_empty() {
                    let at = usize::from(which) % self.ends.len();
                    let (host, link) = *self.ends.keys().nth(at).unwrap();
                    self.hang_up(host, link);
                    self.send(host, Input::LinkDown { link });
                }
            }
            Step::Fail(which) => {
                if let Some(at) = self.choose(which) {
                    fail(&mut self.pending[at].2);
                }
            }
            Step::Lose(which) => {
                // Only network traffic may be lost. A node's own disk and models always answer.
                let travels = |input: &Input| matches!(input, Input::Frame { .. } | Input::Datagram { .. });
                if let Some(at) = self.choose(which).filter(|&at| travels(&self.pending[at].2)) {
                    self.pending.remove(at);
                }
            }
            Step::Nonsense { node, input } => {
                let host = usize::from(node) % self.hosts.len();
                if let Input::RequestDropped { id } = input {
                    let entry = &mut self.hosts[host];
                    entry.dropped.extend(entry.unanswered.take(&id));
                }
                self.handle(host, input);
            }
            Step::Restart(node) => self.start(usize::from(node) % self.hosts.len()),
            Step::Wait(micros) => self.wait(micros),
        }
    }

    /// Delivers everything for longer than any task may take. After that, no request waits for a reply, and the
    /// occupancy of each node is within its limits.
    pub(crate) fn come_to_rest(&mut self) {
        for _ in 0..REST_S {
            self.take(Step::ArriveAll);
            self.wait(1_000_000);
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].node.is_none() {
                continue;
            }
            assert_eq!(self.hosts[host].unanswered, BTreeSet::new(), "not answered by node {host}");
            let [status, peers] = [Request::Status, Request::Peers].map(|request| self.answer(host, request));
            let (Ok(Response::Status(status)), Ok(Response::Peers(peers))) = (status, peers) else {
                panic!("a node does not say how it is")
            };
            assert!(peers.len() <= usize::from(config().max_peers), "{peers:?}");
            assert_eq!((status.tasks_queued, status.tasks_running), (0, 0));
            assert!(status.results <= config().results_max, "{status:?}");
        }
    }

    /// Sends a request that is replied to at once.
    fn answer(&mut self, host: usize, request: Request) -> Answer {
        self.answered.clear();
        self.ask(host, request);
        self.answered.pop().expect("the answer comes at once")
    }

    fn choose(&self, which: u16) -> Option<usize> {
        (!self.pending.is_empty()).then(|| usize::from(which) % self.pending.len())
    }

    fn send(&mut self, host: usize, input: Input) {
        let life = self.hosts[host].life;
        self.pending.push((host, life, input));
        assert!(self.pending.len() < PENDING_MAX, "{PENDING_MAX} things are on their way");
    }

    fn arrive(&mut self, host: usize, life: u32, input: Input) {
        if self.hosts[host].life == life {
            self.handle(host, input);
        }
    }

    fn start(&mut self, host: usize) {
        for (at, link) in self.ends.keys().copied().collect::<Vec<_>>() {
            if at == host {
                self.hang_up(host, link);
            }
        }
        let entry = &mut self.hosts[host];
        entry.life += 1;
        entry.writes.clear();
        entry.unanswered.clear();
        entry.dropped.clear();
        entry.submitted.clear();
        let saved = Saved {
            alerts: entry.alerts.clone(),
            tasks: entry.tasks.values().cloned().collect(),
            results: entry.results.values().cloned().collect(),
        };
        let seed = [u8::try_from(entry.life % 251).unwrap(); 32];
        let wall = UnixMillis(1_700_000_000_000).after(self.now.since(Instant::ZERO));
        entry.node = Some(Node::new(config(), identity(host), seed, self.now, wall, saved));
        self.drain(host);
        self.handle(host, Input::Interfaces(vec![Interface::new(2, ip(host))]));
        self.handle(host, Input::Listening { port: PORT });
        let ModelOffer { name, kind, fingerprint } = model();
        self.handle(host, Input::Model { name, kind, fingerprint, state: ModelState::Ready });
    }

    fn ask(&mut self, host: usize, mut request: Request) {
        // Small numbers stand for the tasks that this node knows.
        if let Request::AwaitTask(task) | Request::Cancel(task) | Request::Task(task) = &mut request
            && let Some(known) = self.hosts[host].submitted.get(usize::from(task.0[0]))
        {
            *task = *known;
        }
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.hosts[host].unanswered.insert(id);
        self.handle(host, Input::Request { id, request });
    }

    fn connect(&mut self, from: usize, to: usize, dial: Option<engine::DialId>) {
        let [near, far] = [self.next_link, self.next_link + 1].map(LinkId);
        self.next_link += 2;
        self.ends.insert((from, near), (to, far));
        self.ends.insert((to, far), (from, near));
        let remote = |host| SocketAddr::new(ip(host), PORT);
        let up = |link, host, dial| Input::LinkUp {
            link,
            peer: identity(host).public_key(),
            remote: remote(host),
            dial,
        };
        self.send(from, up(near, to, dial));
        self.send(to, up(far, from, None));
    }

    /// Closes one end of a connection; the other end learns of it later.
    fn hang_up(&mut self, host: usize, link: LinkId) {
        if let Some((other, far)) = self.ends.remove(&(host, link)) {
            self.ends.remove(&(other, far));
            self.send(other, Input::LinkDown { link: far });
        }
    }

    fn wait(&mut self, micros: u64) {
        let end = self.now.as_micros().saturating_add(micros).min(END_MICROS);
        for _ in 0..TICKS_MAX {
            let due = |(host, entry): (usize, &Host)| {
                let deadline = entry.node.as_ref()?.poll_timeout()?;
                Some((deadline.at, host))
            };
            let Some((at, host)) = self.hosts.iter().enumerate().filter_map(due).min() else { break };
            if at.as_micros() > end {
                break;
            }
            self.now = at.max(self.now);
            self.handle(host, Input::Tick);
        }
        self.now = self.now.max(Instant::from_micros(end));
    }

    fn handle(&mut self, host: usize, input: Input) {
        if let Input::WriteDone { id, result: Ok(()) } = input {
            self.hosts[host].complete(id);
        }
        let Some(node) = &mut self.hosts[host].node else { return };
        node.handle_input(self.now, input);
        self.drain(host);
    }

    fn drain(&mut self, host: usize) {
        let mut outputs = 0;
        while let Some(node) = &mut self.hosts[host].node {
            let Some(output) = node.poll_output() else { break };
            outputs += 1;
            assert!(outputs < OUTPUTS_MAX, "one input brought {OUTPUTS_MAX} outputs, the last {output:?}");
            self.carry_out(host, output);
        }
        let Some(node) = &self.hosts[host].node else { return };
        if let Some(deadline) = node.poll_timeout() {
            assert!(deadline.at > self.now, "a deadline is due at once: {deadline:?} at {}", self.now);
        }
    }

    fn carry_out(&mut self, host: usize, output: Output) {
        match output {
            Output::Blob(order) => self.order(host, order),
            Output::Examine => {
                let facts = HostFacts {
                    config_readable: true,
                    crypto_micros: 50,
                    memory_bytes: 0,
                    records_damaged: 0,
                    disk: None,
                };
                // If asked again before it answered, the host still answers once.
                let asked =
                    |(of, _, input): &(usize, u32, Input)| *of == host && matches!(input, Input::Examined(_));
                if !self.pending.iter().any(asked) {
                    self.send(host, Input::Examined(facts));
                }
            }
            Output::Cancel { job } => {
                self.send(
                    host,
                    Input::InferenceDone { job, micros: 1, result: Err(InferenceError::Cancelled) },
                );
            }
            Output::Dial { dial, address, .. } => {
                match (0..self.hosts.len()).find(|&other| other != host && address.ip() == ip(other)) {
                    Some(other) => self.connect(host, other, Some(dial)),
                    None => self.send(host, Input::DialFailed { dial, error: DialError::Refused }),
                }
            }
            Output::Disconnect { link } => {
                self.hang_up(host, link);
                self.send(host, Input::LinkDown { link });
            }
            Output::Event(_) => {}
            Output::Exit { .. } => self.hosts[host].node = None,
            Output::Infer { job, work, .. } => {
                if let InferenceJob::Generate(_) = &work {
                    self.send(host, Input::InferenceProgress { job, text: "once".to_owned(), tokens: 1 });
                    self.send(host, Input::InferenceProgress { job, text: " upon".to_owned(), tokens: 2 });
                }
                let one = |parts| {
                    Ok(TaskOutput::Embedding {
                        vectors: vec![vec![1.0, 0.0]; parts],
                        tokens: 2,
                        truncated: Vec::new(),
                    })
                };
                let result = match work {
                    InferenceJob::Embed { inputs } => {
                        Ok(inputs.iter().map(|inputs| one(inputs.len())).collect())
                    }
                    InferenceJob::Classify { .. }
                    | InferenceJob::Generate(_)
                    | InferenceJob::Rerank { .. } => Ok(vec![one(1); work.len()]),
                };
                self.send(host, Input::InferenceDone { job, micros: 1_000, result });
            }
            Output::Traces(_) | Output::Unicast { .. } => {}
            Output::Multicast { bytes, .. } => {
                // A full network drops datagrams, so that long pauses do not fill it.
                let room = self.pending.len() < DATAGRAMS_MAX;
                for other in (0..self.hosts.len()).filter(|_| room) {
                    let from = SocketAddr::new(ip(host), 5353);
                    self.send(other, Input::Datagram { interface: 2, from, bytes: bytes.clone() });
                }
            }
            Output::Reply { id, answer } => {
                let entry = &mut self.hosts[host];
                let known = entry.unanswered.remove(&id) || entry.dropped.remove(&id);
                assert!(known, "{id:?} was answered twice or never asked: {answer:?}");
                if let Ok(Response::Submitted(task)) = &answer {
                    self.hosts[host].submitted.push(*task);
                }
                self.answered.push(answer);
            }
            Output::Send { link, frame, .. } => {
                if let Some(&(other, link)) = self.ends.get(&(host, link)) {
                    self.send(other, Input::Frame { link, bytes: frame });
                }
            }
            Output::Write { id, records } => {
                self.hosts[host].writes.insert(id, records);
                self.send(host, Input::WriteDone { id, result: Ok(()) });
            }
        }
    }
}

impl World {
    fn order(&mut self, host: usize, order: BlobOrder) {
        let report = match order {
            BlobOrder::Close(_) => return,
            BlobOrder::Finish(root) => BlobReport::Finished { root, result: Ok(()) },
            BlobOrder::Open { blob, .. } => {
                BlobReport::Opened { root: blob.root, result: Ok(Pieces::none(blob.pieces())) }
            }
            BlobOrder::Read { read, root, piece } => {
                let number = (0..3).find(|n| file(*n).root == root);
                let content = number.map(content).unwrap_or_default();
                let begin = usize::try_from(u64::from(piece) * PIECE_BYTES).unwrap();
                let bytes = content.get(begin..).unwrap_or_default().iter().copied();
                let bytes = bytes.take(usize::try_from(PIECE_BYTES).unwrap()).collect();
                let proof = tree(&content).proof(piece).unwrap_or_default();
                BlobReport::Read { read, result: Ok(Piece { bytes, proof }) }
            }
            BlobOrder::Write { root, piece, .. } => BlobReport::Written { root, piece, result: Ok(()) },
        };
        self.send(host, Input::Blob(report));
    }
}

/// A file that nodes may have.
pub(crate) fn file(n: u8) -> BlobId {
    BlobId::from_content(&content(n))
}

pub(crate) fn shared(n: u8) -> SharedBlob {
    SharedBlob { blob: file(n), sha256: Some(Hash([n + 3; 32])) }
}

fn content(n: u8) -> Vec<u8> {
    vec![n; usize::try_from(FILE_BYTES).unwrap()]
}

fn tree(content: &[u8]) -> Tree {
    let blob = BlobId { root: Hash([0; 32]), bytes: FILE_BYTES };
    let pieces = content.chunks(usize::try_from(PIECE_BYTES).unwrap());
    Tree::over((0..).zip(pieces).map(|(piece, bytes)| leaf(blob, piece, bytes)).collect())
}

impl Host {
    /// Makes a write durable, once.
    fn complete(&mut self, id: WriteId) {
        for record in self.writes.remove(&id).unwrap_or_default() {
            match record {
                Record::Alerts(alerts) => self.alerts = *alerts,
                Record::Probe => {}
                Record::RemoveResult(task) => drop(self.results.remove(&task)),
                Record::RemoveTask(task) => drop(self.tasks.remove(&task)),
                Record::Result(result) => drop(self.results.insert(result.summary.id, result.summary)),
                Record::Task(task) => drop(self.tasks.insert(task.id, *task)),
            }
        }
    }
}

fn damage(input: &mut Input, at: u16, flip: u8) {
    if let Input::Frame { bytes, .. } | Input::Datagram { bytes, .. } = input
        && !bytes.is_empty()
    {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= flip;
    }
}

fn fail(input: &mut Input) {
    if let Input::WriteDone { result, .. } = input {
        *result = Err(WriteError::Io);
    } else if let Input::InferenceDone { result, .. } = input {
        *result = Err(InferenceError::Cancelled);
    }
}

fn model() -> ModelOffer {
    let fingerprint = Some(Fingerprint([7; 16]));
    ModelOffer { name: MODEL.to_owned(), kind: TaskKind::Embedding, fingerprint }
}

fn config() -> Config {
    Config {
        max_peers: 2,
        models: vec![model()],
        max_concurrent_tasks: 2,
        queue_tasks_max: 8,
        queue_bytes_max: 4096,
        results_max: 5,
        ..Config::default()
    }
}

fn identity(host: usize) -> Identity {
    Identity::from_secret(&[u8::try_from(host).unwrap() + 1; 32])
}

fn ip(host: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(host).unwrap() + 1))
}

const PORT: u16 = 9000;
/// The size of each file: two pieces, the second a short one.
pub(crate) const FILE_BYTES: u64 = PIECE_BYTES + 7;
/// Longer than the longest task of these tests, and than the time until all dead peers are detected.
const REST_S: u64 = 200;
/// Maximum number of outputs for one input.
const OUTPUTS_MAX: usize = 2_000;
/// Maximum number of inputs in transit, however long none arrives.
const PENDING_MAX: usize = 10_000;
/// Above this number of inputs in transit, datagrams are dropped.
const DATAGRAMS_MAX: usize = 2_000;
/// Maximum number of deadlines in one wait.
const TICKS_MAX: usize = 10_000;
/// No test lasts longer than about 30,000 years.
const END_MICROS: u64 = 1 << 60;
