//! The links on which both ends agree, and the shortest paths over them.
//!
//! Members have dense numbers here, so that a search of a thousand members takes microseconds. An edge is there
//! exactly while both of its ends are held and each claims the other.

use crate::ids::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// The map, and the paths from this node as of the last search.
#[derive(Debug, Default)]
pub(super) struct Graph {
    numbers: BTreeMap<NodeId, u32>,
    vertices: Vec<Vertex>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Vertex {
    id: NodeId,
    /// Whom the member says that it is linked to, in ascending order.
    claims: Vec<NodeId>,
    /// Those that say so too, in ascending order of their numbers.
    edges: Vec<u32>,
    path: Option<Path>,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    /// The neighbour that it begins with.
    first: u32,
    links: u32,
}

impl Graph {
    /// Adds a member, or replaces what it claims; `claims` is in ascending order.
    pub(super) fn insert(&mut self, id: NodeId, claims: &[NodeId]) {
        let number = match self.numbers.get(&id) {
            Some(&number) => number,
            None => self.add_vertex(id),
        };
        self.cut(number);
        let at = index(number);
        self.vertices[at].claims = claims.to_vec();
        for claimed in claims {
            let Some(&other) = self.numbers.get(claimed) else { continue };
            if other == number || self.vertices[index(other)].claims.binary_search(&id).is_err() {
                continue;
            }
            add(&mut self.vertices[at].edges, other);
            add(&mut self.vertices[index(other)].edges, number);
        }
    }

    /// Removes a member.
    pub(super) fn remove(&mut self, id: NodeId) {
        if let Some(number) = self.numbers.remove(&id) {
            self.cut(number);
            let vertex = &mut self.vertices[index(number)];
            vertex.claims.clear();
            vertex.path = None;
            self.free.push(number);
        }
    }

    /// Finds all paths anew from `neighbours`, and returns who became reachable and who no longer is.
    pub(super) fn refresh(&mut self, neighbours: &[NodeId]) -> (Vec<NodeId>, Vec<NodeId>) {
        let paths = self.search(neighbours, None);
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for (vertex, path) in self.vertices.iter_mut().zip(paths) {
            match (vertex.path, path) {
                (None, Some(_)) => joined.push(vertex.id),
                (Some(_), None) => left.push(vertex.id),
                (None, None) | (Some(_), Some(_)) => {}
            }
            vertex.path = path;
        }
        (joined, left)
    }

    /// Returns the neighbour that the path to a member begins with, and the links on it.
    pub(super) fn path(&self, id: NodeId) -> Option<(NodeId, u32)> {
        let vertex = &self.vertices[index(*self.numbers.get(&id)?)];
        vertex.path.map(|path| (self.vertices[index(path.first)].id, path.links))
    }

    /// Returns the neighbour that a path to a member begins with which does not begin with `avoid`.
    pub(super) fn path_avoiding(&self, neighbours: &[NodeId], id: NodeId, avoid: NodeId) -> Option<NodeId> {
        let number = *self.numbers.get(&id)?;
        let paths = self.search(neighbours, Some(avoid));
        paths[index(number)].map(|path| self.vertices[index(path.first)].id)
    }

    /// Returns the members on a shortest path that begins with one of `neighbours`, the destination last.
    pub(super) fn walk(&self, neighbours: &[NodeId], id: NodeId) -> Option<Vec<NodeId>> {
        let paths = self.search(neighbours, None);
        let mut at = *self.numbers.get(&id)?;
        let mut walked = vec![id];
        let mut path = paths[index(at)]?;
        while path.links > 1 {
            // Backwards over any edge to where one link less leads, beginning with the same neighbour.
            let before = |&&other: &&u32| {
                paths[index(other)]
                    .is_some_and(|near| near.links + 1 == path.links && near.first == path.first)
            };
            at = *self.vertices[index(at)].edges.iter().find(before)?;
            path = paths[index(at)]?;
            walked.push(self.vertices[index(at)].id);
        }
        walked.reverse();
        Some(walked)
    }

    /// Finds the shortest paths by breadth-first search, in the order of the neighbours among equals.
    fn search(&self, neighbours: &[NodeId], avoid: Option<NodeId>) -> Vec<Option<Path>> {
        let mut paths = vec![None; self.vertices.len()];
        let mut queue = VecDeque::new();
        for neighbour in neighbours.iter().filter(|neighbour| Some(**neighbour) != avoid) {
            if let Some(&number) = self.numbers.get(neighbour) {
                let path = Path { first: number, links: 1 };
                paths[index(number)] = Some(path);
                queue.push_back((number, path));
            }
        }
        while let Some((number, path)) = queue.pop_front() {
            for &other in &self.vertices[index(number)].edges {
                if paths[index(other)].is_none() {
                    let path = Path { first: path.first, links: path.links + 1 };
                    paths[index(other)] = Some(path);
                    queue.push_back((other, path));
                }
            }
        }
        paths
    }

    fn add_vertex(&mut self, id: NodeId) -> u32 {
        let vertex = Vertex { id, claims: Vec::new(), edges: Vec::new(), path: None };
        let number = match self.free.pop() {
            Some(number) => {
                self.vertices[index(number)] = vertex;
                number
            }
            None => {
                self.vertices.push(vertex);
                u32::try_from(self.vertices.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.numbers.insert(id, number);
        number
    }

    fn cut(&mut self, number: u32) {
        for other in core::mem::take(&mut self.vertices[index(number)].edges) {
            let edges = &mut self.vertices[index(other)].edges;
            if let Ok(at) = edges.binary_search(&number) {
                edges.remove(at);
            }
        }
    }
}

fn add(edges: &mut Vec<u32>, number: u32) {
    if let Err(at) = edges.binary_search(&number) {
        edges.insert(at, number);
    }
}

/// Numbers are below the number of members held, which is far below 2^32.
const fn index(number: u32) -> usize {
    number as usize
}

#[cfg(test)]
mod tests;
