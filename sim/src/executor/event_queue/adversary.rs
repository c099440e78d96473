//! A hostile node: an authenticated member with its own key that attacks others within what the protocol lets a member
//! try.
//!
//! Everything it sends is made from what it knows: its key, invented keys, and what it received. It cannot sign for
//! others or open what is sealed for them.

mod announcements;
pub(super) mod frames;

use crate::cluster::{self, Cluster};
use crate::inference;
use crate::node_set::NodeIndex;
use crate::random::{Purpose, Random};
use crate::scenario::{Host, Hostility};
use announcements::announcement;
use engine::error::InferenceError;
use engine::event::DropReason;
use engine::identity::Domain;
use engine::wire::{
    Advert, Attempt, Envelope, FRAME_BYTES_MAX, Message, Payload, Seal, SharedBytes, Signature, SignedAdvert,
};
use engine::{Identity, LinkId, MessageId, NodeId, TraceContext, UnixMillis};
use std::collections::{BTreeMap, VecDeque};

/// One attack.
#[derive(Debug)]
pub(super) enum Attack {
    /// Sends a frame, once or many times.
    Frame { link: LinkId, bytes: Vec<u8>, times: u32 },
    /// Sends a multicast packet.
    Packet(Vec<u8>),
}

/// The state of one hostile node.
#[derive(Debug)]
pub(super) struct Adversary {
    node: NodeIndex,
    me: NodeId,
    network: String,
    identity: Identity,
    draws: Draws,
    kinds: Vec<Hostility>,
    begins_at: u64,
    /// The number of attacks, and of invented nodes.
    attacks: u32,
    invented: u32,
    /// Received frames, the oldest first.
    received: VecDeque<Vec<u8>>,
    /// The newest advert of each known member, including its own.
    adverts: BTreeMap<NodeId, Advert>,
    /// A signature of another node.
    signature: Signature,
    /// Received attempts, with their origins.
    attempts: VecDeque<(NodeId, Attempt)>,
    messages: VecDeque<(NodeId, MessageId)>,
}

impl Adversary {
    pub(super) fn new(cluster: &Cluster, host: &Host) -> Self {
        Self {
            node: host.node,
            me: cluster.id(host.node),
            network: cluster.config(host.node).network,
            identity: cluster.identity(host.node),
            draws: Draws { random: cluster.random, node: host.node, count: 0 },
            kinds: host.hostile.clone(),
            begins_at: engine::time::micros(host.hostile_at),
            attacks: 0,
            invented: 0,
            received: VecDeque::new(),
            adverts: BTreeMap::new(),
            signature: Signature([0; 64]),
            attempts: VecDeque::new(),
            messages: VecDeque::new(),
        }
    }

    /// Observes a received frame.
    pub(super) fn observe_frame(&mut self, frame: &[u8]) {
        remember(&mut self.received, frame.to_vec());
        match Message::decode(frame) {
            Ok(Message::Hello(hello)) => self.learn(&hello.advert),
            Ok(Message::Adverts(adverts)) => adverts.iter().for_each(|advert| self.learn(advert)),
            Ok(Message::Routed(envelope)) => {
                remember(&mut self.messages, (envelope.origin, envelope.message));
                if let (Seal::None, Ok(Payload::Assign(work))) =
                    (&envelope.seal, Payload::decode(&envelope.payload))
                {
                    remember(&mut self.attempts, (envelope.origin, work.attempt));
                }
            }
            Ok(
                Message::Copied(_)
                | Message::Goodbye
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Refuse(_)
                | Message::Versions(_)
                | Message::Welcome,
            )
            | Err(_) => {}
        }
    }

    /// Decides about a frame that its process sends. Returns the attack that altered it, or as an error the attack
    /// that drops it.
    pub(super) fn alter_frame(
        &mut self,
        now: u64,
        frame: &mut Vec<u8>,
    ) -> Result<Option<Hostility>, Hostility> {
        match Message::decode(frame) {
            Ok(Message::Hello(hello)) => self.learn(&hello.advert),
            Ok(Message::Adverts(adverts)) => adverts.iter().for_each(|advert| self.learn(advert)),
            Ok(Message::Routed(envelope)) if now >= self.begins_at && self.does(Hostility::BlackHole) => {
                // It acknowledges the task, so the origin waits for it.
                let says_it_has_it = envelope.origin == self.me
                    && envelope.seal == Seal::None
                    && matches!(Payload::decode(&envelope.payload), Ok(Payload::Ack(_)));
                return if says_it_has_it { Ok(None) } else { Err(Hostility::BlackHole) };
            }
            Ok(Message::Routed(envelope)) if self.does(Hostility::WrongPieces) => {
                if let Some(wrong) = self.wrong_piece(*envelope) {
                    *frame = wrong;
                    return Ok(Some(Hostility::WrongPieces));
                }
            }
            Ok(_) | Err(_) => {}
        }
        Ok(None)
    }

