//! Discovery announcements from other programs and from attackers: nodes join during a flood, and parse
//! announcements in other forms than their own.

use crate::harness::{SetOnDrop, until};
use crate::mesh::{Mesh, enter, ip};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// An attack with 200 packets per second.
#[derive(Clone, Copy, Debug)]
enum Flood {
    /// Announces nodes at addresses that do not answer.
    MadeUp,
    /// Announces that the real nodes leave.
    Goodbyes,
    /// Announces the real nodes at addresses that do not answer.
    Elsewhere,
}

#[test]
fn a_newcomer_joins_under_a_flood_of_announcements() {
    if !enter("announcements::a_newcomer_joins_under_a_flood_of_announcements") {
        return;
    }
    let mut mesh = network();
    let old: Vec<usize> = (0..2).map(|_| mesh.place(&["br7"])).collect();
    for &place in &old {
        mesh.start(place, &["--no-model"]);
    }
    for &place in &old {
        mesh.await_active(place);
    }
    mesh.await_whole();
    let ids: Vec<String> = old.iter().map(|&place| mesh.id(place).to_owned()).collect();
    for flood in [Flood::MadeUp, Flood::Goodbyes, Flood::Elsewhere] {
        let over = AtomicBool::new(false);
        let begun = Instant::now();
        let joined = scope(|scope| {
            let flood_ends = SetOnDrop(&over);
            scope.spawn(|| send(flood, &ids, &over));
            // By then the table would be full, if an attacker could fill it.
            sleep(Duration::from_secs(6).saturating_sub(begun.elapsed()));
            let newcomer = mesh.place(&["br7"]);
            mesh.start(newcomer, &["--no-model"]);
            let active = mesh.await_active(newcomer);
            let linked = until("the newcomer has a link", || mesh.first(newcomer, "link up"));
            drop(flood_ends);
            mesh.await_whole();
            linked.since(active)
        });
        eprintln!("{flood:?}: the first link after {joined:?}");
        assert!(joined < Duration::from_secs(2), "{flood:?}: the first link after {joined:?}");
    }
    assert_eq!(mesh.false_departures(&[]), 0);
}

/// Floods the network until `over` is set. The table is full of invented nodes before any other announcement.
fn send(flood: Flood, ids: &[String], over: &AtomicBool) {
    let socket = speaker();
    let nowhere = |number: u64| IpAddr::from([10, 7, 200, u8::try_from(number % 250).unwrap()]);
    for number in 0_u64.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let made_up = format!("f{number:031x}");
        let victim = &ids[usize::try_from(number).unwrap() % ids.len()];
        let (node, ttl) = match flood {
            Flood::Goodbyes if number % 4 == 0 => (victim, 0),
            Flood::Elsewhere if number % 4 == 0 => (victim, 300),
            Flood::Elsewhere | Flood::Goodbyes | Flood::MadeUp => (&made_up, 300),
        };
        let host = format!("{}.local", &node[..12]);
        say(&socket, &whole(node, 9000, &host, &[(&host, nowhere(number))], ttl));
        sleep(Duration::from_millis(5));
    }
}

