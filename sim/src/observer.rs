//! What sees everything that happens in a simulated world, and says what it amounts to: the trace, the
//! invariants, whether all ends well, and the story for people to read. It feeds nothing back.

use crate::cluster::{Cluster, NodeIndex};
use crate::invariants::links::Links;
use crate::invariants::{self, Fact, Invariant, Violation, Wants, Word};
use crate::liveness::{self, Liveness};
use crate::marks;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::users::Users;
use engine::record::Saved;
use engine::task::TaskStatus;
use engine::wire::{Envelope, Message, Payload, Seal};
use engine::{Event, Input, Instant, MessageId, Node, NodeId, Output, TaskId, TraceId, UnixMillis};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Watches one run.
#[derive(Debug)]
pub(crate) struct Observer {
    cluster: Arc<Cluster>,
    pub(crate) trace: Trace,
    pub(crate) invariants: Vec<Box<dyn Invariant>>,
    /// What each of them is about.
    wants: Vec<Wants>,
    /// What a frame begins with that carries what is said end to end.
    routed: u8,
    liveness: Liveness,
    pub(crate) links: Links,
    pub(crate) marks: BTreeMap<&'static str, u64>,
    pub(crate) story: Story,
    pub(crate) users: Users,
    pub(crate) violation: Option<Violation>,
    /// When all was well again, if it was asked for.
    pub(crate) well_at: Option<Instant>,
}

impl Observer {
    pub(crate) fn new(scenario: &Scenario, cluster: Arc<Cluster>) -> Self {
        let nodes = cluster.len();
        let invariants = invariants::of(scenario, &cluster);
        Self {
            trace: Trace::default(),
            wants: invariants.iter().map(|invariant| invariant.wants()).collect(),
            invariants,
            routed: first_byte_of_routed(),
            cluster,
            liveness: Liveness::new(nodes),
            links: Links::new(nodes),
            marks: BTreeMap::new(),
            story: Story::default(),
            users: Users::new(scenario.workload.clone()),
            violation: None,
            well_at: None,
        }
    }

    /// Takes note of what happened to a node.
    pub(crate) fn see(&mut self, now: Instant, node: NodeIndex, fact: Fact<'_>) {
        self.trace.push(now, node, fact);
        self.hear(now, node, fact);
        let kind = match fact {
            Fact::Input(_) => Some(Wants::INPUTS),
            Fact::Output(Output::Event(_)) => Some(Wants::EVENTS),
            Fact::Output(_) => Some(Wants::OUTPUTS),
            Fact::Durable(_) | Fact::Started | Fact::Stopped => None,
        };
        if kind != Some(Wants::INPUTS) {
            self.liveness.see(&self.cluster, node, fact);
            self.links.see(&self.cluster, node, fact);
        }
        self.ask(now, Some(node), kind, |invariant| invariant.see(now, node, fact));
        if let Fact::Output(Output::Event(event)) = fact {
            *self.marks.entry(marks::name(event)).or_default() += 1;
            self.story.event(&self.cluster, now, node, event);
        }
    }

    /// Has invariants look at something: those that want its kind, or all.
    fn ask(
        &mut self,
        now: Instant,
        node: Option<NodeIndex>,
        kind: Option<Wants>,
        mut look: impl FnMut(&mut dyn Invariant) -> Result<(), String>,
    ) {
        for (invariant, wants) in self.invariants.iter_mut().zip(&self.wants) {
            if kind.is_none_or(|kind| wants.has(kind))
                && let Err(words) = look(invariant.as_mut())
            {
                let violation = Violation { invariant: invariant.name(), at: now, node, words };
                self.violation.get_or_insert(violation);
            }
        }
    }

    /// Reads what neighbours say to each other end to end, once for all that want to know.
    fn hear(&mut self, now: Instant, node: NodeIndex, fact: Fact<'_>) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only frames carry words")]
        let (frame, sent) = match fact {
            Fact::Input(Input::Frame { bytes, .. }) => (bytes, false),
            Fact::Output(Output::Send { frame, .. }) => (frame, true),
            _ => return,
        };
        if frame.first() != Some(&self.routed) {
            return;
        }
        let Ok(Message::Routed(envelope)) = Message::decode(frame) else { return };
        let end = if sent { envelope.origin } else { envelope.destination };
        if envelope.seal != Seal::None || self.cluster.find(end) != Some(node) {
            return;
        }
        let Ok(payload) = Payload::decode(&envelope.payload) else { return };
        let word = Word { sent, message: envelope.message, origin: envelope.origin, payload: &payload };
        self.ask(now, Some(node), Some(Wants::WORDS), |invariant| invariant.hear(now, node, &word));
    }

