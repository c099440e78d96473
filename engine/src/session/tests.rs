use super::*;
use crate::ids::{MessageId, TraceId};
use crate::rng::Rng;
use crate::time::UnixMillis;
use crate::trace::TraceContext;
use proptest::prelude::*;

/// A node with its sessions.
struct Side {
    sessions: Sessions,
    rng: Rng,
    starts: u8,
    tag: u8,
}

impl Side {
    fn new(tag: u8) -> Self {
        let mut side = Self {
            sessions: Sessions::new(id(tag), 0, Identity::from_secret(&[tag; 32])),
            rng: Rng::new([0; 32]),
            starts: 0,
            tag,
        };
        side.restart();
        side
    }

    fn restart(&mut self) {
        self.starts += 1;
        self.sessions =
            Sessions::new(id(self.tag), u64::from(self.starts), Identity::from_secret(&[self.tag; 32]));
        self.rng = Rng::new([self.tag ^ self.starts << 4; 32]);
    }

    fn contact(&self) -> Contact {
        Contact { node: id(self.tag), incarnation: u64::from(self.starts), key: self.sessions.public_key() }
    }

    fn seal(&mut self, now: Instant, to: Contact, payload: &[u8]) -> Envelope {
        let mut envelope = Envelope {
            ttl: 10,
            hops: 0,
            message: MessageId(self.rng.id()),
            origin: id(self.tag),
            destination: to.node,
            trace: TraceContext { id: TraceId([5; 16]), sampled: true },
            sent_at: UnixMillis(6),
            seal: Seal::None,
            payload: Bytes(payload.to_vec()),
        };
        self.sessions.seal(now, &to, &mut envelope, &mut self.rng).unwrap();
        envelope
    }

    fn open(&mut self, now: Instant, from: Contact, envelope: &Envelope) -> Result<Vec<u8>, DropReason> {
        let mut envelope = envelope.clone();
        self.sessions.open(now, &from, &mut envelope, &mut self.rng).map(|()| envelope.payload.0)
    }
}

fn id(tag: u8) -> NodeId {
    NodeId([tag; 16])
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

/// Sends a message, checks that it arrives, and returns its sealed form.
fn pass(now: Instant, from: &mut Side, to: &mut Side) -> Envelope {
    let envelope = from.seal(now, to.contact(), b"hello");
    assert_eq!(to.open(now, from.contact(), &envelope), Ok(b"hello".to_vec()));
    envelope
}

fn kind(envelope: &Envelope) -> &'static str {
    match envelope.seal {
        Seal::Answer { .. } => "answer",
        Seal::First { .. } => "first",
        Seal::None => "none",
        Seal::Session { .. } => "session",
    }
}

/// Returns two nodes, and a message of the `wanted` kind of seal from the first to the second.
fn on_its_way(wanted: &str, payload: &[u8]) -> (Side, Side, Envelope) {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    match wanted {
        "answer" => _ = pass(at(0), &mut b, &mut a),
        "session" => {
            pass(at(0), &mut a, &mut b);
            pass(at(0), &mut b, &mut a);
        }
        _ => {}
    }
    let envelope = a.seal(at(0), b.contact(), payload);
    assert_eq!(kind(&envelope), wanted);
    (a, b, envelope)
}

#[test]
fn a_conversation_goes_from_first_over_answer_to_session() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let kinds = [
        kind(&pass(at(0), &mut a, &mut b)),
        kind(&pass(at(0), &mut a, &mut b)),
        kind(&pass(at(0), &mut b, &mut a)),
        kind(&pass(at(0), &mut b, &mut a)),
        kind(&pass(at(0), &mut a, &mut b)),
        kind(&pass(at(0), &mut b, &mut a)),
    ];
    assert_eq!(kinds, ["first", "first", "answer", "answer", "session", "session"]);
}

