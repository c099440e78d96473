//! The handshake of a session: Noise IK, `Noise_IK_25519_ChaChaPoly_SHA256`.
//!
//! The initiator knows the responder's static key from its advert. The responder compares the key in the first message
//! with the initiator's advert. The prologue contains both ends' ids and incarnations, so a first message is valid only
//! for this start of both nodes.

use crate::ids::NodeId;
use core::fmt;
use serde::{Deserialize, Serialize};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

/// A 32-byte key.
pub(super) type Key = [u8; 32];

/// One end of a session: a node, and the incarnation that identifies its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
}

/// The payload of the first message, sealed to the responder's static key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// The key that seals the messages sent with the first handshake message, until there is an answer.
    pub(super) early: Key,
    /// The number of the initiator's handshakes since it started.
    pub(super) number: u64,
}

/// The keys of both directions.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keys {
    pub(super) from_initiator: Key,
    pub(super) from_responder: Key,
}

/// The message does not belong to this handshake, or its sender is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// A handshake begun by this node, which waits for its answer.
pub(super) struct Begun {
    state: Box<HandshakeState>,
    pub(super) first: Vec<u8>,
}

impl Begun {
    /// Begins a handshake with the holder of `their_key`. `drawn` is fresh randomness.
    pub(super) fn new(
        (me, them): (End, End),
        secret: &Key,
        their_key: &Key,
        offer: &Offer,
        drawn: Key,
    ) -> Result<Self, Failed> {
        let prologue = prologue(me, them);
        let mut state = builder(drawn)?
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(secret)?.remote_public_key(their_key))
            .and_then(Builder::build_initiator)
            .map_err(|_| Failed)?;
        let mut payload = [0; OFFER_BYTES];
        payload[..32].copy_from_slice(&offer.early);
        payload[32..].copy_from_slice(&offer.number.to_be_bytes());
        let mut first = vec![0; FIRST_BYTES];
        let written = state.write_message(&payload, &mut first).map_err(|_| Failed)?;
        first.truncate(written);
        Ok(Self { state: Box::new(state), first })
    }

    /// Handles the answer. An invalid answer changes nothing.
    pub(super) fn finish(&mut self, answer: &[u8]) -> Result<Keys, Failed> {
        let mut nothing = [0; ANSWER_BYTES];
        if self.state.read_message(answer, &mut nothing) != Ok(0) {
            return Err(Failed);
        }
        Ok(keys(&mut self.state))
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

/// Answers a first message from the holder of `their_key`. `drawn` is fresh randomness.
pub(super) fn respond(
    (them, me): (End, End),
    secret: &Key,
    their_key: &Key,
    first: &[u8],
    drawn: Key,
) -> Result<(Offer, Keys, Vec<u8>), Failed> {
    if first.len() != FIRST_BYTES {
        return Err(Failed);
    }
    let prologue = prologue(them, me);
    let mut state = builder(drawn)?
        .prologue(&prologue)
        .and_then(|builder| builder.local_private_key(secret)?.build_responder())
        .map_err(|_| Failed)?;
    let mut payload = [0; FIRST_BYTES];
    let read = state.read_message(first, &mut payload);
    if read != Ok(OFFER_BYTES) || state.get_remote_static() != Some(their_key.as_slice()) {
        return Err(Failed);
    }
    let (early, rest) = payload.split_first_chunk::<32>().ok_or(Failed)?;
    let (number, _) = rest.split_first_chunk::<8>().ok_or(Failed)?;
    let offer = Offer { early: *early, number: u64::from_be_bytes(*number) };
    let mut answer = vec![0; ANSWER_BYTES];
    let written = state.write_message(&[], &mut answer).map_err(|_| Failed)?;
    answer.truncate(written);
    Ok((offer, keys(&mut state), answer))
}

/// Returns the public key of a static secret.
pub(super) fn public_key(secret: &Key) -> Key {
    let mut public = [0; 32];
    if let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
        dh.set(secret);
        public.copy_from_slice(dh.pubkey());
    }
    public
}

