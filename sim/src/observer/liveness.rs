//! Some time after the last fault, every accepted task has its outcome and its user knows it. Every running node knows
//! exactly the other running nodes. No node holds resources for work that has ended.
//!
//! A task whose origin never starts again is not required to end.

use crate::cluster::Cluster;
use crate::invariant::Observation;
use crate::node_set::{NodeIndex, NodeSet};
use engine::record::Record;
use engine::request::Response;
use engine::{Event, Output, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// The liveness conditions that are not met.
#[derive(Debug)]
pub(crate) struct Liveness {
    open: BTreeMap<TaskId, NodeIndex>,
    ended: BTreeSet<TaskId>,
    nodes: Vec<View>,
    /// The protocol version of each node: the nodes of each version form a mesh of their own.
    protocols: Vec<u16>,
}

/// The members that a node knows.
#[derive(Clone, Debug, Default)]
struct View {
    running: bool,
    members: NodeSet,
}

pub(crate) const NAME: &str = "liveness";

impl Liveness {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let protocols: Vec<u16> = (0..).take(cluster.len()).map(|node| cluster.protocol(node)).collect();
        let nodes = vec![View::default(); protocols.len()];
        Self { open: BTreeMap::new(), ended: BTreeSet::new(), nodes, protocols }
    }

    pub(crate) fn observe(&mut self, cluster: &Cluster, node: NodeIndex, observation: Observation<'_>) {
        let view = &mut self.nodes[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these events concern tasks and members")]
        match observation {
            Observation::Started => *view = View { running: true, members: NodeSet::default() },
            Observation::Stopped => view.running = false,
            Observation::Output(Output::Reply { answer: Ok(Response::Submitted(task)), .. }) => {
                self.accepted(*task, node);
            }
            Observation::Durable(Record::Result(result)) => self.ended(result.summary.id),
            Observation::Output(Output::Event(event)) => match event {
                Event::MemberJoined { member } => view.set(cluster.find_member(*member), true),
                Event::MemberLeft { member } => view.set(cluster.find_member(*member), false),
                Event::TaskAccepted { task, .. } => self.accepted(*task, node),
                Event::TaskFinished { task, .. } => self.ended(*task),
                _ => {}
            },
            Observation::Durable(_) | Observation::Input(_) | Observation::Output(_) => {}
        }
    }

    fn accepted(&mut self, task: TaskId, node: NodeIndex) {
        if !self.ended.contains(&task) {
            self.open.insert(task, node);
        }
    }

    fn ended(&mut self, task: TaskId) {
        self.open.remove(&task);
        self.ended.insert(task);
    }

    /// Describes an unmet condition; `None` if all are met.
    pub(crate) fn unmet(&self) -> Option<String> {
        self.open_task().or_else(|| self.wrong_view())
    }

    /// Returns whether a running node knows another.
    pub(crate) fn knows(&self, node: NodeIndex, other: NodeIndex) -> bool {
        let view = &self.nodes[node as usize];
        view.running && view.members.contains(other)
    }

    fn open_task(&self) -> Option<String> {
        let mut open = self.open.iter().filter(|&(_, &origin)| self.nodes[origin as usize].running);
        let (task, origin) = open.next()?;
        let more = match open.count() {
            0 => String::new(),
            more => format!(", and neither have {more} others"),
        };
        Some(format!("task {task}, accepted by n{origin}, has no outcome{more}"))
    }

    fn wrong_view(&self) -> Option<String> {
        let running = || (0_u32..).zip(&self.nodes).filter(|(_, view)| view.running);
        let protocol = |node: NodeIndex| self.protocols[node as usize];
        let mut meshes: BTreeMap<u16, NodeSet> = BTreeMap::new();
        running().for_each(|(node, _)| meshes.entry(protocol(node)).or_default().set(node, true));
        running().find_map(|(node, view)| {
            let all = meshes.get(&protocol(node))?;
            let other = view.members.difference(all, node)?;
            Some(if all.contains(other) {
                format!("n{node} does not know n{other}, which runs")
            } else {
                format!("n{node} still lists n{other}, which does not run, as a member")
            })
        })
    }
}

/// Returns whether an observation concerns processes and members, rather than tasks.
pub(crate) const fn concerns_members(observation: Observation<'_>) -> bool {
    matches!(
        observation,
        Observation::Started
            | Observation::Stopped
            | Observation::Output(Output::Event(Event::MemberJoined { .. } | Event::MemberLeft { .. }))
    )
}

impl View {
    fn set(&mut self, member: Option<NodeIndex>, known: bool) {
        if let Some(member) = member {
            self.members.set(member, known);
        }
    }
}