/// Returns all envelopes that differ in one bit of a field that a relay could change, except `ttl` and `hops`.
fn changes(envelope: &Envelope) -> Vec<Envelope> {
    let mut changed = Vec::new();
    let mut change = |len: usize, flip: &dyn Fn(&mut Envelope, usize, u8)| {
        for bit in 0..len * 8 {
            let mut copy = envelope.clone();
            flip(&mut copy, bit / 8, 1 << (bit % 8));
            changed.push(copy);
        }
    };
    change(envelope.payload.0.len(), &|e, at, bit| e.payload.0[at] ^= bit);
    change(16, &|e, at, bit| e.message.0[at] ^= bit);
    change(16, &|e, at, bit| e.origin.0[at] ^= bit);
    change(16, &|e, at, bit| e.destination.0[at] ^= bit);
    change(16, &|e, at, bit| e.trace.id.0[at] ^= bit);
    change(8, &|e, at, bit| e.sent_at.0 ^= u64::from(bit) << (8 * at));
    let handshake_len = match &envelope.seal {
        Seal::Answer { handshake, .. } | Seal::First { handshake, .. } => handshake.0.len(),
        Seal::None | Seal::Session { .. } => 0,
    };
    change(handshake_len, &|e, at, bit| match &mut e.seal {
        Seal::Answer { handshake, .. } | Seal::First { handshake, .. } => handshake.0[at] ^= bit,
        Seal::None | Seal::Session { .. } => {}
    });
    change(8, &|e, at, bit| match &mut e.seal {
        Seal::Answer { nonce, .. } | Seal::First { nonce, .. } | Seal::Session { nonce, .. } => {
            *nonce ^= u64::from(bit) << (8 * at);
        }
        Seal::None => {}
    });
    change(8, &|e, at, bit| match &mut e.seal {
        Seal::Answer { session, .. } | Seal::Session { session, .. } => {
            *session ^= u64::from(bit) << (8 * at);
        }
        // These seals lack the field, so another one is changed.
        Seal::First { .. } | Seal::None => e.message.0[at] ^= bit,
    });
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn every_changed_bit_is_noticed_and_spoils_nothing(
        payload in prop::collection::vec(any::<u8>(), 0..60),
        wanted in prop::sample::select(vec!["first", "answer", "session"]),
    ) {
        let (a, mut b, envelope) = on_its_way(wanted, &payload);
        for (at_bit, changed) in changes(&envelope).iter().enumerate() {
            // Each attempt is in a second of its own, so that the limit on handshakes does not reject it.
            let now = at(u64::try_from(at_bit).unwrap() / 100);
            prop_assert!(b.open(now, a.contact(), changed).is_err(), "{wanted}: {changed:?}");
        }
        let now = at(60);
        prop_assert_eq!(b.open(now, a.contact(), &envelope), Ok(payload));
        prop_assert_eq!(b.open(now, a.contact(), &envelope), Err(DropReason::Replayed));
    }

    #[test]
    fn any_order_delivers_each_message_once(
        order in prop::collection::vec((0_usize..40, any::<bool>()), 1..120),
    ) {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        // Sealed under the handshake at first, and in the session after the answer.
        let mut sealed: Vec<Envelope> = (0..20).map(|_| a.seal(at(0), b.contact(), b"x")).collect();
        prop_assert!(b.open(at(0), a.contact(), &sealed[0]).is_ok());
        pass(at(0), &mut b, &mut a);
        sealed.extend((0..20).map(|_| a.seal(at(0), b.contact(), b"x")));
        let mut seen = BTreeSet::from([0]);
        for (number, _) in order {
            let opened = b.open(at(0), a.contact(), &sealed[number]);
            let expected = if seen.insert(number) { Ok(b"x".to_vec()) } else { Err(DropReason::Replayed) };
            prop_assert_eq!(opened, expected);
        }
    }
}