fn keys(state: &mut HandshakeState) -> Keys {
    // Messages have associated data and up to 1 MiB; snow's own transport supports neither.
    let (from_initiator, from_responder) = state.dangerously_get_raw_split();
    Keys { from_initiator, from_responder }
}

fn builder<'keys>(drawn: Key) -> Result<Builder<'keys>, Failed> {
    let params: NoiseParams = PATTERN.parse().map_err(|_| Failed)?;
    Ok(Builder::with_resolver(params, Box::new(Drawing(drawn))))
}

fn prologue(initiator: End, responder: End) -> Vec<u8> {
    let mut prologue = PROLOGUE.to_vec();
    for end in [initiator, responder] {
        prologue.extend_from_slice(&end.node.0);
        prologue.extend_from_slice(&end.incarnation.to_be_bytes());
    }
    prologue
}

/// The default primitives, with randomness drawn beforehand. A handshake needs one ephemeral key.
struct Drawing(Key);

impl CryptoResolver for Drawing {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(Some(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Randomness for one key. A second key would equal the first, so there is none.
struct Drawn(Option<Key>);

impl Random for Drawn {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), snow::Error> {
        let drawn = self.0.take().filter(|drawn| drawn.len() == bytes.len()).ok_or(snow::Error::Rng)?;
        bytes.copy_from_slice(&drawn);
        Ok(())
    }
}

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_SHA256";
const PROLOGUE: &[u8] = b"p2p-ai-agents/session/1\0";
const OFFER_BYTES: usize = 40;
/// An ephemeral key, a sealed static key and the sealed offer.
const FIRST_BYTES: usize = 32 + 48 + OFFER_BYTES + 16;
/// An ephemeral key and a tag.
const ANSWER_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    const A: End = End { node: NodeId([1; 16]), incarnation: 10 };
    const B: End = End { node: NodeId([2; 16]), incarnation: 20 };
    const OFFER: Offer = Offer { early: [9; 32], number: 7 };

    fn begin() -> Begun {
        Begun::new((A, B), &[1; 32], &public_key(&[2; 32]), &OFFER, [3; 32]).unwrap()
    }

    #[test]
    fn both_ends_come_to_the_same_keys() {
        let mut begun = begin();
        let answered = respond((A, B), &[2; 32], &public_key(&[1; 32]), &begun.first, [4; 32]);
        let (offer, keys, answer) = answered.unwrap();
        assert_eq!(offer, OFFER);
        let mut wrong = answer.clone();
        wrong[40] ^= 1;
        assert!(begun.finish(&wrong) == Err(Failed));
        assert!(begun.finish(&answer) == Ok(keys), "a wrong answer changed nothing");
        assert!(keys.from_initiator != keys.from_responder);
    }

    #[test]
    fn a_first_message_is_good_for_its_two_starts_and_keys_only() {
        let first = begin().first;
        let (mine, theirs) = ([2; 32], public_key(&[1; 32]));
        assert!(respond((A, B), &mine, &theirs, &first, [4; 32]).is_ok());
        let restarted = |end: End| End { incarnation: end.incarnation + 1, ..end };
        for ends in [(restarted(A), B), (A, restarted(B)), (B, A)] {
            assert_eq!(respond(ends, &mine, &theirs, &first, [4; 32]).err(), Some(Failed));
        }
        assert_eq!(respond((A, B), &[5; 32], &theirs, &first, [4; 32]).err(), Some(Failed));
        assert_eq!(respond((A, B), &mine, &public_key(&[5; 32]), &first, [4; 32]).err(), Some(Failed));
        for bit in 0..first.len() * 8 {
            let mut changed = first.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            // The top bit of an X25519 key is ignored by its arithmetic, but not by the hash of the transcript.
            assert_eq!(respond((A, B), &mine, &theirs, &changed, [4; 32]).err(), Some(Failed), "bit {bit}");
        }
    }
}
