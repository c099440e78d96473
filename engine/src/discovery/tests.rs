//! Several nodes on one or more interfaces, in exact time.

use super::hearing::socket_address;
use super::packet::KNOWN_ANSWER_TTL_MIN;
use super::*;
use crate::place::Standing;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::BTreeSet;

/// Every node of a test has its own address on this interface.
const ETH: u32 = 2;
const LATENCY: Duration = Duration::from_micros(200);

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn v4(id: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, id).into()
}

fn link_local(id: u8) -> IpAddr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, id.into()).into()
}

fn id(place: u8) -> NodeId {
    NodeId([place; 16])
}

/// Nodes on one interface, and what they sent.
struct Lan {
    nodes: Vec<Discovery>,
    /// The address families of each node.
    families: Vec<Family>,
    rng: Rng,
    now: Instant,
    in_flight: Vec<(Instant, usize, Family, Vec<u8>)>,
    /// Packets and bytes by sender.
    said: Vec<(usize, usize)>,
    actions: Vec<(Instant, usize, Action)>,
}

impl Lan {
    fn new(nodes: u8, families: &[Family]) -> Self {
        let mut lan = Self {
            nodes: Vec::new(),
            families: families.to_vec(),
            rng: Rng::new([nodes; 32]),
            now: Instant::ZERO,
            in_flight: Vec::new(),
            said: Vec::new(),
            actions: Vec::new(),
        };
        (0..nodes).for_each(|_| lan.add());
        lan
    }

    fn add(&mut self) {
        let place = u8::try_from(self.nodes.len() + 1).unwrap();
        let mut node = Discovery::new(id(place), "local".to_owned(), "0.1.0".to_owned(), 4);
        node.handle_interfaces(self.now, &self.interfaces(place), &mut self.rng);
        node.handle_active(self.now, 9000, &mut self.rng);
        self.nodes.push(node);
        self.said.push((0, 0));
    }

    fn interfaces(&self, place: u8) -> Vec<Interface> {
        let address = |family: &Family| match family {
            Family::V4 => v4(place),
            Family::V6 => link_local(place),
        };
        self.families.iter().map(|family| Interface::new(ETH, address(family))).collect()
    }

    fn run(&mut self, end: Instant) {
        loop {
            let timer = self.nodes.iter().filter_map(Discovery::poll_timeout).min();
            let packet = self.in_flight.iter().map(|(at, ..)| *at).min();
            let Some(now) = [timer, packet].into_iter().flatten().min().filter(|next| *next <= end) else {
                break;
            };
            self.now = now;
            let (arrived, still) =
                core::mem::take(&mut self.in_flight).into_iter().partition(|it| it.0 <= now);
            self.in_flight = still;
            let arrived: Vec<(Instant, usize, Family, Vec<u8>)> = arrived;
            for (_, from, family, bytes) in arrived {
                let place = u8::try_from(from + 1).unwrap();
                let ip = if family == Family::V4 { v4(place) } else { link_local(place) };
                let from = socket_address(ip, 5353, ETH);
                for node in &mut self.nodes {
                    node.handle_datagram(now, ETH, from, &bytes, &mut self.rng);
                }
            }
            for place in 0..self.nodes.len() {
                self.nodes[place].handle_timeout(now, &mut self.rng);
                self.collect(place);
            }
        }
        self.now = end;
    }

    fn collect(&mut self, place: usize) {
        for (_, to, bytes) in self.nodes[place].poll_packets() {
            let Destination::Group(family) = to else { continue };
            self.said[place].0 += 1;
            self.said[place].1 += bytes.len();
            self.in_flight.push((self.now.after(LATENCY), place, family, bytes));
        }
        let actions = self.nodes[place].poll_actions();
        self.actions.extend(actions.into_iter().map(|action| (self.now, place, action)));
    }

    /// Returns the actions since the last call, without their times.
    fn actions(&mut self) -> Vec<(usize, Action)> {
        core::mem::take(&mut self.actions).into_iter().map(|(_, place, action)| (place, action)).collect()
    }

