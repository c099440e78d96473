//! The models of a node, and those that it is fetching.

use crate::diagnosis::Conflict;
use engine::Fingerprint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The models of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    /// Those that are here, by their names.
    pub models: Vec<ModelAvailability>,
    /// Those that are being fetched or were lately.
    pub pulls: BTreeMap<String, Pull>,
    /// Names that nodes of the network give to different models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
}

/// How a model stands, and what that means for whoever has a task for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAvailability {
    /// How it stands.
    #[serde(flatten)]
    pub status: ModelStatus,
    /// What that means.
    pub state: Availability,
}

/// Whether a model can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// It is loaded.
    Loaded,
    /// It is being loaded.
    Loading,
    /// Its next task loads it.
    OnDemand,
    /// It cannot be used.
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

    /// Returns the state in words.
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
    /// Tells how a model stands that nothing runs yet.
    fn from(status: ModelStatus) -> Self {
        let state = Availability::new(true, Some(&status));
        Self { status, state }
    }
}

/// A model to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPull {
    /// Its name on the hub.
    pub model: String,
}

/// How a model stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// What it can do.
    pub kinds: Vec<String>,
    /// Which model it is; `None` while its files are being hashed, and where it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The size of its files.
    pub bytes: u64,
    /// Where it is.
    #[serde(rename = "where")]
    pub place: String,
    /// Whether it is loaded.
    pub ready: bool,
    /// When it was loaded, ISO 8601.
    pub loaded_at: Option<String>,
    /// What its worker occupies.
    pub memory_bytes: Option<u64>,
    /// Why it cannot be used, if that is so.
    pub reason: Option<String>,
    /// What to do about that, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ModelStatus {
    /// Returns whether the model can be used, now or once it is loaded.
    pub const fn is_usable(&self) -> bool {
        self.reason.is_none()
    }

    /// What is known of a model that is nothing but a name.
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

/// A model that is being fetched, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// How it stands.
    pub state: PullState,
    /// Bytes of it that are on this machine.
    pub bytes_done: u64,
    /// Its size; 0 until that is known.
    pub bytes_total: u64,
    /// What goes wrong, or went.
    pub reason: Option<String>,
    /// The stable name of what went wrong.
    pub code: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How a pull stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullState {
    /// The model is here.
    Done,
    /// It is not, and nobody is fetching it.
    Failed,
    /// It is being fetched.
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
