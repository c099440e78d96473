//! One stream per connection, as a libp2p behaviour.
//!
//! The dialler of a connection opens one stream, and both ends report it once. A connection is closed if its stream is
//! not open in time. It is also closed when the stream is dropped: by the end that dropped it last, or after a grace
//! period by the other end. An immediate close would lose bytes in flight. Connections to the wrong node, or to a key
//! that is not Ed25519, are denied before any stream is opened.

use super::stream::{Dropped, LinkStream};
use super::tcp::socket_address;
use engine::{NodeId, PublicKey};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, SubstreamProtocol, ToSwarm,
};
use libp2p::{PeerId, StreamProtocol, connection_limits, identity};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// The outcome of a connection.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// Its stream was not opened in time, or cannot be opened. The connection is closed.
    Failed {
        /// The connection.
        connection: ConnectionId,
        /// The address of the other end.
        remote: SocketAddr,
        /// Whether the timeout expired.
        late: bool,
    },
    /// Its stream is open.
    Up {
        /// The connection.
        connection: ConnectionId,
        /// The key that the other end proved to hold.
        peer: PublicKey,
        /// The address of the other end.
        remote: SocketAddr,
        /// The stream.
        stream: LinkStream,
    },
}

/// The connection leads to the wrong peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongPeer {
    /// The other end proved a key that the dial did not expect.
    #[error("another node answered")]
    Id,
    /// The key of the other end is not Ed25519, or its address has an unknown form.
    #[error("the other end's key is of an unknown kind")]
    Key,
}

/// Too many handshakes with one address.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many connections from this address")]
struct Crowd;

/// The behaviour.
pub(super) struct Links {
    limits: connection_limits::Behaviour,
    /// Dials in progress, bounded by the connection limits.
    dials: BTreeMap<ConnectionId, Dial>,
    /// The addresses of inbound connections that have not proved a key yet, bounded by the connection limits.
    strangers: BTreeMap<ConnectionId, IpAddr>,
    strangers_per_address: usize,
    /// Returned to the swarm by its next polls. A connection adds two at most.
    actions: VecDeque<ToSwarm<LinkEvent, Infallible>>,
}

#[derive(Clone, Copy)]
struct Dial {
    expect: Option<NodeId>,
    deadline: Instant,
}

impl Links {
    /// Creates a behaviour without connections. `strangers_per_address` limits the handshakes with one address, so that
    /// no address takes the capacity of the others.
    pub(super) fn new(limits: connection_limits::ConnectionLimits, strangers_per_address: usize) -> Self {
        Self {
            limits: connection_limits::Behaviour::new(limits),
            dials: BTreeMap::new(),
            strangers: BTreeMap::new(),
            strangers_per_address,
            actions: VecDeque::new(),
        }
    }

    /// Sets who must answer a dial, and the deadline of its stream.
    pub(super) fn expect(&mut self, connection: ConnectionId, expect: Option<NodeId>, deadline: Instant) {
        self.dials.insert(connection, Dial { expect, deadline });
    }
}