    /// Returns the number of packets and bytes of all nodes since the last call.
    fn said(&mut self) -> (usize, usize) {
        let said = self.said.iter().fold((0, 0), |sum, said| (sum.0 + said.0, sum.1 + said.1));
        self.said.fill((0, 0));
        said
    }
}

/// Returns an announcement of a node.
fn announcement(node: NodeId, addresses: &[IpAddr], ttl: Duration) -> Vec<u8> {
    let announcement = Announcement {
        node,
        network: "local".to_owned(),
        version: "1".to_owned(),
        port: 9000,
        slots: 4,
        addresses: addresses.to_vec(),
        ttl,
    };
    announcement.encode()
}

/// Returns an announcement of a random node that does not exist.
fn stranger(rng: &mut Rng) -> Vec<u8> {
    announcement(NodeId(rng.id()), &[v4(77)], LIFETIME)
}

/// Returns a place of a node.
fn place(address: IpAddr, standing: Standing, source: IpAddr) -> Place {
    Place { address: SocketAddr::new(address, 9000), standing, source }
}

#[test]
fn nodes_find_each_other_within_a_second_and_say_little_after() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.run(at(1000));
    let found = |me: usize, other: u8| {
        (me, Action::Found(id(other), vec![place(v4(other), Standing::Own, v4(other))]))
    };
    let actions = lan.actions();
    assert!(actions == [found(0, 2), found(1, 1)] || actions == [found(1, 1), found(0, 2)], "{actions:?}");
    lan.run(at(20_000));
    lan.said();
    lan.run(at(620_000));
    assert!((18..=20).contains(&lan.said().0), "ten minutes of refreshes by two nodes");
    assert_eq!(lan.actions(), []);
}

/// All of a hundred nodes know all others in less than a second, and no node sends more than it must.
#[test]
fn a_hundred_nodes_started_together_all_meet_without_a_storm() {
    for families in [&[Family::V4][..], &[Family::V4, Family::V6], &[Family::V6]] {
        let mut lan = Lan::new(100, families);
        lan.run(at(1000));
        let met: BTreeSet<(usize, NodeId)> = lan
            .actions
            .iter()
            .filter_map(|(_, place, action)| {
                let Action::Found(node, _) = action else { return None };
                Some((*place, *node))
            })
            .collect();
        assert_eq!(met.len(), 100 * 99);
        let last = lan.actions.iter().map(|(then, ..)| *then).max().unwrap();
        assert!(last < at(200), "{last:?}");
        lan.run(at(10_000));
        let (packets, _) = lan.said();
        // Two announcements and at most one question each; the same question is asked once, not a hundred times.
        let each = packets / 100;
        assert!(each <= 3 * families.len(), "{each} packets each in ten seconds");
        assert!(lan.nodes.iter().all(|node| node.packets_dropped == 0));
    }
}

#[test]
fn idle_nodes_say_less_than_0_3_kilobytes_a_minute() {
    for nodes in [10, 50] {
        for families in [&[Family::V4][..], &[Family::V4, Family::V6], &[Family::V6]] {
            let mut lan = Lan::new(nodes, families);
            lan.run(at(60_000));
            lan.said();
            lan.run(at(60_000 + 3_600_000));
            let (_, bytes) = lan.said();
            let each = bytes / 60 / usize::from(nodes);
            assert!(each <= 300, "{each} B a minute each with {nodes} nodes");
            lan.actions.retain(|(_, _, action)| !matches!(action, Action::Confirmed(..) | Action::Found(..)));
            assert_eq!(lan.actions(), []);
        }
    }
}

