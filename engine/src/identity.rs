//! A node's identity: an Ed25519 key pair, the id derived from it, and signatures that third parties can verify.
//!
//! A signature always covers a domain tag before the bytes, so a signature for one purpose is not valid for another.

use crate::ids::NodeId;
use core::fmt;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An Ed25519 public key in its 32-byte encoding (RFC 8032). It need not be a valid point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Returns the id of the node that holds the matching private key.
    pub fn node_id(&self) -> NodeId {
        let digest = Sha256::digest(self.0);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        NodeId(id)
    }

    /// Tells whether `signature` was made with this key over `domain` and `message`.
    pub fn verifies(&self, domain: Domain, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(&domain.tagged(message), &Signature::from_bytes(signature)).is_ok()
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.node_id())
    }
}

/// The domain tag of the hash that derives the session secret.
const SESSION_TAG: &[u8] = b"p2p-ai-agents/session-key/1\0";
/// Maximum number of recorded results. Beyond it, recording stops.
const USES_MAX: usize = 65_536;

/// The purpose of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A membership advert.
    Advert,
    /// The self-check that the node can sign.
    SelfCheck,
}

impl Domain {
    fn tagged(self, message: &[u8]) -> Vec<u8> {
        let tag: &[u8] = match self {
            Self::Advert => b"p2p-ai-agents/advert/1\0",
            Self::SelfCheck => b"p2p-ai-agents/self-check/1\0",
        };
        [tag, message].concat()
    }
}

/// A node's key pair, or its stand-in during a replay. Its `Debug` output shows the id only.
#[derive(Clone)]
pub struct Identity {
    public: PublicKey,
    hand: Hand,
}

/// How operations with the private key are performed.
#[derive(Clone)]
enum Hand {
    /// With the key.
    Key(SigningKey),
    /// With the key; each result is recorded.
    Noted(SigningKey, KeyUses),
    /// Without a key: recorded results are returned again.
    Replayed(KeyUses),
}

impl Identity {
    /// Creates the identity of a 32-byte Ed25519 seed (RFC 8032 private key).
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(secret);
        Self { public: PublicKey(key.verifying_key().to_bytes()), hand: Hand::Key(key) }
    }

    /// Creates the identity of a replayed node. Operations with the private key return, in order, the results that are
    /// pushed into the returned [`KeyUses`].
    pub fn replayed(public: PublicKey) -> (Self, KeyUses) {
        let uses = KeyUses::default();
        (Self { public, hand: Hand::Replayed(uses.clone()) }, uses)
    }

    /// Returns the same identity, and the [`KeyUses`] into which it records every result of its key. A replayed
    /// identity records nothing.
    pub fn noted(self) -> (Self, KeyUses) {
        let uses = KeyUses::default();
        let hand = match self.hand {
            Hand::Key(key) | Hand::Noted(key, _) => Hand::Noted(key, uses.clone()),
            Hand::Replayed(uses) => Hand::Replayed(uses),
        };
        (Self { hand, ..self }, uses)
    }

    /// Returns the public key.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Returns the id derived from the public key.
    pub fn node_id(&self) -> NodeId {
        self.public.node_id()
    }

    /// Signs `message` for one purpose.
    pub fn sign(&self, domain: Domain, message: &[u8]) -> [u8; 64] {
        let halves = self.used(|key| {
            let signature = key.sign(&domain.tagged(message));
            Some((*signature.r_bytes(), *signature.s_bytes()))
        });
        let (r, s) = halves.unwrap_or_default();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(&s);
        signature
    }

    /// Calls `compute` with the X25519 secret of this node's end-to-end sessions. The secret is a hash of the key, so
    /// signatures and sessions reveal nothing about each other. A replay does not call `compute` and returns its
    /// recorded result.
    pub(crate) fn with_session_secret<T: Serialize + DeserializeOwned>(
        &self,
        compute: impl FnOnce(&[u8; 32]) -> Option<T>,
    ) -> Option<T> {
        self.used(|key| {
            compute(&Sha256::new().chain_update(SESSION_TAG).chain_update(key.to_bytes()).finalize().into())
        })
    }

    fn used<T: Serialize + DeserializeOwned>(
        &self,
        compute: impl FnOnce(&SigningKey) -> Option<T>,
    ) -> Option<T> {
        match &self.hand {
            Hand::Key(key) => compute(key),
            Hand::Noted(key, uses) => {
                let result = compute(key);
                uses.push(postcard::to_stdvec(&result).unwrap_or_default());
                result
            }
            Hand::Replayed(uses) => uses.pop().and_then(|bytes| postcard::from_bytes(&bytes).ok().flatten()),
        }
    }
}

