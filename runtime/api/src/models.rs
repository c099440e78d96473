//! Models of a node: their status, their availability, and downloads from a hub.

use crate::diagnosis::Conflict;
use engine::Fingerprint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The models of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    /// Models of this node, ordered by name.
    pub models: Vec<ModelAvailability>,
    /// Running and recent downloads, by model name.
    pub pulls: BTreeMap<String, Pull>,
    /// Model names that stand for different models on different nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
}

/// Status of a model, and whether tasks can use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAvailability {
    /// Status of the model.
    #[serde(flatten)]
    pub status: ModelStatus,
    /// Whether tasks can use it.
    pub state: Availability,
}

/// Whether a model can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// The model is loaded.
    Loaded,
    /// The model is not offered yet because it is being loaded.
    Loading,
    /// The next task for the model loads it.
    OnDemand,
    /// The model cannot be used; its status has the reason.
    Unusable,
}

impl Availability {
    /// Decides whether a model can be used, from whether the node offers it to tasks and from its status where it runs.
    ///
    /// This is the only place that decides it; a model without a status runs elsewhere.
    pub const fn new(offered: bool, status: Option<&ModelStatus>) -> Self {
        match (status, offered) {
            (Some(status), _) if !status.is_usable() => Self::Unusable,
            (Some(status), _) if status.ready => Self::Loaded,
            (Some(_), true) => Self::OnDemand,
            (None, true) => Self::Loaded,
            (Some(_) | None, false) => Self::Loading,
        }
    }

    /// Returns the availability as tables show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "ready",
            Self::Loading => "loading",
            Self::OnDemand => "on demand",
            Self::Unusable => "not usable",
        }
    }
}

impl From<ModelStatus> for ModelAvailability {
    /// Returns the availability of a model on disk that no node runs.
    fn from(status: ModelStatus) -> Self {
        let state = Availability::new(true, Some(&status));
        Self { status, state }
    }
}

/// Request to download a model from a hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPull {
    /// Name of the model on the hub, as `owner/name`.
    pub model: String,
}

/// Status of a model on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Name of the model.
    pub name: String,
    /// Task types that the model serves.
    pub kinds: Vec<String>,
    /// Fingerprint of the model; absent while its files are being hashed or if it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Size of the model's files.
    pub bytes: u64,
    /// Path of the model, or `built in`.
    #[serde(rename = "where")]
    pub place: String,
    /// Whether the model is loaded.
    pub ready: bool,
    /// When the model was loaded; null while it is not.
    pub loaded_at: Option<String>,
    /// Memory of the worker process; null while the model is not loaded.
    pub memory_bytes: Option<u64>,
    /// Why the model cannot be used; null if it can.
    pub reason: Option<String>,
    /// What the user can do about the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ModelStatus {
    /// Returns whether the model can be used, now or once it is loaded.
    pub const fn is_usable(&self) -> bool {
        self.reason.is_none()
    }

    /// Returns the status of a model with only its name known.
    pub fn from_name(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kinds: Vec::new(),
            fingerprint: None,
            bytes: 0,
            place: "-".to_owned(),
            ready: false,
            loaded_at: None,
            memory_bytes: None,
            reason: None,
            hint: None,
        }
    }
}

/// A download of a model from a hub, running or recent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// State of the download.
    pub state: PullState,
    /// Bytes on this machine.
    pub bytes_done: u64,
    /// Size of the model; 0 until it is known.
    pub bytes_total: u64,
    /// The last error, which a running download retries.
    pub reason: Option<String>,
    /// The stable error id of a failed download.
    pub code: Option<String>,
    /// What the user can do about the failure.
    pub hint: Option<String>,
}

/// State of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullState {
    /// The model is on this machine.
    Done,
    /// The download failed.
    Failed,
    /// The download is in progress.
    Running,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn availability_follows_from_the_offer_and_the_status() {
        let idle = ModelStatus::from_name("m");
        let loaded = ModelStatus { ready: true, ..idle.clone() };
        let broken = ModelStatus { reason: Some("its files are damaged".to_owned()), ..loaded.clone() };
        for (status, offered, expected) in [
            (Some(&broken), true, Availability::Unusable),
            (Some(&broken), false, Availability::Unusable),
            (Some(&loaded), true, Availability::Loaded),
            (Some(&loaded), false, Availability::Loaded),
            (Some(&idle), true, Availability::OnDemand),
            (Some(&idle), false, Availability::Loading),
            (None, true, Availability::Loaded),
            (None, false, Availability::Loading),
        ] {
            assert_eq!(Availability::new(offered, status), expected, "{status:?}, offered: {offered}");
        }
    }
}
