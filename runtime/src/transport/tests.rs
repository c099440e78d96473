#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on fails")]

use super::*;
use crate::ports::{Transport, TransportEvent};
use engine::error::DialError;
use engine::{DialId, Identity, NodeId, PublicKey, StrangerFault};
use futures::{AsyncReadExt, AsyncWriteExt};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const LIMITS: Limits = Limits { established: 96, per_peer: 2, pending_inbound: 128, pending_outbound: 32 };

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A transport that has reported its port.
async fn transport(seed: u8) -> Libp2pTransport {
    let mut transport = Libp2pTransport::bind(&[seed; 32], &[loopback(0)], LIMITS).unwrap();
    let port = transport.port();
    assert!(matches!(next(&mut transport).await, TransportEvent::Listening { port: told } if told == port));
    transport
}

fn key(seed: u8) -> PublicKey {
    Identity::from_secret(&[seed; 32]).public_key()
}

fn id(seed: u8) -> NodeId {
    key(seed).node_id()
}

/// Returns the next event, without stranger faults.
async fn next(transport: &mut Libp2pTransport) -> TransportEvent<LinkStream> {
    loop {
        let event = timeout(Duration::from_secs(10), transport.next()).await.expect("an event in time");
        if !matches!(event, TransportEvent::StrangerFault { .. }) {
            return event;
        }
    }
}

/// Returns the next stranger fault and its address.
async fn stranger(transport: &mut Libp2pTransport) -> (IpAddr, StrangerFault) {
    match timeout(Duration::from_secs(10), transport.next()).await.expect("an event in time") {
        TransportEvent::StrangerFault { remote, fault } => (remote.ip(), fault),
        other => panic!("{other:?}"),
    }
}

struct Up {
    peer: PublicKey,
    remote: SocketAddr,
    dial: Option<DialId>,
    stream: LinkStream,
}

async fn up(transport: &mut Libp2pTransport) -> Up {
    match next(transport).await {
        TransportEvent::Up { peer, remote, dial, stream } => Up { peer, remote, dial, stream },
        other => panic!("{other:?}"),
    }
}

async fn failure(transport: &mut Libp2pTransport) -> (DialId, DialError) {
    match next(transport).await {
        TransportEvent::DialFailed { dial, error } => (dial, error),
        other => panic!("{other:?}"),
    }
}

/// Two transports and the two ends of a link, dialled by the first.
async fn linked() -> (Libp2pTransport, Libp2pTransport, Up, Up) {
    let (mut a, mut b) = (transport(1).await, transport(2).await);
    a.dial(DialId(7), loopback(b.port()), Some(id(2)));
    let (from_a, from_b) = tokio::join!(up(&mut a), up(&mut b));
    (a, b, from_a, from_b)
}

