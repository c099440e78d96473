//! Messages between nodes that need not be peers: hops, acknowledgements, retries, and at most one delivery.
//!
//! The destination acknowledges each message end to end. Without an acknowledgement, the origin retransmits it up to
//! three times, by another path if there is one. The destination delivers a message once and acknowledges every copy. A
//! message may cross a limited number of links; the node that drops it at that limit tells the origin.

use crate::event::PayloadKind;
use crate::ids::{MessageId, NodeId, RequestId};
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::rng::Rng;
use crate::time::Instant;
use crate::trace::TraceContext;
use crate::wire::Envelope;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What to do with an envelope that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is addressed to this node and new: deliver it.
    Deliver(Envelope),
    /// It is addressed to this node and was delivered before.
    Duplicate {
        /// Whether the delivery was acknowledged; the acknowledgement may have been lost.
        acknowledged: bool,
    },
    /// It is addressed to another node: forward it.
    Forward(Envelope),
    /// It is addressed to another node, but has crossed the maximum number of links.
    TtlExceeded(Envelope),
}

/// What the router wants done, or has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send an envelope, if possible on a path that does not begin with `avoid`.
    Transmit {
        /// The envelope.
        envelope: Envelope,
        /// The peer through which the last transmission failed.
        avoid: Option<NodeId>,
        /// Number of earlier transmissions.
        retry: u8,
    },
    /// The destination could not be reached. The request waited for it.
    Failed(Envelope, Option<RequestId>),
}

/// The messages that a node has sent or received recently.
#[derive(Debug, Default)]
pub(crate) struct Router {
    sent: BTreeMap<MessageId, Sent>,
    timers: BTreeSet<(Instant, MessageId)>,
    seen: BTreeMap<MessageId, Seen>,
    /// The same messages, oldest first.
    seen_order: VecDeque<(Instant, MessageId)>,
    actions: Vec<Action>,
}

/// A message of this node that waits for its acknowledgement.
#[derive(Debug)]
struct Sent {
    envelope: Envelope,
    retry: u8,
    due: Instant,
    begun: Instant,
    waiter: Option<RequestId>,
    /// The message is not given up before this time, however early its retries were.
    give_up_at: Instant,
    first_hop: Option<NodeId>,
}

/// A message that was delivered here.
#[derive(Debug)]
struct Seen {
    acknowledged: bool,
}

/// A message that its destination acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// The request that waits for it.
    pub(crate) waiter: Option<RequestId>,
    /// The time since the first transmission.
    pub(crate) took: Duration,
    /// The kind of its payload.
    pub(crate) payload: PayloadKind,
    /// Its trace.
    pub(crate) trace: TraceContext,
}

impl Router {
    /// Sends an envelope, and retransmits it until it is acknowledged. `waiter` waits for that.
    pub(crate) fn send(&mut self, now: Instant, envelope: Envelope, waiter: Option<RequestId>) {
        if self.sent.len() >= SENT_MAX {
            self.actions.push(Action::Failed(envelope, waiter));
            return;
        }
        let due = now.after(ACK_TIMEOUT);
        let give_up_at = now.after(ACK_TIMEOUT * u32::from(RETRIES_MAX + 1));
        self.actions.push(Action::Transmit { envelope: envelope.clone(), avoid: None, retry: 0 });
        self.timers.insert((due, envelope.message));
        let sent = Sent { retry: 0, due, begun: now, waiter, give_up_at, first_hop: None, envelope };
        self.sent.insert(sent.envelope.message, sent);
    }

    /// Records the peer to which a message was sent.
    pub(crate) fn handle_transmitted(&mut self, message: MessageId, next: NodeId) {
        if let Some(sent) = self.sent.get_mut(&message) {
            sent.first_hop = Some(next);
        }
    }

    /// Handles an acknowledgement, which only counts from the message's destination.
    pub(crate) fn handle_ack(
        &mut self,
        now: Instant,
        from: NodeId,
        message: MessageId,
    ) -> Option<Acknowledged> {
        self.sent.get(&message).filter(|sent| sent.envelope.destination == from)?;
        let sent = self.forget(message)?;
        Some(Acknowledged {
            waiter: sent.waiter,
            took: now.since(sent.begun),
            payload: PayloadKind::of(&sent.envelope.payload.0),
            trace: sent.envelope.trace,
        })
    }