#[test]
fn a_newcomer_is_told_by_all_at_once_and_asks_no_more_than_three_times() {
    let mut lan = Lan::new(20, &[Family::V4]);
    lan.run(at(10_000));
    lan.actions();
    lan.said();
    lan.add();
    lan.run(at(10_200));
    assert_eq!(lan.nodes[20].len(), 20);
    assert!(lan.nodes[..20].iter().all(|node| node.table.contains(id(21))));
    lan.run(at(20_000));
    // The second and third query list the known nodes, and none of those answers again.
    assert_eq!(lan.said[20].0, 5, "two announcements and three questions");
    assert!(lan.said[..20].iter().all(|said| said.0 == 1), "{:?}", lan.said);
}

#[test]
fn what_was_just_said_is_not_repeated_within_a_second() {
    let mut lan = Lan::new(1, &[Family::V4]);
    lan.run(at(10_000));
    lan.said();
    let asker = SocketAddr::new(v4(9), 5353);
    for millis in 0..100 {
        let now = at(10_000 + millis * 20);
        lan.run(now);
        lan.nodes[0].handle_datagram(now, ETH, asker, &packet::browse(&[]), &mut lan.rng);
    }
    lan.run(at(12_000));
    let (packets, _) = lan.said();
    assert!((1..=3).contains(&packets), "{packets} answers in two seconds");
}

#[test]
fn who_is_known_to_the_asker_does_not_answer() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.run(at(10_000));
    let asker = SocketAddr::new(v4(9), 5353);
    for (known, answers) in [(KNOWN_ANSWER_TTL_MIN, 0), (KNOWN_ANSWER_TTL_MIN - Duration::from_secs(1), 1)] {
        lan.said();
        let query = packet::browse(&[(id(1), known)]);
        lan.nodes[0].handle_datagram(lan.now, ETH, asker, &query, &mut lan.rng);
        lan.run(lan.now.after(Duration::from_secs(5)));
        assert_eq!(lan.said().0, answers, "known for {known:?}");
    }
}

#[test]
fn silence_expires() {
    let mut lan = Lan::new(3, &[Family::V4]);
    lan.run(at(2000));
    lan.actions();
    lan.nodes.truncate(1);
    lan.run(at(310_000));
    assert_eq!(lan.actions(), [(0, Action::Expired(id(2))), (0, Action::Expired(id(3)))]);
}

#[test]
fn a_goodbye_removes_soon() {
    let mut lan = Lan::new(2, &[Family::V4, Family::V6]);
    lan.run(at(2000));
    lan.actions();
    lan.nodes[1].handle_leave();
    lan.collect(1);
    lan.run(at(4001));
    assert_eq!(lan.actions(), [(0, Action::Left(id(2)))]);
    assert_eq!(lan.nodes[1].poll_timeout().filter(|due| *due < at(120_000)), None);
}

#[test]
fn who_seems_gone_is_asked_for_by_name_once_for_all() {
    let mut lan = Lan::new(30, &[Family::V4]);
    lan.run(at(20_000));
    lan.actions();
    lan.said();
    for place in 1..30 {
        lan.nodes[place].handle_gone(at(20_000), id(1), &mut lan.rng);
        lan.collect(place);
    }
    lan.run(at(23_000));
    let refound = lan
        .actions
        .iter()
        .filter(|(_, _, action)| matches!(action, Action::Found(node, _) if *node == id(1)));
    assert_eq!(refound.count(), 29);
    let (packets, _) = lan.said();
    assert!(packets <= 3, "{packets} packets: a question, perhaps another on its way, one answer");
}

#[test]
fn other_networks_are_not_heard() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.nodes[1].network = "other".to_owned();
    lan.run(at(5000));
    assert_eq!(lan.actions(), []);
}

