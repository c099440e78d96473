//! When nothing has changed for half a minute, linked nodes agree on the members: the digests in their heartbeats are
//! equal.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation};
use crate::links::Links;
use crate::node_set::NodeIndex;
use core::time::Duration;
use engine::wire::Message;
use engine::{Event, Instant, LinkId, Output};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compares the digests of linked nodes at rest.
#[derive(Debug)]
pub(super) struct NeighboursAgreeAtRest {
    cluster: Arc<Cluster>,
    links: Links,
    changed_at: Instant,
    /// The last digest that each node sent, and when.
    digests: Vec<Option<(Instant, u64)>>,
    peers: BTreeMap<(NodeIndex, LinkId), NodeIndex>,
    checks: u64,
}

pub(super) const NAME: &str = "neighbours_agree_at_rest";

impl NeighboursAgreeAtRest {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let nodes = cluster.len();
        Self {
            links: Links::new(nodes),
            cluster,
            changed_at: Instant::ZERO,
            digests: vec![None; nodes],
            peers: BTreeMap::new(),
            checks: 0,
        }
    }

    fn says(&mut self, now: Instant, node: NodeIndex, link: LinkId, digest: u64) -> Result<(), String> {
        let quiet_at = self.changed_at.after(AGREEMENT_TIMEOUT);
        if now < quiet_at {
            return Ok(());
        }
        self.digests[node as usize] = Some((now, digest));
        let Some(&peer) = self.peers.get(&(node, link)) else { return Ok(()) };
        match self.digests[peer as usize] {
            Some((then, other)) if then >= quiet_at && self.links.is_to_running_process(node, peer) => {
                self.checks += 1;
                if other == digest {
                    return Ok(());
                }
                let since = self.changed_at;
                Err(format!("n{node} and n{peer} see different members, and nothing changed since {since}"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Invariant for NeighboursAgreeAtRest {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        if self.links.observe(&self.cluster, node, observation).is_some() {
            self.changed_at = now;
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern messages of members")]
        match observation {
            Observation::Started => self.peers.retain(|(of, _), _| *of != node),
            Observation::Output(Output::Event(event)) => match event {
                Event::LinkUp { link, peer, .. } => {
                    self.cluster.find(*peer).map(|peer| self.peers.insert((node, *link), peer));
                }
                Event::MemberJoined { .. } | Event::MemberLeft { .. } | Event::ModelChanged { .. } => {
                    self.changed_at = now;
                }
                _ => {}
            },
            Observation::Output(Output::Send { link, frame, .. }) if frame.len() <= HEARTBEAT_BYTES_MAX => {
                if let Ok(Message::Ping(beat) | Message::Pong(beat)) = Message::decode(frame) {
                    return self.says(now, node, *link, beat.digest);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn network_changed(&mut self, now: Instant) {
        self.changed_at = now;
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// How long linked nodes may differ: until one receives the other's heartbeat and asks for what it lacks.
const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest heartbeat frame, in bytes.
const HEARTBEAT_BYTES_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::{at, cluster, up};
    use engine::output::Priority;
    use engine::wire::Beat;

    #[test]
    fn neighbours_that_differ_for_long_are_wrong() {
        for (digest, good) in [(1, true), (2, false)] {
            let cluster = cluster(2);
            let mut invariant = NeighboursAgreeAtRest::new(Arc::clone(&cluster));
            let mut observe = |seconds, node, observation: Observation<'_>| {
                invariant.observe(at(seconds), node, observation)
            };
            for node in [0, 1] {
                observe(0, node, Observation::Started).unwrap();
                let link = up(&cluster, u64::from(node), 1 - node);
                observe(1, node, Observation::Output(&link)).unwrap();
            }
            let ping = |link, digest| {
                let frame = Message::Ping(Beat { number: 1, digest, load: 0 }).encode();
                Output::Send { link: LinkId(link), frame, priority: Priority::Control }
            };
            assert_eq!(observe(20, 0, Observation::Output(&ping(0, 7))), Ok(()));
            assert_eq!(observe(20, 1, Observation::Output(&ping(1, 8))), Ok(()), "too early to tell");
            assert_eq!(observe(40, 0, Observation::Output(&ping(0, 1))), Ok(()));
            assert_eq!(observe(41, 1, Observation::Output(&ping(1, digest))).is_ok(), good);
        }
    }
}
