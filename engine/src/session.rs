//! End-to-end sessions between members, over relays: Noise IK. A relay can neither read, change, replay nor forge a
//! message.
//!
//! The handshake has no messages of its own. A node without a session seals to the static key in the other's advert.
//! It attaches the first handshake message to everything it sends until an answer arrives. The responder attaches its
//! answer to everything *it* sends until a message shows that the answer arrived. The loss of either therefore costs
//! only the retry of the message that carried it. Either end may begin, even both at once; both then use the session
//! that the node with the smaller id began.
//!
//! A message is opened once. Within a session, a sliding window of message numbers ensures this. A first message is
//! valid only for one start of its initiator and one of its responder, as their adverts name both starts. Each
//! handshake of an initiator has a greater number than all earlier ones.
//!
//! Limits: as in all of IK, messages before the first answer are sealed to the responder's static key alone. A later
//! thief of that key can read them. A first message could be replayed after handshakes from [`HEARD_MAX`] other
//! members; the router's memory of delivered messages then detects the replay.

mod handshake;
mod sealing;
mod window;

use crate::event::DropReason;
use crate::identity::Identity;
use crate::ids::NodeId;
use crate::occupancy::Occupancy;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{Bytes, Envelope, Seal};
use core::time::Duration;
use handshake::{Begun, End, Keys, Offer};
use sealing::{Opening, Sealing};
use std::collections::{BTreeMap, BTreeSet};

/// A member, as its advert describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    /// The id of the member.
    pub(crate) node: NodeId,
    /// Its incarnation, which identifies its start.
    pub(crate) incarnation: u64,
    /// Its static X25519 key.
    pub(crate) key: [u8; 32],
}

/// The member's key is invalid, so no session with it is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsealable;

/// The sessions of one node.
#[derive(Debug)]
pub(crate) struct Sessions {
    me: End,
    /// Performs operations with this node's static X25519 key.
    identity: Identity,
    /// Number of handshakes begun since the start.
    begun: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// The same peers by last use, oldest first.
    used: BTreeSet<(Instant, NodeId)>,
    heard: Heard,
    allowance: Allowance,
}

/// The sessions with one member.
#[derive(Debug)]
struct Peer {
    contact: Contact,
    used_at: Instant,
    /// This node's handshake that waits for its answer.
    pending: Option<Pending>,
    /// The sessions, the one to send with first.
    sessions: Vec<Session>,
    /// When a handshake was last begun because the peer used an unknown session.
    renewed_at: Option<Instant>,
}

/// A handshake of this node that waits for its answer.
#[derive(Debug)]
struct Pending {
    id: u64,
    since: Instant,
    /// The first handshake message.
    first: Vec<u8>,
    /// The state that handles the answer; `None` in a replay.
    handshake: Option<Begun>,
    early: Sealing,
}

/// The keys and counters of one session.
#[derive(Debug)]
struct Session {
    id: u64,
    since: Instant,
    /// The responder's state of the handshake; `None` at the initiator.
    answered: Option<Box<Answered>>,
    sealing: Sealing,
    opening: Opening,
}

/// The state of a handshake that this node answered.
#[derive(Debug)]
struct Answered {
    first: Vec<u8>,
    answer: Vec<u8>,
    early: Opening,
    /// Whether a message has shown that the answer arrived.
    confirmed: bool,
}

impl Sessions {
    /// Creates a node without sessions. `identity` has its static X25519 key.
    pub(crate) fn new(me: NodeId, incarnation: u64, identity: Identity) -> Self {
        Self {
            me: End { node: me, incarnation },
            identity,
            begun: 0,
            peers: BTreeMap::new(),
            used: BTreeSet::new(),
            heard: Heard::default(),
            allowance: Allowance::default(),
        }
    }

    /// Returns the static key for this node's advert.
    pub(crate) fn public_key(&self) -> [u8; 32] {
        self.identity.with_session_secret(|secret| Some(handshake::public_key(secret))).unwrap_or_default()
    }

