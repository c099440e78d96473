//! What sees everything that happens in a simulated world, and says what it amounts to: the trace, the
//! invariants, whether all ends well, and the story for people to read. It feeds nothing back.

use crate::cluster::{Cluster, NodeIndex};
use crate::invariants::links::Links;
use crate::invariants::{self, Fact, Invariant, Violation};
use crate::liveness::{self, Liveness};
use crate::marks;
use crate::scenario::{Scenario, Standing};
use crate::trace::Trace;
use crate::users::Users;
use engine::task::TaskStatus;
use engine::{Event, Instant, NodeId, Output, TaskId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Watches one run.
#[derive(Debug)]
pub(crate) struct Observer {
    cluster: Arc<Cluster>,
    pub(crate) trace: Trace,
    pub(crate) invariants: Vec<Box<dyn Invariant>>,
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
        Self {
            trace: Trace::default(),
            invariants: invariants::of(scenario, &cluster),
            liveness: Liveness::new(&cluster),
            cluster,
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
        let standing = self.cluster.standing(node);
        if matches!(fact, Fact::Input(_)) || standing == Standing::Hostile {
            // No property is about inputs alone, or about what a liar says.
            return;
        }
        if standing == Standing::Member {
            self.liveness.see(&self.cluster, node, fact);
            self.links.see(&self.cluster, node, fact);
        }
        for invariant in self.invariants.iter_mut().filter(|invariant| invariant.is_about(standing)) {
            if let Err(words) = invariant.see(now, node, fact) {
                let violation = Violation { invariant: invariant.name(), at: now, node: Some(node), words };
                self.violation.get_or_insert(violation);
            }
        }
        if let Fact::Output(Output::Event(event)) = fact {
            self.mark(marks::name(event));
            self.story.event(&self.cluster, now, node, event);
        }
    }

    /// Takes note that other nodes are cut off from each other, or stalled, than before.
    pub(crate) fn network_changed(&mut self, now: Instant) {
        self.invariants.iter_mut().for_each(|invariant| invariant.network_changed(now));
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

    /// Looks whether all is well, some time after the network was healed; at the last time of asking it must.
    pub(crate) fn look_for_life(&mut self, now: Instant, last: bool) {
        match self.liveness.unmet() {
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

    /// Takes note of something that no node may do.
    pub(crate) fn violated(&mut self, now: Instant, node: NodeIndex, invariant: &'static str, words: String) {
        self.violation.get_or_insert(Violation { invariant, at: now, node: Some(node), words });
    }
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