async fn read_to_end(stream: &mut LinkStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_exchange_bytes_and_know_each_other() {
    let (a, b, mut from_a, mut from_b) = linked().await;
    assert_eq!((from_a.peer, from_a.dial, from_a.remote), (key(2), Some(DialId(7)), loopback(b.port())));
    assert_eq!((from_b.peer, from_b.dial), (key(1), None));
    assert!(from_b.remote.ip().is_loopback() && from_b.remote.port() != a.port());

    let big = vec![5; 3 << 20];
    let (sent, got) = tokio::join!(
        async {
            from_a.stream.write_all(&big).await.unwrap();
            from_a.stream.flush().await.unwrap();
            let mut answer = [0; 4];
            from_a.stream.read_exact(&mut answer).await.unwrap();
            answer
        },
        async {
            let mut got = vec![0; big.len()];
            from_b.stream.read_exact(&mut got).await.unwrap();
            from_b.stream.write_all(b"done").await.unwrap();
            from_b.stream.flush().await.unwrap();
            got
        }
    );
    assert_eq!(&sent, b"done");
    assert!(got == big);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_one_end_ends_the_other_and_loses_nothing_written() {
    let (mut a, mut b) = (transport(1).await, transport(2).await);
    for round in 0..20 {
        a.dial(DialId(round), loopback(b.port()), Some(id(2)));
        let (here, there) = tokio::join!(up(&mut a), up(&mut b));
        assert_eq!(here.dial, Some(DialId(round)));
        // The ends alternate.
        let (mut first, mut last) =
            if round % 2 == 0 { (here.stream, there.stream) } else { (there.stream, here.stream) };
        last.write_all(b"nobody reads this").await.unwrap();
        last.flush().await.unwrap();
        first.write_all(&[9; 200_000]).await.unwrap();
        first.flush().await.unwrap();
        drop(first);
        assert_eq!(read_to_end(&mut last).await.len(), 200_000, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_closes_the_connection_even_if_the_other_end_holds_on() {
    let (mut a, mut b, from_a, from_b) = linked().await;
    drop(from_a);
    // Two links with one peer are allowed. Once the first is closed, two more come up.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut held = Vec::new();
    while held.len() < 4 {
        a.dial(DialId(9), loopback(b.port()), None);
        let event = next(&mut a).await;
        if matches!(event, TransportEvent::Up { .. }) {
            held.push(event);
            held.push(next(&mut b).await);
        } else {
            // The other end reports the rejected dial, and takes no more while nobody polls it.
            let _ = timeout(Duration::from_millis(20), b.next()).await;
        }
        assert!(Instant::now() < deadline, "the dropped link still counts");
    }
    drop(from_b);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_transport_ends_its_links() {
    let (a, _b, mut from_a, mut from_b) = linked().await;
    from_a.stream.write_all(b"bye").await.unwrap();
    from_a.stream.flush().await.unwrap();
    drop(a);
    assert_eq!(read_to_end(&mut from_b.stream).await, b"bye");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_than_expected_fails_on_the_dialler_and_is_never_up_on_the_other() {
    let (mut a, mut b) = (transport(1).await, transport(2).await);
    a.dial(DialId(1), loopback(b.port()), Some(id(3)));
    assert_eq!(failure(&mut a).await, (DialId(1), DialError::Authentication));
    a.dial(DialId(2), loopback(b.port()), Some(id(2)));
    let (here, there) = tokio::join!(up(&mut a), up(&mut b));
    assert_eq!((here.dial, there.peer), (Some(DialId(2)), key(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dials_itself_is_told_so() {
    let mut a = transport(1).await;
    let address = loopback(a.port());
    a.dial(DialId(1), address, None);
    assert_eq!(failure(&mut a).await, (DialId(1), DialError::Authentication));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_refused() {
    let mut a = transport(1).await;
    let port = {
        let free = std::net::TcpListener::bind(loopback(0)).unwrap();
        free.local_addr().unwrap().port()
    };
    a.dial(DialId(1), loopback(port), None);
    assert_eq!(failure(&mut a).await, (DialId(1), DialError::Refused));
    a.dial(DialId(2), loopback(0), None);
    assert_eq!(failure(&mut a).await, (DialId(2), DialError::Refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_times_out() {
    let mut a = transport(1).await;
    let hole = std::net::TcpListener::bind(loopback(0)).unwrap();
    let started = Instant::now();
    a.dial(DialId(1), hole.local_addr().unwrap(), None);
    assert_eq!(failure(&mut a).await, (DialId(1), DialError::Timeout));
    assert!((4..=7).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn some_other_server_is_no_node() {
    let mut a = transport(1).await;
    let server = tokio::net::TcpListener::bind(loopback(0)).await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &b"HTTP/1.1 400 Bad Request\r\n".repeat(9))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
    });
    a.dial(DialId(1), address, None);
    assert_eq!(failure(&mut a).await, (DialId(1), DialError::Authentication));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_on_the_port_harm_nobody() {
    let (mut a, mut b) = (transport(1).await, transport(2).await);
    for seed in 0..20_u32 {
        let noise: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(seed * 2 + 1) >> 3) as u8).collect();
        let address = loopback(b.port());
        let written = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let _ = std::io::Write::write_all(&mut stream, &noise);
            // Either an end of file or a reset: the other end closes by itself.
            stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut stream, &mut rest).map_err(|error| error.kind())
        });
        let end = timeout(Duration::from_secs(10), written).await.unwrap().unwrap();
        assert!(!matches!(end, Err(std::io::ErrorKind::WouldBlock)), "the connection was left open");
        assert_eq!(stranger(&mut b).await, (loopback(0).ip(), StrangerFault::HandshakeBroken));
    }
    a.dial(DialId(1), loopback(b.port()), Some(id(2)));
    let (here, there) = tokio::join!(up(&mut a), up(&mut b));
    assert_eq!((here.peer, there.peer), (key(2), key(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_takes_all_the_room_it_gets_leaves_as_much_for_others() {
    let (mut a, mut b) = (transport(1).await, transport(2).await);
    let crowd = IpAddr::from([127, 0, 0, 66]);
    let mut held = Vec::new();
    for _ in 0..LIMITS.pending_inbound {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((crowd, 0).into()).unwrap();
        held.push(socket.connect(loopback(b.port())).await.unwrap());
    }
    for _ in 0..LIMITS.pending_inbound / 2 {
        assert_eq!(stranger(&mut b).await, (crowd, StrangerFault::TooMany));
    }
    a.dial(DialId(1), loopback(b.port()), Some(id(2)));
    let (here, there) = tokio::join!(up(&mut a), up(&mut b));
    assert_eq!((here.peer, there.peer), (key(2), key(1)));
    drop(held);
    let left: Vec<_> = [stranger(&mut b).await, stranger(&mut b).await].into();
    assert_eq!(left, [(crowd, StrangerFault::HandshakeLeft); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_join_at_once() {
    let mut hub = transport(100).await;
    let address = loopback(hub.port());
    let mut nodes = Vec::new();
    for seed in 0..32 {
        nodes.push(transport(seed).await);
    }
    let joins: Vec<_> = nodes
        .into_iter()
        .map(|mut node| {
            node.dial(DialId(1), address, Some(id(100)));
            tokio::spawn(async move {
                let mut link = up(&mut node).await;
                link.stream.write_all(b"hello").await.unwrap();
                link.stream.flush().await.unwrap();
                (node, link)
            })
        })
        .collect();
    let mut links = Vec::new();
    for _ in 0..32 {
        let mut link = up(&mut hub).await;
        let mut hello = [0; 5];
        link.stream.read_exact(&mut hello).await.unwrap();
        links.push(link);
    }
    for join in joins {
        links.push(join.await.unwrap().1);
    }
    assert_eq!(links.len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dialling_at_once_gives_two_links_on_both_sides() {
    let (mut a, mut b) = (transport(1).await, transport(2).await);
    a.dial(DialId(1), loopback(b.port()), Some(id(2)));
    b.dial(DialId(2), loopback(a.port()), Some(id(1)));
    for (transport, dial) in [(&mut a, DialId(1)), (&mut b, DialId(2))] {
        let (first, second) = (up(transport).await, up(transport).await);
        let mut dials = [first.dial, second.dial];
        dials.sort_unstable();
        assert_eq!(dials, [None, Some(dial)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_link_to_the_same_peer_is_refused() {
    let (mut a, mut b) = (transport(1).await, transport(2).await);
    let mut links = Vec::new();
    for dial in 1..=2 {
        a.dial(DialId(dial), loopback(b.port()), None);
        let (here, there) = tokio::join!(up(&mut a), up(&mut b));
        links.extend([here, there]);
    }
    a.dial(DialId(3), loopback(b.port()), None);
    assert_eq!(failure(&mut a).await, (DialId(3), DialError::Refused));
    assert_eq!(links.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_stream_is_closed_in_time() {
    let mut b = transport(2).await;
    let (tcp, _) = tcp::Tcp::bind(&[loopback(0)]).unwrap();
    let keypair = ::libp2p::identity::Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let config =
        ::libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
    let stack = libp2p::stack(tcp, &keypair);
    let mut silent = ::libp2p::Swarm::new(stack, ::libp2p::swarm::dummy::Behaviour, peer, config);
    silent.dial(tcp::multiaddress(loopback(b.port()))).unwrap();
    let mut connected = None;
    let closed = timeout(Duration::from_secs(10), async {
        loop {
            let event = futures::StreamExt::select_next_some(&mut silent).await;
            match event {
                ::libp2p::swarm::SwarmEvent::ConnectionEstablished { .. } => connected = Some(Instant::now()),
                ::libp2p::swarm::SwarmEvent::ConnectionClosed { .. } => return,
                _ => {}
            }
        }
    });
    let (closed, reported) = tokio::join!(closed, stranger(&mut b));
    closed.unwrap();
    assert_eq!(reported, (loopback(0).ip(), StrangerFault::HandshakeLate));
    assert!((4..=7).contains(&connected.unwrap().elapsed().as_secs()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_an_error_before_anything_else() {
    let a = transport(1).await;
    let error = Libp2pTransport::bind(&[2; 32], &[loopback(a.port())], LIMITS).unwrap_err();
    assert!(matches!(error, BindError::PortTaken(port) if port == a.port()));
    assert_eq!(error.to_string(), format!("Port {} already in use", a.port()));
    let port = a.port();
    drop(a);
    // The port is free again once the transport's task has ended.
    let deadline = Instant::now() + Duration::from_secs(5);
    while Libp2pTransport::bind(&[2; 32], &[loopback(port)], LIMITS).is_err() {
        assert!(Instant::now() < deadline, "the port never came back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