    /// Tells whether a message is unacknowledged.
    pub(crate) fn waits_for(&self, message: MessageId) -> bool {
        self.sent.contains_key(&message)
    }

    /// Stops retransmitting a message that is no longer true.
    pub(crate) fn withdraw(&mut self, message: MessageId) {
        self.forget(message);
    }

    /// Handles a relay's notice that it could not forward a message. It only hastens the next retry, since any node may
    /// send such a notice.
    pub(crate) fn handle_undeliverable(&mut self, now: Instant, message: MessageId, rng: &mut Rng) {
        let pause = rng.between(RETRY_BACKOFF, RETRY_BACKOFF * 2);
        self.hasten(message, now.after(pause));
    }

    /// Retransmits the messages that were sent through a peer whose link is gone, by another path.
    pub(crate) fn handle_neighbour_lost(&mut self, now: Instant, neighbour: NodeId) {
        let lost = |sent: &&Sent| sent.first_hop == Some(neighbour);
        let messages: Vec<MessageId> =
            self.sent.values().filter(lost).map(|sent| sent.envelope.message).collect();
        for message in messages {
            self.hasten(message, now);
        }
        self.handle_timeout(now);
    }

    /// Retransmits the messages that had no path to a node, as there is one now.
    pub(crate) fn handle_destination_found(&mut self, now: Instant, destination: NodeId) {
        let stuck = |sent: &&Sent| sent.envelope.destination == destination && sent.first_hop.is_none();
        let messages: Vec<MessageId> =
            self.sent.values().filter(stuck).map(|sent| sent.envelope.message).collect();
        for message in messages {
            self.hasten(message, now);
        }
    }

    /// Gives up the messages to a node that has left.
    pub(crate) fn handle_destination_lost(&mut self, destination: NodeId) {
        let for_it = |sent: &&Sent| sent.envelope.destination == destination;
        let messages: Vec<MessageId> =
            self.sent.values().filter(for_it).map(|sent| sent.envelope.message).collect();
        for message in messages {
            self.fail(message);
        }
    }

    /// Decides what to do with an envelope that arrived at node `me`.
    pub(crate) fn handle_envelope(&mut self, now: Instant, me: NodeId, mut envelope: Envelope) -> Arrival {
        envelope.hops = envelope.hops.saturating_add(1);
        let before = envelope.ttl;
        if !shows(Mutant::TtlNotSpent) {
            envelope.ttl = envelope.ttl.saturating_sub(1);
        }
        if envelope.destination != me {
            let exceeded = if shows(Mutant::TtlOffByOne) { before == 0 } else { envelope.ttl == 0 };
            return if exceeded { Arrival::TtlExceeded(envelope) } else { Arrival::Forward(envelope) };
        }
        if let Some(seen) = self.seen.get(&envelope.message).filter(|_| !shows(Mutant::DedupDropped)) {
            return Arrival::Duplicate { acknowledged: seen.acknowledged };
        }
        self.remember(now, envelope.message);
        Arrival::Deliver(envelope)
    }

    /// Records that a delivered message was acknowledged.
    pub(crate) fn handle_acknowledged(&mut self, message: MessageId) {
        if let Some(seen) = self.seen.get_mut(&message) {
            seen.acknowledged = true;
        }
    }

