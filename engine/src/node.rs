//! A node: its three verbs, and the sub-machines that they drive.
//!
//! Sub-machines do not know each other. The node and the files below route the actions of each to the others and to the
//! outside.

mod actions;
mod alerts;
mod blobs;
mod discovered;
mod dispatch;
mod dump;
mod messages;
mod metrics;
mod models;
#[cfg(feature = "mutants")]
mod mutants;
mod occupancy;
mod pings;
mod reconciliation;
mod requests;
mod routes;
mod send;
mod settle;
mod shutdown;
mod storage;
mod traces;
mod views;
mod work;

use crate::blobs::downloader::Downloader;
use crate::blobs::provider::Provider;
use crate::config::Config;
use crate::deliveries::Deliveries;
use crate::discovery::Discovery;
use crate::error::PeerFault;
use crate::event::Event;
use crate::health::Health;
use crate::heartbeat::Heartbeat;
use crate::identity::{Domain, Identity};
use crate::ids::{MessageId, NodeId, RequestId, TaskId};
use crate::input::{Input, Interface, ModelState};
use crate::lifecycle::State;
use crate::local_networks::{LocalNetworks, is_link_local};
use crate::membership::AdvertCache;
use crate::membership::Membership;
use crate::model::ModelOffer;
use crate::mutants::{Mutant, shows};
use crate::observers::alerts::Alerts;
use crate::observers::diagnostics::Diagnostics;
use crate::observers::fault_counters::FaultCounters;
use crate::observers::metrics::Metrics;
use crate::observers::traces::Traces;
use crate::output::Output;
use crate::peers::Peers;
use crate::record::{Record, Saved};
use crate::results::Results;
use crate::rng::Rng;
use crate::router::Router;
use crate::scheduler::Scheduler;
use crate::session::Sessions;
use crate::tasks::{Limits, Tasks};
use crate::time::{Instant, UnixMillis, micros};
use crate::trace::TraceContext;
use crate::wire::Advert;
use crate::worker::{Model, Worker};
use crate::writes::{Promise, Writes};
use core::net::SocketAddr;
use core::time::Duration;
use pings::Pings;
use routes::Explanations;
use serde::{Deserialize, Serialize};
use shutdown::Shutdown;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use storage::PURGE_INTERVAL;
use traces::TraceSearches;

/// When a node next wants an [`Input::Tick`], and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deadline {
    /// The time.
    pub at: Instant,
    /// The reason.
    pub reason: Reason,
}

/// The reason of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// A rule to evaluate, or alerts to store.
    Alerts,
    /// An announcement, a query or an expiry.
    Discovery,
    /// A route whose round trips are being measured.
    Explanations,
    /// A check of the node's own health.
    Health,
    /// A ping, or a change of a verdict.
    Heartbeat,
    /// An advert to sign, or changes to flood.
    Membership,
    /// A dial, or a hello that is late.
    Peers,
    /// Results to purge.
    Results,
    /// A message to retransmit.
    Router,
    /// A worker whose backoff ends.
    Scheduler,
    /// An idle session.
    Sessions,
    /// A step of the shutdown.
    Shutdown,
    /// A lease, or the timeout of a task.
    Tasks,
    /// A search for a trace.
    Traces,
    /// A download.
    Transfers,
    /// A deadline of an attempt, or a renewal.
    Work,
    /// A write to retry.
    Writes,
}

/// One node of the mesh, as a pure state machine.
///
/// See the crate's documentation for the loop that drives it.
#[derive(Debug)]
pub struct Node {
    config: Config,
    identity: Identity,
    /// The id of `identity`.
    me: NodeId,
    /// Distinguishes this start from earlier ones and from duplicates.
    incarnation: u64,
    clock: Clock,
    rng: Rng,
    state: State,
    active_since: Option<Instant>,
    /// The port on which the transport accepts connections.
    listening: Option<u16>,
    storage_checked: bool,
    interfaces: Vec<Interface>,
    local_networks: LocalNetworks,

