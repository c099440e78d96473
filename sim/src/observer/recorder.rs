//! Records a run for its timeline. It observes what the invariants observe and never influences the run.

mod descriptions;
mod in_flight;
mod lanes;
pub(crate) mod rows;
pub(crate) mod spans;

use crate::cluster::Cluster;
use crate::faults::Step;
use crate::invariant::Observation;
use crate::node_set::NodeIndex;
use crate::observer::coverage_marks;
use descriptions::Texts;
use engine::lifecycle::State;
use engine::{Event, Input, Instant, LinkId, MessageId, NodeId, Output, TaskId, WriteId};
use in_flight::{InFlight, Packet};
use lanes::Lanes;
use rows::{Kind, Row, RowLog, Transfer};
use spans::{FaultSpan, Run, Spans, StateSpan, SuspicionSpan, Task};
use std::collections::BTreeMap;

/// A recorded run.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) node_ids: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) left_out: Vec<(Kind, u64)>,
    pub(crate) texts: Vec<String>,
    pub(crate) texts_left_out: u64,
    pub(crate) lives: Vec<StateSpan>,
    pub(crate) suspicions: Vec<SuspicionSpan>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) runs: Vec<Run>,
    pub(crate) bands: Vec<FaultSpan>,
}

/// Records one run.
#[derive(Debug)]
pub(crate) struct Recorder {
    lanes: Lanes,
    /// Whether one node's view is recorded: lanes are added as it meets others, and transfers have no duration.
    is_one_view: bool,
    rows: RowLog,
    in_flight: InFlight,
    spans: Spans,
    texts: Texts,
    /// The task of each recent message; an acknowledgement of the message is about the same task.
    about: BTreeMap<MessageId, u32>,
    writes: BTreeMap<(NodeIndex, WriteId), (u64, u32)>,
}

