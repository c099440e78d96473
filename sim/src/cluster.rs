//! The nodes of a simulation: names, addresses, keys, configurations, and who can reach whom.

use crate::inference;
use crate::node_set::NodeIndex;
use crate::random::{Purpose, Random};
use crate::scenario::{NodeRole, Scenario, Topology};
use crate::simulated_file::{self, SimulatedFile};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use engine::journal::{self, Start};
use engine::wire::PROTOCOL_VERSION;
use engine::{Config, Identity, Instant, NodeId, NodeName, PublicKey, UnixMillis};
use std::collections::BTreeMap;

/// The nodes of one run.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) random: Random,
    topology: Topology,
    identities: Vec<Identity>,
    ids: Vec<NodeId>,
    /// What is demanded of each node.
    roles: Vec<NodeRole>,
    /// The protocol version of each node.
    protocols: Vec<u16>,
    /// The number of each node's models.
    models: Vec<u16>,
    /// The node whose key each node has.
    keys: Vec<NodeIndex>,
    by_id: BTreeMap<NodeId, NodeIndex>,
    config: Config,
    /// Whether the nodes offer the models of their configuration instead of simulated ones.
    real_models: bool,
    /// The shared files.
    pub(crate) files: Vec<SimulatedFile>,
    /// The bootstrap peers of each node, if there is no multicast.
    bootstrap: Vec<Vec<NodeIndex>>,
}

impl Cluster {
    pub(crate) fn new(scenario: &Scenario, seed: u64, adjust: Option<fn(&mut Config)>) -> Self {
        let random = Random::new(seed);
        let all = || 0..scenario.nodes;
        let keys: Vec<NodeIndex> =
            all().map(|node| scenario.host(node).and_then(|host| host.identity).unwrap_or(node)).collect();
        let identities: Vec<Identity> =
            all().map(|node| Identity::from_secret(&secret(random, node))).collect();
        let ids: Vec<NodeId> = keys.iter().map(|&key| identities[key as usize].node_id()).collect();
        let roles: Vec<NodeRole> = all().map(|node| scenario.role(node)).collect();
        let protocol = |node| scenario.host(node).and_then(|host| host.protocol).unwrap_or(PROTOCOL_VERSION);
        let model =
            |node| scenario.host(node).and_then(|host| host.model).unwrap_or(inference::DEFAULT_MODEL);
        // An id belongs to the original, not to its copies.
        let by_id = keys.iter().map(|&key| (ids[key as usize], key)).collect();
        let topology = scenario.network.topology;
        let bootstrap = match (scenario.network.multicast, topology) {
            (true, _) => Vec::new(),
            (false, Topology::Full) => random_regular(random, scenario.nodes),
            (false, Topology::Line | Topology::Ring) => {
                (0..scenario.nodes).map(|node| neighbours(topology, scenario.nodes, node)).collect()
            }
        };
        let mut config = Config {
            discovery: scenario.network.multicast,
            max_peers: scenario.node.max_peers,
            max_concurrent_tasks: scenario.node.max_concurrent_tasks,
            queue_tasks_max: scenario.node.queue_tasks_max,
            models: inference::all(inference::DEFAULT_MODEL, false),
            ..Config::default()
        };
        if let Some(adjust) = adjust {
            adjust(&mut config);
        }
        Self {
            random,
            topology,
            identities,
            ids,
            roles,
            protocols: all().map(protocol).collect(),
            models: all().map(model).collect(),
            keys,
            by_id,
            config,
            real_models: false,
            files: simulated_file::for_scenario(scenario, random),
            bootstrap,
        }
    }

    /// Sets the configuration of all nodes, with the real models that they offer, except for what the scenario sets.
    pub(crate) fn configure(&mut self, config: Config) {
        let Config { discovery, max_peers, max_concurrent_tasks, queue_tasks_max, .. } = self.config;
        self.config = Config { discovery, max_peers, max_concurrent_tasks, queue_tasks_max, ..config };
        self.real_models = true;
    }

