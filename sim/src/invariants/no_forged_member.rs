//! Nobody takes for a member, or tells others of, what no node with that key has signed.

use super::{Fact, Invariant};
use crate::cluster::{Cluster, NodeIndex};
use engine::identity::{Domain, GoodSignatures};
use engine::wire::{Advert, Message, SignedAdvert};
use engine::{Event, Instant, Output};
use std::sync::Arc;

/// Watches whom nodes list, and what they pass on of others.
#[derive(Debug)]
pub(super) struct NoForgedMember {
    cluster: Arc<Cluster>,
    /// Whether there is anybody who might forge.
    applies: bool,
    good: GoodSignatures,
    checks: u64,
}

pub(super) const NAME: &str = "no_forged_member";

impl NoForgedMember {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let applies = cluster.has_hostile();
        Self { cluster, applies, good: GoodSignatures::default(), checks: 0 }
    }

    fn is_signed(&self, signed: &SignedAdvert) -> bool {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&signed.signature.0);
        signature[32..].copy_from_slice(&signed.signature.1);
        let advert = Advert::decode(&signed.body.0);
        advert.is_ok_and(|advert| self.good.check(&advert.key, Domain::Advert, &signed.body.0, &signature))
    }
}

impl Invariant for NoForgedMember {
    fn name(&self) -> &'static str {
        NAME
    }

    fn see(&mut self, _: Instant, _: NodeIndex, fact: Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Output(Output::Event(Event::MemberJoined { member })) => {
                self.checks += 1;
                let known = self.cluster.find(*member).is_some();
                return if known { Ok(()) } else { Err(format!("{member} is a member, and does not exist")) };
            }
            Fact::Output(Output::Send { frame, .. }) if self.applies => {
                let Ok(Message::Adverts(adverts)) = Message::decode(frame) else { return Ok(()) };
                self.checks += 1;
                if let Some(Ok((member, _))) = adverts
                    .iter()
                    .find(|advert| !self.is_signed(advert))
                    .map(|advert| Advert::peek(&advert.body.0))
                {
                    let name = self.cluster.name(member);
                    return Err(format!("an advert goes out that {name} did not sign"));
                }
            }
            Fact::Durable(_) | Fact::Input(_) | Fact::Output(_) | Fact::Started | Fact::Stopped => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::cluster;
    use super::*;
    use engine::output::Priority;
    use engine::wire::Bytes;
    use engine::{Identity, LinkId, NodeId};

    #[test]
    fn whoever_does_not_exist_is_no_member() {
        let cluster = cluster(2);
        let member = cluster.id(1);
        let mut invariant = NoForgedMember::new(cluster);
        let mut see = |member| {
            let joined = Output::Event(Event::MemberJoined { member });
            invariant.see(Instant::ZERO, 0, Fact::Output(&joined))
        };
        assert_eq!(see(member), Ok(()));
        assert!(see(NodeId([7; 16])).is_err());
    }

    #[test]
    fn an_advert_that_its_member_did_not_sign_does_not_go_out() {
        let (cluster, signer) = (cluster(2), Identity::from_secret(&[1; 32]));
        let mut invariant = NoForgedMember { applies: true, ..NoForgedMember::new(cluster) };
        let mut see = |key| {
            let advert = Advert {
                key,
                sequence: 1,
                incarnation: 1,
                addresses: Vec::new(),
                version: String::new(),
                max_links: 1,
                slots: 1,
                models: Vec::new(),
                links: Vec::new(),
                session_key: [0; 32],
            };
            let body = advert.encode();
            let signature = signer.sign(Domain::Advert, &body);
            let mut halves = ([0; 32], [0; 32]);
            halves.0.copy_from_slice(&signature[..32]);
            halves.1.copy_from_slice(&signature[32..]);
            let frame =
                Message::Adverts(vec![SignedAdvert { body: Bytes(body), signature: halves }]).encode();
            let sent = Output::Send { link: LinkId(1), frame, priority: Priority::Control };
            invariant.see(Instant::ZERO, 0, Fact::Output(&sent))
        };
        assert_eq!(see(signer.public_key()), Ok(()));
        assert!(see(Identity::from_secret(&[2; 32]).public_key()).is_err());
    }
}
