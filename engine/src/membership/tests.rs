//! Small meshes of maps alone. Messages between them are delivered at once.

use super::*;
use crate::node_name::NodeName;
use proptest::prelude::*;

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn signed(identity: &Identity, advert: &Advert) -> SignedAdvert {
    AdvertCache::default().sign(identity, advert.clone()).signed.clone()
}

fn member(secret: u8) -> Membership {
    let identity = Identity::from_secret(&[secret; 32]);
    let own = Advert {
        key: identity.public_key(),
        sequence: 1,
        incarnation: u64::from(secret),
        name: NodeName::default(),
        addresses: Vec::new(),
        version: "1".to_owned(),
        max_links: 32,
        slots: 4,
        models: Vec::new(),
        links: Vec::new(),
        session_key: [0; 32],
    };
    Membership::new(at(0), identity, own)
}

/// Several members, the links between them, and the time.
struct Mesh {
    members: Vec<Membership>,
    now: Instant,
}

impl Mesh {
    fn new(count: u8) -> Self {
        Self { members: (1..=count).map(member).collect(), now: at(0) }
    }

    fn link(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let advert = self.members[to].own_advert().clone();
            let peer = self.members[to].me;
            self.members[from].handle_peer_up(self.now, peer, advert).unwrap();
        }
    }

    fn unlink(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let peer = self.members[to].me;
            self.members[from].handle_peer_down(self.now, peer);
        }
    }

    /// Delivers messages until none are left, for at most ten seconds.
    fn settle(&mut self) {
        let end = self.now.after(Duration::from_secs(10));
        while let Some(due) = self.members.iter().filter_map(Membership::poll_timeout).min() {
            self.now = due.max(self.now);
            assert!(self.now < end, "the mesh does not come to rest");
            for from in 0..self.members.len() {
                self.members[from].handle_timeout(self.now);
                let me = self.members[from].me;
                for transmit in self.members[from].poll_transmits(self.now) {
                    let (Transmit::Adverts(to, _) | Transmit::Versions(to, _)) = &transmit;
                    let to = self.members.iter_mut().find(|member| member.me == *to).unwrap();
                    match transmit {
                        Transmit::Adverts(_, adverts) => {
                            to.handle_adverts(self.now, me, adverts, || true).unwrap()
                        }
                        Transmit::Versions(_, versions) => to.handle_versions(self.now, me, &versions),
                    }
                }
            }
        }
    }

    /// Returns the distances between all pairs, by the algorithm of Floyd and Warshall.
    fn distances(&self) -> Vec<Vec<Option<u32>>> {
        let ids: Vec<NodeId> = self.members.iter().map(|member| member.me).collect();
        let linked = |a: usize, b: usize| self.members[a].own.links.contains(&ids[b]);
        let count = ids.len();
        let edge = |a: usize, b: usize| if a == b { Some(0) } else { linked(a, b).then_some(1) };
        let mut hops: Vec<Vec<Option<u32>>> =
            (0..count).map(|a| (0..count).map(|b| edge(a, b)).collect()).collect();
        for (via, from, to) in
            (0..count).flat_map(|v| (0..count).flat_map(move |f| (0..count).map(move |t| (v, f, t))))
        {
            if let (Some(first), Some(second)) = (hops[from][via], hops[via][to]) {
                let best = hops[from][to].map_or(first + second, |hops| hops.min(first + second));
                hops[from][to] = Some(best);
            }
        }
        hops
    }

    fn assert_is_path(&self, from: usize, path: &[NodeId]) {
        let mut at = &self.members[from];
        for step in path {
            assert!(at.own.links.contains(step), "a path follows links");
            at = self.members.iter().find(|member| member.me == *step).unwrap();
        }
    }

    fn assert_maps_are_true(&self) {
        let distances = self.distances();
        for (a, member) in self.members.iter().enumerate() {
            for (b, other) in self.members.iter().enumerate() {
                assert_eq!(member.hops(other.me), distances[a][b], "from {a} to {b}");
                let paths = member.paths(other.me, 9);
                assert_eq!(paths.is_some(), distances[a][b].is_some(), "from {a} to {b}");
                let Some((path, others)) = paths else { continue };
                assert_eq!(u32::try_from(path.len()).ok(), distances[a][b], "from {a} to {b}");
                for path in others.iter().chain([&path]) {
                    self.assert_is_path(a, path);
                }
            }
        }
    }
}

#[test]
fn a_line_is_known_from_end_to_end_and_a_cut_is_too() {
    let mut mesh = Mesh::new(4);
    (0..3).for_each(|at| mesh.link(at, at + 1));
    mesh.settle();
    mesh.assert_maps_are_true();
    assert_eq!(mesh.members[0].next_hop(mesh.members[3].me, None), Some(mesh.members[1].me));
    mesh.unlink(1, 2);
    mesh.settle();
    mesh.assert_maps_are_true();
    let actions: BTreeSet<NodeId> = mesh.members[0]
        .poll_actions()
        .into_iter()
        .filter_map(|action| if let Action::Left(member) = action { Some(member) } else { None })
        .collect();
    assert_eq!(actions, [mesh.members[2].me, mesh.members[3].me].into());
}

