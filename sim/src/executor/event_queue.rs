//! Runs many nodes in one thread, directly on the engine: everything scheduled has a time, and the next is taken in
//! the total order of (time, order of insertion).
//!
//! The network between two nodes is modelled as whole frames on connections that keep their order. A partition loses
//! frames silently. A connection that has lost a frame delivers no more, as TCP would without retransmission. A killed
//! process closes its connections; a machine that loses power does not. A lossy network delays frames by TCP's
//! retransmission timeouts.

mod adversary;
mod blobs;
mod calendar;
mod jobs;
pub(crate) mod live;
mod machine;
mod network;
mod network_faults;
mod requests;
mod writes;

use crate::blob_disk::BlobDisk;
use crate::clients::RETRY_INTERVAL;
use crate::cluster::{self, Cluster};
use crate::disk::Disk;
use crate::faults::machine::host_facts;
use crate::faults::{Change, Effect, Faults, Step, Stop};
use crate::inference;
use crate::invariant::Observation;
use crate::node_set::NodeIndex;
use crate::observer::Observer;
use crate::random::Purpose;
use crate::scenario::Scenario;
use adversary::frames::FrameFilter;
use calendar::Calendar;
use core::mem;
use core::time::Duration;
use engine::AdvertCache;
use engine::blobs::BlobOrder;
use engine::input::Interface;
use engine::observers::traces::{Found, Shelf};
use engine::output::{InferenceJob, Output};
use engine::request::{Cursor, Request};
use engine::time::micros;
use engine::{Fingerprint, Input, Instant, JobId, LinkId, Node, ReadId, RequestId, TaskId};
use live::{JobReport, LiveState};
use machine::Machine;
use network::{Connection, Dial, Segment};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;

/// Runs a scenario to its end, or to the first violation.
pub(super) fn run(scenario: &Scenario, cluster: &Arc<Cluster>, observer: Observer) -> Observer {
    let mut world = EventQueue::with(scenario, Arc::clone(cluster), observer);
    let end = Instant::ZERO.after(scenario.duration);
    // After a panic only the observations are used.
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| world.run_until(end))) {
        world.observer.panicked(world.now(), &*panic);
    }
    world.observer.injected = world.faults.into_injected();
    world.observer
}

/// A simulation on the event queue.
#[derive(Debug)]
pub struct EventQueue {
    scenario: Scenario,
    cluster: Arc<Cluster>,
    observer: Observer,
    now: u64,
    next: Calendar<Scheduled>,
    hosts: Vec<Host>,
    connections: Vec<Connection>,
    faults: Faults,
    changes: Vec<Change>,
    /// Arrivals that are held back by a stall, in order.
    stalled: Vec<(NodeIndex, NodeIndex, Scheduled)>,
    /// Shared by all nodes: each advert is verified, decoded and stored once.
    adverts: AdvertCache,
    /// What only a live simulation has.
    live: Option<Box<LiveState>>,
}

/// One node's machine.
#[derive(Debug, Default)]
struct Host {
    node: Option<Node>,
    /// Whether its outputs are being carried out; until then it must not get an input.
    draining: bool,
    /// The number of process starts. Anything scheduled in an earlier incarnation is void.
    incarnation: u32,
    disk: Disk,
    blobs: BlobDisk,
    traces: Shelf,
    machine: Machine,
    /// When the last write in flight completes.
    disk_busy_until: u64,
    /// When the earliest pending timer fires.
    armed: Option<u64>,
    /// How many consecutive times the node asked for a wake-up at once, which an engine expresses as one microsecond.
    spins: u32,
    links: BTreeSet<LinkId>,
    pending: BTreeMap<RequestId, PendingRequest>,
    requests: u64,
    /// The running jobs, with their model and duration.
    jobs: BTreeMap<JobId, (Fingerprint, InferenceJob, Duration)>,
    dialled: u16,
    /// What alters frames between its process and the network, if the node differs from the others.
    filter: Option<FrameFilter>,
}

/// A request that a user awaits an answer to.
#[derive(Clone, Copy, Debug)]
enum PendingRequest {
    Fetch(usize),
    Leave,
    /// The answer goes to a user outside the simulation.
    Live,
    News(TaskId, Cursor),
    Outcome(u32),
    Submission(u32),
}

