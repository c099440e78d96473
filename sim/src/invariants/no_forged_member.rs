//! No node lists or forwards a member whose advert was not signed with that member's key.

use crate::cluster::Cluster;
use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::identity::Domain;
use engine::wire::{Advert, Message, SharedBytes, SignedAdvert};
use engine::{Event, Instant, Output};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Watches which members nodes list and which adverts they forward.
#[derive(Debug)]
pub(super) struct NoForgedMember {
    cluster: Arc<Cluster>,
    /// Whether the scenario has a node that may forge.
    applies: bool,
    /// Adverts with a verified signature, by signature.
    good: BTreeMap<[u8; 64], SharedBytes>,
    checks: u64,
}

/// The most verified adverts to remember; beyond that, the cache is cleared.
const GOOD_MAX: usize = 65_536;

pub(super) const NAME: &str = "no_forged_member";

impl NoForgedMember {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let applies = cluster.has_hostile();
        Self { cluster, applies, good: BTreeMap::new(), checks: 0 }
    }

    fn is_signed(&mut self, SignedAdvert { body, signature }: &SignedAdvert) -> bool {
        if self.good.get(&signature.0) == Some(body) {
            return true;
        }
        let advert = Advert::decode(&body.0);
        let good = advert.is_ok_and(|advert| advert.key.verifies(Domain::Advert, &body.0, &signature.0));
        if good {
            if self.good.len() >= GOOD_MAX {
                self.good.clear();
            }
            self.good.insert(signature.0, body.clone());
        }
        good
    }
}

impl Invariant for NoForgedMember {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, _: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Output(Output::Event(Event::MemberJoined { member })) => {
                self.checks += 1;
                let known = self.cluster.find(*member).is_some();
                return if known {
                    Ok(())
                } else {
                    Err(format!("{member} is listed as a member, but does not exist"))
                };
            }
            Observation::Output(Output::Send { frame, .. }) if self.applies => {
                let Ok(Message::Adverts(adverts)) = Message::decode(frame) else { return Ok(()) };
                self.checks += 1;
                if let Some(Ok((member, _))) = adverts
                    .iter()
                    .find(|advert| !self.is_signed(advert))
                    .map(|advert| Advert::peek(&advert.body.0))
                {
                    let name = self.cluster.name(member);
                    return Err(format!("an advert is sent that {name} did not sign"));
                }
            }
            Observation::Durable(_)
            | Observation::Input(_)
            | Observation::Output(_)
            | Observation::Started
            | Observation::Stopped => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::cluster;
    use engine::output::Priority;
    use engine::wire::{SharedBytes, Signature};
    use engine::{Identity, LinkId, NodeId, NodeName};

    #[test]
    fn an_invented_node_is_no_member() {
        let cluster = cluster(2);
        let member = cluster.id(1);
        let mut invariant = NoForgedMember::new(cluster);
        let mut observe = |member| {
            let joined = Output::Event(Event::MemberJoined { member });
            invariant.observe(Instant::ZERO, 0, Observation::Output(&joined))
        };
        assert_eq!(observe(member), Ok(()));
        assert!(observe(NodeId([7; 16])).is_err());
    }

    #[test]
    fn an_advert_that_its_member_did_not_sign_does_not_go_out() {
        let (cluster, signer) = (cluster(2), Identity::from_secret(&[1; 32]));
        let mut invariant = NoForgedMember { applies: true, ..NoForgedMember::new(cluster) };
        let mut observe = |key| {
            let advert = Advert {
                key,
                sequence: 1,
                incarnation: 1,
                addresses: Vec::new(),
                name: NodeName::default(),
                version: String::new(),
                max_links: 1,
                slots: 1,
                models: Vec::new(),
                links: Vec::new(),
                session_key: [0; 32],
            };
            let body = advert.encode();
            let signature = Signature(signer.sign(Domain::Advert, &body));
            let signed = SignedAdvert { body: SharedBytes(body.into()), signature };
            let frame = Message::Adverts(vec![signed]).encode();
            let sent = Output::Send { link: LinkId(1), frame, priority: Priority::Control };
            invariant.observe(Instant::ZERO, 0, Observation::Output(&sent))
        };
        assert_eq!(observe(signer.public_key()), Ok(()));
        assert!(observe(Identity::from_secret(&[2; 32]).public_key()).is_err());
    }
}
