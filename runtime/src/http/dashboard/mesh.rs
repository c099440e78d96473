//! The mesh as the page draws it: made from what a node answers, and compared with what it was before.

use super::layout::{Group, Layout, Place};
use super::names::Names;
use api::dashboard::{Level, MeshGroup, MeshLink, MeshModel, MeshNode, MeshState, MetricsSample};
use engine::event::LinkDownReason;
use engine::health::{Component, HealthReason, Verdict};
use engine::heartbeat::Liveness;
use engine::lifecycle::State;
use engine::request::{MemberView, PeerView, StatusView};
use engine::{NodeId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a node answered at one moment.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) status: StatusView,
    pub(super) members: Vec<MemberView>,
    pub(super) peers: Vec<PeerView>,
}

/// The drawn mesh.
#[derive(Debug, Default)]
pub(super) struct Mesh {
    pub(super) nodes: BTreeMap<NodeId, MeshNode>,
    pub(super) links: BTreeMap<(NodeId, NodeId), MeshLink>,
    layout: Layout,
    /// Nodes that left, and when.
    gone: BTreeMap<NodeId, UnixMillis>,
    traffic: BTreeMap<NodeId, Traffic>,
    /// Bytes received and sent per second since the tick before; `None` before the second tick.
    bytes: Option<(f64, f64)>,
}

/// What a link had carried at the last tick, and its rates before.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    messages: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Milliseconds since 1970.
    at: u64,
    messages_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
}

/// What differs from the mesh before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Difference {
    pub(super) nodes: Vec<MeshNode>,
    pub(super) nodes_removed: Vec<NodeId>,
    pub(super) links: Vec<MeshLink>,
    pub(super) links_removed: Vec<[NodeId; 2]>,
    pub(super) groups: Option<Vec<MeshGroup>>,
}

impl Difference {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Mesh {
    /// Takes new answers. `tick` says that a second has passed, so that rates are measured; `departure` knows why a
    /// link with a node went down.
    pub(super) fn update(
        &mut self,
        answers: &Answers,
        now: UnixMillis,
        tick: bool,
        names: &Names,
        departure: impl Fn(NodeId) -> Option<LinkDownReason>,
    ) -> Difference {
        let me = answers.status.node_id;
        let peers: BTreeMap<NodeId, &PeerView> =
            answers.peers.iter().map(|peer| (peer.node_id, peer)).collect();
        let mut nodes: BTreeMap<NodeId, MeshNode> = answers
            .members
            .iter()
            .map(|member| {
                (member.node_id, node(member, &answers.status, peers.get(&member.node_id).copied()))
            })
            .collect();
        self.keep_gone(&mut nodes, now, departure);
        if tick {
            self.measure(&peers, now);
        }
        let links = self.links(me, answers, &peers);
        let groups = self.place(&mut nodes, &links);
        names.give(&mut nodes);
        let difference = self.difference(&nodes, &links, groups);
        (self.nodes, self.links) = (nodes, links);
        difference
    }

    /// Forgets all nodes and links, so that the next answers are compared with nothing. Keeps the places of the nodes.
    pub(super) fn forget(&mut self) {
        let layout = std::mem::take(&mut self.layout);
        *self = Self { layout, ..Self::default() };
    }

    /// Returns the groups.
    pub(super) fn groups(&self) -> Vec<MeshGroup> {
        let shown = |group: &Group| MeshGroup {
            id: group.seed,
            nodes: group.nodes,
            x: rounded(group.place.x),
            y: rounded(group.place.y),
            radius: rounded(group.radius),
        };
        self.layout.groups.iter().map(shown).collect()
    }

    /// Adds what the links carried to the sample of a second.
    pub(super) fn add_traffic(&self, sample: &mut MetricsSample) {
        let whole = |(bytes_in, bytes_out): (f64, f64)| (bytes_in.round() as u64, bytes_out.round() as u64);
        (sample.bytes_in, sample.bytes_out) = self.bytes.map(whole).unzip();
    }