    /// Seals the payload of an envelope to `to`.
    ///
    /// # Errors
    /// [`Unsealable`] if the key in its advert is invalid. The envelope is unchanged then.
    pub(crate) fn seal(
        &mut self,
        now: Instant,
        to: &Contact,
        envelope: &mut Envelope,
        rng: &mut Rng,
    ) -> Result<(), Unsealable> {
        self.touch(now, to);
        let Some(peer) = self.peers.get_mut(&to.node) else { return Err(Unsealable) };
        peer.sessions.retain(|session| now.since(session.since) < SESSION_LIFETIME);
        let newer = |session: &&mut Session| {
            peer.pending.as_ref().is_none_or(|pending| session.since >= pending.since)
        };
        if let Some(session) = peer.sessions.first_mut().filter(newer).filter(|session| !session.is_due(now))
        {
            session.seal(envelope);
            return Ok(());
        }
        if peer.pending.as_ref().is_none_or(|pending| now.since(pending.since) >= PENDING_TIMEOUT) {
            self.begun += 1;
            peer.pending = Some(Pending::new(now, self.me, &self.identity, to, self.begun, rng)?);
        }
        let Some(pending) = &mut peer.pending else { return Err(Unsealable) };
        let handshake = Bytes(pending.first.clone());
        pending.early.seal(envelope, |nonce| Seal::First { handshake, nonce });
        Ok(())
    }

    /// Opens the payload of an envelope from `from`.
    ///
    /// # Errors
    /// The payload is unusable after an error.
    /// - [`DropReason::SessionLost`] if its session is unknown or no longer known.
    /// - [`DropReason::Replayed`] if it was opened before.
    /// - [`DropReason::Unauthentic`] if `from` did not seal it.
    /// - [`DropReason::Overload`] if too many handshakes were begun within this second.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        from: &Contact,
        envelope: &mut Envelope,
        rng: &mut Rng,
    ) -> Result<(), DropReason> {
        match envelope.seal {
            Seal::None => return Err(DropReason::Unauthentic),
            Seal::First { ref handshake, nonce } => {
                let handshake = handshake.clone();
                return self.open_first(now, from, envelope, &handshake.0, nonce, rng);
            }
            Seal::Answer { session: id, ref handshake, nonce } => {
                let handshake = handshake.clone();
                let (me, identity) = (self.me.node, self.identity.clone());
                let peer = self.known(from)?;
                peer.finish(me, &identity, id, &handshake.0)?;
                peer.session(id)?.opening.open(envelope, nonce)?;
            }
            Seal::Session { session: id, nonce } => {
                let session = self.known(from)?.session(id)?;
                session.opening.open(envelope, nonce)?;
                if let Some(answered) = &mut session.answered {
                    answered.confirmed = true;
                }
            }
        }
        self.touch(now, from);
        Ok(())
    }

    /// Begins a handshake with a member that used an unknown session, so that the next message to it establishes a new
    /// one. Returns whether to send such a message: at most one a second for each member.
    pub(crate) fn handle_lost(&mut self, now: Instant, from: &Contact, rng: &mut Rng) -> bool {
        let known = self.peers.get(&from.node).filter(|peer| peer.contact == *from);
        let lately =
            known.and_then(|peer| peer.renewed_at).is_some_and(|then| now.since(then) < RENEW_INTERVAL);
        if lately || !self.allowance.take(now) {
            return false;
        }
        self.touch(now, from);
        self.begun += 1;
        let pending = Pending::new(now, self.me, &self.identity, from, self.begun, rng);
        let (Some(peer), Ok(pending)) = (self.peers.get_mut(&from.node), pending) else { return false };
        peer.pending = Some(pending);
        peer.renewed_at = Some(now);
        true
    }

    /// Removes sessions that have been idle for too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, node)) = self.used.first().filter(|(at, _)| at.after(IDLE_TIMEOUT) <= now) {
            self.used.remove(&(at, node));
            self.peers.remove(&node);
        }
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.used.first().map(|(at, _)| at.after(IDLE_TIMEOUT))
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 3] {
        [
            Occupancy::new("sessions.peers", self.peers.len(), PEERS_MAX),
            Occupancy::new("sessions.used", self.used.len(), PEERS_MAX),
            Occupancy::new("sessions.heard", self.heard.numbers.len(), HEARD_MAX),
        ]
    }

    fn open_first(
        &mut self,
        now: Instant,
        from: &Contact,
        envelope: &mut Envelope,
        first: &[u8],
        nonce: u64,
        rng: &mut Rng,
    ) -> Result<(), DropReason> {
        let id = id_of(first);
        let known = self.known(from).ok().and_then(|peer| peer.session(id).ok());
        if let Some(answered) = known.and_then(|session| session.answered.as_mut())
            && answered.first == first
        {
            answered.early.open(envelope, nonce)?;
            self.touch(now, from);
            return Ok(());
        }
        if !self.allowance.take(now) {
            return Err(DropReason::Overload);
        }
        let ends = (End { node: from.node, incarnation: from.incarnation }, self.me);
        let drawn = rng.key();
        let answered = self
            .identity
            .with_session_secret(|secret| handshake::respond(ends, secret, &from.key, first, drawn).ok());
        let (offer, keys, answer) = answered.ok_or(DropReason::Unauthentic)?;
        if !self.heard.is_new(from, offer.number) {
            return Err(DropReason::Replayed);
        }
        let mut early = Opening::new(&offer.early);
        early.open(envelope, nonce)?;
        self.heard.handle_heard(from, offer.number);
        self.touch(now, from);
        if let Some(peer) = self.peers.get_mut(&from.node) {
            let answered = Answered { first: first.to_vec(), answer, early, confirmed: false };
            peer.add(0, Session::new(id, now, &keys, Some(Box::new(answered))));
        }
        Ok(())
    }

    /// Returns the state of a member, if its advert still describes the same key and start.
    fn known(&mut self, contact: &Contact) -> Result<&mut Peer, DropReason> {
        let peer = self.peers.get_mut(&contact.node).filter(|peer| peer.contact == *contact);
        peer.ok_or(DropReason::SessionLost)
    }

    /// Records that a member is in use. Evicts the least recently used one if there is no room.
    fn touch(&mut self, now: Instant, contact: &Contact) {
        if let Some(peer) = self.peers.get_mut(&contact.node) {
            if now.since(peer.used_at) < TOUCH_INTERVAL && peer.contact == *contact {
                return;
            }
            self.used.remove(&(peer.used_at, contact.node));
            peer.used_at = now;
            if peer.contact != *contact {
                *peer = Peer::new(now, *contact);
            }
        } else {
            if self.peers.len() >= PEERS_MAX
                && let Some((_, oldest)) = self.used.pop_first()
            {
                self.peers.remove(&oldest);
            }
            self.peers.insert(contact.node, Peer::new(now, *contact));
        }
        self.used.insert((now, contact.node));
    }
}

