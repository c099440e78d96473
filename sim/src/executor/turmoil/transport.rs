//! The transport port: turmoil's TCP with the Noise handshake of a real node.
//!
//! A connection attempt can hang for ever in a simulated network as in a real one, so each has a timeout.

use super::Machine;
use crate::cluster::{self, Cluster, PORT};
use crate::node_set::NodeIndex;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use engine::error::DialError;
use engine::{DialId, NodeId, PublicKey};
use libp2p::core::upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _};
use libp2p::identity::{self, Keypair};
use libp2p::{PeerId, noise};
use runtime::ports::{Transport, TransportEvent};
use std::io;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use turmoil::net::{TcpListener, TcpStream};

type Stream = noise::Output<Compat<TcpStream>>;

/// Authenticated connections over turmoil's network.
pub(super) struct SimTransport {
    node: NodeIndex,
    cluster: Arc<Cluster>,
    noise: noise::Config,
    listener: TcpListener,
    announced: bool,
    reports: mpsc::Sender<TransportEvent<Stream>>,
    reported: mpsc::Receiver<TransportEvent<Stream>>,
    /// One permit for each incoming connection that is not authenticated yet.
    unproved: Arc<Semaphore>,
}

impl SimTransport {
    pub(super) async fn bind(machine: Arc<Machine>) -> Result<Self, Box<dyn std::error::Error>> {
        let secret = machine.cluster.secret(machine.node);
        let keys = Keypair::ed25519_from_bytes(secret)?;
        let (reports, reported) = mpsc::channel(REPORTS_MAX);
        Ok(Self {
            node: machine.node,
            cluster: Arc::clone(&machine.cluster),
            noise: noise::Config::new(&keys)?,
            listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?,
            announced: false,
            reports,
            reported,
            unproved: Arc::new(Semaphore::new(UNPROVED_MAX)),
        })
    }

    fn accepted(&self, stream: TcpStream, remote: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.unproved).try_acquire_owned() else { return };
        let (noise, reports) = (self.noise.clone(), self.reports.clone());
        tokio::spawn(async move {
            let handshake = noise.upgrade_inbound(stream.compat(), NOISE);
            if let Ok(Ok((peer, stream))) = timeout(CONNECT_TIMEOUT, handshake).await
                && let Some(peer) = key_of(&peer)
            {
                // If nobody receives reports any more, the node is gone.
                let _ = reports.send(TransportEvent::Up { peer, remote, dial: None, stream }).await;
            }
            drop(permit);
        });
    }
}

impl Transport for SimTransport {
    type Stream = Stream;

    fn dial(&mut self, dial: DialId, address: SocketAddr, expect: Option<NodeId>) {
        let target = cluster::node_at(address.ip(), self.cluster.len());
        let reachable =
            target.is_some_and(|target| target != self.node && self.cluster.can_reach(self.node, target));
        let (noise, reports) = (self.noise.clone(), self.reports.clone());
        tokio::spawn(async move {
            let attempt = async {
                if reachable { connect(noise, address, expect).await } else { Err(DialError::Refused) }
            };
            let report = match timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or(Err(DialError::Timeout)) {
                Ok((peer, stream)) => TransportEvent::Up { peer, remote: address, dial: Some(dial), stream },
                Err(error) => TransportEvent::DialFailed { dial, error },
            };
            let _ = reports.send(report).await;
        });
    }

    async fn next(&mut self) -> TransportEvent<Stream> {
        if !self.announced {
            self.announced = true;
            return TransportEvent::Listening { port: PORT };
        }
        loop {
            tokio::select! {
                biased;
                Some(report) = self.reported.recv() => return report,
                Ok((stream, remote)) = self.listener.accept() => self.accepted(stream, remote),
            }
        }
    }
}

async fn connect(
    noise: noise::Config,
    address: SocketAddr,
    expect: Option<NodeId>,
) -> Result<(PublicKey, Stream), DialError> {
    let refused = |_: io::Error| DialError::Refused;
    let stream = TcpStream::connect(address).await.map_err(refused)?;
    let handshake = noise.upgrade_outbound(stream.compat(), NOISE).await;
    let (peer, stream) = handshake.map_err(|_| DialError::Authentication)?;
    let peer = key_of(&peer).ok_or(DialError::Authentication)?;
    match expect {
        Some(expected) if expected != peer.node_id() => Err(DialError::Authentication),
        Some(_) | None => Ok((peer, stream)),
    }
}

/// Returns the Ed25519 key inside a libp2p peer id.
fn key_of(peer: &PeerId) -> Option<PublicKey> {
    let key = identity::PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PublicKey(key.try_into_ed25519().ok()?.to_bytes()))
}

const NOISE: &str = "/noise";

/// The timeout of a connection and its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The most incoming connections whose handshake has not ended.
const UNPROVED_MAX: usize = 64;

const REPORTS_MAX: usize = 64;