#[test]
fn a_flood_from_one_source_takes_few_places_and_what_is_too_much_is_dropped_unread() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.run(at(20_000));
    let from = SocketAddr::new(v4(66), 5353);
    for millis in 0..5_000 {
        let now = at(20_000 + millis);
        for _ in 0..4 {
            let flood = stranger(&mut lan.rng);
            lan.nodes[0].handle_datagram(now, ETH, from, &flood, &mut lan.rng);
        }
        lan.nodes[0].handle_datagram(now, ETH, from, &[0; 512], &mut lan.rng);
    }
    // 20,000 came in 5 s; 500 and 50 a second were read.
    let view = lan.nodes[0].view();
    assert!((740..800).contains(&view.packets_heard), "{view:?}");
    assert!(view.packets_dropped > 19_200, "{view:?}");
    assert_eq!(lan.nodes[0].len(), 1 + 64);
    lan.add();
    lan.run(at(25_500));
    assert!(lan.nodes[0].table.contains(id(2)) && lan.nodes[0].table.contains(id(3)));
}

#[test]
fn a_flood_from_many_sources_leaves_half_of_the_list_and_who_is_a_member_stays() {
    let mut lan = Lan::new(3, &[Family::V4]);
    lan.run(at(20_000));
    lan.nodes[0].handle_known(id(2));
    let flood = |lan: &mut Lan, from: u64, own: bool| {
        for packet in 0..6_000 {
            let now = at(from + packet * 5);
            let [a, b] = u16::try_from(packet).unwrap().to_be_bytes();
            let source = IpAddr::from([10, 9, a, b]);
            let announced = if own { source } else { v4(77) };
            let bytes = announcement(NodeId(lan.rng.id()), &[announced], LIFETIME);
            lan.nodes[0].handle_datagram(now, ETH, SocketAddr::new(source, 5353), &bytes, &mut lan.rng);
        }
    };
    flood(&mut lan, 20_000, false);
    assert_eq!(lan.nodes[0].len(), 2 + 512, "those that are claimed");
    // If they announce themselves, they look like a large network. Even then real nodes are found.
    flood(&mut lan, 50_000, true);
    assert_eq!(lan.nodes[0].len(), ENTRIES_MAX, "those that announce themselves");
    assert!(lan.nodes[0].table.contains(id(2)), "who is known to be there keeps its place");
    lan.now = at(80_000);
    lan.add();
    lan.run(at(80_500));
    assert!(lan.nodes[0].table.contains(id(4)), "a newcomer finds one");
}

