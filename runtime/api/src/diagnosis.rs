//! Recent problems of a node: with other nodes, with stored records, with the names of models.

use engine::model::ModelConflict;
use engine::observers::diagnostics::Issue;
use engine::record::RecordKind;
use engine::request::DiagnosisView;
use engine::{Fingerprint, NodeId, TaskId};
use serde::{Deserialize, Serialize};

/// Recent problems of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Nodes of the network that were discovered by mDNS.
    pub heard: u32,
    /// Recent problems with other nodes.
    pub troubles: Vec<RecentIssue>,
    /// Number of damaged records in storage.
    #[serde(default)]
    pub records_damaged: u64,
    /// The first damaged records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedRecord>,
    /// Model names that stand for different models on different nodes.
    #[serde(default)]
    pub model_conflicts: Vec<Conflict>,
}

/// A damaged record in storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedRecord {
    /// Kind of the record.
    pub kind: RecordKind,
    /// Task that the record belongs to.
    pub task: TaskId,
}

/// A model name that stands for different models on different nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The shared name.
    pub model: String,
    /// The different models.
    pub versions: Vec<ModelVersion>,
}

/// One of the models with a shared name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Fingerprint of the model.
    pub fingerprint: Fingerprint,
    /// Nodes that offer the model, ordered by id.
    pub nodes: Vec<NodeId>,
}

/// A recent problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentIssue {
    /// Time since the last occurrence.
    pub age_ms: u64,
    /// The problem.
    #[serde(flatten)]
    pub trouble: Issue,
}

impl From<DiagnosisView> for Diagnosis {
    fn from(view: DiagnosisView) -> Self {
        let recent = |(age_ms, trouble)| RecentIssue { age_ms, trouble };
        let troubles = view.issues.into_iter().map(recent).collect();
        let model_conflicts = view.conflicts.into_iter().map(Conflict::from).collect();
        Self { heard: view.heard, troubles, records_damaged: 0, damaged: Vec::new(), model_conflicts }
    }
}

impl From<ModelConflict> for Conflict {
    fn from(conflict: ModelConflict) -> Self {
        let version = |(fingerprint, nodes)| ModelVersion { fingerprint, nodes };
        Self { model: conflict.name, versions: conflict.models.into_iter().map(version).collect() }
    }
}
