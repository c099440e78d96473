//! The transport port on a libp2p swarm.
//!
//! The swarm runs in its own task. Dials reach it and events leave it through bounded channels. If the driver takes no
//! events, the swarm accepts no connections, and nothing accumulates. The bytes of a link do not pass through here:
//! they go between its stream and the task of the connection.

use super::behaviour::{LinkEvent, Links, WrongPeer};
use super::multiplexer::Yamux;
use super::stream::LinkStream;
use super::tcp::{BindError, Tcp, multiaddress, socket_address};
use crate::ports::{Transport, TransportEvent};
use engine::error::DialError;
use engine::{DialId, NodeId, StrangerFault};
use futures::StreamExt;
use libp2p::connection_limits::ConnectionLimits;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeoutError;
use libp2p::core::transport::{Boxed, ListenerId, TransportError};
use libp2p::core::upgrade::{NegotiationError, ProtocolError, Version};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{self, ConnectionId, ListenError, SwarmEvent};
use libp2p::{PeerId, Swarm, Transport as _, identity, noise};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Limits on the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Authenticated connections, in both directions together.
    pub established: u32,
    /// Connections with one peer. Two, so that both ends may dial at the same time.
    pub per_peer: u32,
    /// Inbound connections that have not proved a key yet.
    pub pending_inbound: u32,
    /// Dials that have not proved a key yet.
    pub pending_outbound: u32,
}

impl Limits {
    /// Returns the limits for a node with up to `max_peers` links. Each peer may dial while it is being dialled, and
    /// newcomers can still be told that the node is full.
    pub fn for_peers(max_peers: u16) -> Self {
        Self {
            established: 2 * u32::from(max_peers) + 32,
            per_peer: 2,
            pending_inbound: 128,
            pending_outbound: 32,
        }
    }
}

