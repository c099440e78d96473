//! What nodes advertise about models: a name, a kind, and an identity.
//!
//! A name is not an identity: two nodes may use it for different models. Everything that must not mix two models goes
//! by the [`Fingerprint`]: the tasks of one request, the attempts at one task, cached vectors.

use crate::ids::{Fingerprint, NodeId};
use crate::task::TaskKind;
use serde::{Deserialize, Serialize};

/// A model that a node offers or is about to load.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelOffer {
    /// The name under which tasks request it.
    pub name: String,
    /// The kind of task that it computes.
    pub kind: TaskKind,
    /// Its identity; `None` while its files are still being hashed.
    pub fingerprint: Option<Fingerprint>,
}

impl ModelOffer {
    /// Tells whether this is the model of that name and kind.
    pub fn is(&self, kind: TaskKind, name: &str) -> bool {
        self.kind == kind && self.name == name
    }
}

/// A name that nodes of one network use for different models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConflict {
    /// The name.
    pub name: String,
    /// The models by fingerprint, each with the nodes that have it by id.
    pub models: Vec<(Fingerprint, Vec<NodeId>)>,
}