#[test]
fn nobody_can_stand_in_for_a_member() {
    let (mut a, mut b, mut c) = (Side::new(1), Side::new(2), Side::new(3));
    let envelope = a.seal(at(0), b.contact(), b"hello");
    assert_eq!(c.open(at(0), a.contact(), &envelope), Err(DropReason::Unauthentic), "it is for b");
    let mut posing = c.seal(at(0), b.contact(), b"hello");
    posing.origin = id(1);
    assert_eq!(b.open(at(0), a.contact(), &posing), Err(DropReason::Unauthentic), "it is not by a");
    let mut wrong_key = b.contact();
    wrong_key.key = c.contact().key;
    let envelope = a.seal(at(0), wrong_key, b"hello");
    assert_eq!(b.open(at(0), a.contact(), &envelope), Err(DropReason::Unauthentic));
}

#[test]
fn a_first_message_is_not_opened_again_after_its_session_is_gone() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let first = pass(at(0), &mut a, &mut b);
    let later = at(0).after(IDLE_TIMEOUT);
    assert_eq!(b.sessions.poll_timeout(), Some(later));
    b.sessions.handle_timeout(later);
    assert_eq!(b.sessions.peers.len(), 0);
    assert_eq!(b.open(later, a.contact(), &first), Err(DropReason::Replayed));
    b.restart();
    assert_eq!(b.open(later, a.contact(), &first), Err(DropReason::Unauthentic), "nor after a restart");
}

#[test]
fn both_ends_beginning_at_once_settle_on_one_session() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let from_a = a.seal(at(0), b.contact(), b"a");
    let from_b = b.seal(at(0), a.contact(), b"b");
    assert!(b.open(at(1), a.contact(), &from_a).is_ok());
    assert!(a.open(at(1), b.contact(), &from_b).is_ok());
    for second in 2..5 {
        let (from_a, from_b) = (a.seal(at(second), b.contact(), b"a"), b.seal(at(second), a.contact(), b"b"));
        assert!(b.open(at(second), a.contact(), &from_a).is_ok());
        assert!(a.open(at(second), b.contact(), &from_b).is_ok());
    }
    let name = |envelope: Envelope| match envelope.seal {
        Seal::Session { session, .. } => Some(session),
        Seal::Answer { .. } | Seal::First { .. } | Seal::None => None,
    };
    let by_a = name(a.seal(at(5), b.contact(), b"a"));
    assert!(by_a.is_some());
    assert_eq!(by_a, name(b.seal(at(5), a.contact(), b"b")));
}

#[test]
fn a_lost_answer_comes_again_with_the_next_message() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    pass(at(0), &mut a, &mut b);
    let _lost = b.seal(at(0), a.contact(), b"hello");
    assert_eq!(kind(&pass(at(0), &mut a, &mut b)), "first");
    assert_eq!(kind(&pass(at(0), &mut b, &mut a)), "answer");
    assert_eq!(kind(&pass(at(0), &mut a, &mut b)), "session");
    assert_eq!(kind(&pass(at(0), &mut b, &mut a)), "session");
}

#[test]
fn a_session_gives_way_to_a_new_one_in_time_without_a_gap() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    pass(at(0), &mut a, &mut b);
    pass(at(0), &mut b, &mut a);
    let last = at(0).after(REKEY_INTERVAL - Duration::from_secs(1));
    assert_eq!(kind(&pass(last, &mut a, &mut b)), "session");
    let late = a.seal(last, b.contact(), b"late");
    let due = at(0).after(REKEY_INTERVAL);
    assert_eq!(kind(&pass(due, &mut b, &mut a)), "session", "the initiator comes first");
    assert_eq!(kind(&pass(due, &mut a, &mut b)), "first");
    assert_eq!(kind(&pass(due, &mut b, &mut a)), "answer");
    assert_eq!(kind(&pass(due, &mut a, &mut b)), "session");
    assert_eq!(b.open(due, a.contact(), &late), Ok(b"late".to_vec()), "the old one still opens");
    let over = at(0).after(SESSION_LIFETIME);
    pass(over, &mut a, &mut b);
    assert!(a.sessions.peers[&id(2)].sessions.len() <= 1, "the old one is gone in the end");
}

