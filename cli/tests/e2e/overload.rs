//! Floods and slow peers: what they cost a node, and that its other peers hardly notice.
//!
//! Two nodes are linked and one is attacked. The other measures its latency: at most twice the usual time, with a
//! tolerance for a busy machine. The attacked node may use at most 32 MiB more memory, does not restart, and counts
//! the violations.

use crate::doctor::codes;
use crate::harness::{Ran, Sandbox, SetOnDrop, exchange, run, until};
use crate::mesh::{Mesh, enter, resident};
use crate::raw_peer::{RawPeer, frame};
use engine::input::Family;
use engine::wire::{Beat, Message};
use runtime::multicast::{MulticastOptions, MulticastSocket};
use runtime::ports::{Multicast, MulticastEvent};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};

/// Runs `attack` until its flag is set, and checks its effect on the process `pid` and on its honest peer, which
/// requests the route to it with `explain`.
#[track_caller]
fn withstand(pid: u32, explain: impl Fn() -> Ran, attack: impl Fn(&AtomicBool) + Sync) {
    let sample = || {
        let ran = explain();
        let route: Value = serde_json::from_str(&ran.stdout).ok()?;
        route["hops"][0]["round_trip_us"].as_u64()
    };
    let round_trip = |least: Duration| {
        let (begun, mut samples) = (Instant::now(), Vec::new());
        while samples.len() < SAMPLES || begun.elapsed() < least {
            samples.push(sample().unwrap_or(u64::MAX));
        }
        samples.sort_unstable();
        Duration::from_micros(samples[samples.len() / 2])
    };
    until("the two are linked", sample);
    // Resets the peak, if this user may: only root can read a node's memory figures.
    let new_peak = std::fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok();
    let before = resident(pid, if new_peak { "VmRSS" } else { "VmHWM" });
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let quiet = round_trip(Duration::ZERO);
        let over = AtomicBool::new(false);
        let busy = scope(|scope| {
            let attack_ends = SetOnDrop(&over);
            let attacker = scope.spawn(|| attack(&over));
            let busy = round_trip(ATTACK);
            drop(attack_ends);
            attacker.join().unwrap();
            busy
        });
        seen.push((quiet, busy));
        if busy <= quiet * 2 + NOISE {
            break;
        }
    }
    let (quiet, busy) = *seen.last().unwrap();
    let grown = resident(pid, "VmHWM").saturating_sub(before);
    eprintln!("a peer's round trip {quiet:?}, under attack {busy:?}; memory +{grown} KiB");
    assert!(busy <= quiet * 2 + NOISE, "in each round a peer waits too long: {seen:?}");
    assert!(grown <= GROWTH_KIB_MAX, "memory grew by {grown} KiB");
}

#[test]
fn noise_on_many_connections() {
    let sandbox = Sandbox::new();
    let (node, honest) = (sandbox.node("a"), sandbox.node("b"));
    let id = node.start_bare();
    honest.start_bare();
    let pid = node.pid().unwrap();
    let noise: Vec<u8> = (0_u32..1 << 16).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
    withstand(
        pid,
        || honest.run(&["route", "explain", &id, "--json"]),
        |over| {
            // Some new keys, and repeatedly a known one.
            for key in (9..=u8::MAX).flat_map(|key| [key, 9]).cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                exchange(address, &noise);
                let mut raw_peer = RawPeer::connect(&node, key);
                raw_peer.send(&frame(&[0xee; 8000]));
                raw_peer.read_to_end();
            }
        },
    );
    let faults = node.json(&["node", "status", "--json"])["faults"].clone();
    assert!(faults["strangers"]["handshake_broken"].as_u64() > Some(5), "{faults}");
    assert!(faults["peers"]["frame_malformed"].as_u64() > Some(5), "{faults}");
    assert!(faults["refused"]["quarantined"].as_u64() > Some(5), "{faults}");
    assert_eq!(node.pid(), Some(pid));
}

