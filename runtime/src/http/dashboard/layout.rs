//! Places of the nodes in the picture of the mesh.
//!
//! A force layout after Fruchterman and Reingold: all nodes repel each other, links attract, and a weak spring holds each
//! node near a place that follows from its id alone. There is no randomness: the first layout depends only on the nodes
//! and links. Later ones begin at the places before, so that nodes that stay hardly move.
//!
//! A large mesh is first divided into groups of near nodes. Then only the groups are laid out, and the nodes of a group
//! lie on a spiral around its centre.
//!
//! T. M. J. Fruchterman, E. M. Reingold: Graph Drawing by Force-Directed Placement (1991).

use engine::NodeId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The places of all nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// The place of each node, 0 to 1 in both directions.
    pub(super) places: BTreeMap<NodeId, Place>,
    /// The group of each node, as an index; empty if the mesh is small.
    pub(super) members: BTreeMap<NodeId, u32>,
    pub(super) groups: Vec<Group>,
    edges: BTreeSet<(NodeId, NodeId)>,
}

/// A place, 0 to 1 from the left and from the top.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A group of near nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Group {
    /// The node that the group grew from.
    pub(super) seed: NodeId,
    pub(super) place: Place,
    pub(super) radius: f64,
    pub(super) nodes: u32,
}

impl Layout {
    /// Updates the places after a change. `edges` join nodes of `nodes`. Returns whether a place changed.
    pub(super) fn update(&mut self, nodes: &BTreeSet<NodeId>, edges: &BTreeSet<(NodeId, NodeId)>) -> bool {
        if self.places.keys().eq(nodes) && self.edges == *edges {
            return false;
        }
        let before = std::mem::take(self);
        if nodes.len() <= UNGROUPED_MAX {
            self.places = arrange(nodes, edges, &before.places);
        } else {
            self.arrange_groups(nodes, edges, &before);
        }
        self.edges.clone_from(edges);
        self.places != before.places
    }

    fn arrange_groups(
        &mut self,
        nodes: &BTreeSet<NodeId>,
        edges: &BTreeSet<(NodeId, NodeId)>,
        before: &Self,
    ) {
        let group_of = group(nodes, edges);
        let seeds: BTreeSet<NodeId> = group_of.values().copied().collect();
        let joined: BTreeSet<(NodeId, NodeId)> = edges
            .iter()
            .map(|(a, b)| (group_of[a], group_of[b]))
            .filter(|(a, b)| a != b)
            .map(|(a, b)| (a.min(b), a.max(b)))
            .collect();
        let before: BTreeMap<NodeId, Place> =
            before.groups.iter().map(|group| (group.seed, group.place)).collect();
        let centres = arrange(&seeds, &joined, &before);
        let mut members: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for (node, seed) in &group_of {
            members.entry(*seed).or_default().push(*node);
        }
        for ((seed, place), index) in centres.into_iter().zip(0..) {
            let inside = &members[&seed];
            let radius = GROUP_AREA * (inside.len() as f64 / nodes.len() as f64).sqrt();
            for (node, at) in inside.iter().zip(0_u32..) {
                // A spiral with the golden angle fills a disc evenly.
                let (angle, share) = (f64::from(at) * GOLDEN_ANGLE, f64::from(at) + 0.5);
                let distance = radius * (share / inside.len() as f64).sqrt();
                let shifted =
                    Place { x: place.x + distance * angle.cos(), y: place.y + distance * angle.sin() };
                self.places.insert(*node, shifted.inside());
                self.members.insert(*node, index);
            }
            let nodes = u32::try_from(inside.len()).unwrap_or(u32::MAX);
            self.groups.push(Group { seed, place, radius, nodes });
        }
    }
}

impl Place {
    /// Returns the place of a node without links, which follows from its id.
    fn of(node: NodeId) -> Self {
        let hash = blake3::hash(&node.0);
        let part = |at: usize| {
            let bytes: [u8; 4] = std::array::from_fn(|byte| hash.as_bytes()[at + byte]);
            f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
        };
        // Evenly in a disc.
        let (angle, distance) = (part(0) * std::f64::consts::TAU, part(4).sqrt() * HOME_RADIUS);
        Self { x: 0.5 + distance * angle.cos(), y: 0.5 + distance * angle.sin() }
    }