#[test]
fn a_session_gives_way_after_many_messages_too() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    pass(at(0), &mut a, &mut b);
    pass(at(0), &mut b, &mut a);
    a.sessions.peers.get_mut(&id(2)).unwrap().sessions[0].sealing.next = REKEY_MESSAGES - 1;
    assert_eq!(kind(&pass(at(0), &mut a, &mut b)), "session");
    assert_eq!(kind(&pass(at(1), &mut a, &mut b)), "first");
}

#[test]
fn a_restart_of_either_end_heals_with_its_new_advert() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    pass(at(0), &mut a, &mut b);
    pass(at(0), &mut b, &mut a);
    let old = a.seal(at(1), b.contact(), b"old");
    b.restart();
    assert_eq!(b.open(at(1), a.contact(), &old), Err(DropReason::SessionLost));
    assert_eq!(kind(&pass(at(1), &mut a, &mut b)), "first");
    assert_eq!(kind(&pass(at(1), &mut b, &mut a)), "answer");
    a.restart();
    assert_eq!(kind(&pass(at(2), &mut b, &mut a)), "first");
    assert_eq!(kind(&pass(at(2), &mut a, &mut b)), "answer");
}

#[test]
fn a_session_that_one_end_forgot_heals_at_most_once_a_second() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    pass(at(0), &mut a, &mut b);
    pass(at(0), &mut b, &mut a);
    b.sessions.handle_timeout(at(0).after(IDLE_TIMEOUT));
    let now = at(1_000);
    let lost: Vec<Envelope> = (0..10).map(|_| a.seal(at(1), b.contact(), b"lost")).collect();
    let wanted: Vec<bool> = lost
        .iter()
        .map(|lost| {
            assert_eq!(b.open(now, a.contact(), lost), Err(DropReason::SessionLost));
            b.sessions.handle_lost(now, &a.contact(), &mut b.rng)
        })
        .collect();
    assert_eq!(wanted.iter().filter(|wanted| **wanted).count(), 1);
    assert_eq!(kind(&pass(now, &mut b, &mut a)), "first");
    assert_eq!(kind(&pass(now, &mut a, &mut b)), "answer");
    assert_eq!(kind(&pass(now, &mut b, &mut a)), "session");
}

#[test]
fn sessions_and_what_is_remembered_of_handshakes_are_bounded() {
    let mut hub = Side::new(1);
    let key = Side::new(2).contact().key;
    let member = |number: u32| {
        let mut node = [9; 16];
        node[..4].copy_from_slice(&number.to_be_bytes());
        Contact { node: NodeId(node), incarnation: 1, key }
    };
    let members = u32::try_from(PEERS_MAX).unwrap() + 50;
    for number in 0..members {
        hub.seal(at(u64::from(number)), member(number), b"x");
    }
    assert_eq!(hub.sessions.peers.len(), PEERS_MAX);
    assert_eq!(hub.sessions.used.len(), PEERS_MAX);
    assert!(!hub.sessions.peers.contains_key(&member(49).node), "the least recently used went");
    assert!(hub.sessions.peers.contains_key(&member(50).node));
    for number in 0..u32::try_from(HEARD_MAX).unwrap() + 10 {
        hub.sessions.heard.handle_heard(&member(number), 1);
    }
    assert_eq!((hub.sessions.heard.numbers.len(), hub.sessions.heard.order.len()), (HEARD_MAX, HEARD_MAX));
}

#[test]
fn handshakes_on_behalf_of_others_are_limited() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let mut forged = a.seal(at(0), b.contact(), b"x");
    forged.payload.0[0] ^= 1;
    let reasons: BTreeSet<Option<DropReason>> =
        (0..=HANDSHAKES_PER_SECOND).map(|_| b.open(at(0), a.contact(), &forged).err()).collect();
    assert_eq!(reasons, BTreeSet::from([Some(DropReason::Overload), Some(DropReason::Unauthentic)]));
    pass(at(1), &mut a, &mut b);
}