    /// Returns the number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, node: NodeIndex) -> NodeId {
        self.ids[node as usize]
    }

    pub(crate) fn find(&self, id: NodeId) -> Option<NodeIndex> {
        self.by_id.get(&id).copied()
    }

    /// Returns the node with an id, if its role is that of a member.
    pub(crate) fn find_member(&self, id: NodeId) -> Option<NodeIndex> {
        self.find(id).filter(|&node| self.role(node) == NodeRole::Member)
    }

    pub(crate) fn role(&self, node: NodeIndex) -> NodeRole {
        self.roles[node as usize]
    }

    /// Returns whether every node has the role of a member.
    pub(crate) fn all_are_members(&self) -> bool {
        self.roles.iter().all(|role| *role == NodeRole::Member)
    }

    /// Returns whether any node is hostile.
    pub(crate) fn has_hostile(&self) -> bool {
        self.roles.contains(&NodeRole::Hostile)
    }

    /// Returns the protocol version of a node.
    pub(crate) fn protocol(&self, node: NodeIndex) -> u16 {
        self.protocols[node as usize]
    }

    /// Returns the number of a node's models, unless they are replaced.
    pub(crate) fn model(&self, node: NodeIndex) -> u16 {
        self.models[node as usize]
    }

    /// Returns whether another node has a copy of a node's key.
    pub(crate) fn is_copied(&self, node: NodeIndex) -> bool {
        (0..).zip(&self.keys).any(|(other, &key)| key == node && other != node)
    }

    /// Returns the node whose key a node has: itself, unless it is a copy.
    pub(crate) fn key_of(&self, node: NodeIndex) -> NodeIndex {
        self.keys[node as usize]
    }

    /// Returns the name of a node, or its id if it is not in the cluster.
    pub(crate) fn name(&self, id: NodeId) -> String {
        self.find(id).map_or_else(|| id.to_string(), |node| format!("n{node}"))
    }

    pub(crate) fn identity(&self, node: NodeIndex) -> Identity {
        self.identities[self.key_of(node) as usize].clone()
    }

    /// Returns the public key of a node.
    pub(crate) fn key(&self, node: NodeIndex) -> PublicKey {
        self.identities[self.key_of(node) as usize].public_key()
    }

    /// Returns the private key of a node.
    pub(crate) fn secret(&self, node: NodeIndex) -> [u8; 32] {
        secret(self.random, self.key_of(node))
    }

    /// Returns how to construct a node in its n-th incarnation.
    pub(crate) fn start(
        &self,
        node: NodeIndex,
        incarnation: u32,
        now: Instant,
        wall: UnixMillis,
    ) -> (Start, Identity) {
        let identity = self.identity(node);
        let start = Start {
            version: journal::VERSION.to_owned(),
            key: identity.public_key(),
            config: self.config(node),
            seed: self.random.bytes(Purpose::NodeSeed, u64::from(node), incarnation),
            now,
            wall,
        };
        (start, identity)
    }

    pub(crate) fn config(&self, node: NodeIndex) -> Config {
        let bootstrap = self.bootstrap.get(node as usize).map(Vec::as_slice).unwrap_or_default();
        let bootstrap_peers = bootstrap.iter().map(|&other| address(other)).collect();
        let name = NodeName::new(&format!("n{node}")).unwrap_or_default();
        let mut config = Config { name, bootstrap_peers, ..self.config.clone() };
        if !self.real_models {
            for offer in &mut config.models {
                offer.fingerprint = Some(inference::fingerprint(self.model(node), false));
            }
        }
        config
    }

    /// Returns whether the topology connects two nodes, apart from faults.
    pub(crate) fn can_reach(&self, from: NodeIndex, to: NodeIndex) -> bool {
        let (low, high) = (from.min(to), from.max(to));
        match self.topology {
            Topology::Full => true,
            Topology::Line => high - low <= 1,
            Topology::Ring => high - low <= 1 || (low == 0 && high as usize == self.ids.len() - 1),
        }
    }

    /// Returns the other nodes that the topology connects to a node, in order.
    pub(crate) fn reachable_from(&self, node: NodeIndex) -> Vec<NodeIndex> {
        let all = 0..u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        match self.topology {
            Topology::Full => all.filter(|&other| other != node).collect(),
            Topology::Line | Topology::Ring => neighbours(self.topology, all.end, node),
        }
    }
}

/// Returns the address at which a node accepts connections.
pub(crate) fn address(node: NodeIndex) -> SocketAddr {
    SocketAddr::new(ip(node), PORT)
}

/// Returns an address that a node announces but at which nobody reaches it.
pub(crate) fn unreachable_address(node: NodeIndex) -> IpAddr {
    Ipv4Addr::from(UNREACHABLE_NETWORK + (node & 0xffff)).into()
}

/// Returns whether nothing answers at an address.
pub(crate) fn is_unreachable_address(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if u32::from(address) >> 16 == UNREACHABLE_NETWORK >> 16)
}

/// Returns a node's address, in a private network.
pub(crate) fn ip(node: NodeIndex) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(NETWORK + 1 + node))
}

