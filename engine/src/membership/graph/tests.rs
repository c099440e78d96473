//! On any map, the paths are shortest, and following them from node to node reaches the destination.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use super::Graph;
use crate::ids::NodeId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Who is linked to whom, both ways.
type Links = BTreeMap<u8, BTreeSet<u8>>;

fn id(node: u8) -> NodeId {
    NodeId([node; 16])
}

fn neighbours(links: &Links, node: u8) -> Vec<NodeId> {
    links[&node].iter().map(|&other| id(other)).collect()
}

/// Each node's map of the same mesh, as seen from itself.
fn maps(links: &Links) -> BTreeMap<NodeId, Graph> {
    let of = |&me: &u8| {
        let mut graph = Graph::default();
        for &other in links.keys().filter(|&&other| other != me) {
            graph.insert(id(other), &neighbours(links, other).into());
        }
        graph.refresh(&neighbours(links, me));
        (id(me), graph)
    };
    links.keys().map(of).collect()
}

/// The lengths of the shortest paths between all pairs, by Floyd and Warshall.
fn distances(links: &Links) -> BTreeMap<(u8, u8), u32> {
    let mut far = BTreeMap::new();
    for (&a, others) in links {
        far.insert((a, a), 0);
        far.extend(others.iter().map(|&b| ((a, b), 1)));
    }
    for &via in links.keys() {
        for &a in links.keys() {
            for &b in links.keys() {
                let (Some(first), Some(second)) = (far.get(&(a, via)), far.get(&(via, b))) else { continue };
                let length = first + second;
                let known = far.entry((a, b)).or_insert(length);
                *known = length.min(*known);
            }
        }
    }
    far
}

proptest! {
    #[test]
    fn paths_are_shortest_and_never_lead_in_a_circle(
        nodes in 2u8..24,
        pairs in proptest::collection::vec((0u8..24, 0u8..24), 0..60),
    ) {
        let mut links: Links = (0..nodes).map(|node| (node, BTreeSet::new())).collect();
        for (a, b) in pairs {
            let (a, b) = (a % nodes, b % nodes);
            if a != b {
                links.get_mut(&a).unwrap().insert(b);
                links.get_mut(&b).unwrap().insert(a);
            }
        }
        let (maps, far) = (maps(&links), distances(&links));
        for &from in links.keys() {
            for &to in links.keys().filter(|&&to| to != from) {
                let promised = maps[&id(from)].path(id(to)).map(|(_, length)| length);
                prop_assert_eq!(promised, far.get(&(from, to)).copied(), "{} to {}", from, to);
                let Some(length) = promised else { continue };
                let mut at = id(from);
                for _ in 0..length {
                    at = maps[&at].path(id(to)).unwrap().0;
                }
                prop_assert_eq!(at, id(to), "{} to {} in {} steps", from, to, length);
            }
        }
    }
}
