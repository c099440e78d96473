//! The links that both ends advertise, and the shortest paths over them.
//!
//! Members have dense numbers here, so that a search among a thousand members takes microseconds. An edge exists
//! exactly while both of its ends are held and each lists the other.

use crate::ids::NodeId;
use core::num::NonZeroU32;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The graph, and the paths from this node as of the last search.
#[derive(Debug, Default)]
pub(super) struct Graph {
    numbers: BTreeMap<NodeId, u32>,
    vertices: Vec<Vertex>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Vertex {
    id: NodeId,
    /// The links that the member advertises, in ascending order.
    claims: Arc<[NodeId]>,
    /// Those that the other end advertises too, in ascending order of their numbers.
    edges: Vec<u32>,
    path: Option<Path>,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    /// The neighbour that the path begins with.
    first: u32,
    links: NonZeroU32,
}

impl Graph {
    /// Adds a member, or replaces its advertised links. `claims` is in ascending order.
    pub(super) fn insert(&mut self, id: NodeId, claims: &Arc<[NodeId]>) {
        let number = match self.numbers.get(&id) {
            Some(&number) => number,
            None => self.add_vertex(id),
        };
        let at = index(number);
        if self.vertices[at].claims == *claims {
            return;
        }
        // Between two adverts of a member, most links are the same.
        let before = core::mem::replace(&mut self.vertices[at].claims, Arc::clone(claims));
        for gone in before.iter().filter(|claimed| claims.binary_search(claimed).is_err()) {
            let Some(&other) = self.numbers.get(gone) else { continue };
            remove(&mut self.vertices[at].edges, other);
            remove(&mut self.vertices[index(other)].edges, number);
        }
        for new in claims.iter().filter(|claimed| before.binary_search(claimed).is_err()) {
            let Some(&other) = self.numbers.get(new) else { continue };
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
            vertex.claims = Arc::default();
            vertex.path = None;
            self.free.push(number);
        }
    }

    /// Searches for all paths from `neighbours`. Returns the members that became reachable and those that became
    /// unreachable.
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

    /// Returns the next hop to a member, and the number of links to it.
    pub(super) fn path(&self, id: NodeId) -> Option<(NodeId, u32)> {
        let vertex = &self.vertices[index(*self.numbers.get(&id)?)];
        vertex.path.map(|path| (self.vertices[index(path.first)].id, path.links.get()))
    }

    /// Returns the next hop of a path to a member that does not begin with `avoid`.
    pub(super) fn path_avoiding(&self, neighbours: &[NodeId], id: NodeId, avoid: NodeId) -> Option<NodeId> {
        let number = *self.numbers.get(&id)?;
        let paths = self.search(neighbours, Some(avoid));
        paths[index(number)].map(|path| self.vertices[index(path.first)].id)
    }

    /// Returns the members on a shortest path that begins with one of `neighbours`. The destination is last.
    pub(super) fn walk(&self, neighbours: &[NodeId], id: NodeId) -> Option<Vec<NodeId>> {
        let paths = self.search(neighbours, None);
        let mut at = *self.numbers.get(&id)?;
        let mut walked = vec![id];
        let mut path = paths[index(at)]?;
        while path.links > NonZeroU32::MIN {
            // Backwards, over any edge to a member one link nearer whose path begins with the same neighbour.
            let before = |&&other: &&u32| {
                paths[index(other)]
                    .is_some_and(|near| near.links.get() + 1 == path.links.get() && near.first == path.first)
            };
            at = *self.vertices[index(at)].edges.iter().find(before)?;
            path = paths[index(at)]?;
            walked.push(self.vertices[index(at)].id);
        }
        walked.reverse();
        Some(walked)
    }

    /// Finds the shortest paths by breadth-first search. Among equals the order of the neighbours decides.
    fn search(&self, neighbours: &[NodeId], avoid: Option<NodeId>) -> Vec<Option<Path>> {
        let mut paths = vec![None; self.vertices.len()];
        // Each vertex is queued at most once, so entries stay in place and only the read position moves.
        let mut queue: Vec<u32> = Vec::with_capacity(self.vertices.len());
        for neighbour in neighbours.iter().filter(|neighbour| Some(**neighbour) != avoid) {
            if let Some(&number) = self.numbers.get(neighbour) {
                paths[index(number)] = Some(Path { first: number, links: NonZeroU32::MIN });
                queue.push(number);
            }
        }
        let mut next = 0;
        while let Some(&number) = queue.get(next) {
            next += 1;
            let Some(path) = paths[index(number)] else { continue };
            let longer = Path { first: path.first, links: path.links.saturating_add(1) };
            for &other in &self.vertices[index(number)].edges {
                let path = &mut paths[index(other)];
                if path.is_none() {
                    *path = Some(longer);
                    queue.push(other);
                }
            }
        }
        paths
    }

    fn add_vertex(&mut self, id: NodeId) -> u32 {
        let vertex = Vertex { id, claims: Arc::default(), edges: Vec::new(), path: None };
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
            remove(&mut self.vertices[index(other)].edges, number);
        }
    }
}

fn add(edges: &mut Vec<u32>, number: u32) {
    if let Err(at) = edges.binary_search(&number) {
        edges.insert(at, number);
    }
}

fn remove(edges: &mut Vec<u32>, number: u32) {
    if let Ok(at) = edges.binary_search(&number) {
        edges.remove(at);
    }
}

/// Numbers are below the number of members held, which is far below 2^32.
const fn index(number: u32) -> usize {
    number as usize
}

#[cfg(test)]
mod tests;
