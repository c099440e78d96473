//! The topology of large meshes: connected, with few hops across, and no node above its limit, while nodes come and go.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use engine::request::MemberView;
use engine::testing::Network;
use engine::{NodeId, Request, Response};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn members(network: &mut Network, place: usize) -> Vec<MemberView> {
    let request = network.ask(place, Request::Members);
    network.run(Duration::ZERO);
    match network.answer(place, request) {
        Some(Ok(Response::Members(members))) => members.clone(),
        other => panic!("no members: {other:?}"),
    }
}

/// Returns the diameter of the mesh, and the largest number of links of a member.
fn shape(members: &[MemberView]) -> (u32, usize) {
    let links: BTreeMap<NodeId, &[NodeId]> =
        members.iter().map(|member| (member.node_id, member.links.as_slice())).collect();
    let mut diameter = 0;
    for &start in links.keys() {
        let mut hops = BTreeMap::from([(start, 0)]);
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for &next in links[&at].iter().filter(|next| links[*next].contains(&at)) {
                if !hops.contains_key(&next) {
                    hops.insert(next, hops[&at] + 1);
                    queue.push_back(next);
                }
            }
        }
        assert_eq!(hops.len(), links.len(), "the mesh is one piece");
        diameter = diameter.max(hops.values().copied().max().unwrap());
    }
    (diameter, links.values().map(|links| links.len()).max().unwrap())
}

fn assert_shape(network: &mut Network, places: &[usize], max_peers: u16, diameter_max: u32) {
    for &place in places {
        assert_eq!(members(network, place).len(), places.len(), "every view is complete");
    }
    let (diameter, degree) = shape(&members(network, places[0]));
    assert!(degree <= usize::from(max_peers), "a node has {degree} links");
    assert!(diameter <= diameter_max, "{diameter} hops across");
}

/// Starts 200 nodes, kills 40 of them and adds 40 others.
fn assert_small_world(max_peers: u16, diameter_max: u32) {
    let mut network = Network::default();
    let mut places: Vec<usize> =
        (0..200).map(|_| network.add(|config| config.max_peers = max_peers)).collect();
    network.run(SECOND * 5);
    assert_shape(&mut network, &places, max_peers, diameter_max);
    places.rotate_left(37);
    for gone in places.split_off(160) {
        network.kill(gone);
    }
    places.extend((0..40).map(|_| network.add(|config| config.max_peers = max_peers)));
    network.run(SECOND * 10);
    assert_shape(&mut network, &places, max_peers, diameter_max);
}

#[test]
fn two_hundred_nodes_with_32_links_are_4_hops_across_and_stay_so() {
    assert_small_world(32, 4);
}

#[test]
fn two_hundred_nodes_with_8_links_are_6_hops_across_and_stay_so() {
    assert_small_world(8, 6);
}

#[test]
fn a_late_node_finds_a_place_where_everybody_is_full() {
    let mut network = Network::default();
    // Each node has two links and accepts no more: a ring without room.
    let mut places: Vec<usize> = (0..12).map(|_| network.add(|config| config.max_peers = 2)).collect();
    network.run(SECOND * 60);
    places.push(network.add(|config| config.max_peers = 2));
    network.run(SECOND * 60);
    let degrees: Vec<usize> =
        members(&mut network, places[0]).iter().map(|member| member.links.len()).collect();
    assert!(degrees.iter().all(|&degree| degree <= 2), "{degrees:?}");
}