#[test]
fn a_goodbye_in_the_name_of_another_removes_nobody() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.run(at(20_000));
    lan.actions();
    // A third party's goodbye is ignored. One from its own address counts until the node objects.
    for sender in [66, 2] {
        let goodbye = announcement(id(2), &[v4(2)], Duration::ZERO);
        for millis in 0..250 {
            lan.run(lan.now.after(Duration::from_millis(20)));
            let from = SocketAddr::new(v4(sender), 5353);
            for node in &mut lan.nodes {
                node.handle_datagram(lan.now, ETH, from, &goodbye, &mut lan.rng);
            }
            assert!(lan.nodes[0].table.contains(id(2)), "from {sender} after {millis} goodbyes");
        }
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn what_others_say_of_a_node_counts_for_less_than_what_it_says_itself() {
    let mut rng = Rng::new([1; 32]);
    let mut node = Discovery::new(id(1), "local".to_owned(), "1".to_owned(), 4);
    node.handle_interfaces(at(0), &[Interface::new(ETH, v4(1))], &mut rng);
    node.handle_active(at(0), 9000, &mut rng);
    let mut hear = |node: &mut Discovery, from: u8, address: u8| {
        let bytes = announcement(id(2), &[v4(address)], LIFETIME);
        node.handle_datagram(at(1), ETH, SocketAddr::new(v4(from), 5353), &bytes, &mut rng);
        node.poll_actions()
    };
    let (claimed, own) = (Standing::Claimed, Standing::Own);
    let found = |places: &[Place]| vec![Action::Found(id(2), places.to_vec())];
    assert_eq!(hear(&mut node, 66, 77), found(&[place(v4(77), claimed, v4(66))]));
    assert_eq!(hear(&mut node, 2, 2), found(&[place(v4(2), own, v4(2))]));
    assert_eq!(hear(&mut node, 66, 77), []);
    // Two hosts claim to be the node: both are dialled.
    assert_eq!(hear(&mut node, 9, 9), found(&[place(v4(2), own, v4(2)), place(v4(9), own, v4(9))]));
    node.handle_unreached(at(1), id(2), SocketAddr::new(v4(2), 9000));
    assert_eq!(hear(&mut node, 9, 9), []);
    // If its own address fails, any other is worth a dial.
    node.handle_unreached(at(1), id(2), SocketAddr::new(v4(9), 9000));
    let either = hear(&mut node, 66, 77);
    assert_eq!(either, found(&[place(v4(77), claimed, v4(66)), place(v4(9), own, v4(9))]));
}

#[test]
fn what_cannot_be_reached_is_forgotten_sooner_and_gives_way_first() {
    let mut lan = Lan::new(1, &[Family::V4]);
    let from = SocketAddr::new(v4(66), 5353);
    for number in 0..64 {
        let bytes = announcement(NodeId([100 + number; 16]), &[v4(77)], LIFETIME);
        lan.nodes[0].handle_datagram(at(0), ETH, from, &bytes, &mut lan.rng);
    }
    let new = announcement(NodeId([9; 16]), &[v4(78)], LIFETIME);
    lan.nodes[0].handle_datagram(at(0), ETH, from, &new, &mut lan.rng);
    assert!(!lan.nodes[0].table.contains(NodeId([9; 16])), "its source has all its places");
    for number in [100, 101] {
        let address = SocketAddr::new(v4(77), 9000);
        lan.nodes[0].handle_unreached(at(0), NodeId([number; 16]), address);
    }
    lan.nodes[0].poll_actions();
    lan.nodes[0].handle_datagram(at(0), ETH, from, &new, &mut lan.rng);
    let actions = lan.nodes[0].poll_actions();
    let [Action::Expired(evicted), Action::Found(found, _)] = actions[..] else { panic!("{actions:?}") };
    assert!([[100; 16], [101; 16]].contains(&evicted.0));
    assert_eq!(found, NodeId([9; 16]));
    lan.run(at(91_000));
    assert_eq!(lan.nodes[0].len(), 63, "the other that could not be reached is gone");
}

#[test]
fn who_answers_again_is_most_likely_there() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.run(at(20_000));
    lan.add();
    // A flood keeps the newcomer from listing the nodes that it knows, so they answer each of its queries.
    let from = SocketAddr::new(v4(66), 5353);
    for _ in 0..64 {
        let flood = stranger(&mut lan.rng);
        lan.nodes[2].handle_datagram(at(20_000), ETH, from, &flood, &mut lan.rng);
    }
    lan.run(at(22_000));
    let confirmed = |node| {
        let places = vec![place(v4(node), Standing::Confirmed, v4(node))];
        (2, Action::Confirmed(id(node), places))
    };
    let actions = lan.actions();
    assert!(actions.contains(&confirmed(1)) && actions.contains(&confirmed(2)), "{actions:?}");
}

/// Two copies of a key with no other node: the answer to its first query tells the later one.
#[test]
fn a_copy_is_told_at_once() {
    let mut lan = Lan::new(1, &[Family::V4]);
    lan.run(at(25_000));
    lan.said();
    lan.add();
    lan.nodes[1].me = id(1);
    lan.run(at(25_500));
    let copied = |at: u8| Action::Copied(SocketAddr::new(v4(at), 9000));
    let actions = lan.actions();
    assert!(actions.contains(&(0, copied(2))) && actions.contains(&(1, copied(1))), "{actions:?}");
}

