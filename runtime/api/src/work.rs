//! What a node computes, for itself and for others.

use engine::request::{AttemptView, OriginWorkView, WorkView};
use engine::task::TaskKind;
use engine::{NodeId, NodeName, TaskId};
use serde::{Deserialize, Serialize};

/// What a node computes now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Maximum number of inference jobs that the node runs at the same time.
    pub slots: u32,
    /// Inference jobs that run. One job may compute the attempts of several tasks.
    pub slots_busy: u32,
    /// Attempts by the node that accepted their tasks: this node first.
    pub origins: Vec<OriginWork>,
}

/// What a node computes for one origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginWork {
    /// Id of the origin.
    pub id: NodeId,
    /// Name of the origin; absent if it is not known.
    #[serde(default, skip_serializing_if = "NodeName::is_empty")]
    pub name: NodeName,
    /// Attempts that run.
    pub running: u32,
    /// Attempts that wait for a slot or for their model.
    pub queued: u32,
    /// Time since the start of the oldest running attempt; absent if none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_ms: Option<u64>,
}

/// The attempts that a node runs or has queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// Maximum number of inference jobs that the node runs at the same time.
    pub slots: u32,
    /// Inference jobs that run.
    pub slots_busy: u32,
    /// The attempts: those for this node first, then by origin.
    pub attempts: Vec<Attempt>,
}

/// An attempt at a task on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Id of the node that accepted the task.
    pub origin: NodeId,
    /// Name of that node; absent if it is not known.
    #[serde(default, skip_serializing_if = "NodeName::is_empty")]
    pub origin_name: NodeName,
    /// Id of the task.
    pub task: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Task type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Name of the model.
    pub model: String,
    /// Time from the arrival of the attempt to its start, or until now.
    pub queued_ms: u64,
    /// Time since the start of the attempt; absent if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_ms: Option<u64>,
}

impl From<WorkView> for Work {
    fn from(view: WorkView) -> Self {
        let WorkView { slots, slots_busy, origins } = view;
        Self { slots, slots_busy, origins: origins.into_iter().map(OriginWork::from).collect() }
    }
}

impl From<OriginWorkView> for OriginWork {
    fn from(view: OriginWorkView) -> Self {
        let OriginWorkView { node_id, name, running, queued, running_millis } = view;
        Self { id: node_id, name, running, queued, running_ms: running_millis }
    }
}

impl From<AttemptView> for Attempt {
    fn from(view: AttemptView) -> Self {
        Self {
            origin: view.origin,
            origin_name: view.origin_name,
            task: view.task,
            attempt: view.attempt,
            kind: view.kind,
            model: view.model,
            queued_ms: view.queued_millis,
            running_ms: view.running_millis,
        }
    }
}