impl Peer {
    fn new(now: Instant, contact: Contact) -> Self {
        Self { contact, used_at: now, pending: None, sessions: Vec::new(), renewed_at: None }
    }

    fn session(&mut self, id: u64) -> Result<&mut Session, DropReason> {
        self.sessions.iter_mut().find(|session| session.id == id).ok_or(DropReason::SessionLost)
    }

    /// Handles the answer to a handshake of this node. A repeated answer changes nothing.
    fn finish(&mut self, me: NodeId, identity: &Identity, id: u64, answer: &[u8]) -> Result<(), DropReason> {
        if self.session(id).is_ok() {
            return Ok(());
        }
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.id == id) else {
            return Err(DropReason::SessionLost);
        };
        let handshake = pending.handshake.as_mut();
        let keys = identity.with_session_secret(|_| handshake?.finish(answer).ok());
        let keys = keys.ok_or(DropReason::Unauthentic)?;
        let since = pending.since;
        self.pending = None;
        // If both ends began at once, both send with the session of the smaller id.
        let crossed = |other: &Session| other.answered.is_some() && other.since >= since;
        let yields = self.contact.node < me && self.sessions.first().is_some_and(crossed);
        self.add(usize::from(yields), Session::new(id, since, &keys, None));
        Ok(())
    }

    fn add(&mut self, at: usize, session: Session) {
        self.sessions.insert(at, session);
        self.sessions.truncate(SESSIONS_MAX);
    }
}

impl Pending {
    fn new(
        now: Instant,
        me: End,
        identity: &Identity,
        to: &Contact,
        number: u64,
        rng: &mut Rng,
    ) -> Result<Self, Unsealable> {
        let offer = Offer { early: rng.key(), number };
        let ends = (me, End { node: to.node, incarnation: to.incarnation });
        let (drawn, mut handshake) = (rng.key(), None);
        let first = identity.with_session_secret(|secret| {
            let begun = Begun::new(ends, secret, &to.key, &offer, drawn).ok()?;
            Some(handshake.insert(begun).first.clone())
        });
        let first = first.ok_or(Unsealable)?;
        Ok(Self { id: id_of(&first), since: now, first, handshake, early: Sealing::new(&offer.early) })
    }
}

