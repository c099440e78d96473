//! Peers, members, and the paths to them.

use crate::millis;
use engine::NodeId;
use engine::heartbeat;
use engine::request::{HopView, MemberView, PeerView, PingView, RoundTrips, RouteView};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The nodes that this node has links to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// The peers, by id.
    pub peers: Vec<Peer>,
}

/// A node that this node has a link to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// The other end of the link.
    pub address: SocketAddr,
    /// Where it takes connections.
    pub network_port: u16,
    /// The product's version that it runs.
    pub version: String,
    /// What the failure detector says.
    pub liveness: heartbeat::Liveness,
    /// How long the link has been up.
    pub connected_ms: u64,
    /// Frames received.
    pub messages_in: u64,
    /// Frames sent.
    pub messages_out: u64,
    /// Time since its last sign of life.
    pub last_heartbeat_ms: u64,
    /// Smoothed heartbeat round trip in milliseconds; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
}

/// All nodes known to exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The members, by id.
    pub members: Vec<Member>,
}

/// A node known to exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Where it says that it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// The product's version that it runs.
    pub version: String,
    /// Links between this node and it: 0 for itself, 1 for a peer.
    pub hops: u32,
    /// The nodes that it has links to.
    pub links: Vec<NodeId>,
}

/// How a message would travel to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The node.
    pub destination: NodeId,
    /// The nodes that a message passes, the destination last; none where that is the node asked.
    pub hops: Vec<Hop>,
    /// Other paths, shortest first, in the same form.
    pub alternatives: Vec<Vec<NodeId>>,
}

/// One node on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The node.
    pub id: NodeId,
    /// Time that a message took to it and back; absent where no answer came within a second.
    pub round_trip_us: Option<u64>,
}

/// How messages to a node fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The node.
    pub destination: NodeId,
    /// Links on the way to it.
    pub hops: u32,
    /// Messages that were acknowledged.
    pub answered: u32,
    /// Messages that were not, although they were sent again.
    pub lost: u32,
    /// Time from the first message to the last acknowledgement.
    pub elapsed_us: u64,
    /// Times there and back; absent where nothing was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<RoundTrips>,
}

impl From<PeerView> for Peer {
    fn from(view: PeerView) -> Self {
        Self {
            id: view.node_id,
            address: view.address,
            network_port: view.network_port,
            version: view.version,
            liveness: view.liveness,
            connected_ms: view.connected_millis,
            messages_in: view.messages_in,
            messages_out: view.messages_out,
            last_heartbeat_ms: view.last_heard_millis,
            round_trip_ms: view.round_trip_micros.map(millis),
        }
    }
}

impl From<MemberView> for Member {
    fn from(view: MemberView) -> Self {
        Self {
            id: view.node_id,
            addresses: view.addresses,
            version: view.version,
            hops: view.hops,
            links: view.links,
        }
    }
}

impl From<RouteView> for Route {
    fn from(view: RouteView) -> Self {
        let hop = |hop: HopView| Hop { id: hop.node_id, round_trip_us: hop.round_trip_micros };
        Self {
            destination: view.destination,
            hops: view.hops.into_iter().map(hop).collect(),
            alternatives: view.alternatives,
        }
    }
}

impl From<PingView> for Ping {
    fn from(view: PingView) -> Self {
        Self {
            destination: view.destination,
            hops: view.hops,
            answered: view.answered,
            lost: view.lost,
            elapsed_us: view.elapsed_micros,
            round_trip_us: view.round_trips,
        }
    }
}