/// Something scheduled.
#[derive(Debug)]
enum Scheduled {
    Attack(NodeIndex),
    Arrival { connection: u32, side: u8, segment: Segment },
    BlobDone { node: NodeIndex, incarnation: u32, n: u32, order: Box<BlobOrder> },
    AwaitOutcome { node: NodeIndex, incarnation: u32, number: u32, task: TaskId },
    Change(usize),
    Datagram { from: NodeIndex, to: NodeIndex, bytes: Rc<[u8]> },
    Dialled(Box<Dial>),
    Fetch(usize),
    Examined { node: NodeIndex, incarnation: u32 },
    TracesFound { node: NodeIndex, incarnation: u32, read: ReadId, found: Found },
    JobEnd { node: NodeIndex, incarnation: u32, job: JobId, cancelled: bool },
    JobProgress { node: NodeIndex, incarnation: u32, job: JobId, text: String, tokens: u32 },
    JobReported(Box<JobReport>),
    LinkDown { node: NodeIndex, incarnation: u32, link: LinkId },
    CheckLiveness { last: bool },
    ModelsReady { node: NodeIndex, incarnation: u32 },
    PowerFails { node: NodeIndex, incarnation: u32 },
    WatchOn { node: NodeIndex, incarnation: u32, task: TaskId, seen: Cursor },
    Start(NodeIndex),
    Submission(u32),
    Timer(NodeIndex),
    WriteDone { node: NodeIndex, incarnation: u32 },
}

