//! Names of the nodes of a demo. Real nodes have none.

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

    /// Returns the name of a node, if it has one.
    pub fn name(&self, node: NodeId) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }
}
