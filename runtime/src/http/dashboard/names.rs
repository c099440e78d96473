//! Names that a demo gives its nodes. Real nodes have those of their adverts.

use api::dashboard::MeshNode;
use engine::NodeId;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// Names by node.
#[derive(Debug, Default)]
pub struct Names(RwLock<BTreeMap<NodeId, String>>);

impl Names {
    /// Names a node.
    pub fn set(&self, node: NodeId, name: String) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(node, name);
    }

    /// Sets the names of these nodes.
    pub(super) fn give(&self, nodes: &mut BTreeMap<NodeId, MeshNode>) {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (id, name) in names.iter() {
            if let Some(node) = nodes.get_mut(id) {
                node.name = Some(name.clone());
            }
        }
    }
}