impl EventQueue {
    /// Creates the simulation of a scenario, at time zero.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let cluster = Arc::new(Cluster::new(scenario, seed, None));
        let observer = Observer::new(scenario, Arc::clone(&cluster));
        Self::with(scenario, cluster, observer)
    }

    fn with(scenario: &Scenario, cluster: Arc<Cluster>, observer: Observer) -> Self {
        let random = cluster.random;
        let mut next = Calendar::new();
        let changes = Faults::changes(scenario, random);
        for (index, change) in changes.iter().enumerate() {
            next.push(micros(change.at), Scheduled::Change(index));
        }
        for node in 0..scenario.nodes {
            let at = random.between(scenario.start_range(node).ends(), Purpose::Start, u64::from(node), 0);
            next.push(micros(at), Scheduled::Start(node));
        }
        for host in scenario.hosts.iter().filter(|host| !host.hostile.is_empty()) {
            next.push(micros(host.hostile_at), Scheduled::Attack(host.node));
        }
        if let Some(workload) = &scenario.workload {
            for number in 0..workload.submissions.tasks() {
                if let Some((at, _)) = workload.submissions.when_and_where(number) {
                    next.push(micros(at), Scheduled::Submission(number));
                }
            }
        }
        for (number, fetch) in scenario.fetches.iter().enumerate() {
            next.push(micros(fetch.at), Scheduled::Fetch(number));
        }
        let moments = scenario.liveness_checks();
        for (index, at) in moments.iter().enumerate() {
            next.push(micros(*at), Scheduled::CheckLiveness { last: index + 1 == moments.len() });
        }
        Self {
            scenario: scenario.clone(),
            faults: Faults::new(scenario, random),
            hosts: (0..scenario.nodes)
                .map(|node| Host {
                    filter: FrameFilter::for_node(scenario, &cluster, node),
                    ..Host::default()
                })
                .collect(),
            connections: Vec::new(),
            cluster,
            observer,
            now: 0,
            next,
            changes,
            stalled: Vec::new(),
            adverts: AdvertCache::shared(),
            live: None,
        }
    }

    /// Simulates up to a moment, or to the first violation.
    pub fn run_until(&mut self, end: Instant) {
        while self.observer.violation.is_none() {
            let Some((at, scheduled)) = self.next.pop_until(end.as_micros()) else {
                self.now = self.now.max(end.as_micros());
                return;
            };
            self.now = at;
            self.dispatch(scheduled);
        }
    }

    /// Returns the simulated time.
    pub const fn now(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    /// Returns the number of inputs and outputs so far.
    pub fn records(&self) -> u64 {
        self.observer.trace.inputs + self.observer.trace.outputs
    }

    /// Describes why the mesh is not whole; `None` if every node runs and knows every other.
    pub fn not_whole(&self) -> Option<String> {
        match self.hosts.iter().position(|host| host.node.is_none()) {
            Some(node) => Some(format!("n{node} does not run")),
            None => self.observer.unmet(),
        }
    }

    /// Returns the peers that a node reports.
    pub fn peers(&self, node: u32) -> Vec<u32> {
        self.observer.links.peers(node).collect()
    }

    /// Returns whether a running node lists another as a member.
    pub fn knows(&self, node: u32, other: u32) -> bool {
        self.observer.knows(node, other)
    }

    /// Returns how often an event happened so far, by its name in scenario files.
    pub fn count(&self, event: &str) -> u64 {
        self.observer.marks.get(event).copied().unwrap_or_default()
    }

    /// Cuts the power of a node: its peers do not see its sockets close.
    pub fn cut_power(&mut self, node: u32) {
        self.faults.cut_power(node);
        self.stop(node, Stop::PowerLoss);
    }

    fn dispatch(&mut self, scheduled: Scheduled) {
        match scheduled {
            Scheduled::Attack(node) => self.attack(node),
            Scheduled::Arrival { connection, side, segment } => self.arrive(connection, side, segment),
            Scheduled::AwaitOutcome { node, incarnation, number, task } => {
                if self.is_running(node, incarnation) {
                    self.ask(node, PendingRequest::Outcome(number), Request::AwaitTask(task));
                }
            }
            Scheduled::BlobDone { node, incarnation, n, order } => {
                self.blob_done(node, incarnation, n, *order)
            }
            Scheduled::Change(index) => self.change(index),
            Scheduled::Datagram { from, to, bytes } => self.datagram(from, to, bytes),
            Scheduled::Dialled(dial) => self.dialled(&dial),
            Scheduled::Fetch(number) => self.fetch(number),
            Scheduled::JobEnd { node, incarnation, job, cancelled } => {
                self.job_end(node, incarnation, job, cancelled)
            }
            Scheduled::JobProgress { node, incarnation, job, text, tokens } => {
                if self.is_running(node, incarnation) && self.hosts[node as usize].jobs.contains_key(&job) {
                    self.handle(node, Input::InferenceProgress { job, text, tokens });
                }
            }
            Scheduled::JobReported(report) => self.job_reported(*report),
            Scheduled::LinkDown { node, incarnation, link } => {
                if self.is_running(node, incarnation) {
                    self.handle(node, Input::LinkDown { link });
                }
            }
            // Faults and tasks of users may delay recovery, so it is not checked.
            Scheduled::CheckLiveness { .. } if self.live.is_some() => {}
            Scheduled::CheckLiveness { last } => {
                let (now, hosts) = (self.now(), &self.hosts);
                // A hostile node never rests, so nodes always hold something because of it.
                let rests = !self.cluster.has_hostile();
                self.observer.check_liveness(now, last, || if rests { leftover(hosts) } else { None });
            }
            Scheduled::ModelsReady { node, incarnation } => self.models_ready(node, incarnation),
            Scheduled::PowerFails { node, incarnation } => self.power_fails(node, incarnation),
            Scheduled::Start(node) => {
                if self.faults.runs(node) && self.hosts[node as usize].node.is_none() {
                    self.start(node);
                }
            }
            Scheduled::WatchOn { node, incarnation, task, seen } => {
                if self.is_running(node, incarnation) {
                    self.ask(node, PendingRequest::News(task, seen), Request::Watch { task, seen });
                }
            }
            Scheduled::Submission(number) => self.submission(number),
            Scheduled::Timer(node) => self.timer(node),
            Scheduled::Examined { node, incarnation } => {
                if self.is_running(node, incarnation) {
                    let facts = host_facts(self.faults.machine_faults(node));
                    if facts.memory_bytes > inference::MEMORY_BYTES {
                        self.observer.mark("memory_used");
                    }
                    self.handle(node, Input::Examined(facts));
                }
            }
            Scheduled::TracesFound { node, incarnation, read, found } => {
                if self.is_running(node, incarnation) {
                    self.handle(node, Input::TracesFound { read, found });
                }
            }
            Scheduled::WriteDone { node, incarnation } => self.write_done(node, incarnation),
        }
    }

    fn is_running(&self, node: NodeIndex, incarnation: u32) -> bool {
        let host = &self.hosts[node as usize];
        host.incarnation == incarnation && host.node.is_some()
    }

    fn after(&mut self, delay: Duration, scheduled: Scheduled) {
        self.next.push(self.now + micros(delay), scheduled);
    }

    fn start(&mut self, node: NodeIndex) {
        let now = self.now();
        let host = &mut self.hosts[node as usize];
        host.incarnation += 1;
        let incarnation = host.incarnation;
        let clock = host.machine.clock;
        let (shown, wall) = (Instant::from_micros(clock.shows(self.now)), clock.wall(self.now));
        let (start, identity) = self.cluster.start(node, incarnation, shown, wall);
        let saved = host.disk.saved();
        self.observer.state_loaded(now, node, &saved);
        let identity = self.observer.begin(node, incarnation, &start, &saved, identity);
        let mut engine = Node::new(start.config, identity, start.seed, start.now, start.wall, saved);
        engine.share_adverts(self.adverts.clone());
        host.node = Some(engine);
        self.note_clock_read(node);
        self.observer.observe(now, node, Observation::Started);
        self.drain(node);
        let nowhere = self.scenario.host(node).filter(|host| host.unreachable_address);
        let addresses =
            nowhere.map(|_| cluster::unreachable_address(node)).into_iter().chain([cluster::ip(node)]);
        let interfaces = addresses.map(|address| Interface::new(cluster::INTERFACE, address)).collect();
        self.handle(node, Input::Interfaces(interfaces));
        self.handle(node, Input::Listening { port: cluster::PORT });
        self.after(MODEL_LOAD, Scheduled::ModelsReady { node, incarnation });
        self.announce_files(node);
        for (number, task) in self.observer.clients.waiting_at(node) {
            self.after(RETRY_INTERVAL, Scheduled::AwaitOutcome { node, incarnation, number, task });
        }
    }

    fn stop(&mut self, node: NodeIndex, how: Stop) {
        let now = self.now();
        let host = &mut self.hosts[node as usize];
        if host.node.take().is_none() {
            return;
        }
        host.armed = None;
        host.machine.discard_waiting();
        host.machine.loses_power_on_write = false;
        host.pending.clear();
        host.jobs.clear();
        host.disk_busy_until = 0;
        if let Some(live) = &mut self.live {
            live.stopped(node);
        }
        if how != Stop::PowerLoss {
            let (who, n) = (u64::from(node), host.incarnation);
            let in_flight = host.disk.in_flight();
            let survive = self.cluster.random.index(in_flight + 1, Purpose::WritesSurvive, who, n);
            if how == Stop::TornWrite && survive > 0 {
                self.observer.mark("write_torn");
            }
            (0..survive).for_each(|_| {
                self.complete_write(node);
            });
        }
        let host = &mut self.hosts[node as usize];
        host.disk.lose_in_flight();
        let links = mem::take(&mut host.links);
        self.observer.observe(now, node, Observation::Stopped);
        for link in links {
            self.abandon(link, how);
        }
    }

    /// Gives a node an input and carries out its outputs.
    fn handle(&mut self, node: NodeIndex, input: Input) {
        let now = self.now();
        let host = &mut self.hosts[node as usize];
        assert!(
            !host.draining,
            "n{node} is given an input before all outputs of the last one are carried out"
        );
        let Some(engine) = &mut host.node else { return };
        let Some(input) = host.machine.hold(input) else { return };
        self.observer.observe(now, node, Observation::Input(&input));
        engine.handle_input(Instant::from_micros(host.machine.clock.shows(self.now)), input);
        self.drain(node);
    }

    fn drain(&mut self, node: NodeIndex) {
        let now = self.now();
        self.hosts[node as usize].draining = true;
        while let Some(engine) = &mut self.hosts[node as usize].node {
            let Some(output) = engine.poll_output() else { break };
            self.observer.observe(now, node, Observation::Output(&output));
            if let (Output::Event(event), Some(live)) = (&output, &mut self.live) {
                live.watch(now, node, event);
            }
            self.carry_out(node, output);
        }
        self.hosts[node as usize].draining = false;
        if let Some(engine) = &self.hosts[node as usize].node {
            self.observer.inspect(now, node, engine);
        }
        self.arm(node);
    }

    /// Schedules a timer no later than the node's deadline. A timer that fires too early is cheaper than moving one.
    fn arm(&mut self, node: NodeIndex) {
        let host = &mut self.hosts[node as usize];
        if host.machine.is_suspended() {
            return;
        }
        let Some(deadline) = host.node.as_ref().and_then(Node::poll_timeout) else { return };
        let clock = &host.machine.clock;
        let at = deadline.at.as_micros();
        let shown = clock.shows(self.now);
        host.spins = if at == shown + 1 { host.spins + 1 } else { 0 };
        if at <= shown || host.spins > SPINS_MAX {
            host.spins = 0;
            let words = format!("after all outputs, a deadline is due at once: {deadline:?}");
            self.observer.violated(Instant::from_micros(self.now), node, "deadlines_lie_ahead", words);
        } else if let Some(at) = clock.will_show(at)
            && host.armed.is_none_or(|armed| at < armed)
        {
            host.armed = Some(at);
            self.next.push(at, Scheduled::Timer(node));
        }
    }

    fn timer(&mut self, node: NodeIndex) {
        let now = self.now;
        let host = &mut self.hosts[node as usize];
        if host.armed != Some(now) {
            return;
        }
        host.armed = None;
        if host.machine.is_suspended() {
            return;
        }
        if host.machine.clock.drifts() {
            self.notify_clock(node);
        }
        let host = &mut self.hosts[node as usize];
        let shown = host.machine.clock.shows(now);
        let deadline = host.node.as_ref().and_then(Node::poll_timeout);
        if deadline.is_some_and(|deadline| deadline.at.as_micros() <= shown) {
            self.handle(node, Input::Tick);
        } else {
            self.arm(node);
        }
    }

    fn carry_out(&mut self, node: NodeIndex, output: Output) {
        match output {
            Output::Blob(order) => self.order(node, order),
            Output::Cancel { job } => {
                if let Some(live) = &mut self.live {
                    return live.cancel(node, job);
                }
                let incarnation = self.hosts[node as usize].incarnation;
                self.after(Duration::ZERO, Scheduled::JobEnd { node, incarnation, job, cancelled: true });
            }
            Output::Dial { dial, address, expect } => self.dial(node, dial, address, expect),
            Output::Disconnect { link } => self.disconnect(node, link),
            Output::Event(_) => {}
            Output::Examine => {
                let incarnation = self.hosts[node as usize].incarnation;
                self.after(Duration::ZERO, Scheduled::Examined { node, incarnation });
            }
            Output::Exit { .. } => self.stop(node, Stop::Kill),
            Output::Infer { job, model, fingerprint, work } if self.live.is_some() => {
                self.infer_live(node, job, (model, fingerprint), work);
            }
            Output::Infer { job, fingerprint, work, .. } => self.infer(node, job, fingerprint, work),
            Output::Multicast { bytes, .. } => self.multicast(node, bytes.into()),
            Output::Reply { id, answer } => self.reply(node, id, answer),
            Output::Send { link, frame, .. } => self.send(node, link, frame),
            Output::Traces(order) => self.order_traces(node, order),
            // Only nodes ask mDNS questions in a simulation.
            Output::Unicast { .. } => {}
            Output::Write { id, records } => self.write(node, id, records),
        }
    }

    fn change(&mut self, index: usize) {
        self.step(self.changes[index].step);
    }

    /// Injects or clears a fault.
    fn step(&mut self, step: Step) {
        let now = self.now();
        if self.live.as_ref().is_some_and(|live| live.is_void(step)) {
            return;
        }
        let Some((effect, words)) = self.faults.apply(step) else { return };
        if let Some(live) = &mut self.live {
            live.note_step(now, step, &self.faults);
        }
        self.observer.narrate(now, step, &self.faults, words);
        match effect {
            Effect::Machine(node) => {
                self.apply_machine_faults(node);
                self.release();
            }
            Effect::Burst(node, count) => {
                for _ in 0..count {
                    let Some(number) = self.observer.clients.add() else { break };
                    let Some(request) = self.observer.clients.submission(number, node) else { break };
                    self.ask(node, PendingRequest::Submission(number), request);
                }
            }
            Effect::Poison => {}
            Effect::Leave(node) => self.ask(node, PendingRequest::Leave, Request::Shutdown),
            Effect::Network => {
                self.observer.network_changed(self.now());
                self.release();
                if step == Step::HealAll {
                    (0..self.scenario.nodes).for_each(|node| self.apply_machine_faults(node));
                }
            }
            Effect::Reset(node) => self.reset_all(node),
            Effect::Start(node) => {
                // A supervisor does not wait for ever for the old process to exit.
                self.stop(node, Stop::Kill);
                self.start(node);
            }
            Effect::Stop(node, how) => {
                match how {
                    Stop::Kill | Stop::PowerLoss => self.stop(node, how),
                    Stop::TornWrite => self.tear_write(node),
                }
                self.apply_machine_faults(node);
            }
        }
    }
}

/// Describes a resource that a node still holds although it has nothing to do.
fn leftover(hosts: &[Host]) -> Option<String> {
    let mut nodes =
        (0..).zip(hosts).filter_map(|(number, host): (u32, &Host)| Some((number, host.node.as_ref()?)));
    nodes.find_map(|(number, node)| {
        let place = node.occupancy().find(|place| place.empty_at_rest && place.current > 0)?;
        Some(format!("{} of n{number} still holds {} although idle", place.name, place.current))
    })
}

/// How long a node takes to load its models.
const MODEL_LOAD: Duration = Duration::from_millis(20);

/// How many consecutive times a node may ask for a wake-up at once.
const SPINS_MAX: u32 = 100;
