use super::*;
use engine::health::{Finding, HealthReport};

const ME: NodeId = NodeId([7; 16]);
const NEAR: NodeId = NodeId([1; 16]);
const FAR: NodeId = NodeId([9; 16]);

fn member(node_id: NodeId, hops: u32, links: &[NodeId]) -> MemberView {
    MemberView {
        node_id,
        name: engine::NodeName::default(),
        addresses: Vec::new(),
        version: "1".to_owned(),
        hops,
        links: links.to_vec(),
        models: Vec::new(),
        slots: 4,
        load: (hops <= 1).then_some(2),
        link: None,
        unreachable_millis: None,
    }
}

fn peer(node_id: NodeId) -> PeerView {
    PeerView {
        node_id,
        name: engine::NodeName::default(),
        address: "192.168.1.2:9000".parse().unwrap(),
        network_port: 9000,
        version: "1".to_owned(),
        liveness: Liveness::Alive,
        connected_millis: 5,
        messages_in: 10,
        messages_out: 20,
        bytes_in: 1_000,
        bytes_out: 2_000,
        last_heard_millis: 1,
        round_trip_micros: Some(1_500),
    }
}

/// Returns the answers of a node with one peer, which has another one.
fn answers() -> Answers {
    Answers {
        status: engine::testing::status(),
        members: vec![member(NEAR, 1, &[ME, FAR]), member(ME, 0, &[NEAR]), member(FAR, 2, &[NEAR])],
        peers: vec![peer(NEAR)],
    }
}

fn update(mesh: &mut Mesh, answers: &Answers, millis: u64) -> Difference {
    mesh.update(answers, UnixMillis(millis), true, &Names::default(), |_| Some(LinkDownReason::Goodbye))
}

#[test]
fn own_links_are_measured_and_others_are_not() {
    let mut mesh = Mesh::default();
    let first = update(&mut mesh, &answers(), 1_000);
    assert_eq!((first.nodes.len(), first.links.len(), first.groups), (3, 2, None));
    let (own, other) = (&mesh.links[&(NEAR, ME)], &mesh.links[&(NEAR, FAR)]);
    assert_eq!((own.round_trip_ms, own.messages_in, own.bytes_out), (Some(1.5), Some(10), Some(2_000)));
    assert_eq!((own.bytes_per_second, &link(NEAR, FAR)), (None, other));
    let mut later = answers();
    (later.peers[0].messages_in, later.peers[0].bytes_in) = (16, 5_000);
    let second = update(&mut mesh, &later, 3_000);
    assert_eq!((second.nodes.len(), second.links.len()), (0, 1));
    assert_eq!(second.links[0].messages_per_second, Some(3.0));
    assert_eq!(second.links[0].bytes_per_second, Some(2_000.0));
    let mut sample = MetricsSample::default();
    mesh.add_traffic(&mut sample);
    assert_eq!((sample.bytes_in, sample.bytes_out), (Some(2_000), Some(0)));
}

#[test]
fn a_link_needs_both_ends() {
    let mut mesh = Mesh::default();
    let mut one_sided = answers();
    one_sided.members[2].links.clear();
    update(&mut mesh, &one_sided, 1_000);
    assert_eq!(mesh.links.keys().copied().collect::<Vec<_>>(), [(NEAR, ME)]);
}

#[test]
fn what_did_not_change_is_not_told_again() {
    let mut mesh = Mesh::default();
    update(&mut mesh, &answers(), 1_000);
    // The rates of the first second appear.
    update(&mut mesh, &answers(), 2_000);
    let mut older = answers();
    older.peers[0].connected_millis = 1_000;
    assert!(update(&mut mesh, &older, 3_000).is_empty());
}