#[test]
fn a_node_does_not_answer_its_own_questions_but_those_of_another_on_its_host() {
    let mut lan = Lan::new(1, &[Family::V4]);
    lan.run(at(200_000));
    let asked = |lan: &Lan| lan.nodes[0].questions;
    let (before, said) = (asked(&lan), lan.said());
    assert!(said.0 > 0);
    lan.run(at(330_000));
    assert!(asked(&lan) > before);
    let (packets, _) = lan.said();
    let refreshes = packets - usize::try_from(asked(&lan) - before).unwrap();
    assert!((2..=3).contains(&refreshes), "{refreshes} announcements in 130 s");
    let from = SocketAddr::new(v4(1), 5353);
    lan.nodes[0].handle_datagram(lan.now, ETH, from, &packet::browse(&[]), &mut lan.rng);
    lan.run(at(331_500));
    assert_eq!(lan.said().0, 1);
}

#[test]
fn an_interface_that_comes_up_is_announced_on_at_once_and_the_others_stay_quiet() {
    let mut lan = Lan::new(1, &[Family::V4]);
    lan.run(at(20_000));
    lan.actions();
    let node = &mut lan.nodes[0];
    let lo = Interface::new(1, Ipv4Addr::LOCALHOST.into());
    let (eth, new) = (Interface::new(ETH, v4(1)), Interface::new(3, link_local(1)));
    node.handle_interfaces(at(20_000), &[eth, lo, new], &mut lan.rng);
    let mut said = BTreeSet::new();
    while let Some(due) = node.poll_timeout().filter(|due| *due < at(20_130)) {
        node.handle_timeout(due, &mut lan.rng);
        said.extend(node.poll_packets().into_iter().map(|(index, to, _)| (index, to)));
    }
    assert_eq!(
        said,
        BTreeSet::from([(1, Destination::Group(Family::V4)), (3, Destination::Group(Family::V6))])
    );
    // An interface that went down is no longer used.
    node.handle_interfaces(at(20_200), &[lo], &mut lan.rng);
    node.handle_datagram(at(20_200), ETH, SocketAddr::new(v4(2), 5353), &packet::browse(&[]), &mut lan.rng);
    while let Some(due) = node.poll_timeout().filter(|due| *due < at(200_000)) {
        node.handle_timeout(due, &mut lan.rng);
        assert!(node.poll_packets().iter().all(|(index, ..)| *index == 1));
    }
    assert_eq!(node.poll_actions(), []);
}

#[test]
fn bridges_of_containers_come_last_and_link_local_addresses_stay_on_their_interface() {
    let mut rng = Rng::new([1; 32]);
    let docker = Interface { bridge: true, ..Interface::new(4, v4(200)) };
    let (eth, wlan) = (Interface::new(2, v4(1)), Interface::new(3, v4(2)));
    let (local, lo) = (Interface::new(2, link_local(1)), Interface::new(1, Ipv4Addr::LOCALHOST.into()));
    let mut node = Discovery::new(id(1), "local".to_owned(), "1".to_owned(), 4);
    node.handle_interfaces(at(0), &[docker, eth, local, wlan, lo], &mut rng);
    let announced = |index: u32| node.interfaces[&index].addresses.clone();
    assert_eq!(announced(2), [v4(1), v4(2), v4(200), link_local(1)]);
    assert_eq!(announced(3), [v4(2), v4(1), v4(200)]);
    assert_eq!(announced(4), [v4(1), v4(2), v4(200)]);
    assert_eq!(announced(1), [lo.address]);
}

