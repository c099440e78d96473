//! A peer made by hand: it authenticates like a real one, and then sends any bytes.

use crate::harness::Node;
use engine::identity::Domain;
use engine::wire::{Advert, Hello, Message, SharedBytes, Signature, SignedAdvert};
use engine::{DialId, Identity, NodeName, UnixMillis};
use futures::{AsyncReadExt, AsyncWriteExt};
use runtime::ports::{Transport, TransportEvent};
use runtime::transport::{Libp2pTransport, Limits, LinkStream};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

pub(crate) struct RawPeer {
    runtime: Runtime,
    stream: LinkStream,
    /// Closes the connection when it is dropped.
    _transport: Libp2pTransport,
    identity: Identity,
    network: String,
}

impl RawPeer {
    /// Connects to a node with the key of this number.
    pub(crate) fn connect(node: &Node<'_>, key: u8) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (transport, stream) = runtime.block_on(async {
            let mut transport =
                Libp2pTransport::bind(&[key; 32], &[loopback(0)], Limits::for_peers(8)).unwrap();
            transport.dial(DialId(1), loopback(node.port), None);
            loop {
                match timeout(TIMEOUT, transport.next()).await.expect("a link") {
                    TransportEvent::Up { stream, .. } => return (transport, stream),
                    TransportEvent::Listening { .. } => {}
                    failed @ (TransportEvent::DialFailed { .. } | TransportEvent::StrangerFault { .. }) => {
                        panic!("{failed:?}")
                    }
                }
            }
        });
        let identity = Identity::from_secret(&[key; 32]);
        Self { runtime, stream, _transport: transport, identity, network: node.network().to_owned() }
    }

    /// Connects to a node and becomes its peer.
    pub(crate) fn join(node: &Node<'_>, key: u8) -> Self {
        let mut raw_peer = Self::connect(node, key);
        let greeting = [frame(&raw_peer.hello()), frame(&Message::Welcome.encode())].concat();
        raw_peer.send(&greeting);
        let welcome = frame(&Message::Welcome.encode());
        let mut heard = Vec::new();
        while !heard.ends_with(&welcome) {
            heard.extend(raw_peer.read(1).expect("the node takes the hello"));
        }
        raw_peer
    }

    /// Returns a valid hello for this key.
    pub(crate) fn hello(&self) -> Vec<u8> {
        self.hello_of(&self.identity.clone(), &self.network, crate::harness::wall())
    }

    /// Returns a hello with an advert of this identity, which can differ from the authenticated one.
    pub(crate) fn hello_of(&self, identity: &Identity, network: &str, sent_at: UnixMillis) -> Vec<u8> {
        let (network, advert) = (network.to_owned(), advert(identity));
        Message::Hello(Box::new(Hello { network, incarnation: 1, advert, sent_at })).encode()
    }

    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    /// Sends bytes and returns whether the link is still open.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        let Self { runtime, stream, .. } = self;
        let send = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        matches!(runtime.block_on(async { timeout(TIMEOUT, send).await }), Ok(Ok(())))
    }

    /// Reads this many bytes; `None` once the node has closed the link.
    pub(crate) fn read(&mut self, count: usize) -> Option<Vec<u8>> {
        let Self { runtime, stream, .. } = self;
        let mut bytes = vec![0; count];
        let read = runtime.block_on(async { timeout(TIMEOUT, stream.read_exact(&mut bytes)).await });
        read.expect("the node says something, or closes the link").ok().map(|()| bytes)
    }

    /// Closes this end for writing.
    pub(crate) fn finish(&mut self) {
        let Self { runtime, stream, .. } = self;
        // The node may have closed it before.
        let _ = runtime.block_on(stream.close());
    }

    /// Returns all bytes that the node sends until it closes the link.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let Self { runtime, stream, .. } = self;
        let mut answer = Vec::new();
        let read =
            runtime.block_on(async { timeout(TIMEOUT, stream.read_to_end(&mut answer)).await.is_ok() });
        assert!(read, "the node keeps a link that broke the protocol");
        answer
    }
}

/// Returns a validly signed advert.
pub(crate) fn advert(identity: &Identity) -> SignedAdvert {
    let advert = Advert {
        key: identity.public_key(),
        sequence: 1,
        incarnation: 1,
        addresses: Vec::new(),
        name: NodeName::default(),
        version: "0".to_owned(),
        max_links: 32,
        slots: 1,
        models: Vec::new(),
        links: Vec::new(),
        session_key: [0; 32],
    };
    let body = advert.encode();
    let signature = Signature(identity.sign(Domain::Advert, &body));
    SignedAdvert { body: SharedBytes(body.into()), signature }
}

pub(crate) fn frame(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

const TIMEOUT: Duration = Duration::from_secs(20);
