//! Programs that connect to a node and violate the protocol: they are disconnected, the violation is counted by
//! kind, and nothing else happens.

use crate::doctor::codes;
use crate::harness::{Node, Sandbox, exchange, until, wall};
use crate::raw_peer::{RawPeer, advert, frame};
use engine::event::RefuseReason;
use engine::ids::{MessageId, TraceId};
use engine::wire::{Beat, Envelope, Message, PROTOCOL_VERSION, Payload, Seal};
use engine::{Identity, TraceContext, UnixMillis};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

fn faults(node: &Node<'_>) -> Value {
    node.json(&["node", "status", "--json"])["faults"].clone()
}

/// Waits until exactly these faults are counted, and checks that the node is otherwise unaffected.
#[track_caller]
fn await_faults(node: &Node<'_>, pid: Option<u32>, expected: &Value) {
    let mut last = Value::Null;
    for _ in 0..100 {
        last = faults(node);
        if last == *expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(last, *expected);
    assert_eq!(node.pid(), pid, "it is still the same process");
    until("nobody is linked", || {
        (node.run(&["node", "peers"]).good() == "No connected peers; the node keeps looking for others\n")
            .then_some(())
    });
}

#[test]
fn bytes_that_are_no_protocol_at_all() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let pid = node.pid();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
    // A fixed sequence replaces random bytes, so that a failure is repeatable.
    let noise: Vec<u8> = (0_u32..1 << 16).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    exchange(address, &noise);
    // Its first byte announces more than follows.
    exchange(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    exchange(address, &[0xff; 4096]);
    await_faults(
        &node,
        pid,
        &json!({"peers": {}, "refused": {}, "dropped": {}, "strangers": {"handshake_broken": 2, "handshake_late": 1}}),
    );
    until("the models are loaded, and the doctor has but a note", || {
        (codes(&node) == (0, ["stranger_fault", "stranger_fault", "alone"].map(str::to_owned).to_vec()))
            .then_some(())
    });
    let id = node.submit("still here");
    assert_eq!(node.await_task(&id)["status"], "COMPLETED");
}

#[test]
fn frames_that_no_node_sends_before_it_is_a_peer() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start_bare();
    let pid = node.pid();
    let mut silent = RawPeer::connect(&node, 1);
    let other = Identity::from_secret(&[99; 32]);
    type Say = fn(&RawPeer, &Identity) -> Vec<u8>;
    let says: [Say; 9] = [
        |_, _| frame(&vec![7; 10 << 20]),
        |_, _| vec![0xff; 4],
        |_, _| frame(b""),
        |_, _| frame(&[0xee; 300]),
        |_, _| frame(&Message::Goodbye.encode()),
        |_, _| frame(&Message::Welcome.encode()).repeat(2),
        |raw_peer, _| frame(&raw_peer.hello()).repeat(2),
        |raw_peer, other| frame(&raw_peer.hello_of(other, raw_peer.network(), wall())),
        |raw_peer, _| {
            let mut hello = raw_peer.hello();
            // The byte before the clock is part of the signature.
            let at = hello.len() - 10;
            hello[at] ^= 1;
            [frame(&hello), frame(&Message::Welcome.encode())].concat()
        },
    ];
    for (key, say) in (2..).zip(says) {
        let mut raw_peer = RawPeer::connect(&node, key);
        let bytes = say(&raw_peer, &other);
        raw_peer.send(&bytes);
        raw_peer.read_to_end();
    }
    for cut in [2, 40] {
        let mut raw_peer = RawPeer::connect(&node, 100);
        let hello = frame(&raw_peer.hello());
        raw_peer.send(&hello[..cut]);
        raw_peer.finish();
        raw_peer.read_to_end();
    }
    silent.read_to_end();
    await_faults(
        &node,
        pid,
        &json!({
            "peers": {
                "advert_forged": 2, "frame_malformed": 2, "frame_too_large": 2, "frame_truncated": 2,
                "hello_late": 1, "hello_out_of_order": 3,
            },
            "refused": {}, "dropped": {}, "strangers": {},
        }),
    );
}