    /// Keeps nodes that left in the picture for a while.
    fn keep_gone(
        &mut self,
        nodes: &mut BTreeMap<NodeId, MeshNode>,
        now: UnixMillis,
        departure: impl Fn(NodeId) -> Option<LinkDownReason>,
    ) {
        for (id, old) in &self.nodes {
            if nodes.contains_key(id) {
                self.gone.remove(id);
                continue;
            }
            let since = *self.gone.entry(*id).or_insert(now);
            if now.0.saturating_sub(since.0) >= GONE_SHOWN_MILLIS {
                continue;
            }
            let mut node = old.clone();
            if node.state != MeshState::Gone {
                let (level, reason) = farewell(departure(*id).filter(|_| old.hops == 1));
                (node.state, node.level, node.reason) = (MeshState::Gone, level, Some(reason.to_owned()));
                (node.gone_at, node.load) = (Some(since.to_string()), None);
            }
            nodes.insert(*id, node);
        }
        self.gone.retain(|id, _| nodes.contains_key(id));
        while self.gone.len() > GONE_MAX {
            let Some(oldest) = self.gone.iter().min_by_key(|(_, since)| since.0).map(|(id, _)| *id) else {
                break;
            };
            self.gone.remove(&oldest);
            nodes.remove(&oldest);
        }
    }

    /// Measures what each link carried since the last tick.
    fn measure(&mut self, peers: &BTreeMap<NodeId, &PeerView>, now: UnixMillis) {
        let mut total = (!self.traffic.is_empty()).then_some((0.0, 0.0));
        self.traffic.retain(|id, _| peers.contains_key(id));
        for (id, peer) in peers {
            let messages = peer.messages_in.saturating_add(peer.messages_out);
            let new = Traffic {
                messages,
                bytes_in: peer.bytes_in,
                bytes_out: peer.bytes_out,
                at: now.0,
                ..Traffic::default()
            };
            let rates =
                self.traffic.get(id).filter(|old| old.messages <= messages && old.at < now.0).map(|old| {
                    let seconds = (now.0 - old.at) as f64 / 1000.0;
                    let bytes_in = new.bytes_in.saturating_sub(old.bytes_in) as f64 / seconds;
                    let bytes_out = new.bytes_out.saturating_sub(old.bytes_out) as f64 / seconds;
                    if let Some((all_in, all_out)) = &mut total {
                        *all_in += bytes_in;
                        *all_out += bytes_out;
                    }
                    ((messages - old.messages) as f64 / seconds, bytes_in + bytes_out)
                });
            let (messages_per_second, bytes_per_second) = rates.unzip();
            self.traffic.insert(*id, Traffic { messages_per_second, bytes_per_second, ..new });
        }
        self.bytes = total;
    }

    fn links(
        &self,
        me: NodeId,
        answers: &Answers,
        peers: &BTreeMap<NodeId, &PeerView>,
    ) -> BTreeMap<(NodeId, NodeId), MeshLink> {
        let mut links = BTreeMap::new();
        let advertised: BTreeMap<NodeId, BTreeSet<NodeId>> = answers
            .members
            .iter()
            .map(|member| (member.node_id, member.links.iter().copied().collect()))
            .collect();
        for (a, far) in &advertised {
            // A link is there if both ends say so. This node knows its own links better than its advert.
            let both = far.iter().filter(|b| a < *b && *a != me && **b != me);
            for b in both.filter(|b| advertised.get(b).is_some_and(|back| back.contains(a))) {
                links.insert((*a, *b), link(*a, *b));
            }
        }
        for (id, peer) in peers.iter().filter(|(id, _)| advertised.contains_key(id)) {
            let (a, b) = (me.min(*id), me.max(*id));
            let traffic = self.traffic.get(id).copied().unwrap_or_default();
            let measured = MeshLink {
                round_trip_ms: peer.round_trip_micros.map(|micros| micros as f64 / 1e3),
                messages_in: Some(peer.messages_in),
                messages_out: Some(peer.messages_out),
                bytes_in: Some(peer.bytes_in),
                bytes_out: Some(peer.bytes_out),
                messages_per_second: traffic.messages_per_second.map(rounded),
                bytes_per_second: traffic.bytes_per_second.map(rounded),
                connected_ms: Some(peer.connected_millis),
                ..link(a, b)
            };
            links.insert((a, b), measured);
        }
        links
    }