    /// Returns a piece with an altered byte, in its content or in its proof.
    fn wrong_piece(&mut self, mut envelope: Envelope) -> Option<Vec<u8>> {
        if envelope.seal != Seal::None {
            return None;
        }
        let Ok(Payload::Piece { root, number, mut piece }) = Payload::decode(&envelope.payload) else {
            return None;
        };
        let at = self.draws.index(piece.bytes.len());
        match piece.proof.last_mut().filter(|_| at.is_multiple_of(2)) {
            Some(hash) => hash.0[0] ^= 1,
            None => *piece.bytes.get_mut(at)? ^= 1,
        }
        envelope.payload = Payload::Piece { root, number, piece }.encode();
        Some(Message::Routed(Box::new(envelope)).encode())
    }

    /// Returns its next attacks over its links.
    pub(super) fn attacks(&mut self, links: &[LinkId]) -> Vec<(Hostility, Attack)> {
        self.attacks += 1;
        let mut attacks = Vec::new();
        for kind in self.kinds.clone() {
            let link = links.get(self.draws.index(links.len())).copied();
            let frame = match (kind, link) {
                (Hostility::Flood, Some(_)) => self.flood(),
                (Hostility::Forge, Some(_)) => self.forge(),
                (Hostility::Garbage, Some(_)) => self.garbage(),
                (Hostility::Replay, Some(_)) => self.replay(),
                (
                    Hostility::Announce
                    | Hostility::BlackHole
                    | Hostility::WrongFiles
                    | Hostility::WrongPieces,
                    _,
                )
                | (_, None) => None,
            };
            if let (Some((bytes, times)), Some(link)) = (frame, link) {
                attacks.push((kind, Attack::Frame { link, bytes, times }));
            }
            if kind == Hostility::Announce {
                attacks.extend((0..ANNOUNCEMENTS).map(|_| (kind, Attack::Packet(self.announce()))));
            }
            if kind == Hostility::Garbage {
                attacks.push((kind, Attack::Packet(self.draws.bytes(PACKET_BYTES_MAX))));
            }
        }
        attacks
    }

    /// Returns an mDNS packet: an invented node at an unreachable address, another node at one, or another node
    /// leaving.
    fn announce(&mut self) -> Vec<u8> {
        let others: Vec<NodeId> = self.adverts.keys().copied().filter(|&node| node != self.me).collect();
        let victim = others.get(self.draws.index(others.len())).map(NodeId::to_string);
        let nowhere = cluster::unreachable_address(u32::try_from(self.draws.index(250)).unwrap_or_default());
        let (node, ttl) = match (self.draws.index(10), victim) {
            (0, Some(victim)) => (victim, ANNOUNCED_TTL),
            (1..3, Some(victim)) => (victim, 0),
            _ => {
                let made_up = self.draws.bytes(32);
                (made_up[..16].iter().map(|byte| format!("{byte:02x}")).collect(), ANNOUNCED_TTL)
            }
        };
        announcement(&node, &self.network, nowhere, ttl)
    }

    /// Returns a new advert, its own or of an invented node; at times far more frames than a peer may send.
    fn flood(&mut self) -> Option<(Vec<u8>, u32)> {
        let mut advert = self.adverts.get(&self.me)?.clone();
        if self.attacks.is_multiple_of(BURST_EVERY) {
            return Some((self.signed(&advert, &self.identity.clone()), BURST));
        }
        let identity = if self.attacks.is_multiple_of(2) {
            self.invented += 1;
            let secret = self.draws.random.bytes(Purpose::Invented, u64::from(self.node), self.invented);
            Identity::from_secret(&secret)
        } else {
            self.identity.clone()
        };
        advert.key = identity.public_key();
        advert.sequence = advert.sequence.saturating_add(1);
        if identity.node_id() == self.me {
            self.adverts.insert(self.me, advert.clone());
        }
        Some((self.signed(&advert, &identity), 1))
    }

    /// Returns a message in the name of another node.
    fn forge(&mut self) -> Option<(Vec<u8>, u32)> {
        let others: Vec<NodeId> = self.adverts.keys().copied().filter(|&node| node != self.me).collect();
        let victim = *others.get(self.draws.index(others.len()))?;
        let (giver, attempt) = self.attempts.get(self.draws.index(self.attempts.len())).copied().unzip();
        let (sender, message) = self.messages.get(self.draws.index(self.messages.len())).copied().unzip();
        let message = message.unwrap_or(MessageId([1; 16]));
        let result = Err(InferenceError::InputRejected("forged".into()));
        let fingerprint = inference::fingerprint(inference::DEFAULT_MODEL, false);
        let frame = match self.draws.index(FORGERIES) {
            // Only a small share are adverts, because each of them ends the link.
            0 => self.advert_of(victim)?,
            1..9 => self.routed(
                victim,
                giver?,
                &Payload::Outcome { attempt: attempt?, fingerprint, micros: 1, result },
            ),
            9..13 => self.routed(victim, sender?, &Payload::Ack(vec![message])),
            13..17 => self.routed(self.me, sender?, &Payload::Ack(vec![message])),
            17..21 => self.routed(victim, giver?, &Payload::HandBack(attempt?)),
            _ => {
                let reason = DropReason::NoRoute;
                self.routed(victim, sender?, &Payload::Undeliverable { message, reason })
            }
        };
        Some((frame, 1))
    }

