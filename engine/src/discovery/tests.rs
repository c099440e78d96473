//! Several services on one or more wires, in exact time.

use super::*;
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

/// Nodes on one wire, and what was said on it.
struct Lan {
    nodes: Vec<Discovery>,
    /// The families that each node speaks.
    families: Vec<Family>,
    rng: Rng,
    now: Instant,
    in_flight: Vec<(Instant, usize, Family, Vec<u8>)>,
    /// Packets and bytes by sender.
    said: Vec<(usize, usize)>,
    facts: Vec<(Instant, usize, Fact)>,
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
            facts: Vec::new(),
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
        for (_, family, bytes) in self.nodes[place].poll_packets() {
            self.said[place].0 += 1;
            self.said[place].1 += bytes.len();
            self.in_flight.push((self.now.after(LATENCY), place, family, bytes));
        }
        let facts = self.nodes[place].poll_facts();
        self.facts.extend(facts.into_iter().map(|fact| (self.now, place, fact)));
    }

    /// Returns what was found out since the last call, without the time.
    fn facts(&mut self) -> Vec<(usize, Fact)> {
        core::mem::take(&mut self.facts).into_iter().map(|(_, place, fact)| (place, fact)).collect()
    }

    /// Returns the packets and bytes of all nodes since the last call.
    fn said(&mut self) -> (usize, usize) {
        let said = self.said.iter().fold((0, 0), |sum, said| (sum.0 + said.0, sum.1 + said.1));
        self.said.fill((0, 0));
        said
    }
}

/// Packets of somebody else with any id.
fn stranger(rng: &mut Rng, ttl: Duration) -> Vec<u8> {
    let announcement = Announcement {
        node: NodeId(rng.id()),
        network: "local".to_owned(),
        version: "1".to_owned(),
        port: 9000,
        slots: 4,
        addresses: vec![v4(77)],
        ttl,
    };
    announcement.encode()
}

#[test]
fn nodes_find_each_other_within_a_second_and_say_little_after() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.run(at(1000));
    let found = |me: usize, other: u8| (me, Fact::Found(id(other), vec![SocketAddr::new(v4(other), 9000)]));
    let facts = lan.facts();
    assert!(facts == [found(0, 2), found(1, 1)] || facts == [found(1, 1), found(0, 2)], "{facts:?}");
    lan.run(at(20_000));
    lan.said();
    lan.run(at(620_000));
    assert!((18..=20).contains(&lan.said().0), "ten minutes of refreshes by two nodes");
    assert_eq!(lan.facts(), []);
}

/// All of a hundred nodes know all others in less than a second, and nobody says more than it must.
#[test]
fn a_hundred_nodes_started_together_all_meet_without_a_storm() {
    for families in [&[Family::V4][..], &[Family::V4, Family::V6], &[Family::V6]] {
        let mut lan = Lan::new(100, families);
        lan.run(at(1000));
        let met: BTreeSet<(usize, NodeId)> = lan
            .facts
            .iter()
            .filter_map(|(_, place, fact)| {
                let Fact::Found(node, _) = fact else { return None };
                Some((*place, *node))
            })
            .collect();
        assert_eq!(met.len(), 100 * 99);
        let last = lan.facts.iter().map(|(then, ..)| *then).max().unwrap();
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
            lan.facts.retain(|(_, _, fact)| !matches!(fact, Fact::Found(..)));
            assert_eq!(lan.facts(), []);
        }
    }
}