#[test]
fn what_a_node_says_on_several_wires_adds_up_and_is_no_news_twice() {
    let mut rng = Rng::new([1; 32]);
    let mut node = Discovery::new(id(1), "local".to_owned(), "1".to_owned(), 4);
    let interfaces = [Interface::new(2, v4(1)), Interface::new(3, link_local(1))];
    node.handle_interfaces(at(0), &interfaces, &mut rng);
    node.handle_active(at(0), 9000, &mut rng);
    let said = |addresses: &[IpAddr], port| Announcement {
        node: id(2),
        network: "local".to_owned(),
        version: "1".to_owned(),
        port,
        slots: 1,
        addresses: addresses.to_vec(),
        ttl: LIFETIME,
    };
    let mut hear = |interface, from, said: Announcement| {
        let from = SocketAddr::new(from, 5353);
        node.handle_datagram(at(1), interface, from, &said.encode(), &mut rng);
        let addresses = |places: &[Place]| places.iter().map(|place| place.address.to_string()).collect();
        let actions = node.poll_actions().into_iter();
        let found = actions.map(|action| {
            let Action::Found(_, places) = &action else { panic!("{action:?}") };
            addresses(places)
        });
        found.collect::<Vec<Vec<String>>>()
    };
    let nothing: [Vec<String>; 0] = [];
    let one = hear(2, v4(2), said(&[v4(2), v4(3)], 9000));
    assert_eq!(one, [["10.0.0.2:9000", "10.0.0.3:9000"]]);
    let other = hear(3, link_local(2), said(&[v4(3), v4(2), link_local(2)], 9000));
    assert_eq!(other, [["10.0.0.2:9000", "10.0.0.3:9000", "[fe80::2%3]:9000"]]);
    assert_eq!(hear(2, v4(2), said(&[v4(2), v4(3)], 9000)), nothing);
    assert_eq!(hear(2, v4(2), said(&[v4(2)], 9000)), [["10.0.0.2:9000", "[fe80::2%3]:9000"]]);
    assert_eq!(hear(2, v4(2), said(&[v4(2)], 9001)), [["10.0.0.2:9001"]]);
}

#[test]
fn no_multicast_is_reported_once_and_so_is_its_return() {
    let mut lan = Lan::new(1, &[]);
    let node = &mut lan.nodes[0];
    assert_eq!(
        (node.poll_actions(), node.view().state),
        (vec![Action::Unavailable], DiscoveryState::Unavailable)
    );
    let lo = Interface::new(1, Ipv4Addr::LOCALHOST.into());
    let deaf = Interface { multicast: false, ..Interface::new(ETH, v4(1)) };
    node.handle_interfaces(at(1), &[deaf, lo], &mut lan.rng);
    assert_eq!(node.poll_actions(), [], "loopback reaches nobody else");
    node.handle_interfaces(at(2), &[Interface::new(ETH, v4(1)), lo], &mut lan.rng);
    assert_eq!(
        (node.poll_actions(), node.view().state),
        (vec![Action::Available], DiscoveryState::Available)
    );
    node.handle_interfaces(at(3), &[lo], &mut lan.rng);
    assert_eq!(node.poll_actions(), [], "a host with nothing but loopback has nobody else to reach");
}

#[test]
fn own_packets_are_counted_as_they_come_back() {
    let mut lan = Lan::new(1, &[Family::V4]);
    lan.run(at(5000));
    let view = lan.nodes[0].view();
    assert_eq!((view.packets_own, view.nodes), (2, 0));
}

/// Returns a query for the name with these labels.
fn question(labels: &str, kind: u8) -> Vec<u8> {
    let mut packet = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels.split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.bytes());
    }
    packet.extend([0, 0, kind, 0, 1]);
    packet
}

#[test]
fn every_question_that_other_tools_ask_is_answered() {
    let instance = format!("{}._P2P-ai-agents._tcp.local", id(1));
    for (name, kind, answered) in [
        ("_p2p-AI-agents._TCP.local", 12, true),
        ("_p2p-ai-agents._tcp.local", 1, false),
        ("_services._dns-sd._udp.local", 12, true),
        ("_Services._dns-sd._udp.LOCAL", 255, true),
        (&instance, 33, true),
        (&instance, 16, true),
        (&instance, 255, true),
        (&instance, 1, false),
        ("010101010101.local", 1, true),
        ("010101010101.Local", 255, true),
        ("010101010101.local", 28, false),
        ("020202020202.local", 1, false),
    ] {
        let mut lan = Lan::new(1, &[Family::V4]);
        lan.run(at(10_000));
        lan.said();
        let bytes = question(name, kind);
        // Hosts that speak mDNS get the multicast answer.
        lan.nodes[0].handle_datagram(at(10_000), ETH, SocketAddr::new(v4(9), 5353), &bytes, &mut lan.rng);
        lan.run(at(10_500));
        assert_eq!(lan.said().0, usize::from(answered), "{name} {kind}");
        // Any other host is answered at once, by unicast.
        let asker = SocketAddr::new(v4(9), 40_000);
        lan.nodes[0].handle_datagram(at(10_500), ETH, asker, &bytes, &mut lan.rng);
        let replies = lan.nodes[0].poll_packets();
        assert_eq!(replies.len(), usize::from(answered), "{name} {kind}");
        for (interface, to, reply) in replies {
            assert_eq!((interface, to), (ETH, Destination::Node(asker)));
            assert_eq!(reply[..4], [0, 7, 0x84, 0]);
        }
    }
}

