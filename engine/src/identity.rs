//! Who a node is: an Ed25519 key pair, the id derived from it, and signatures that third parties can check.
//!
//! A signature always covers a domain tag before the bytes, so that one made for one purpose is worth nothing
//! for another.

use crate::ids::NodeId;
use core::fmt;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An Ed25519 public key in its 32-byte encoding (RFC 8032); not yet known to be a valid point.
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

    /// Checks that `signature` was made by this key over `domain` and `message`.
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

const SESSION_TAG: &[u8] = b"p2p-ai-agents/session-key/1\0";

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A membership advert.
    Advert,
    /// The self-check that the node can sign at all.
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

/// A node's key pair. Its `Debug` shows the id only.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// Makes the identity of a 32-byte Ed25519 seed (RFC 8032 private key).
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(secret) }
    }

    /// Returns the public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    /// Returns the id derived from the public half.
    pub fn node_id(&self) -> NodeId {
        self.public_key().node_id()
    }

    /// Returns the X25519 secret of this node's end-to-end sessions: its own, so that no signature tells of it and
    /// it tells of no signature.
    pub(crate) fn session_secret(&self) -> [u8; 32] {
        Sha256::new().chain_update(SESSION_TAG).chain_update(self.key.to_bytes()).finalize().into()
    }

    /// Signs `message` for one purpose.
    pub fn sign(&self, domain: Domain, message: &[u8]) -> [u8; 64] {
        self.key.sign(&domain.tagged(message)).to_bytes()
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
}
