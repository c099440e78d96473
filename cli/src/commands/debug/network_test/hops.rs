//! The number of links between each two members, from the links that they advertise.

use crate::commands::node_names;
use api::Member;
use engine::NodeId;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// A square matrix, with a row and a column for each member.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct HopMatrix {
    nodes: Vec<NodeId>,
    /// Links between the node of the row and that of the column; null if there is no path.
    hops: Vec<Vec<Option<u32>>>,
}

impl HopMatrix {
    pub(super) fn new(members: &[Member]) -> Self {
        let nodes: Vec<NodeId> = members.iter().map(|member| member.id).collect();
        let places: BTreeMap<NodeId, usize> =
            nodes.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        let links: Vec<Vec<usize>> = members
            .iter()
            .map(|member| member.links.iter().filter_map(|id| places.get(id).copied()).collect())
            .collect();
        let hops = (0..nodes.len()).map(|from| distances(&links, from)).collect();
        Self { nodes, hops }
    }

    /// Returns the matrix as text, unless it has more columns.
    pub(super) fn text(&self, columns: usize) -> Option<String> {
        if (self.nodes.len() + 1) * (node_names::SHORT_CHARS + 2) > columns {
            return None;
        }
        let cell = |hops: &Option<u32>| hops.map_or_else(|| "-".to_owned(), |hops| hops.to_string());
        let heading =
            std::iter::once(String::new()).chain(self.nodes.iter().copied().map(node_names::short)).collect();
        let rows = self.nodes.iter().zip(&self.hops).map(|(node, hops)| {
            std::iter::once(node_names::short(*node)).chain(hops.iter().map(cell)).collect::<Vec<String>>()
        });
        let line = |cells: Vec<String>| {
            let cells: Vec<String> =
                cells.iter().map(|cell| format!("{cell:width$}", width = node_names::SHORT_CHARS)).collect();
            format!("{}\n", cells.join("  ").trim_end())
        };
        Some(std::iter::once(heading).chain(rows).map(line).collect())
    }
}

/// Returns the number of links to each place (breadth-first).
fn distances(links: &[Vec<usize>], from: usize) -> Vec<Option<u32>> {
    let mut found = vec![None; links.len()];
    let mut next = VecDeque::from([(from, 0)]);
    while let Some((place, hops)) = next.pop_front() {
        if found[place].is_none() {
            found[place] = Some(hops);
            next.extend(links[place].iter().map(|to| (*to, hops + 1)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_nodes_has_longer_ways_at_its_ends() {
        let member = |id: u8, links: &[u8]| Member {
            links: links.iter().map(|id| NodeId([*id; 16])).collect(),
            ..Member::new(NodeId([id; 16]), engine::NodeName::default())
        };
        // Node 9 is no member, and node 4 has no link.
        let matrix =
            HopMatrix::new(&[member(1, &[2, 9]), member(2, &[1, 3]), member(3, &[2]), member(4, &[])]);
        assert_eq!(matrix.hops[0], [Some(0), Some(1), Some(2), None]);
        insta::assert_snapshot!(matrix.text(80).unwrap());
        assert_eq!(matrix.text(49), None);
    }
}
