//! A node never forwards an older advert of a member after a newer one.
//!
//! Decoding every advert costs more than all other invariants together, so large meshes are not checked.

use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::wire::{Advert, Message};
use engine::{Instant, NodeId, Output};
use std::collections::BTreeMap;

/// Tracks the newest advert of each member that each node forwarded since it started.
#[derive(Debug)]
pub(super) struct AdvertsGoForward {
    newest: Vec<BTreeMap<NodeId, u64>>,
    checks: u64,
}

pub(super) const NAME: &str = "adverts_go_forward";

impl AdvertsGoForward {
    pub(super) fn new(nodes: usize) -> Self {
        Self { newest: vec![BTreeMap::new(); nodes], checks: 0 }
    }

    fn sent(&mut self, node: NodeIndex, member: NodeId, sequence: u64) -> Result<(), String> {
        self.checks += 1;
        let newest = self.newest[node as usize].entry(member).or_insert(sequence);
        if sequence < *newest {
            return Err(format!("it forwards advert {sequence} of {member} after {newest}"));
        }
        *newest = sequence;
        Ok(())
    }
}

impl Invariant for AdvertsGoForward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::OUTPUTS
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Started => self.newest[node as usize].clear(),
            Observation::Output(Output::Send { frame, .. })
                if frame.len() > ADVERT_BYTES_MIN && self.newest.len() <= NODES_MAX =>
            {
                let Ok(Message::Adverts(adverts)) = Message::decode(frame) else { return Ok(()) };
                for signed in adverts {
                    if let Ok((member, sequence)) = Advert::peek(&signed.body.0) {
                        self.sent(node, member, sequence)?;
                    }
                }
            }
            Observation::Durable(_)
            | Observation::Input(_)
            | Observation::Output(_)
            | Observation::Stopped => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// The smallest possible advert: it contains a key and a signature.
const ADVERT_BYTES_MIN: usize = 96;

/// The largest mesh that is checked, in nodes.
const NODES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::at;

    #[test]
    fn an_older_advert_after_a_newer_one_is_wrong() {
        let mut invariant = AdvertsGoForward::new(1);
        let member = NodeId([1; 16]);
        assert_eq!(invariant.sent(0, member, 5), Ok(()));
        assert_eq!(invariant.sent(0, member, 5), Ok(()));
        assert!(invariant.sent(0, member, 4).is_err());
        assert_eq!(invariant.observe(at(1), 0, Observation::Started), Ok(()));
        assert_eq!(invariant.sent(0, member, 4), Ok(()));
    }
}
