//! The narrative of a run for people: what happened to tasks and members, in order.

use crate::cluster::Cluster;
use crate::node_set::NodeIndex;
use engine::task::TaskStatus;
use engine::{Event, Instant, NodeId, PeerFault, TaskId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The lines that people read about a run, in order.
#[derive(Debug, Default)]
pub(crate) struct Narrative {
    pub(crate) lines: Vec<Line>,
    pub(crate) left_out: u64,
    names: BTreeMap<TaskId, usize>,
    gone: BTreeSet<NodeId>,
}

/// One line of a narrative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When it happened.
    pub at: Instant,
    /// What happened.
    #[serde(rename = "words")]
    pub text: String,
}

impl Narrative {
    pub(super) fn push(&mut self, at: Instant, text: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(Line { at, text });
        } else {
            self.left_out += 1;
        }
    }

    /// Returns the number by which a task is called.
    pub(crate) fn number(&self, task: TaskId) -> Option<usize> {
        self.names.get(&task).copied()
    }

    /// Tasks are numbered in the order of acceptance, because an id means nothing to people.
    fn task(&mut self, task: TaskId) -> String {
        let next = self.names.len() + 1;
        format!("task {}", self.names.entry(task).or_insert(next))
    }

    pub(super) fn event(&mut self, cluster: &Cluster, now: Instant, node: NodeIndex, event: &Event) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other events are not part of the narrative")]
        let text = match event {
            Event::BlobFetched { bytes, peers, .. } => {
                format!("n{node} has fetched a file of {bytes} bytes, from {peers} nodes")
            }
            Event::FetchFailed { error } => format!("n{node} cannot fetch a file: {error}"),
            Event::PeerFault { peer, fault: PeerFault::PieceForged } => {
                format!("n{node} got an invalid piece of a file from {}", cluster.name(*peer))
            }
            Event::MemberJoined { member } => {
                if !self.gone.remove(member) {
                    return;
                }
                format!("n{node} is the first to list {} again", cluster.name(*member))
            }
            Event::AlertCleared { rule, value, .. } => {
                format!("n{node} clears {rule}: {}", rule.describe(*value))
            }
            Event::AlertRaised { rule, severity, value, threshold } => {
                let said = rule.describe_crossing(*value, *threshold);
                format!("n{node} raises {severity} {rule}: {said}")
            }
            Event::MemberLeft { member } => {
                if !self.gone.insert(*member) {
                    return;
                }
                format!("n{node} is the first to drop {} from its members", cluster.name(*member))
            }
            Event::ResultDuplicate { task, from, .. } => {
                let task = self.task(*task);
                format!("n{node} rejects a second outcome of {task} from {}", cluster.name(*from))
            }
            Event::TaskAccepted { task, .. } => {
                self.task(*task);
                return;
            }
            Event::TaskFinished { task, status, .. } if *status != TaskStatus::Completed => {
                let task = self.task(*task);
                format!("{task} of n{node} ends as {status}")
            }
            Event::TaskReassigned { task, worker, reason, .. } => {
                let task = self.task(*task);
                let reason = format!("{reason:?}").to_lowercase();
                format!("n{node} takes {task} back from {}: {reason}", cluster.name(*worker))
            }
            Event::TaskRecovered { task, .. } => {
                let task = self.task(*task);
                format!("n{node} recovers {task} from its disk")
            }
            Event::WriteFailed { error, .. } => format!("a write of n{node} failed: {error:?}"),
            _ => return,
        };
        self.push(now, text);
    }
}

const LINES_MAX: usize = 60;
