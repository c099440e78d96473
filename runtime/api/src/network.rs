//! Peers, members, and the paths to them.

use crate::millis;
use engine::heartbeat;
use engine::request::{HopView, MemberView, PeerView, PingView, RoundTrips, RouteView};
use engine::{NodeId, NodeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Peers of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// Peers, ordered by id.
    pub peers: Vec<Peer>,
}

/// A node with which this node has a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Id of the peer.
    pub id: NodeId,
    /// Name of the peer.
    #[serde(default)]
    pub name: NodeName,
    /// Remote address of the link.
    pub address: SocketAddr,
    /// TCP port on which the peer accepts connections.
    pub network_port: u16,
    /// Version of the program that the peer runs.
    pub version: String,
    /// Verdict of the failure detector.
    pub liveness: heartbeat::Liveness,
    /// Age of the link.
    pub connected_ms: u64,
    /// Frames received.
    pub messages_in: u64,
    /// Frames sent.
    pub messages_out: u64,
    /// Time since the last sign of life from the peer.
    pub last_heartbeat_ms: u64,
    /// Smoothed round-trip time of heartbeats; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
}

/// All known members, including the node itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Members that can be reached, ordered by id.
    pub members: Vec<Member>,
    /// Members that left within the last ten minutes, the last one first.
    #[serde(default)]
    pub former: Vec<Member>,
}

/// A node known through membership gossip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Id of the member.
    pub id: NodeId,
    /// Name of the member.
    #[serde(default)]
    pub name: NodeName,
    /// Addresses that the member advertises.
    pub addresses: Vec<SocketAddr>,
    /// Version of the program that the member runs.
    pub version: String,
    /// Links between this node and the member: 0 for itself, 1 for a peer.
    pub hops: u32,
    /// Peers of the member.
    pub links: Vec<NodeId>,
    /// Whether the member runs models, or only relays messages.
    #[serde(default)]
    pub role: MemberRole,
    /// Names of the models that the member offers.
    #[serde(default)]
    pub models: Vec<String>,
    /// Maximum number of inference jobs that the member runs at the same time.
    #[serde(default)]
    pub slots: u16,
    /// Tasks that the member has to run; absent if it is no peer, or has not told yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<u16>,
    /// Verdict of the failure detector; peers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<heartbeat::Liveness>,
    /// Time since the last sign of life; absent for a member that is reached through others, and for the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_ms: Option<u64>,
}

impl Member {
    /// Returns a member of which only id and name are known.
    pub fn new(id: NodeId, name: NodeName) -> Self {
        Self {
            id,
            name,
            addresses: Vec::new(),
            version: String::new(),
            hops: 0,
            links: Vec::new(),
            role: MemberRole::default(),
            models: Vec::new(),
            slots: 0,
            load: None,
            liveness: None,
            last_seen_ms: None,
        }
    }
}

/// What a member does for its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// It relays messages, and passes its tasks to others.
    #[default]
    Relay,
    /// It runs models as well.
    Worker,
}

/// The path that a message to a node would take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination of the path.
    pub destination: NodeId,
    /// Nodes on the path, destination last; empty if the destination is the node itself.
    pub hops: Vec<Hop>,
    /// Alternative paths in the same form, shortest first.
    pub alternatives: Vec<Vec<NodeId>>,
}

/// One node on a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Id of the node.
    pub id: NodeId,
    /// Name of the node; absent if it is not known.
    #[serde(default, skip_serializing_if = "NodeName::is_empty")]
    pub name: NodeName,
    /// Round-trip time of a message to the node; null if there was no answer within a second.
    pub round_trip_us: Option<u64>,
}

/// Result of a ping: acknowledged messages and their round-trip times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Destination of the messages.
    pub destination: NodeId,
    /// Links on the path to the destination.
    pub hops: u32,
    /// Acknowledged messages.
    pub answered: u32,
    /// Messages that were not acknowledged despite retransmission.
    pub lost: u32,
    /// Time from the first message to the last acknowledgement.
    pub elapsed_us: u64,
    /// Distribution of round-trip times; absent if nothing was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<RoundTrips>,
}

impl From<PeerView> for Peer {
    fn from(view: PeerView) -> Self {
        Self {
            id: view.node_id,
            name: view.name,
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
        let role = if view.models.is_empty() { MemberRole::Relay } else { MemberRole::Worker };
        // A model that serves several types of tasks is offered for each.
        let models: BTreeSet<String> = view.models.into_iter().map(|offer| offer.name).collect();
        let (liveness, last_seen_ms) = view.link.unzip();
        Self {
            id: view.node_id,
            name: view.name,
            addresses: view.addresses,
            version: view.version,
            hops: view.hops,
            links: view.links,
            role,
            models: models.into_iter().collect(),
            slots: view.slots,
            load: view.load,
            liveness,
            last_seen_ms: view.unreachable_millis.or(last_seen_ms),
        }
    }
}

impl From<RouteView> for Route {
    fn from(view: RouteView) -> Self {
        let hop = |hop: HopView| Hop {
            id: hop.node_id,
            name: NodeName::default(),
            round_trip_us: hop.round_trip_micros,
        };
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