#[test]
fn a_node_that_left_is_shown_for_a_minute_with_the_reason() {
    let mut mesh = Mesh::default();
    update(&mut mesh, &answers(), 1_000);
    let place = (mesh.nodes[&NEAR].x, mesh.nodes[&NEAR].y);
    let mut alone = answers();
    alone.members.retain(|member| member.node_id == ME);
    alone.members[0].links.clear();
    alone.peers.clear();
    let left = update(&mut mesh, &alone, 2_000);
    let gone = left.nodes.iter().filter(|node| node.state == MeshState::Gone).count();
    assert_eq!((gone, left.links_removed.len()), (2, 2));
    let near = &mesh.nodes[&NEAR];
    assert_eq!((near.state, near.level), (MeshState::Gone, Level::Warning));
    assert_eq!(near.reason.as_deref(), Some("it said goodbye"));
    assert_eq!((near.load, near.gone_at.as_deref()), (None, Some("1970-01-01T00:00:02.000Z")));
    assert!((near.x - place.0).hypot(near.y - place.1) < 0.1);
    assert_eq!(mesh.nodes[&FAR].level, Level::Bad, "nobody said why");
    assert!(update(&mut mesh, &alone, 61_999).nodes_removed.is_empty());
    assert_eq!(update(&mut mesh, &alone, 62_000).nodes_removed, [NEAR, FAR]);
    update(&mut mesh, &answers(), 63_000);
    assert_eq!(mesh.nodes[&NEAR].state, MeshState::Active, "it came back");
}

#[test]
fn a_node_that_left_while_nobody_looked_is_not_shown() {
    let mut mesh = Mesh::default();
    update(&mut mesh, &answers(), 1_000);
    let place = (mesh.nodes[&NEAR].x, mesh.nodes[&NEAR].y);
    mesh.forget();
    let mut near = answers();
    near.members.retain(|member| member.node_id != FAR);
    let later = update(&mut mesh, &near, 3_600_000);
    assert_eq!((later.nodes.len(), later.nodes_removed.len(), mesh.nodes.len()), (2, 0, 2));
    assert!((mesh.nodes[&NEAR].x - place.0).hypot(mesh.nodes[&NEAR].y - place.1) < 0.1);
    let mut sample = MetricsSample::default();
    mesh.add_traffic(&mut sample);
    assert_eq!((sample.bytes_in, sample.bytes_out), (None, None), "an hour is no second");
}

#[test]
fn few_nodes_that_left_are_shown() {
    let mut mesh = Mesh::default();
    let mut many = answers();
    many.members.extend(
        (0..=u8::MAX)
            .map(|number| member(NodeId([100, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 3, &[])),
    );
    update(&mut mesh, &many, 1_000);
    let mut alone = answers();
    alone.members.retain(|member| member.node_id == ME);
    alone.peers.clear();
    update(&mut mesh, &alone, 2_000);
    assert_eq!(mesh.nodes.len(), GONE_MAX + 1);
}

#[test]
fn a_state_has_a_level_and_a_reason() {
    let mut slow = answers();
    slow.peers[0].liveness = Liveness::Slow;
    let mut mesh = Mesh::default();
    update(&mut mesh, &slow, 1_000);
    assert_eq!((mesh.nodes[&NEAR].state, mesh.nodes[&NEAR].level), (MeshState::Slow, Level::Warning));
    let own = |status: &StatusView| {
        let (state, level, reason) = own_state(status);
        (state, level, reason.is_some())
    };
    let mut status = engine::testing::status();
    assert_eq!(own(&status), (MeshState::Active, Level::Good, false));
    let finding = Finding {
        component: Component::Storage,
        verdict: Verdict::Fail,
        reason: Some(HealthReason::StorageFailed),
    };
    status.health = Some(HealthReport {
        verdict: Verdict::Fail,
        findings: vec![finding],
        memory_bytes: Some(5),
        memory_bytes_max: 10,
        disk: None,
        took_micros: 1,
    });
    assert_eq!(own(&status), (MeshState::Degraded, Level::Bad, true));
    status.state = State::Registering;
    assert_eq!(own(&status), (MeshState::Starting, Level::Warning, true));
    status.state = State::ShuttingDown;
    assert_eq!(own(&status), (MeshState::Stopping, Level::Warning, true));
}

#[test]
fn a_demo_names_its_nodes() {
    let (mut mesh, names) = (Mesh::default(), Names::default());
    names.set(NEAR, "amber".to_owned());
    let mut answers = answers();
    for member in &mut answers.members {
        member.name = engine::NodeName::new(if member.node_id == ME { "" } else { "cedar" }).unwrap();
    }
    mesh.update(&answers, UnixMillis(1), true, &names, |_| None);
    assert_eq!(mesh.nodes[&NEAR].name.as_deref(), Some("amber"), "the demo's name");
    assert_eq!(mesh.nodes[&FAR].name.as_deref(), Some("cedar"), "its own");
    assert_eq!(mesh.nodes[&ME].name, None);
}