/// Returns the node with an address; `None` if none of `nodes` has it.
pub(crate) fn node_at(address: IpAddr, nodes: usize) -> Option<NodeIndex> {
    let IpAddr::V4(address) = address else { return None };
    let node = u32::from(address).checked_sub(NETWORK + 1)?;
    (usize::try_from(node).ok()? < nodes).then_some(node)
}

fn secret(random: Random, node: NodeIndex) -> [u8; 32] {
    random.bytes(Purpose::Identity, u64::from(node), 0)
}

fn neighbours(topology: Topology, nodes: u32, node: NodeIndex) -> Vec<NodeIndex> {
    let around = match topology {
        Topology::Ring => [(node + nodes - 1) % nodes, (node + 1) % nodes],
        Topology::Full | Topology::Line => [node.wrapping_sub(1), node + 1],
    };
    let mut around: Vec<NodeIndex> =
        around.into_iter().filter(|&other| other < nodes && other != node).collect();
    around.sort_unstable();
    around.dedup();
    around
}

/// Gives each node its successors on a few random rings through all nodes: a random regular graph, connected for every
/// seed.
fn random_regular(random: Random, nodes: u32) -> Vec<Vec<NodeIndex>> {
    let mut bootstrap: Vec<Vec<NodeIndex>> = vec![Vec::new(); nodes as usize];
    for round in 0..RINGS {
        let mut ring: Vec<NodeIndex> = (0..nodes).collect();
        for last in (1..ring.len()).rev() {
            let n = u32::try_from(last).unwrap_or_default();
            ring.swap(last, random.index(last + 1, Purpose::Topology, round, n));
        }
        for (position, &node) in ring.iter().enumerate() {
            let next = ring[(position + 1) % ring.len()];
            let known = &mut bootstrap[node as usize];
            if next != node && !known.contains(&next) {
                known.push(next);
            }
        }
    }
    bootstrap
}

/// The wall-clock time at which every simulation starts: 2026-01-01T00:00:00Z.
pub(crate) const EPOCH: UnixMillis = UnixMillis(1_767_225_600_000);

/// Returns the wall-clock time after some microseconds of simulation.
pub(crate) const fn wall(micros: u64) -> UnixMillis {
    UnixMillis(EPOCH.0 + micros / 1000)
}

/// The port at which every node accepts connections.
pub(crate) const PORT: u16 = 9000;

/// The port of mDNS.
pub(crate) const MULTICAST_PORT: u16 = 5353;

/// The number of the only network interface of every node.
pub(crate) const INTERFACE: u32 = 1;

/// 10.0.0.0
const NETWORK: u32 = 10 << 24;

/// 172.31.0.0: addresses like those of container bridges.
const UNREACHABLE_NETWORK: u32 = 172 << 24 | 31 << 16;

/// Each ring gives a node two links.
const RINGS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_their_nodes() {
        for node in [0, 1, 255, 256, 99_999] {
            assert_eq!(node_at(ip(node), 100_000), Some(node));
        }
        assert_eq!(node_at(ip(5), 5), None);
        assert_eq!(node_at("9.255.255.255".parse().unwrap(), 5), None);
        assert_eq!(node_at("::1".parse().unwrap(), 5), None);
    }

    #[test]
    fn a_random_graph_is_regular_and_in_one_piece() {
        let bootstrap = random_regular(Random::new(3), 1000);
        let mut degrees = vec![0; 1000];
        for (node, others) in bootstrap.iter().enumerate() {
            degrees[node] += others.len();
            others.iter().for_each(|&other| degrees[other as usize] += 1);
        }
        assert!(degrees.iter().all(|degree| (6..=8).contains(degree)), "{degrees:?}");
        let mut seen = vec![false; 1000];
        let mut stack = vec![0_u32];
        while let Some(node) = stack.pop() {
            if !core::mem::replace(&mut seen[node as usize], true) {
                stack.extend(&bootstrap[node as usize]);
            }
        }
        assert!(seen.iter().all(|&seen| seen));
    }

    #[test]
    fn lines_and_rings_reach_neighbours_only() {
        assert_eq!(neighbours(Topology::Line, 5, 0), [1]);
        assert_eq!(neighbours(Topology::Line, 5, 2), [1, 3]);
        assert_eq!(neighbours(Topology::Line, 5, 4), [3]);
        assert_eq!(neighbours(Topology::Ring, 5, 0), [1, 4]);
        assert_eq!(neighbours(Topology::Ring, 2, 0), [1]);
        assert_eq!(neighbours(Topology::Ring, 1, 0), Vec::<u32>::new());
    }
}