    // The sub-machines.
    deliveries: Deliveries,
    discovery: Discovery,
    downloader: Downloader,
    health: Health,
    heartbeat: Heartbeat,
    membership: Membership,
    peers: Peers,
    provider: Provider,
    results: Results,
    router: Router,
    scheduler: Scheduler,
    sessions: Sessions,
    tasks: Tasks,
    worker: Worker,
    writes: Writes,

    /// The number of attempts at each peer, from its last ping or pong.
    loads: BTreeMap<NodeId, u16>,
    /// Peers whose link closed without a goodbye, until they are seen again or have left the mesh.
    crashed: BTreeSet<NodeId>,
    in_flight: InFlight,
    observers: Observers,
    outputs: VecDeque<Output>,
}

/// The node's view of time.
#[derive(Debug)]
struct Clock {
    /// The latest time seen: inputs never turn time back.
    now: Instant,
    /// The wall-clock time at the driver's origin.
    wall_at_origin: UnixMillis,
}

/// Operations that span several inputs and belong to no sub-machine.
#[derive(Debug)]
struct InFlight {
    /// Messages to acknowledge, by their origin.
    acks: BTreeMap<NodeId, Vec<(MessageId, TraceContext)>>,
    /// The message that carries each task's assignment to its worker.
    assigning: BTreeMap<TaskId, MessageId>,
    /// The requests of `waiting` that cancel their task.
    cancelling: BTreeSet<RequestId>,
    explanations: Explanations,
    pings: Pings,
    /// When to look for expired results.
    purge_at: Option<Instant>,
    /// When to retry the writes of `unwritten`.
    rewrite_at: Option<Instant>,
    shutdown: Option<Shutdown>,
    traces: TraceSearches,
    /// What waits for writes that failed and are to be retried.
    unwritten: Vec<Promise>,
    /// The task that each waiting request waits for.
    waiting: BTreeMap<RequestId, TaskId>,
}

/// Observers of the node's events. They feed nothing back.
#[derive(Debug)]
struct Observers {
    alerts: Alerts,
    diagnostics: Diagnostics,
    fault_counters: FaultCounters,
    metrics: Metrics,
    traces: Traces,
}

impl Clock {
    fn new(now: Instant, wall: UnixMillis) -> Self {
        let mut clock = Self { now, wall_at_origin: wall };
        clock.set(wall);
        clock
    }

    /// Sets the wall clock.
    fn set(&mut self, wall: UnixMillis) {
        self.wall_at_origin = UnixMillis(wall.0.saturating_sub(self.now.as_micros() / 1000));
    }

    fn wall(&self) -> UnixMillis {
        self.wall_at_origin.after(Duration::from_micros(self.now.as_micros()))
    }
}

impl InFlight {
    fn new(now: Instant) -> Self {
        Self {
            acks: BTreeMap::new(),
            assigning: BTreeMap::new(),
            cancelling: BTreeSet::new(),
            explanations: Explanations::default(),
            pings: Pings::default(),
            purge_at: Some(now.after(PURGE_INTERVAL)),
            rewrite_at: None,
            shutdown: None,
            traces: TraceSearches::default(),
            unwritten: Vec::new(),
            waiting: BTreeMap::new(),
        }
    }
}

impl Observers {
    fn new(me: NodeId, alerts: Alerts) -> Self {
        Self {
            alerts,
            diagnostics: Diagnostics::default(),
            fault_counters: FaultCounters::default(),
            metrics: Metrics::new(me),
            traces: Traces::default(),
        }
    }

    fn handle_event(&mut self, now: Instant, wall_micros: u64, event: &Event) {
        self.alerts.handle_event(now, event);
        self.diagnostics.handle_event(now, event);
        self.fault_counters.handle_event(event);
        self.metrics.handle_event(now, event);
        self.traces.handle_event(now, wall_micros, event);
    }
}

