//! The nodes of a timeline: one lane each.

use crate::cluster::{self, Cluster};
use crate::node_set::NodeIndex;
use engine::NodeId;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The nodes of a timeline. A simulation knows all of them; a replay learns of them from its one node.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    ids: Vec<NodeId>,
    by_id: BTreeMap<NodeId, NodeIndex>,
    by_address: BTreeMap<IpAddr, NodeIndex>,
}

impl Lanes {
    pub(super) fn of_cluster(cluster: &Cluster) -> Self {
        let nodes = 0..u32::try_from(cluster.len()).unwrap_or(u32::MAX);
        let ids: Vec<NodeId> = nodes.clone().map(|node| cluster.id(node)).collect();
        let by_id = ids.iter().filter_map(|id| Some((*id, cluster.find(*id)?))).collect();
        Self { ids, by_id, by_address: nodes.map(|node| (cluster::ip(node), node)).collect() }
    }

    /// Returns the lane of a node; adds one if there is room.
    pub(super) fn learn(&mut self, id: NodeId) -> Option<NodeIndex> {
        if let Some(node) = self.find(id) {
            return Some(node);
        }
        let node = u32::try_from(self.ids.len()).ok().filter(|&node| node < LANES_MAX)?;
        self.ids.push(id);
        self.by_id.insert(id, node);
        Some(node)
    }

    pub(super) fn find(&self, id: NodeId) -> Option<NodeIndex> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn at(&self, address: IpAddr) -> Option<NodeIndex> {
        self.by_address.get(&address).copied()
    }

    /// Returns the name of a node, or its id if it has no lane.
    pub(super) fn name(&self, id: NodeId) -> String {
        self.find(id).map_or_else(|| id.to_string(), |node| format!("n{node}"))
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.ids.iter().map(ToString::to_string).collect()
    }
}

/// The most lanes of a replay.
const LANES_MAX: u32 = 1_000;
