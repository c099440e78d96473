//! What sees everything that happens in a simulated world, and says what it amounts to: the trace, the
//! invariants, whether all ends well, and the narrative for people to read. It feeds nothing back.

pub mod coverage_marks;
pub(crate) mod flight_recorder;
pub(crate) mod journals;
pub(crate) mod liveness;
pub(crate) mod narrative;
pub(crate) mod recorder;
pub(crate) mod trace;

use crate::clients::{self, Clients};
use crate::cluster::Cluster;
use crate::faults::{Faults, Step};
use crate::invariant::{DirectMessage, Interests, Invariant, NO_PANIC, Observation, Violation};
use crate::invariants;
use crate::links::Links;
use crate::node_set::NodeIndex;
use crate::scenario::{Fault, NodeRole, Scenario};
use core::any::Any;
use engine::journal::Start;
use engine::record::Saved;
use engine::wire::{Envelope, Message, Payload, Seal};
use engine::{Event, Identity, Input, Instant, MessageId, Node, NodeId, Output, TraceId, UnixMillis};
use flight_recorder::{FlightRecorder, LastEvents};
use journals::Journals;
use liveness::Liveness;
use narrative::Narrative;
use recorder::Recorder;
use std::collections::BTreeMap;
use std::sync::Arc;
use trace::Trace;

/// Watches one run.
#[derive(Debug)]
pub(crate) struct Observer {
    cluster: Arc<Cluster>,
    pub(crate) trace: Trace,
    /// Takes down what each node does, where that is asked for.
    pub(crate) journals: Option<Journals>,
    pub(crate) invariants: Vec<Box<dyn Invariant>>,
    /// What each of them is about.
    interests: Vec<Interests>,
    /// What a frame begins with that carries what is said end to end.
    routed: u8,
    liveness: Liveness,
    flight_recorder: FlightRecorder,
    /// Which node did something last.
    active_node: Option<NodeIndex>,
    pub(crate) links: Links,
    pub(crate) marks: BTreeMap<&'static str, u64>,
    pub(crate) narrative: Narrative,
    pub(crate) clients: Clients,
    pub(crate) violation: Option<Violation>,
    /// Draws the run, where somebody interests to look at it.
    pub(crate) recorder: Option<Recorder>,
    /// When all was well again, if it was asked for.
    pub(crate) recovered_at: Option<Instant>,
    /// What went wrong, with its exact times and targets; known at the end.
    pub(crate) injected: Vec<Fault>,
}

impl Observer {
    pub(crate) fn new(scenario: &Scenario, cluster: Arc<Cluster>) -> Self {
        let nodes = cluster.len();
        let invariants = invariants::for_scenario(scenario, &cluster);
        let fetchers = clients::fetchers(scenario, &cluster);
        Self {
            trace: Trace::default(),
            journals: None,
            interests: invariants.iter().map(|invariant| invariant.interests()).collect(),
            invariants,
            routed: first_byte_of_routed(),
            liveness: Liveness::new(&cluster),
            cluster,
            flight_recorder: FlightRecorder::new(nodes),
            active_node: None,
            links: Links::new(nodes),
            marks: BTreeMap::new(),
            narrative: Narrative::default(),
            clients: Clients::new(scenario.workload.clone(), fetchers),
            violation: None,
            recorder: None,
            recovered_at: None,
            injected: Vec::new(),
        }
    }

    /// Takes note that a node is about to be made, in which of its lives; returns the identity to make it with.
    pub(crate) fn begin(
        &mut self,
        node: NodeIndex,
        incarnation: u32,
        start: &Start,
        saved: &Saved,
        identity: Identity,
    ) -> Identity {
        match &mut self.journals {
            Some(journals) => journals.begin((node, incarnation), start, saved, identity),
            None => identity,
        }
    }

