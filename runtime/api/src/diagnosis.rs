//! Recent problems of a node: with other nodes, with stored records, with the names of models.

use engine::model::ModelConflict;
use engine::observers::diagnostics::Issue;
use engine::record::RecordKind;
use engine::request::DiagnosisView;
use engine::{Fingerprint, NodeId, TaskId};
use serde::{Deserialize, Serialize};

/// What goes wrong between this node and others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Nodes of the network that it hears by mDNS.
    pub heard: u32,
    /// What went wrong lately.
    pub troubles: Vec<RecentIssue>,
    /// How many stored records are damaged.
    #[serde(default)]
    pub records_damaged: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedRecord>,
    /// Names that nodes give to different models.
    #[serde(default)]
    pub model_conflicts: Vec<Conflict>,
}

/// A stored record that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedRecord {
    /// What it holds.
    pub kind: RecordKind,
    /// Whose.
    pub task: TaskId,
}

/// A name that nodes of the network give to different models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The name.
    pub model: String,
    /// The models that it stands for.
    pub versions: Vec<ModelVersion>,
}

/// One of the models that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Which model it is.
    pub fingerprint: Fingerprint,
    /// The nodes that have it, by id.
    pub nodes: Vec<NodeId>,
}

/// Something that went wrong lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentIssue {
    /// Time since it was last seen.
    pub age_ms: u64,
    /// What it is.
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