impl Node {
    /// Creates a node in its first state.
    ///
    /// `seed` determines all of its randomness and must differ between starts. `wall` is the wall-clock time at `now`.
    /// `saved` is the content of the storage.
    pub fn new(
        config: Config,
        identity: Identity,
        seed: [u8; 32],
        now: Instant,
        wall: UnixMillis,
        saved: Saved,
    ) -> Self {
        #[cfg(feature = "mutants")]
        crate::mutants::enter(config.mutant);
        let me = identity.node_id();
        let mut rng = Rng::new(seed);
        let incarnation = wall.0 << INCARNATION_RANDOM_BITS | rng.below(1 << INCARNATION_RANDOM_BITS);
        let sessions = Sessions::new(me, incarnation, identity.clone());
        let advert = Advert {
            key: identity.public_key(),
            incarnation,
            // It grows from start to start with the clock. If the clock was set back, the members' copies correct it.
            sequence: wall.0,
            addresses: Vec::new(),
            name: config.name.clone(),
            version: config.version.clone(),
            max_links: config.max_peers,
            slots: config.max_concurrent_tasks,
            // Advertised from the start, so that tasks are not rejected while a model loads; they wait for it.
            models: config.models.iter().take(MODELS_MAX).cloned().collect(),
            links: Vec::new(),
            session_key: sessions.public_key(),
        };
        let limits = Limits {
            tasks: usize::try_from(config.queue_tasks_max).unwrap_or(usize::MAX),
            bytes: config.queue_bytes_max,
            retention: config.result_retention,
        };
        let (network, version) = (config.network.clone(), config.version.clone());
        let slots = config.max_concurrent_tasks;
        let mut node = Self {
            me,
            incarnation,
            clock: Clock::new(now, wall),
            rng,
            state: State::Initializing,
            active_since: None,
            listening: None,
            storage_checked: false,
            interfaces: Vec::new(),
            local_networks: LocalNetworks::default(),
            deliveries: Deliveries::default(),
            discovery: Discovery::new(me, network.clone(), version, slots),
            downloader: Downloader::default(),
            health: Health::new(config.health_check_interval, config.memory_bytes_max),
            heartbeat: Heartbeat::default(),
            membership: Membership::new(now, identity.clone(), advert),
            peers: Peers::new(me, network, config.max_peers, &config.bootstrap_peers),
            provider: Provider::default(),
            results: Results::new(config.results_max, saved.results),
            router: Router::default(),
            scheduler: Scheduler::default(),
            sessions,
            tasks: Tasks::new(limits),
            worker: Worker::new(me, slots, &config.models),
            writes: Writes::default(),
            loads: BTreeMap::new(),
            crashed: BTreeSet::new(),
            in_flight: InFlight::new(now),
            observers: Observers::new(me, Alerts::new(saved.alerts)),
            outputs: VecDeque::new(),
            config,
            identity,
        };
        node.become_state(State::Registering);
        for mut task in saved.tasks {
            if shows(Mutant::WallClockBelieved) {
                let away = wall.0.saturating_sub(task.submitted_at.0);
                task.spec.timeout = task.spec.timeout.saturating_sub(Duration::from_millis(away));
            }
            let (kind, trace) = (task.spec.kind(), task.trace_context());
            node.event(Event::TaskRecovered { task: task.id, kind, trace });
            node.tasks.recover(now, wall, task);
        }
        node.write(vec![Record::Probe], Promise::SelfCheck);
        node
    }

    /// Shares an advert cache with other nodes of this process. No check has another outcome because of it.
    pub fn share_adverts(&mut self, cache: AdvertCache) {
        self.membership.share_adverts(cache);
    }

