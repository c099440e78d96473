//! How nodes are called on the screen.

use crate::client::Client;
use crate::error::Failure;
use api::Members;
use engine::{NodeId, NodeName};
use std::collections::BTreeMap;

/// Returns the name of a node with its id, or only the id.
pub(super) fn named(name: &NodeName, id: NodeId) -> String {
    if name.is_empty() { id.to_string() } else { format!("{name} ({id})") }
}

/// Returns the name of a node, or the start of its id.
pub(super) fn label(name: &NodeName, id: NodeId) -> String {
    if name.is_empty() { short(id) } else { name.to_string() }
}

/// Returns the start of the id of a node.
pub(super) fn short(id: NodeId) -> String {
    id.to_string().chars().take(SHORT_CHARS).collect()
}

/// The names of the nodes of a network.
#[derive(Debug, Default)]
pub(super) struct NodeNames(BTreeMap<NodeId, NodeName>);

impl NodeNames {
    /// Asks a node for the names of the members, also of those that left lately.
    pub(super) async fn fetch(client: &Client) -> Result<Self, Failure> {
        Ok(client.get::<Members>("/api/v1/members").await?.into())
    }

    /// Returns a short label of a node: its name, with the start of its id if another one has the same name. Without a
    /// name it is the start of the id.
    pub(super) fn label(&self, id: NodeId) -> String {
        let Some(name) = self.0.get(&id).filter(|name| !name.is_empty()) else { return short(id) };
        let shared = self.0.iter().any(|(other, its)| *other != id && its == name);
        if shared { format!("{name} ({})", short(id)) } else { name.to_string() }
    }

    /// Returns the name of a node with its id.
    pub(super) fn named(&self, id: NodeId) -> String {
        self.0.get(&id).map_or_else(|| named(&NodeName::default(), id), |name| named(name, id))
    }
}

impl From<Members> for NodeNames {
    fn from(Members { members, former }: Members) -> Self {
        former.into_iter().chain(members).map(|member| (member.id, member.name)).collect()
    }
}

impl FromIterator<(NodeId, NodeName)> for NodeNames {
    fn from_iter<I: IntoIterator<Item = (NodeId, NodeName)>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

/// Characters of an id that are shown.
pub(super) const SHORT_CHARS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_name_unless_it_could_be_another_node() {
        let name = |text: &str| NodeName::new(text).unwrap();
        let [one, two, three, four] = [1, 2, 3, 4].map(|id| NodeId([id; 16]));
        let names: NodeNames =
            [(one, name("cedar")), (two, name("birch")), (three, name("birch")), (four, name(""))]
                .into_iter()
                .collect();
        assert_eq!(names.label(one), "cedar");
        assert_eq!(names.label(two), "birch (02020202)");
        assert_eq!(names.label(four), "04040404");
        assert_eq!(names.label(NodeId([9; 16])), "09090909");
        assert_eq!(names.named(one), format!("cedar ({one})"));
        assert_eq!(names.named(four), four.to_string());
    }
}