impl Recorder {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self::with_lanes(Lanes::of_cluster(cluster), false)
    }

    /// Creates the recorder of one node's view. The node has the first lane.
    pub(crate) fn of_one_node(node: NodeId) -> Self {
        let mut lanes = Lanes::default();
        lanes.learn(node);
        Self::with_lanes(lanes, true)
    }

    fn with_lanes(lanes: Lanes, is_one_view: bool) -> Self {
        Self {
            lanes,
            is_one_view,
            rows: RowLog::new(ROWS_MAX),
            in_flight: InFlight::default(),
            spans: Spans::default(),
            texts: Texts::new(),
            about: BTreeMap::new(),
            writes: BTreeMap::new(),
        }
    }

    /// Observes what happened to a node.
    pub(crate) fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) {
        let at = now.as_micros();
        if self.is_one_view {
            self.learn(at, observation);
        }
        match observation {
            Observation::Durable(_) => {}
            Observation::Input(input) => self.input(at, node, input),
            Observation::Output(output) => self.output(at, node, output),
            Observation::Started => {
                self.spans.life(at, node, Some("INITIALIZING"));
                self.note(at, node, Kind::Peer, "process starts", String::new(), 0);
            }
            Observation::Stopped => {
                self.spans.stopped(at, node);
                self.in_flight.stopped(node);
                self.note(at, node, Kind::Peer, "process is gone", String::new(), 0);
            }
        }
    }

    /// Adds the lanes of nodes that the observed one meets. A peer is shown while there is a link.
    fn learn(&mut self, at: u64, observation: Observation<'_>) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the others name no new node")]
        match observation {
            Observation::Input(Input::LinkUp { peer, .. }) => {
                if let Some(peer) = self.lanes.learn(peer.node_id()) {
                    self.spans.life(at, peer, Some("ACTIVE"));
                }
            }
            Observation::Output(Output::Event(Event::LinkDown { peer, .. })) => {
                if let Some(peer) = self.lanes.find(*peer) {
                    self.spans.life(at, peer, None);
                }
            }
            Observation::Output(Output::Event(Event::MemberJoined { member })) => {
                self.lanes.learn(*member);
            }
            _ => {}
        }
    }

    /// Records that a fault is injected or cleared.
    pub(crate) fn fault(
        &mut self,
        now: Instant,
        step: Step,
        words: &str,
        groups: Vec<(NodeIndex, usize)>,
        stops: bool,
    ) {
        self.spans.fault(now.as_micros(), step, words, groups, stops);
    }

    pub(crate) fn finish(self) -> Recording {
        let (rows, left_out) = self.rows.finish();
        Recording {
            node_ids: self.lanes.ids(),
            rows,
            left_out,
            texts_left_out: self.texts.left_out,
            texts: self.texts.finish(),
            lives: self.spans.lives,
            suspicions: self.spans.suspicions,
            tasks: self.spans.tasks,
            runs: self.spans.runs,
            bands: self.spans.bands,
        }
    }

    fn note(&mut self, at: u64, node: NodeIndex, kind: Kind, name: &'static str, text: String, task: u32) {
        let text = if self.rows.takes(kind) { self.texts.index(text) } else { 0 };
        self.rows.push(Row { id: 0, at, node, kind, name, text, task, transfer: None });
    }

    fn parts(&self, value: &impl core::fmt::Debug) -> String {
        descriptions::parts(&self.lanes, &self.spans, value)
    }

    fn input(&mut self, at: u64, node: NodeIndex, input: &Input) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the description names the variant")]
        let name = match input {
            Input::Datagram { from, bytes, .. } => {
                if let Some(from) = self.lanes.at(from.ip()) {
                    self.packet(at, from, node, bytes);
                }
                return;
            }
            Input::Frame { link, bytes } => return self.frame(at, node, *link, bytes),
            Input::Frames { link, frames } => {
                return frames.iter().for_each(|bytes| self.frame(at, node, *link, bytes));
            }
            Input::InferenceDone { job, result, .. } => {
                self.spans.job_done(at, node, *job, if result.is_ok() { "done" } else { "failed" });
                "inference ends"
            }
            Input::LinkUp { link, peer, .. } => {
                if let Some(peer) = self.lanes.find(peer.node_id()) {
                    self.in_flight.up(node, *link, peer);
                }
                return;
            }
            Input::LinkDown { link } => return self.in_flight.down(node, *link),
            Input::WriteDone { id, result } => {
                if let Some((began, text)) = self.writes.remove(&(node, *id)) {
                    let name = if result.is_ok() { "write" } else { "write fails" };
                    let transfer = Some(Transfer { to: node, arrives: Some(at), bytes: 0 });
                    let row =
                        Row { id: 0, at: began, node, kind: Kind::World, name, text, task: 0, transfer };
                    self.rows.push(row);
                }
                return;
            }
            // An event describes each of these, except the passing of time.
            Input::DialFailed { .. } | Input::Examined(_) | Input::Model { .. } | Input::Tick => return,
            Input::InferenceProgress { .. } => "inference goes on",
            Input::Interfaces(_) => "interfaces",
            Input::Listening { .. } => "listening",
            Input::Request { .. } => "request",
            _ => "input",
        };
        if self.rows.takes(Kind::World) {
            let text = self.parts(input);
            self.note(at, node, Kind::World, name, text, 0);
        }
    }

    fn output(&mut self, at: u64, node: NodeIndex, output: &Output) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the description names the variant")]
        let name = match output {
            Output::Event(event) => return self.event(at, node, event),
            Output::Examine => return,
            Output::Send { link, frame, .. } => return self.send(at, node, *link, frame),
            Output::Multicast { bytes, .. } => {
                if self.rows.takes(Kind::Discovery) {
                    let answer = bytes.get(2).is_some_and(|flags| flags & 0x80 != 0);
                    let what = if answer { "an announcement" } else { "a question" };
                    let text = self.texts.index(format!("packet: {what}\nbytes: {}\n", bytes.len()));
                    self.in_flight.sent_to_all(node, bytes, Packet { sent: at, text });
                }
                return;
            }
            Output::Write { id, .. } => {
                if self.rows.takes(Kind::World) && self.writes.len() < WRITES_MAX {
                    let text = self.parts(output);
                    let text = self.texts.index(text);
                    self.writes.insert((node, *id), (at, text));
                }
                return;
            }
            Output::Infer { job, work, .. } => {
                self.spans.job(node, *job, work.len());
                "inference begins"
            }
            Output::Cancel { .. } => "cancel inference",
            Output::Dial { .. } => "dial",
            Output::Disconnect { .. } => "disconnect",
            Output::Reply { .. } => "reply",
            _ => "output",
        };
        if self.rows.takes(Kind::World) {
            let text = self.parts(output);
            self.note(at, node, Kind::World, name, text, 0);
        }
    }

    fn send(&mut self, at: u64, node: NodeIndex, link: LinkId, frame: &[u8]) {
        let Some(to) = self.in_flight.peer(node, link) else { return };
        let description = descriptions::message(&self.lanes, &self.spans, frame);
        if !self.rows.takes(description.kind) {
            return;
        }
        let task = self.task_of(frame, description.task);
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let text = self.texts.index(description.text);
        let arrives = self.is_one_view.then_some(at);
        let transfer = Some(Transfer { to, arrives, bytes });
        if let Some(row) = self.rows.push(Row {
            id: 0,
            at,
            node,
            kind: description.kind,
            name: description.name,
            text,
            task,
            transfer,
        }) {
            self.in_flight.sent(node, to, frame, row);
        }
    }

    /// Returns the number of the task that a frame is about, including acknowledgements of earlier messages.
    fn task_of(&mut self, frame: &[u8], task: Option<TaskId>) -> u32 {
        use engine::wire::{Message, Payload};
        let Ok(Message::Routed(envelope)) = Message::decode(frame) else { return 0 };
        match task {
            Some(task) => {
                let number = self.spans.number(task);
                if self.about.len() >= ABOUT_MAX {
                    self.about.clear();
                }
                self.about.insert(envelope.message, number);
                number
            }
            None => match Payload::decode(&envelope.payload) {
                Ok(Payload::Ack(messages)) => {
                    messages.first().and_then(|message| self.about.get(message)).copied().unwrap_or_default()
                }
                Ok(_) | Err(_) => 0,
            },
        }
    }

    fn frame(&mut self, at: u64, node: NodeIndex, link: LinkId, bytes: &[u8]) {
        let row = self.in_flight.peer(node, link).and_then(|from| self.in_flight.arrived(from, node, bytes));
        if let Some(row) = row {
            return self.rows.arrived(row, at);
        }
        let description = descriptions::message(&self.lanes, &self.spans, bytes);
        if self.rows.takes(description.kind) {
            let task = self.task_of(bytes, description.task);
            let from = self.in_flight.peer(node, link).filter(|_| self.is_one_view);
            let Some(from) = from else {
                return self.note(at, node, description.kind, description.name, description.text, task);
            };
            let text = self.texts.index(description.text);
            let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let transfer = Some(Transfer { to: node, arrives: Some(at), bytes });
            let (kind, name) = (description.kind, description.name);
            self.rows.push(Row { id: 0, at, node: from, kind, name, text, task, transfer });
        }
    }

    fn packet(&mut self, at: u64, from: NodeIndex, to: NodeIndex, bytes: &[u8]) {
        if from != to
            && self.rows.takes(Kind::Discovery)
            && let Some(packet) = self.in_flight.packet(from, bytes)
        {
            let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let transfer = Some(Transfer { to, arrives: Some(at), bytes });
            let (kind, name, text) = (Kind::Discovery, "mDNS packet", packet.text);
            self.rows.push(Row { id: 0, at: packet.sent, node: from, kind, name, text, task: 0, transfer });
        }
    }

    fn event(&mut self, at: u64, node: NodeIndex, event: &Event) {
        let task = self.span(at, node, event);
        let kind = kind(event);
        if self.rows.takes(kind) {
            let text = self.parts(event);
            let number = task.map(|task| self.spans.number(task)).unwrap_or_default();
            self.note(at, node, kind, coverage_marks::name(event), text, number);
        }
    }

    /// Updates the spans that an event starts or ends; returns the task that it is about.
    fn span(&mut self, at: u64, node: NodeIndex, event: &Event) -> Option<TaskId> {
        let find = |id: &NodeId| self.lanes.find(*id);
        let spans = &mut self.spans;
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other events have no duration")]
        match event {
            Event::StateChanged { to, .. } => spans.life(at, node, Some(state(*to))),
            Event::PeerSlow { peer } => {
                find(peer).into_iter().for_each(|peer| spans.suspected(at, node, peer));
            }
            Event::PeerDead { peer } => {
                find(peer).into_iter().for_each(|peer| spans.suspicion_ended(at, node, peer, true));
            }
            Event::PeerRecovered { peer } | Event::LinkDown { peer, .. } => {
                find(peer).into_iter().for_each(|peer| spans.suspicion_ended(at, node, peer, false));
            }
            Event::InputTruncated { task, .. }
            | Event::ResultDuplicate { task, .. }
            | Event::TaskRecovered { task, .. } => return Some(*task),
            Event::TaskAccepted { task, .. } => {
                spans.accepted(at, node, *task);
                return Some(*task);
            }
            Event::TaskAssigned { task, worker, attempt, .. } => {
                find(worker).into_iter().for_each(|worker| spans.assigned(at, *task, worker, *attempt));
                return Some(*task);
            }
            Event::TaskFinished { task, status, worker, .. } => {
                spans.finished(at, *task, *status, worker.as_ref().and_then(find));
                return Some(*task);
            }
            Event::TaskReassigned { task, worker, reason, .. } => {
                let why = format!("{reason:?}").to_lowercase();
                find(worker).into_iter().for_each(|worker| spans.taken_back(at, *task, worker, &why));
                return Some(*task);
            }
            Event::AttemptEnded(end) => return Some(end.task),
            Event::TaskStarted { task, attempt, .. } => {
                spans.begun(at, node, *task, *attempt);
                return Some(*task);
            }
            _ => {}
        }
        None
    }
}