#[test]
fn a_newcomer_is_told_by_all_at_once_and_asks_no_more_than_three_times() {
    let mut lan = Lan::new(20, &[Family::V4]);
    lan.run(at(10_000));
    lan.facts();
    lan.said();
    lan.add();
    lan.run(at(10_200));
    assert_eq!(lan.nodes[20].entries.len(), 20);
    assert!(lan.nodes[..20].iter().all(|node| node.entries.contains_key(&id(21))));
    lan.run(at(20_000));
    // The second and third question name who is known, and nobody of those answers again.
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
    for (known, answers) in [(KNOWN_FOR, 0), (KNOWN_FOR - Duration::from_secs(1), 1)] {
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
    lan.facts();
    lan.nodes.truncate(1);
    lan.run(at(310_000));
    assert_eq!(lan.facts(), [(0, Fact::Expired(id(2))), (0, Fact::Expired(id(3)))]);
}

#[test]
fn a_goodbye_removes_at_once() {
    let mut lan = Lan::new(2, &[Family::V4, Family::V6]);
    lan.run(at(2000));
    lan.facts();
    lan.nodes[1].handle_leave();
    lan.collect(1);
    lan.run(at(2001));
    assert_eq!(lan.facts(), [(0, Fact::Left(id(2)))]);
    assert_eq!(lan.nodes[1].poll_timeout().filter(|due| *due < at(120_000)), None);
}

#[test]
fn who_seems_gone_is_asked_for_by_name_once_for_all() {
    let mut lan = Lan::new(30, &[Family::V4]);
    lan.run(at(20_000));
    lan.facts();
    lan.said();
    for place in 1..30 {
        lan.nodes[place].handle_gone(at(20_000), id(1), &mut lan.rng);
        lan.collect(place);
    }
    lan.run(at(23_000));
    let refound =
        lan.facts.iter().filter(|(_, _, fact)| matches!(fact, Fact::Found(node, _) if *node == id(1)));
    assert_eq!(refound.count(), 29);
    let (packets, _) = lan.said();
    assert!(packets <= 3, "{packets} packets: a question, perhaps another on its way, one answer");
}

#[test]
fn other_networks_are_not_heard() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.nodes[1].network = "other".to_owned();
    lan.run(at(5000));
    assert_eq!(lan.facts(), []);
}

#[test]
fn a_flood_never_evicts_who_is_there_and_what_is_too_much_is_dropped_unread() {
    let mut lan = Lan::new(2, &[Family::V4]);
    lan.run(at(20_000));
    let from = SocketAddr::new(v4(66), 5353);
    for millis in 0..5_000 {
        let now = at(20_000 + millis);
        for _ in 0..4 {
            let flood = stranger(&mut lan.rng, LIFETIME);
            lan.nodes[0].handle_datagram(now, ETH, from, &flood, &mut lan.rng);
        }
        lan.nodes[0].handle_datagram(now, ETH, from, &[0; 512], &mut lan.rng);
    }
    let node = &lan.nodes[0];
    assert_eq!(node.entries.len(), ENTRIES_MAX);
    assert!(node.entries.contains_key(&id(2)));
    // 20,000 came in 5 s; 2,000 and 200 a second were read.
    let view = node.view();
    assert!((2_990..3_100).contains(&view.packets_heard), "{view:?}");
    assert!(view.packets_dropped > 16_900, "{view:?}");
    let kept = node.entries.keys().copied().collect::<Vec<_>>();
    lan.run(at(90_000));
    let still = kept.iter().filter(|node| lan.nodes[0].entries.contains_key(node)).count();
    assert_eq!(still, ENTRIES_MAX, "nothing is pushed out, and who is there refreshed itself");
}