/// Announcements in the forms of other programs are understood: each line is one form.
#[test]
fn announcements_in_other_words_are_understood() {
    if !enter("announcements::announcements_in_other_words_are_understood") {
        return;
    }
    let mut mesh = network();
    let node = mesh.place(&["br7"]);
    mesh.start(node, &["--no-model"]);
    mesh.await_active(node);
    let socket = speaker();
    // This process plays all those nodes; a connection to it shows that its announcement was understood.
    let mut listeners: Vec<TcpListener> = (0..5).map(|_| TcpListener::bind((HERE, 0)).unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    let port = |at: usize| ports[at];
    let node_of = |at: usize| format!("{at:032x}");
    let instance = |at: usize| format!("{}.{SERVICE}", node_of(at));
    // They are awaited in order. Each is closed after the first dial, so that later dials are refused at once.
    let mut await_dials = |count: usize, what: &str| {
        let mut awaited: Vec<TcpListener> = listeners.drain(..count).collect();
        until(what, || {
            awaited.retain(|listener| {
                listener.set_nonblocking(true).unwrap();
                matches!(listener.accept(), Err(error) if error.kind() == ErrorKind::WouldBlock)
            });
            awaited.is_empty().then_some(())
        });
    };
    let here = IpAddr::from(HERE);

    // Each record in a packet of its own.
    say(&socket, &answer(&[pointer(&instance(0), 120)]));
    say(
        &socket,
        &answer(&[server(&instance(0), port(0), "one.local", 120), text(&instance(0), "net=local", 120)]),
    );
    say(&socket, &answer(&[address("one.local", here, 120)]));
    await_dials(1, "PTR, then SRV and TXT, then A");

    // Two nodes in one packet, in capitals, with the address of a third.
    let records = [1, 2].map(|at| {
        let host = format!("Host{at}.local");
        let instance = format!("{}._P2P-AI-AGENTS._TCP.Local", node_of(at));
        [
            record("_P2P-ai-agents._tcp.LOCAL", 12, 120, &name(&instance)),
            server(&instance, port(at), &host.to_uppercase(), 120),
            text(&instance, "NET=local", 120),
            address(&host, here, 120),
        ]
    });
    let printer = address("printer.local", IpAddr::from([10, 7, 200, 1]), 120);
    say(&socket, &answer(&[records.concat(), vec![printer]].concat()));
    await_dials(2, "both of two nodes in a packet");

    // More records than needed.
    let mut records: Vec<Vec<u8>> =
        (0..100).map(|n| record(&format!("other{n}.local"), 16, 120, b"\x01x")).collect();
    records.extend([
        pointer(&instance(3), 120),
        server(&instance(3), port(3), "three.local", 120),
        text(&instance(3), "net=local", 120),
        address("three.local", here, 120),
    ]);
    say(&socket, &answer(&records));
    await_dials(1, "a node among a hundred other records");

    // A name alone, as reflectors send it: the node queries the missing records.
    say(&socket, &answer(&[pointer(&instance(4), 120)]));
    await_question(&socket, &instance(4));
    say(
        &socket,
        &answer(&[server(&instance(4), port(4), "four.local", 120), text(&instance(4), "net=local", 120)]),
    );
    await_question(&socket, "four.local");
    say(&socket, &answer(&[address("four.local", here, 120)]));
    await_dials(1, "a node of which only the name was said");

    // A goodbye with nothing but the name.
    let heard = |mesh: &Mesh| mesh.json(node, &["node", "status", "--json"])["discovery"]["nodes"].as_u64();
    let before = heard(&mesh);
    say(&socket, &answer(&[pointer(&instance(3), 0)]));
    until("the node that said goodbye is gone", || (heard(&mesh) < before).then_some(()));
    let status = mesh.json(node, &["node", "status", "--json"]);
    assert_eq!(status["discovery"]["packets_unusable"], 0, "{status}");
}

/// Browsing tools see the nodes; legacy resolvers get a unicast answer.
#[test]
fn other_tools_see_a_node() {
    if !enter("announcements::other_tools_see_a_node") {
        return;
    }
    let mut mesh = network();
    let node = mesh.place(&["br7"]);
    mesh.start(node, &["--no-model"]);
    mesh.await_active(node);
    let id = mesh.id(node).to_owned();
    let socket = UdpSocket::bind((HERE, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for (asked, kind) in [
        (SERVICE.to_owned(), 12_u8),
        ("_services._dns-sd._udp.local".to_owned(), 12),
        (format!("{id}.{SERVICE}"), 33),
        (format!("{}.LOCAL", &id[..12]), 1),
    ] {
        let mut packet = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let question = [name(&asked), vec![0, kind, 0, 1]].concat();
        packet.extend(&question);
        let reply = until("a reply comes", || {
            socket.send_to(&packet, GROUP).unwrap();
            let mut buffer = [0; 1500];
            let (length, from) = socket.recv_from(&mut buffer).ok()?;
            assert_eq!(from.port(), 5353, "{asked}");
            Some(buffer[..length].to_vec())
        });
        assert_eq!(reply[..6], [0x12, 0x34, 0x84, 0, 0, 1], "{asked}: its id, and one question");
        assert!(reply[6..8] != [0, 0], "{asked}: no answer");
        assert_eq!(reply[12..12 + question.len()], question, "as it was asked");
    }
}

fn network() -> Mesh {
    let mesh = Mesh::new(&["br7"]);
    // This process is a machine on the bridge, too.
    ip("addr add 10.7.255.1/16 dev br7\n");
    mesh
}

/// Opens a socket that sends and receives as mDNS requires.
fn speaker() -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5353)).into()).unwrap();
    socket.set_multicast_if_v4(&HERE).unwrap();
    socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &HERE).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

fn say(socket: &UdpSocket, packet: &[u8]) {
    socket.send_to(packet, GROUP).unwrap();
}

/// Waits for a query for a name.
#[track_caller]
fn await_question(socket: &UdpSocket, asked: &str) {
    let label = name(asked.split('.').next().unwrap());
    let label = &label[..label.len() - 1];
    until(&format!("somebody asks for {asked}"), || {
        let mut buffer = [0; 9000];
        let length = socket.recv(&mut buffer).ok()?;
        let is_question = buffer[2] & 0x80 == 0;
        (is_question && buffer[..length].windows(label.len()).any(|window| window == label)).then_some(())
    });
}

/// Returns the announcement or goodbye of a node in the network `local`.
fn whole(node: &str, port: u16, host: &str, addresses: &[(&str, IpAddr)], ttl: u32) -> Vec<u8> {
    let instance = format!("{node}.{SERVICE}");
    let mut records =
        vec![pointer(&instance, ttl), server(&instance, port, host, ttl), text(&instance, "net=local", ttl)];
    records.extend(addresses.iter().map(|(host, at)| address(host, *at, ttl)));
    answer(&records)
}

fn answer(records: &[Vec<u8>]) -> Vec<u8> {
    let [high, low] = u16::try_from(records.len()).unwrap().to_be_bytes();
    [&[0, 0, 0x84, 0, 0, 0, high, low, 0, 0, 0, 0][..], &records.concat()].concat()
}

fn pointer(instance: &str, ttl: u32) -> Vec<u8> {
    record(SERVICE, 12, ttl, &name(instance))
}

fn server(instance: &str, port: u16, host: &str, ttl: u32) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    record(instance, 33, ttl, &[&[0, 0, 0, 0, high, low], &name(host)[..]].concat())
}

fn text(instance: &str, attribute: &str, ttl: u32) -> Vec<u8> {
    let data = name(attribute);
    record(instance, 16, ttl, &data[..data.len() - 1])
}

fn address(host: &str, address: IpAddr, ttl: u32) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => record(host, 1, ttl, &address.octets()),
        IpAddr::V6(address) => record(host, 28, ttl, &address.octets()),
    }
}

fn record(owner: &str, kind: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&name(owner)[..], &[0, kind, 0, 1], &ttl.to_be_bytes(), &length, data].concat()
}

/// Returns the encoding of a name.
fn name(labels: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    labels.split('.').flat_map(label).chain([0]).collect()
}

const SERVICE: &str = "_p2p-ai-agents._tcp.local";
const HERE: Ipv4Addr = Ipv4Addr::new(10, 7, 255, 1);
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);
