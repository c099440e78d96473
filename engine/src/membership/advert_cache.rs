//! A cache of verified adverts: signed by their members, and decoded.
//!
//! Checking a signature costs about 30 µs, and an advert has hundreds of bytes. Clones of an [`AdvertCache`] share
//! their entries. So the nodes of a simulated mesh check, decode and hold each advert only once between them. The cache
//! changes no result: an entry matches only the same bytes with the same signature.

use crate::identity::{Domain, Identity};
use crate::ids::NodeId;
use crate::mutants::{Mutant, shows};
use crate::wire::{Advert, SharedBytes, Signature, SignedAdvert};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// An advert that its member signed.
#[derive(Debug)]
pub(crate) struct VerifiedAdvert {
    /// The member.
    pub(crate) member: NodeId,
    /// The decoded advert.
    pub(crate) advert: Advert,
    /// The advert as its member sent it.
    pub(crate) signed: SignedAdvert,
    /// The links in the advert, shared by all their holders.
    pub(crate) links: Arc<[NodeId]>,
}

impl VerifiedAdvert {
    fn new(advert: Advert, signed: SignedAdvert) -> Self {
        Self { member: advert.key.node_id(), links: advert.links.as_slice().into(), advert, signed }
    }
}

/// The advert is malformed, or its alleged member did not sign it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forged;

/// The adverts that several nodes have verified. A lone node needs no cache: it holds the newest advert of each member
/// and checks no older one.
#[derive(Clone, Debug, Default)]
pub struct AdvertCache {
    shared: Option<Arc<Mutex<BySignature>>>,
}

/// The key is the first half of the signature, which differs between adverts.
type BySignature = BTreeMap<[u8; 32], Arc<VerifiedAdvert>>;

impl AdvertCache {
    /// Creates a cache that its clones share.
    pub fn shared() -> Self {
        Self { shared: Some(Arc::default()) }
    }

    /// Signs an advert as its member.
    pub(crate) fn sign(&self, identity: &Identity, advert: Advert) -> Arc<VerifiedAdvert> {
        let body = advert.encode();
        let signature = Signature(identity.sign(Domain::Advert, &body));
        let signed = SignedAdvert { body: SharedBytes(body.into()), signature };
        self.remember(VerifiedAdvert::new(advert, signed))
    }

    /// Decodes an advert and checks that its member signed it, unless it is cached.
    pub(crate) fn check(&self, signed: &SignedAdvert) -> Result<Arc<VerifiedAdvert>, Forged> {
        if let Some(known) = self.recall(signed) {
            return Ok(known);
        }
        let advert = Advert::decode(&signed.body.0).map_err(|_| Forged)?;
        let forged_counts = shows(Mutant::ForgedAdvertAccepted);
        if !forged_counts && !advert.key.verifies(Domain::Advert, &signed.body.0, &signed.signature.0) {
            return Err(Forged);
        }
        Ok(self.remember(VerifiedAdvert::new(advert, signed.clone())))
    }

    fn recall(&self, signed: &SignedAdvert) -> Option<Arc<VerifiedAdvert>> {
        // A panic while the lock was held cannot have left half an entry behind.
        let known = self.shared.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&half(&signed.signature)).filter(|known| known.signed == *signed).cloned()
    }

    fn remember(&self, good: VerifiedAdvert) -> Arc<VerifiedAdvert> {
        let good = Arc::new(good);
        if let Some(shared) = &self.shared {
            let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= ADVERTS_MAX {
                known.clear();
            }
            known.insert(half(&good.signed.signature), Arc::clone(&good));
        }
        good
    }
}

fn half(signature: &Signature) -> [u8; 32] {
    signature.0.first_chunk().copied().unwrap_or_default()
}

/// Maximum number of cached adverts. When it is full, the cache is cleared.
const ADVERTS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_advert_is_good_for_the_same_bytes_only() {
        let identity = Identity::from_secret(&[7; 32]);
        let advert = Advert {
            key: identity.public_key(),
            sequence: 1,
            incarnation: 1,
            name: crate::NodeName::default(),
            addresses: Vec::new(),
            version: "1".to_owned(),
            max_links: 1,
            slots: 1,
            models: Vec::new(),
            links: Vec::new(),
            session_key: [0; 32],
        };
        let other = Advert { sequence: 2, ..advert.clone() };
        for good in [AdvertCache::shared(), AdvertCache::default()] {
            let signed = good.sign(&identity, advert.clone()).signed.clone();
            assert_eq!(good.clone().check(&signed).unwrap().advert, advert);
            assert_eq!(AdvertCache::default().check(&signed).unwrap().member, identity.node_id());
            let body = SharedBytes(other.encode().into());
            assert_eq!(good.check(&SignedAdvert { body, ..signed.clone() }).unwrap_err(), Forged);
            let mut signature = signed.signature;
            signature.0[63] ^= 1;
            assert_eq!(good.check(&SignedAdvert { signature, ..signed }).unwrap_err(), Forged);
        }
    }
}
