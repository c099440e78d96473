//! Programs that reach a node's port and break the protocol: they lose their link, and nothing else happens.

use crate::world::{Node, World, exchange, until};
use engine::wire::{Advert, Hello, Message, PROTOCOL_VERSION, SharedBytes, Signature, SignedAdvert};
use engine::{DialId, Identity};
use futures::{AsyncReadExt, AsyncWriteExt};
use runtime::ports::{Transport, TransportEvent};
use runtime::transport::{Libp2pTransport, Limits, LinkStream};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

const SECRET: [u8; 32] = [66; 32];

/// Connects to a node as a peer that proves its key, as every real one does.
async fn connect(node: &Node<'_>) -> (Libp2pTransport, LinkStream) {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut transport = Libp2pTransport::bind(&SECRET, &[loopback], Limits::for_peers(8)).unwrap();
    transport.dial(DialId(1), SocketAddr::from((Ipv4Addr::LOCALHOST, node.port)), None);
    loop {
        match timeout(Duration::from_secs(20), transport.next()).await.expect("a link") {
            TransportEvent::Up { stream, .. } => return (transport, stream),
            TransportEvent::Listening { .. } => {}
            TransportEvent::DialFailed { error, .. } => panic!("{error:?}"),
        }
    }
}

/// Sends bytes over a fresh link, and returns what the node sent until it closed the link.
fn send(node: &Node<'_>, bytes: &[u8], then_close: bool) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_transport, mut stream) = connect(node).await;
        // The node may close before it has taken everything.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        if then_close {
            let _ = stream.close().await;
        }
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the node keeps a link that broke the protocol");
        answer
    })
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn hello() -> Vec<u8> {
    let advert = Advert {
        key: Identity::from_secret(&SECRET).public_key(),
        sequence: 1,
        incarnation: 1,
        addresses: Vec::new(),
        version: "0".to_owned(),
        max_links: 32,
        slots: 1,
        models: Vec::new(),
        links: Vec::new(),
        session_key: [0; 32],
    };
    let advert = SignedAdvert { body: SharedBytes(advert.encode().into()), signature: Signature([0; 64]) };
    Message::Hello(Box::new(Hello {
        network: "elsewhere".to_owned(),
        incarnation: 1,
        advert,
        sent_at: engine::UnixMillis(0),
    }))
    .encode()
}

/// A node still does its work.
fn works(node: &Node<'_>) {
    let id = node.submit("still here");
    assert_eq!(node.await_task(&id)["status"], "COMPLETED");
    assert_eq!(node.run(&["node", "peers"]).good(), "No connected peers\n");
}

#[test]
fn bytes_that_are_no_protocol_at_all() {
    let world = World::new();
    let node = world.node("a");
    node.start();
    let pid = node.pid();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
    // A fixed sequence stands for random bytes, so that a failure repeats.
    let noise: Vec<u8> = (0_u32..1 << 16).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    exchange(address, &noise);
    exchange(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    exchange(address, &[0xff; 4096]);
    works(&node);
    assert_eq!(node.pid(), pid);
}

#[test]
fn frames_that_are_too_large_cut_short_or_nonsense() {
    let world = World::new();
    let node = world.node("a");
    node.start();
    let pid = node.pid();
    let large = frame(&vec![7; 10 << 20]);
    let truncated = &frame(&hello())[..40];
    for (bytes, then_close) in [
        (large.as_slice(), false),
        (truncated, true),
        (&[0xff, 0xff, 0xff, 0xff], false),
        (&frame(b""), false),
        (&frame(&[0xee; 300]), false),
        (&frame(&Message::Goodbye.encode()), false),
    ] {
        send(&node, bytes, then_close);
    }
    works(&node);
    assert_eq!(node.pid(), pid);
}

#[test]
fn a_peer_of_another_protocol_version_is_told_so() {
    let world = World::new();
    let node = world.node("a");
    node.start();
    let own = PROTOCOL_VERSION.to_be_bytes();
    let mut bytes = hello();
    let at = bytes.windows(2).position(|pair| pair == own).unwrap();
    bytes[at..at + 2].copy_from_slice(&(PROTOCOL_VERSION + 1).to_be_bytes());
    let answer = send(&node, &frame(&bytes), false);
    let refusal = Message::Refuse(engine::event::RefuseReason::OtherVersion).encode();
    assert!(answer.ends_with(&frame(&refusal)), "{answer:?}");
    until("the log says so", || {
        let log = std::fs::read_to_string(node.home.log_file()).ok()?;
        log.lines().any(|line| line.contains("link refused") && line.contains("other_version")).then_some(())
    });
    works(&node);
}