    fn inside(self) -> Self {
        Self { x: self.x.clamp(MARGIN, 1.0 - MARGIN), y: self.y.clamp(MARGIN, 1.0 - MARGIN) }
    }
}

/// Lays out nodes, from the places that they had before.
fn arrange(
    nodes: &BTreeSet<NodeId>,
    edges: &BTreeSet<(NodeId, NodeId)>,
    before: &BTreeMap<NodeId, Place>,
) -> BTreeMap<NodeId, Place> {
    let index: BTreeMap<NodeId, usize> = nodes.iter().copied().zip(0..).collect();
    let mut neighbours = vec![Vec::new(); nodes.len()];
    for (a, b) in edges {
        if let (Some(a), Some(b)) = (index.get(a), index.get(b)) {
            neighbours[*a].push(*b);
            neighbours[*b].push(*a);
        }
    }
    let homes: Vec<Place> = nodes.iter().map(|node| Place::of(*node)).collect();
    let stays: Vec<bool> = nodes.iter().map(|node| before.contains_key(node)).collect();
    let mut places: Vec<Place> = Vec::with_capacity(nodes.len());
    let ids: Vec<NodeId> = nodes.iter().copied().collect();
    for (at, node) in ids.iter().enumerate() {
        let near = neighbours[at].iter().filter_map(|near| before.get(&ids[*near]));
        let (sum, count) = near.fold((Place::default(), 0.0), |(sum, count), place| {
            (Place { x: sum.x + place.x, y: sum.y + place.y }, count + 1.0)
        });
        places.push(match before.get(node) {
            Some(place) => *place,
            // Between its home and its neighbours.
            None if count > 0.0 => {
                Place { x: (homes[at].x + sum.x / count) / 2.0, y: (homes[at].y + sum.y / count) / 2.0 }
            }
            None => homes[at],
        });
    }
    let known = stays.iter().filter(|stays| **stays).count();
    let (rounds, step) = if known * 2 > nodes.len() { (ROUNDS_LATER, STEP_LATER) } else { (ROUNDS, STEP) };
    for round in 0..rounds {
        let temperature = step * (1.0 - f64::from(round) / f64::from(rounds));
        push(&mut places, &homes, &neighbours, |at| {
            // A node that was there before gives way, but slowly.
            if stays[at] { temperature * STAY_SHARE } else { temperature }
        });
    }
    ids.into_iter().zip(places).collect()
}

/// Moves each place once, by at most what `limit` says.
fn push(places: &mut [Place], homes: &[Place], neighbours: &[Vec<usize>], limit: impl Fn(usize) -> f64) {
    let ideal = SPREAD / (places.len() as f64).sqrt();
    let forces: Vec<Place> = (0..places.len())
        .map(|at| {
            let own = places[at];
            let mut force = Place {
                x: (homes[at].x - own.x) * HOME_PULL + (0.5 - own.x) * CENTRE_PULL,
                y: (homes[at].y - own.y) * HOME_PULL + (0.5 - own.y) * CENTRE_PULL,
            };
            for (other, place) in places.iter().enumerate().filter(|(other, _)| *other != at) {
                let (mut x, mut y) = (own.x - place.x, own.y - place.y);
                if x == 0.0 && y == 0.0 {
                    // Two nodes at one place part in a fixed direction.
                    (x, y) = if at < other { (TINY, TINY) } else { (-TINY, -TINY) };
                }
                let squared = (x * x + y * y).max(TINY * TINY);
                let strength = ideal * ideal / squared;
                force.x += x * strength;
                force.y += y * strength;
            }
            let degree = neighbours[at].len() as f64;
            for near in &neighbours[at] {
                let (x, y) = (own.x - places[*near].x, own.y - places[*near].y);
                // Nodes with many links would collapse into a point, so each of their links pulls less.
                let shared = (degree * neighbours[*near].len() as f64).sqrt();
                let strength = (x * x + y * y).sqrt() / ideal / shared;
                force.x -= x * strength;
                force.y -= y * strength;
            }
            force
        })
        .collect();
    for (at, force) in forces.into_iter().enumerate() {
        let length = (force.x * force.x + force.y * force.y).sqrt();
        if length > 0.0 {
            let share = limit(at).min(length) / length;
            let moved = Place { x: places[at].x + force.x * share, y: places[at].y + force.y * share };
            places[at] = moved.inside();
        }
    }
}