impl Session {
    fn new(id: u64, since: Instant, keys: &Keys, answered: Option<Box<Answered>>) -> Self {
        let (sealing, opening) = match answered {
            Some(_) => (&keys.from_responder, &keys.from_initiator),
            None => (&keys.from_initiator, &keys.from_responder),
        };
        Self { id, since, answered, sealing: Sealing::new(sealing), opening: Opening::new(opening) }
    }

    /// Tells whether a new session is due. It is due earlier for the initiator, so that only one end begins.
    fn is_due(&self, now: Instant) -> bool {
        let parts = if self.answered.is_some() { 5 } else { 4 };
        now.since(self.since) >= REKEY_INTERVAL / 4 * parts
            || self.sealing.next >= REKEY_MESSAGES / 4 * u64::from(parts)
    }

    fn seal(&mut self, envelope: &mut Envelope) {
        let session = self.id;
        match &self.answered {
            Some(answered) if !answered.confirmed => {
                let handshake = Bytes(answered.answer.clone());
                self.sealing.seal(envelope, |nonce| Seal::Answer { session, handshake, nonce });
            }
            Some(_) | None => self.sealing.seal(envelope, |nonce| Seal::Session { session, nonce }),
        }
    }
}

/// The greatest handshake number of each member, so that no first message begins a session twice.
#[derive(Debug, Default)]
struct Heard {
    turns: u64,
    numbers: BTreeMap<NodeId, Number>,
    order: BTreeSet<(u64, NodeId)>,
}

#[derive(Debug)]
struct Number {
    incarnation: u64,
    greatest: u64,
    turn: u64,
}

impl Heard {
    fn is_new(&self, from: &Contact, number: u64) -> bool {
        let heard = self.numbers.get(&from.node).filter(|heard| heard.incarnation == from.incarnation);
        heard.is_none_or(|heard| heard.greatest < number)
    }

    fn handle_heard(&mut self, from: &Contact, number: u64) {
        self.turns += 1;
        let entry = Number { incarnation: from.incarnation, greatest: number, turn: self.turns };
        if let Some(before) = self.numbers.insert(from.node, entry) {
            self.order.remove(&(before.turn, from.node));
        }
        self.order.insert((self.turns, from.node));
        if self.numbers.len() > HEARD_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.numbers.remove(&oldest);
        }
    }
}

/// The number of handshakes that other nodes may still cause within this second.
#[derive(Debug, Default)]
struct Allowance {
    second: u64,
    taken: u32,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let second = now.as_micros() / 1_000_000;
        if second != self.second {
            *self = Self { second, taken: 0 };
        }
        self.taken += 1;
        self.taken <= HANDSHAKES_PER_SECOND
    }
}

/// Returns the id of a session: the start of its initiator's ephemeral key, with which a first message begins.
fn id_of(first: &[u8]) -> u64 {
    first.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Maximum number of members with sessions. Beyond it, the least recently used one is evicted.
const PEERS_MAX: usize = 1_024;
/// Maximum number of sessions with one member: the current one, its predecessor and its successor.
const SESSIONS_MAX: usize = 3;
/// Maximum number of members whose handshake numbers are remembered: as many as there may be. Beyond it, the oldest are
/// evicted.
const HEARD_MAX: usize = 16_384;
/// Maximum number of handshakes computed for other nodes within a second, about 0.2 ms each. Beyond it, they are
/// dropped.
const HANDSHAKES_PER_SECOND: u32 = 512;
/// The age at which a session is replaced.
const REKEY_INTERVAL: Duration = Duration::from_secs(900);
/// The number of messages in one direction after which a session is replaced.
const REKEY_MESSAGES: u64 = 1 << 20;
/// How long a session opens messages: longer than it seals any, to allow for late messages.
const SESSION_LIFETIME: Duration = Duration::from_secs(1_800);
/// How long a session may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// How often the time of last use is updated, at most.
const TOUCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long messages are sealed under an unanswered handshake before another one is begun.
const PENDING_TIMEOUT: Duration = Duration::from_secs(60);
/// The minimum interval between handshakes that a member causes by using an unknown session.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