#[test]
fn frames_that_no_node_sends_once_it_is_a_peer() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start_bare();
    let pid = node.pid();
    let other = Identity::from_secret(&[99; 32]);
    let mut forged = advert(&other);
    forged.signature.0[0] ^= 1;
    let ping = frame(&Message::Ping(Beat { number: 1, digest: 2, load: 3 }).encode());
    let says = [
        (1 << 20 | 1_u32).to_be_bytes().to_vec(),
        frame(&[0xee; 300]),
        frame(&RawPeer::connect(&node, 50).hello()),
        frame(&Message::Adverts(vec![forged]).encode()),
        ping.repeat(20_000),
    ];
    for (key, say) in (2..).zip(&says) {
        let mut raw_peer = RawPeer::join(&node, key);
        raw_peer.send(say);
        raw_peer.read_to_end();
    }
    // A forged message of another node is dropped and the link stays, because the peer may only have relayed it.
    let mut liar = RawPeer::join(&node, 51);
    let me = node.json(&["node", "status", "--json"])["node_id"].as_str().unwrap().parse().unwrap();
    let lie = Message::Routed(Box::new(Envelope {
        ttl: 10,
        hops: 0,
        message: MessageId([1; 16]),
        origin: other.node_id(),
        destination: me,
        trace: TraceContext { id: TraceId([2; 16]), sampled: true },
        sent_at: UnixMillis(0),
        seal: Seal::None,
        payload: Payload::Probe(engine::wire::Bytes(Vec::new())).encode(),
    }));
    liar.send(&frame(&lie.encode()));
    until("the lie is counted", || (faults(&node)["dropped"] == json!({"unauthentic": 1})).then_some(()));
    assert_eq!(node.json(&["node", "status", "--json"])["peers"], 1, "the link stays");
    drop(liar);
    await_faults(
        &node,
        pid,
        &json!({
            "peers": {
                "advert_forged": 1, "frame_malformed": 1, "frame_too_large": 1, "hello_out_of_order": 1,
                "rate_exceeded": 1,
            },
            "refused": {}, "dropped": {"unauthentic": 1}, "strangers": {},
        }),
    );
}

#[test]
fn peers_that_do_not_fit_are_told_why_and_so_is_the_user() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start_bare();
    let mut future = RawPeer::connect(&node, 1);
    let mut bytes = future.hello();
    let own = PROTOCOL_VERSION.to_be_bytes();
    let at = bytes.windows(2).position(|pair| pair == own).unwrap();
    bytes[at..at + 2].copy_from_slice(&(PROTOCOL_VERSION + 1).to_be_bytes());
    // The rest of a future version's hello is not parsed.
    bytes.truncate(at + 2);
    bytes.extend([0xab; 500]);
    future.send(&frame(&bytes));
    let refusal = |reason| frame(&Message::Refuse(reason).encode());
    let answer = future.read_to_end();
    assert!(answer.ends_with(&refusal(RefuseReason::OtherVersion)), "{answer:?}");

    let mut elsewhere = RawPeer::connect(&node, 2);
    let hello = elsewhere.hello_of(&Identity::from_secret(&[2; 32]), "elsewhere", wall());
    elsewhere.send(&frame(&hello));
    let answer = elsewhere.read_to_end();
    assert!(answer.ends_with(&refusal(RefuseReason::OtherNetwork)), "{answer:?}");

    assert_eq!(faults(&node)["refused"], json!({"other_network": 1, "other_version": 1}));
    let mut found = codes(&node).1;
    found.sort_unstable();
    assert_eq!(found, ["network_mismatch", "version_mismatch"]);
    until("the log tells of the refusal", || {
        let refused = |line: &str| line.contains("link refused") && line.contains("other_version");
        node.log().lines().any(refused).then_some(())
    });
}

#[test]
fn a_peer_whose_clock_is_off_is_a_peer_and_the_doctor_says_so() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start_bare();
    let mut raw_peer = RawPeer::connect(&node, 7);
    // The hello takes less than a second to arrive.
    let long_ago = UnixMillis(wall().0 + 1000 - 24 * 3_600_000);
    let hello = raw_peer.hello_of(&Identity::from_secret(&[7; 32]), node.network(), long_ago);
    raw_peer.send(&[frame(&hello), frame(&Message::Welcome.encode())].concat());
    until("the doctor says so", || (codes(&node) == (1, vec!["clock_differs".to_owned()])).then_some(()));
    let said = node.run(&["doctor"]).stdout;
    assert!(said.contains("is 23h 59m behind this machine's"), "{said}");
    drop(raw_peer);
    until("nothing is wrong without it", || (codes(&node).0 == 0).then_some(()));
}