/// Assigns each node to the nearest seed. About one node in √n is a seed: those with the smallest hashes, so that a node
/// that comes or goes rarely changes the seeds.
fn group(nodes: &BTreeSet<NodeId>, edges: &BTreeSet<(NodeId, NodeId)>) -> BTreeMap<NodeId, NodeId> {
    let mut neighbours: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (a, b) in edges {
        neighbours.entry(*a).or_default().push(*b);
        neighbours.entry(*b).or_default().push(*a);
    }
    let count = (nodes.len() as f64).sqrt() as usize;
    // A power of two, so that a few nodes more or less change nothing.
    let count = count.next_power_of_two().clamp(1, GROUPS_MAX);
    let mut by_hash: Vec<_> = nodes.iter().map(|node| (*blake3::hash(&node.0).as_bytes(), *node)).collect();
    by_hash.sort_unstable();
    let mut seeds = by_hash.into_iter().map(|(_, node)| node);
    let mut found: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let mut queue: VecDeque<NodeId> = seeds.by_ref().take(count).collect();
    found.extend(queue.iter().map(|seed| (*seed, *seed)));
    let mut last = queue.back().copied();
    loop {
        while let Some(node) = queue.pop_front() {
            let seed = found[&node];
            for near in neighbours.get(&node).into_iter().flatten() {
                if !found.contains_key(near) {
                    found.insert(*near, seed);
                    queue.push_back(*near);
                }
            }
        }
        // A part of the mesh without a seed joins the last group.
        let Some(alone) = nodes.iter().find(|node| !found.contains_key(node)) else { return found };
        let seed = *last.get_or_insert(*alone);
        found.insert(*alone, seed);
        queue.push_back(*alone);
    }
}