/// The recorded results of a node's private key, in order: signatures, and the first messages, answers and keys of its
/// sessions. The key itself is never recorded.
///
/// Clones share their contents. At most 65,536 results are held; beyond that, recording stops.
#[derive(Clone, Debug, Default)]
pub struct KeyUses {
    shared: Arc<Mutex<Noted>>,
}

#[derive(Debug, Default)]
struct Noted {
    results: VecDeque<Vec<u8>>,
    closed: bool,
}

impl KeyUses {
    /// Appends a result.
    pub fn push(&self, result: Vec<u8>) {
        let mut noted = self.lock();
        noted.closed |= noted.results.len() >= USES_MAX;
        if !noted.closed {
            noted.results.push_back(result);
        }
    }

    /// Removes the oldest result and returns it.
    pub fn pop(&self) -> Option<Vec<u8>> {
        self.lock().results.pop_front()
    }

    /// Returns the number of results.
    pub fn len(&self) -> usize {
        self.lock().results.len()
    }

    /// Tells whether there are no results.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all results and stops recording.
    pub fn close(&self) {
        *self.lock() = Noted { results: VecDeque::new(), closed: true };
    }

    /// Tells whether recording has stopped.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        // A thread that panicked with the lock held cannot have left a partial result.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gives_the_same_id() {
        let identity = Identity::from_secret(&[7; 32]);
        assert_eq!(identity.node_id(), Identity::from_secret(&[7; 32]).node_id());
        assert_ne!(identity.node_id(), Identity::from_secret(&[8; 32]).node_id());
    }

    #[test]
    fn a_signature_is_bound_to_key_domain_and_message() {
        let identity = Identity::from_secret(&[7; 32]);
        let signature = identity.sign(Domain::Advert, b"hello");
        let key = identity.public_key();
        assert!(key.verifies(Domain::Advert, b"hello", &signature));
        assert!(!key.verifies(Domain::Advert, b"hellO", &signature));
        assert!(!key.verifies(Domain::SelfCheck, b"hello", &signature));
        let other = Identity::from_secret(&[8; 32]).public_key();
        assert!(!other.verifies(Domain::Advert, b"hello", &signature));
        assert!(!PublicKey([0xff; 32]).verifies(Domain::Advert, b"hello", &signature));
    }

    #[test]
    fn what_the_key_did_can_be_given_again_without_it() {
        let (identity, noted) = Identity::from_secret(&[7; 32]).noted();
        let signature = identity.sign(Domain::Advert, b"hello");
        let secret = identity.with_session_secret(|secret| Some(secret.len()));
        assert_eq!(identity.with_session_secret(|_| None::<u8>), None);
        assert_eq!(noted.len(), 3);

        let (replayed, uses) = Identity::replayed(identity.public_key());
        while let Some(result) = noted.pop() {
            uses.push(result);
        }
        assert_eq!(replayed.node_id(), identity.node_id());
        assert_eq!(replayed.sign(Domain::Advert, b"hello"), signature);
        assert_eq!(replayed.with_session_secret(|_| None), secret);
        assert_eq!(replayed.with_session_secret(|_| Some(1)), None);
        assert_eq!(replayed.sign(Domain::Advert, b"hello"), [0; 64], "nothing is left to give");
    }

    #[test]
    fn results_that_nobody_takes_are_bounded() {
        let uses = KeyUses::default();
        (0..USES_MAX).for_each(|_| uses.push(Vec::new()));
        assert!(!uses.is_closed());
        uses.push(Vec::new());
        assert!(uses.is_closed() && uses.len() == USES_MAX);
        uses.close();
        uses.push(Vec::new());
        assert!(uses.is_empty());
    }
}