    /// Retransmits or gives up the messages that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(due, message)) = self.timers.first().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, message));
            let Some(sent) = self.sent.get_mut(&message) else { continue };
            if sent.retry >= RETRIES_MAX && sent.give_up_at <= now || shows(Mutant::NeverRetried) {
                self.fail(message);
                continue;
            }
            if sent.retry >= RETRIES_MAX {
                sent.due = sent.give_up_at;
                self.timers.insert((sent.due, message));
                continue;
            }
            sent.retry += 1;
            sent.due = now.after(ACK_TIMEOUT);
            self.timers.insert((sent.due, message));
            let (envelope, avoid) = (sent.envelope.clone(), sent.first_hop.take());
            self.actions.push(Action::Transmit { envelope, avoid, retry: sent.retry });
        }
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Returns what the router wants done or has found, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns the number of unacknowledged messages.
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 4] {
        [
            Occupancy::transient("router.sent", self.sent.len(), SENT_MAX),
            Occupancy::transient("router.timers", self.timers.len(), SENT_MAX),
            Occupancy::new("router.seen", self.seen.len(), SEEN_MAX),
            Occupancy::new("router.seen_order", self.seen_order.len(), SEEN_MAX),
        ]
    }

    fn hasten(&mut self, message: MessageId, due: Instant) {
        if let Some(sent) = self.sent.get_mut(&message).filter(|sent| sent.due > due) {
            self.timers.remove(&(sent.due, message));
            sent.due = due;
            self.timers.insert((due, message));
        }
    }

    fn forget(&mut self, message: MessageId) -> Option<Sent> {
        let sent = self.sent.remove(&message)?;
        self.timers.remove(&(sent.due, message));
        Some(sent)
    }

    fn fail(&mut self, message: MessageId) {
        if let Some(Sent { envelope, waiter, .. }) = self.forget(message) {
            self.actions.push(Action::Failed(envelope, waiter));
        }
    }

    /// Remembers a delivered message for as long as a copy of it may be in transit.
    fn remember(&mut self, now: Instant, message: MessageId) {
        while let Some(&(then, oldest)) = self.seen_order.front() {
            if self.seen.len() < SEEN_MAX && now.since(then) < SEEN_RETENTION {
                break;
            }
            self.seen_order.pop_front();
            self.seen.remove(&oldest);
        }
        self.seen.insert(message, Seen { acknowledged: false });
        self.seen_order.push_back((now, message));
    }
}

