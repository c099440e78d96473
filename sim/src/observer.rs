//! Observes everything that happens in a simulation and evaluates it: the trace, the invariants, the liveness check,
//! and the narrative for people. It never influences the run.

pub(crate) mod alerts;
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
use crate::invariants::alerts_alternate;
use crate::links::Links;
use crate::node_set::NodeIndex;
use crate::scenario::{Fault, NodeRole, Scenario};
use alerts::AlertWatch;
use core::any::Any;
use engine::journal::Start;
use engine::record::Saved;
use engine::wire::{Envelope, Message, Payload, Seal};
use engine::{Event, Identity, Input, Instant, MessageId, Node, NodeId, Output, TraceContext, UnixMillis};
use flight_recorder::{FlightRecorder, LastEvents};
use journals::Journals;
use liveness::Liveness;
use narrative::Narrative;
use recorder::Recorder;
use std::collections::BTreeMap;
use std::sync::Arc;
use trace::Trace;

/// Observes one run.
#[derive(Debug)]
pub(crate) struct Observer {
    cluster: Arc<Cluster>,
    pub(crate) trace: Trace,
    /// Records what each node does, if requested.
    pub(crate) journals: Option<Journals>,
    /// Whether it keeps nothing whose size grows with the length of the run, and nothing for a report at its end: no
    /// hash, no narrative, no tasks, no last events.
    pub(crate) bounded: bool,
    pub(crate) invariants: Vec<Box<dyn Invariant>>,
    /// The interests of each invariant.
    interests: Vec<Interests>,
    /// Whether an invariant is interested in messages.
    watches_messages: bool,
    /// The first byte of a frame that carries an end-to-end message.
    routed: u8,
    liveness: Liveness,
    flight_recorder: FlightRecorder,
    /// The node that acted last.
    active_node: Option<NodeIndex>,
    pub(crate) links: Links,
    pub(crate) alerts: AlertWatch,
    pub(crate) marks: BTreeMap<&'static str, u64>,
    pub(crate) narrative: Narrative,
    pub(crate) clients: Clients,
    pub(crate) violation: Option<Violation>,
    /// Records the run for a timeline, if requested.
    pub(crate) recorder: Option<Recorder>,
    /// Since when the liveness conditions hold, if they were checked.
    pub(crate) recovered_at: Option<Instant>,
    /// The injected faults with their exact times and targets; known at the end.
    pub(crate) injected: Vec<Fault>,
}

impl Observer {
    pub(crate) fn new(scenario: &Scenario, cluster: Arc<Cluster>) -> Self {
        let nodes = cluster.len();
        let invariants = invariants::for_scenario(scenario, &cluster);
        let interests: Vec<Interests> = invariants.iter().map(|invariant| invariant.interests()).collect();
        let fetchers = clients::fetchers(scenario, &cluster);
        Self {
            trace: Trace::default(),
            journals: None,
            bounded: false,
            watches_messages: interests.iter().any(|interests| interests.has(Interests::MESSAGES)),
            interests,
            invariants,
            routed: first_byte_of_routed(),
            liveness: Liveness::new(&cluster),
            cluster,
            flight_recorder: FlightRecorder::new(nodes),
            active_node: None,
            links: Links::new(nodes),
            alerts: AlertWatch::new(&scenario.expect),
            marks: BTreeMap::new(),
            narrative: Narrative::default(),
            clients: Clients::new(scenario.workload.clone(), fetchers),
            violation: None,
            recorder: None,
            recovered_at: None,
            injected: Vec::new(),
        }
    }

    /// Observes that a node is about to be constructed; returns the identity to construct it with.
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