impl NetworkBehaviour for Links {
    type ConnectionHandler = LinkHandler;
    type ToSwarm = LinkEvent;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let address = socket_address(remote).ok_or_else(|| ConnectionDenied::new(WrongPeer::Key))?.ip();
        if self.strangers.values().filter(|other| **other == address).count() >= self.strangers_per_address {
            return Err(ConnectionDenied::new(Crowd));
        }
        self.limits.handle_pending_inbound_connection(id, local, remote)?;
        self.strangers.insert(id, address);
        Ok(())
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.limits.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<LinkHandler, ConnectionDenied> {
        self.limits.handle_established_inbound_connection(id, peer, local, remote)?;
        LinkHandler::new(&peer, remote, Side::Listener, Instant::now() + OPEN_TIMEOUT)
            .map_err(ConnectionDenied::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<LinkHandler, ConnectionDenied> {
        self.limits.handle_established_outbound_connection(id, peer, remote, role, port)?;
        let Some(dial) = self.dials.get(&id) else {
            return Err(ConnectionDenied::new(WrongPeer::Id));
        };
        let handler =
            LinkHandler::new(&peer, remote, Side::Dialler, dial.deadline).map_err(ConnectionDenied::new)?;
        if dial.expect.is_some_and(|expected| expected != handler.peer.node_id()) {
            return Err(ConnectionDenied::new(WrongPeer::Id));
        }
        Ok(handler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the other events of the swarm end no dial")]
        match &event {
            FromSwarm::ConnectionEstablished(up) => {
                self.dials.remove(&up.connection_id);
                self.strangers.remove(&up.connection_id);
            }
            FromSwarm::DialFailure(failure) => drop(self.dials.remove(&failure.connection_id)),
            FromSwarm::ListenFailure(failure) => drop(self.strangers.remove(&failure.connection_id)),
            _ => {}
        }
        self.limits.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        event: HandlerEvent,
    ) {
        let event = match event {
            HandlerEvent::Dropped => None,
            HandlerEvent::Failed { remote, late } => Some(LinkEvent::Failed { connection, remote, late }),
            HandlerEvent::Up { peer, remote, stream } => {
                let event = LinkEvent::Up { connection, peer, remote, stream };
                self.actions.push_back(ToSwarm::GenerateEvent(event));
                return;
            }
        };
        self.actions.extend(event.map(ToSwarm::GenerateEvent));
        let connection = CloseConnection::One(connection);
        self.actions.push_back(ToSwarm::CloseConnection { peer_id, connection });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<LinkEvent, Infallible>> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Opens or awaits the stream of a connection.
pub(super) struct LinkHandler {
    peer: PublicKey,
    remote: SocketAddr,
    side: Side,
    state: State,
    /// One at most: a state change creates one, and the next change waits until it is taken.
    event: Option<HandlerEvent>,
}

/// Who opens the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Dialler,
    Listener,
}

enum State {
    /// The connection is about to close.
    Done,
    /// The stream was dropped here. The other end has a grace period to read the rest and close.
    Lingering { deadline: Pin<Box<Sleep>> },
    /// The stream is in use.
    Open { dropped: oneshot::Receiver<Dropped> },
    /// No stream yet.
    Opening { asked: bool, deadline: Pin<Box<Sleep>> },
}

/// An event of a handler for the behaviour.
#[derive(Debug)]
pub(super) enum HandlerEvent {
    /// The owner of the stream dropped it.
    Dropped,
    /// There will be no stream.
    Failed {
        /// The address of the other end.
        remote: SocketAddr,
        /// Whether the timeout expired.
        late: bool,
    },
    /// The stream is open.
    Up {
        /// The key of the other end.
        peer: PublicKey,
        /// The address of the other end.
        remote: SocketAddr,
        /// The stream.
        stream: LinkStream,
    },
}

impl LinkHandler {
    fn new(peer: &PeerId, remote: &Multiaddr, side: Side, deadline: Instant) -> Result<Self, WrongPeer> {
        Ok(Self {
            peer: public_key(peer).ok_or(WrongPeer::Key)?,
            remote: socket_address(remote).ok_or(WrongPeer::Key)?,
            side,
            state: State::Opening { asked: false, deadline: Box::pin(tokio::time::sleep_until(deadline)) },
            event: None,
        })
    }

    fn handle_stream(&mut self, stream: libp2p::Stream) {
        // No node opens a second stream. Dropping it resets it.
        if matches!(self.state, State::Opening { .. }) {
            let (stream, dropped) = LinkStream::new(stream);
            self.state = State::Open { dropped };
            self.event = Some(HandlerEvent::Up { peer: self.peer, remote: self.remote, stream });
        }
    }

    fn fail(&mut self, late: bool) {
        if matches!(self.state, State::Opening { .. }) {
            self.state = State::Done;
            self.event = Some(HandlerEvent::Failed { remote: self.remote, late });
        }
    }
}

impl ConnectionHandler for LinkHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = HandlerEvent;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        // A connection is closed explicitly. The swarm's own close would not flush it.
        true
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>>,
    ) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. })
                if self.side == Side::Listener =>
            {
                self.handle_stream(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.handle_stream(protocol);
            }
            ConnectionEvent::DialUpgradeError(_) => self.fail(false),
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), HandlerEvent>> {
        if let Some(event) = self.event.take() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        let last = loop {
            match &mut self.state {
                State::Done => return Poll::Pending,
                State::Lingering { deadline } => {
                    ready!(deadline.as_mut().poll(cx));
                    break HandlerEvent::Dropped;
                }
                State::Open { dropped } => match ready!(Pin::new(dropped).poll(cx)) {
                    Ok(Dropped::First) => {
                        let deadline = Box::pin(tokio::time::sleep(LINGER_TIMEOUT));
                        self.state = State::Lingering { deadline };
                    }
                    Ok(Dropped::Last) | Err(_) => break HandlerEvent::Dropped,
                },
                State::Opening { asked, .. } if self.side == Side::Dialler && !*asked => {
                    *asked = true;
                    let protocol = self.listen_protocol();
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
                }
                State::Opening { deadline, .. } => {
                    ready!(deadline.as_mut().poll(cx));
                    break HandlerEvent::Failed { remote: self.remote, late: true };
                }
            }
        };
        self.state = State::Done;
        Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(last))
    }
}

/// Decodes the Ed25519 key that a peer id of that kind contains.
fn public_key(peer: &PeerId) -> Option<PublicKey> {
    let hash: &libp2p::multihash::Multihash<64> = peer.as_ref();
    if hash.code() != MULTIHASH_IDENTITY {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(hash.digest()).ok()?;
    Some(PublicKey(key.try_into_ed25519().ok()?.to_bytes()))
}

/// The protocol of the stream. The hello messages of the nodes negotiate what travels on it.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/p2p-ai-agents/link/1");

/// The multihash code for a digest that is the value itself.
const MULTIHASH_IDENTITY: u64 = 0;

/// How long the dialler may take to open the stream of a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the other end may continue to read after this end dropped the stream.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