#[test]
fn replies_are_few_however_many_ask() {
    let mut lan = Lan::new(1, &[Family::V4]);
    lan.run(at(10_000));
    let mut replies = 0;
    for millis in 0..10_000 {
        let asker = SocketAddr::new(v4(u8::try_from(millis % 250).unwrap()), 40_000);
        let bytes = question("_p2p-ai-agents._tcp.local", 12);
        lan.nodes[0].handle_datagram(at(10_000 + millis), ETH, asker, &bytes, &mut lan.rng);
        replies += lan.nodes[0].poll_packets().len();
    }
    assert!((200..260).contains(&replies), "{replies} in 10 s");
}

#[test]
fn that_there_is_such_a_service_is_said_once_for_all() {
    let mut lan = Lan::new(30, &[Family::V4]);
    lan.run(at(20_000));
    lan.said();
    let bytes = question("_services._dns-sd._udp.local", 12);
    for node in &mut lan.nodes {
        node.handle_datagram(at(20_000), ETH, SocketAddr::new(v4(99), 5353), &bytes, &mut lan.rng);
    }
    lan.run(at(20_500));
    let (packets, _) = lan.said();
    assert!((1..=3).contains(&packets), "{packets} packets");
}

/// As behind a reflector: the first packets hold only names.
#[test]
fn what_an_answer_leaves_out_is_asked_for() {
    let mut alone = Lan::new(1, &[Family::V4]);
    alone.run(at(10_000));
    // Only the PTR of node 2.
    let mut pointer = announcement(id(2), &[], LIFETIME);
    let owner = parser::SERVICE.len() + 2;
    pointer.truncate(12 + owner + 10 + 33 + 2);
    pointer[6..8].copy_from_slice(&[0, 1]);
    let reflector = SocketAddr::new(v4(66), 5353);
    alone.nodes[0].handle_datagram(at(10_000), ETH, reflector, &pointer, &mut alone.rng);
    alone.run(at(10_000));
    let view = alone.nodes[0].view();
    assert_eq!((view.packets_unusable, view.nodes), (0, 0));
    let due = alone.nodes[0].poll_timeout().unwrap();
    assert!(due < at(10_130), "{due:?}");
    alone.nodes[0].handle_timeout(due, &mut alone.rng);
    let asked = alone.nodes[0].poll_packets();
    let [(ETH, Destination::Group(Family::V4), question)] = &asked[..] else { panic!("{asked:?}") };
    // The node in question receives the query and answers.
    let mut other = Lan::new(2, &[Family::V4]);
    other.run(at(10_000));
    other.said();
    other.nodes[1].handle_datagram(at(10_000), ETH, SocketAddr::new(v4(9), 5353), question, &mut other.rng);
    other.run(at(10_500));
    assert_eq!(other.said().0, 1);
    let whole = announcement(id(2), &[v4(2)], LIFETIME);
    alone.nodes[0].handle_datagram(due, ETH, reflector, &whole, &mut alone.rng);
    let found = vec![place(v4(2), Standing::Claimed, v4(66))];
    assert_eq!(alone.nodes[0].poll_actions(), [Action::Found(id(2), found)]);
}