/// Returns the wildcard addresses of one port.
pub fn all_addresses(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

/// Connections over TCP, Noise and yamux.
#[derive(Debug)]
pub struct Libp2pTransport {
    dials: mpsc::Sender<Dial>,
    events: mpsc::Receiver<TransportEvent<LinkStream>>,
    /// Dials beyond [`DIALS_MAX`], one entry per call of `dial` until it is reported.
    refused: VecDeque<DialId>,
    port: u16,
}

#[derive(Debug)]
struct Dial {
    dial: DialId,
    address: SocketAddr,
    expect: Option<NodeId>,
}

impl Libp2pTransport {
    /// Listens on the addresses `listen`, all with the same port. Port 0 in the first selects a free one.
    ///
    /// `secret` is the Ed25519 seed of the node's identity. Must be called inside a tokio runtime. Dropping the
    /// transport closes all of its connections.
    ///
    /// # Errors
    /// [`BindError`] if an address cannot be bound.
    pub fn bind(secret: &[u8; 32], listen: &[SocketAddr], limits: Limits) -> Result<Self, BindError> {
        let (tcp, port) = Tcp::bind(listen)?;
        let listeners = tcp.listeners();
        let swarm = swarm(tcp, keypair(secret), limits);
        let (dials, requests) = mpsc::channel(DIALS_MAX);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        // The channel is empty, and its receiver is alive.
        let _ = sender.try_send(TransportEvent::Listening { port });
        let task = Task { swarm, listeners, requests, events: sender, dials: BTreeMap::new() };
        tokio::spawn(task.run());
        Ok(Self { dials, events, refused: VecDeque::new(), port })
    }

    /// Returns the listening port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Transport for Libp2pTransport {
    type Stream = LinkStream;

    fn dial(&mut self, dial: DialId, address: SocketAddr, expect: Option<NodeId>) {
        if self.dials.try_send(Dial { dial, address, expect }).is_err() {
            self.refused.push_back(dial);
        }
    }

    async fn next(&mut self) -> TransportEvent<LinkStream> {
        if let Some(dial) = self.refused.pop_front() {
            return TransportEvent::DialFailed { dial, error: DialError::Refused };
        }
        match self.events.recv().await {
            Some(event) => event,
            // The task outlives the receiver unless the runtime is being shut down.
            None => std::future::pending().await,
        }
    }
}

/// Owns the swarm.
struct Task {
    swarm: Swarm<Links>,
    listeners: Vec<ListenerId>,
    requests: mpsc::Receiver<Dial>,
    events: mpsc::Sender<TransportEvent<LinkStream>>,
    /// Dials without an outcome.
    dials: BTreeMap<ConnectionId, DialId>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let event = tokio::select! {
                biased;
                () = self.events.closed() => break,
                Some(dial) = self.requests.recv() => self.handle_dial(&dial),
                event = self.swarm.select_next_some() => self.handle_event(event),
            };
            if let Some(event) = event
                && self.events.send(event).await.is_err()
            {
                break;
            }
        }
        self.close().await;
    }

    fn handle_dial(&mut self, dial: &Dial) -> Option<TransportEvent<LinkStream>> {
        let to = multiaddress(dial.address);
        let options = DialOpts::unknown_peer_id().address(to).allocate_new_port().build();
        let connection = options.connection_id();
        self.swarm.behaviour_mut().expect(connection, dial.expect, Instant::now() + DIAL_TIMEOUT);
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, dial.dial);
                None
            }
            Err(error) => Some(TransportEvent::DialFailed { dial: dial.dial, error: dial_error(&error) }),
        }
    }

    fn handle_event(&mut self, event: SwarmEvent<LinkEvent>) -> Option<TransportEvent<LinkStream>> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
        match event {
            SwarmEvent::Behaviour(LinkEvent::Failed { connection, remote, late }) => {
                let error = if late { DialError::Timeout } else { DialError::Refused };
                let stranger = TransportEvent::StrangerFault { remote, fault: StrangerFault::HandshakeLate };
                self.fail(connection, error).or_else(|| late.then_some(stranger))
            }
            SwarmEvent::Behaviour(LinkEvent::Up { connection, peer, remote, stream }) => {
                let dial = self.dials.remove(&connection);
                Some(TransportEvent::Up { peer, remote, dial, stream })
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.fail(connection_id, DialError::Refused)
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                tracing::debug!(%error, "a dial failed");
                self.fail(connection_id, dial_error(&error))
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(remote = %send_back_addr, %error, "a connection from outside failed");
                let (remote, fault) = (socket_address(&send_back_addr)?, stranger_fault(&error)?);
                Some(TransportEvent::StrangerFault { remote, fault })
            }
            _ => None,
        }
    }

    fn fail(&mut self, connection: ConnectionId, error: DialError) -> Option<TransportEvent<LinkStream>> {
        let dial = self.dials.remove(&connection)?;
        Some(TransportEvent::DialFailed { dial, error })
    }

    /// Gives dropped streams time to be read, then closes every connection.
    async fn close(mut self) {
        for listener in std::mem::take(&mut self.listeners) {
            self.swarm.remove_listener(listener);
        }
        let _ = tokio::time::timeout(LINGER_TIMEOUT, self.drain()).await;
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error means that the peer is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.drain()).await;
    }

    async fn drain(&mut self) {
        while self.swarm.connected_peers().next().is_some() {
            // A stream in the event is dropped with it.
            drop(self.swarm.select_next_some().await);
        }
    }
}

fn keypair(secret: &[u8; 32]) -> identity::Keypair {
    #[expect(clippy::expect_used, reason = "every 32 bytes are an Ed25519 seed (RFC 8032)")]
    identity::Keypair::ed25519_from_bytes(*secret).expect("32 bytes")
}

fn swarm(tcp: Tcp, keypair: identity::Keypair, limits: Limits) -> Swarm<Links> {
    let peer = keypair.public().to_peer_id();
    let strangers_per_address = usize::try_from(limits.pending_inbound).unwrap_or(usize::MAX) / 2;
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_inbound))
        .with_max_pending_outgoing(Some(limits.pending_outbound))
        .with_max_established(Some(limits.established))
        .with_max_established_per_peer(Some(limits.per_peer));
    let config = swarm::Config::with_tokio_executor()
        .with_max_negotiating_inbound_streams(2)
        .with_idle_connection_timeout(Duration::ZERO);
    Swarm::new(stack(tcp, &keypair), Links::new(limits, strangers_per_address), peer, config)
}