/// Maximum number of links that a message may cross.
pub(crate) const TTL: u8 = 10;
/// Timeout of an acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of retries of a message.
const RETRIES_MAX: u8 = 3;
/// The shortest delay before the retry of a message that a relay could not forward.
const RETRY_BACKOFF: Duration = Duration::from_millis(200);
/// Maximum number of unacknowledged messages. Beyond it, sending fails.
const SENT_MAX: usize = 8_192;
/// Maximum number of delivered messages to remember.
const SEEN_MAX: usize = 65_536;
/// How long a delivered message is remembered: longer than its origin retries, including delays in transit.
const SEEN_RETENTION: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixMillis;
    use crate::wire::{Bytes, Seal};

    const ME: NodeId = NodeId([1; 16]);
    const OTHER: NodeId = NodeId([2; 16]);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn envelope(destination: NodeId, ttl: u8) -> Envelope {
        Envelope {
            ttl,
            hops: 0,
            message: MessageId([7; 16]),
            origin: ME,
            destination,
            trace: TraceContext::NONE,
            sent_at: UnixMillis(0),
            seal: Seal::None,
            payload: Bytes(vec![1]),
        }
    }

    fn retries(actions: &[Action]) -> Vec<Option<(u8, Option<NodeId>)>> {
        actions
            .iter()
            .map(|action| match action {
                Action::Transmit { retry, avoid, .. } => Some((*retry, *avoid)),
                Action::Failed(..) => None,
            })
            .collect()
    }

    #[test]
    fn an_unacknowledged_message_is_sent_four_times_and_given_up() {
        let mut router = Router::default();
        router.send(at(0), envelope(OTHER, TTL), None);
        router.handle_transmitted(MessageId([7; 16]), NodeId([3; 16]));
        let mut actions = router.poll_actions();
        while let Some(due) = router.poll_timeout() {
            router.handle_timeout(due);
            actions.extend(router.poll_actions());
        }
        let expected =
            vec![Some((0, None)), Some((1, Some(NodeId([3; 16])))), Some((2, None)), Some((3, None)), None];
        assert_eq!(retries(&actions), expected);
    }

    #[test]
    fn an_acknowledged_message_is_forgotten() {
        let mut router = Router::default();
        router.send(at(0), envelope(OTHER, TTL), Some(RequestId(5)));
        assert_eq!(router.handle_ack(at(1), NodeId([3; 16]), MessageId([7; 16])), None);
        assert!(router.poll_timeout().is_some(), "only its destination can acknowledge it");
        let waited = router.handle_ack(at(3), OTHER, MessageId([7; 16])).unwrap();
        assert_eq!((waited.waiter, waited.took), (Some(RequestId(5)), Duration::from_secs(3)));
        assert_eq!((waited.payload, waited.trace), (PayloadKind::Assign, TraceContext::NONE));
        assert_eq!(router.poll_timeout(), None);
    }

    #[test]
    fn a_message_that_is_withdrawn_is_not_sent_again() {
        let mut router = Router::default();
        router.send(at(0), envelope(OTHER, TTL), None);
        router.poll_actions();
        router.withdraw(MessageId([7; 16]));
        assert_eq!((router.poll_timeout(), router.len()), (None, 0));
        router.handle_timeout(at(60));
        assert_eq!(router.poll_actions(), vec![]);
    }

    #[test]
    fn notices_hasten_the_retries_but_not_the_failure() {
        let mut router = Router::default();
        let mut rng = Rng::new([1; 32]);
        router.send(at(0), envelope(OTHER, TTL), None);
        for second in 0..20 {
            assert_eq!(router.len(), 1, "given up after {second} s");
            router.handle_undeliverable(at(second), MessageId([7; 16]), &mut rng);
            router.handle_timeout(at(second).after(RETRY_BACKOFF * 2));
        }
        assert_eq!(retries(&router.poll_actions()).len(), 4);
        router.handle_timeout(at(20));
        assert_eq!(retries(&router.poll_actions()), vec![None]);
    }

    #[test]
    fn a_lost_neighbour_is_a_reason_to_send_again_and_a_lost_destination_to_give_up() {
        let mut router = Router::default();
        router.send(at(0), envelope(OTHER, TTL), None);
        router.handle_transmitted(MessageId([7; 16]), NodeId([3; 16]));
        router.poll_actions();
        router.handle_neighbour_lost(at(1), NodeId([4; 16]));
        assert_eq!(router.poll_actions(), vec![]);
        router.handle_neighbour_lost(at(1), NodeId([3; 16]));
        assert_eq!(retries(&router.poll_actions()), vec![Some((1, Some(NodeId([3; 16]))))]);
        router.handle_destination_lost(OTHER);
        assert_eq!(retries(&router.poll_actions()), vec![None]);
    }

    #[test]
    fn a_message_for_which_there_was_no_path_goes_as_soon_as_there_is_one() {
        let mut router = Router::default();
        router.send(at(0), envelope(OTHER, TTL), None);
        router.poll_actions();
        router.handle_destination_found(at(1), ME);
        router.handle_timeout(at(1));
        assert_eq!(router.poll_actions(), vec![]);
        router.handle_destination_found(at(1), OTHER);
        router.handle_timeout(at(1));
        assert_eq!(retries(&router.poll_actions()), vec![Some((1, None))]);
        router.handle_transmitted(MessageId([7; 16]), NodeId([3; 16]));
        router.handle_destination_found(at(2), OTHER);
        router.handle_timeout(at(2));
        assert_eq!(router.poll_actions(), vec![], "it is on its way");
    }

    #[test]
    fn a_message_is_delivered_once() {
        let mut router = Router::default();
        let arrival = router.handle_envelope(at(0), ME, envelope(ME, TTL));
        assert!(matches!(arrival, Arrival::Deliver(delivered) if delivered.hops == 1));
        let again = router.handle_envelope(at(1), ME, envelope(ME, TTL));
        assert_eq!(again, Arrival::Duplicate { acknowledged: false });
        router.handle_acknowledged(MessageId([7; 16]));
        let again = router.handle_envelope(at(1), ME, envelope(ME, TTL));
        assert_eq!(again, Arrival::Duplicate { acknowledged: true });
    }

    #[test]
    fn a_message_crosses_ten_links_and_no_more() {
        let mut router = Router::default();
        let mut travelling = envelope(OTHER, TTL);
        let mut crossed = 0;
        loop {
            crossed += 1;
            match router.handle_envelope(at(0), ME, travelling.clone()) {
                Arrival::Forward(next) => travelling = next,
                Arrival::TtlExceeded(last) => break assert_eq!((crossed, last.hops), (10, 10)),
                Arrival::Deliver(_) | Arrival::Duplicate { .. } => panic!("not for this node"),
            }
        }
    }
}
