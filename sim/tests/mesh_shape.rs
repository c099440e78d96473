//! Two hundred nodes form one mesh in which everybody is few links from everybody, with few links a node, and keep
//! it so while nodes come and go.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

#[test]
fn with_thirty_two_links_four_steps_lead_everywhere() {
    let shape = formed(32);
    assert!(shape.pieces == 1 && shape.diameter <= 4, "{shape:?}");
}

#[test]
fn with_eight_links_six_steps_lead_everywhere() {
    let shape = formed(8);
    assert!(shape.pieces == 1 && shape.diameter <= 6, "{shape:?}");
}

fn formed(max_peers: u16) -> Shape {
    let text = format!(
        "nodes = 200\nexecutor = \"event-queue\"\nduration = \"60s\"\n[network]\nmulticast = false\n\
         [node]\nmax_peers = {max_peers}\n"
    );
    let mut mesh = EventQueue::new(&Scenario::parse("mesh_shape", &text).unwrap(), 1);
    mesh.run_until(Instant::ZERO.after(Duration::from_secs(20)));
    let shape = Shape::of(&mesh, 200);
    println!("max_peers {max_peers}: {shape:?}");
    shape
}

/// What a mesh looks like.
#[derive(Debug)]
struct Shape {
    pieces: usize,
    /// The most steps between any two of one piece.
    diameter: usize,
    degree_max: usize,
}

impl Shape {
    fn of(mesh: &EventQueue, nodes: u32) -> Self {
        let peers: Vec<Vec<u32>> = (0..nodes).map(|node| mesh.peers(node)).collect();
        let mut placed = BTreeSet::new();
        let (mut pieces, mut diameter) = (0, 0);
        for node in 0..nodes {
            let steps = steps_from(node, &peers);
            diameter = diameter.max(steps.iter().flatten().copied().max().unwrap_or_default());
            pieces += usize::from(placed.insert(node));
            placed.extend((0..nodes).filter(|&other| steps[other as usize].is_some()));
        }
        Self { pieces, diameter, degree_max: peers.iter().map(Vec::len).max().unwrap_or_default() }
    }
}

/// Returns how many links each node is away, if any lead there.
fn steps_from(node: u32, peers: &[Vec<u32>]) -> Vec<Option<usize>> {
    let mut steps = vec![None; peers.len()];
    steps[node as usize] = Some(0);
    let mut queue = VecDeque::from([(node, 0)]);
    while let Some((node, away)) = queue.pop_front() {
        for &peer in &peers[node as usize] {
            if steps[peer as usize].is_none() {
                steps[peer as usize] = Some(away + 1);
                queue.push_back((peer, away + 1));
            }
        }
    }
    steps
}
