//! Tests on loopback, and in network namespaces that they create.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::*;
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Set in the copies of the test program that run inside a namespace.
const NETNS: &str = "MULTICAST_TEST_IN_NAMESPACE";

fn loopback_only(port: u16) -> MulticastOptions {
    MulticastOptions { interfaces: Some(vec!["lo".to_owned()]), port, ..MulticastOptions::default() }
}

async fn next(socket: &mut MulticastSocket) -> MulticastEvent {
    timeout(Duration::from_secs(5), socket.next()).await.expect("an event in time")
}

async fn interfaces(socket: &mut MulticastSocket) -> Vec<Interface> {
    match next(socket).await {
        MulticastEvent::Interfaces(interfaces) => interfaces,
        MulticastEvent::Packet { .. } => panic!("a packet before the interfaces"),
    }
}

async fn packet(socket: &mut MulticastSocket) -> (u32, SocketAddr, Vec<u8>) {
    match next(socket).await {
        MulticastEvent::Packet { interface, from, bytes } => (interface, from, bytes),
        MulticastEvent::Interfaces(interfaces) => panic!("{interfaces:?}"),
    }
}

/// Waits for a matching report, and returns how long that took.
async fn until(
    socket: &mut MulticastSocket,
    what: &str,
    wanted: impl Fn(&[Interface]) -> bool,
) -> (Duration, Vec<Interface>) {
    let begun = Instant::now();
    loop {
        let event = timeout(Duration::from_secs(5).saturating_sub(begun.elapsed()), socket.next()).await;
        match event.unwrap_or_else(|_| panic!("no report in which {what}")) {
            MulticastEvent::Interfaces(interfaces) if wanted(&interfaces) => {
                return (begun.elapsed(), interfaces);
            }
            MulticastEvent::Interfaces(_) | MulticastEvent::Packet { .. } => {}
        }
    }
}

/// Runs a test of this file again in its own network namespace. Returns whether this is that second run.
fn in_namespace(name: &str) -> bool {
    if std::env::var_os(NETNS).is_some() {
        return true;
    }
    let probe = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: this host does not let the test make a network namespace");
        return false;
    }
    let child = Command::new("unshare")
        .args(["-rn", "sh", "-c", "ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(format!("multicast::tests::{name}"))
        .env(NETNS, "1")
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && said.contains("1 passed"), "{said}{complained}");
    false
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two sockets that hear each other and themselves over loopback.
async fn meet(options: MulticastOptions) {
    let port = options.port;
    let (mut a, mut b) = (MulticastSocket::open(options.clone()), MulticastSocket::open(options));
    let (seen_a, seen_b) = (interfaces(&mut a).await, interfaces(&mut b).await);
    let loopback = Interface { prefix_length: 8, ..Interface::new(1, IpAddr::V4(Ipv4Addr::LOCALHOST)) };
    assert_eq!((seen_a, seen_b), (vec![loopback], vec![loopback]));
    let mut sockets = [a, b];
    for (sender, bytes) in [(0, b"from a".to_vec()), (1, vec![7; PACKET_BYTES_MAX])] {
        sockets[sender].send(1, Family::V4, bytes.clone());
        for socket in &mut sockets {
            let expected = (1, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), bytes.clone());
            assert_eq!(packet(socket).await, expected);
        }
    }
}

#[tokio::test]
async fn nodes_on_loopback_hear_each_other_and_themselves() {
    meet(loopback_only(45_353)).await;
}

#[tokio::test]
async fn a_host_with_nothing_but_loopback_is_enough() {
    if in_namespace("a_host_with_nothing_but_loopback_is_enough") {
        meet(MulticastOptions::default()).await;
    }
}

#[tokio::test]
async fn packets_go_over_ipv6_alone_where_there_is_nothing_else() {
    if !in_namespace("packets_go_over_ipv6_alone_where_there_is_nothing_else") {
        return;
    }
    ip("link add eth0 type veth peer name eth1");
    ip("link set eth0 up");
    ip("link set eth1 up");
    let only = |name: &str| MulticastOptions {
        interfaces: Some(vec![name.to_owned()]),
        ..MulticastOptions::default()
    };
    let (mut a, mut b) = (MulticastSocket::open(only("eth0")), MulticastSocket::open(only("eth1")));
    // Only after the host has completed duplicate address detection.
    let (_, at_a) = until(&mut a, "there is an address", |interfaces| interfaces.len() == 1).await;
    let (_, at_b) = until(&mut b, "there is an address", |interfaces| interfaces.len() == 1).await;
    assert!(at_a[0].multicast && at_b[0].multicast, "{at_a:?} {at_b:?}");
    let IpAddr::V6(address) = at_a[0].address else { panic!("{at_a:?}") };
    a.send(at_a[0].index, Family::V6, b"over six".to_vec());
    let from = SocketAddrV6::new(address, 5353, 0, at_b[0].index).into();
    assert_eq!(packet(&mut b).await, (at_b[0].index, from, b"over six".to_vec()));
}

/// As avahi does with `disallow-other-stacks=yes`.
#[tokio::test]
async fn a_port_that_another_program_holds_alone_is_told_from_a_network_without_multicast() {
    let alone = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let options = loopback_only(alone.local_addr().unwrap().port());
    let mut socket = MulticastSocket::open(options.clone());
    let loopback = Interface { prefix_length: 8, ..Interface::new(1, IpAddr::V4(Ipv4Addr::LOCALHOST)) };
    let deaf = Interface { multicast: false, ..loopback };
    assert_eq!(interfaces(&mut socket).await, [deaf]);
    assert!(socket.is_taken());
    drop(alone);
    let mut socket = MulticastSocket::open(options);
    assert!(interfaces(&mut socket).await[0].multicast && !socket.is_taken());
}

#[tokio::test]
async fn without_any_interface_nothing_fails() {
    let options =
        MulticastOptions { interfaces: Some(vec!["nowhere0".to_owned()]), ..MulticastOptions::default() };
    let mut socket = MulticastSocket::open(options);
    assert_eq!(interfaces(&mut socket).await, []);
    socket.send(1, Family::V4, b"lost".to_vec());
    assert!(timeout(Duration::from_millis(50), socket.next()).await.is_err());
}

#[tokio::test]
async fn a_flood_is_dropped_beyond_the_buffer_and_too_large_packets_always() {
    let options = loopback_only(45_354);
    let (mut a, mut b) = (MulticastSocket::open(options.clone()), MulticastSocket::open(options));
    interfaces(&mut a).await;
    interfaces(&mut b).await;
    for _ in 0..4 {
        a.send(1, Family::V4, vec![0; PACKET_BYTES_MAX + 1]);
        a.send(1, Family::V4, vec![0; 20_000]);
    }
    for _ in 0..2_000 {
        a.send(1, Family::V4, vec![1; 1000]);
    }
    let mut received = 0;
    while let Ok(event) = timeout(Duration::from_millis(200), b.next()).await {
        let MulticastEvent::Packet { bytes, .. } = event else { panic!("{event:?}") };
        assert_eq!(bytes.len(), 1000);
        received += 1;
    }
    assert!(received > 0 && received < 1_000, "{received}");
    a.send(1, Family::V4, b"after".to_vec());
    assert_eq!(packet(&mut b).await.2, b"after");
}
