//! What nodes tell each other about models: a name, what it does, and which model it is.
//!
//! A name is not an identity: two nodes may give it to different models. Everything that must not mix two models (the
//! tasks of one request, the attempts of one task, cached vectors) goes by the [`Fingerprint`].

use crate::ids::{Fingerprint, NodeId};
use crate::task::TaskKind;
use serde::{Deserialize, Serialize};

/// A model that a node runs, or is about to load.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelOffer {
    /// The name under which tasks ask for it.
    pub name: String,
    /// What it does.
    pub kind: TaskKind,
    /// Which model it is; `None` while its files are still being hashed.
    pub fingerprint: Option<Fingerprint>,
}

impl ModelOffer {
    /// Tells whether this is the model of that name and kind.
    pub fn is(&self, kind: TaskKind, name: &str) -> bool {
        self.kind == kind && self.name == name
    }
}

/// A name that nodes of one network give to different models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConflict {
    /// The name.
    pub name: String,
    /// The models, by fingerprint, and the nodes that have each, by id.
    pub models: Vec<(Fingerprint, Vec<NodeId>)>,
}

/// Which model a task is for, beyond its name. It is chosen once, so that every attempt is computed by the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelChoice {
    /// The model.
    pub fingerprint: Fingerprint,
    /// Whether other tasks of the same request rely on the choice: then no other model will do.
    pub required: bool,
}