    /// Gives each node its place. Returns the groups if they changed.
    fn place(
        &mut self,
        nodes: &mut BTreeMap<NodeId, MeshNode>,
        links: &BTreeMap<(NodeId, NodeId), MeshLink>,
    ) -> Option<Vec<MeshGroup>> {
        let before = self.groups();
        self.layout.update(&nodes.keys().copied().collect(), &links.keys().copied().collect());
        for (id, node) in nodes {
            let Place { x, y } = self.layout.places.get(id).copied().unwrap_or_default();
            (node.x, node.y) = (rounded(x), rounded(y));
            node.group = self.layout.members.get(id).copied();
        }
        Some(self.groups()).filter(|groups| *groups != before)
    }

    fn difference(
        &self,
        nodes: &BTreeMap<NodeId, MeshNode>,
        links: &BTreeMap<(NodeId, NodeId), MeshLink>,
        groups: Option<Vec<MeshGroup>>,
    ) -> Difference {
        let same_link = |new: &MeshLink, old: &MeshLink| {
            // The age of a link always changes.
            MeshLink { connected_ms: None, ..new.clone() } == MeshLink { connected_ms: None, ..old.clone() }
        };
        let is_new_link = |(ends, new): &(&(NodeId, NodeId), &MeshLink)| {
            self.links.get(ends).is_none_or(|old| !same_link(new, old))
        };
        Difference {
            nodes: nodes
                .iter()
                .filter(|(id, new)| self.nodes.get(id) != Some(new))
                .map(|(_, new)| new.clone())
                .collect(),
            nodes_removed: self.nodes.keys().filter(|id| !nodes.contains_key(id)).copied().collect(),
            links: links.iter().filter(is_new_link).map(|(_, new)| new.clone()).collect(),
            links_removed: self
                .links
                .keys()
                .filter(|ends| !links.contains_key(ends))
                .map(|(a, b)| [*a, *b])
                .collect(),
            groups,
        }
    }
}

fn link(a: NodeId, b: NodeId) -> MeshLink {
    let (round_trip_ms, messages_in, messages_out, bytes_in, bytes_out) = Default::default();
    let (messages_per_second, bytes_per_second, connected_ms) = Default::default();
    MeshLink {
        a,
        b,
        round_trip_ms,
        messages_in,
        messages_out,
        bytes_in,
        bytes_out,
        messages_per_second,
        bytes_per_second,
        connected_ms,
    }
}

fn node(member: &MemberView, status: &StatusView, peer: Option<&PeerView>) -> MeshNode {
    let is_me = member.node_id == status.node_id;
    let (state, level, reason) = if is_me { own_state(status) } else { peer_state(peer) };
    let health = status.health.as_ref().filter(|_| is_me);
    let model = |offer: &engine::model::ModelOffer| MeshModel {
        name: offer.name.clone(),
        kind: offer.kind,
        fingerprint: offer.fingerprint,
    };
    MeshNode {
        id: member.node_id,
        name: Some(member.name.to_string()).filter(|name| !name.is_empty()),
        version: member.version.clone(),
        state,
        level,
        reason,
        gone_at: None,
        hops: member.hops,
        addresses: member.addresses.clone(),
        load: member.load.map(u32::from),
        slots: member.slots.into(),
        models: member.models.iter().map(model).collect(),
        memory_bytes: health.and_then(|health| health.memory_bytes),
        memory_bytes_max: health.map(|health| health.memory_bytes_max),
        x: 0.0,
        y: 0.0,
        group: None,
    }
}

/// Returns the state of the node that answers.
fn own_state(status: &StatusView) -> (MeshState, Level, Option<String>) {
    match status.state {
        State::Initializing | State::Registering => {
            return (MeshState::Starting, Level::Warning, Some("it is starting".to_owned()));
        }
        State::ShuttingDown | State::Stopped => {
            return (MeshState::Stopping, Level::Warning, Some("it is shutting down".to_owned()));
        }
        State::Active => {}
    }
    let findings = status.health.iter().flat_map(|health| &health.findings);
    let worst =
        findings.filter(|finding| finding.verdict != Verdict::Pass).max_by_key(|finding| finding.verdict);
    if let Some(finding) = worst {
        let level = if finding.verdict == Verdict::Fail { Level::Bad } else { Level::Warning };
        let reason = finding
            .reason
            .map_or_else(|| unwell(finding.component).to_owned(), |reason| health_reason(reason).to_owned());
        return (MeshState::Degraded, level, Some(reason));
    }
    status.alerts.first().map_or((MeshState::Active, Level::Good, None), |alert| {
        let reason = alert.rule.describe_crossing(alert.value, alert.threshold);
        (MeshState::Degraded, Level::Warning, Some(reason))
    })
}

fn peer_state(peer: Option<&PeerView>) -> (MeshState, Level, Option<String>) {
    match peer.map(|peer| peer.liveness) {
        Some(Liveness::Slow) => {
            (MeshState::Slow, Level::Warning, Some("it left a heartbeat unanswered".to_owned()))
        }
        Some(Liveness::Dead) => (MeshState::Slow, Level::Bad, Some("it stopped answering".to_owned())),
        Some(Liveness::Alive) | None => (MeshState::Active, Level::Good, None),
    }
}

const fn unwell(component: Component) -> &'static str {
    match component {
        Component::Configuration => "its configuration needs attention",
        Component::Crypto => "its key does not sign",
        Component::Memory => "it runs out of memory",
        Component::Storage => "its storage needs attention",
    }
}