#[test]
fn a_thousand_connections_from_one_address() {
    let sandbox = Sandbox::new();
    let [node, honest, newcomer] = ["a", "b", "c"].map(|name| sandbox.node(name));
    let id = node.start_bare();
    honest.start_bare();
    let pid = node.pid().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
    withstand(
        pid,
        || honest.run(&["route", "explain", &id, "--json"]),
        |over| crowd(address, || over.load(Ordering::Relaxed)),
    );
    // Connections from other addresses are accepted, here from a node that the attacked one has not discovered.
    let joined = AtomicBool::new(false);
    scope(|scope| {
        let _joined = SetOnDrop(&joined);
        scope.spawn(|| crowd(address, || joined.load(Ordering::Relaxed)));
        let mut start = newcomer.command(&["node", "start", "--no-model", "--bootstrap-peer"]);
        start.arg(address.to_string()).env("P2P_AI_DISCOVERY", "false");
        run(start, b"").good();
        newcomer.await_peers(&[&id]);
    });
    let faults = node.json(&["node", "status", "--json"])["faults"].clone();
    assert!(faults["strangers"]["too_many"].as_u64() > Some(800), "{faults}");
    assert!(codes(&node).1.contains(&"stranger_fault".to_owned()));
    assert_eq!(node.pid(), Some(pid));
}

/// Opens a thousand silent connections from one address, and replaces the closed ones.
fn crowd(address: SocketAddr, over: impl Fn() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut held: Vec<TcpStream> = Vec::new();
        let mut opened = 0;
        while opened < 1000 || !over() {
            held.retain(|stream| matches!(stream.try_read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
            for _ in 0..100 {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from((ATTACKER, 0))).unwrap();
                held.extend(socket.connect(address).await.ok().filter(|_| held.len() < 1000));
                opened += 1;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn peers_that_read_nothing_or_next_to_nothing() {
    let sandbox = Sandbox::new();
    let (node, honest) = (sandbox.node("a"), sandbox.node("b"));
    let id = node.start_bare();
    honest.start_bare();
    let pid = node.pid().unwrap();
    withstand(
        pid,
        || honest.run(&["route", "explain", &id, "--json"]),
        |_| {
            // These peers are alive and keep sending requests; a node that queued every response would grow for
            // ever.
            let mut deaf = RawPeer::join(&node, 1);
            let mut slow = RawPeer::join(&node, 2);
            let pings =
                frame(&Message::Ping(Beat { number: 1, digest: u64::MAX, load: 1 }).encode()).repeat(400);
            let begun = Instant::now();
            let mut read_at = begun;
            let (mut deaf_lives, mut slow_lives) = (true, true);
            while deaf_lives || slow_lives {
                assert!(begun.elapsed() < READ_NOTHING_MAX, "peers that read nothing keep their links");
                deaf_lives = deaf_lives && deaf.send(&pings);
                slow_lives = slow_lives && slow.send(&pings);
                if slow_lives && read_at.elapsed() >= Duration::from_secs(1) {
                    slow_lives = slow.read(1).is_some();
                    read_at = Instant::now();
                }
                sleep(Duration::from_millis(100));
            }
        },
    );
    let faults = node.json(&["node", "status", "--json"])["faults"].clone();
    assert!(faults["peers"]["not_reading"].as_u64() >= Some(2), "{faults}");
    assert_eq!(faults["peers"].as_object().unwrap().len(), 1, "nothing else was wrong with them: {faults}");
    assert!(codes(&node).1.contains(&"peer_fault".to_owned()));
    assert_eq!(node.pid(), Some(pid));
}

#[test]
fn packets_that_are_costly_to_read_and_far_too_many() {
    if enter("siege::packets_that_are_costly_to_read_and_far_too_many") {
        flood(Duration::ZERO);
    }
}

/// The same for a minute; see docs/benchmarks.md.
#[test]
#[ignore = "takes a minute"]
fn a_minute_of_packets() {
    if enter("siege::a_minute_of_packets") {
        flood(Duration::from_secs(60));
    }
}

/// Sends 200 valid and 200 invalid packets per second, for at least this long.
fn flood(least: Duration) {
    let mut mesh = Mesh::new(&["br7"]);
    let [node, honest] = [mesh.place(&["br7"]), mesh.place(&["br7"])];
    // This process is a machine on the bridge, too.
    crate::mesh::ip("addr add 10.7.255.1/16 dev br7\n");
    for place in [node, honest] {
        mesh.start(place, &["--no-model"]);
    }
    for place in [node, honest] {
        mesh.await_active(place);
    }
    mesh.await_whole();
    let before = mesh.json(node, &["node", "status", "--json"])["discovery"].clone();
    let id = mesh.id(node).to_owned();
    withstand(
        mesh.pid(node),
        || mesh.run(honest, &["route", "explain", &id, "--json"]),
        |over| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(send_packets(&id, least, || over.load(Ordering::Relaxed)));
        },
    );
    let status = mesh.json(node, &["node", "status", "--json"]);
    let more = |count: &str| status["discovery"][count].as_u64().unwrap() - before[count].as_u64().unwrap();
    assert!(more("packets_heard") > 100 && more("packets_unusable") > 100, "{status}");
    assert!(status["discovery"]["nodes"].as_u64() <= Some(1024), "{status}");
    assert_eq!(status["members"], 2, "what is announced is believed of nobody who is not there: {status}");
    assert_eq!(mesh.false_departures(&[]), 0);
}

/// Returns a packet in which a node on bridge `br7` announces itself.
pub(crate) fn announcement(id: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut socket, interface) = open_socket().await;
        hear_announcement(&mut socket, interface, id).await
    })
}

