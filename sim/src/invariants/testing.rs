//! What tests of several invariants need.

use crate::cluster::{Cluster, NodeIndex};
use crate::scenario::Scenario;
use engine::event::LinkDownReason;
use engine::{Event, Instant, LinkId, Output};
use std::sync::Arc;

pub(super) fn cluster(nodes: u32) -> Arc<Cluster> {
    let text = format!("nodes = {nodes}\nduration = \"60s\"\n");
    Arc::new(Cluster::new(&Scenario::parse("cluster", &text).unwrap(), 1, None))
}

pub(super) const fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

pub(super) fn up(cluster: &Cluster, link: u64, peer: NodeIndex) -> Output {
    let (peer, address) = (cluster.id(peer), crate::cluster::address(peer));
    Output::Event(Event::LinkUp { link: LinkId(link), peer, address, dialled: true })
}

pub(super) fn down(cluster: &Cluster, link: u64, peer: NodeIndex) -> Output {
    let peer = cluster.id(peer);
    Output::Event(Event::LinkDown { link: LinkId(link), peer, reason: LinkDownReason::Closed })
}