/// Largest mesh without groups.
const UNGROUPED_MAX: usize = 300;
const GROUPS_MAX: usize = 64;
/// Share of the picture that a group of all nodes would take, as a radius.
const GROUP_AREA: f64 = 0.4;
/// 2π (1 − 1/φ)
const GOLDEN_ANGLE: f64 = 2.399_963_229_728_653;
const MARGIN: f64 = 0.04;
const HOME_RADIUS: f64 = 0.4;
const HOME_PULL: f64 = 0.04;
const CENTRE_PULL: f64 = 0.05;
/// Distance between two nodes, in √n.
const SPREAD: f64 = 0.55;
/// Distance of two nodes that are at the same place.
const TINY: f64 = 1e-4;
/// Rounds of a new layout, and how far a node may move in the first.
const ROUNDS: u32 = 80;
const STEP: f64 = 0.1;
/// The same for the change of a layout.
const ROUNDS_LATER: u32 = 12;
const STEP_LATER: f64 = 0.04;
const STAY_SHARE: f64 = 0.15;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        NodeId(id)
    }

    fn edge(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
        (a.min(b), a.max(b))
    }

    fn nodes(count: usize) -> BTreeSet<NodeId> {
        (0..count).map(node).collect()
    }

    /// Each node has links with the next ones on a ring, and with a far one.
    fn mesh(count: usize) -> BTreeSet<(NodeId, NodeId)> {
        let near = (0..count).flat_map(|at| (1..=3).map(move |far| (at, (at + far) % count)));
        let far = (0..count).map(|at| (at, (at * 7 + 13) % count));
        near.chain(far).filter(|(a, b)| a != b).map(|(a, b)| edge(node(a), node(b))).collect()
    }

    fn full(count: usize) -> BTreeSet<(NodeId, NodeId)> {
        (0..count).flat_map(|a| (0..a).map(move |b| edge(node(a), node(b)))).collect()
    }

    fn layout(count: usize, edges: &BTreeSet<(NodeId, NodeId)>) -> Layout {
        let mut layout = Layout::default();
        assert!(layout.update(&nodes(count), edges));
        layout
    }

    fn distance(a: Place, b: Place) -> f64 {
        ((a.x - b.x).powi(2) + (a.y - b.y).powi(2)).sqrt()
    }

    /// Returns the smallest distance of two nodes, and the extent of the picture.
    fn measure(layout: &Layout) -> (f64, f64) {
        let places: Vec<Place> = layout.places.values().copied().collect();
        assert!(places.iter().all(|place| (0.0..=1.0).contains(&place.x) && (0.0..=1.0).contains(&place.y)));
        let pairs = || (0..places.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let distances = || pairs().map(|(a, b)| distance(places[a], places[b]));
        (distances().fold(f64::MAX, f64::min), distances().fold(0.0, f64::max))
    }

    #[test]
    fn nodes_fill_the_picture_without_touching() {
        for (count, edges) in [
            (2, full(2)),
            (5, full(5)),
            (5, BTreeSet::new()),
            (50, full(50)),
            (50, mesh(50)),
            (300, mesh(300)),
        ] {
            let layout = layout(count, &edges);
            assert!(layout.groups.is_empty());
            let (nearest, extent) = measure(&layout);
            let wanted = 0.15 / (count as f64).sqrt();
            assert!(nearest > wanted, "{count} nodes, {} links: {nearest} > {wanted}", edges.len());
            assert!(extent > 0.25, "{count} nodes, {} links: {extent}", edges.len());
        }
    }

    #[test]
    fn a_layout_follows_from_its_nodes_and_links() {
        assert_eq!(layout(50, &mesh(50)), layout(50, &mesh(50)));
        assert_eq!(layout(1_000, &mesh(1_000)), layout(1_000, &mesh(1_000)));
        let mut same = layout(50, &mesh(50));
        assert!(!same.update(&nodes(50), &mesh(50)));
        let mut empty = Layout::default();
        assert!(!empty.update(&BTreeSet::new(), &BTreeSet::new()));
    }

    #[test]
    fn nodes_that_stay_hardly_move() {
        for count in [5, 50, 300] {
            let mut layout = layout(count, &mesh(count));
            let before = layout.places.clone();
            // One node leaves, and one comes with two links.
            let mut after = nodes(count);
            after.remove(&node(1));
            after.insert(node(9_999));
            let mut edges: BTreeSet<_> =
                mesh(count).into_iter().filter(|(a, b)| after.contains(a) && after.contains(b)).collect();
            edges.insert(edge(node(0), node(9_999)));
            edges.insert(edge(node(2), node(9_999)));
            assert!(layout.update(&after, &edges));
            let moved =
                before.iter().filter_map(|(id, place)| Some(distance(*place, *layout.places.get(id)?)));
            let most = moved.fold(0.0, f64::max);
            assert!(most < 0.05, "{count} nodes: one moved by {most}");
        }
    }

    #[test]
    fn a_large_mesh_has_groups_of_near_nodes_that_stay() {
        let mut layout = layout(1_000, &mesh(1_000));
        assert_eq!(layout.groups.len(), 32);
        assert_eq!(layout.groups.iter().map(|group| group.nodes).sum::<u32>(), 1_000);
        assert!(layout.members.len() == 1_000 && layout.members.values().all(|group| *group < 32));
        let (nearest, extent) = measure(&layout);
        assert!(nearest > 0.0 && extent > 0.5, "{nearest} {extent}");
        let before = layout.clone();
        let mut after = nodes(1_000);
        after.remove(&node(5));
        let edges = mesh(1_000).into_iter().filter(|(a, b)| after.contains(a) && after.contains(b)).collect();
        layout.update(&after, &edges);
        let far = |(id, place): (&NodeId, &Place)| distance(*place, layout.places[id]) > 0.05;
        let moved = before.places.iter().filter(|(id, _)| after.contains(id)).filter(|all| far(*all)).count();
        assert!(moved < 100, "{moved} nodes moved");
    }

    #[test]
    fn a_part_without_a_seed_belongs_to_a_group() {
        let layout = layout(400, &BTreeSet::new());
        assert_eq!(layout.groups.iter().map(|group| group.nodes).sum::<u32>(), 400);
    }
}