    /// Takes note of what happened to a node.
    pub(crate) fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) {
        self.trace.push(now, node, observation);
        if let Some(journals) = &mut self.journals {
            journals.observe(now, node, observation);
        }
        self.active_node = Some(node);
        if let Some(recorder) = &mut self.recorder {
            recorder.observe(now, node, observation);
        }
        let role = self.cluster.role(node);
        if role == NodeRole::Hostile {
            // What a liar says of itself is nobody's concern.
            return;
        }
        self.observe_messages(now, node, observation);
        let kind = match observation {
            Observation::Input(_) => Some(Interests::INPUTS),
            Observation::Output(Output::Event(_)) => Some(Interests::EVENTS),
            Observation::Output(_) => Some(Interests::OUTPUTS),
            Observation::Durable(_) | Observation::Started | Observation::Stopped => None,
        };
        if kind != Some(Interests::INPUTS) {
            self.flight_recorder.observe(now, node, observation);
            if role == NodeRole::Member {
                self.liveness.observe(&self.cluster, node, observation);
                self.links.observe(&self.cluster, node, observation);
            }
        }
        self.check_invariants(now, Some(node), kind, |invariant| invariant.observe(now, node, observation));
        if let Observation::Output(Output::Event(event)) = observation {
            self.mark(coverage_marks::name(event));
            if matches!(event, Event::FetchBegun { present, .. } if *present > 0) {
                self.mark("fetch_resumed");
            }
            self.narrative.event(&self.cluster, now, node, event);
        }
    }

    /// Has invariants look at something: those that want its kind, or all.
    fn check_invariants(
        &mut self,
        now: Instant,
        node: Option<NodeIndex>,
        kind: Option<Interests>,
        mut check: impl FnMut(&mut dyn Invariant) -> Result<(), String>,
    ) {
        let role = node.map(|node| self.cluster.role(node));
        if role == Some(NodeRole::Hostile) {
            return;
        }
        for (invariant, interests) in self.invariants.iter_mut().zip(&self.interests) {
            if kind.is_none_or(|kind| interests.has(kind))
                && role.is_none_or(|role| invariant.applies_to(role))
                && let Err(description) = check(invariant.as_mut())
            {
                let (invariant, step) = (invariant.name(), self.trace.inputs);
                let violation = Violation { invariant, at: now, step, node, description };
                self.violation.get_or_insert(violation);
            }
        }
    }

    /// Reads what neighbours say to each other end to end, once for all that want to know.
    fn observe_messages(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only frames carry words")]
        match observation {
            Observation::Input(Input::Frame { bytes, .. }) => self.observe_frame(now, node, bytes, false),
            Observation::Input(Input::Frames { frames, .. }) => {
                frames.iter().for_each(|frame| self.observe_frame(now, node, frame, false));
            }
            Observation::Output(Output::Send { frame, .. }) => self.observe_frame(now, node, frame, true),
            _ => {}
        }
    }

    fn observe_frame(&mut self, now: Instant, node: NodeIndex, frame: &[u8], sent: bool) {
        if frame.first() != Some(&self.routed) {
            return;
        }
        let Ok(Message::Routed(envelope)) = Message::decode(frame) else { return };
        let end = if sent { envelope.origin } else { envelope.destination };
        if envelope.seal != Seal::None || self.cluster.find(end) != Some(node) {
            return;
        }
        let Ok(payload) = Payload::decode(&envelope.payload) else { return };
        let Envelope { message, origin, destination, .. } = *envelope;
        let message = DirectMessage { sent, message, origin, destination, payload: &payload };
        self.check_invariants(now, Some(node), Some(Interests::MESSAGES), |invariant| {
            invariant.observe_message(now, node, &message)
        });
    }

    /// Looks into a node that has handled an input.
    pub(crate) fn inspect(&mut self, now: Instant, node: NodeIndex, engine: &Node) {
        self.check_invariants(now, Some(node), Some(Interests::NODES), |invariant| {
            invariant.inspect(now, node, engine)
        });
    }

    /// Takes note of what a node that starts reads from its disk.
    pub(crate) fn state_loaded(&mut self, now: Instant, node: NodeIndex, saved: &Saved) {
        self.check_invariants(now, Some(node), None, |invariant| invariant.state_loaded(node, saved));
    }

    /// Takes note that other nodes are cut off from each other, or stalled, than before.
    pub(crate) fn network_changed(&mut self, now: Instant) {
        self.invariants.iter_mut().for_each(|invariant| invariant.network_changed(now));
    }

    /// Takes note that a machine's clock of elapsed time stands still from now on, or goes on.
    pub(crate) fn clock_stopped(&mut self, now: Instant, node: NodeIndex, stands: bool) {
        self.invariants.iter_mut().for_each(|invariant| invariant.clock_stopped(now, node, stands));
    }

    /// Takes note that a node's process does not run at the moment, or does again.
    pub(crate) fn held(&mut self, now: Instant, node: NodeIndex, held: bool) {
        self.invariants.iter_mut().for_each(|invariant| invariant.held(now, node, held));
        self.network_changed(now);
    }

    /// Takes note of something that the world did to nodes, by its name in scenario files.
    pub(crate) fn mark(&mut self, name: &'static str) {
        *self.marks.entry(name).or_default() += 1;
    }

    /// Takes note of what happened to the world, and by which step of the faults.
    pub(crate) fn narrate(&mut self, now: Instant, step: Step, faults: &Faults, text: String) {
        if let Some(recorder) = &mut self.recorder {
            recorder.fault(now, step, &text, faults.scope(step), faults.stops(step));
            if let Step::Inject(fault) = step
                && !faults.lasts(fault)
            {
                recorder.fault(now, Step::Clear(fault), &text, Vec::new(), false);
            }
        }
        self.narrative.push(now, text);
    }

    /// Tells whether a node that runs knows another.
    pub(crate) fn knows(&self, node: NodeIndex, other: NodeIndex) -> bool {
        self.liveness.knows(node, other)
    }

    /// Says what is not well; `None` where all is.
    pub(crate) fn unmet(&self) -> Option<String> {
        self.liveness.unmet()
    }

    /// Looks whether all is well, some time after the network was healed; at the last time of asking it must. `leftover`
    /// says what the nodes still hold of work that is over.
    pub(crate) fn check_liveness(
        &mut self,
        now: Instant,
        last: bool,
        leftover: impl FnOnce() -> Option<String>,
    ) {
        let unmet = self.liveness.unmet().or_else(|| self.uninformed()).or_else(leftover);
        match unmet {
            None => {
                self.recovered_at.get_or_insert(now);
            }
            Some(unmet) => {
                self.recovered_at = None;
                if last {
                    self.violate(now, None, liveness::NAME, unmet);
                }
            }
        }
    }

    /// Names a task that is over, and whose user was not told, or somebody who waits for a file.
    fn uninformed(&self) -> Option<String> {
        if let Some(fetcher) = self.clients.unserved(|node| self.links.runs(node)) {
            return Some(format!("n{} has not got the file {:?}", fetcher.node, fetcher.spec.pin));
        }
        let (task, node) = self.clients.uninformed(|node| self.links.runs(node))?;
        Some(format!("the user of task {task} at n{node} does not know how it ended"))
    }

    /// Takes note of something that no node may do.
    pub(crate) fn violated(
        &mut self,
        now: Instant,
        node: NodeIndex,
        invariant: &'static str,
        description: String,
    ) {
        self.violate(now, Some(node), invariant, description);
    }

    /// Takes note of a panic of the node that was at work.
    pub(crate) fn panicked(&mut self, now: Instant, panic: &(dyn Any + Send)) {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        self.violate(now, self.active_node, NO_PANIC, format!("a panic: {words}"));
    }

    fn violate(
        &mut self,
        at: Instant,
        node: Option<NodeIndex>,
        invariant: &'static str,
        description: String,
    ) {
        let step = self.trace.inputs;
        self.violation.get_or_insert(Violation { invariant, at, step, node, description });
    }

    /// Returns the last events of the nodes that the violation is about.
    pub(crate) fn last_events(&self) -> Vec<LastEvents> {
        let Some(Violation { node, description, .. }) = &self.violation else { return Vec::new() };
        let mut nodes = flight_recorder::nodes_named_in(description, self.cluster.len());
        nodes.retain(|one| Some(*one) != *node);
        node.iter().for_each(|node| nodes.insert(0, *node));
        self.flight_recorder.last_events(&nodes, &self.cluster, &self.narrative)
    }
}

fn first_byte_of_routed() -> u8 {
    let nobody = NodeId([0; 16]);
    let envelope = Envelope {
        ttl: 0,
        hops: 0,
        message: MessageId([0; 16]),
        origin: nobody,
        destination: nobody,
        trace: TraceId([0; 16]),
        sent_at: UnixMillis(0),
        seal: Seal::None,
        payload: Payload::Ack(Vec::new()).encode(),
    };
    Message::Routed(Box::new(envelope)).encode().first().copied().unwrap_or_default()
}