/// Adds the handshakes to TCP, within one common timeout.
pub(super) fn stack(tcp: Tcp, keypair: &identity::Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    #[expect(clippy::expect_used, reason = "signing its static key with an Ed25519 key cannot fail")]
    let noise = noise::Config::new(keypair).expect("an Ed25519 key signs");
    let stack = tcp.upgrade(Version::V1).authenticate(noise).multiplex(Yamux).timeout(DIAL_TIMEOUT);
    stack
        .map_err(|error| match &error {
            TransportTimeoutError::Timeout => DialError::Timeout.into(),
            TransportTimeoutError::Other(_) | TransportTimeoutError::TimerError(_) => failure(&error),
        })
        .map(|(peer, multiplexer), _| (peer, StreamMuxerBox::new(multiplexer)))
        .boxed()
}

/// Why a connection failed, on its way through libp2p's error types.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{dialled:?}")]
struct Failure {
    /// As seen by the dialler.
    dialled: DialError,
    /// As seen by the listener.
    listened: StrangerFault,
}

impl From<DialError> for Failure {
    fn from(dialled: DialError) -> Self {
        let listened = match dialled {
            DialError::Authentication => StrangerFault::HandshakeBroken,
            DialError::Refused => StrangerFault::HandshakeLeft,
            DialError::Timeout => StrangerFault::HandshakeLate,
        };
        Self { dialled, listened }
    }
}

/// Classifies an error: a lost connection is worth a retry, an invalid handshake is not.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<NegotiationError>() {
            return match error {
                NegotiationError::ProtocolError(ProtocolError::IoError(error)) => io_failure(error),
                NegotiationError::ProtocolError(_) => DialError::Authentication.into(),
                // The dialler asked for a protocol that the other end does not support. A listener has received no
                // request.
                NegotiationError::Failed => {
                    Failure { dialled: DialError::Authentication, listened: StrangerFault::HandshakeLeft }
                }
            };
        }
        if let Some(error) = error.downcast_ref::<noise::Error>() {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
            return match error {
                noise::Error::Io(error) => io_failure(error),
                _ => DialError::Authentication.into(),
            };
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return io_failure(error);
        }
        next = error.source();
    }
    DialError::Refused.into()
}

fn io_failure(error: &io::Error) -> Failure {
    let kind = error.kind();
    // A decryption or length error has one of the first two kinds.
    if matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::Other) {
        DialError::Authentication.into()
    } else if kind == io::ErrorKind::TimedOut {
        DialError::Timeout.into()
    } else {
        DialError::Refused.into()
    }
}

fn dial_error(error: &swarm::DialError) -> DialError {
    match error {
        swarm::DialError::Denied { cause } if cause.downcast_ref::<WrongPeer>().is_some() => {
            DialError::Authentication
        }
        swarm::DialError::LocalPeerId { .. } | swarm::DialError::WrongPeerId { .. } => {
            DialError::Authentication
        }
        swarm::DialError::Transport(errors) => {
            errors.first().map_or(DialError::Refused, |(_, error)| transport_failure(error).dialled)
        }
        swarm::DialError::Aborted
        | swarm::DialError::Denied { .. }
        | swarm::DialError::DialPeerConditionFalse(_)
        | swarm::DialError::NoAddresses => DialError::Refused,
    }
}

/// Returns the fault of an inbound connection, or `None` if this node dialled itself.
fn stranger_fault(error: &ListenError) -> Option<StrangerFault> {
    Some(match error {
        ListenError::Aborted => StrangerFault::HandshakeLeft,
        ListenError::Denied { cause } if cause.downcast_ref::<WrongPeer>().is_some() => {
            StrangerFault::HandshakeBroken
        }
        ListenError::Denied { .. } => StrangerFault::TooMany,
        ListenError::LocalPeerId { .. } => return None,
        ListenError::Transport(error) => transport_failure(error).listened,
        ListenError::WrongPeerId { .. } => StrangerFault::HandshakeBroken,
    })
}

fn transport_failure(error: &TransportError<io::Error>) -> Failure {
    let inner = match error {
        TransportError::MultiaddrNotSupported(_) => None,
        TransportError::Other(error) => error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>()),
    };
    inner.copied().unwrap_or_else(|| DialError::Refused.into())
}

/// How long a dial may take, from the call to an open stream.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a dropped transport waits for connections whose streams are dropped.
const LINGER_TIMEOUT: Duration = Duration::from_millis(300);

/// How long the remaining connections may then take to flush.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// Maximum number of dials that wait for the swarm. The engine makes a handful at a time. Further ones fail at once.
const DIALS_MAX: usize = 64;

/// Maximum number of events that wait for the driver. Beyond, the swarm waits and accepts nothing.
const EVENTS_MAX: usize = 64;