    /// Observes what happened to a node.
    pub(crate) fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) {
        if self.bounded {
            self.trace.count(observation);
        } else {
            self.trace.push(now, node, observation);
        }
        if let Some(journals) = &mut self.journals {
            journals.observe(now, node, observation);
        }
        self.active_node = Some(node);
        if let Some(recorder) = &mut self.recorder {
            recorder.observe(now, node, observation);
        }
        let role = self.cluster.role(node);
        if role == NodeRole::Hostile {
            // Reports of a hostile node do not count.
            return;
        }
        if self.watches_messages {
            self.observe_messages(now, node, observation);
        }
        let kind = match observation {
            Observation::Input(_) => Some(Interests::INPUTS),
            Observation::Output(Output::Event(_)) => Some(Interests::EVENTS),
            Observation::Output(_) => Some(Interests::OUTPUTS),
            Observation::Durable(_) | Observation::Started | Observation::Stopped => None,
        };
        if kind != Some(Interests::INPUTS) {
            if !self.bounded {
                self.flight_recorder.observe(now, node, observation);
            }
            if role == NodeRole::Member {
                if !self.bounded || liveness::concerns_members(observation) {
                    self.liveness.observe(&self.cluster, node, observation);
                }
                self.links.observe(&self.cluster, node, observation);
            }
        }
        self.check_invariants(now, Some(node), kind, |invariant| invariant.observe(now, node, observation));
        if let Observation::Output(Output::Event(event)) = observation {
            self.mark(coverage_marks::name(event));
            self.watch_alerts(now, node, event);
            if matches!(event, Event::FetchBegun { present, .. } if *present > 0) {
                self.mark("fetch_resumed");
            }
            if !self.bounded {
                self.narrative.event(&self.cluster, now, node, event);
            }
        }
    }

    fn watch_alerts(&mut self, now: Instant, node: NodeIndex, event: &Event) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern alerts")]
        match event {
            Event::AlertCleared { rule, .. } => self.alerts.cleared(node, *rule),
            Event::AlertRaised { rule, value, threshold, .. } if !self.alerts.raised(node, *rule) => {
                let said = rule.describe_crossing(*value, *threshold);
                self.violate(now, Some(node), alerts::NAME, format!("it raised {rule}: {said}"));
            }
            _ => {}
        }
    }

    /// Lets invariants check something: those interested in its kind, or all.
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

    /// Decodes unsealed end-to-end messages once for all interested invariants.
    fn observe_messages(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only frames carry messages")]
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
        let Envelope { message, origin, destination, trace, .. } = *envelope;
        let message = DirectMessage { sent, id: message, origin, destination, payload: &payload, trace };
        self.check_invariants(now, Some(node), Some(Interests::MESSAGES), |invariant| {
            invariant.observe_message(now, node, &message)
        });
    }

    /// Lets invariants inspect a node that has handled an input.
    pub(crate) fn inspect(&mut self, now: Instant, node: NodeIndex, engine: &Node) {
        self.check_invariants(now, Some(node), Some(Interests::NODES), |invariant| {
            invariant.inspect(now, node, engine)
        });
    }

    /// Observes what a starting node reads from its disk.
    pub(crate) fn state_loaded(&mut self, now: Instant, node: NodeIndex, saved: &Saved) {
        self.alerts.loaded(node, alerts_alternate::active(saved));
        self.check_invariants(now, Some(node), None, |invariant| invariant.state_loaded(node, saved));
    }

    /// Observes that partitions or stalls between nodes changed.
    pub(crate) fn network_changed(&mut self, now: Instant) {
        self.invariants.iter_mut().for_each(|invariant| invariant.network_changed(now));
    }

    /// Observes that a machine's monotonic clock stops, or runs again.
    pub(crate) fn clock_stopped(&mut self, now: Instant, node: NodeIndex, stopped: bool) {
        self.invariants.iter_mut().for_each(|invariant| invariant.clock_stopped(now, node, stopped));
    }

    /// Observes that a node's process is suspended, or resumes.
    pub(crate) fn process_suspended(&mut self, now: Instant, node: NodeIndex, suspended: bool) {
        self.invariants.iter_mut().for_each(|invariant| invariant.process_suspended(now, node, suspended));
        self.network_changed(now);
    }

    /// Counts a coverage mark: something that the simulation did to nodes, by its name in scenario files.
    pub(crate) fn mark(&mut self, name: &'static str) {
        *self.marks.entry(name).or_default() += 1;
    }

    /// Adds a step of the faults to the narrative and the timeline.
    pub(crate) fn narrate(&mut self, now: Instant, step: Step, faults: &Faults, text: String) {
        if let Some(recorder) = &mut self.recorder {
            recorder.fault(now, step, &text, faults.scope(step), faults.stops(step));
            if let Step::Inject(fault) = step
                && !faults.lasts(fault)
            {
                recorder.fault(now, Step::Clear(fault), &text, Vec::new(), false);
            }
        }
        if !self.bounded {
            self.narrative.push(now, text);
        }
    }

    /// Returns whether a running node knows another.
    pub(crate) fn knows(&self, node: NodeIndex, other: NodeIndex) -> bool {
        self.liveness.knows(node, other)
    }

    /// Describes an unmet liveness condition; `None` if all are met.
    pub(crate) fn unmet(&self) -> Option<String> {
        self.liveness.unmet()
    }

    /// Checks liveness some time after the network was healed; at the last check all conditions must be met.
    /// `leftover` describes resources that nodes still hold for work that has ended.
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

    /// Describes an ended task whose user was not told, or a fetch that has not completed.
    fn uninformed(&self) -> Option<String> {
        if let Some(fetcher) = self.clients.unserved(|node| self.links.runs(node)) {
            return Some(format!("n{} has not fetched the file {:?}", fetcher.node, fetcher.spec.pin));
        }
        let (task, node) = self.clients.uninformed(|node| self.links.runs(node))?;
        Some(format!("the user of task {task} at n{node} does not know how it ended"))
    }

    /// Records a violation of something that no node may do.
    pub(crate) fn violated(
        &mut self,
        now: Instant,
        node: NodeIndex,
        invariant: &'static str,
        description: String,
    ) {
        self.violate(now, Some(node), invariant, description);
    }

    /// Records a panic of the node that acted last.
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
        trace: TraceContext::NONE,
        sent_at: UnixMillis(0),
        seal: Seal::None,
        payload: Payload::Ack(Vec::new()).encode(),
    };
    Message::Routed(Box::new(envelope)).encode().first().copied().unwrap_or_default()
}