    /// Handles an input. Never fails: an input that makes no sense is ignored.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        #[cfg(feature = "mutants")]
        crate::mutants::enter(self.config.mutant);
        self.clock.now = self.clock.now.max(now);
        let now = self.clock.now;
        if self.state == State::Stopped {
            return;
        }
        match input {
            Input::Blob(report) => self.handle_blob(report),
            Input::ClockSet(wall) => self.handle_clock_set(wall),
            Input::Datagram { interface, from, bytes } => {
                self.discovery.handle_datagram(now, interface, from, &bytes, &mut self.rng);
            }
            Input::DialFailed { dial, error } => {
                self.peers.handle_dial_failed(now, dial, error, &mut self.rng);
            }
            Input::Examined(host) => self.health.handle_host(host),
            Input::Frame { link, bytes } => self.handle_frame(link, bytes),
            Input::Frames { link, frames } => self.handle_frames(link, frames),
            Input::FrameTooLarge { link } => {
                self.peers.handle_fault(self.clock.now, link, PeerFault::FrameTooLarge);
            }
            Input::FrameTruncated { link } => self.peers.handle_truncated(link),
            Input::InferenceDone { job, micros, result } => self.worker.handle_done(job, micros, result),
            Input::InferenceProgress { job, text, tokens } => {
                self.worker.handle_progress(now, job, &text, tokens);
            }
            Input::Interfaces(interfaces) => self.handle_interfaces(interfaces),
            Input::LinkDown { link } => self.peers.handle_link_down(now, link, &mut self.rng),
            Input::LinkStalled { link } => {
                self.peers.handle_fault(self.clock.now, link, PeerFault::NotReading)
            }
            Input::LinkUp { link, peer, remote, dial } => {
                let is_local = self.local_networks.contains(remote.ip());
                self.peers.handle_link_up(now, link, peer, remote, is_local, dial);
            }
            Input::Listening { port } => {
                self.listening = Some(port);
                self.advertise_addresses();
                self.activate_if_checked();
            }
            Input::Model { name, kind, fingerprint, state } => {
                self.handle_model(ModelOffer { name, kind, fingerprint }, state);
            }
            Input::Request { id, request } => self.handle_request(id, request),
            Input::RequestDropped { id } => self.handle_request_dropped(id),
            Input::Shed { frame, .. } => self.handle_shed(&frame),
            Input::StrangerFault { remote, fault } => self.event(Event::StrangerFault { remote, fault }),
            Input::Tick => {}
            Input::TracesFound { read, found } => self.handle_traces_found(read, found),
            Input::WriteDone { id, result } => self.handle_write_done(id, result),
        }
        self.settle();
    }

    /// Returns the next output; `None` when there is none for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when the node next wants an [`Input::Tick`]. Once the outputs are drained, this is strictly after the
    /// last input.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        #[cfg(feature = "mutants")]
        crate::mutants::enter(self.config.mutant);
        if self.state == State::Stopped {
            return None;
        }
        let due = [
            (self.observers.alerts.poll_timeout(), Reason::Alerts),
            (self.discovery.poll_timeout(), Reason::Discovery),
            (self.in_flight.explanations.poll_timeout(), Reason::Explanations),
            (self.health.poll_timeout(), Reason::Health),
            (self.heartbeat.poll_timeout(), Reason::Heartbeat),
            (self.membership.poll_timeout(), Reason::Membership),
            (self.peers.poll_timeout(), Reason::Peers),
            (self.in_flight.purge_at, Reason::Results),
            (self.router.poll_timeout(), Reason::Router),
            (self.deliveries.poll_timeout(), Reason::Router),
            (self.scheduler.poll_timeout(self.clock.now), Reason::Scheduler),
            (self.sessions.poll_timeout(), Reason::Sessions),
            (
                self.in_flight.shutdown.as_ref().map(|shutdown| shutdown.deadline(self.clock.now)),
                Reason::Shutdown,
            ),
            (self.tasks.poll_timeout(), Reason::Tasks),
            (self.in_flight.traces.poll_timeout(), Reason::Traces),
            (self.downloader.poll_timeout(self.clock.now), Reason::Transfers),
            (self.worker.poll_timeout(), Reason::Work),
            (self.in_flight.rewrite_at, Reason::Writes),
        ];
        let earliest = due.into_iter().filter_map(|(at, reason)| Some(Deadline { at: at?, reason })).min()?;
        let at = earliest.at.max(self.clock.now.after(Duration::from_micros(1)));
        Some(Deadline { at, ..earliest })
    }

    /// Returns the node's id.
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// Returns the lifecycle state.
    pub fn state(&self) -> State {
        self.state
    }

    fn wall(&self) -> UnixMillis {
        self.clock.wall()
    }

    /// Uses the new wall-clock time in views and records from now on. Durations are not affected.
    fn handle_clock_set(&mut self, wall: UnixMillis) {
        let before = self.wall();
        self.clock.set(wall);
        if !shows(Mutant::ClockJumpBelieved) {
            self.results.handle_clock_set(before, wall);
        }
        let millis = |time: UnixMillis| i64::try_from(time.0).unwrap_or(i64::MAX);
        self.event(Event::ClockSet { by_millis: millis(wall).saturating_sub(millis(before)) });
    }

    fn event(&mut self, event: Event) {
        let wall_micros = self.wall_micros();
        self.observers.handle_event(self.clock.now, wall_micros, &event);
        self.outputs.push_back(Output::Event(event));
    }

    fn become_state(&mut self, next: State) {
        if self.state.may_become(next) {
            let from = core::mem::replace(&mut self.state, next);
            self.event(Event::StateChanged { from, to: next });
        }
    }

    /// Becomes ACTIVE once all self-checks have passed: storage is writable, the key signs, and peers can connect.
    fn activate_if_checked(&mut self) {
        let checked = self.storage_checked || shows(Mutant::ActiveUnchecked);
        let Some(port) = self.listening.filter(|_| checked && self.state == State::Registering) else {
            return;
        };
        let signature = self.identity.sign(Domain::SelfCheck, &self.me.0);
        if !self.identity.public_key().verifies(Domain::SelfCheck, &self.me.0, &signature) {
            return;
        }
        self.become_state(State::Active);
        self.active_since = Some(self.clock.now);
        self.peers.handle_active();
        self.health.handle_active(self.clock.now);
        self.observers.alerts.handle_active();
        if self.config.discovery {
            self.discovery.handle_active(self.clock.now, port, &mut self.rng);
        }
    }

    fn handle_interfaces(&mut self, mut interfaces: Vec<Interface>) {
        // Links over non-local addresses are refused at both ends.
        self.local_networks = LocalNetworks::from_interfaces(&interfaces);
        interfaces.retain(|interface| self.local_networks.contains(interface.address));
        self.discovery.handle_interfaces(self.clock.now, &interfaces, &mut self.rng);
        self.interfaces = interfaces;
        self.advertise_addresses();
    }

    /// Puts this host's addresses into the node's advert, best first. Loopback is included only if there is nothing
    /// else.
    fn advertise_addresses(&mut self) {
        let Some(port) = self.listening else { return };
        let mut interfaces = self.interfaces.clone();
        if interfaces.iter().any(|interface| !interface.address.is_loopback()) {
            interfaces.retain(|interface| !interface.address.is_loopback());
        }
        // The sort is stable: the driver's order stays within a group.
        interfaces.sort_by_key(|interface| (interface.bridge, is_link_local(interface.address)));
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in interfaces.iter().map(|interface| SocketAddr::new(interface.address, port)) {
            if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                addresses.push(address);
            }
        }
        self.membership.own_mut(self.clock.now).addresses = addresses;
    }

    fn handle_model(&mut self, offer: ModelOffer, state: ModelState) {
        let ModelOffer { ref name, kind, fingerprint } = offer;
        let ready = state == ModelState::Ready;
        // A model that is still being hashed is offered too, so that requests for it are not rejected meanwhile.
        let is_offered = ready || state == ModelState::Away && fingerprint.is_none();
        self.event(Event::ModelChanged { model: name.clone(), kind, ready });
        let listed = self.config.models.iter().any(|model| model.is(kind, name));
        self.worker.handle_model(kind, name.clone(), Model { fingerprint, state }, listed);
        let models = &mut self.membership.own_mut(self.clock.now).models;
        models.retain(|known| !known.is(kind, name));
        if is_offered && models.len() < MODELS_MAX {
            models.push(offer);
        }
    }

    fn millis_since(&self, then: Instant) -> u64 {
        micros(self.clock.now.since(then)) / 1000
    }
}

/// Random bits that tell apart two starts in the same millisecond.
const INCARNATION_RANDOM_BITS: u32 = 22;
/// Maximum number of addresses in an advert.
const ADDRESSES_MAX: usize = 8;
/// Maximum number of models in an advert.
const MODELS_MAX: usize = 16;