#[test]
fn an_interface_that_comes_up_is_announced_on_at_once_and_the_others_stay_quiet() {
    let mut lan = Lan::new(1, &[Family::V4]);
    lan.run(at(20_000));
    lan.facts();
    let node = &mut lan.nodes[0];
    let lo = Interface::new(1, Ipv4Addr::LOCALHOST.into());
    let (eth, new) = (Interface::new(ETH, v4(1)), Interface::new(3, link_local(1)));
    node.handle_interfaces(at(20_000), &[eth, lo, new], &mut lan.rng);
    let mut said = BTreeSet::new();
    while let Some(due) = node.poll_timeout().filter(|due| *due < at(20_130)) {
        node.handle_timeout(due, &mut lan.rng);
        said.extend(node.poll_packets().into_iter().map(|(index, family, _)| (index, family)));
    }
    assert_eq!(said, BTreeSet::from([(1, Family::V4), (3, Family::V6)]));
    // One that goes down is spoken on no more.
    node.handle_interfaces(at(20_200), &[lo], &mut lan.rng);
    node.handle_datagram(at(20_200), ETH, SocketAddr::new(v4(2), 5353), &packet::browse(&[]), &mut lan.rng);
    while let Some(due) = node.poll_timeout().filter(|due| *due < at(200_000)) {
        node.handle_timeout(due, &mut lan.rng);
        assert!(node.poll_packets().iter().all(|(index, ..)| *index == 1));
    }
    assert_eq!(node.poll_facts(), []);
}

#[test]
fn bridges_of_containers_come_last_and_link_local_addresses_stay_on_their_wire() {
    let mut rng = Rng::new([1; 32]);
    let docker = Interface { bridge: true, ..Interface::new(4, v4(200)) };
    let (eth, wlan) = (Interface::new(2, v4(1)), Interface::new(3, v4(2)));
    let (local, lo) = (Interface::new(2, link_local(1)), Interface::new(1, Ipv4Addr::LOCALHOST.into()));
    let mut node = Discovery::new(id(1), "local".to_owned(), "1".to_owned(), 4);
    node.handle_interfaces(at(0), &[docker, eth, local, wlan, lo], &mut rng);
    let announced = |index: u32| node.wires[&index].addresses.clone();
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
        node.poll_facts()
    };
    let found = |addresses: &[&str]| {
        vec![Fact::Found(id(2), addresses.iter().map(|address| address.parse().unwrap()).collect())]
    };
    let one = hear(2, v4(2), said(&[v4(2), v4(3)], 9000));
    assert_eq!(one, found(&["10.0.0.2:9000", "10.0.0.3:9000"]));
    let other = hear(3, link_local(2), said(&[v4(3), v4(2), link_local(2)], 9000));
    assert_eq!(other, found(&["10.0.0.3:9000", "10.0.0.2:9000", "[fe80::2%3]:9000"]));
    assert_eq!(hear(2, v4(2), said(&[v4(2), v4(3)], 9000)), []);
    assert_eq!(hear(2, v4(2), said(&[v4(2)], 9000)), found(&["10.0.0.2:9000", "[fe80::2%3]:9000"]));
    assert_eq!(hear(2, v4(2), said(&[v4(2)], 9001)), found(&["10.0.0.2:9001"]));
}

#[test]
fn no_multicast_is_reported_once_and_so_is_its_return() {
    let mut lan = Lan::new(1, &[]);
    let node = &mut lan.nodes[0];
    assert_eq!(
        (node.poll_facts(), node.view().state),
        (vec![Fact::Unavailable], DiscoveryState::Unavailable)
    );
    let lo = Interface::new(1, Ipv4Addr::LOCALHOST.into());
    let deaf = Interface { multicast: false, ..Interface::new(ETH, v4(1)) };
    node.handle_interfaces(at(1), &[deaf, lo], &mut lan.rng);
    assert_eq!(node.poll_facts(), [], "loopback reaches nobody else");
    node.handle_interfaces(at(2), &[Interface::new(ETH, v4(1)), lo], &mut lan.rng);
    assert_eq!((node.poll_facts(), node.view().state), (vec![Fact::Available], DiscoveryState::Available));
    node.handle_interfaces(at(3), &[lo], &mut lan.rng);
    assert_eq!(node.poll_facts(), [], "a host with nothing but loopback has nobody else to reach");
}

#[test]
fn own_packets_are_counted_as_they_come_back() {
    let mut lan = Lan::new(1, &[Family::V4]);
    lan.run(at(5000));
    let view = lan.nodes[0].view();
    assert_eq!((view.packets_own, view.nodes), (2, 0));
}