const fn health_reason(reason: HealthReason) -> &'static str {
    match reason {
        HealthReason::ConfigUnreadable => "its configuration cannot be read",
        HealthReason::CryptoTimeout => "its machine is too busy: the key did not sign in time",
        HealthReason::MemoryThresholdExceeded => "it uses 80 % or more of its memory limit",
        HealthReason::RecordsDamaged => "stored records are damaged: p2p-ai-agents doctor names them",
        HealthReason::StorageFailed => "a write failed: check the space on its disk",
        HealthReason::StorageTimeout => "its disk is slow or hangs",
    }
}

/// Returns how bad it is that a node left, and why it left. A node that is no peer leaves without a reason.
const fn farewell(reason: Option<LinkDownReason>) -> (Level, &'static str) {
    match reason {
        Some(LinkDownReason::Goodbye) => (Level::Warning, "it said goodbye"),
        Some(LinkDownReason::Closed) => (Level::Bad, "its connection closed without a goodbye"),
        Some(LinkDownReason::Fault) => (Level::Bad, "it violated the protocol"),
        Some(LinkDownReason::Unanswered) => (Level::Bad, "it stopped answering"),
        Some(LinkDownReason::Duplicate | LinkDownReason::Restarted | LinkDownReason::Spared) | None => {
            (Level::Bad, "no path leads to it any more")
        }
    }
}

/// Rounds to four places, which is a tenth of a pixel.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// How long a node that left is shown.
const GONE_SHOWN_MILLIS: u64 = Duration::from_secs(60).as_millis() as u64;
/// Maximum number of nodes that left and are shown.
const GONE_MAX: usize = 256;

#[cfg(test)]
mod tests;