    /// Looks into a node that has handled an input.
    pub(crate) fn look(&mut self, now: Instant, node: NodeIndex, engine: &Node) {
        self.ask(now, Some(node), Some(Wants::NODES), |invariant| invariant.look(now, node, engine));
    }

    /// Takes note of what a node that starts reads from its disk.
    pub(crate) fn reopened(&mut self, now: Instant, node: NodeIndex, saved: &Saved) {
        self.ask(now, Some(node), None, |invariant| invariant.reopened(node, saved));
    }

    /// Takes note that other nodes are cut off from each other, or stalled, than before.
    pub(crate) fn network_changed(&mut self, now: Instant) {
        self.invariants.iter_mut().for_each(|invariant| invariant.network_changed(now));
    }

    /// Takes note of what happened to the world.
    pub(crate) fn tell(&mut self, now: Instant, words: String) {
        self.story.push(now, words);
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
    pub(crate) fn look_for_life(
        &mut self,
        now: Instant,
        last: bool,
        leftover: impl FnOnce() -> Option<String>,
    ) {
        let unmet = self.liveness.unmet().or_else(|| self.uninformed()).or_else(leftover);
        match unmet {
            None => {
                self.well_at.get_or_insert(now);
            }
            Some(words) => {
                self.well_at = None;
                if last {
                    let violation = Violation { invariant: liveness::NAME, at: now, node: None, words };
                    self.violation.get_or_insert(violation);
                }
            }
        }
    }

    /// Names a task that is over, and whose user was not told.
    fn uninformed(&self) -> Option<String> {
        let (task, node) = self.users.uninformed(|node| self.links.runs(node))?;
        Some(format!("the user of task {task} at n{node} does not know how it ended"))
    }

    /// Takes note of something that no node may do.
    pub(crate) fn violated(&mut self, now: Instant, node: NodeIndex, invariant: &'static str, words: String) {
        self.violation.get_or_insert(Violation { invariant, at: now, node: Some(node), words });
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
        payload: Payload::Probe.encode(),
    };
    Message::Routed(Box::new(envelope)).encode().first().copied().unwrap_or_default()
}

/// What people want to read of a run, in order.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) lines: Vec<Line>,
    pub(crate) left_out: u64,
    names: BTreeMap<TaskId, usize>,
    gone: BTreeSet<NodeId>,
}

/// One line of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// What.
    pub words: String,
}

impl Story {
    fn push(&mut self, at: Instant, words: String) {
        if self.lines.len() < STORY_LINES_MAX {
            self.lines.push(Line { at, words });
        } else {
            self.left_out += 1;
        }
    }

    /// Tasks are called by the order in which they were accepted: an id says nothing to people.
    fn task(&mut self, task: TaskId) -> String {
        let next = self.names.len() + 1;
        format!("task {}", self.names.entry(task).or_insert(next))
    }

    fn event(&mut self, cluster: &Cluster, now: Instant, node: NodeIndex, event: &Event) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the rest is no news to people")]
        let words = match event {
            Event::MemberJoined { member } => {
                if !self.gone.remove(member) {
                    return;
                }
                format!("n{node} is the first to have {} back", cluster.name(*member))
            }
            Event::MemberLeft { member } => {
                if !self.gone.insert(*member) {
                    return;
                }
                format!("n{node} is the first to miss {}", cluster.name(*member))
            }
            Event::ResultDuplicate { task, from } => {
                let task = self.task(*task);
                format!("n{node} turns down a second outcome of {task} from {}", cluster.name(*from))
            }
            Event::TaskAccepted { task, .. } => {
                self.task(*task);
                return;
            }
            Event::TaskFinished { task, status, .. } if *status != TaskStatus::Completed => {
                let task = self.task(*task);
                format!("{task} of n{node} ends as {status}")
            }
            Event::TaskReassigned { task, worker, reason } => {
                let task = self.task(*task);
                let reason = format!("{reason:?}").to_lowercase();
                format!("n{node} takes {task} back from {}: {reason}", cluster.name(*worker))
            }
            Event::TaskRecovered { task } => {
                let task = self.task(*task);
                format!("n{node} finds {task} on its disk and goes on with it")
            }
            Event::WriteFailed { error, .. } => format!("a write of n{node} failed: {error:?}"),
            _ => return,
        };
        self.push(now, words);
    }
}

const STORY_LINES_MAX: usize = 60;