const fn state(state: State) -> &'static str {
    match state {
        State::Initializing => "INITIALIZING",
        State::Registering => "REGISTERING",
        State::Active => "ACTIVE",
        State::ShuttingDown => "SHUTTING_DOWN",
        State::Stopped => "STOPPED",
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "events without a kind of their own are shown as world events"
)]
const fn kind(event: &Event) -> Kind {
    match event {
        Event::ClockDiffers { .. }
        | Event::ClockSet { .. }
        | Event::IdentityCopied { .. }
        | Event::MemberJoined { .. }
        | Event::MemberLeft { .. }
        | Event::PeerDead { .. }
        | Event::PeerFault { .. }
        | Event::PeerRecovered { .. }
        | Event::PeerSlow { .. }
        | Event::StateChanged { .. } => Kind::Peer,
        Event::LinkDown { .. } | Event::LinkRefused { .. } | Event::LinkUp { .. } => Kind::Link,
        Event::MessageAcknowledged { .. }
        | Event::MessageDelivered { .. }
        | Event::MessageDropped { .. }
        | Event::MessageDuplicate { .. }
        | Event::MessageForwarded { .. }
        | Event::MessageSent { .. }
        | Event::MessageUnacknowledged { .. } => Kind::Routing,
        Event::NodeFound { .. } | Event::NodeLost { .. } => Kind::Discovery,
        Event::InputTruncated { .. } | Event::ResultDuplicate { .. } | Event::TaskFinished { .. } => {
            Kind::Result
        }
        Event::AttemptEnded(_)
        | Event::TaskAccepted { .. }
        | Event::TaskAssigned { .. }
        | Event::TaskReassigned { .. }
        | Event::TaskRecovered { .. }
        | Event::TaskStarted { .. } => Kind::Task,
        _ => Kind::World,
    }
}

/// The most rows of a timeline.
pub(crate) const ROWS_MAX: usize = 250_000;

/// The most messages whose task is remembered for their acknowledgements.
const ABOUT_MAX: usize = 100_000;

/// The most writes in flight that are remembered.
const WRITES_MAX: usize = 100_000;