    /// Returns an advert that removes all links of another node, with a signature by the wrong key or an old one.
    fn advert_of(&mut self, victim: NodeId) -> Option<Vec<u8>> {
        let mut advert = self.adverts.get(&victim)?.clone();
        advert.sequence = advert.sequence.saturating_add(1_000);
        advert.links.clear();
        if self.draws.index(2) == 0 {
            return Some(self.signed(&advert, &self.identity.clone()));
        }
        let advert = SignedAdvert { body: SharedBytes(advert.encode().into()), signature: self.signature };
        Some(Message::Adverts(vec![advert]).encode())
    }

    fn routed(&mut self, origin: NodeId, destination: NodeId, payload: &Payload) -> Vec<u8> {
        let mut message = [0; 16];
        message.copy_from_slice(&self.draws.bytes(32)[..16]);
        let envelope = Envelope {
            ttl: u8::MAX,
            hops: 0,
            message: MessageId(message),
            origin,
            destination,
            trace: TraceContext::NONE,
            sent_at: UnixMillis(0),
            seal: Seal::None,
            payload: payload.encode(),
        };
        Message::Routed(Box::new(envelope)).encode()
    }

    /// Returns random bytes, a truncated frame, an oversized one, or one that is not allowed on an established link.
    fn garbage(&mut self) -> Option<(Vec<u8>, u32)> {
        if !self.attacks.is_multiple_of(GARBAGE_EVERY) {
            return None;
        }
        let frame = match self.draws.index(5) {
            0 => self.draws.bytes(2_000),
            1 => {
                let mut frame = self.received.get(self.draws.index(self.received.len()))?.clone();
                frame.truncate(self.draws.index(frame.len()));
                frame
            }
            2 => vec![0; FRAME_BYTES_MAX + 1],
            3 => Message::Welcome.encode(),
            _ => self
                .received
                .iter()
                .find(|frame| matches!(Message::decode(frame), Ok(Message::Hello(_))))?
                .clone(),
        };
        Some((frame, 1))
    }

    fn replay(&mut self) -> Option<(Vec<u8>, u32)> {
        let frame = self.received.get(self.draws.index(self.received.len()))?.clone();
        Some((frame, 1))
    }

    fn learn(&mut self, signed: &SignedAdvert) {
        let Ok(advert) = Advert::decode(&signed.body.0) else { return };
        let node = advert.key.node_id();
        if node != self.me {
            self.signature = signed.signature;
        }
        let newer = self.adverts.get(&node).is_none_or(|held| held.sequence < advert.sequence);
        if newer && (self.adverts.contains_key(&node) || self.adverts.len() < KEPT_MAX) {
            self.adverts.insert(node, advert);
        }
    }

    fn signed(&self, advert: &Advert, identity: &Identity) -> Vec<u8> {
        let body = advert.encode();
        let signature = Signature(identity.sign(Domain::Advert, &body));
        Message::Adverts(vec![SignedAdvert { body: SharedBytes(body.into()), signature }]).encode()
    }

    fn does(&self, kind: Hostility) -> bool {
        self.kinds.contains(&kind)
    }
}

/// The numbers that a hostile node draws, in order.
#[derive(Debug)]
struct Draws {
    random: Random,
    node: NodeIndex,
    count: u32,
}

impl Draws {
    fn index(&mut self, below: usize) -> usize {
        self.count += 1;
        self.random.index(below, Purpose::Hostile, u64::from(self.node), self.count)
    }

    /// Returns at least 32 and about `at_most` random bytes.
    fn bytes(&mut self, at_most: usize) -> Vec<u8> {
        let blocks = 1 + self.index(at_most / 32);
        let who = u64::from(self.node) | BYTES;
        let mut bytes = Vec::new();
        for _ in 0..blocks {
            self.count += 1;
            bytes.extend(self.random.bytes(Purpose::Hostile, who, self.count));
        }
        bytes
    }
}

/// Keeps the newest entries.
fn remember<T>(kept: &mut VecDeque<T>, new: T) {
    if kept.len() >= KEPT_MAX {
        kept.pop_front();
    }
    kept.push_back(new);
}

/// The most entries of each kind that a hostile node remembers.
const KEPT_MAX: usize = 512;

/// Packets per attack, which makes 200 a second.
const ANNOUNCEMENTS: usize = 10;
/// The TTL of its announcements, in seconds.
const ANNOUNCED_TTL: u32 = 300;

/// One attack in this many is a burst of this many frames: more than any link allows.
const BURST_EVERY: u32 = 500;
const BURST: u32 = 12_000;

/// One attack in this many is garbage; each may end a link.
const GARBAGE_EVERY: u32 = 10;

/// The number of draws among forgeries.
const FORGERIES: usize = 40;

const PACKET_BYTES_MAX: usize = 1_400;

/// Distinguishes draws of bytes from draws of numbers.
const BYTES: u64 = 1 << 32;