#[test]
fn another_path_is_taken_where_there_is_one() {
    let mut mesh = Mesh::new(4);
    for (a, b) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        mesh.link(a, b);
    }
    mesh.settle();
    let [near, far] = [mesh.members[0].next_hop(mesh.members[3].me, None).unwrap(), mesh.members[3].me];
    let other = mesh.members[0].next_hop(far, Some(near)).unwrap();
    assert_ne!(near, other);
}

#[test]
fn an_advert_that_its_member_did_not_sign_is_refused() {
    let mut mesh = Mesh::new(2);
    mesh.link(0, 1);
    mesh.settle();
    let mut advert = mesh.members[1].own.clone();
    advert.sequence += 10;
    advert.links.clear();
    let forged = signed(&Identity::from_secret(&[9; 32]), &advert);
    let from = mesh.members[1].me;
    assert_eq!(mesh.members[0].handle_adverts(mesh.now, from, vec![forged], || true), Err(Forged));
    mesh.assert_maps_are_true();
}

#[test]
fn strangers_fill_no_maps_and_push_nobody_out() {
    let mut mesh = Mesh::new(2);
    mesh.link(0, 1);
    mesh.settle();
    let from = mesh.members[1].me;
    let invented = |number: u32| {
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        let identity = Identity::from_secret(&secret);
        signed(&identity, &Advert { key: identity.public_key(), ..mesh.members[1].own.clone() })
    };
    let adverts: Vec<SignedAdvert> = (0..6_000).map(invented).collect();
    let mut budget = 5_000;
    let may_check = || {
        budget -= 1;
        budget >= 0
    };
    mesh.members[0].handle_adverts(mesh.now, from, adverts, may_check).unwrap();
    mesh.settle();
    assert_eq!(mesh.members[0].adverts.len(), UNREACHABLE_MAX + 1);
    mesh.assert_maps_are_true();
    assert_eq!(mesh.members[1].adverts.len(), 1, "what nothing leads to is not passed on");
}

#[test]
fn an_advert_from_before_a_restart_is_superseded() {
    let mut mesh = Mesh::new(2);
    mesh.link(0, 1);
    mesh.settle();
    let (me, from) = (mesh.members[0].me, mesh.members[1].me);
    let mut old = mesh.members[0].own.clone();
    old.sequence = 1_000;
    old.incarnation = 77;
    old.links.clear();
    let signed = signed(&Identity::from_secret(&[1; 32]), &old);
    mesh.members[1].handle_adverts(mesh.now, me, vec![signed.clone()], || true).unwrap();
    mesh.members[0].handle_adverts(mesh.now, from, vec![signed], || true).unwrap();
    mesh.settle();
    assert_eq!(mesh.members[1].adverts[&me].verified.advert.sequence, 1_001 + SEQUENCE_LEAP);
    mesh.assert_maps_are_true();
}

#[test]
fn one_that_signs_above_what_took_its_place_was_no_earlier_life() {
    let mut mesh = Mesh::new(2);
    mesh.link(0, 1);
    mesh.settle();
    let (me, mut advert) = (mesh.members[0].me, mesh.members[0].own.clone());
    mesh.members[1].poll_actions();
    let mut tell = |incarnation: u64| {
        advert.incarnation = incarnation;
        advert.sequence += 1;
        let signed = signed(&Identity::from_secret(&[1; 32]), &advert);
        let to = &mut mesh.members[1];
        to.handle_adverts(mesh.now, me, vec![signed], || true).unwrap();
        to.poll_actions()
    };
    assert_eq!(tell(70), vec![], "a restart");
    assert_eq!(tell(60), vec![], "another, with the clock set back");
    assert_eq!(tell(60), vec![]);
    let doubled = |copy| vec![Action::Doubled { member: me, copy }];
    assert_eq!(tell(70), doubled(70));
    assert_eq!(tell(60), doubled(70));
    assert_eq!(tell(50), vec![]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_map_becomes_true_whatever_the_changes(
        steps in proptest::collection::vec((0usize..7, 0usize..7, any::<bool>()), 1..25)
    ) {
        let mut mesh = Mesh::new(7);
        for (a, b, rest) in steps {
            if a == b {
                continue;
            }
            let peer = mesh.members[b].me;
            if mesh.members[a].own.links.contains(&peer) { mesh.unlink(a, b) } else { mesh.link(a, b) }
            if rest {
                mesh.settle();
            }
        }
        mesh.settle();
        mesh.assert_maps_are_true();
        let reachable = |member: &Membership| member.reachable().map(|(id, _)| id).collect::<Vec<_>>();
        for member in &mesh.members {
            for other in &mesh.members {
                if reachable(member) == reachable(other) {
                    prop_assert_eq!(member.digest(), other.digest());
                }
            }
        }
    }
}