async fn open_socket() -> (MulticastSocket, u32) {
    let interfaces = Some(vec!["br7".to_owned()]);
    let mut socket = MulticastSocket::open(MulticastOptions { interfaces, ..MulticastOptions::default() });
    let MulticastEvent::Interfaces(interfaces) = socket.next().await else { panic!("no interfaces") };
    let index = interfaces.iter().find(|interface| interface.address.is_ipv4()).unwrap().index;
    (socket, index)
}

async fn send_packets(id: &str, least: Duration, over: impl Fn() -> bool) {
    let (mut socket, interface) = open_socket().await;
    let announcement = hear_announcement(&mut socket, interface, id).await;
    let name = announcement.windows(32).position(|label| label == id.as_bytes()).unwrap();
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let mut number = 0_u64;
    while begun.elapsed() < least || !over() {
        ticks.tick().await;
        // A node that does not exist, a different one each time.
        let mut packet = announcement.clone();
        packet[name..name + 32].copy_from_slice(format!("{number:032x}").as_bytes());
        socket.send(interface, Family::V4, packet);
        socket.send(interface, Family::V4, bomb(number));
        number += 1;
    }
}

/// Waits for the announcement of a node, which it sends on request.
async fn hear_announcement(socket: &mut MulticastSocket, interface: u32, id: &str) -> Vec<u8> {
    let mut question = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend(b"\x0e_p2p-ai-agents\x04_tcp\x05local\0\0\x0c\0\x01");
    loop {
        socket.send(interface, Family::V4, question.clone());
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        while let Ok(event) = tokio::time::timeout_at(until, socket.next()).await {
            if let MulticastEvent::Packet { bytes, .. } = event
                && bytes.windows(32).any(|label| label == id.as_bytes())
                && bytes[2] & 0x80 != 0
            {
                return bytes;
            }
        }
    }
}

/// Returns a malicious packet with the service name: in turn names that are compressed over thousands of steps, a
/// name that points to itself, and a record count that is too high.
fn bomb(number: u64) -> Vec<u8> {
    let service = b"\x0e_p2p-ai-agents\x04_tcp\x05local\0";
    let header = |records: u16| {
        let [high, low] = records.to_be_bytes();
        [0, 0, 0x84, 0, 0, 0, high, low, 0, 0, 0, 0]
    };
    match number % 3 {
        0 => {
            let mut packet = header(400).to_vec();
            packet.extend(service);
            let data = 4_000_u16;
            packet.extend([0, 16, 0, 1, 0, 0, 0, 9]);
            packet.extend(data.to_be_bytes());
            // Each step points to the one before it, the first to the name above.
            let first = u16::try_from(packet.len()).unwrap();
            for step in (0..data).step_by(2) {
                let to = if step == 0 { 12 } else { first + step - 2 };
                packet.extend((0xc000 | to).to_be_bytes());
            }
            let last = (0xc000 | (first + data - 2)).to_be_bytes();
            while packet.len() + 12 <= 8_900 {
                packet.extend(last);
                packet.extend([0, 16, 0, 1, 0, 0, 0, 9, 0, 0]);
            }
            packet
        }
        1 => {
            let mut packet = header(1).to_vec();
            packet.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 9, 0, 30]);
            packet.extend(service);
            packet
        }
        _ => {
            let mut packet = header(u16::MAX).to_vec();
            packet.extend(service);
            packet.extend([0, 12, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
            packet
        }
    }
}

/// An address of this machine that no honest node uses.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const SAMPLES: usize = 15;
/// Minimum duration of an attack.
const ATTACK: Duration = Duration::from_secs(2);
/// A node waits 10 s for a reader, and longer on a busy machine.
const READ_NOTHING_MAX: Duration = Duration::from_secs(120);
/// A busy machine may spoil a round.
const ROUNDS: usize = 3;
/// Tolerance of a round trip.
const NOISE: Duration = Duration::from_millis(3);
const GROWTH_KIB_MAX: u64 = 32 << 10;
